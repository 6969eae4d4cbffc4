//! Rate limits: section G of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::log;
use crate::support;

use std::sync::Arc;
use std::time::Duration;

use log::Log;
use support::providers::KWERY;
use support::{World, with_key};
use tollgate::account::{QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::respond::ErrorFormat;
use tollgate::{Gate, MemoryLimiter, Plan};

/// A gate whose plan `limited` has these quotas.
fn gate(world: &World, quotas: &[QuotaPolicy]) -> Gate {
    let mut limited = Plan::new("limited");
    limited.quotas = quotas.iter().cloned().map(QuotaRef::Policy).collect();
    world.kwery().plan(limited).limit_headers().build().unwrap()
}

fn limited_key(world: &World, secret: &str) {
    world.key(secret, |_, account| account.plan = "limited".into());
}

async fn status(world: &World, gate: &Gate, key: &str) -> u16 {
    world.send(gate, with_key("GET /v1/x", key)).await.status
}

#[tokio::test]
async fn refused_window_spends_no_other_window() {
    let world = World::new();
    limited_key(&world, KWERY);
    let gate = gate(&world, &["2 per second", "3 per minute"].map(|text| text.parse().unwrap()));
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(status(&world, &gate, KWERY).await);
    }
    assert_eq!(told, [200, 200, 429, 429, 429]);
    world.clock.advance(Duration::from_millis(500));
    // The minute still has its third cell: the refusals by the second did not take it.
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    world.clock.advance(Duration::from_secs(1));
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("19")));
}

/// A wait is told in whole seconds, rounded up, at least one; and waiting that long is enough.
#[tokio::test]
async fn waiting_as_told_is_enough() {
    for (quota, told) in
        [("10 per second", 1), ("1 per second", 1), ("7 per 10s", 2), ("1 per minute", 60), ("3 per 10s", 4)]
    {
        let world = World::new();
        limited_key(&world, KWERY);
        let gate = gate(&world, &[quota.parse().unwrap()]);
        let answer = loop {
            let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
            if answer.status == 429 {
                break answer;
            }
        };
        assert_eq!(answer.json()["retry_after"], told, "{quota}");
        assert_eq!(answer.header("retry-after"), Some(told.to_string().as_str()), "{quota}");
        world.clock.advance(Duration::from_secs(told));
        assert_eq!(status(&world, &gate, KWERY).await, 200, "{quota}");
    }
}

#[tokio::test]
async fn limit_fields_have_policy_and_remainder() {
    let world = World::new();
    limited_key(&world, KWERY);
    let policies = [("10 per second", "sec"), ("100 per minute", "min")];
    let policies = policies.map(|(text, name)| text.parse::<QuotaPolicy>().unwrap().with_name(name).unwrap());
    let gate = gate(&world, &policies);
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"sec\";q=10;w=1, \"min\";q=100;w=60"));
    assert_eq!(answer.header("ratelimit"), Some("\"sec\";r=9;t=1, \"min\";r=99;t=1"));
    for _ in 0..9 {
        world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    }
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (429, Some("\"sec\";r=0;t=1, \"min\";r=90;t=1")));
    for name in ["", "a b", "a\"b", "a\\b", "s\u{e9}c", "a\nb"] {
        assert!("1 per second".parse::<QuotaPolicy>().unwrap().with_name(name).is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn limit_fields_name_whom_a_window_counts() {
    let world = World::new();
    limited_key(&world, KWERY);
    let account = "3 per minute".parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Account);
    let pool = "9 per minute".parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Pool("demo".into()));
    let gate = gate(&world, &["2 per minute".parse().unwrap(), account, pool]);
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    let policies =
        "\"minute\";q=2;w=60, \"minute\";q=3;w=60;pk=:YWNjb3VudA==:, \"minute\";q=9;w=60;pk=:cG9vbDpkZW1v:";
    assert_eq!(answer.header("ratelimit-policy"), Some(policies));
    let window_statuses =
        "\"minute\";r=1;t=30, \"minute\";r=2;t=20;pk=:YWNjb3VudA==:, \"minute\";r=8;t=7;pk=:cG9vbDpkZW1v:";
    assert_eq!(answer.header("ratelimit"), Some(window_statuses));
}

#[tokio::test]
async fn limit_fields_name_each_pool() {
    let world = World::new();
    limited_key(&world, KWERY);
    let pool = |name: &str, quota: &str| {
        quota.parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Pool(name.into()))
    };
    let gate = gate(
        &world,
        &[pool("a", "4 per minute"), pool("bc", "5 per minute"), pool("account", "6 per minute")],
    );
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    // The base64 of `pool:a`, `pool:account` and `pool:bc`.
    let keys = ["cG9vbDph", "cG9vbDphY2NvdW50", "cG9vbDpiYw=="];
    let list = |parameters: [&str; 3]| {
        let item = |(parameters, key): (&str, &str)| format!("\"minute\";{parameters};pk=:{key}:");
        parameters.into_iter().zip(keys).map(item).collect::<Vec<_>>().join(", ")
    };
    let policies = list(["q=4;w=60", "q=6;w=60", "q=5;w=60"]);
    assert_eq!(answer.header("ratelimit-policy"), Some(policies.as_str()));
    let window_statuses = list(["r=3;t=15", "r=5;t=10", "r=4;t=12"]);
    assert_eq!(answer.header("ratelimit"), Some(window_statuses.as_str()));
}

#[tokio::test]
async fn limit_fields_agree_with_retry_after() {
    for quota in ["5 per minute", "5 in any minute", "40 in any minute"] {
        let world = World::new();
        limited_key(&world, KWERY);
        let gate = gate(&world, &[quota.parse().unwrap()]);
        let answer = loop {
            let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
            if answer.status == 429 {
                break answer;
            }
            world.clock.advance(Duration::from_millis(700));
        };
        let wait = answer.header("retry-after").unwrap();
        let window_status = format!("\"minute\";r=0;t={wait}");
        assert_eq!(answer.header("ratelimit"), Some(window_status.as_str()), "{quota}");
    }
}

#[tokio::test]
async fn limit_fields_round_windows_up() {
    let world = World::new();
    limited_key(&world, KWERY);
    let gate =
        gate(&world, &[QuotaPolicy::new(4, Duration::from_millis(1_500)).unwrap().with_name("w").unwrap()]);
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"w\";q=4;w=2"));
}

#[tokio::test]
async fn a_defined_quota_keeps_its_name() {
    let world = World::new();
    limited_key(&world, KWERY);
    let quota = |text: &str| text.parse::<QuotaPolicy>().unwrap();
    let mut limited = Plan::new("limited");
    limited.quotas = ["a", "b"].map(|name| QuotaRef::Named(name.into())).into();
    let builder = world.kwery().quota("a", quota("2 per minute")).quota("b", quota("6 per hour"));
    let gate = builder.plan(limited).limit_headers().build().unwrap();
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"a\";q=2;w=60, \"b\";q=6;w=3600"));
    assert_eq!(answer.header("ratelimit"), Some("\"a\";r=1;t=30, \"b\";r=5;t=600"));
    let unfit = world.kwery().quota("my own", quota("2 per minute")).build();
    assert!(unfit.unwrap_err().to_string().contains("my own"));
}

#[tokio::test]
async fn two_quotas_of_one_name_are_an_error() {
    let world = World::new();
    let id = world.key(KWERY, |_, account| account.plan = "limited".into());
    let gate = gate(&world, &["2 per minute".parse().unwrap()]);
    world.store.change_account(&world.account_of(id), |account| {
        account.quotas = Some(["4 per minute", "10 per minute"].map(|text| text.parse().unwrap()).into());
    });
    assert_eq!(status(&world, &gate, KWERY).await, 500);
}

#[test]
fn unreachable_quota_is_warned_of() {
    let world = World::new();
    let account = |text: &str| text.parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Account);
    let built = |quotas: [QuotaPolicy; 2]| {
        let mut plan = Plan::new("p");
        plan.quotas = quotas.into_iter().map(QuotaRef::Policy).collect();
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || world.kwery().plan(plan).build().unwrap());
        log.0.lock().unwrap().clone()
    };
    let key = |text: &str| text.parse::<QuotaPolicy>().unwrap();
    let burst = |text: &str, burst: u32| key(text).with_burst(burst).unwrap();
    for (never, other) in [
        (key("60 per second"), burst("600 per minute", 60)),
        (burst("60 per minute", 100), key("60 per minute").with_name("other").unwrap()),
        (key("70 in any second"), burst("600 per minute", 60)),
        (key("100 per second"), key("60 per minute")),
        (key("60 per minute"), key("60 per hour")),
        (key("60 in any minute"), key("60 in any hour")),
        (key("61 in any hour"), key("1 per minute")),
        (key("60 per minute"), key("50 in any hour")),
        (key("60 per minute"), account("60 per minute")),
    ] {
        for quotas in [[never.clone(), other.clone()], [other.clone(), never.clone()]] {
            let logged = built(quotas);
            assert!(logged.contains("can never be reached"), "{never:?} beside {other:?}: {logged}");
        }
    }
    for (one, other) in [
        (key("10 per second"), key("300 per minute")),
        (key("10 per second"), key("60 per minute")),
        (key("59 in any minute"), key("60 in any hour")),
        (key("60 in any minute"), key("60 per hour")),
        (key("70 per minute"), account("60 per second")),
        (account("60 per minute"), key("60 per hour")),
        (key("100 per day"), key("60 in any hour")),
        (burst("100 per second", 59), key("60 per minute")),
        (key("59 per second"), burst("600 per minute", 60)),
        (key("69 in any second"), burst("600 per minute", 60)),
    ] {
        assert_eq!(built([one.clone(), other.clone()]), "", "{one:?} beside {other:?}");
    }
}

#[tokio::test]
async fn limit_fields_are_never_in_trailers() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, Full};
    use tower::{Layer, ServiceExt};

    let world = World::new();
    limited_key(&world, KWERY);
    let gate = gate(&world, &["1 per minute".parse().unwrap()]);
    let inner = tower::service_fn(async |_: http::Request<Empty<Bytes>>| {
        let own = http::HeaderMap::from_iter([("x-own".parse().unwrap(), "1".parse().unwrap())]);
        let body = Full::from("served").with_trailers(std::future::ready(Some(Ok(own))));
        Ok::<_, std::convert::Infallible>(http::Response::new(body))
    });
    for (status, own) in [(200, &["x-own"][..]), (429, &[])] {
        let request = with_key("GET /v1/x", KWERY).body(Empty::new()).unwrap();
        let service = tollgate::TollgateLayer::new(gate.clone()).layer(inner);
        let (head, body) = service.oneshot(request).await.unwrap().into_parts();
        assert_eq!((head.status.as_u16(), head.headers.contains_key("ratelimit")), (status, true));
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), own);
    }
}

#[tokio::test]
async fn failed_attempts_spend_no_bucket() {
    let world = World::new();
    limited_key(&world, KWERY);
    let gate = gate(&world, &["2 per minute".parse().unwrap()]);
    for guess in 0..50 {
        let near = format!("{}{guess:02}", &KWERY[..KWERY.len() - 2]);
        assert_eq!(status(&world, &gate, &near).await, 401);
    }
    assert_eq!(world.limiter.len(), 0, "an unknown key has no bucket");
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    assert_eq!(status(&world, &gate, KWERY).await, 200);
}

/// A quota per key counts each key alone; a quota per account counts all keys of the account.
#[tokio::test]
async fn quota_counts_key_account_or_pool() {
    for (counts, second) in
        [(QuotaScope::Key, 200), (QuotaScope::Account, 429), (QuotaScope::Pool("demo".into()), 429)]
    {
        let world = World::new();
        for key in ["kwery_live_one", "kwery_live_two"] {
            world.key(key, |_, account| (account.plan, account.id) = ("limited".into(), "shared".into()));
        }
        limited_key(&world, "kwery_live_stranger");
        let policy = "1 per minute".parse::<QuotaPolicy>().unwrap().counting(counts.clone());
        let gate = gate(&world, &[policy]);
        assert_eq!(status(&world, &gate, "kwery_live_one").await, 200);
        assert_eq!(status(&world, &gate, "kwery_live_two").await, second, "{counts:?}");
        let stranger = if matches!(counts, QuotaScope::Pool(_)) { 429 } else { 200 };
        assert_eq!(status(&world, &gate, "kwery_live_stranger").await, stranger, "{counts:?}");
    }
}

#[tokio::test]
async fn full_bucket_map_evicts_no_used_window() {
    let limiter = Arc::new(MemoryLimiter::with_capacity(2));
    let world = World::new().with_limiter(Arc::clone(&limiter));
    for key in ["kwery_live_one", "kwery_live_two", "kwery_live_three"] {
        limited_key(&world, key);
    }
    let gate = gate(&world, &["1 per minute".parse().unwrap()]);
    assert_eq!(status(&world, &gate, "kwery_live_one").await, 200);
    assert_eq!(status(&world, &gate, "kwery_live_two").await, 200);
    assert_eq!(status(&world, &gate, "kwery_live_three").await, 503);
    assert_eq!(status(&world, &gate, "kwery_live_one").await, 429, "an exhausted bucket is never evicted");
    assert_eq!(limiter.len(), 2);
}

#[tokio::test]
async fn full_windows_make_room_for_others() {
    let limiter = Arc::new(MemoryLimiter::with_capacity(2));
    let world = World::new().with_limiter(Arc::clone(&limiter));
    let keys = ["kwery_live_one", "kwery_live_two", "kwery_live_three"];
    for key in keys {
        limited_key(&world, key);
    }
    let account = "2 per minute".parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Account);
    for quotas in [vec!["1 per minute".parse().unwrap()], vec![account]] {
        let gate = gate(&world, &quotas);
        for round in 0..3 {
            world.clock.advance(Duration::from_mins(2));
            // Each round drops the windows of other keys, to which records point.
            for place in [0, 1] {
                let key = keys[(round + place) % 3];
                assert_eq!(status(&world, &gate, key).await, 200, "{quotas:?}");
            }
            let third = keys[(round + 2) % 3];
            assert_eq!(status(&world, &gate, third).await, 503, "{quotas:?}");
            world.clock.advance(Duration::from_mins(1));
            for key in [third, keys[round % 3]] {
                let told = [status(&world, &gate, key).await, status(&world, &gate, key).await];
                let second = if quotas[0].quota() == 1 { 429 } else { 200 };
                assert_eq!(told, [200, second], "{quotas:?}");
            }
            assert_eq!(limiter.len(), 2);
        }
    }
}

/// A record that is read again, or changed, keeps its windows; a raised quota helps at once.
#[tokio::test]
async fn changed_record_keeps_its_windows() {
    let world = World::new();
    let id = world.key(KWERY, |_, account| account.plan = "limited".into());
    let gate = gate(&world, &["1 per minute".parse().unwrap()]);
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    world.store.put_key(tollgate::KeyRecord::clone(&world.store.key(id).unwrap()));
    assert_eq!(status(&world, &gate, KWERY).await, 429);
    world.store.change_account(&world.account_of(id), |account| {
        account.quotas = Some(vec!["2 per minute".parse().unwrap()]);
    });
    // The new figure less what was used; twice the quota refills twice as fast.
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    assert_eq!(status(&world, &gate, KWERY).await, 429);
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    assert_eq!(status(&world, &gate, KWERY).await, 429);
}

#[test]
fn impossible_quotas_are_refused_at_start() {
    let refused = [
        "0 per minute",
        "1 per 0s",
        "4294967296 per day",
        "-1 per second",
        "1.5 per second",
        "1 per fortnight",
        "60/minute",
        "1 per 31622401s",
        "4294967295 per second",
        "1 per 18446744073709551616s",
        "",
    ];
    for text in refused {
        assert!(text.parse::<QuotaPolicy>().is_err(), "{text}");
    }
    let largest: QuotaPolicy = "4294967295 per 31622400s".parse().unwrap();
    assert!(largest.refill() * largest.quota() >= largest.window(), "rounded up, never down");
}

#[tokio::test]
async fn largest_quota_does_not_overflow() {
    let world = World::new();
    limited_key(&world, KWERY);
    let gate =
        gate(&world, &["5200000 per hour".parse().unwrap(), "4294967295 per 31622400s".parse().unwrap()]);
    world.clock.advance(Duration::from_hours(100 * 366 * 24));
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    assert_eq!(status(&world, &gate, KWERY).await, 200);
}

#[tokio::test]
async fn demo_bucket_is_shared_by_demo_only() {
    let world = World::new();
    world.key("mtk_demo", |_, account| account.plan = "demo".into());
    world.plain_key("mtk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH");
    let mut demo = Plan::new("demo");
    demo.quotas.push("2 per minute".parse().unwrap());
    let gate = world.quantconomy().plan(demo).build().unwrap();
    let send = |key: &str, peer: &str| {
        let request = support::without_key("GET /api").header("authorization", format!("Bearer {key}"));
        world.send(&gate, request.extension(tollgate::adapter::Peer(peer.parse().unwrap())))
    };
    let mut told = Vec::new();
    for peer in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        told.push(send("mtk_demo", peer).await.status);
    }
    assert_eq!(told, [200, 200, 429]);
    assert_eq!(send("mtk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH", "192.0.2.3").await.status, 200);
}

#[tokio::test]
async fn wait_is_capped() {
    let world = World::new();
    limited_key(&world, KWERY);
    let mut limited = Plan::new("limited");
    limited.quotas.push("1 per 2592000s".parse().unwrap());
    for (longest, told) in [(86_400, "86400"), (60, "60"), (10_000_000, "2592000")] {
        let error_format = ErrorFormat::problem().longest_wait(Duration::from_secs(longest)).unwrap();
        let gate = world.kwery().plan(limited.clone()).error_format(error_format).build().unwrap();
        let answer = loop {
            let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
            if answer.status == 429 {
                break answer;
            }
        };
        assert_eq!(answer.header("retry-after"), Some(told));
    }
    assert!(ErrorFormat::problem().longest_wait(Duration::from_millis(999)).is_err());
}

/// Wall time that is set back or forth changes no window.
#[tokio::test]
async fn limits_follow_the_monotonic_clock() {
    let world = World::new();
    limited_key(&world, KWERY);
    let gate = gate(&world, &["1 per minute".parse().unwrap()]);
    assert_eq!(status(&world, &gate, KWERY).await, 200);
    for wall in ["2036-01-01T00:00:00Z", "1969-12-31T23:59:59Z"] {
        world.clock.set_wall(wall.parse().unwrap());
        assert_eq!(status(&world, &gate, KWERY).await, 429, "{wall}");
    }
}

#[tokio::test]
async fn refusal_after_a_draw_has_limit_fields() {
    use tollgate::gate::Check;
    use tollgate::rule::{Cost, ScopeRule};
    use tollgate::{Credits, Rule};

    let world = World::new();
    let id = world.key(KWERY, |record, account| {
        account.plan = "limited".into();
        record.scopes = Some(vec!["other".into()]);
    });
    world.set_balance(id, 0);
    let mut limited = Plan::new("limited");
    limited.quotas =
        ["2 per second", "9 per minute"].map(|text| QuotaRef::Policy(text.parse().unwrap())).into();
    let (mut costly, mut scoped) = (Rule::new("/costly").unwrap(), Rule::new("/scoped").unwrap());
    costly.cost = Cost::Fixed(Credits::new(1));
    costly.scopes = ScopeRule::Everyone;
    scoped.scopes = ScopeRule::AnyOf(vec!["some".into()]);
    let order = [Check::Format, Check::LookUp, Check::RateLimits, Check::Credits, Check::Scopes];
    let gate = world.kwery().order(order).plan(limited).rule(costly).rule(scoped).limit_headers();
    let gate = gate.build().unwrap();
    for (path, status, told) in [
        ("GET /costly", 402, Some("\"second\";r=1;t=1, \"minute\";r=8;t=7")),
        ("GET /scoped", 403, Some("\"second\";r=0;t=1, \"minute\";r=7;t=7")),
        ("GET /scoped", 429, Some("\"second\";r=0;t=1, \"minute\";r=7")),
    ] {
        let answer = world.send(&gate, with_key(path, KWERY)).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (status, told), "{path}");
        assert!(answer.headers.contains_key("ratelimit-policy"), "{path}");
    }
    let answer = world.send(&gate, with_key("GET /costly", "kwery_live_unknown")).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (401, None), "nothing was drawn");
}

#[tokio::test]
async fn the_service_keeps_its_limit_headers() {
    let world = World::new();
    limited_key(&world, KWERY);
    let gate = gate(&world, &["5 per minute".parse().unwrap()]);
    let own = http::Response::builder().header("ratelimit", "\"own\";r=7;t=3");
    world.inner.answer(own.header("ratelimit-policy", "\"own\";q=9;w=60").body("served").unwrap());
    let answer = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    let all =
        |name| answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("ratelimit"), ["\"own\";r=7;t=3", "\"minute\";r=4;t=12"]);
    assert_eq!(all("ratelimit-policy"), ["\"own\";q=9;w=60", "\"minute\";q=5;w=60"]);
}
