//! Limits that each node of a fleet keeps by itself.

mod fallback;
mod share;

pub use fallback::LocalFallback;
pub use share::LocalShare;
