//! The gate in front of a service, framework by framework.

#[cfg(feature = "axum")]
mod axum;
mod dress;
mod tower;

#[cfg(feature = "keygen")]
pub use tower::KeyService;
pub use tower::{ResponseBody, ResponseFuture, TollgateLayer, TollgateService};
pub use view::Peer;

mod view;
