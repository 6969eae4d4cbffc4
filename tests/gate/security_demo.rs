//! The demo key and caps on the query: section I of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use support::providers::QUANTCONOMY;
use support::{Answer, World, without_key};
use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod, ParamLimit};
use tollgate::key::KeyStatus;
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, Plan, Rule};

/// `QuantConomy`'s gate: entries cost 10, the demo plan is capped and draws from 100 credits an hour.
fn quantconomy(world: &World) -> Gate {
    let mut demo = Plan::new("demo");
    let forbidden = ["cursor", "offset", "page"].map(|name| (name.to_owned(), ParamLimit::Forbidden));
    demo.caps = forbidden.into_iter().chain([("limit".to_owned(), ParamLimit::AtMost(3))]).into();
    let hourly = GrantPeriod::calendar(CalendarUnit::Hour, "UTC").unwrap();
    demo.credits = Allowance::Grant(Grant::new(Credits::new(100), hourly));
    world.key("mtk_demo", |_, account| account.plan = "demo".into());
    world.plain_key(QUANTCONOMY);
    let mut closed = Rule::new("/account/api-keys/{*rest}").unwrap();
    closed.closed_to = vec!["demo".into()];
    let mut list = Rule::new("/account/api-keys").unwrap();
    list.closed_to = vec!["demo".into()];
    let mut entries = Rule::new("GET /api/v1/entries").unwrap();
    entries.cost = Cost::Fixed(Credits::new(10));
    world.quantconomy().plan(demo).rule(entries).rule(closed).rule(list).build().unwrap()
}

async fn bearer(world: &World, gate: &Gate, route: &str, key: &str) -> Answer {
    world.send(gate, without_key(route).header("authorization", format!("Bearer {key}"))).await
}

#[tokio::test]
async fn demo_budget_refills_to_its_amount() {
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

/// Checks that the demo key is refused for its query: in the provider's words, not served, and not charged.
async fn refused_to_the_demo_key(queries: &[&str]) {
    let world = World::new();
    let gate = quantconomy(&world);
    for query in queries {
        let answer = bearer(&world, &gate, &format!("GET /api/v1/entries?{query}"), "mtk_demo").await;
        assert_eq!((answer.status, answer.member("/error/code").as_str()), (400, "BAD_REQUEST"), "{query}");
        assert_eq!(world.ledger.balance("account-0").unwrap().get(), 100, "{query}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn limit_above_the_cap_is_refused() {
    refused_to_the_demo_key(&["limit=4", "limit=1000", "limit=99999999999999999999"]).await;
    // A real key has no caps.
    let world = World::new();
    let gate = quantconomy(&world);
    let answer = bearer(&world, &gate, "GET /api/v1/entries?limit=1000&cursor=a", QUANTCONOMY).await;
    assert_eq!(answer.status, 200);
}

/// Values that are not plain numbers.
#[tokio::test]
async fn limit_that_is_no_plain_number_is_refused() {
    let queries = ["limit=+2", "limit=", "limit", "limit=-1", "limit=2.0", "limit=0x3", "limit=%EF%BC%93"];
    refused_to_the_demo_key(&queries).await;
}

#[tokio::test]
async fn repeated_limit_is_refused() {
    let queries = ["limit=3&limit=1000", "limit=1000&limit=3", "limit=3&limit=3", "limit=3&li%6dit=3"];
    refused_to_the_demo_key(&queries).await;
}

#[tokio::test]
async fn encoded_limit_spellings_are_refused() {
    refused_to_the_demo_key(&[
        "li%6dit=1000",
        "%6C%69mit=1000",
        "limit=%31000",
        "limit=0001000",
        "limit=%2B1000",
        "limit=%20%33",
        "limit=3%00",
    ])
    .await;
}

#[tokio::test]
async fn parameters_of_other_names_are_ignored() {
    refused_to_the_demo_key(&["limit=3;limit=1000"]).await;
    let queries = [
        "",
        "limit=3",
        "limit=0",
        "limit=%33",
        "limit=003",
        "limit[]=1000",
        "LIMIT=1000",
        "per_page=1000",
        "&&limit=1&",
    ];
    let world = World::new();
    let gate = quantconomy(&world);
    for query in queries {
        let answer = bearer(&world, &gate, &format!("GET /api/v1/entries?{query}"), "mtk_demo").await;
        assert_eq!(answer.status, 200, "{query}");
    }
}

#[tokio::test]
async fn forbidden_parameters_are_refused() {
    let queries = ["cursor=", "cursor", "offset=0", "page=1", "c%75rsor=x", "a=1&page", "limit=3&cursor=abc"];
    refused_to_the_demo_key(&queries).await;
}

#[tokio::test]
async fn demo_key_cannot_manage_keys() {
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
async fn demo_key_must_be_active_in_the_store() {
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
