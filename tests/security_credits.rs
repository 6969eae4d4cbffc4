//! Credits, the demo key and caps on the query: sections H and I of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::providers::{KWERY, QUANTCONOMY};
use support::{Answer, World, with_key, without_key};
use tollgate::{
    Allowance, CalendarUnit, Cap, Cost, Credits, Gate, Grant, GrantPeriod, KeyStatus, Plan, Presentation,
    Rule,
};

fn costing(route: &str, cost: Cost) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = cost;
    rule
}

fn grant(amount: u64, unit: CalendarUnit, zone: &str) -> Allowance {
    Allowance::Grant(Grant::new(Credits::new(amount), GrantPeriod::calendar(unit, zone).unwrap()))
}

/// `QuantConomy`'s gate: entries cost 10, the demo plan is capped and draws from 100 credits an hour.
fn quantconomy(world: &World) -> Gate {
    let mut demo = Plan::new("demo");
    let forbidden = ["cursor", "offset", "page"].map(|name| (name.to_owned(), Cap::Forbidden));
    demo.caps = forbidden.into_iter().chain([("limit".to_owned(), Cap::AtMost(3))]).into();
    demo.credits = grant(100, CalendarUnit::Hour, "UTC");
    world.key("mtk_demo", |_, account| account.plan = "demo".into());
    world.plain_key(QUANTCONOMY);
    let mut closed = Rule::new("/account/api-keys/{*rest}").unwrap();
    closed.closed_to = vec!["demo".into()];
    let mut list = Rule::new("/account/api-keys").unwrap();
    list.closed_to = vec!["demo".into()];
    let entries = costing("GET /api/v1/entries", Cost::Fixed(Credits::new(10)));
    world.quantconomy().plan(demo).rule(entries).rule(closed).rule(list).build().unwrap()
}

async fn bearer(world: &World, gate: &Gate, route: &str, key: &str) -> Answer {
    world.send(gate, without_key(route).header("authorization", format!("Bearer {key}"))).await
}

#[tokio::test]
async fn case_129_a_balance_below_the_cost_is_not_touched() {
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
async fn case_139_costs_of_zero_and_far_too_much() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let per_unit = |most| Cost::PerUnit { parameter: "n".into(), each: Credits::MAX, default: 0, most };
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
async fn case_140_a_cost_that_the_caller_chooses() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let cost = Cost::PerUnit { parameter: "limit".into(), each: Credits::new(2), default: 5, most: 20 };
    let gate = world.kwery().rule(costing("/v1/x", cost)).build().unwrap();
    let rows = [
        ("", 200, 10),
        ("?limit=1", 200, 2),
        ("?limit=%320", 200, 40),
        ("?li%6dit=3", 200, 6),
        ("?limit=0", 200, 0),
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
}

#[tokio::test]
async fn case_142_a_demo_budget_refills_to_its_amount() {
    let world = World::new();
    let gate = quantconomy(&world);
    let demo = || bearer(&world, &gate, "GET /api/v1/entries", "mtk_demo");
    for hours in [0, 1, 1, 5] {
        world.clock.advance(Duration::from_secs(3_600 * hours));
        // What was left does not pile up, and hours that nobody called in give nothing more.
        for _ in 0..10 {
            assert_eq!(demo().await.status, 200);
        }
        let empty = demo().await;
        assert_eq!((empty.status, empty.member("/error/code").as_str()), (402, "INSUFFICIENT_CREDITS"));
        assert_eq!(empty.header("retry-after"), None);
    }
    assert_eq!(bearer(&world, &gate, "GET /api/v1/entries", QUANTCONOMY).await.status, 200);
    world.clock.advance(Duration::from_secs(3_599));
    assert_eq!(demo().await.status, 402);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(demo().await.status, 200);
}

#[tokio::test]
async fn case_143_a_month_turns_once_in_the_billing_zone() {
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

/// In the gap: a plan without limit is not charged, and one with nothing spends what was put in.
#[tokio::test]
async fn case_144_nothing_zero_and_no_limit_are_three_things() {
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
async fn case_145_the_shape_of_a_402() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    world.set_balance(id, 3);
    let shape = r#"{"code": "{code}", "balance": "{balance}", "cost": "{cost}"}"#;
    let gate = world.kwery().rule(costing("/v1/x", Cost::Fixed(Credits::new(5))));
    let gate = gate.presentation(Presentation::json(shape).unwrap()).build().unwrap();
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!(answer.body, r#"{"code":"credits_exhausted","balance":3,"cost":5}"#);
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn case_146_to_152_what_a_demo_key_may_ask_for() {
    let world = World::new();
    let gate = quantconomy(&world);
    let refused = [
        "limit=4",
        "limit=3&limit=1000",
        "limit=1000&limit=3",
        "limit=3&limit=3",
        "li%6dit=1000",
        "%6C%69mit=1000",
        "limit=%31000",
        "limit=0001000",
        "limit=%2B1000",
        "limit=+2",
        "limit=",
        "limit",
        "limit=-1",
        "limit=2.0",
        "limit=3;limit=1000",
        "limit=99999999999999999999",
        "limit=%20%33",
        "limit=3%00",
        "limit=0x3",
        "limit=%EF%BC%93",
        "cursor=",
        "cursor",
        "offset=0",
        "page=1",
        "c%75rsor=x",
        "a=1&page",
        "limit=3&cursor=abc",
    ];
    for query in refused {
        let answer = bearer(&world, &gate, &format!("GET /api/v1/entries?{query}"), "mtk_demo").await;
        assert_eq!((answer.status, answer.member("/error/code").as_str()), (400, "BAD_REQUEST"), "{query}");
        assert_eq!(world.ledger.balance("account-0").unwrap().get(), 100, "{query}");
    }
    assert_eq!(world.calls(), 0);
    // What is not a configured name is the handler's to ignore (case 151); a real key has no caps.
    for query in [
        "",
        "limit=3",
        "limit=0",
        "limit=%33",
        "limit=003",
        "limit[]=1000",
        "LIMIT=1000",
        "per_page=1000",
        "&&limit=1&",
    ] {
        let answer = bearer(&world, &gate, &format!("GET /api/v1/entries?{query}"), "mtk_demo").await;
        assert_eq!(answer.status, 200, "{query}");
    }
    assert_eq!(
        bearer(&world, &gate, "GET /api/v1/entries?limit=1000&cursor=a", QUANTCONOMY).await.status,
        200
    );
}

#[tokio::test]
async fn case_154_a_demo_key_manages_no_keys() {
    let world = World::new();
    let gate = quantconomy(&world);
    for route in [
        "POST /account/api-keys",
        "GET /account/api-keys",
        "HEAD /account/api-keys",
        "DELETE /account/api-keys/1",
        "PUT /account/api-keys/a/b",
    ] {
        assert_eq!(bearer(&world, &gate, route, "mtk_demo").await.status, 403, "{route}");
        assert_eq!(bearer(&world, &gate, route, QUANTCONOMY).await.status, 200, "{route}");
    }
}

#[tokio::test]
async fn case_155_a_demo_literal_is_no_bypass() {
    let world = World::new();
    let gate = world.quantconomy().build().unwrap();
    assert_eq!(bearer(&world, &gate, "GET /api", "mtk_demo").await.status, 401);
    let id = world.plain_key("mtk_demo");
    assert_eq!(bearer(&world, &gate, "GET /api", "mtk_demo").await.status, 200);
    world.store.set_status(id, KeyStatus::Revoked);
    assert_eq!(bearer(&world, &gate, "GET /api", "mtk_demo").await.status, 401);
    assert!(World::new().quantconomy().literal("").build().is_err());
    assert!(World::new().quantconomy().literal("a b").build().is_err());
}
