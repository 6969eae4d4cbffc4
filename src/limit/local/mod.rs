//! Rate limits that each node of a fleet applies by itself.

mod fallback;
mod share;

pub use fallback::LocalFallback;
pub use share::LocalShare;
