//! Costs above charges, budgets and currencies under leases, over every authority.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::account::{Allowance, Budget, GrantPeriod, Overage};
use tollgate::clock::{Clock, SystemClock, Timestamp};
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentKind, Balance, BudgetDraw, Charge, ChargeId, Charged, Commitment,
    CreditAdmin, CreditLeasing, Currency, LeaseTerms, LeasedLedger, Settlement,
};
use tollgate::{Account, CreditLedger, Credits, KeyId, MemoryLedger};

/// The next id of a charge.
static IDS: AtomicU64 = AtomicU64::new(1_000_000);

/// A node, its authority, and an account.
struct Lessee<L> {
    authority: Arc<L>,
    node: LeasedLedger<Arc<L>>,
    account: Account,
    clock: SystemClock,
}

impl<L: CreditLeasing + CreditAdmin> Lessee<L> {
    /// Creates an account with this balance, whose following charges are made in a block.
    async fn new(authority: &Arc<L>, account: &str, balance: u64) -> Self {
        let node = LeasedLedger::new(Arc::clone(authority), LeaseTerms::of_nodes(NonZeroU32::MIN));
        let account = Account::new(account, "pro");
        let lessee = Self { authority: Arc::clone(authority), node, account, clock: SystemClock::new() };
        let kind = AdjustmentKind::Set(Credits::new(balance));
        let now = lessee.clock.now().wall();
        let set = Adjustment::new("set".parse().unwrap(), &lessee.account.id, kind, &Allowance::None, now);
        let made = authority.adjust(&set).await.unwrap();
        assert!(matches!(made, Adjusted::Done { .. } | Adjusted::Repeated { .. }));
        while lessee.node.held(lessee.account.id.as_str()).is_zero() {
            let id = lessee.charge(1).await.unwrap();
            lessee.settle(id, 0, Overage::Cap).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lessee
    }

    async fn charge(&self, amount: u64) -> Option<ChargeId> {
        let next = IDS.fetch_add(1, Ordering::Relaxed);
        let id = ChargeId::from_bytes(u128::from(next).to_be_bytes());
        let charge = Charge::new(id, &self.account, Credits::new(amount), &Allowance::None, self.clock.now());
        matches!(self.node.charge(&charge).await.unwrap(), Charged::Posted { .. }).then_some(id)
    }

    async fn settle(&self, id: ChargeId, cost: u64, overage: Overage) {
        let mut settlement = Settlement::new(&self.account, id, Credits::new(cost), &self.clock);
        settlement.overage = overage;
        self.node.settle(&settlement).await.unwrap();
        // A repetition changes nothing.
        self.node.settle(&settlement).await.unwrap();
    }

    /// Returns all blocks, and then the balance.
    async fn balance(&self) -> Balance {
        self.node.close().await.unwrap();
        let now = self.clock.now().wall();
        let (id, credits) = (&self.account.id, &Currency::CREDITS);
        self.authority.balance_of(id, credits, &Allowance::None, now).await.unwrap()
    }
}

fn limited(amount: u64) -> Balance {
    Balance::Limited(Credits::new(amount))
}

async fn check<L: CreditLeasing + CreditAdmin>(authority: L) {
    let authority = Arc::new(authority);
    for overage in [Overage::Cap, Overage::Debt] {
        let name = format!("{overage:?}");
        // A cost that the block covers, one beyond the block, and one above all credits.
        for (place, cost) in [2, 40, 700, 999, 1_000, 1_001, 5_000].into_iter().enumerate() {
            let lessee = Lessee::new(&authority, &format!("{name}{place}"), 1_000).await;
            let id = lessee.charge(1).await.unwrap();
            lessee.settle(id, cost, overage).await;
            let expected = match overage {
                Overage::Debt if cost > 1_000 => Balance::Owed(Credits::new(cost - 1_000)),
                _ if cost <= 1_000 => limited(1_000 - cost),
                _ => limited(0),
            };
            match (overage, lessee.balance().await) {
                // The credits of the node's own blocks that were not committed are returned, as the contract says.
                (Overage::Cap, Balance::Limited(left)) => {
                    let less = expected.credits().unwrap().get();
                    assert!((less..=less + 500).contains(&left.get()), "{cost}: {left} left");
                    assert!(cost > 500 || left.get() == less, "{cost}: {left} left");
                }
                (_, balance) => assert_eq!(balance, expected, "{cost}"),
            }
        }
    }
    budgets(&authority).await;
    currencies(&*authority).await;
}

async fn budgets<L: CreditLeasing + CreditAdmin>(authority: &Arc<L>) {
    let lessees =
        [Lessee::new(authority, "budget", 1_000).await, Lessee::new(authority, "budget", 1_000).await];
    let budget = Budget::new(Credits::new(50), GrantPeriod::every(Duration::from_hours(24)).unwrap());
    let mut posted = 0;
    for number in 0..40_u128 {
        let lessee = &lessees[usize::try_from(number % 2).unwrap()];
        let id = ChargeId::from_bytes((1_000 + number).to_be_bytes());
        let now = lessee.clock.now();
        let mut charge = Charge::new(id, &lessee.account, Credits::new(5), &Allowance::None, now);
        charge.budget = Some(BudgetDraw { key: KeyId::from_bytes([1; 16]), budget: &budget });
        posted += u32::from(matches!(lessee.node.charge(&charge).await.unwrap(), Charged::Posted { .. }));
        lessee.settle(id, 5, Overage::Cap).await;
    }
    assert_eq!(posted, 10, "no lease exceeds a budget");
}

/// A block in another currency is committed and closed there.
async fn currencies<L: CreditLeasing + CreditAdmin>(authority: &L) {
    let (account, tokens) = (Account::new("tokens", "pro"), "tokens".parse::<Currency>().unwrap());
    let now = SystemClock::new().now();
    let kind = AdjustmentKind::Set(Credits::new(100));
    let mut set = Adjustment::new(
        "set".parse().unwrap(),
        &account.id,
        kind,
        &Allowance::None,
        Timestamp::from_millis(0),
    );
    set.currency = &tokens;
    assert!(matches!(authority.adjust(&set).await.unwrap(), Adjusted::Done { .. }));
    let id = ChargeId::from_bytes([9; 16]);
    let mut block = Charge::new(id, &account, Credits::new(40), &Allowance::None, now);
    block.currency = &tokens;
    assert!(matches!(authority.lease(&block, Credits::new(10)).await.unwrap(), Charged::Posted { .. }));
    let mut commitment = Commitment::new(&account, id, Credits::new(20));
    assert!(!authority.commit(&commitment).await.unwrap(), "there is no such block of credits");
    commitment.currency = &tokens;
    assert!(authority.commit(&commitment).await.unwrap());
    let mut settlement = Settlement::new(&account, id, Credits::new(15), &now);
    settlement.currency = &tokens;
    authority.settle(&settlement).await.unwrap();
    let left = authority.balance_of(&account.id, &tokens, &Allowance::None, now.wall()).await.unwrap();
    assert_eq!(left, limited(85));
}

#[tokio::test]
async fn leased_memory_credits_take_late_costs() {
    check(MemoryLedger::new()).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn leased_redis_credits_take_late_costs() {
    use tollgate::credit::RedisLedger;
    use tollgate::redis::RedisServer;
    let Some(redis) = crate::services::redis::Redis::start() else { return };
    let ledger = RedisLedger::new(RedisServer::open(&redis.url(), "acme").unwrap());
    check(ledger.clone()).await;
    assert!(ledger.audit().await.unwrap().is_empty());
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn leased_sqlite_credits_take_late_costs() {
    use tollgate::credit::SqlLedger;
    use tollgate::sql::Database;
    let folder = crate::services::scratch("late_costs");
    let database =
        Database::connect(&format!("sqlite:{}", folder.join("ledger.db").display())).await.unwrap();
    let ledger = SqlLedger::new(&database);
    check(ledger.clone()).await;
    assert!(ledger.audit().await.unwrap().is_empty());
    database.close().await;
}
