//! Grants that come due while blocks are out.

use std::time::Duration;

use tollgate::Credits;
use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod};
use tollgate::credit::CreditAdmin;

use crate::leases::fleet::{Fleet, a_moment};

fn hourly(fleet: &mut Fleet, amount: u64) {
    let hour = GrantPeriod::calendar(CalendarUnit::Hour, "UTC").unwrap();
    fleet.allowance = Allowance::Grant(Grant::new(Credits::new(amount), hour));
}

/// A balance is refilled to the amount, counting the leased blocks. The part that was committed there and
/// not spent comes on top: the documented excess, a headroom for each node.
#[tokio::test(start_paused = true)]
async fn grant_refill_counts_leased_blocks() {
    let mut fleet = Fleet::of_nodes(2, 10_000);
    hourly(&mut fleet, 10_000);
    let (first, second) = (fleet.node(), fleet.node());
    for _ in 0..3 {
        // The clock starts on the hour. Both spend until just before the next.
        let to_the_hour = 3_600_000 - fleet.wall().as_millis().rem_euclid(3_600_000);
        tokio::time::sleep(Duration::from_millis(to_the_hour.cast_unsigned() - 500)).await;
        for node in [&first, &second] {
            fleet.serve_many(node, 200).await;
        }
        a_moment().await;
        let out = first.ledger.held("acme").get() + second.ledger.held("acme").get();
        assert!(out > 100, "blocks are out: {out}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        // The first call of the hour at the authority gives the grant.
        let third = fleet.node();
        fleet.serve_many(&third, 1).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let balance = fleet.checked_balance().await;
        let headrooms = 2 * fleet.terms.headroom.get();
        let most = 9_999 + headrooms;
        assert!((9_999..=most).contains(&balance), "{balance}: no more than the headrooms pile up");
    }
}

#[tokio::test(start_paused = true)]
async fn node_gets_the_new_grant_with_next_block() {
    let mut fleet = Fleet::of_nodes(1, 400);
    hourly(&mut fleet, 400);
    let node = fleet.node();
    let mut served = 0;
    while fleet.serve(&node, 1).await.unwrap() {
        served += 1;
    }
    assert_eq!(served, 400);
    tokio::time::sleep(Duration::from_hours(1)).await;
    while fleet.serve(&node, 1).await.unwrap() {
        served += 1;
    }
    assert_eq!(served, 800);
    let now = fleet.wall();
    let left = fleet
        .authority
        .balance_of(&"acme".into(), &tollgate::credit::Currency::CREDITS, &fleet.allowance, now)
        .await
        .unwrap();
    assert_eq!(left.credits(), Some(Credits::ZERO));
}

#[tokio::test(start_paused = true)]
async fn block_is_taken_on_the_current_plan() {
    let mut fleet = Fleet::of_nodes(1, 100_000);
    hourly(&mut fleet, 10);
    let node = fleet.node();
    fleet.serve_many(&node, 200).await;
    a_moment().await;
    let day = GrantPeriod::calendar(CalendarUnit::Day, "UTC").unwrap();
    fleet.allowance = Allowance::Grant(Grant::new(Credits::new(200_000), day));
    // All of it is served from blocks, those that are taken meanwhile included.
    fleet.serve_many(&node, 2_000).await;
    tokio::time::sleep(Duration::from_hours(24)).await;
    fleet.serve_many(&node, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!((199_000..=200_000).contains(&fleet.checked_balance().await));
}
