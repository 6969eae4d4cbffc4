//! Balances in a database.

mod ask;
mod audit;
mod batch;
mod fold;
#[cfg(feature = "fleet")]
mod lease;
mod read;
mod rows;
mod sweep;
mod write;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use audit::Disagreement;

use ask::{Answer, Ask};
use writer::Writer;

use crate::account::{Account, Allowance};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{
    Abandoned, Adjusted, Adjustment, Balance, Charge, Charged, CreditAdmin, CreditLedger, Entry, EntryKind,
    EntryQuery,
};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::sql::{Database, carried_through};

/// Balances in SQLite or PostgreSQL: the authority of one machine, or of a fleet.
///
/// What is asked at the same time goes to the database together, in one transaction, and every call is answered when that
/// is committed: what a call has answered survives what the database's commits survive (see
/// [`Durability`](crate::sql::Durability)). A balance is changed by one conditional update that says which version of the
/// balance it was decided on; where another node was faster, it is decided again.
///
/// A charge is written down before it is answered, and so are its settlement and its refund. One that comes again, also
/// from another node, is known by its id. A refund or a settlement that arrives before its charge, as when a client has left
/// while the charge was on its way, is remembered: that charge is never taken, and fails. Charges whose node has died stay
/// open until [`close_abandoned`](SqlLedger::close_abandoned) finds them.
///
/// All entries are kept until [`forget_entries`](CreditAdmin::forget_entries) folds old ones, and the ids of all adjustments
/// for good. [`audit`](SqlLedger::audit) recomputes the balances from the entries.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tollgate::account::Allowance;
/// use tollgate::clock::SystemClock;
/// use tollgate::credit::{Adjustment, AdjustmentKind, Balance, CreditAdmin, SqlLedger};
/// use tollgate::sql::Database;
/// use tollgate::{Clock, Credits};
///
/// # let path = std::env::temp_dir().join(format!("tollgate-ledger-{}.db", std::process::id()));
/// # let url = format!("sqlite:{}", path.display());
/// let ledger = SqlLedger::new(&Database::connect(&url).await?);
/// let (acme, none, now) = ("acme".into(), Allowance::None, SystemClock::new().now().wall());
/// let paid = AdjustmentKind::TopUp(Credits::new(50));
/// let _ = ledger.adjust(&Adjustment::new("invoice-7".parse()?, &acme, paid, &none, now)).await?;
/// assert_eq!(ledger.balance_of(&acme, &none, now).await?, Balance::Limited(Credits::new(50)));
/// assert!(ledger.audit().await?.is_empty());
/// # for ending in ["", "-wal", "-shm"] {
/// #     let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
/// # }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct SqlLedger {
    database: Database,
    writer: Arc<Writer>,
}

impl SqlLedger {
    /// The balances in a database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone(), writer: Arc::new(Writer::new(database)) }
    }

    /// Closes the charges that have been open for so long: their nodes have died, or could not reach the database to close
    /// them. Says how many. However many nodes do this at once, each charge is closed once.
    ///
    /// A block that a node has leased comes to what is committed of it, whatever becomes of charges.
    ///
    /// Call it every few minutes, with more than the longest request takes, and than the longest lease: a request that is
    /// still being served then finds its charge closed. Ages are counted by PostgreSQL's own clock, whatever those of the
    /// nodes say; over a SQLite file by that of the machine.
    ///
    /// # Errors
    ///
    /// A database that does not answer: what was closed until then stays closed. A charge or a balance that cannot be read:
    /// all others are closed.
    pub async fn close_abandoned(&self, open_for: Duration, policy: Abandoned) -> Result<u64, StoreError> {
        sweep::close_abandoned(&self.database, &self.writer, open_for, policy).await
    }

    /// Forgets the charges that have been closed for so long, by the same clock; says how many. The entries stay. A charge
    /// that is forgotten can no longer be told from a new one: leave it a day.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn forget_closed(&self, closed_for: Duration) -> Result<u64, StoreError> {
        sweep::forget_closed(&self.database, closed_for).await
    }

    /// Recomputes all balances from the entries, and what is held from the open charges; returns the accounts where that is
    /// not what is kept.
    ///
    /// It reads every entry, some accounts at a time, and keeps nobody waiting: it opens a connection beside those of the
    /// pool.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn audit(&self) -> Result<Vec<Disagreement>, StoreError> {
        audit::audit(&self.database).await
    }

    /// Hands something to the writer, and waits for its answer.
    fn ask<T: Send + 'static>(
        &self,
        ask: Ask,
        read: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let writer = Arc::clone(&self.writer);
        StoreFuture::boxed(async move {
            let answer = Writer::submit(&writer, ask).await?;
            read(answer).ok_or_else(|| StoreError::corrupt("the writer answered something else"))
        })
    }
}

impl CreditLedger for SqlLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        let ask = Ask::Charge {
            id: charge.id,
            account: charge.account.id.clone(),
            amount: charge.amount,
            allowance: charge.allowance.clone(),
            now: charge.now.wall(),
            committed: None,
        };
        self.ask(ask, |answer| if let Answer::Charged(charged) = answer { Some(charged) } else { None })
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        let ask = Ask::close(&account.id, id, cost, EntryKind::Settlement);
        self.ask(ask, |answer| matches!(answer, Answer::Closed(_)).then_some(()))
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        let ask = Ask::close(&account.id, id, Credits::ZERO, EntryKind::Refund);
        self.ask(ask, |answer| matches!(answer, Answer::Closed(_)).then_some(()))
    }
}

impl CreditAdmin for SqlLedger {
    fn balance_of(&self, account: &AccountId, allowance: &Allowance, now: Timestamp) -> StoreFuture<Balance> {
        let (database, account, allowance) = (self.database.clone(), account.clone(), allowance.clone());
        carried_through(async move { read::balance_of(&database, &account, &allowance, now).await })
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        let (database, query) = (self.database.clone(), query.clone());
        carried_through(async move { read::entries(&database, &query).await })
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        let ask = Ask::Adjust {
            id: adjustment.id.clone(),
            account: adjustment.account.clone(),
            kind: adjustment.kind,
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
