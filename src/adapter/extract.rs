//! What extractors have in common.

/// A handler asks who was let in, and no gate stands in front of it, or it is on a public route: 500, which says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no principal: no gate stands before the handler, the gate hands no principal over, or the route is public"
)]
pub struct NoPrincipal;
