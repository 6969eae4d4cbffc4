//! Charges that nobody will end.

/// What becomes of a charge whose node died before it said how the request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Abandoned {
    /// It comes back whole: nobody pays for what may not have been served.
    #[default]
    Refund,
    /// It stands: what may have been served is paid for.
    Settle,
}
