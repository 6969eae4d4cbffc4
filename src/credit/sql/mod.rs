//! A credit ledger in a SQL database.

mod audit;
mod fold;
mod lease;
mod read;
mod rows;
mod sweep;
mod write;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use writer::Writer;

use crate::account::{Allowance, BudgetStatus};
use crate::amount::Currency;
use crate::clock::Timestamp;
use crate::credit::decide::{Answer, Ask};
use crate::credit::{
    Abandoned, Adjusted, Adjustment, Balance, Bucket, BudgetDraw, Charge, Charged, CreditAdmin, CreditLedger,
    Disagreement, Entry, EntryQuery, Refund, Settlement,
};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::metrics;
use crate::name::AccountId;
use crate::sql::{Database, carried_through};

/// A ledger that keeps balances in SQLite or PostgreSQL: the authority of one machine, or of a fleet.
///
/// Calls that are made at the same time go to the database together, in one transaction. Each call is answered after
/// the commit, so an answered call survives whatever the database's commits survive (see
/// [`Durability`](crate::sql::Durability)). A balance is changed by one conditional update, which names the version of
/// the balance that the decision was based on. If another node was faster, the decision is made again.
///
/// A charge is stored before it is answered, and so are its settlement and its refund. A repeated charge, also from
/// another node, is recognised by its id. A refund or a settlement that arrives before its charge is stored. This
/// happens if a client disconnects while the charge is on its way. That charge is then never taken, and fails. A charge
/// that is rejected because 16,384 calls already wait is not sent, and its refund stores nothing. Charges of a crashed
/// node stay open until [`close_abandoned`](SqlLedger::close_abandoned) closes them.
///
/// All entries are kept until [`forget_entries`](CreditAdmin::forget_entries) folds old ones. The ids of all
/// adjustments are kept permanently. [`audit`](SqlLedger::audit) recomputes the balances from the entries.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if !cfg!(feature = "sqlite") {
/// #     return Ok(());
/// # }
/// use tollgate::account::Allowance;
/// use tollgate::clock::SystemClock;
/// use tollgate::credit::{Adjustment, AdjustmentKind, Balance, CreditAdmin, Currency, SqlLedger};
/// use tollgate::sql::Database;
/// use tollgate::{Clock, Credits};
///
/// # let path = std::env::temp_dir().join(format!("tollgate-ledger-{}.db", std::process::id()));
/// # let url = format!("sqlite:{}", path.display());
/// let ledger = SqlLedger::new(&Database::connect(&url).await?);
/// let (acme, none, now) = ("acme".into(), Allowance::None, SystemClock::new().now().wall());
/// let paid = AdjustmentKind::TopUp(Credits::new(50));
/// let _ = ledger.adjust(&Adjustment::new("invoice-7".parse()?, &acme, paid, &none, now)).await?;
/// assert_eq!(ledger.balance_of(&acme, &Currency::CREDITS, &none, now).await?, Balance::Limited(Credits::new(50)));
/// assert!(ledger.audit().await?.is_empty());
/// # for ending in ["", "-wal", "-shm"] {
/// #     let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqlLedger {
    database: Database,
    writer: Arc<Writer>,
}

impl SqlLedger {
    /// Creates a ledger that keeps its balances in `database`.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone(), writer: Arc::new(Writer::new(database)) }
    }

    /// Closes the charges that have been open for at least `open_for`, and returns their number.
    ///
    /// The nodes of such charges have crashed, or could not reach the database to close them. Any number of nodes may
    /// do this at once: each charge is closed once.
    ///
    /// A leased block is closed at its committed amount, whatever the policy for other charges is.
    ///
    /// Call it every few minutes. `open_for` must be longer than the longest request and longer than the longest lease:
    /// otherwise a request that is still being served finds its charge closed. Ages are measured by PostgreSQL's own
    /// clock, whatever the clocks of the nodes show. For a SQLite file, they are measured by the clock of the machine.
    ///
    /// # Errors
    ///
    /// A database that does not answer: the charges closed before that stay closed. A charge or a balance that cannot
    /// be read: all others are closed.
    pub async fn close_abandoned(&self, open_for: Duration, policy: Abandoned) -> Result<u64, StoreError> {
        let closed = sweep::close_abandoned(&self.database, &self.writer, open_for, policy).await?;
        metrics::swept("sql", closed);
        Ok(closed)
    }

    /// Forgets the charges that have been closed for at least `closed_for`, measured by the same clock, and returns
    /// their number.
    ///
    /// The entries are kept. A forgotten charge can no longer be distinguished from a new one: keep closed charges for
    /// a day.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn forget_closed(&self, closed_for: Duration) -> Result<u64, StoreError> {
        sweep::forget_closed(&self.database, closed_for).await
    }

    /// Recomputes all balances from the entries, and the sums of the open charges, and returns the accounts whose
    /// stored values differ.
    ///
    /// It reads every entry, a few accounts at a time. It blocks no other call: it opens a connection beside those of
    /// the pool.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn audit(&self) -> Result<Vec<Disagreement>, StoreError> {
        audit::audit(&self.database).await
    }

    /// Submits a call to the writer, and waits for its answer.
    fn ask<T: Send + 'static>(
        &self,
        ask: Ask,
        read: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let writer = Arc::clone(&self.writer);
        StoreFuture::boxed(async move {
            let answer = Writer::submit(&writer, ask).await?;
            read(answer).ok_or_else(|| StoreError::corrupt("the writer returned a result of another type"))
        })
    }
}

impl CreditLedger for SqlLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        let account = match rows::key(&charge.account.id, charge.currency) {
            Ok(account) => account,
            Err(error) => return StoreFuture::failed(error),
        };
        let ask = Ask::charge_to(account, charge, None);
        self.ask(ask, |answer| if let Answer::Charged(charged) = answer { Some(charged) } else { None })
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        let account = match rows::key(&settlement.account.id, settlement.currency) {
            Ok(account) => account,
            Err(error) => return StoreFuture::failed(error),
        };
        let ask = Ask::settle(account, settlement);
        self.ask(ask, |answer| matches!(answer, Answer::Closed(_)).then_some(()))
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        if self.writer.take_unsent(refund.id) {
            return StoreFuture::ready(());
        }
        let account = match rows::key(&refund.account.id, refund.currency) {
            Ok(account) => account,
            Err(error) => return StoreFuture::failed(error),
        };
        let ask = Ask::refund(account, refund);
        self.ask(ask, |answer| matches!(answer, Answer::Closed(_)).then_some(()))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Some(self)
    }
}

impl CreditAdmin for SqlLedger {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        let (database, key, allowance) =
            (self.database.clone(), rows::key(account, currency), allowance.clone());
        carried_through(async move {
            let model = read::credits_of(&database, &key?).await?;
            Ok(model.balance_at(&allowance, now))
        })
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        let (database, key, allowance) =
            (self.database.clone(), rows::key(account, currency), allowance.clone());
        carried_through(async move {
            let model = read::credits_of(&database, &key?).await?;
            Ok(model.buckets_at(&allowance, now))
        })
    }

    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        let (database, key) = (self.database.clone(), rows::key(account, currency));
        let (owner, budget) = (draw.key, draw.budget.clone());
        carried_through(async move {
            let model = read::budget_of(&database, &key?, owner).await?;
            Ok(Some(model.budget_at(&BudgetDraw { key: owner, budget: &budget }, now)))
        })
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        let (database, query) = (self.database.clone(), query.clone());
        carried_through(async move { read::entries(&database, &query).await })
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        let account = match rows::key(adjustment.account, adjustment.currency) {
            Ok(account) => account,
            Err(error) => return StoreFuture::failed(error),
        };
        let ask = Ask::Adjust {
            id: adjustment.id.clone(),
            account,
            kind: adjustment.kind.clone(),
            allowance: adjustment.allowance.clone(),
            now: adjustment.now,
        };
        self.ask(ask, |answer| if let Answer::Adjusted(adjusted) = answer { Some(adjusted) } else { None })
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        let (database, account) = (self.database.clone(), account.clone());
        carried_through(async move { sweep::erase(&database, &account).await })
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        let database = self.database.clone();
        carried_through(async move { fold::forget_entries(&database, before).await })
    }
}

impl fmt::Debug for SqlLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlLedger({})", self.database.name())
    }
}
