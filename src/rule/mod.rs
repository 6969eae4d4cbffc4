//! Rules: the requirements and the cost of requests to a route.

mod foreign;
mod literal_routes;
mod path;
mod route;
mod set;
mod twins;

pub(crate) use path::is_odd;
pub use route::{Cost, Rule, ScopeRule};
pub(crate) use route::{CostError, Purpose};
pub(crate) use set::{CompiledRule, RuleSet};
