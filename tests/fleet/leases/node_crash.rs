//! Nodes that die, and nodes that are thought dead.

use std::time::Duration;

use tollgate::credit::Charged;
use tollgate::{CreditLedger, Credits};

use crate::leases::fleet::{Fleet, Node, a_moment};
use crate::support::remote::Fault;

/// Cuts a node off: from here on nothing of it reaches the authority.
fn kill(node: &Node) {
    node.wire.set(Fault::Down);
}

/// The sweep returns a dead node's block, except for its headroom; nothing is spent twice.
#[tokio::test(start_paused = true)]
async fn dead_node_credits_return_at_lease_end() {
    let fleet = Fleet::of_nodes(2, 1_000_000);
    let node = fleet.node();
    for _ in 0..20 {
        fleet.serve_many(&node, 200).await;
        a_moment().await;
    }
    let held = node.ledger.held("acme").get();
    assert!(held > 500, "a block is far more than the headroom: {held}");
    kill(&node);
    drop(node);
    assert_eq!(fleet.sweep(), 0, "it may be alive still");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(fleet.sweep(), 1);
    let lost = 1_000_000 - 4_000 - fleet.checked_balance().await;
    assert!(lost <= 250, "at most the headroom is lost: {lost}");
    assert_eq!(fleet.sweep(), 0);
}

#[tokio::test(start_paused = true)]
async fn dying_nodes_never_overspend() {
    let mut fleet = Fleet::of_nodes(4, 10_000);
    fleet.terms.headroom = Credits::new(32);
    let (mut served, mut deaths) = (0_u64, 0_u64);
    let mut nodes: Vec<_> = (0..4).map(|_| fleet.node()).collect();
    'spending: loop {
        for node in &nodes {
            for _ in 0..37 {
                if !fleet.serve(node, 1).await.unwrap() {
                    break 'spending;
                }
                served += 1;
            }
            a_moment().await;
        }
        kill(&nodes[usize::try_from(deaths % 4).unwrap()]);
        nodes[usize::try_from(deaths % 4).unwrap()] = fleet.node();
        deaths += 1;
    }
    for node in &nodes {
        node.ledger.close().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    fleet.sweep();
    let balance = fleet.checked_balance().await;
    println!("{served} served, {deaths} deaths, {balance} left");
    assert!(served + balance <= 10_000, "overspent");
    assert!(10_000 - served - balance <= deaths * 32, "lost more than the headrooms");
    assert!(deaths > 10);
}

/// A node that stood still for longer than its lease goes on: what it has committed is its own, and no more.
#[tokio::test(start_paused = true)]
async fn expired_node_spends_only_its_commitment() {
    let mut fleet = Fleet::of_nodes(1, 100_000);
    fleet.terms.longest = Duration::from_hours(1);
    fleet.terms.idle = Duration::from_hours(1);
    let node = fleet.node();
    for _ in 0..5 {
        fleet.serve_many(&node, 50).await;
        a_moment().await;
    }
    assert!(node.ledger.held("acme") > Credits::new(100));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(fleet.sweep(), 1);
    let mut served = 250;
    while fleet.serve(&node, 1).await.unwrap() {
        served += 1;
    }
    node.ledger.close().await.unwrap();
    let balance = fleet.checked_balance().await;
    assert!(served <= 100_000 && balance == 0, "{served} served, {balance} left");
    assert!(served >= 100_000 - 250, "{served}");
}

/// A block whose answer is lost is given back, as often as it takes: the node lives, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn block_with_lost_answer_returns_whole() {
    let fleet = Fleet::of_nodes(1, 100_000);
    let (node, id) = (fleet.node(), fleet.next_id());
    fleet.serve_many(&node, 1).await;
    assert!(matches!(fleet.charge_as(&node, id, 1).await, Ok(Charged::Posted { .. })));
    // The charge is answered, the block is not, and from then on nothing is.
    node.wire.set(Fault::Lost);
    node.wire.delay(Duration::from_millis(100));
    a_moment().await;
    node.wire.set(Fault::Down);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(fleet.balance() < 99_998, "a block is out: {}", fleet.balance());
    assert_eq!(node.ledger.held("acme"), Credits::ZERO);
    node.ledger.maintain().await.unwrap_err();
    node.wire.set(Fault::None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.checked_balance().await, 99_998);
    node.ledger.settle(&crate::support::settlement(&node.account, id, Credits::new(1))).await.unwrap();
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!((fleet.sweep(), fleet.checked_balance().await), (0, 99_998));
}

/// The same at shutdown: what is not confirmed is given back then, or said to be left to the sweep.
#[tokio::test(start_paused = true)]
async fn unreceived_block_returns_at_shutdown() {
    let fleet = Fleet::of_nodes(1, 100_000);
    let (node, id) = (fleet.node(), fleet.next_id());
    fleet.serve_many(&node, 1).await;
    assert!(matches!(fleet.charge_as(&node, id, 1).await, Ok(Charged::Posted { .. })));
    node.wire.set(Fault::Lost);
    node.wire.delay(Duration::from_millis(100));
    a_moment().await;
    node.wire.set(Fault::Down);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(node.ledger.held("acme"), Credits::ZERO);
    node.ledger.close().await.unwrap_err();
    assert!(fleet.balance() < 99_998, "a block is out: {}", fleet.balance());
    node.wire.set(Fault::None);
    node.ledger.settle(&crate::support::settlement(&node.account, id, Credits::new(1))).await.unwrap();
    node.ledger.close().await.unwrap();
    assert_eq!((fleet.checked_balance().await, fleet.sweep()), (99_998, 0));
}
