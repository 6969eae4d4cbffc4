//! The policy for charges whose nodes crashed before they closed them.

/// The outcome of a charge whose node crashed before it reported how the request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Abandoned {
    /// The charge is refunded in full: no account pays for a request that may not have been served.
    #[default]
    Refund,
    /// The charge is settled in full: a request that may have been served is paid for.
    Settle,
}
