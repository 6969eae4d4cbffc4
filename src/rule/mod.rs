//! What a route asks of a request.

mod path;
mod route;
mod set;
mod straight;

pub(crate) use path::is_odd;
pub(crate) use route::Uncountable;
pub use route::{Cost, Rule, ScopeRule};
pub(crate) use set::{RuleSet, Ruled};
