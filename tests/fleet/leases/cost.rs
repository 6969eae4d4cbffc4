//! The cost of a request that a block covers, and of many at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use allocation_counter::measure;
use tollgate::account::{QuotaPolicy, Quotas};
use tollgate::clock::SystemClock;
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LocalShare};
use tollgate::{Account, Clock, CreditLedger, Credits, KeyId, KeyRecord, RateLimiter, StoreFuture};

use crate::leases::fleet::{Fleet, a_moment};

fn ready<T>(future: StoreFuture<T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => panic!("it is not in process"),
    }
}

#[tokio::test(start_paused = true)]
async fn block_covered_request_allocates_nothing() {
    let fleet = Fleet::of_nodes(1, 1_000_000);
    let node = fleet.node();
    for _ in 0..20 {
        fleet.serve_many(&node, 50).await;
        a_moment().await;
    }
    let id = fleet.next_id();
    let counted = measure(|| {
        let (amount, now) = (Credits::new(1), fleet.clock.now());
        let charge = tollgate::credit::Charge::new(id, &node.account, amount, &fleet.allowance, now);
        assert!(matches!(ready(node.ledger.charge(&charge)), tollgate::credit::Charged::Posted { .. }));
        ready(node.ledger.settle(&crate::support::settlement(&node.account, id, amount)));
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_draw_from_a_share_allocates_nothing() {
    let limiter = LocalShare::new(NonZeroU32::new(4).unwrap());
    let policies = ["1000 per second", "100000 per day"].map(|text| text.parse::<QuotaPolicy>().unwrap());
    let (quotas, clock) = (Quotas::new(policies), SystemClock::new());
    let account = Arc::new(Account::new("acme", "pro"));
    let record = KeyRecord::new(KeyId::from_bytes([1; 16]), KeyHasher::sha256().hash(b"key"), account);
    let draw = || drop(ready(limiter.draw(&Draw::new(&record, &quotas, clock.now()))));
    draw();
    assert_eq!(measure(draw).count_total, 0);
}

/// Four nodes with 64 tasks each, and an account with 10,000 credits: 10,000 requests are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_busy_nodes_serve_all_credits() {
    for _ in 0..5 {
        let fleet = Arc::new(Fleet::of_nodes(4, 10_000));
        let nodes: Vec<_> = (0..4).map(|_| Arc::new(fleet.node())).collect();
        let served = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for node in &nodes {
            for _ in 0..64 {
                let (fleet, node, served) = (Arc::clone(&fleet), Arc::clone(node), Arc::clone(&served));
                tasks.push(tokio::spawn(async move {
                    while fleet.serve(&node, 1).await.unwrap() {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        for node in &nodes {
            node.ledger.close().await.unwrap();
        }
        let trips: usize = nodes.iter().map(|node| node.wire.asked() + node.wire.closed()).sum();
        println!("{} served, {trips} round trips", served.load(Ordering::Relaxed));
        assert_eq!((served.load(Ordering::Relaxed), fleet.checked_balance().await), (10_000, 0));
    }
}
