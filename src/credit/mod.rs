//! Where credits are spent.

#[cfg(any(feature = "redis", feature = "sqlite", feature = "postgres"))]
mod abandoned;
mod admin;
#[cfg(any(feature = "memory", feature = "redis", feature = "sqlite", feature = "postgres"))]
mod due;
mod entry;
#[cfg(feature = "fleet")]
mod lease;
#[cfg(feature = "fleet")]
mod leased;
#[cfg(feature = "memory")]
mod memory;
#[cfg(any(feature = "memory", feature = "fleet"))]
mod open;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(any(feature = "memory", feature = "sqlite", feature = "postgres"))]
mod standing;

use std::fmt::Debug;
use std::sync::Arc;

#[cfg(feature = "redis")]
pub use self::redis::RedisLedger;
pub use crate::amount::{ChargeId, Credits};
#[cfg(any(feature = "redis", feature = "sqlite", feature = "postgres"))]
pub use abandoned::Abandoned;
pub use admin::{Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, CreditAdmin};
pub use entry::{Entry, EntryKind, EntryQuery};
#[cfg(feature = "fleet")]
pub use lease::CreditLeasing;
#[cfg(feature = "fleet")]
pub use leased::{LeaseTerms, LeasedLedger};
#[cfg(feature = "memory")]
pub use memory::MemoryLedger;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::{Disagreement, SqlLedger};

use crate::account::{Account, Allowance};
use crate::clock::Now;
use crate::future::StoreFuture;

/// A charge to be made: whose, how much, and what the account's plan gives.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Charge<'a> {
    /// The id, made by the gate.
    pub id: ChargeId,
    /// Who pays.
    pub account: &'a Account,
    /// How much; never zero.
    pub amount: Credits,
    /// What the plan gives, and when again.
    pub allowance: &'a Allowance,
    /// The time of the request.
    pub now: Now,
}

impl<'a> Charge<'a> {
    /// A charge of `amount` to `account`, on the terms of its plan.
    pub fn new(
        id: ChargeId,
        account: &'a Account,
        amount: Credits,
        allowance: &'a Allowance,
        now: Now,
    ) -> Self {
        Self { id, account, amount, allowance, now }
    }
}

/// What became of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an insufficient balance must refuse the request"]
pub enum Charged {
    /// It was taken. The balance is what is left; `None` for an account without limit.
    Posted {
        /// What is left.
        balance: Option<Credits>,
    },
    /// It was not: the balance is smaller than the amount, and as it was.
    Insufficient {
        /// What there is.
        balance: Credits,
    },
}

/// Spends credits: a charge is taken before the handler runs, and settled or refunded after.
///
/// # Contract
///
/// - **Atomic.** A call is one read-decide-write: of any number of concurrent charges those are posted that the balance
///   has room for, and it is never negative, not even for a moment.
/// - **Conserved.** At any time, what was granted and put in equals the balance, the open charges and what was settled.
/// - **Idempotent by id.** A charge that is repeated while it is open is posted once. A settlement or a refund that is
///   repeated, that follows the other, or whose charge was never posted changes nothing.
/// - **Grants.** Where the plan has a [`Grant`](crate::account::Grant) that has come due since it was last given, the balance is
///   first raised to its amount (never lowered), once however many calls race for it or periods have passed. The time is
///   that of the argument; time that steps back gives nothing twice. A balance that does not exist is opened by the
///   grant's first amount, or at zero where there is none.
/// - **Changes of plan.** A grant of another period than the last one's is given at its own next turn after the call that
///   first names it, never at once: going to and fro between plans gives nothing. A turn that was derived from one period
///   is not kept under another.
/// - **Closed when in doubt.** An `Err` says that the ledger could not decide. The gate answers 503 and refunds the id:
///   a refund must undo a charge that was posted although its answer was lost. Where a charge can still be on its way when
///   its refund is made, as it can to another machine, the refund bars it: when it arrives it takes nothing, and is not
///   answered `Posted`; and no more is one that comes again soon after its end. A ledger that has decided when
///   [`charge`](CreditLedger::charge) returns, as one in memory has, need remember neither.
pub trait CreditLedger: Debug + Send + Sync + 'static {
    /// Takes the amount, if the balance has room for it.
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged>;

    /// Closes a charge at its final cost, at most what was charged: the rest goes back.
    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()>;

    /// Closes a charge and gives it back whole.
    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()>;
}

impl<T: CreditLedger + ?Sized> CreditLedger for Arc<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        (**self).charge(charge)
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        (**self).settle(account, id, cost)
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        (**self).refund(account, id)
    }
}

impl<T: CreditLedger + ?Sized> CreditLedger for Box<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        (**self).charge(charge)
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        (**self).settle(account, id, cost)
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        (**self).refund(account, id)
    }
}
