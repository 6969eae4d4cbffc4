//! Limits and credits on one Redis: in one round trip, and by the published suites.
#![cfg(all(feature = "redis", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::sync::Arc;
use std::time::Duration;

use services::redis::Redis;
use tollgate::account::{Allowance, Grant, GrantPeriod, QuotaPolicy, QuotaScope, Quotas};
use tollgate::clock::{Now, Timestamp};
use tollgate::conformance::{self, Capability, Suite};
use tollgate::credit::{Charge, ChargeId, Charged, CreditAdmin};
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision};
use tollgate::meter::{Meter, Metered, RedisMeter};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::{Account, CreditLedger, Credits, KeyId, KeyRecord, RateLimiter, StoreError};

fn meter(redis: &Redis, prefix: &str) -> RedisMeter {
    let mut options = RedisOptions::new(prefix);
    options.response_timeout = Duration::from_secs(5);
    RedisMeter::new(RedisServer::with_options(&redis.url(), options).unwrap())
}

/// A key, its windows, and its account's terms.
struct Caller {
    record: KeyRecord,
    quotas: Quotas,
    allowance: Allowance,
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
        Self { record, quotas: Quotas::new(quotas.iter().map(policy)), allowance }
    }

    fn now() -> Now {
        Now::new(Timestamp::from_millis(1_777_550_400_000), Duration::ZERO)
    }

    fn draw(&self) -> Draw<'_> {
        Draw::new(&self.record, &self.quotas, Self::now())
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
        match meter.limiter().draw(&self.draw()).await? {
            LimitDecision::Exceeded { retry_after, window_status } => {
                Ok(Metered::Exceeded { retry_after, window_status })
            }
            LimitDecision::Within(window_status) => {
                let charged = meter.ledger().charge(&self.charge(number, amount)).await?;
                Ok(Metered::Drawn { window_status, charged })
            }
        }
    }

    async fn left(&self, meter: &RedisMeter) -> (Vec<u32>, u64) {
        let window_statuses = meter.limiter().peek(&self.draw()).await.unwrap();
        let now = Self::now().wall();
        let balance = meter.ledger().balance_of(&self.record.account.id, &self.allowance, now).await.unwrap();
        let left = window_statuses.iter().map(|window_status| window_status.remaining).collect();
        (left, balance.credits().unwrap().get())
    }
}

/// Returns the outcome, without the times that pass meanwhile.
fn told(metered: &Metered) -> (bool, usize, u32, Option<Charged>) {
    match metered {
        Metered::Exceeded { window_status, .. } => {
            (false, window_status.policy, window_status.remaining, None)
        }
        Metered::Drawn { window_status, charged } => {
            (true, window_status.policy, window_status.remaining, Some(*charged))
        }
    }
}

#[tokio::test]
async fn one_call_decides_like_two() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (meter(&redis, "one"), meter(&redis, "two"));
    let pool = QuotaScope::Pool("demo".into());
    let callers = [
        Caller::new(&[(5, QuotaScope::Key)], 100),
        Caller::new(&[(3, QuotaScope::Key), (5, QuotaScope::Account), (9, pool)], 100),
        Caller::new(&[(9, QuotaScope::Account)], 20),
        Caller::new(&[(9, QuotaScope::Key)], 0),
    ];
    for caller in callers {
        redis.say(&["FLUSHALL"]);
        // The second charge comes twice, the third was given back before, the fourth is too much.
        one.ledger()
            .refund(&caller.record.account, ChargeId::from_bytes(3_u128.to_be_bytes()))
            .await
            .unwrap();
        two.ledger()
            .refund(&caller.record.account, ChargeId::from_bytes(3_u128.to_be_bytes()))
            .await
            .unwrap();
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
    assert_eq!(told(&answer), (true, 0, 1, Some(Charged::Insufficient { balance: Credits::new(5) })));
    let answer = caller.at_once(&meter, 2, 2).await.unwrap();
    assert_eq!(told(&answer), (true, 0, 0, Some(Charged::Posted { balance: Some(Credits::new(3)) })));
    assert_eq!(told(&caller.at_once(&meter, 3, 2).await.unwrap()), (false, 0, 0, None));
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
        assert!(told(&caller.at_once(&meter, number, 1).await.unwrap()).0);
    }
    let stats = redis.say(&["INFO", "commandstats"]);
    // What a script calls is counted too, but for what the client itself has sent.
    assert!(stats.contains("cmdstat_evalsha:calls=100,"), "{stats}");
    assert!(!stats.contains("cmdstat_eval:") && !stats.contains("cmdstat_script"), "{stats}");
    assert_eq!(caller.left(&meter).await, (vec![1_899, 2_899], 399));
}

/// Its time is the server's own.
fn limits(limiter: impl RateLimiter) -> Suite {
    conformance::limits(limiter).without(Capability::InjectedTime)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limiter_keeps_the_contract() {
    let Some(redis) = Redis::start() else { return };
    let limiter = meter(&redis, "tollgate").limiter();
    limits(limiter.clone()).run().await.assert();
    limits(Arc::new(limiter) as Arc<dyn RateLimiter>).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_keeps_the_contract() {
    let Some(redis) = Redis::start() else { return };
    let ledger = meter(&redis, "tollgate").ledger();
    conformance::credits(ledger.clone()).run().await.assert();
    conformance::credits(Arc::new(ledger) as Arc<dyn CreditAdmin>).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meter_keeps_the_contract_in_one_slot() {
    let Some(redis) = Redis::start_cluster() else { return };
    let meter = meter(&redis, "{gate}");
    limits(meter.limiter()).run().await.assert();
    conformance::credits(meter.ledger()).run().await.assert();
    assert!(Caller::new(&[(2, QuotaScope::Pool("demo".into()))], 5).at_once(&meter, 1, 1).await.is_ok());
}
