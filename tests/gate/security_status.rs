//! Status, scopes and plans: section F of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use support::providers::{KWERY, QUANTDATA, VECTRADE};
use support::{World, with_key, without_key};
use tollgate::account::{AccountStatus, Subscription};
use tollgate::clock::Timestamp;
use tollgate::key::KeyStatus;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Clock, Credits, Plan, Rule};

#[tokio::test]
async fn expired_key_reads_as_revoked() {
    use AccountStatus as Account;
    let rows = [
        (KeyStatus::Active, Account::Active, None, 200, ""),
        (KeyStatus::Revoked, Account::Active, None, 401, "api_key_revoked"),
        (KeyStatus::Active, Account::Active, Some(0), 401, "api_key_revoked"),
        (KeyStatus::Active, Account::Active, Some(1), 200, ""),
        (KeyStatus::Paused, Account::Active, Some(0), 401, "api_key_revoked"),
        (KeyStatus::Paused, Account::Active, None, 401, "api_key_paused"),
        (KeyStatus::Active, Account::Suspended, None, 403, "account_suspended"),
        (KeyStatus::Active, Account::Deleted, None, 403, "account_suspended"),
        (KeyStatus::Revoked, Account::Deleted, None, 401, "api_key_revoked"),
    ];
    for (key, holder, expires_in, status, code) in rows {
        let world = World::new();
        let gate = world.kwery().build().unwrap();
        let now = world.clock.now().wall().as_millis();
        world.key(KWERY, |record, account| {
            record.status = key;
            record.expires_at = expires_in.map(|millis: i64| Timestamp::from_millis(now + millis));
            account.status = holder;
        });
        let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
        let told = if status == 200 { String::new() } else { answer.member("/error") };
        assert_eq!((answer.status, told.as_str()), (status, code), "{key:?} {holder:?} {expires_in:?}");
    }
}

/// The status and the expiry are judged at the time of the request, not when the record was first read.
#[tokio::test]
async fn status_is_checked_on_every_request() {
    let world = World::new();
    let end = world.clock.now().wall().saturating_add(Duration::from_secs(5));
    let id = world.key(KWERY, |record, _| record.expires_at = Some(end));
    let other = world.plain_key("kwery_live_other_key");
    let gate = world.kwery().build().unwrap();
    assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, 200);
    world.clock.advance(Duration::from_millis(4_999));
    assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, 200);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, 401);
    // Revoked, suspended: on the very next call, and a revoked key stays revoked.
    assert_eq!(world.send(&gate, with_key("GET /v1/x", "kwery_live_other_key")).await.status, 200);
    world.store.change_account(&world.account_of(other), |account| account.status = AccountStatus::Suspended);
    assert_eq!(world.send(&gate, with_key("GET /v1/x", "kwery_live_other_key")).await.status, 403);
    world.store.set_status(other, KeyStatus::Revoked);
    world.store.set_status(other, KeyStatus::Active);
    assert_eq!(world.send(&gate, with_key("GET /v1/x", "kwery_live_other_key")).await.status, 401);
    assert!(world.store.key(id).is_some());
}

#[tokio::test]
async fn agreement_is_checked_after_subscription() {
    let rows = [
        (None, false, 403, "authorization"),
        (Some(Subscription::Lapsed), true, 403, "authorization"),
        (Some(Subscription::Active), false, 403, "opra-agreement-required"),
        (Some(Subscription::Active), true, 200, ""),
    ];
    for (subscription, signed, status, category) in rows {
        let world = World::new();
        world.key(QUANTDATA, |_, account| {
            account.subscription = subscription;
            account.agreements.extend(signed.then(|| "opra".into()));
        });
        let gate = world.quantdata().build().unwrap();
        let request = without_key("POST /v1/options/tool/gainers-losers")
            .header("authorization", format!("Bearer {QUANTDATA}"));
        let answer = world.send(&gate, request).await;
        assert_eq!(answer.status, status, "{subscription:?} {signed}");
        if status == 403 {
            assert_eq!(answer.member("/type"), format!("https://quantdata.us/errors/{category}"));
        }
        if category == "opra-agreement-required" {
            let url = answer.member("/agreementUrl");
            assert_eq!(url, "https://v3.quantdata.us/legal/agreement");
            assert!(answer.member("/detail").ends_with(&url));
        }
    }
}

fn scoped(route: &str, scopes: ScopeRule) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.scopes = scopes;
    rule
}

#[tokio::test]
async fn missing_scope_is_named() {
    let world = World::new();
    world.key(VECTRADE, |record, _| {
        record.scopes = Some(vec!["quotes:read".into(), "ai:rea".into(), "ai:*".into()]);
    });
    let gate = world
        .vectrade(false)
        .rule(scoped("/v1/ai", ScopeRule::AnyOf(vec!["ai:read".into()])))
        .build()
        .unwrap();
    let answer = world.send(&gate, with_key("GET /v1/ai", VECTRADE)).await;
    assert_eq!((answer.status, answer.member("/error/type").as_str()), (403, "permission_error"));
    assert_eq!(answer.member("/error/message"), "API key does not have permission. Required scope: ai:read");
    assert!(answer.json().pointer("/error/docs_url").is_none());
}

/// The scopes of a restricted key are compared with a rule that asks for one, any or all of several.
#[tokio::test]
async fn scopes_any_all_unnamed_and_everyone() {
    let any = || ScopeRule::AnyOf(vec!["a".into(), "b".into()]);
    let all = || ScopeRule::AllOf(vec!["a".into(), "b".into()]);
    let rows: [(&str, Option<&[&str]>, ScopeRule, u16); 12] = [
        ("unrestricted, any", None, any(), 200),
        ("unrestricted, unnamed", None, ScopeRule::Unnamed, 200),
        ("one of any", Some(&["b"]), any(), 200),
        ("one of all", Some(&["b"]), all(), 403),
        ("all", Some(&["b", "a", "c"]), all(), 200),
        ("another", Some(&["c"]), any(), 403),
        ("another case", Some(&["A"]), any(), 403),
        ("joined", Some(&["a b"]), any(), 403),
        ("empty", Some(&[]), any(), 403),
        ("empty, everyone", Some(&[]), ScopeRule::Everyone, 200),
        ("star", Some(&["*"]), any(), 403),
        ("held, unnamed", Some(&["a", "b"]), ScopeRule::Unnamed, 403),
    ];
    for (name, held, asked, status) in rows {
        let world = World::new();
        world.key(KWERY, |record, _| {
            record.scopes = held.map(|held| held.iter().map(|scope| (*scope).into()).collect());
        });
        let gate = world.kwery().rule(scoped("/v1/x", asked)).build().unwrap();
        assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, status, "{name}");
    }
    for scopes in [vec![], vec![""], vec!["a b"]] {
        let rule = scoped("/v1/x", ScopeRule::AnyOf(scopes.iter().map(|scope| (*scope).into()).collect()));
        assert!(World::new().kwery().rule(rule).build().is_err(), "{scopes:?}");
    }
}

#[tokio::test]
async fn restricted_key_needs_a_rule() {
    let world = World::new();
    world.key(KWERY, |record, _| record.scopes = Some(vec!["a".into()]));
    world.plain_key("kwery_live_unrestricted");
    let gate = world.kwery().rule(scoped("/v1/x", ScopeRule::AnyOf(vec!["a".into()]))).build().unwrap();
    for (route, restricted) in [("GET /v1/x", 200), ("GET /v1/y", 403), ("GET /", 403), ("GET /v1/x/y", 403)]
    {
        let answer = world.send(&gate, with_key(route, KWERY)).await;
        assert_eq!(answer.status, restricted, "{route}");
        if restricted == 403 {
            assert_eq!(answer.member("/error"), "plan_required");
        }
        assert_eq!(
            world.send(&gate, with_key(route, "kwery_live_unrestricted")).await.status,
            200,
            "{route}"
        );
    }
}

#[tokio::test]
async fn denied_scope_costs_no_credits() {
    let world = World::new();
    let mut limited = Plan::new("limited");
    limited.quotas.push("2 per minute".parse().unwrap());
    let id = world.key(KWERY, |record, account| {
        record.scopes = Some(vec!["a".into()]);
        account.plan = "limited".into();
    });
    let mut rule = scoped("/v1/x", ScopeRule::AnyOf(vec!["b".into()]));
    rule.cost = Cost::Fixed(Credits::new(60));
    let gate = world.kwery().plan(limited).rule(rule).build().unwrap();
    for status in [403, 403, 429] {
        assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, status);
        assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (100, 0));
    }
}

/// Plans are compared by rank, by name, and a plan may have no rank.
#[tokio::test]
async fn plans_are_compared_by_rank_and_name() {
    let plan = |name: &str, rank| {
        let mut plan = Plan::new(name);
        plan.rank = rank;
        plan
    };
    let rows = [
        ("free", 403, 200),
        ("pro", 200, 200),
        ("enterprise", 200, 403),
        ("demo", 200, 200),
        ("loose", 403, 200),
    ];
    for (name, ranked, closed) in rows {
        let world = World::new();
        world.key(KWERY, |_, account| account.plan = name.into());
        let mut min = Rule::new("/v1/ranked").unwrap();
        min.min_plan = Some("pro".into());
        min.open_to = vec!["demo".into()];
        let mut shut = Rule::new("/v1/closed").unwrap();
        shut.closed_to = vec!["enterprise".into()];
        let plans = [
            plan("free", Some(0)),
            plan("pro", Some(1)),
            plan("enterprise", Some(2)),
            plan("demo", None),
            plan("loose", None),
        ];
        let gate = plans
            .into_iter()
            .fold(world.kwery().rule(min).rule(shut), tollgate::GateBuilder::plan)
            .build()
            .unwrap();
        assert_eq!(world.send(&gate, with_key("GET /v1/ranked", KWERY)).await.status, ranked, "{name}");
        assert_eq!(world.send(&gate, with_key("GET /v1/closed", KWERY)).await.status, closed, "{name}");
    }
}
