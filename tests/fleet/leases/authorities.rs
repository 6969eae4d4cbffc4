//! Every ledger that lends blocks keeps to what it promises of them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tollgate::account::{Allowance, Grant, GrantPeriod};
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentKind, Balance, Charge, ChargeId, Charged, Commitment, CreditAdmin,
    CreditLeasing, CreditLedger, EntryQuery, LeaseTerms, LeasedLedger,
};
use tollgate::{Account, Credits, MemoryLedger, StoreError};

const NOON: i64 = 1_777_550_400_000;
const HOUR: i64 = 3_600_000;

/// A ledger, and its sweep of what has been open for a time.
struct Lender<L, S> {
    ledger: L,
    sweep: S,
    account: Account,
    allowance: Allowance,
}

impl<L: CreditLeasing + CreditAdmin, S: AsyncFn(&L, Duration) -> Result<u64, StoreError>> Lender<L, S> {
    fn new(ledger: L, sweep: S) -> Self {
        let hourly = Grant::new(Credits::new(100), GrantPeriod::every(Duration::from_hours(1)).unwrap());
        Self { ledger, sweep, account: Account::new("acme", "pro"), allowance: Allowance::Grant(hourly) }
    }

    /// Another account, of which nothing is known yet.
    fn turn_to(&mut self, account: &str) {
        self.account = Account::new(account, "pro");
    }

    async fn lease(&self, number: u8, amount: u64, committed: u64, at: i64) -> Charged {
        let (now, amount) = (Now::new(Timestamp::from_millis(at), Duration::ZERO), Credits::new(amount));
        let block = Charge::new(id(number), &self.account, amount, &self.allowance, now);
        self.ledger.lease(&block, Credits::new(committed)).await.unwrap()
    }

    async fn charge(&self, number: u8, amount: u64, at: i64) -> Charged {
        let (now, amount) = (Now::new(Timestamp::from_millis(at), Duration::ZERO), Credits::new(amount));
        let charge = Charge::new(id(number), &self.account, amount, &self.allowance, now);
        self.ledger.charge(&charge).await.unwrap()
    }

    async fn commit(&self, number: u8, upto: u64) -> bool {
        self.ledger.commit(&Commitment::new(&self.account, id(number), Credits::new(upto))).await.unwrap()
    }

    async fn settle(&self, number: u8, cost: u64) {
        self.ledger
            .settle(&crate::support::settlement(&self.account, id(number), Credits::new(cost)))
            .await
            .unwrap();
    }

    async fn swept(&self, open_for: Duration) -> u64 {
        (self.sweep)(&self.ledger, open_for).await.unwrap()
    }

    /// The balance at a moment; it is what the entries sum to.
    async fn balance(&self) -> u64 {
        let (id, none) = (&self.account.id, Allowance::None);
        let balance = self
            .ledger
            .balance_of(id, &tollgate::credit::Currency::CREDITS, &none, Timestamp::from_millis(NOON))
            .await
            .unwrap();
        let entries = self.ledger.entries(&EntryQuery::newest(id.as_str(), 10_000)).await.unwrap();
        let sum: i64 = entries.iter().map(|entry| entry.amount).sum();
        assert_eq!(sum.cast_unsigned(), balance.credits().unwrap().get(), "the entries sum to the balance");
        sum.cast_unsigned()
    }

    async fn keep_to_it(mut self) {
        self.blocks_are_charges().await;
        self.turn_to("abandoned");
        self.abandoned_blocks_come_to_what_is_committed().await;
        self.turn_to("granted");
        self.grants_count_what_is_out().await;
        self.turn_to("set");
        self.a_balance_that_is_set_recalls_blocks().await;
        self.turn_to("unlimited");
        self.without_limit_nothing_is_out().await;
    }

    async fn blocks_are_charges(&self) {
        assert_eq!(self.lease(1, 60, 5, NOON).await, posted(40));
        assert_eq!(self.lease(1, 60, 5, NOON).await, posted(40), "once per id");
        assert_eq!(self.charge(1, 60, NOON).await, posted(40), "whatever it is asked as");
        assert_eq!(self.lease(2, 60, 5, NOON).await, Charged::Insufficient { balance: Credits::new(40) });
        assert!(!self.commit(2, 10).await, "it was never taken");
        assert!(self.commit(1, 20).await && self.commit(1, 10).await && self.commit(1, 1_000).await);
        self.settle(1, 7).await;
        assert_eq!(self.balance().await, 93, "its holder knows what was spent");
        assert!(!self.commit(1, 30).await, "it is closed");
        self.settle(1, 60).await;
        self.ledger.refund(&crate::support::refund(&self.account, id(1))).await.unwrap();
        assert_eq!(self.balance().await, 93, "what is closed stays closed");
        assert_eq!(self.charge(3, 10, NOON).await, posted(83));
        assert!(!self.commit(3, 10).await, "a charge is no block");
        self.settle(3, 10).await;
        self.swept(Duration::ZERO).await;
        assert_eq!(self.balance().await, 83);
    }

    async fn abandoned_blocks_come_to_what_is_committed(&self) {
        assert_eq!(self.lease(10, 40, 5, NOON).await, posted(60));
        assert_eq!(self.lease(11, 20, 0, NOON).await, posted(40));
        assert!(self.commit(10, 25).await && self.commit(10, 3).await);
        assert_eq!(self.swept(Duration::from_hours(1)).await, 0, "they may be held still");
        assert_eq!(self.swept(Duration::ZERO).await, 2);
        assert_eq!(self.balance().await, 40 + 15 + 20);
        self.settle(10, 1).await;
        assert_eq!(self.balance().await, 75);
        assert_eq!(self.lease(12, 20, 50, NOON + 10).await, posted(55));
        assert_eq!(self.swept(Duration::ZERO).await, 1);
        assert_eq!(self.balance().await, 55, "all of it was committed");
    }

    async fn grants_count_what_is_out(&self) {
        assert_eq!(self.lease(20, 60, 10, NOON).await, posted(40));
        assert_eq!(self.charge(21, 30, NOON).await, posted(10));
        let due = Timestamp::from_millis(NOON + HOUR);
        let told = self
            .ledger
            .balance_of(&self.account.id, &tollgate::credit::Currency::CREDITS, &self.allowance, due)
            .await
            .unwrap();
        assert_eq!(told.credits(), Some(Credits::new(50)), "50 are out and may come back");
        assert_eq!(self.charge(22, 1, NOON + HOUR).await, posted(49));
        self.settle(20, 10).await;
        assert_eq!(self.balance().await, 99);
        assert_eq!(self.charge(23, 1, NOON + 2 * HOUR).await, posted(99));
        assert_eq!(self.lease(24, 30, 30, NOON + 2 * HOUR).await, posted(69));
        assert_eq!(self.charge(25, 1, NOON + 3 * HOUR).await, posted(99), "what is committed is spent");
    }

    async fn a_balance_that_is_set_recalls_blocks(&self) {
        assert_eq!(self.lease(40, 60, 10, NOON).await, posted(40));
        assert_eq!(self.lease(41, 20, 0, NOON).await, posted(20));
        assert_eq!(self.charge(42, 5, NOON).await, posted(15));
        let now = Timestamp::from_millis(NOON);
        let (name, kind) = ("zero".parse().unwrap(), AdjustmentKind::Set(Credits::ZERO));
        let asked = Adjustment::new(name, &self.account.id, kind, &self.allowance, now);
        let Adjusted::Done { before, balance } = self.ledger.adjust(&asked).await.unwrap() else {
            panic!("it was not set")
        };
        let credits = |amount| Balance::Limited(Credits::new(amount));
        assert_eq!(
            (before, balance),
            (credits(15 + 50 + 20), credits(0)),
            "all but what is committed was there"
        );
        assert!(!self.commit(40, 20).await && !self.commit(41, 20).await, "they are closed");
        self.settle(40, 3).await;
        self.ledger.refund(&crate::support::refund(&self.account, id(41))).await.unwrap();
        assert_eq!(self.balance().await, 0, "nothing of them comes back");
        assert_eq!(self.lease(44, 60, 10, NOON).await, Charged::Insufficient { balance: Credits::ZERO });
        // A charge is not a block: it comes back as it always did.
        self.ledger.refund(&crate::support::refund(&self.account, id(42))).await.unwrap();
        assert_eq!(self.balance().await, 5);
        // Nothing is out when the next grant comes.
        assert_eq!(self.charge(43, 1, NOON + HOUR).await, posted(99));
    }

    async fn without_limit_nothing_is_out(&self) {
        assert_eq!(self.lease(30, 60, 10, NOON).await, posted(40));
        let now = Timestamp::from_millis(NOON);
        let adjust = async |name: &str, kind| {
            let asked = Adjustment::new(name.parse().unwrap(), &self.account.id, kind, &Allowance::None, now);
            let _ = self.ledger.adjust(&asked).await.unwrap();
        };
        adjust("first", AdjustmentKind::MakeUnlimited).await;
        assert_eq!(self.lease(31, 60, 10, NOON).await, Charged::Posted { balance: None });
        assert!(!self.commit(31, 10).await);
        self.settle(30, 10).await;
        adjust("second", AdjustmentKind::Set(Credits::new(5))).await;
        assert_eq!(self.balance().await, 5);
        assert_eq!(self.charge(32, 1, NOON + HOUR).await, posted(99), "nothing is out any more");
    }
}

fn id(number: u8) -> ChargeId {
    ChargeId::from_bytes([number; 16])
}

fn posted(balance: u64) -> Charged {
    Charged::Posted { balance: Some(Credits::new(balance)) }
}

#[tokio::test]
async fn memory_ledger_lends_credits() {
    // In memory it goes by the time of the calls.
    let sweep = async |ledger: &MemoryLedger, open_for: Duration| {
        let age = i64::try_from(open_for.as_millis()).unwrap();
        Ok(ledger.close_abandoned(Timestamp::from_millis(NOON + 11 - age)))
    };
    Lender::new(MemoryLedger::with_entries(1_000), sweep).keep_to_it().await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_ledger_lends_credits() {
    use tollgate::credit::{Abandoned, RedisLedger};
    use tollgate::redis::RedisServer;
    let Some(redis) = crate::services::redis::Redis::start() else { return };
    let sweep = async |ledger: &RedisLedger, open_for| ledger.sweep(open_for, Abandoned::Refund).await;
    let ledger = RedisLedger::new(RedisServer::open(&redis.url(), "acme").unwrap());
    Lender::new(ledger, sweep).keep_to_it().await;
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
async fn a_database_lends(url: &str) {
    use tollgate::credit::{Abandoned, SqlLedger};
    use tollgate::sql::Database;
    let database = Database::connect(url).await.unwrap();
    let ledger = SqlLedger::new(&database);
    // Whatever becomes of charges: a block comes to what is committed.
    let sweep =
        async |ledger: &SqlLedger, open_for| ledger.close_abandoned(open_for, Abandoned::Refund).await;
    Lender::new(ledger.clone(), sweep).keep_to_it().await;
    assert!(ledger.audit().await.unwrap().is_empty());
    database.close().await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_ledger_lends_credits() {
    let folder = crate::services::scratch("leases");
    a_database_lends(&format!("sqlite:{}", folder.join("ledger.db").display())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_ledger_lends_credits() {
    let Some(postgres) = crate::services::postgres::Postgres::start() else { return };
    a_database_lends(&postgres.database()).await;
}

#[tokio::test]
async fn leased_ledger_has_its_authoritys_write_side() {
    let authority = Arc::new(MemoryLedger::new());
    let node = LeasedLedger::new(Arc::clone(&authority), LeaseTerms::of_nodes(NonZeroU32::MIN));
    let admin = Arc::new(node).admin().unwrap();
    let (acme, kind) = ("acme".into(), AdjustmentKind::Set(Credits::new(9)));
    let set =
        Adjustment::new("a".parse().unwrap(), &acme, kind, &Allowance::None, Timestamp::from_millis(NOON));
    assert!(matches!(admin.adjust(&set).await.unwrap(), Adjusted::Done { .. }));
    assert_eq!(authority.balance("acme"), Some(Credits::new(9)));
}
