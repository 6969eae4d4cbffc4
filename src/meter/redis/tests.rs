//! Compares a draw and a charge in one call with two calls. Needs `redis-server`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::RedisMeter;
use crate::account::{Account, Allowance, Grant, GrantPeriod, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas};
use crate::amount::{ChargeId, Credits};
use crate::clock::{Now, Timestamp};
use crate::credit::{Charge, Charged, CreditAdmin, CreditLedger, RedisLedger};
use crate::error::StoreError;
use crate::key::{KeyHasher, KeyId, KeyRecord};
use crate::limit::redis::tests::services::redis::Redis;
use crate::limit::{Draw, LimitDecision, RateLimiter, RedisLimiter};
use crate::meter::{Meter, Metered};
use crate::redis::{RedisOptions, RedisServer};

fn server(redis: &Redis, prefix: &str) -> RedisServer {
    let mut options = RedisOptions::new(prefix);
    options.response_timeout = Duration::from_secs(5);
    RedisServer::with_options(&redis.url(), options).unwrap()
}

fn meter(redis: &Redis, prefix: &str) -> RedisMeter {
    let server = server(redis, prefix);
    RedisMeter::of(&RedisLimiter::new(server.clone()), &RedisLedger::new(server)).unwrap()
}

/// A key, its windows, and its account's terms.
struct Caller {
    record: KeyRecord,
    quotas: Quotas,
    allowance: Allowance,
    weight: NonZeroU32,
}

impl Caller {
    fn new(quotas: &[(u32, QuotaScope)], grant: u64) -> Self {
        let account = Arc::new(Account::new("acme", "plain"));
        let record = KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"secret"), account);
        let policy = |(quota, counts): &(u32, QuotaScope)| {
            QuotaPolicy::new(*quota, Duration::from_hours(24)).unwrap().counting(counts.clone())
        };
        let period = GrantPeriod::every(Duration::from_hours(1)).unwrap();
        let allowance = Allowance::Grant(Grant::new(Credits::new(grant), period));
        let quotas = Quotas::new(quotas.iter().map(policy));
        Self { record, quotas, allowance, weight: NonZeroU32::MIN }
    }

    fn now() -> Now {
        Now::new(Timestamp::from_millis(1_777_550_400_000), Duration::ZERO)
    }

    fn draw(&self) -> Draw<'_> {
        let draw = Draw::new(&self.record, &self.quotas, Self::now()).weighing(self.weight);
        draw.telling_every_window(true)
    }

    fn charge(&self, number: u128, amount: u64) -> Charge<'_> {
        let (id, amount) = (ChargeId::from_bytes(number.to_be_bytes()), Credits::new(amount));
        Charge::new(id, &self.record.account, amount, &self.allowance, Self::now())
    }

    async fn at_once(&self, meter: &RedisMeter, number: u128, amount: u64) -> Result<Metered, StoreError> {
        meter.draw_and_charge(&self.draw(), &self.charge(number, amount)).await
    }

    /// The same in two calls, one after the other.
    async fn in_two(&self, meter: &RedisMeter, number: u128, amount: u64) -> Result<Metered, StoreError> {
        match meter.limiter.draw(&self.draw()).await? {
            LimitDecision::Exceeded { retry_after, window_status } => {
                Ok(Metered::Exceeded { retry_after, window_status })
            }
            LimitDecision::Within(window_status) => {
                let charged = meter.ledger.charge(&self.charge(number, amount)).await?;
                Ok(Metered::Drawn { window_status, charged })
            }
        }
    }

    async fn left(&self, meter: &RedisMeter) -> (Vec<u32>, u64) {
        let window_statuses = meter.limiter.peek(&self.draw()).await.unwrap();
        let now = Self::now().wall();
        let balance = meter
            .ledger
            .balance_of(&self.record.account.id, &crate::amount::Currency::CREDITS, &self.allowance, now)
            .await
            .unwrap();
        let left = window_statuses.iter().map(|window_status| window_status.remaining).collect();
        (left, balance.credits().unwrap().get())
    }
}

/// The answer to a caller: the window that decides, the units that it and all windows have left, and the charge of an admitted
/// request.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    policy: usize,
    remaining: u32,
    all: Vec<u32>,
    charged: Option<Charged>,
}

/// Returns the outcome, without the times that pass meanwhile.
fn told(metered: &Metered) -> Told {
    let (window_status, charged) = match metered {
        Metered::Exceeded { window_status, .. } => (window_status, None),
        Metered::Drawn { window_status, charged } => (window_status, Some(*charged)),
    };
    let all = window_status.all.iter().map(|window_status| window_status.remaining).collect();
    Told { policy: window_status.policy, remaining: window_status.remaining, all, charged }
}

#[tokio::test]
async fn one_call_decides_like_two() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (meter(&redis, "one"), meter(&redis, "two"));
    let pool = QuotaScope::Pool("demo".into());
    let beside = |quotas: Quotas| {
        let policy = |quota| QuotaPolicy::new(quota, Duration::from_hours(24)).unwrap();
        quotas
            .beside(QuotaOrigin::Rule("GET /{a}".into()), [policy(4)])
            .beside(QuotaOrigin::Shared("b".into()), [policy(6).counting(QuotaScope::Account)])
    };
    let of_a_rule = Caller::new(&[(7, QuotaScope::Key), (5, QuotaScope::Account)], 100);
    let of_a_rule = Caller { quotas: beside(of_a_rule.quotas), ..of_a_rule };
    let callers = [
        of_a_rule,
        Caller::new(&[(5, QuotaScope::Key)], 100),
        Caller::new(&[(3, QuotaScope::Key), (5, QuotaScope::Account), (9, pool)], 100),
        Caller::new(&[(9, QuotaScope::Account)], 20),
        Caller::new(&[(9, QuotaScope::Key)], 0),
        Caller {
            weight: NonZeroU32::new(3).unwrap(),
            ..Caller::new(&[(20, QuotaScope::Key), (10, QuotaScope::Account)], 100)
        },
    ];
    for caller in callers {
        redis.say(&["FLUSHALL"]);
        // The second charge comes twice, the third was given back before, the fourth is too much.
        let third = ChargeId::from_bytes(3_u128.to_be_bytes());
        let clock = crate::clock::SystemClock::new();
        let refund = crate::credit::Refund::new(&caller.record.account, third, &clock);
        one.ledger.refund(&refund).await.unwrap();
        two.ledger.refund(&refund).await.unwrap();
        for (number, amount) in [(1, 10), (2, 10), (2, 10), (3, 10), (4, 1_000), (5, 1), (6, 1), (7, 1)] {
            let (at_once, in_two) =
                (caller.at_once(&one, number, amount).await, caller.in_two(&two, number, amount).await);
            assert_eq!(at_once.as_ref().map(told).ok(), in_two.as_ref().map(told).ok(), "charge {number}");
            assert_eq!(caller.left(&one).await, caller.left(&two).await, "after charge {number}");
        }
    }
}

#[tokio::test]
async fn failed_charge_keeps_its_draw() {
    let Some(redis) = Redis::start() else { return };
    let (meter, caller) = (meter(&redis, "tollgate"), Caller::new(&[(2, QuotaScope::Key)], 5));
    let answer = caller.at_once(&meter, 1, 6).await.unwrap();
    let one_window = |remaining, charged| Told { policy: 0, remaining, all: Vec::new(), charged };
    let charged = Charged::Insufficient { balance: Credits::new(5) };
    assert_eq!(told(&answer), one_window(1, Some(charged)));
    let answer = caller.at_once(&meter, 2, 2).await.unwrap();
    let charged = Charged::Posted { balance: Some(Credits::new(3)) };
    assert_eq!(told(&answer), one_window(0, Some(charged)));
    assert_eq!(told(&caller.at_once(&meter, 3, 2).await.unwrap()), one_window(0, None));
    assert_eq!(caller.left(&meter).await, (vec![0], 3));
}

#[tokio::test]
async fn draw_and_charge_take_one_round_trip() {
    let Some(redis) = Redis::start() else { return };
    let (meter, caller) = (
        meter(&redis, "tollgate"),
        Caller::new(&[(2_000, QuotaScope::Key), (3_000, QuotaScope::Account)], 500),
    );
    assert!(caller.at_once(&meter, 0, 1).await.is_ok());
    redis.say(&["CONFIG", "RESETSTAT"]);
    for number in 1..=100 {
        let told = told(&caller.at_once(&meter, number, 1).await.unwrap());
        assert!(told.charged.is_some());
        // The account's window is the second one.
        assert_eq!(told.all.len(), 2);
    }
    let stats = redis.say(&["INFO", "commandstats"]);
    // What a script calls is counted too, but for what the client itself has sent.
    assert!(stats.contains("cmdstat_evalsha:calls=100,"), "{stats}");
    assert!(!stats.contains("cmdstat_eval:") && !stats.contains("cmdstat_script"), "{stats}");
    assert_eq!(caller.left(&meter).await, (vec![1_899, 2_899], 399));
}

#[tokio::test]
async fn pool_draws_are_taken_in_one_slot() {
    let Some(redis) = Redis::start_cluster() else { return };
    let pool = |name: &str| (2, QuotaScope::Pool(name.into()));
    let of_pools = Caller::new(&[pool("demo")], 5);
    let one_slot = meter(&redis, "{gate}");
    assert!(one_slot.takes(&of_pools.quotas));
    assert!(of_pools.at_once(&one_slot, 1, 1).await.is_ok());
    let many_slots = meter(&redis, "gate");
    assert!(!many_slots.takes(&of_pools.quotas));
    assert!(of_pools.at_once(&many_slots, 1, 1).await.is_err(), "the cluster refuses it");
    assert!(of_pools.in_two(&many_slots, 1, 1).await.is_ok());
    let of_account = Caller::new(&[(2, QuotaScope::Key), (2, QuotaScope::Account)], 5);
    assert!(many_slots.takes(&of_account.quotas));
    assert!(of_account.at_once(&many_slots, 2, 1).await.is_ok());
}
