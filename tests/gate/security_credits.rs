//! Credits: section H of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use support::providers::KWERY;
use support::{World, with_key};
use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod};
use tollgate::respond::ErrorFormat;
use tollgate::rule::Cost;
use tollgate::{Credits, Plan, Rule};

fn costing(route: &str, cost: Cost) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = cost;
    rule
}

fn grant(amount: u64, unit: CalendarUnit, zone: &str) -> Allowance {
    Allowance::Grant(Grant::new(Credits::new(amount), GrantPeriod::calendar(unit, zone).unwrap()))
}

#[tokio::test]
async fn balance_below_the_cost_is_kept() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let gate = world.kwery().rule(costing("/v1/x", Cost::Fixed(Credits::new(40)))).build().unwrap();
    for (status, balance) in [(200, 60), (200, 20), (402, 20), (402, 20)] {
        assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, status);
        assert_eq!(world.balance(id), balance);
    }
    // An account that the ledger has never seen has nothing.
    world.store.put_key({
        let mut record = tollgate::KeyRecord::clone(&world.store.key(id).unwrap());
        record.account = std::sync::Arc::new(tollgate::Account::new("new", "plain"));
        record
    });
    assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, 402);
}

#[tokio::test]
async fn zero_cost_is_free_and_huge_cost_refused() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let per_unit =
        |most| Cost::PerUnit { parameter: "n".into(), each: Credits::MAX, least: 0, default: 0, most };
    let boundless = world.kwery().rule(costing("/v1/many", per_unit(u64::MAX)));
    assert!(boundless.build().is_err(), "a product that no ledger can hold stops the start");
    let gate = world
        .kwery()
        .rule(costing("/v1/free", Cost::Fixed(Credits::ZERO)))
        .rule(costing("/v1/huge", Cost::Fixed(Credits::new(u64::MAX))))
        .rule(costing("/v1/many", per_unit(1)))
        .build()
        .unwrap();
    let rows = [
        ("/v1/free", 200),
        ("/v1/huge", 402),
        ("/v1/many", 200),
        ("/v1/many?n=1", 402),
        ("/v1/many?n=2", 400),
        ("/v1/many?n=18446744073709551615", 400),
        ("/v1/many?n=18446744073709551616", 400),
    ];
    for (path, status) in rows {
        assert_eq!(world.send(&gate, with_key(&format!("GET {path}"), KWERY)).await.status, status, "{path}");
        assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (100, 0), "{path}");
    }
    assert_eq!(Credits::new(u64::MAX), Credits::MAX);
    assert_eq!(Credits::MAX.checked_add(Credits::new(1)), None);
    assert_eq!(Credits::new(1 << 62).checked_mul(2), None);
}

#[tokio::test]
async fn cost_parameter_is_capped_and_parsed() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let cost = |least| Cost::PerUnit {
        parameter: "limit".into(),
        each: Credits::new(2),
        least,
        default: 5,
        most: 20,
    };
    let gate =
        world.kwery().rule(costing("/v1/x", cost(1))).rule(costing("/v1/zero", cost(0))).build().unwrap();
    let rows = [
        ("", 200, 10),
        ("?limit=1", 200, 2),
        ("?limit=%320", 200, 40),
        ("?li%6dit=3", 200, 6),
        // What costs nothing is not for the caller to choose.
        ("?limit=0", 400, 0),
        ("?limit=000", 400, 0),
        ("?LIMIT=9", 200, 10),
        ("?limit=21", 400, 0),
        ("?limit=", 400, 0),
        ("?limit", 400, 0),
        ("?limit=-1", 400, 0),
        ("?limit=%2B1", 400, 0),
        ("?limit=1e1", 400, 0),
        ("?limit=1&limit=9", 400, 0),
        ("?limit=1&li%6dit=9", 400, 0),
        ("?limit=0x1", 400, 0),
        ("?limit=1.0", 400, 0),
        ("?limit=%D9%A1", 400, 0),
    ];
    for (query, status, paid) in rows {
        world.set_balance(id, 100);
        assert_eq!(
            world.send(&gate, with_key(&format!("GET /v1/x{query}"), KWERY)).await.status,
            status,
            "{query}"
        );
        assert_eq!(100 - world.balance(id), paid, "{query}");
    }
    // Where the configuration allows it, none is asked for and none is paid.
    world.set_balance(id, 100);
    assert_eq!(world.send(&gate, with_key("GET /v1/zero?limit=0", KWERY)).await.status, 200);
    assert_eq!(world.balance(id), 100);
}

#[tokio::test]
async fn monthly_grant_is_given_at_zone_midnight() {
    let world = World::new();
    let mut monthly = Plan::new("monthly");
    monthly.credits = grant(1, CalendarUnit::Month, "Europe/Berlin");
    world.clock.set_wall("2026-04-30T21:59:59Z".parse().unwrap());
    world.key(KWERY, |_, account| account.plan = "monthly".into());
    let gate =
        world.kwery().plan(monthly).rule(costing("/v1/x", Cost::Fixed(Credits::new(1)))).build().unwrap();
    let rows = [
        ("2026-04-30T21:59:59Z", 100),
        ("2026-04-30T21:59:59.999Z", 0),
        ("2026-04-30T22:00:00Z", 1),
        // The clock steps back and over the turn again: nothing is given twice.
        ("2026-04-30T21:59:59.999Z", 0),
        ("2026-04-30T22:00:01Z", 0),
        ("2026-05-31T21:59:59Z", 0),
        ("2026-05-31T22:00:00Z", 1),
    ];
    for (wall, served) in rows {
        world.clock.set_wall(wall.parse().unwrap());
        let mut count = 0;
        while world.send(&gate, with_key("GET /v1/x", KWERY)).await.status == 200 {
            count += 1;
        }
        assert_eq!(count, served, "{wall}");
    }
}

/// A plan without limit is not charged, and a plan without credits spends its adjustments only.
#[tokio::test]
async fn no_zero_and_unlimited_credits_differ() {
    let rows =
        [(Allowance::None, 402), (grant(0, CalendarUnit::Day, "UTC"), 402), (Allowance::Unlimited, 200)];
    for (allowance, status) in rows {
        let world = World::new();
        let mut plan = Plan::new("other");
        plan.credits = allowance.clone();
        let id = world.key(KWERY, |_, account| account.plan = "other".into());
        world.set_balance(id, 0);
        let gate =
            world.kwery().plan(plan).rule(costing("/v1/x", Cost::Fixed(Credits::new(1)))).build().unwrap();
        assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, status, "{allowance:?}");
        assert_eq!(world.balance(id), 0);
    }
}

#[tokio::test]
async fn denial_402_names_the_balance_and_cost() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    world.set_balance(id, 3);
    let shape = r#"{"code": "{code}", "balance": "{balance}", "cost": "{cost}"}"#;
    let gate = world.kwery().rule(costing("/v1/x", Cost::Fixed(Credits::new(5))));
    let gate = gate.error_format(ErrorFormat::json(shape).unwrap()).build().unwrap();
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!(answer.body, r#"{"code":"credits_exhausted","balance":3,"cost":5}"#);
    assert_eq!(answer.header("retry-after"), None);
}
