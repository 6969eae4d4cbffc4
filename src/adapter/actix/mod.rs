//! The gate as a transform of actix-web.

mod convert;
mod extract;
mod future;
mod hand_over;
mod managed;
mod middleware;
mod names;
mod transform;
mod view;

pub use future::MiddlewareFuture;
pub use middleware::TollgateMiddleware;
pub use transform::TollgateTransform;
