//! The amount that a node holds of an account, and the refusals that this causes elsewhere.

use std::time::Duration;

use tollgate::credit::{Charge, LeasedLedger};
use tollgate::{Account, CreditLedger, Credits};

use crate::leases::fleet::{Fleet, Node, Wire, a_moment};
use crate::support::remote::{Fault, Remote};

/// All that is left: at the authority and on the nodes.
fn left(fleet: &Fleet, nodes: &[Node]) -> u64 {
    fleet.balance() + nodes.iter().map(|node| node.ledger.held("acme").get()).sum::<u64>()
}

fn nodes(fleet: &Fleet, count: u32) -> Vec<Node> {
    (0..count).map(|_| fleet.node()).collect()
}

/// Numbers that look random, the same in every run.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[tokio::test(start_paused = true)]
async fn node_holds_at_most_its_share() {
    for (count, credits) in [(3, 100), (1, 100), (4, 5_000), (10, 1_000)] {
        let fleet = Fleet::of_nodes(count, credits);
        let (nodes, mut number, mut held_most) = (nodes(&fleet, count), numbers(credits), 0);
        while fleet.balance() > credits / 10 {
            fleet.serve_many(&nodes[0], 1).await;
            tokio::time::sleep(Duration::from_millis(2 + number(9))).await;
            let (held, balance) = (nodes[0].ledger.held("acme").get(), fleet.balance());
            assert!(held <= balance / 2 / u64::from(count), "{held} held of {balance} by one of {count}");
            held_most = held_most.max(held);
        }
        assert!(held_most > 2, "something is leased: {held_most}");
    }
}

/// Three nodes, 100 credits: a burst of 80 is served whole, however it falls on the nodes.
#[tokio::test(start_paused = true)]
async fn burst_over_three_nodes_is_served() {
    for seed in 1..60 {
        let fleet = Fleet::of_nodes(3, 100);
        let (nodes, mut number) = (nodes(&fleet, 3), numbers(seed));
        // Some are in use before.
        for _ in 0..number(6) {
            fleet.serve_many(&nodes[0], 1).await;
            tokio::time::sleep(Duration::from_millis(2 + number(9))).await;
        }
        let served_before = 100 - left(&fleet, &nodes);
        let burst = 80 - served_before;
        let places: Vec<_> = (0..burst).map(|_| usize::try_from(number(3)).unwrap()).collect();
        let served = burst_on(&fleet, &nodes, &places).await;
        assert_eq!(served, burst, "seed {seed}: {} left", left(&fleet, &nodes));
    }
}

/// So many requests at the same time, each on its node; says how many were served.
async fn burst_on(fleet: &Fleet, nodes: &[Node], places: &[usize]) -> u64 {
    let mut requests: Vec<_> = places.iter().map(|&place| Box::pin(fleet.serve(&nodes[place], 1))).collect();
    let mut served = 0;
    std::future::poll_fn(|cx| {
        requests.retain_mut(|request| match request.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                served += u64::from(answer.unwrap());
                false
            }
            std::task::Poll::Pending => true,
        });
        if requests.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    served
}

/// The remainder after a refusal: less than half of the amount left when the other nodes took it; it comes within one and a half
/// times `longest`.
#[tokio::test(start_paused = true)]
async fn refusal_leaves_a_bounded_remainder() {
    for seed in 1..40 {
        let count = u32::try_from(2 + seed % 4).unwrap();
        let credits = 50 + 40 * (seed % 7);
        let fleet = Fleet::of_nodes(count, credits);
        let (nodes, mut number) = (nodes(&fleet, count), numbers(seed));
        let (mut served, mut history, mut refused_for) = (0, Vec::new(), None::<tokio::time::Instant>);
        while served < credits {
            history.push((tokio::time::Instant::now(), left(&fleet, &nodes)));
            let place = usize::try_from(number(u64::from(count))).unwrap();
            if fleet.serve(&nodes[place], 1).await.unwrap() {
                served += 1;
                refused_for = None;
            } else {
                let since = *refused_for.get_or_insert_with(tokio::time::Instant::now);
                let age = fleet.terms.longest * 3 / 2 + Duration::from_millis(50);
                assert!(
                    since.elapsed() <= age,
                    "seed {seed}: {served} of {credits} after {:?}",
                    since.elapsed()
                );
                let before =
                    history.iter().filter(|(at, _)| at.elapsed() <= age).map(|(_, left)| *left).max();
                let out = left(&fleet, &nodes);
                assert!(out <= before.unwrap() / 2, "seed {seed}: {out} are out of {before:?}");
            }
            tokio::time::sleep(Duration::from_millis(number(12))).await;
        }
        assert_eq!(fleet.checked_balance().await, 0);
    }
}

/// One node is in use all the time, and still another gets what it holds, if it asks often enough.
#[tokio::test(start_paused = true)]
async fn busy_node_returns_what_another_needs() {
    let fleet = Fleet::of_nodes(2, 1_000);
    let nodes = nodes(&fleet, 2);
    fleet.serve_many(&nodes[0], 5).await;
    a_moment().await;
    assert!(nodes[0].ledger.held("acme") > Credits::new(50));
    let mut served = 5;
    while fleet.serve(&nodes[1], 1).await.unwrap() {
        served += 1;
    }
    let refused = tokio::time::Instant::now();
    // One request each 200 ms keeps the account in use on the first node.
    while refused.elapsed() < Duration::from_millis(1_550) {
        served += u64::from(fleet.serve(&nodes[0], 1).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut got = 0;
    while fleet.serve(&nodes[1], 1).await.unwrap() {
        got += 1;
    }
    let out = 1_000 - served - got;
    assert!(got > 40 && out < got / 2, "{got} came, {out} are out after {served}");
}

/// Other nodes have spent most of the balance: with the authority's next answer, a node gives back what is above its share.
#[tokio::test(start_paused = true)]
async fn surplus_is_returned_at_once() {
    let fleet = Fleet::of_nodes(2, 1_000);
    let nodes = nodes(&fleet, 2);
    fleet.serve_many(&nodes[0], 5).await;
    a_moment().await;
    while fleet.balance() > 200 {
        assert!(fleet.serve(&nodes[1], 20).await.unwrap());
    }
    let held = nodes[0].ledger.held("acme");
    assert!(held > Credits::new(50), "{held} held");
    // More than the node has committed: the authority is asked.
    assert!(fleet.serve(&nodes[0], 20).await.unwrap());
    a_moment().await;
    let (held, balance) = (nodes[0].ledger.held("acme").get(), fleet.balance());
    assert!(held <= balance / 4, "{held} held of {balance}");
}

/// A node that dies takes no more with it than its headroom, whatever a request costs.
#[tokio::test(start_paused = true)]
async fn dead_node_loses_at_most_its_headroom() {
    for cost in [1, 7, 12, 60, 100, 240] {
        for death in 0..12_u64 {
            let fleet = Fleet::of_nodes(2, 1_000_000);
            let (node, mut number) = (fleet.node(), numbers(death + 1));
            let mut spent = 0;
            for _ in 0..40 + number(300) {
                assert!(fleet.serve(&node, cost).await.unwrap());
                spent += cost;
                if number(3) == 0 {
                    tokio::time::sleep(Duration::from_millis(number(20))).await;
                }
            }
            // The last answers may be lost as well.
            if death % 2 == 1 {
                node.wire.set(Fault::Lost);
                for _ in 0..number(40) {
                    spent += if fleet.serve(&node, cost).await.is_ok_and(|served| served) { cost } else { 0 };
                }
            }
            node.wire.set(Fault::Down);
            drop(node);
            tokio::time::sleep(Duration::from_secs(61)).await;
            fleet.sweep();
            // A charge whose answer was lost is open still.
            let open = fleet.authority.open_charges("acme") as u64 * cost;
            let lost = 1_000_000 - spent - open - fleet.checked_balance().await;
            assert!(lost <= 250, "cost {cost}, death {death}: {lost} lost");
        }
    }
}

/// Creates a ledger that holds a block of each of a thousand accounts.
async fn of_a_thousand(fleet: &Fleet, wire: &Wire) -> LeasedLedger<Wire> {
    let ledger = LeasedLedger::with_clock(wire.clone(), fleet.terms.clone(), fleet.clock);
    for number in 0..1_000 {
        let name = format!("account-{number}");
        fleet.authority.set_balance(&name, Credits::new(1_000), fleet.wall());
        let account = Account::new(name.as_str(), "pro");
        for _ in 0..2 {
            let (id, now) = (fleet.next_id(), tollgate::Clock::now(&fleet.clock));
            let charge = Charge::new(id, &account, Credits::new(1), &fleet.allowance, now);
            assert!(matches!(ledger.charge(&charge).await, Ok(tollgate::credit::Charged::Posted { .. })));
            ledger.settle(&crate::support::settlement(&account, id, Credits::new(1))).await.unwrap();
        }
    }
    a_moment().await;
    assert!(ledger.held("account-999") > Credits::ZERO);
    ledger
}

/// A thousand accounts go back together, and an authority that does not answer is waited for until `closing` has passed.
#[tokio::test(start_paused = true)]
async fn close_ends_within_its_time() {
    let fleet = Fleet::of_nodes(1, 1);
    let wires = [(); 2].map(|()| Remote::new(std::sync::Arc::clone(&fleet.authority)));
    let [slow, hung] = &wires;
    let ledger = of_a_thousand(&fleet, slow).await;
    slow.delay(Duration::from_millis(100));
    let began = tokio::time::Instant::now();
    ledger.close().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(ledger.held("account-999"), Credits::ZERO);

    let ledger = of_a_thousand(&fleet, hung).await;
    hung.set(Fault::Hung);
    let began = tokio::time::Instant::now();
    assert!(ledger.close().await.unwrap_err().is_timeout());
    assert_eq!(began.elapsed(), fleet.terms.closing);
}

/// A balance that is set by hand: what a node holds is taken back, but for what it has committed; and nothing comes on top.
#[tokio::test(start_paused = true)]
async fn set_balance_recalls_leased_blocks() {
    for (seed, open) in (1..20).zip([false, true].into_iter().cycle()) {
        let fleet = Fleet::of_nodes(2, 100_000);
        let (nodes, mut number) = (nodes(&fleet, 2), numbers(seed));
        for _ in 0..number(2_000) {
            fleet.serve_many(&nodes[usize::try_from(number(2)).unwrap()], 1).await;
            tokio::time::sleep(Duration::from_micros(number(2_000))).await;
        }
        // A request that is open when it happens keeps its block on the node.
        let id = fleet.next_id();
        if open {
            assert!(matches!(
                fleet.charge_as(&nodes[0], id, 1).await,
                Ok(tollgate::credit::Charged::Posted { .. })
            ));
        }
        fleet.authority.set_balance("acme", Credits::ZERO, fleet.wall());
        let mut served = [0, 0];
        let began = tokio::time::Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            for (node, served) in nodes.iter().zip(&mut served) {
                let more = fleet.serve(node, 1).await.unwrap();
                *served += u64::from(more);
                assert!(
                    !more || began.elapsed() <= fleet.terms.longest,
                    "it goes on after {:?}",
                    began.elapsed()
                );
            }
            tokio::time::sleep(Duration::from_millis(number(5))).await;
        }
        assert!(served.iter().all(|served| *served <= 250), "no more than the headroom: {served:?}");
        if open {
            nodes[0]
                .ledger
                .settle(&crate::support::settlement(&nodes[0].account, id, Credits::new(1)))
                .await
                .unwrap();
        }
        for node in &nodes {
            node.ledger.close().await.unwrap();
        }
        assert_eq!(fleet.checked_balance().await, 0, "what was set stays");
    }
}
