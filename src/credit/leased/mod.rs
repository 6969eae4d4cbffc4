//! Credits that a node spends without a round trip.

mod credits;
mod purse;
mod resort;
mod tend;
mod terms;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use purse::Purse;
pub use terms::LeaseTerms;

use crate::account::Account;
use crate::amount::ChargeIds;
use crate::clock::{Clock, SystemClock};
use crate::credit::CreditLeasing;
use crate::error::StoreError;
use crate::name::AccountId;
use crate::state::StateOwner;
use crate::trace::Mode;

/// A ledger that spends credits in process: it takes blocks of an account's credits from an authority, such as a
/// database, and charges what it can out of them.
///
/// # What it does
///
/// A request that the node's blocks cover is charged, settled and refunded in process, without waiting and without an
/// allocation. Any other goes straight to the authority, as it would without this; and in the background a block is taken
/// for those that follow. So an account that is used now and then costs no more than before, and none is refused that the
/// authority would serve. Entries are written per block: at the authority a node's blocks are what is listed, not its
/// requests.
///
/// A block is at most a quarter of the balance, divided by the number of nodes, and at most what the terms say; it grows
/// with the demand. An account whose balance is too small for that has no blocks: its last credits are spent at the
/// authority, one request at a time.
///
/// # What a node holds
///
/// With every block that it takes, a node holds at most its share of what is left: the balance at the authority, divided by
/// twice the number of nodes ([`LeaseTerms::share_of`]). Where an answer of the authority shows that it holds more, since
/// others have spent, the surplus goes back at once. A block is given back when it is [`longest`](LeaseTerms::longest) old,
/// at the latest after half of that again, and what is taken then is measured by what is left then.
///
/// A node refuses a request by 402 when the authority and its own blocks have too little. What may be left then is what the
/// other nodes hold: **less than half of what was left one and a half times `longest` ago**, 1.5 s if nothing is said. After
/// that time it is back, whether these nodes are in use or not, and a request that asks again gets it. Only a block with open
/// requests waits for those to end.
///
/// # What it promises
///
/// - **Never overspends**, whatever dies. A node spends only what it has *committed*: what the authority counts as spent
///   already, should it not hear of the node again. No clocks are compared for this.
/// - **What a dead node held comes back** when the authority's sweep closes its blocks, but for what it had committed and
///   not spent: at most the terms' [`headroom`](LeaseTerms::headroom) per account and node, over all its blocks, and what came
///   back to the node since, of charges that were refunded or settled for less. It is what the node spends next. Where requests
///   cost different amounts, the cost of one that was about to be served comes on top.
/// - **Nothing is stuck.** What a node holds goes back when the account has been [`idle`](LeaseTerms::idle), at the latest
///   when the block is [`longest`](LeaseTerms::longest) old, and at [`close`](LeasedLedger::close). A block that has
///   charges open waits for them, at most until the authority's sweep. The node that holds credits spends them itself before
///   it refuses.
/// - **A balance that is set by hand** ([`AdjustmentKind::Set`](crate::credit::AdjustmentKind::Set)) takes back at once what nodes hold
///   and have not committed: nothing of it is spent, and nothing comes back on top of what was set. A node goes on with what
///   it has committed, at most its headroom, until its next round trip, at most for `longest`. A deduction finds what nodes
///   hold at the authority after one and a half times `longest`.
/// - **A block whose answer was lost** is given back in the background until the authority has confirmed it, also at
///   [`close`](LeasedLedger::close): nothing is lost by it while the node lives, unless the sweep comes first.
/// - **Grants** are the authority's: one that comes due counts what is out and not committed as a part of the balance that it
///   refills. What is committed counts as spent. Where it is not, and comes back after the grant, the balance is that
///   much above the grant's amount: at most the `headroom` for each node, and what was open in its blocks and came to less.
///
/// The age at which the authority's sweep closes open charges must be above `longest`; what is older is lost to the node.
///
/// With the feature `tracing`, one event (a warning) says when the authority fails, and one when it answers again. Both name the
/// type of the authority; the text of its error is in an event at debug level.
///
/// The work in the background runs on the tokio runtime that requests are served on; outside of one nothing is leased.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::Arc;
/// use tollgate::credit::{LeaseTerms, LeasedLedger};
/// use tollgate::MemoryLedger;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tollgate::StoreError> {
/// let authority = Arc::new(MemoryLedger::new()); // a database, elsewhere
/// let four = NonZeroU32::new(4).unwrap();
/// let ledger = LeasedLedger::new(Arc::clone(&authority), LeaseTerms::of_nodes(four));
/// // … serve …
/// ledger.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct LeasedLedger<T>(Arc<Shared<T>>);

struct Shared<T> {
    authority: T,
    terms: LeaseTerms,
    clock: Arc<dyn Clock>,
    owner: StateOwner,
    ids: ChargeIds,
    purses: Mutex<HashMap<AccountId, Arc<Purse>>>,
    closed: AtomicBool,
    /// Whether a task looks after idle purses.
    watched: AtomicBool,
    /// Tells the log when the authority fails.
    told: Mode,
}

/// How far apart the log is told of an authority that fails now and then.
const APART: Duration = Duration::from_millis(100);

impl<T: CreditLeasing> LeasedLedger<T> {
    /// Spends in process what it leases from `authority`, on these terms.
    pub fn new(authority: T, terms: LeaseTerms) -> Self {
        Self::with_clock(authority, terms, SystemClock::new())
    }

    /// The same, with the gate's clock.
    pub fn with_clock(authority: T, terms: LeaseTerms, clock: impl Clock) -> Self {
        Self(Arc::new(Shared {
            authority,
            terms,
            clock: Arc::new(clock),
            owner: StateOwner::new(),
            ids: ChargeIds::new(),
            purses: Mutex::default(),
            closed: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            told: Mode::before::<T>(
                "the authority of leased credits fails: a node spends what it has committed, and nothing else",
                "the authority of leased credits answers again",
            )
            .apart(APART),
        }))
    }

    /// The authority.
    pub fn authority(&self) -> &T {
        &self.0.authority
    }

    /// How many credits of an account this node holds in blocks, and has not spent.
    pub fn held(&self, account: &str) -> crate::amount::Credits {
        let purse = self.0.purses().get(account).map(Arc::clone);
        crate::amount::Credits::new(purse.map_or(0, |purse| purse.lock().rest()))
    }

    /// Gives back what has been idle or is too old, as it is done in the background all the time. There is no need to call
    /// it but in tests.
    ///
    /// # Errors
    ///
    /// The first block that could not be given back; it is tried again the next time.
    pub async fn tend(&self) -> Result<(), StoreError> {
        self.0.give_back_idle().await
    }

    /// Gives back all that is held or on its way here, and leases nothing from then on: for shutdown, when the last request
    /// has been answered. Charges that are open still give their blocks back when they are closed. It ends within the terms'
    /// [`closing`](LeaseTerms::closing).
    ///
    /// # Errors
    ///
    /// The first block that could not be given back, or a time-out. What is out comes back by the authority's sweep.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.closed.store(true, Ordering::Release);
        let returned = tokio::time::timeout(self.0.terms.closing, self.0.give_back_all()).await;
        returned.unwrap_or(Err(StoreError::timed_out()))
    }
}

impl<T> Shared<T> {
    /// Tells the log whether the authority has answered.
    fn heard<R>(&self, answer: &Result<R, StoreError>) {
        match answer {
            Err(error) if !error.is_answer() => self.told.begin(self.clock.now().ticks(), error),
            _ => self.told.end(),
        }
    }

    fn purses(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<Purse>>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `with` on the account's purse, which is made if there is none.
    fn with_purse<R>(&self, account: &Account, with: impl FnOnce(&Arc<Purse>) -> R) -> R {
        let purse = account.state().share::<Purse>(self.owner).unwrap_or_else(|| {
            let mut purses = self.purses();
            let make = || Arc::new(Purse::of(account));
            let purse = Arc::clone(purses.entry(account.id.clone()).or_insert_with(make));
            account.state().attach(self.owner, Arc::clone(&purse));
            purse
        });
        with(&purse)
    }
}

impl<T> Clone for LeasedLedger<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for LeasedLedger<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedLedger")
            .field("authority", &self.0.authority)
            .field("terms", &self.0.terms)
            .field("accounts", &self.0.purses().len())
            .finish_non_exhaustive()
    }
}
