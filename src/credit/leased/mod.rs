//! A ledger that spends leased credits without a round trip.

mod credits;
mod direct_charge;
mod leased_balance;
mod maintenance;
mod terms;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use leased_balance::LeasedBalance;
pub use terms::LeaseTerms;

use crate::account::Account;
use crate::amount::ChargeIds;
use crate::clock::{Clock, SystemClock};
use crate::credit::CreditLeasing;
use crate::error::StoreError;
use crate::metrics::LeaseMetrics;
use crate::name::AccountId;
use crate::state::StateOwner;
use crate::trace::Mode;

/// A ledger that spends credits in process.
///
/// It takes blocks of an account's credits from an authority, such as a database, and charges requests to those blocks
/// where it can.
///
/// # Behaviour
///
/// A request that the node's blocks cover is charged, settled and refunded in process, without waiting and without an
/// allocation. Any other request goes straight to the authority, as it would without this ledger. A block for the
/// following requests is then taken in the background. An account that is used only now and then therefore costs no
/// more than before, and no request is denied that the authority would charge. Entries are written per block: the
/// authority lists a node's blocks, not its requests.
///
/// A block is at most a quarter of the balance divided by the number of nodes, and at most the block size of the terms.
/// It grows with the demand. An account whose balance is too small for that has no blocks: its last credits are spent
/// at the authority, one request at a time.
///
/// # Amounts leased
///
/// After a node takes a block, its blocks amount to at most its share of the remaining balance: the balance at the
/// authority divided by twice the number of nodes ([`LeaseTerms::share_of`]). If an answer of the authority shows that
/// the node has more than its share, because other nodes have spent credits, the surplus is returned at once. A block
/// is returned when its age reaches [`longest`](LeaseTerms::longest), and at the latest after 1.5 times `longest`. The
/// next block is then sized by the balance at that time.
///
/// A node denies a request with 402 when the authority and the node's own blocks have too few credits. Only credits
/// leased to other nodes can remain then: **less than half of the balance of 1.5 times `longest` ago** (1.5 s by
/// default). After that time these credits are returned, whether those nodes are in use or not, and a repeated request
/// gets them. Only a block with open requests waits for those requests to end.
///
/// # Guarantees
///
/// - **Never overspends**, whichever process crashes. A node spends only credits that it has *committed*: the authority
///   counts them as spent even if the node never contacts it again. No clocks are compared for this.
/// - **Credits of a crashed node are returned** when the authority's sweep closes its blocks. Committed credits that
///   were not spent are lost. Per account and node, over all its blocks, these are at most the terms'
///   [`headroom`](LeaseTerms::headroom), plus the credits that have since been returned to the node by refunds and by
///   settlements below the charge. A live node spends these credits next. If requests cost different amounts, the cost
///   of one request that was about to be served is added.
/// - **No credits are stuck.** A node returns its blocks when the account has been unused for
///   [`idle`](LeaseTerms::idle), at the latest when a block's age reaches [`longest`](LeaseTerms::longest), and at
///   [`close`](LeasedLedger::close). A block with open charges waits for them, at most until the authority's sweep. A
///   node spends its own credits before it denies a request.
/// - **Setting a balance manually** ([`AdjustmentKind::Set`](crate::credit::AdjustmentKind::Set)) reclaims the
///   uncommitted credits of all nodes at once. None of them are spent, and none are added to the balance that was set.
///   A node continues with its committed credits, at most its headroom, until its next round trip, at most for
///   `longest`. A deduction finds the credits of the nodes at the authority after 1.5 times `longest`.
/// - **A block whose answer was lost** is returned in the background until the authority has confirmed it, also at
///   [`close`](LeasedLedger::close). No credits are lost while the node runs, unless the sweep closes the block first.
/// - **Grants** are applied by the authority. A grant that is due counts the uncommitted part of all blocks as part of
///   the balance that it refills. The committed part counts as spent. If committed credits are not spent and are
///   returned after the grant, the balance exceeds the grant's amount by them. For each node, this is at most the
///   `headroom` plus the amounts by which charges that were open in its blocks were settled for less.
///
/// - **Budgets** are never exceeded through leases. A charge with a budget goes straight to the authority, and so does a
///   charge in another currency than the default one.
/// - **Order of buckets.** A block holds the credits of one bucket or of several, drawn in the order of buckets at the time
///   when it was taken. Requests may therefore spend credits of a block while the account has credits that should be
///   spent first, such as a purchase of a higher priority that was made meanwhile. They may also spend credits of a bucket
///   that has expired, and leave credits that expire soon at the authority. All nodes together deviate by at most their
///   shares, **less than half of the balance**, for at most 1.5 times `longest` after the block was taken, and a block
///   with open charges until they end. Credits that return after the expiry of their bucket expire at once.
/// - **Costs above the charge.** A settlement above a charge of a block takes the committed credits of that block first.
///   The rest is charged at the authority, as for any other charge: its [`Overage`](crate::account::Overage) decides if the
///   credits there do not suffice. Credits leased to nodes are not counted then: a cost may be capped, or owed, although
///   the nodes have **up to half of the balance of 1.5 times `longest` ago**. A debt is paid when they return.
///
/// The age at which the authority's sweep closes open charges must be above `longest`. A block older than that is lost
/// to the node.
///
/// With the feature `tracing`, one event (a warning) is logged when the authority fails, and one when it answers again.
/// Both name the type of the authority. The text of the authority's error is logged in an event at debug level.
///
/// The background work runs on the tokio runtime that serves the requests. Outside a runtime, nothing is leased.
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
    authority: Arc<T>,
    terms: LeaseTerms,
    clock: Arc<dyn Clock>,
    owner: StateOwner,
    ids: ChargeIds,
    leased_balances: Mutex<HashMap<AccountId, Arc<LeasedBalance>>>,
    closed: AtomicBool,
    /// True if a task returns the blocks of idle accounts.
    checks_idle: AtomicBool,
    /// Logs when the authority fails and when it recovers.
    log: Mode,
    metrics: LeaseMetrics,
}

/// The minimum interval between log events of an authority that fails intermittently.
const APART: Duration = Duration::from_millis(100);

impl<T: CreditLeasing> LeasedLedger<T> {
    /// Creates a ledger that leases credits from `authority` on these terms.
    pub fn new(authority: T, terms: LeaseTerms) -> Self {
        Self::with_clock(authority, terms, SystemClock::new())
    }

    /// Creates a ledger like [`new`](Self::new), with the gate's clock.
    pub fn with_clock(authority: T, terms: LeaseTerms, clock: impl Clock) -> Self {
        Self(Arc::new(Shared {
            authority: Arc::new(authority),
            terms,
            clock: Arc::new(clock),
            owner: StateOwner::new(),
            ids: ChargeIds::new(),
            leased_balances: Mutex::default(),
            closed: AtomicBool::new(false),
            checks_idle: AtomicBool::new(false),
            log: Mode::before::<T>(
                "the authority of leased credits fails: nodes spend only the credits of blocks that they have committed",
                "the authority of leased credits has recovered",
            )
            .apart(APART),
            metrics: LeaseMetrics::new(),
        }))
    }

    /// Returns the authority.
    pub fn authority(&self) -> &T {
        &self.0.authority
    }

    /// Returns the number of an account's credits that this node has leased in blocks and not spent.
    pub fn held(&self, account: &str) -> crate::amount::Credits {
        let leased_balance = self.0.leased_balances().get(account).map(Arc::clone);
        crate::amount::Credits::new(
            leased_balance.map_or(0, |leased_balance| leased_balance.lock().unspent()),
        )
    }

    /// Returns the blocks that are idle or too old to the authority.
    ///
    /// The background task does this continuously. Only tests need to call it.
    ///
    /// # Errors
    ///
    /// The error of the first block that could not be returned. It is tried again the next time.
    pub async fn maintain(&self) -> Result<(), StoreError> {
        self.0.return_idle().await
    }

    /// Returns all blocks to the authority, including blocks that are still being taken, and leases nothing from then on.
    ///
    /// Call it at shutdown, after the last request has been answered. A block with open charges is returned when
    /// those charges are closed. The call ends within the terms' [`closing`](LeaseTerms::closing).
    ///
    /// # Errors
    ///
    /// The error of the first block that could not be returned, or a time-out. The authority's sweep reclaims the
    /// remaining blocks.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.closed.store(true, Ordering::Release);
        let returned = tokio::time::timeout(self.0.terms.closing, self.0.return_all()).await;
        returned.unwrap_or(Err(StoreError::timed_out()))
    }
}

impl<T> Shared<T> {
    /// Reports an answer or a failure of the authority to the log.
    fn note_answer<R>(&self, answer: &Result<R, StoreError>) {
        match answer {
            Err(error) if !error.is_answer() => self.log.begin(self.clock.now().ticks(), error),
            _ => self.log.end(),
        }
    }

    fn leased_balances(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<LeasedBalance>>> {
        self.leased_balances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `with` on the account's leased state, which is created if there is none.
    fn with_leased_balance<R>(&self, account: &Account, with: impl FnOnce(&Arc<LeasedBalance>) -> R) -> R {
        let leased_balance = account.state().share::<LeasedBalance>(self.owner).unwrap_or_else(|| {
            let mut leased_balances = self.leased_balances();
            let make = || Arc::new(LeasedBalance::of(account));
            let leased_balance = Arc::clone(leased_balances.entry(account.id.clone()).or_insert_with(make));
            account.state().attach(self.owner, Arc::clone(&leased_balance));
            leased_balance
        });
        with(&leased_balance)
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
            .field("accounts", &self.0.leased_balances().len())
            .finish_non_exhaustive()
    }
}
