//! The gate as a `tower` layer.

mod body;
mod collect;
mod future;
mod layer;
mod managed;
mod service;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use layer::TollgateLayer;
pub use service::TollgateService;
