//! The error that the extractors of all frameworks share.

/// The error of a handler that extracts a principal when there is none. No gate is in front of the handler, the gate
/// inserts no principal, or the route is public. The response is a 500 with this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no principal: no gate stands before the handler, the gate hands no principal over, or the route is public"
)]
pub struct NoPrincipal;
