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

pub(crate) use purse::Purse;
pub use terms::LeaseTerms;

use crate::credit::ChargeIds;
use crate::{Account, AccountId, Clock, CreditLeasing, SlotOwner, StoreError, SystemClock};

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
/// # What it promises
///
/// - **Never overspends**, whatever dies. A node spends only what it has *committed*: what the authority counts as spent
///   already, should it not hear of the node again. No clocks are compared for this.
/// - **What a dead node held comes back** when the authority's sweep closes its blocks, but for what it had committed and
///   not spent: at most the terms' [`headroom`](LeaseTerms::headroom) per account and node, and what came back to the node
///   since, of charges that were refunded or settled for less. It is what the node spends next.
/// - **Nothing is stuck.** What a node holds goes back when the account has been [`idle`](LeaseTerms::idle), at the latest
///   when the block is [`longest`](LeaseTerms::longest) old, and at [`close`](LeasedLedger::close). A block that has
///   charges open waits for them, at most until the authority's sweep. Until then another node may refuse a request by 402
///   for credits that are out; the node that holds them spends them itself before it refuses.
/// - **A block whose answer was lost** is given back in the background until the authority has confirmed it, also at
///   [`close`](LeasedLedger::close): nothing is lost by it while the node lives, unless the sweep comes first.
/// - **Grants** are the authority's: one that comes due counts what is out and not committed as a part of the balance that it
///   refills. What is committed counts as spent. Where it is not, and comes back after the grant, the balance is that
///   much above the grant's amount: at most the `headroom` for each node, and what was open in its blocks and came to less.
///
/// The age at which the authority's sweep closes open charges must be above `longest`; what is older is lost to the node.
/// A balance that is set or deducted from by hand leaves blocks that are out as they are, as it does open charges.
///
/// The work in the background runs on the tokio runtime that requests are served on; outside of one nothing is leased.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::Arc;
/// use tollgate::{LeaseTerms, LeasedLedger, MemoryLedger};
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
    owner: SlotOwner,
    ids: ChargeIds,
    purses: Mutex<HashMap<AccountId, Arc<Purse>>>,
    closed: AtomicBool,
    /// Whether a task looks after idle purses.
    watched: AtomicBool,
}

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
            owner: SlotOwner::new(),
            ids: ChargeIds::new(),
            purses: Mutex::default(),
            closed: AtomicBool::new(false),
            watched: AtomicBool::new(false),
        }))
    }

    /// The authority.
    pub fn authority(&self) -> &T {
        &self.0.authority
    }

    /// How many credits of an account this node holds in blocks, and has not spent.
    pub fn held(&self, account: &str) -> crate::Credits {
        let purse = self.0.purses().get(account).map(Arc::clone);
        crate::Credits::new(purse.map_or(0, |purse| purse.lock().rest()))
    }

    /// Gives back what has been idle or is too old, as it is done in the background all the time. There is no need to call
    /// it but in tests.
    ///
    /// # Errors
    ///
    /// The first block that could not be given back; it is tried again the next time.
    pub async fn tend(&self) -> Result<(), StoreError> {
        let (now, idle) = (self.0.clock.now(), self.0.terms.idle);
        self.0.work_on_all(|state| state.end_idle(now, idle)).await
    }

    /// Gives back all that is held or on its way here, and leases nothing from then on: for shutdown, when the last request
    /// has been answered. Charges that are open still give their blocks back when they are closed.
    ///
    /// # Errors
    ///
    /// The first block that could not be given back, or an authority that has not answered what it was asked before for as
    /// long as a block may be held. What is out comes back by the authority's sweep.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.closed.store(true, Ordering::Release);
        // A block that is on its way is held when it arrives, and could not be given back before.
        let arrived = tokio::time::timeout(self.0.terms.longest, self.0.under_way()).await;
        let returned = self.0.work_on_all(purse::State::end_all).await;
        arrived.map_err(|_| StoreError::timed_out()).and(returned)
    }
}

impl<T> Shared<T> {
    fn purses(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<Purse>>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `with` on the account's purse, which is made if there is none.
    fn with_purse<R>(&self, account: &Account, with: impl FnOnce(&Arc<Purse>) -> R) -> R {
        let purse = account.credits.share::<Purse>(self.owner).unwrap_or_else(|| {
            let mut purses = self.purses();
            let make = || Arc::new(Purse::of(account));
            let purse = Arc::clone(purses.entry(account.id.clone()).or_insert_with(make));
            account.credits.fill(self.owner, Arc::clone(&purse));
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
