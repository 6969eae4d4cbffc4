//! Rules: the requirements and the cost of requests to a route.
//!
//! A rule can make a route public, give it a cost, and require scopes, a plan, agreements or a subscription. Without a
//! rule, a route needs a key and is free.
//!
//! # Example
//!
//! ```
//! use http::Request;
//! use tollgate::key::Length;
//! use tollgate::rule::{Cost, ScopeRule};
//! use tollgate::{Credits, Gate, KeyFormat, KeySource, RequestView, Rule};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut health = Rule::new("GET /health")?;
//! health.public = true;
//! let mut candles = Rule::new("GET /v1/candles/{symbol}")?;
//! candles.cost = Cost::Fixed(Credits::new(2));
//! candles.scopes = ScopeRule::AnyOf(vec!["candles:read".into()]);
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .rule(health)
//!     .rule(candles)
//!     .deny_unmatched()
//!     .build()?;
//!
//! let request = Request::get("/health").body(())?;
//! assert!(gate.admit(&RequestView::of(&request)).await?.is_public());
//! let request = Request::get("/v1/candles/BTC").body(())?;
//! let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
//! assert_eq!(denial.rule().unwrap().route(), "GET /v1/candles/{symbol}");
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`Rule`]: the route and its requirements. The documentation of the type describes how the rule of a request is
//!   found.
//! - [`Cost`]: a fixed number of credits, or a number per unit of a query parameter.
//! - [`Weight`]: the number of units that a request takes from rate limits: a fixed number, the number in a query
//!   parameter or a header, or what the handler reports.
//! - [`ScopeRule`]: the scopes that a restricted key needs.
//!
//! [`deny_unmatched`](crate::GateBuilder::deny_unmatched) denies the requests that no rule matches.

mod foreign;
mod literal_routes;
mod path;
mod route;
mod segment_tree;
mod set;
mod twins;
mod weight;

pub(crate) use path::is_odd;
pub use route::{Cost, Rule, ScopeRule};
pub(crate) use route::{CostError, Purpose};
pub(crate) use set::{CompiledRule, RuleSet};
pub use weight::Weight;
