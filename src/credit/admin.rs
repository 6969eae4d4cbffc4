//! The write side of a credit ledger: balances read, explained and changed by hand.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::account::Allowance;
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::{CreditLedger, Entry, EntryQuery};
use crate::error::ConfigError;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// What an account has to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// So much; what is charged and still open is taken.
    Limited(Credits),
    /// Whatever it asks for: nothing is charged.
    Unlimited,
}

impl Balance {
    /// How much; `None` where there is no limit.
    pub fn credits(self) -> Option<Credits> {
        match self {
            Self::Limited(credits) => Some(credits),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(credits) => credits.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// The longest id of an adjustment, in bytes.
const LONGEST_ID: usize = 128;

/// The id of one adjustment, chosen by whoever makes it, such as the number of a payment: what is sent again under the
/// same id is made once. It is unique within its account.
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
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdjustmentId {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=LONGEST_ID).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            // A hostile id is not repeated at length.
            let shown: String = text.chars().take(40).filter(|character| !character.is_control()).collect();
            let problem = "no adjustment can have this id";
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

/// How a balance is changed by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentKind {
    /// So much more.
    TopUp(Credits),
    /// So much less, if there is as much.
    Deduct(Credits),
    /// So much, whatever it was; an account without limit has one from then on. Blocks that nodes hold of the account are
    /// closed at what is committed of them.
    Set(Credits),
    /// No limit: nothing is charged any more, and what there was is gone.
    MakeUnlimited,
}

impl fmt::Display for AdjustmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopUp(amount) => write!(f, "top up {amount}"),
            Self::Deduct(amount) => write!(f, "deduct {amount}"),
            Self::Set(amount) => write!(f, "set {amount}"),
            Self::MakeUnlimited => f.write_str("make unlimited"),
        }
    }
}

/// A change to be made to a balance by hand.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adjustment<'a> {
    /// Its id.
    pub id: AdjustmentId,
    /// Whose balance.
    pub account: &'a AccountId,
    /// What to change.
    pub kind: AdjustmentKind,
    /// What the account's plan gives, and when again.
    pub allowance: &'a Allowance,
    /// The time by which grants come due.
    pub now: Timestamp,
}

impl<'a> Adjustment<'a> {
    /// A change to the balance of `account`, on the terms of its plan.
    pub fn new(
        id: AdjustmentId,
        account: &'a AccountId,
        kind: AdjustmentKind,
        allowance: &'a Allowance,
        now: Timestamp,
    ) -> Self {
        Self { id, account, kind, allowance, now }
    }
}

/// What became of an adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an adjustment may have been refused"]
pub enum Adjusted {
    /// It was made.
    Done {
        /// What there was, the grant that had come due counted in.
        before: Balance,
        /// What there is.
        balance: Balance,
    },
    /// The same was made under this id before: nothing was changed.
    Repeated {
        /// What there was after it was made.
        balance: Balance,
    },
    /// Something else was made under this id before: nothing was changed.
    Conflict {
        /// What was made.
        made: AdjustmentKind,
    },
    /// There is less than is to be deducted: nothing was changed.
    Insufficient {
        /// What there is.
        balance: Credits,
    },
    /// The balance, open charges counted in, would be above [`Credits::MAX`]: nothing was changed.
    TooMuch {
        /// What there is.
        balance: Credits,
    },
    /// An account without limit has nothing to add to or to take from: nothing was changed. Set its balance first.
    Unlimited,
}

/// Reads balances and changes them by hand: the authority, never a lease or a cache.
///
/// # Contract
///
/// - **Atomic.** [`adjust`](CreditAdmin::adjust) is one read-decide-write, against charges, settlements and other
///   adjustments: first the [`Grant`](crate::account::Grant) that has come due, as a charge would give it, then the change. A balance is never
///   negative and, with the open charges, never above [`Credits::MAX`]: what would make it so is refused as a value.
/// - **Idempotent by id.** The same adjustment under the same id is made once, and answered by the balance after it was
///   made; another kind or amount under that id is refused. A refused adjustment is not remembered: it may be tried
///   again. A ledger remembers at least the last 1,024 adjustments of an account, and says how many.
/// - **Conserved.** What [`CreditLedger`] says holds with adjustments put in. Whatever moves a balance writes an entry in
///   the same step, and so does every adjustment; a call that moves nothing need not. The entries up to any number sum
///   to the balance then.
/// - **Without limit.** For an account made unlimited a charge is posted with no balance and is not kept: to settle or
///   to refund it changes nothing, also after the account has a limit again. A charge that was taken before and is
///   closed meanwhile gives nothing back.
/// - **Reading writes nothing.** [`balance_of`](CreditAdmin::balance_of) counts a grant in that has come due, and does not
///   give it.
/// - **Seen at once.** The next charge through the same ledger meets what a call has done.
/// - **May be lossy:** old entries alone. A ledger may keep only the newest, and says how many; their numbers go on.
/// - **Folding moves nothing.** [`forget_entries`](CreditAdmin::forget_entries) leaves balances, open charges and the ids
///   of adjustments as they are, and the entries that it leaves still sum to the balance.
pub trait CreditAdmin: CreditLedger {
    /// What an account has to spend at a moment on the terms of its plan. An unknown account has what its first charge
    /// would find; under a plan without limit every account is without limit.
    fn balance_of(&self, account: &AccountId, allowance: &Allowance, now: Timestamp) -> StoreFuture<Balance>;

    /// The entries that a query asks for, the newest first.
    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>>;

    /// Changes a balance.
    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted>;

    /// Removes an account's balance for good, with its entries and open charges; says whether there was one. An account
    /// of the same id begins anew.
    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool>;

    /// Folds the oldest entries of every account, up to the first that is not older than this moment, into one of the kind
    /// [`Folded`](crate::credit::EntryKind::Folded). It has the number, the time and the balance of the last of them. Returns how
    /// many entries are gone.
    ///
    /// A ledger that keeps every entry grows until this is called: call it daily, with as long ago as entries are to be
    /// listed. Any number of nodes may call it at the same time. It works in small steps: where it fails midway, what was
    /// folded stays folded.
    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64>;
}

/// Forwards to what a pointer points to.
macro_rules! forward {
    ($pointer:ident) => {
        impl<T: CreditAdmin + ?Sized> CreditAdmin for $pointer<T> {
            fn balance_of(
                &self,
                account: &AccountId,
                allowance: &Allowance,
                now: Timestamp,
            ) -> StoreFuture<Balance> {
                (**self).balance_of(account, allowance, now)
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
    };
}

forward!(Arc);
forward!(Box);
