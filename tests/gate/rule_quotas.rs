//! Quotas of rules, beside those of plans.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;
use crate::two_gates::send;

use std::time::Duration;

use support::providers::KWERY;
use support::{World, with_key};
use tollgate::account::{PlanRule, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::{Gate, GateBuilder, MemoryLimiter, Plan, Rule};

const OTHER: &str = "kwery_live_other00002";

fn quota(text: &str) -> QuotaPolicy {
    text.parse().unwrap()
}

/// A rule with these quotas: texts, or names.
fn rule(route: &str, quotas: &[&str]) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.quotas = quotas.iter().map(|text| text.parse().unwrap()).collect();
    rule
}

fn plan(name: &str, quotas: &[&str], rules: &[(&str, &[&str])]) -> Plan {
    let mut plan = Plan::new(name);
    plan.quotas = quotas.iter().map(|text| text.parse().unwrap()).collect();
    for (route, quotas) in rules {
        let mut terms = PlanRule::default();
        terms.quotas = quotas.iter().map(|text| text.parse().unwrap()).collect();
        plan.rules.insert((*route).to_owned(), terms);
    }
    plan
}

/// A world with two keys of one account, whose plan is `limited`.
fn world() -> World {
    let world = World::new();
    for secret in [KWERY, OTHER] {
        world.key(secret, |_, account| (account.id, account.plan) = ("ada".into(), "limited".into()));
    }
    world
}

fn built(world: &World, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    with(world.kwery().limit_headers()).build().unwrap()
}

/// Returns the statuses of requests, each a route and a key.
async fn statuses(world: &World, gate: &Gate, requests: &[(&str, &str)]) -> Vec<u16> {
    world.statuses(gate, requests.iter().map(|(route, key)| with_key(route, key))).await
}

#[tokio::test]
async fn plan_and_rule_take_all_or_none() {
    let world = world();
    let gate = built(&world, |builder| {
        builder.plan(plan("limited", &["5 per minute"], &[])).rule(rule("GET /rare", &["2 per hour"]))
    });
    let rare = ("GET /rare", KWERY);
    assert_eq!(statuses(&world, &gate, &[rare, rare, rare, rare]).await, [200, 200, 429, 429]);
    // The refused requests took nothing from the plan's window.
    let free = ("GET /free", KWERY);
    assert_eq!(statuses(&world, &gate, &[free, free, free, free]).await, [200, 200, 200, 429]);
    // The plan's window refuses at the rule too, and takes nothing there.
    world.clock.advance(Duration::from_mins(30));
    assert_eq!(
        statuses(&world, &gate, &[free, free, free, free, free, rare]).await,
        [200, 200, 200, 200, 200, 429]
    );
    world.clock.advance(Duration::from_secs(12));
    let answer = world.send(&gate, with_key("GET /rare", KWERY)).await;
    assert_eq!(answer.status, 200);
    let told = answer.header("ratelimit").unwrap();
    assert!(told.starts_with("\"minute\";r=0;t=12, \"hour\";r=0;t="), "{told}");
    assert!(told.contains(";pk=:"), "{told}");
}

#[tokio::test]
async fn plan_replaces_a_rule_quota_by_name() {
    let world = world();
    let account = |text: &str| quota(text).counting(QuotaScope::Account);
    let own = account("2 per minute").with_name("backtests").unwrap();
    let mut terms = PlanRule::default();
    terms.quotas = vec![QuotaRef::Policy(own), "3 per day".parse().unwrap()];
    let mut limited = plan("limited", &[], &[]);
    limited.rules.insert("/tests".to_owned(), terms);
    let gate = built(&world, |builder| {
        builder
            .quota("backtests", account("1 per minute"))
            .plan(limited)
            .plan(plan("other", &[], &[]))
            .rule(rule("/tests", &["backtests"]))
    });
    let (one, two) = (("GET /tests", KWERY), ("POST /tests", OTHER));
    // Two of the account's minute; then three of the key's day.
    assert_eq!(statuses(&world, &gate, &[one, two, one]).await, [200, 200, 429]);
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(statuses(&world, &gate, &[one, one, one]).await, [200, 200, 429]);
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(statuses(&world, &gate, &[one, two]).await, [429, 200]);
    // Another plan has the rule's own quota.
    let third = "kwery_live_third00003";
    world.key(third, |_, account| account.plan = "other".into());
    assert_eq!(statuses(&world, &gate, &[("GET /tests", third); 2]).await, [200, 429]);
}

#[tokio::test]
async fn shared_quota_counts_over_rules() {
    let world = world();
    let gate = built(&world, |builder| {
        builder
            .quota("reports", quota("3 per hour"))
            .plan(plan("limited", &["reports"], &[]))
            .rule(rule("/a", &["reports"]))
            .rule(rule("/b", &["reports"]))
            .rule(rule("/c", &["3 per hour"]))
    });
    let (one, two, own) = (("GET /a", KWERY), ("GET /b", KWERY), ("GET /c", KWERY));
    assert_eq!(statuses(&world, &gate, &[one, two, one, two, own]).await, [200, 200, 200, 429, 429]);
    let other = |route| (route, OTHER);
    assert_eq!(statuses(&world, &gate, &[other("GET /x"), other("GET /a"), other("GET /b")]).await, [200; 3]);
    // The plan's own window of the same quota has three, of which two rules took two.
    assert_eq!(statuses(&world, &gate, &[other("GET /x")]).await, [429]);
}

#[tokio::test]
async fn key_quotas_keep_rule_windows() {
    let world = world();
    world.key("kwery_live_third00003", |record, account| {
        account.plan = "limited".into();
        record.quotas = Some(vec![]);
    });
    let gate = built(&world, |builder| {
        builder
            .plan(plan("limited", &["1 per hour"], &[("GET /b", &["2 per day"])]))
            .rule(rule("GET /a", &["1 per day"]))
            .rule(rule("GET /b", &[]))
    });
    let third = |route| (route, "kwery_live_third00003");
    let requests = ["GET /x", "GET /x", "GET /a", "GET /a", "GET /b", "GET /b", "GET /b"].map(third);
    assert_eq!(statuses(&world, &gate, &requests).await, [200, 200, 200, 429, 200, 200, 429]);
}

#[tokio::test]
async fn inner_gate_draws_its_rule() {
    let world = world();
    let outer = built(&world, |builder| {
        builder.plan(plan("limited", &["3 per hour"], &[])).rule(rule("GET /a", &["9 per hour"]))
    });
    let inner = built(&world.with_limiter(MemoryLimiter::new()), |builder| {
        builder.plan(plan("limited", &["2 per hour"], &[])).rule(rule("GET /a", &["1 per hour"]))
    });
    let both = async |route| send([&outer, &inner], &world, with_key(route, KWERY)).await.status;
    // The inner gate leaves out its plan's window only.
    assert_eq!([both("GET /a").await, both("GET /a").await], [200, 429]);
    assert_eq!([both("GET /x").await, both("GET /x").await], [200, 429]);
    // One gate twice draws once.
    let world = self::world();
    let gate = built(&world, |builder| {
        builder.plan(plan("limited", &[], &[])).rule(rule("GET /a", &["2 per hour"]))
    });
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(send([&gate, &gate], &world, with_key("GET /a", KWERY)).await.status);
    }
    assert_eq!(told, [200, 200, 429]);
}

#[tokio::test]
async fn odd_path_cannot_avoid_a_rule_quota() {
    let world = world();
    let gate = built(&world, |builder| {
        builder.plan(plan("limited", &[], &[])).rule(rule("GET /a/b", &["1 per hour"]))
    });
    let paths = ["GET /a/b", "GET /a/b/", "GET /a/%62", "HEAD /a/b"].map(|route| (route, KWERY));
    assert_eq!(statuses(&world, &gate, &paths).await, [200, 429, 429, 429]);
}

/// Two rules in turn, with windows of one key and of its account.
#[tokio::test]
async fn rules_in_turn_share_the_plans_window() {
    let world = world();
    let account = quota("7 per day").counting(QuotaScope::Account);
    let mut limited = plan("limited", &["6 per hour"], &[]);
    limited.quotas.push(QuotaRef::Policy(account));
    let gate = built(&world, |builder| {
        builder.plan(limited).rule(rule("/a", &["9 per hour"])).rule(rule("/b", &["9 per hour"]))
    });
    let turns = ["GET /a", "GET /b", "GET /x"].map(|route| (route, KWERY));
    let requests: Vec<_> = turns.iter().cycle().take(8).copied().collect();
    assert_eq!(statuses(&world, &gate, &requests).await, [200, 200, 200, 200, 200, 200, 429, 429]);
    assert_eq!(statuses(&world, &gate, &[("GET /a", OTHER), ("GET /b", OTHER)]).await, [200, 429]);
}
