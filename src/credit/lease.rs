//! What a ledger must be able to do besides, so that nodes can spend its credits without a round trip.

use std::sync::Arc;

use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::credit::{Charge, Charged, CreditLedger};
use crate::future::StoreFuture;

/// Lends blocks of an account's credits to nodes, which spend them in process.
///
/// A block is a charge that stays open while a node holds it. Of a block the node may spend what is **committed** alone;
/// it commits ahead of what it spends. Should the node die, what is committed counts as spent, as it may have been, and the
/// rest comes back: so nothing is ever spent twice.
///
/// # Contract
///
/// - What [`CreditLedger`] says of a charge holds of a block: it is taken in one atomic step, once per id, and closed by
///   [`settle`](CreditLedger::settle) at what was spent of it, also where that is less than what was committed, or by
///   [`refund`](CreditLedger::refund).
/// - **Committed for good.** What is committed of an open block never shrinks: a call that names less, or comes late,
///   changes nothing.
/// - **Abandoned.** A block that stays open for longer than the ledger's sweep allows is closed by it at what is
///   committed, whatever the sweep does with other charges.
/// - **Set by hand.** Where the balance is [set](crate::credit::AdjustmentKind::Set), all open blocks of the account are closed at what
///   is committed of them, in the same step and before it.
/// - **Grants.** A grant that comes due raises the balance to its amount less what is out in blocks and not committed: what
///   comes back does not pile up on it. What is committed counts as spent: where a block is closed after the grant for less,
///   the difference comes on top.
pub trait CreditLeasing: CreditLedger {
    /// Takes a block, `committed` of it from the start.
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged>;

    /// Commits so much of a block, or all of it where that is less; says whether the block is open still.
    fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool>;
}

/// Forwards to what a pointer points to.
macro_rules! forward {
    ($pointer:ident) => {
        impl<T: CreditLeasing + ?Sized> CreditLeasing for $pointer<T> {
            fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
                (**self).lease(block, committed)
            }

            fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool> {
                (**self).commit(account, id, committed)
            }
        }
    };
}

forward!(Arc);
forward!(Box);
