//! The gate as a `tower` layer.

mod body;
mod collect;
mod future;
mod keys;
mod layer;
mod managed;
#[cfg(doctest)]
mod refused;
mod service;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use keys::KeyService;
pub use layer::TollgateLayer;
pub use service::TollgateService;
