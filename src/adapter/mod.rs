//! Adapters that put a gate in front of a service, one per framework.
//!
//! An adapter asks the gate about each request. It passes an admitted request on to the service and answers a denied
//! one. After the service has answered, the adapter settles or refunds the request's charge.
//!
//! # Example
//!
//! A tower service with a public health check. All other requests need a key:
//!
//! ```
//! use std::convert::Infallible;
//! use std::future::ready;
//!
//! use http::{Request, Response, StatusCode};
//! use tollgate::key::Length;
//! use tollgate::{Gate, KeyFormat, KeySource, Rule, TollgateLayer};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut health = Rule::new("GET /health")?;
//! health.public = true;
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .rule(health)
//!     .build()?;
//! let service = service_fn(|_: Request<String>| ready(Ok::<_, Infallible>(Response::new("up".to_owned()))));
//! let app = TollgateLayer::new(gate).layer(service);
//!
//! let admitted = app.clone().oneshot(Request::get("/health").body(String::new())?).await?;
//! assert_eq!(admitted.status(), StatusCode::OK);
//! let denied = app.oneshot(Request::get("/v1/candles").body(String::new())?).await?;
//! assert_eq!(denied.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`TollgateLayer`]: the tower layer for axum, tonic and hyper. `TollgateLayer::around` wraps an axum router
//!   (feature `axum`).
//! - `TollgateTransform`: the transform for actix-web (feature `actix-web`).
//! - [`Principal`](crate::Principal): the caller, in the extensions of an admitted request. It is an extractor for axum
//!   and actix-web, whose rejection is [`NoPrincipal`].
//! - [`Peer`]: the peer's address on the socket, for servers that do not set axum's `ConnectInfo`.
//!
//! Another framework needs an adapter of its own, which implements [`RequestParts`](crate::request::RequestParts) and
//! calls [`Gate::admit`](crate::Gate::admit).

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
mod caches;
mod call;
mod extract;
mod headers;
mod refusal;
mod serving;
#[cfg(feature = "tracing")]
mod span;
mod tower;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

#[cfg(feature = "actix-web")]
pub use actix::{GatedBody, MiddlewareFuture, TollgateMiddleware, TollgateTransform};
#[cfg(feature = "axum")]
pub use axum::{GatedRouter, GatedRouterFuture};
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
