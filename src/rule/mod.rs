//! Rules: the requirements and the cost of requests to a route.

mod foreign;
mod path;
mod route;
mod set;
mod straight;
mod twins;

pub(crate) use path::is_odd;
pub use route::{Cost, Rule, ScopeRule};
pub(crate) use route::{Purpose, Uncountable};
pub(crate) use set::{RuleSet, Ruled};
