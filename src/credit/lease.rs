//! The ledger trait for leasing credits to nodes, which spend them without a round trip.

use std::sync::Arc;

use crate::account::Account;
use crate::amount::{ChargeId, Credits, Currency};
use crate::credit::{Charge, Charged, CreditLedger};
use crate::future::StoreFuture;

/// The amount of an open block that a node is about to spend.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Commitment<'a> {
    /// The account that the block was taken from.
    pub account: &'a Account,
    /// The currency of the block. Defaults to [`Currency::CREDITS`].
    pub currency: &'a Currency,
    /// The id of the block.
    pub id: ChargeId,
    /// The amount that is committed from now on, including what was committed before.
    pub committed: Credits,
}

impl<'a> Commitment<'a> {
    /// Creates a commitment of an amount of a block.
    pub fn new(account: &'a Account, id: ChargeId, committed: Credits) -> Self {
        Self { account, currency: &Currency::CREDITS, id, committed }
    }
}

/// Leases blocks of an account's credits to nodes, which spend them in process.
///
/// A block is in one currency. It is drawn from the account's buckets like a charge, from several if one does not suffice.
///
/// A block is a charge that stays open while a node uses it. A node may spend only the **committed** part of a block,
/// and it commits before it spends. If the node crashes, the committed part counts as spent, because it may have been,
/// and the rest is returned. Nothing is therefore spent twice.
///
/// # Contract
///
/// - The contract of [`CreditLedger`] for charges also applies to blocks. A block is taken in one atomic step, once per
///   id. It is closed by [`settle`](CreditLedger::settle) at the spent amount, even if that is less than the committed
///   amount, or by [`refund`](CreditLedger::refund).
/// - **Commitments are final.** The committed amount of an open block never decreases. A call with a smaller amount, or
///   a late call, changes nothing.
/// - **Abandoned.** The ledger's sweep closes a block that stays open for longer than the sweep allows. It closes the
///   block at its committed amount, whatever it does with other charges.
/// - **Set manually.** When the balance is [set](crate::credit::AdjustmentKind::Set), all open blocks of the account
///   are closed at their committed amounts, in the same step and before the balance is set.
/// - **Grants.** A grant that is due raises the balance to the grant's amount minus the uncommitted part of all open
///   blocks, so that credits that are returned later do not exceed the grant. The committed part counts as spent: if a
///   block is closed after the grant for less than that, the difference is added on top.
/// - **Charges of nothing.** A charge of zero credits is posted, also while the account owes credits. A node makes one to
///   settle a cost that its block does not cover: the cost is then a cost above the charge.
pub trait CreditLeasing: CreditLedger {
    /// Takes a block, of which `committed` is committed from the start.
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged>;

    /// Commits this amount of a block, or the whole block if that is smaller.
    ///
    /// Returns true if the block is still open.
    fn commit(&self, commitment: &Commitment<'_>) -> StoreFuture<bool>;
}

impl<T: CreditLeasing + ?Sized> CreditLeasing for Arc<T> {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        (**self).lease(block, committed)
    }

    fn commit(&self, commitment: &Commitment<'_>) -> StoreFuture<bool> {
        (**self).commit(commitment)
    }
}
