//! Weights: requests that take more than one unit of a quota.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use support::providers::KWERY;
use support::{Answer, World, with_key, without_key};
use tollgate::account::{NetworkCut, PlanRule, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::rule::{Cost, Weight};
use tollgate::{Credits, Gate, GateBuilder, KeyId, Plan, Rule};

fn quotas(texts: &[&str]) -> Vec<QuotaRef> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn plan(texts: &[&str]) -> Plan {
    let mut plan = Plan::new("limited");
    plan.quotas = quotas(texts);
    plan
}

fn weighed(route: &str, weight: Weight) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.weight = weight;
    rule
}

fn years(least: u32, default: u32, most: u32) -> Weight {
    Weight::Parameter { parameter: "years".into(), least, default, most }
}

fn world() -> (World, KeyId) {
    let world = World::new();
    let id = world.key(KWERY, |_, account| account.plan = "limited".into());
    (world, id)
}

fn built(world: &World, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    with(world.kwery().limit_headers()).build().unwrap()
}

async fn ask(world: &World, gate: &Gate, route: &str) -> Answer {
    world.send(gate, with_key(route, KWERY)).await
}

/// Returns the statuses of requests to these routes.
async fn statuses(world: &World, gate: &Gate, routes: &[&str]) -> Vec<u16> {
    world.statuses(gate, routes.iter().map(|route| with_key(route, KWERY))).await
}

/// Returns the number of units that each window of the key has left.
async fn left(world: &World, id: KeyId, gate: &Gate) -> Vec<u32> {
    let usage = gate.key_usage(&world.store.key(id).unwrap()).await.unwrap();
    usage.windows.iter().map(|window| window.remaining).collect()
}

#[tokio::test]
async fn parameter_sets_the_weight() {
    let (world, id) = world();
    let gate = built(&world, |builder| {
        let mut rule = weighed("GET /tests", years(1, 2, 20));
        rule.quotas = quotas(&["30 per hour"]);
        builder.plan(plan(&["50 per minute"])).rule(rule)
    });
    // 2, 20, and 5 of 8; then 6 of 3.
    let routes = ["GET /tests", "GET /tests?years=20", "GET /tests?years=5&a=1", "GET /tests?ye%61rs=6"];
    assert_eq!(statuses(&world, &gate, &routes).await, [200, 200, 200, 429]);
    // The plan's windows take the weight too.
    assert_eq!(left(&world, id, &gate).await, [23]);
    assert_eq!(statuses(&world, &gate, &["GET /tests?years=3", "GET /a"]).await, [200, 200]);
    assert_eq!(left(&world, id, &gate).await, [19]);
}

#[tokio::test]
async fn header_sets_the_weight() {
    let (world, id) = world();
    let header = Weight::Header { header: "x-tokens".parse().unwrap(), least: 1, default: 3, most: 8 };
    let gate =
        built(&world, |builder| builder.plan(plan(&["10 per minute"])).rule(weighed("POST /chat", header)));
    let send = async |values: &[&str]| {
        let mut request = with_key("POST /chat", KWERY);
        for value in values {
            request = request.header("X-Tokens", *value);
        }
        let answer = world.send(&gate, request).await;
        let kind = if answer.status < 400 { String::new() } else { answer.member("/error") };
        (answer.status, kind)
    };
    assert_eq!(send(&["8"]).await.0, 200);
    assert_eq!(left(&world, id, &gate).await, [2]);
    assert_eq!(send(&[]).await.0, 429, "3 of 2 units");
    for values in [&["0"][..], &["-1"], &["1.5"], &["two"], &[""], &["1", "1"]] {
        assert_eq!(send(values).await, (400, "parameter_unreadable".into()), "{values:?}");
    }
    assert_eq!(send(&["9"]).await, (400, "parameter_above_cap".into()));
    assert_eq!(send(&["2"]).await.0, 200);
}

#[tokio::test]
async fn too_large_a_weight_is_400() {
    let (world, id) = world();
    let gate = built(&world, |builder| {
        let mut rule = weighed("GET /tests", years(1, 1, 500));
        rule.quotas = quotas(&["10 per hour", "90 per day"]);
        builder.plan(plan(&["50 per minute"])).rule(rule)
    });
    let answer = ask(&world, &gate, "GET /tests?years=11").await;
    assert_eq!((answer.status, answer.member("/error")), (400, "weight_too_large".into()));
    assert_eq!(answer.header("retry-after"), None);
    let told = answer.body;
    assert!(told.contains("The request takes 11 units of the quota `hour`, which can hold 10."), "{told}");
    assert_eq!(left(&world, id, &gate).await, [50]);
    assert_eq!(statuses(&world, &gate, &["GET /tests?years=10", "GET /tests?years=1"]).await, [200, 429]);
}

/// The gate was built before the key had quotas of its own.
#[tokio::test]
async fn own_quota_below_the_weight_is_400() {
    let world = World::new();
    world.key(KWERY, |record, account| {
        account.plan = "limited".into();
        record.quotas = Some(quotas(&["4 per minute"]));
    });
    let gate = built(&world, |builder| builder.plan(plan(&[])).rule(weighed("/heavy", Weight::Fixed(5))));
    let answer = ask(&world, &gate, "GET /heavy").await;
    assert_eq!((answer.status, answer.member("/error")), (400, "weight_too_large".into()));
    assert_eq!(statuses(&world, &gate, &["GET /a"; 5]).await, [200, 200, 200, 200, 429]);
}

#[tokio::test]
async fn refused_weight_takes_nothing() {
    let (world, id) = world();
    let gate = built(&world, |builder| {
        let mut heavy = weighed("GET /tests", years(1, 1, 20));
        heavy.cost = Cost::Fixed(Credits::new(7));
        heavy.quotas = quotas(&["20 per hour"]);
        builder.plan(plan(&["12 per minute"])).rule(heavy)
    });
    world.set_balance(id, 100);
    assert_eq!(statuses(&world, &gate, &["GET /tests?years=8", "GET /tests?years=8"]).await, [200, 429]);
    let answer = ask(&world, &gate, "GET /tests?years=13").await;
    assert_eq!((answer.status, answer.member("/error")), (400, "weight_too_large".into()));
    assert_eq!(left(&world, id, &gate).await, [4]);
    assert_eq!(world.balance(id), 93);
    // The refused requests took nothing from the rule's window either.
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(statuses(&world, &gate, &["GET /tests?years=12", "GET /tests"]).await, [200, 429]);
}

#[tokio::test]
async fn unit_requests_counts_one() {
    let (world, _) = world();
    let with_unit = |text: &str, unit: &str| {
        let policy: QuotaPolicy = text.parse().unwrap();
        QuotaRef::Policy(policy.with_unit(unit).unwrap().with_name(unit).unwrap())
    };
    let gate = built(&world, |builder| {
        let mut plan = plan(&[]);
        plan.quotas = vec![with_unit("3 per minute", "requests"), with_unit("1000 per minute", "tokens")];
        builder.plan(plan).rule(weighed("/chat", Weight::Fixed(400)))
    });
    let answer = ask(&world, &gate, "POST /chat").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some("\"requests\";q=3;w=60, \"tokens\";q=1000;w=60;qu=\"tokens\"")
    );
    assert_eq!(answer.header("ratelimit"), Some("\"requests\";r=2;t=20, \"tokens\";r=600;t=1"));
    assert_eq!(statuses(&world, &gate, &["POST /chat", "POST /chat"]).await, [200, 429]);
    assert_eq!(statuses(&world, &gate, &["GET /a", "GET /a"]).await, [200, 429]);
}

#[tokio::test]
async fn wait_is_that_of_the_weight() {
    let (world, _) = world();
    let gate = built(&world, |builder| {
        builder.plan(plan(&["60 per minute"])).rule(weighed("/heavy", Weight::Fixed(40)))
    });
    assert_eq!(ask(&world, &gate, "GET /heavy").await.status, 200);
    let answer = ask(&world, &gate, "GET /heavy").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("20")));
    assert_eq!(answer.header("ratelimit"), Some("\"minute\";r=20;t=1"));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"minute\";q=60;w=60;qu=\"units\""));
    // A request of one unit is admitted meanwhile.
    assert_eq!(ask(&world, &gate, "GET /a").await.status, 200);
    world.clock.advance(Duration::from_secs(21));
    assert_eq!(ask(&world, &gate, "GET /heavy").await.status, 200);
}

#[tokio::test]
async fn odd_path_has_the_weight() {
    let (world, _) = world();
    let gate = built(&world, |builder| {
        builder.plan(plan(&["10 per hour"])).rule(weighed("GET /a/b", Weight::Fixed(5)))
    });
    let routes = ["GET /a/b/", "HEAD /a/%62", "GET /a/b"];
    assert_eq!(statuses(&world, &gate, &routes).await, [200, 200, 429]);
}

#[tokio::test]
async fn plan_may_raise_a_quota_for_a_weight() {
    let (world, _) = world();
    let gate = built(&world, |builder| {
        let mut limited = plan(&[]);
        let mut terms = PlanRule::default();
        terms.quotas = quotas(&["30 per hour"]);
        limited.rules.insert("/tests".to_owned(), terms);
        let mut rule = weighed("/tests", years(1, 1, 20));
        rule.quotas = quotas(&["10 per hour"]);
        builder.plan(limited).rule(rule)
    });
    let routes = ["GET /tests?years=20", "GET /tests?years=11", "GET /tests?years=10"];
    assert_eq!(statuses(&world, &gate, &routes).await, [200, 429, 200]);
}

#[tokio::test]
async fn public_rule_may_have_a_weight() {
    let world = World::new();
    let gate = built(&world, |builder| {
        let mut rule = weighed("GET /status", years(1, 1, 20));
        rule.public = true;
        let network = QuotaScope::Network(NetworkCut::default());
        let quota = "10 per minute".parse::<QuotaPolicy>().unwrap().counting(network);
        rule.quotas = vec![QuotaRef::Policy(quota)];
        builder.rule(rule)
    });
    let send = async |route| world.send(&gate, without_key(route)).await;
    assert_eq!(send("GET /status?years=8").await.status, 200);
    let answer = send("GET /status?years=4").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("12")));
    let policies = answer.header("ratelimit-policy").unwrap();
    assert!(policies.starts_with("\"minute\";q=10;w=60;qu=\"units\""), "{policies}");
    assert_eq!(send("GET /status?years=2").await.status, 200);
    let answer = send("GET /status?years=11").await;
    assert_eq!((answer.status, answer.member("/error")), (400, "weight_too_large".into()));
}
