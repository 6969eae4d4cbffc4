//! The write side of a credit ledger: operators read, explain and change balances.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::account::{Allowance, BudgetStatus};
use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::credit::{Bucket, BucketId, BucketTerms, BudgetDraw, CreditLedger, Entry, EntryQuery};
use crate::error::ConfigError;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// The balance of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// A limited number of credits. Open charges are already subtracted.
    Limited(Credits),
    /// A debt of this number of credits: a balance below zero. No charge is posted until credits have paid it.
    Owed(Credits),
    /// No limit: nothing is charged.
    Unlimited,
}

impl Balance {
    /// Returns the number of credits that can be spent, or `None` if there is no limit.
    pub fn credits(self) -> Option<Credits> {
        match self {
            Self::Limited(credits) => Some(credits),
            Self::Owed(_) => Some(Credits::ZERO),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(credits) => credits.fmt(f),
            Self::Owed(debt) => write!(f, "-{debt}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// The maximum length of an adjustment id, in bytes.
const LONGEST_ID: usize = 128;

/// The id of one adjustment, chosen by the caller, such as the number of a payment.
///
/// An adjustment that is sent again under the same id is applied once. The id is unique within its account.
///
/// # Example
///
/// ```
/// use tollgate::credit::AdjustmentId;
///
/// let id: AdjustmentId = "invoice-2026-0417".parse()?;
/// assert_eq!(id.as_str(), "invoice-2026-0417");
/// assert!("".parse::<AdjustmentId>().is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjustmentId(Arc<str>);

impl AdjustmentId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdjustmentId {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=LONGEST_ID).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            // Show only the first 40 characters: the id may be hostile input of any length.
            let shown: String = text.chars().take(40).filter(|character| !character.is_control()).collect();
            let problem = "invalid adjustment id";
            let expected = "write 1 to 128 visible ASCII characters, as in `invoice-2026-0417`";
            return Err(ConfigError::new(shown, problem, expected).in_member("id"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AdjustmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of a manual balance change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdjustmentKind {
    /// Adds this amount, as a purchase that does not expire. All such purchases are in one bucket.
    TopUp(Credits),
    /// Adds this amount, in a new bucket on these terms.
    TopUpInto {
        /// The amount.
        amount: Credits,
        /// The terms of the bucket.
        terms: BucketTerms,
    },
    /// Subtracts this amount, if the balance is large enough. The amount is drawn like a charge.
    Deduct(Credits),
    /// Subtracts all credits that are left in a bucket.
    Expire(BucketId),
    /// Moves credits from a bucket to a new bucket, if they are there.
    Move {
        /// The bucket that the credits are taken from.
        from: BucketId,
        /// The amount.
        amount: Credits,
        /// The terms of the new bucket.
        terms: BucketTerms,
    },
    /// Sets the balance to this amount, whatever it was. The main bucket then has the amount. All other buckets are
    /// emptied, and a debt is cancelled. An account without limit has a limit from then on. The account's open leased
    /// blocks are closed at their committed amounts.
    Set(Credits),
    /// Removes the limit: nothing is charged from then on, and the previous balance is discarded.
    MakeUnlimited,
}

impl fmt::Display for AdjustmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopUp(amount) => write!(f, "top up {amount}"),
            Self::TopUpInto { amount, terms } => write!(f, "top up {amount} ({})", terms.kind),
            Self::Expire(bucket) => write!(f, "expire bucket {bucket}"),
            Self::Move { from, amount, .. } => write!(f, "move {amount} from bucket {from}"),
            Self::Deduct(amount) => write!(f, "deduct {amount}"),
            Self::Set(amount) => write!(f, "set {amount}"),
            Self::MakeUnlimited => f.write_str("make unlimited"),
        }
    }
}

/// A manual change to a balance.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adjustment<'a> {
    /// The id of the adjustment.
    pub id: AdjustmentId,
    /// The account whose balance is changed.
    pub account: &'a AccountId,
    /// The currency of the credits. Defaults to [`Currency::CREDITS`].
    pub currency: &'a Currency,
    /// The change.
    pub kind: AdjustmentKind,
    /// The allowance of the account's plan: its grant and the grant's period.
    pub allowance: &'a Allowance,
    /// The time that decides which grants are due.
    pub now: Timestamp,
}

impl<'a> Adjustment<'a> {
    /// Creates an adjustment of the balance of `account`, under the allowance of its plan.
    pub fn new(
        id: AdjustmentId,
        account: &'a AccountId,
        kind: AdjustmentKind,
        allowance: &'a Allowance,
        now: Timestamp,
    ) -> Self {
        Self { id, account, currency: &Currency::CREDITS, kind, allowance, now }
    }
}

/// The outcome of an adjustment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an adjustment may have been rejected"]
pub enum Adjusted {
    /// The adjustment was applied.
    Done {
        /// The balance before the adjustment, including a grant that was due.
        before: Balance,
        /// The balance after the adjustment.
        balance: Balance,
    },
    /// The same adjustment was applied under this id before: nothing was changed.
    Repeated {
        /// The balance after the first application.
        balance: Balance,
    },
    /// A different adjustment was applied under this id before: nothing was changed.
    Conflict {
        /// The adjustment that was applied.
        made: AdjustmentKind,
    },
    /// The balance is smaller than the amount to deduct, or the bucket has less than the amount to move: nothing was
    /// changed.
    Insufficient {
        /// The current balance, or the amount in the bucket.
        balance: Credits,
    },
    /// The balance plus the open charges would be above [`Credits::MAX`]: nothing was changed.
    TooMuch {
        /// The current balance.
        balance: Credits,
    },
    /// The account has no limit, so nothing can be added or subtracted: nothing was changed. Set its balance first.
    Unlimited,
    /// The new bucket would expire before it starts, or has expired already: nothing was changed.
    Expired,
    /// The account has 256 buckets with credits in this currency: nothing was changed.
    TooManyBuckets,
    /// The account has no bucket with this id and with credits: nothing was changed.
    UnknownBucket,
}

/// Reads balances and changes them manually.
///
/// An implementation works on the authority's balances, never on a lease or a cache.
///
/// # Contract
///
/// - **Atomic.** [`adjust`](CreditAdmin::adjust) is one read-decide-write with respect to charges, settlements and
///   other adjustments. It first applies a [`Grant`](crate::account::Grant) that is due, as a charge does, and then the
///   change. A balance is never negative, but for a debt that [`Overage::Debt`](crate::account::Overage) allows. A
///   balance plus its open charges is never above [`Credits::MAX`]. A change that would break either bound is rejected,
///   and the rejection is a value, not an `Err`.
/// - **Idempotent by id.** The same adjustment under the same id is applied once. A repetition is answered with the
///   balance after the first application. A different kind or amount under that id is rejected. A rejected adjustment is
///   not recorded and may be tried again. A ledger records at least the last 1,024 adjustments of an account and
///   documents their number.
/// - **Conserved.** The conservation rule of [`CreditLedger`] also holds with adjustments included. Every change of a
///   bucket writes an entry in the same step, and so does every adjustment. A call that changes nothing need not write
///   one. The sum of the entries up to any number equals the balance at that entry, and the sum of a bucket's entries
///   equals the amount in it.
/// - **Buckets.** A top-up never changes the main bucket. A top-up with terms makes a bucket. The credits that are left in a bucket
///   at its expiry leave it then, at that exact millisecond. An account has at most 256 buckets with credits in each
///   currency. A ledger without buckets has one balance, and refuses what needs a bucket with an `Err`.
/// - **Debt.** Credits that are added pay a debt first.
/// - **Without limit.** A charge to an account without limit is posted with no balance and is not stored. Its
///   settlement or refund changes nothing, even after the account has a limit again. A charge that was taken before the
///   limit was removed and is closed while there is none returns nothing.
/// - **Reads write nothing.** [`balance_of`](CreditAdmin::balance_of) includes a grant that is due, and does not apply
///   it.
/// - **Visible at once.** The next charge through the same ledger sees the result of a call.
/// - **May be lossy:** only old entries. A ledger may keep only the newest entries and documents how many. The
///   numbering continues.
/// - **Folding changes no balance.** [`forget_entries`](CreditAdmin::forget_entries) does not change balances, open
///   charges or the ids of adjustments. The entries that it leaves still sum to the balance.
pub trait CreditAdmin: CreditLedger {
    /// Returns the balance of an account at a given time under the allowance of its plan.
    ///
    /// For an unknown account, the balance is the one that its first charge would see. Under a plan without limit,
    /// every account is without limit.
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance>;

    /// Returns the buckets of an account at a given time under the allowance of its plan: first those that can be spent,
    /// in the order of drawing, then those that have not started.
    ///
    /// It includes a grant that is due, and leaves out buckets that have expired. It writes nothing. Buckets without
    /// credits are left out but for the main bucket. An account without limit has no buckets.
    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>>;

    /// Returns the state of a key's budget at a given time. It writes nothing. Returns `None` if the ledger has no budgets,
    /// which is the default.
    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        let _ = (account, currency, draw, now);
        StoreFuture::ready(None)
    }

    /// Returns the entries that a query selects, newest first.
    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>>;

    /// Changes a balance.
    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted>;

    /// Removes an account's balance permanently, with its entries and open charges.
    ///
    /// Returns true if there was a balance. An account that is later created with the same id starts as a new one.
    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool>;

    /// Folds the oldest entries of every account into one entry of the kind
    /// [`Folded`](crate::credit::EntryKind::Folded).
    ///
    /// For each account it folds all entries before the first one that is not older than `before`. The folded entry has
    /// the number, the time and the balance of the last entry that was folded. Returns the number of removed entries.
    ///
    /// A ledger that keeps every entry grows until this is called. Call it daily, with a `before` that is as far back
    /// as entries are to be listed. Any number of nodes may call it at the same time. It works in small steps: after a
    /// failure, the entries folded so far stay folded.
    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64>;
}

impl<T: CreditAdmin + ?Sized> CreditAdmin for Arc<T> {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        (**self).balance_of(account, currency, allowance, now)
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        (**self).buckets_of(account, currency, allowance, now)
    }

    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        (**self).budget_of(account, currency, draw, now)
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        (**self).entries(query)
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        (**self).adjust(adjustment)
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        (**self).erase_balance(account)
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        (**self).forget_entries(before)
    }
}
