//! The gate as a transform of actix-web.

mod body;
mod convert;
mod extract;
mod future;
mod gate_headers;
mod managed;
mod middleware;
mod prepare_request;
mod transform;
mod view;

pub use body::GatedBody;
pub use future::MiddlewareFuture;
pub use middleware::TollgateMiddleware;
pub use transform::TollgateTransform;
