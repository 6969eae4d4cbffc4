//! The error that the extractors of all frameworks share.

/// The error of a handler that extracts a principal when there is none. No gate is in front of the handler, the gate
/// inserts no principal, or the route is public. The response is a 500 with this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no principal in the request: the handler is not behind a gate, the gate does not pass the principal on, or the route is public"
)]
pub struct NoPrincipal;
