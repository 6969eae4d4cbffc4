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
//! use tollgate::credit::{Charge, ChargeId, Charged, Settlement};
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
//! ledger.settle(&Settlement::new(&acme, id, Credits::new(3), &now)).await?;
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
mod bucket;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod decide;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod disagreement;
mod due;
mod entry;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod fold;
mod lease;
#[cfg(feature = "fleet")]
mod leased;
#[cfg(feature = "memory")]
mod memory;
#[cfg(any(feature = "memory", feature = "sqlite", feature = "postgres", feature = "redis"))]
mod model;
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
pub use crate::amount::{ChargeId, Credits, Currency};
pub use abandoned::Abandoned;
pub use admin::{Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, CreditAdmin};
pub use bucket::{Bucket, BucketId, BucketKind, BucketTerms};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub use disagreement::Disagreement;
pub use entry::{Entry, EntryKind, EntryQuery};
pub use lease::{Commitment, CreditLeasing};
#[cfg(feature = "fleet")]
pub use leased::{LeaseTerms, LeasedLedger};
#[cfg(feature = "memory")]
pub use memory::MemoryLedger;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlLedger;

#[cfg(any(feature = "fleet", feature = "sqlite", feature = "postgres"))]
pub(crate) use unsent::Unsent;

use crate::account::{Account, Allowance, Budget, ExpiredRefunds, Overage};
use crate::clock::{Clock, Now, Timestamp};
use crate::future::StoreFuture;
use crate::key::KeyId;

/// A charge to be made: the account, the amount, and the allowance of the account's plan.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Charge<'a> {
    /// The id, made by the gate.
    pub id: ChargeId,
    /// The account that is charged.
    pub account: &'a Account,
    /// The currency of the amount. Defaults to [`Currency::CREDITS`].
    pub currency: &'a Currency,
    /// The amount. It is zero only for a charge that is settled at a cost above it at once: see [`CreditLeasing`].
    pub amount: Credits,
    /// The allowance of the account's plan: its grant and the grant's period.
    pub allowance: &'a Allowance,
    /// The budget that the amount is also drawn from. Defaults to `None`.
    pub budget: Option<BudgetDraw<'a>>,
    /// The time of the request.
    pub now: Now,
}

/// A key, and the budget that limits its charges.
#[derive(Debug, Clone, Copy)]
pub struct BudgetDraw<'a> {
    /// The key that is charged.
    pub key: KeyId,
    /// The budget of the key.
    pub budget: &'a Budget,
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
        Self { id, account, currency: &Currency::CREDITS, amount, allowance, budget: None, now }
    }
}

/// The end of a charge at its final cost.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Settlement<'a> {
    /// The account that was charged.
    pub account: &'a Account,
    /// The currency of the charge. Defaults to [`Currency::CREDITS`].
    pub currency: &'a Currency,
    /// The id of the charge.
    pub id: ChargeId,
    /// The final cost, which may be below or above the charge.
    pub cost: Credits,
    /// The allowance of the account's plan, for a cost above the charge. Defaults to [`Allowance::None`], with which no
    /// grant is applied.
    pub allowance: &'a Allowance,
    /// The policy for a cost above the charge that the account's credits do not cover.
    pub overage: Overage,
    /// The policy for credits that are returned to a bucket that has expired.
    pub expired_refunds: ExpiredRefunds,
    /// The clock that tells the time of the settlement. A ledger reads it only if the result depends on the time.
    pub clock: &'a dyn Clock,
}

impl<'a> Settlement<'a> {
    /// Creates a settlement of a charge at a cost.
    pub fn new(account: &'a Account, id: ChargeId, cost: Credits, clock: &'a dyn Clock) -> Self {
        Self {
            account,
            currency: &Currency::CREDITS,
            id,
            cost,
            allowance: &Allowance::None,
            overage: Overage::default(),
            expired_refunds: ExpiredRefunds::default(),
            clock,
        }
    }
}

/// The end of a charge that is returned in full.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Refund<'a> {
    /// The account that was charged.
    pub account: &'a Account,
    /// The currency of the charge. Defaults to [`Currency::CREDITS`].
    pub currency: &'a Currency,
    /// The id of the charge.
    pub id: ChargeId,
    /// The policy for credits that are returned to a bucket that has expired.
    pub expired_refunds: ExpiredRefunds,
    /// The clock that tells the time of the refund. A ledger reads it only if the result depends on the time.
    pub clock: &'a dyn Clock,
}

impl<'a> Refund<'a> {
    /// Creates a refund of a charge.
    pub fn new(account: &'a Account, id: ChargeId, clock: &'a dyn Clock) -> Self {
        let (currency, expired_refunds) = (&Currency::CREDITS, ExpiredRefunds::default());
        Self { account, currency, id, expired_refunds, clock }
    }
}

/// The outcome of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an insufficient balance must deny the request"]
pub enum Charged {
    /// The charge was taken.
    Posted {
        /// The remaining balance, or `None` for an account without limit, from which nothing was taken.
        balance: Option<Credits>,
    },
    /// The charge was not taken, because the balance is smaller than the amount. The balance is unchanged.
    Insufficient {
        /// The current balance. Zero if the account owes credits.
        balance: Credits,
    },
    /// The charge was not taken, because the key's budget has too little left. Nothing is changed.
    OverBudget {
        /// The amount that is left of the budget in this period.
        left: Credits,
        /// The start of the budget's next period.
        resets: Timestamp,
    },
}

/// Spends credits: a charge is taken before the handler runs, and settled or refunded after it.
///
/// # Contract
///
/// - **Atomic.** A call is one read-decide-write. Of any number of concurrent charges, only those that the balance
///   covers are posted. The balance is never negative, not even for a moment, but for a debt (see below).
/// - **Order.** A charge draws from the account's buckets in the order that [`Bucket`] defines, and from several if one
///   does not suffice. A settlement or a refund returns credits to the buckets that they came from, in the reverse
///   order: the result is as if only the final cost had been charged.
/// - **Costs above the charge.** A settlement above the charge draws the difference like a charge. If the credits do not
///   cover it, the settlement's [`Overage`] decides. While the account owes credits, every charge is insufficient.
/// - **Budgets.** A charge with a [`BudgetDraw`] is posted only if the budget of the key also covers it, and both are
///   drawn in the same step. A settlement or a refund corrects the spent amount, if the period in which the charge was
///   made still lasts.
/// - **Currencies.** The balance, the grants, the entries and the adjustments of a currency are separate from those of all
///   others.
/// - **Conserved.** At any time, the sum of all grants and deposits equals the sum of the balance, the open charges and
///   the settled amounts.
/// - **Idempotent by id.** A charge that is repeated while it is open is posted once. A settlement or a refund changes
///   nothing if it is a repetition, if it follows the other one, or if its charge was never posted.
/// - **Grants.** If the plan has a [`Grant`](crate::account::Grant) that has come due since it was last applied, the
///   main bucket is first raised to the grant's amount and never lowered. This happens once, however many calls race for it
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

    /// Closes a charge at its final cost. The difference is returned or charged. A ledger that cannot charge after the
    /// request takes no more than the charge.
    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()>;

    /// Closes a charge and returns its full amount.
    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()>;

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

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        (**self).settle(settlement)
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        (**self).refund(refund)
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
