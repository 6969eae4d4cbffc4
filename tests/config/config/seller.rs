//! A file with all kinds of limits, as a seller of an API has it.

use http::Request;
use tollgate::{DenialKind, RequestView};

use crate::config::fixture::Stage;

const SELLER: &str = r#"
[quotas]
backtests = { quota = "10 per minute", counts = "account", burst = 3 }

[plans.anonymous]
quotas = ["5 per minute"]

[plans.pro]
quotas = ["600 per minute"]
in_flight = 8
[plans.pro.rules."POST /v1/backtests"]
quotas = ["100 per day"]

[[rules]]
route = "POST /v1/backtests"
quotas = ["backtests"]
weight = { parameter = "years", default = 1, most = 20 }
in_flight = 2

[[rules]]
route = "GET /v1/ticker"
anonymous = true

[[rules]]
route = "GET /status"
public = true
quotas = [{ quota = "60 per minute", counts = "network" }]

[anonymous]
plan = "anonymous"
network = { ipv4 = 32, ipv6 = 56 }

[attempts]
quota = "20 per minute"
"#;

fn seller() -> Stage {
    let stage = Stage::of_file(SELLER).unwrap();
    stage.put("acme_pro00000", "pro", |_, _| {});
    stage
}

/// Requests or answers, each with the number of times that it comes.
type Counted<'t> = &'t [(usize, &'t str)];

/// The kinds of the denials of these requests, each made so many times, or `served`.
async fn counted(stage: &Stage, script: Counted<'_>) -> Vec<(usize, String)> {
    let mut counted: Vec<(usize, String)> = Vec::new();
    for (times, line) in script {
        for answer in stage.play(&vec![*line; *times]).await {
            let kind = answer.kind().unwrap_or("served").to_owned();
            match counted.last_mut() {
                Some((count, last)) if *last == kind => *count += 1,
                _ => counted.push((1, kind)),
            }
        }
    }
    counted
}

fn listed(rows: Counted<'_>) -> Vec<(usize, String)> {
    rows.iter().map(|(count, kind)| (*count, (*kind).to_owned())).collect()
}

#[tokio::test]
async fn rule_of_a_seller_has_all_its_limits() {
    let stage = seller();
    let ask = |years| format!("POST /v1/backtests?years={years}; x-api-key: acme_pro00000");
    let (one, three, four, many) = (ask(1), ask(3), ask(4), ask(21));
    let script = [(1, &*three), (1, &*one), (1, "+6s"), (1, &*one), (1, &*four), (1, &*many)];
    let kinds = counted(&stage, &script).await;
    let expected = [
        (1, "served"),
        (1, "rate_limited"),
        (1, "served"),
        (1, "weight_too_large"),
        (1, "parameter_above_cap"),
    ];
    assert_eq!(kinds, listed(&expected));
    // The plan allows 100 units a day, of which 4 are taken.
    let mut days = Vec::new();
    for _ in 0..40 {
        days.extend(counted(&stage, &[(1, "+18s"), (1, &three)]).await);
    }
    let served = days.iter().take_while(|(_, kind)| kind == "served").count();
    assert_eq!(served, 32, "{days:?}");
    let answer = stage.play(&[&three]).await.remove(0);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 60, "only the window of a day is that slow: {wait}");
    // The other routes have the plan's quota.
    let kinds = counted(&stage, &[(601, "GET /v1/other; x-api-key: acme_pro00000")]).await;
    assert_eq!(kinds, listed(&[(600, "served"), (1, "rate_limited")]));
}

#[tokio::test]
async fn plan_and_rule_of_a_seller_limit_slots() {
    let stage = seller();
    let admit = async |route: &str| {
        let (method, path) = route.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path).header("x-api-key", "acme_pro00000");
        stage.gate.admit(&RequestView::of(&request.body(()).unwrap())).await
    };
    let mut held = Vec::new();
    for (times, route) in [(2, "POST /v1/backtests"), (6, "GET /v1/other")] {
        for _ in 0..times {
            held.push(admit(route).await.unwrap());
        }
        let denied = admit(route).await.unwrap_err();
        assert_eq!(denied.kind(), DenialKind::InFlightLimited, "{route}");
    }
    held.remove(0);
    assert!(admit("POST /v1/backtests").await.is_ok());
}

#[tokio::test]
async fn networks_of_a_seller_are_limited() {
    let stage = seller();
    let rows: [(Counted<'_>, Counted<'_>); 5] = [
        // The anonymous plan counts each network.
        (&[(6, "GET /v1/ticker; peer 192.0.2.1")], &[(5, "served"), (1, "rate_limited")]),
        (
            &[(3, "GET /v1/ticker; peer 2001:db8::1"), (3, "GET /v1/ticker; peer 2001:db8:0:ff::1")],
            &[(5, "served"), (1, "rate_limited")],
        ),
        (&[(1, "GET /v1/ticker; peer 2001:db8:0:100::1")], &[(1, "served")]),
        // So does the public rule.
        (&[(61, "GET /status; peer 192.0.2.1")], &[(60, "served"), (1, "rate_limited")]),
        (&[(1, "GET /status; peer 192.0.2.2")], &[(1, "served")]),
    ];
    for (script, expected) in rows {
        assert_eq!(counted(&stage, script).await, listed(expected), "{script:?}");
    }
    // A bad key is not anonymous, and its network may fail 20 times.
    let bad = "GET /v1/ticker; x-api-key: acme_bad00000; peer 192.0.2.9";
    let none = "POST /v1/backtests; peer 192.0.2.9";
    let good = "GET /v1/ticker; x-api-key: acme_pro00000; peer 192.0.2.9";
    let kinds = counted(&stage, &[(10, bad), (11, none), (1, good), (1, bad), (1, "+3s"), (1, none)]).await;
    let expected = [
        (10, "unknown"),
        (10, "missing"),
        (1, "too_many_attempts"),
        (1, "served"),
        (1, "too_many_attempts"),
        (1, "missing"),
    ];
    assert_eq!(kinds, listed(&expected));
    let answer = stage.play(&["GET /v1/ticker; peer 192.0.2.10"]).await.remove(0);
    assert_eq!(answer.seen.unwrap().account.as_deref(), Some("(anonymous)"));
}
