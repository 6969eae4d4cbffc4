//! Races: the last credits, charges against their endings, draws against a quota.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Empty;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use support::{World, with_key};
use tokio::sync::Barrier;
use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod, QuotaPolicy, QuotaScope, Quotas};
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentKind, BucketTerms, Charge, ChargeId, Charged, CreditAdmin,
};
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision};
use tollgate::rule::Cost;
use tollgate::{
    Account, Clock, CreditLedger, Credits, Gate, KeyId, KeyRecord, ManualClock, MemoryLimiter, RateLimiter,
    Rule, TollgateLayer,
};
use tower::{Layer, ServiceExt};

const KEY: &str = "kwery_live_0123456789";

fn costly(world: &World) -> Gate {
    let mut rule = Rule::new("/v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(1));
    world.kwery().rule(rule).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_tasks_spend_fifty_credits_once() {
    race_for_fifty_credits(|world, id, _| world.set_balance(id, 50)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_tasks_spend_three_buckets_once() {
    race_for_fifty_credits(|world, id, round| {
        world.set_balance(id, 13);
        let (account, now) = (world.account_of(id).as_str().into(), world.clock.now().wall());
        for (amount, priority) in [(20, 7), (17, 200)] {
            let mut terms = BucketTerms::default();
            (terms.priority, terms.expires) = (priority, Some(now.saturating_add(Duration::from_hours(1))));
            let kind = AdjustmentKind::TopUpInto { amount: Credits::new(amount), terms };
            let number = format!("{round}-{priority}").parse().unwrap();
            let asked = Adjustment::new(number, &account, kind, &Allowance::None, now);
            let made = world.ledger.adjust(&asked).now_or_never().unwrap().unwrap();
            assert!(matches!(made, Adjusted::Done { .. }), "{made:?}");
        }
    })
    .await;
}

/// Lets 200 tasks race for 50 credits that `fill` puts in, many times.
async fn race_for_fifty_credits(fill: impl Fn(&World, KeyId, usize)) {
    let world = World::new();
    let gate = costly(&world);
    let id = world.plain_key(KEY);
    for round in 0..1_000 {
        fill(&world, id, round);
        let before = world.calls();
        let start = Arc::new(Barrier::new(200));
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let service = TollgateLayer::new(gate.clone()).layer(world.inner.clone());
                let start = Arc::clone(&start);
                tokio::spawn(async move {
                    let request = with_key("GET /v1/candles", KEY).body(Empty::<Bytes>::new()).unwrap();
                    start.wait().await;
                    service.oneshot(request).await.unwrap().status().as_u16()
                })
            })
            .collect();
        let (mut served, mut refused) = (0, 0);
        for task in tasks {
            match task.await.unwrap() {
                200 => served += 1,
                402 => refused += 1,
                status => panic!("round {round}: {status}"),
            }
        }
        assert_eq!((served, refused, world.calls() - before), (50, 150, 50), "round {round}");
        assert_eq!(
            (world.balance(id), world.ledger.open_charges(&world.account_of(id))),
            (0, 0),
            "round {round}"
        );
    }
}

/// Threads that do nothing else, without an executor in between.
#[test]
fn hundred_threads_spend_one_credit_once() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let account = Arc::clone(&world.store.key(id).unwrap().account);
    for round in 0..100_u64 {
        world.set_balance(id, 1);
        let posted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..100_u64 {
                let (world, account, posted) = (&world, &account, &posted);
                scope.spawn(move || {
                    let charge_id = number(round * 1_000 + thread);
                    let charge =
                        Charge::new(charge_id, account, Credits::new(1), &Allowance::None, world.clock.now());
                    if matches!(now(world.ledger.charge(&charge)), Charged::Posted { .. }) {
                        posted.fetch_add(1, Ordering::SeqCst);
                        now(world.ledger.settle(&crate::support::settlement(
                            account,
                            charge_id,
                            Credits::new(1),
                        )));
                    }
                });
            }
        });
        assert_eq!((posted.into_inner(), world.balance(id)), (1, 0), "round {round}");
    }
}

#[test]
fn racing_charges_and_endings_keep_the_sum() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let account = Arc::clone(&world.store.key(id).unwrap().account);
    world.set_balance(id, 500);
    let spent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (world, account, spent) = (&world, &account, &spent);
            scope.spawn(move || {
                for round in 0..5_000 {
                    let (charge_id, amount) = (number(thread << 32 | round), Credits::new(1 + round % 7));
                    let charge = Charge::new(charge_id, account, amount, &Allowance::None, world.clock.now());
                    let Charged::Posted { .. } = now(world.ledger.charge(&charge)) else { continue };
                    let cost = Credits::new(round % 2);
                    // Twice each, and one after the other: the first counts.
                    if round % 3 == 0 {
                        now(world.ledger.settle(&crate::support::settlement(account, charge_id, cost)));
                        now(world.ledger.refund(&crate::support::refund(account, charge_id)));
                        now(world.ledger.settle(&crate::support::settlement(account, charge_id, amount)));
                        spent.fetch_add(cost.get(), Ordering::SeqCst);
                    } else {
                        now(world.ledger.refund(&crate::support::refund(account, charge_id)));
                        now(world.ledger.settle(&crate::support::settlement(account, charge_id, amount)));
                        now(world.ledger.refund(&crate::support::refund(account, charge_id)));
                    }
                }
            });
        }
    });
    let left = world.balance(id);
    assert_eq!(left + spent.into_inner(), 500);
    assert_eq!(world.ledger.open_charges(account.id.as_str()), 0);
    assert!(left < 500, "something was spent");
}

#[test]
fn racing_requests_receive_one_grant() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let account = Arc::clone(&world.store.key(id).unwrap().account);
    let period = GrantPeriod::calendar(CalendarUnit::Hour, "UTC").unwrap();
    let allowance = Allowance::Grant(Grant::new(Credits::new(100), period));
    for hour in 0..50_u64 {
        world.clock.advance(std::time::Duration::from_hours(1));
        let posted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (world, account, posted, allowance) = (&world, &account, &posted, &allowance);
                scope.spawn(move || {
                    for round in 0..20 {
                        let charge_id = number(hour << 32 | thread << 16 | round);
                        let charge =
                            Charge::new(charge_id, account, Credits::new(1), allowance, world.clock.now());
                        if matches!(now(world.ledger.charge(&charge)), Charged::Posted { .. }) {
                            posted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!((posted.into_inner(), world.balance(id)), (100, 0), "hour {hour}");
    }
}

#[test]
fn racing_draws_take_all_windows_or_none() {
    let world = World::new();
    let policy = |text: &str, counts| text.parse::<QuotaPolicy>().unwrap().counting(counts);
    let quotas = Quotas::new([
        policy("30 per minute", QuotaScope::Key),
        policy("40 per minute", QuotaScope::Account),
        policy("90 per hour", QuotaScope::Pool("demo".into())),
    ]);
    for round in 0..50 {
        let keys: Vec<_> = (0..4)
            .map(|key| {
                let secret = format!("{KEY}-{round}-{key}");
                world.key(&secret, |_, account| {
                    account.id = format!("shared-{round}-{}", key / 2).as_str().into();
                })
            })
            .collect();
        let admitted: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
        let limiter = tollgate::MemoryLimiter::new();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (record, admitted) = (world.store.key(keys[thread % 4]).unwrap(), &admitted[thread % 4]);
                let (limiter, quotas, at) = (&limiter, &quotas, world.clock.now());
                scope.spawn(move || {
                    for _ in 0..50 {
                        if matches!(
                            now(limiter.draw(&Draw::new(&record, quotas, at))),
                            LimitDecision::Within(_)
                        ) {
                            admitted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let by_key: Vec<usize> = admitted.into_iter().map(AtomicUsize::into_inner).collect();
        assert!(by_key.iter().all(|count| *count <= 30), "{by_key:?}");
        // Time stands still: both accounts are drawn to the last cell, and no cell is lost to a refused draw.
        assert_eq!((by_key[0] + by_key[1], by_key[2] + by_key[3]), (40, 40), "{by_key:?}");
        let record = world.store.key(keys[0]).unwrap();
        let pool = now(limiter.peek(&Draw::new(&record, &quotas, world.clock.now())))[2].remaining;
        assert_eq!(pool, 10, "{by_key:?}");
    }
}

#[test]
fn replaced_key_is_never_missing() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let record = world.store.key(id).unwrap();
    let writing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u32;
            while writing.load(Ordering::SeqCst) || reads == 0 {
                assert!(now(tollgate::KeyStore::find(&*world.store, &record.hash)).is_some(), "read {reads}");
                reads += 1;
            }
        });
        for _ in 0..20_000 {
            world.store.put_key(tollgate::KeyRecord::clone(&record));
        }
        writing.store(false, Ordering::SeqCst);
        reader.join().unwrap();
    });
}

fn number(number: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(number).to_be_bytes())
}

/// The answer of a back end in memory, which is there at once.
fn now<T>(future: tollgate::StoreFuture<T>) -> T {
    assert!(future.is_ready());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => unreachable!("a back end in memory answers at once"),
    }
}

/// Threads draw from windows that are full, while other threads need the room.
#[test]
fn dropped_windows_count_every_draw_once() {
    const QUOTA: usize = 5;
    let (limiter, clock) =
        (MemoryLimiter::with_capacity(1), ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap()));
    let record = |key: u8| {
        let account = Arc::new(Account::new(format!("a{key}"), "plain"));
        KeyRecord::new(KeyId::from_bytes([key; 16]), KeyHasher::sha256().hash(&[key]), account)
    };
    let (quotas, records) = (Quotas::new(["5 per second".parse().unwrap()]), [record(1), record(2)]);
    let draw = |record: &KeyRecord| {
        let drawn = limiter.draw(&Draw::new(record, &quotas, clock.now())).now_or_never().unwrap();
        drawn.ok().map(|decision| matches!(decision, LimitDecision::Within(_)))
    };
    let mut full = [0; 2];
    for round in 0..2_000 {
        clock.advance(Duration::from_secs(1));
        let admitted = [AtomicUsize::new(0), AtomicUsize::new(0)];
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (records, admitted, draw) = (&records, &admitted, &draw);
                scope.spawn(move || {
                    let key = (thread + round) % 2;
                    // A record that was read anew points to no window yet.
                    let fresh = records[key].clone();
                    let record = if thread < 2 { &records[key] } else { &fresh };
                    for _ in 0..3 {
                        if draw(record) == Some(true) {
                            admitted[key].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        for (key, record) in records.iter().enumerate() {
            let mut admitted = admitted[key].load(Ordering::Relaxed);
            let mut has_room = true;
            for _ in 0..=QUOTA {
                let drawn = draw(record);
                has_room = drawn.is_some();
                admitted += usize::from(drawn == Some(true));
            }
            assert!(admitted <= QUOTA, "{admitted} of {QUOTA} were admitted");
            if has_room {
                assert_eq!(admitted, QUOTA, "a draw was lost");
                full[key] += 1;
            }
        }
    }
    assert!(full.iter().all(|rounds| *rounds > 0), "a key never had room: {full:?}");
}
