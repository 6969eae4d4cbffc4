//! Returns of leased blocks: when idle, when old, at shutdown; and the last credits are usable on every node.

use std::time::Duration;

use tollgate::credit::Charged;
use tollgate::{CreditLedger, Credits};

use crate::leases::fleet::{Fleet, a_moment};
use crate::support::remote::Fault;

#[tokio::test(start_paused = true)]
async fn most_requests_need_no_round_trip() {
    let fleet = Fleet::of_nodes(2, 1_000_000);
    let node = fleet.node();
    for _ in 0..100 {
        fleet.serve_many(&node, 100).await;
        a_moment().await;
    }
    let trips = node.wire.asked() + node.wire.closed();
    assert!(trips < 500, "{trips} round trips for 10,000 requests");
    node.ledger.close().await.unwrap();
    assert_eq!(fleet.checked_balance().await, 990_000);
    assert_eq!(node.ledger.held("acme"), Credits::ZERO);
}

#[tokio::test(start_paused = true)]
async fn rarely_used_account_leases_nothing() {
    let fleet = Fleet::of_nodes(2, 1_000_000);
    let node = fleet.node();
    for _ in 0..20 {
        fleet.serve_many(&node, 1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!((node.wire.asked(), node.wire.closed()), (20, 20));
    assert_eq!(fleet.checked_balance().await, 1_000_000 - 20);
}

#[tokio::test(start_paused = true)]
async fn idle_account_returns_its_block() {
    let fleet = Fleet::of_nodes(2, 100_000);
    let node = fleet.node();
    fleet.serve_many(&node, 10).await;
    a_moment().await;
    assert!(node.ledger.held("acme") > Credits::ZERO && fleet.balance() < 99_990);
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert_eq!((node.ledger.held("acme"), fleet.checked_balance().await), (Credits::ZERO, 99_990));
}

#[tokio::test(start_paused = true)]
async fn old_block_returns_under_load() {
    let mut fleet = Fleet::of_nodes(2, 1_000_000);
    fleet.terms.longest = Duration::from_secs(3);
    let node = fleet.node();
    fleet.serve_many(&node, 3).await;
    a_moment().await;
    let first = node.wire.closed();
    for _ in 0..16 {
        fleet.serve_many(&node, 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(node.wire.closed() > first, "the block was given back");
    node.ledger.close().await.unwrap();
    assert_eq!(fleet.checked_balance().await, 1_000_000 - 19);
}

#[tokio::test(start_paused = true)]
async fn block_returns_when_its_charges_close() {
    let fleet = Fleet::of_nodes(2, 100_000);
    let node = fleet.node();
    fleet.serve_many(&node, 10).await;
    a_moment().await;
    let open = fleet.next_id();
    assert!(matches!(fleet.charge_as(&node, open, 1).await, Ok(Charged::Posted { .. })));
    node.ledger.close().await.unwrap();
    assert!(fleet.balance() < 99_989, "its block waits for it");
    node.ledger.refund(&crate::support::refund(&node.account, open)).await.unwrap();
    a_moment().await;
    assert_eq!(fleet.checked_balance().await, 99_990);
    fleet.serve_many(&node, 10).await;
    assert_eq!(node.ledger.held("acme"), Credits::ZERO, "nothing is leased any more");
}

/// A block that was asked for and has not arrived is given back as well.
#[tokio::test(start_paused = true)]
async fn close_waits_for_a_block_in_flight() {
    let fleet = Fleet::of_nodes(1, 100_000);
    let (node, id) = (fleet.node(), fleet.next_id());
    fleet.serve_many(&node, 1).await;
    assert!(matches!(fleet.charge_as(&node, id, 1).await, Ok(Charged::Posted { .. })));
    node.wire.delay(Duration::from_millis(500));
    a_moment().await;
    assert!(fleet.balance() < 99_998 && node.ledger.held("acme") == Credits::ZERO, "it is on its way");
    node.ledger.close().await.unwrap();
    assert_eq!(fleet.checked_balance().await, 99_998);
    // From an authority that never answers it is not waited for without end.
    let (hung, id) = (fleet.node(), fleet.next_id());
    fleet.serve_many(&hung, 1).await;
    assert!(matches!(fleet.charge_as(&hung, id, 1).await, Ok(Charged::Posted { .. })));
    hung.wire.set(Fault::Hung);
    a_moment().await;
    assert!(hung.ledger.close().await.unwrap_err().is_timeout());
}

/// The authority alone has too little for a request, and with the node's own block, which is on its way, it has enough.
#[tokio::test(start_paused = true)]
async fn block_on_its_way_is_waited_for() {
    let fleet = Fleet::of_nodes(1, 100);
    let (node, id) = (fleet.node(), fleet.next_id());
    fleet.serve_many(&node, 1).await;
    assert!(matches!(fleet.charge_as(&node, id, 1).await, Ok(Charged::Posted { .. })));
    node.wire.delay(Duration::from_millis(500));
    a_moment().await;
    assert!(fleet.balance() < 98 && node.ledger.held("acme") == Credits::ZERO, "it is on its way");
    node.wire.delay(Duration::from_millis(1));
    assert!(fleet.serve(&node, fleet.balance() + 1).await.unwrap());
}

/// Four nodes hold blocks and sleep; a fifth is asked for what is left, to the last credit.
#[tokio::test(start_paused = true)]
async fn last_credits_are_usable_on_every_node() {
    let fleet = Fleet::of_nodes(5, 1_000);
    let others: Vec<_> = (0..4).map(|_| fleet.node()).collect();
    for node in &others {
        fleet.serve_many(node, 5).await;
    }
    a_moment().await;
    let held: u64 = others.iter().map(|node| node.ledger.held("acme").get()).sum();
    assert!(held > 0, "something is held");
    assert!(held <= 250, "all nodes together hold a quarter at the most: {held}");
    let fifth = fleet.node();
    let (mut served, asked) = (0, tokio::time::Instant::now());
    while served < 980 {
        if fleet.serve(&fifth, 1).await.unwrap() {
            served += 1;
        } else {
            assert!(asked.elapsed() < Duration::from_secs(5), "{served} served: the rest is stuck");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    println!("the last credit was spent after {:?}", asked.elapsed());
    assert!(!fleet.serve(&fifth, 1).await.unwrap());
    assert_eq!(fleet.checked_balance().await, 0);
}

/// A node's cached balance admits nobody.
#[tokio::test(start_paused = true)]
async fn cached_balance_admits_nobody() {
    let fleet = Fleet::of_nodes(2, 1_000);
    let (first, second) = (fleet.node(), fleet.node());
    fleet.serve_many(&first, 5).await;
    a_moment().await;
    let mut served = 5;
    while fleet.serve(&second, 1).await.unwrap() {
        served += 1;
    }
    // The first last heard of a balance of hundreds.
    while fleet.serve(&first, 1).await.unwrap() {
        served += 1;
    }
    first.ledger.close().await.unwrap();
    second.ledger.close().await.unwrap();
    assert_eq!((served, fleet.checked_balance().await), (1_000, 0));
}

#[tokio::test(start_paused = true)]
async fn node_spends_its_own_block_before_denying() {
    let fleet = Fleet::of_nodes(1, 400);
    let node = fleet.node();
    fleet.serve_many(&node, 3).await;
    a_moment().await;
    let held = node.ledger.held("acme").get();
    assert!(held > 0);
    // More than the authority has, and more than the block has.
    assert!(fleet.serve(&node, 390).await.unwrap());
    fleet.serve_many(&node, 7).await;
    assert!(!fleet.serve(&node, 1).await.unwrap());
    assert_eq!(fleet.checked_balance().await, 0);
}

#[tokio::test(start_paused = true)]
async fn repeated_charge_and_ending_count_once() {
    let fleet = Fleet::of_nodes(1, 100_000);
    let node = fleet.node();
    fleet.serve_many(&node, 10).await;
    a_moment().await;
    for round in 0..3 {
        let id = fleet.next_id();
        for _ in 0..3 {
            assert!(matches!(fleet.charge_as(&node, id, 2).await, Ok(Charged::Posted { .. })));
        }
        for _ in 0..3 {
            match round {
                0 => node
                    .ledger
                    .settle(&crate::support::settlement(&node.account, id, Credits::new(1)))
                    .await
                    .unwrap(),
                1 => node.ledger.refund(&crate::support::refund(&node.account, id)).await.unwrap(),
                _ => {
                    node.ledger
                        .settle(&crate::support::settlement(&node.account, id, Credits::new(9)))
                        .await
                        .unwrap();
                    node.ledger.refund(&crate::support::refund(&node.account, id)).await.unwrap();
                }
            }
        }
    }
    node.ledger.close().await.unwrap();
    assert_eq!(fleet.checked_balance().await, 99_990 - 1 - 9);
}

#[tokio::test(start_paused = true)]
async fn node_alone_serves_only_its_commitment() {
    let fleet = Fleet::of_nodes(1, 1_000_000);
    let node = fleet.node();
    for _ in 0..20 {
        fleet.serve_many(&node, 50).await;
        a_moment().await;
    }
    node.wire.set(Fault::Down);
    let mut served = 0;
    while fleet.serve(&node, 1).await.is_ok_and(|served| served) {
        served += 1;
    }
    assert!((1..=250).contains(&served), "{served}");
    node.wire.set(Fault::None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fleet.serve_many(&node, 100).await;
    node.ledger.close().await.unwrap();
    assert_eq!(fleet.checked_balance().await, 1_000_000 - 1_000 - served - 100);
}
