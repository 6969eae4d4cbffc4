//! Calls that are decided on the stored state of accounts, for ledgers that keep it outside the process.

mod ask;
mod batch;

pub(super) use ask::{Answer, Ask, Close, NewCharge};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) use batch::MadeAdjustment;
pub(super) use batch::{AccountState, Batch, ChargeRow};
