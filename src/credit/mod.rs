//! Credit ledgers: charging, settling and refunding credits.
//!
//! A rule gives a request a cost. The gate charges the cost to the account before the service is called. It settles the
//! charge if the request was served, and refunds the charge if the request failed.
//!
//! # Example
//!
//! A charge of 8 credits, of which the request used 3:
//!
//! ```
//! use tollgate::account::Allowance;
//! use tollgate::clock::SystemClock;
//! use tollgate::credit::{Charge, ChargeId, Charged};
//! use tollgate::{Account, Clock, CreditLedger, Credits, MemoryLedger};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tollgate::StoreError> {
//! let (ledger, now) = (MemoryLedger::new(), SystemClock::new().now());
//! ledger.set_balance("acme", Credits::new(10), now.wall());
//!
//! let (acme, allowance) = (Account::new("acme", "pro"), Allowance::None);
//! let id = ChargeId::from_bytes([7; 16]);
//! let charged = ledger.charge(&Charge::new(id, &acme, Credits::new(8), &allowance, now)).await?;
//! assert_eq!(charged, Charged::Posted { balance: Some(Credits::new(2)) });
//!
//! ledger.settle(&acme, id, Credits::new(3)).await?;
//! assert_eq!(ledger.balance("acme"), Some(Credits::new(7)));
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`CreditLedger`]: the trait with which a gate charges. [`GateBuilder::ledger`](crate::GateBuilder::ledger) sets
//!   the ledger of a gate.
//! - [`CreditAdmin`]: the trait with which balances are read and changed by hand. A
//!   [`CreditManager`](crate::CreditManager) uses it.
//! - [`MemoryLedger`]: balances in this process.
//! - `SqlLedger`: balances in SQLite or PostgreSQL (features `sqlite`, `postgres`).
//! - `RedisLedger`: balances in Redis (feature `redis`).
//! - `LeasedLedger`: blocks of credits that a node leases from another ledger, so that most charges need no round trip
//!   (feature `fleet`).
//!
//! A cost is set by [`Rule::cost`](crate::Rule::cost). Credits that a plan grants are its [`Allowance`].

mod abandoned;
mod admin;
mod balance_state;
mod due;
mod entry;
mod lease;
#[cfg(feature = "fleet")]
mod leased;
#[cfg(feature = "memory")]
mod memory;
mod open;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(any(feature = "fleet", feature = "sqlite", feature = "postgres"))]
mod unsent;

use std::fmt::Debug;
use std::sync::Arc;

#[cfg(feature = "redis")]
pub use self::redis::RedisLedger;
pub use crate::amount::{ChargeId, Credits};
pub use abandoned::Abandoned;
pub use admin::{Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, CreditAdmin};
pub use entry::{Entry, EntryKind, EntryQuery};
pub use lease::CreditLeasing;
#[cfg(feature = "fleet")]
pub use leased::{LeaseTerms, LeasedLedger};
#[cfg(feature = "memory")]
pub use memory::MemoryLedger;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::{Disagreement, SqlLedger};

#[cfg(any(feature = "fleet", feature = "sqlite", feature = "postgres"))]
pub(crate) use unsent::Unsent;

use crate::account::{Account, Allowance};
use crate::clock::Now;
use crate::future::StoreFuture;

/// A charge to be made: the account, the amount, and the allowance of the account's plan.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Charge<'a> {
    /// The id, made by the gate.
    pub id: ChargeId,
    /// The account that is charged.
    pub account: &'a Account,
    /// The amount. It is never zero.
    pub amount: Credits,
    /// The allowance of the account's plan: its grant and the grant's period.
    pub allowance: &'a Allowance,
    /// The time of the request.
    pub now: Now,
}

impl<'a> Charge<'a> {
    /// Creates a charge of `amount` to `account`, under the allowance of its plan.
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

/// The outcome of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an insufficient balance must deny the request"]
pub enum Charged {
    /// The charge was taken.
    Posted {
        /// The remaining balance, or `None` for an account without limit, from which nothing was taken.
        balance: Option<Credits>,
    },
    /// The charge was not taken, because the balance is smaller than the amount. The balance is unchanged.
    Insufficient {
        /// The current balance.
        balance: Credits,
    },
}

/// Spends credits: a charge is taken before the handler runs, and settled or refunded after it.
///
/// # Contract
///
/// - **Atomic.** A call is one read-decide-write. Of any number of concurrent charges, only those that the balance
///   covers are posted. The balance is never negative, not even for a moment.
/// - **Conserved.** At any time, the sum of all grants and deposits equals the sum of the balance, the open charges and
///   the settled amounts.
/// - **Idempotent by id.** A charge that is repeated while it is open is posted once. A settlement or a refund changes
///   nothing if it is a repetition, if it follows the other one, or if its charge was never posted.
/// - **Grants.** If the plan has a [`Grant`](crate::account::Grant) that has come due since it was last applied, the
///   balance is first raised to the grant's amount and never lowered. This happens once, however many calls race for it
///   and however many periods have passed. The time is the time of the argument. A time that goes backwards applies no
///   grant twice. A balance that does not exist is opened with the first grant's amount, or at zero if the plan has no
///   grant.
/// - **Changes of plan.** A grant of another period than the last one is applied at its own next due time after the
///   call that first names it, and never at once. Repeated changes between plans therefore give nothing. A due time
///   that was derived from one period is not kept under another.
/// - **Closed when in doubt.** An `Err` means that the ledger could not decide. The gate answers 503 and refunds the
///   id: a refund must undo a charge that was posted although its answer was lost. If a charge can still be on its way
///   when its refund is made, as it can to another machine, the refund bars the charge. When the charge arrives, it
///   takes nothing and is not answered `Posted`. The same applies to a charge that is repeated soon after it was
///   closed. A ledger that has decided when [`charge`](CreditLedger::charge) returns, such as one in memory, need
///   remember neither.
pub trait CreditLedger: Debug + Send + Sync + 'static {
    /// Takes the amount, if the balance covers it.
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged>;

    /// Closes a charge at its final cost, which is at most the charged amount. The difference is returned to the
    /// balance.
    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()>;

    /// Closes a charge and returns its full amount to the balance.
    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()>;

    /// Returns the write side of the ledger, if it has one. Without it, a gate reads and changes no balances.
    ///
    /// A ledger that implements [`CreditAdmin`] returns `Some(self)`. A ledger that spends leased credits returns the
    /// write side of its authority, never a lease. Defaults to `None`.
    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        None
    }

    /// Returns true if the ledger is known to fail: the circuit of its guard is open. A wrapper returns the answer of the
    /// ledger behind it. Defaults to `false`.
    fn is_failing(&self) -> bool {
        false
    }

    /// Returns the ledger in Redis that this is, without a wrapper. A gate draws and charges in one call if its limiter
    /// is on the same server.
    #[cfg(feature = "redis")]
    #[doc(hidden)]
    fn as_redis(&self) -> Option<&RedisLedger> {
        None
    }
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

    fn is_failing(&self) -> bool {
        (**self).is_failing()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Arc::clone(&*self).admin()
    }
    #[cfg(feature = "redis")]
    fn as_redis(&self) -> Option<&RedisLedger> {
        (**self).as_redis()
    }
}
