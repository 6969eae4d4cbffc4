//! The adapters that put a gate in front of a service, one per framework.

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
mod caches;
mod call;
mod extract;
mod headers;
mod refusal;
#[cfg(feature = "tracing")]
mod span;
mod tower;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

#[cfg(feature = "actix-web")]
pub use actix::{MiddlewareFuture, TollgateMiddleware, TollgateTransform};
pub use extract::NoPrincipal;
#[cfg(feature = "tracing")]
pub use span::redacted_span;
pub use tower::KeyService;
pub use tower::{ResponseBody, ResponseFuture, TollgateLayer, TollgateService};
pub use view::Peer;

use crate::future::StoreFuture;
use crate::panics::Panicked;
use crate::trace;

/// Waits until a charge is closed. A charge that cannot be closed stays open until the ledger's sweep, and the response
/// is sent nevertheless. If the ledger panics, the charge is refunded, and the response is a failure.
fn closed(closing: &mut StoreFuture<()>, cx: &mut Context<'_>) -> Poll<Result<(), Panicked>> {
    let Err(error) = ready!(Pin::new(closing).poll(cx)) else { return Poll::Ready(Ok(())) };
    if error.is_panic() {
        return Poll::Ready(Err(Panicked));
    }
    trace::unsettled(&error);
    Poll::Ready(Ok(()))
}
