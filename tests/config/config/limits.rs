//! Plans, quotas, caps and credits; zero, absent and unlimited.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use tollgate::account::{
    Allowance, CalendarUnit, Grant, GrantPeriod, ParamLimit, QuotaPolicy, QuotaRef, QuotaScope,
};
use tollgate::gate::Outcome;
use tollgate::{Config, Credits, DenialKind, Gate, Plan, Principal, RequestView, Rule, TollgateLayer};
use tower::{Layer, ServiceExt};

use crate::config::fixture::{HEAD, Stage, both, kinds, statuses};
use crate::config::{head, plan};

fn policy(text: &str) -> QuotaPolicy {
    text.parse().unwrap()
}

#[tokio::test]
async fn quotas_count_keys_accounts_and_pools() {
    let toml = r#"
        quotas.trickle = "1 per hour"
        [plans.key]
        quotas = ["trickle"]
        [plans.account]
        quotas = [{ quota = "2 per hour", counts = "account" }]
        [plans.pool]
        quotas = [{ quota = "3 per hour", counts = "pool:all", name = "shared" }]
    "#;
    let counted = |builder| {
        let pooled = policy("3 per hour").counting(QuotaScope::Pool("all".into())).with_name("shared")?;
        Ok(head(builder)?
            .quota("trickle", policy("1 per hour"))
            .plan(plan("key", |plan| plan.quotas.push(QuotaRef::Named("trickle".into()))))
            .plan(plan("account", |plan| {
                plan.quotas.push(QuotaRef::Policy(policy("2 per hour").counting(QuotaScope::Account)));
            }))
            .plan(plan("pool", |plan| plan.quotas.push(QuotaRef::Policy(pooled)))))
    };
    let seed = |stage: &Stage| {
        for plan in ["key", "account", "pool"] {
            // Two keys of one account, and one of another.
            for place in 0..3 {
                stage.put(&format!("acme_{plan:0<7}{place}"), plan, |account, _| {
                    account.id = format!("{plan} {}", place / 2).as_str().into();
                });
            }
        }
    };
    let ask = |key: &str| format!("GET /a; x-api-key: acme_{key}");
    let lines: Vec<_> = ["key00000", "key00001", "key00000", "key00002"]
        .iter()
        .chain(&["account0", "account1", "account0", "account2"])
        .chain(&["pool0000", "pool0002", "pool0001", "pool0000", "pool0002"])
        .map(|key| ask(key))
        .collect();
    let script: Vec<_> = lines.iter().map(String::as_str).collect();
    let answers = both(toml, counted, seed, &script).await;
    assert_eq!(statuses(&answers), [200, 200, 429, 200, 200, 200, 429, 200, 200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn own_quotas_may_be_absent_empty_or_given() {
    let toml = "quotas.two = '2 per hour'\nplans.free = { quotas = ['1 per hour'] }";
    let free = |builder| {
        let free = plan("free", |plan| plan.quotas.push(QuotaRef::Policy(policy("1 per hour"))));
        Ok(head(builder)?.quota("two", policy("2 per hour")).plan(free))
    };
    let named = || Some(vec![QuotaRef::Named("two".into())]);
    let seed = |stage: &Stage| {
        stage.put("acme_plan0000", "free", |_, _| {});
        stage.put("acme_none0000", "free", |_, key| key.quotas = Some(vec![]));
        stage.put("acme_acct0000", "free", |account, _| account.quotas = Some(vec![]));
        stage.put("acme_two00000", "free", |_, key| key.quotas = named());
        stage.put("acme_atwo0000", "free", |account, _| account.quotas = named());
        // The key's own go before the account's.
        stage.put("acme_both0000", "free", |account, key| {
            (account.quotas, key.quotas) = (Some(vec![]), named());
        });
    };
    for (key, served) in
        [("plan0000", 1), ("none0000", 4), ("acct0000", 4), ("two00000", 2), ("atwo0000", 2), ("both0000", 2)]
    {
        let line = format!("GET /a; x-api-key: acme_{key}");
        let answers = both(toml, free, seed, &[line.as_str(); 4]).await;
        assert_eq!(statuses(&answers).iter().filter(|status| **status == 200).count(), served, "{key}");
    }
}

#[tokio::test]
async fn own_caps_may_be_absent_empty_or_given() {
    let toml = "plans.free = { caps = { limit = 3, cursor = 'forbidden', depth = 0 } }";
    let caps = [
        ("limit", ParamLimit::AtMost(3)),
        ("cursor", ParamLimit::Forbidden),
        ("depth", ParamLimit::AtMost(0)),
    ];
    let free = |builder| {
        let caps = caps.map(|(name, cap)| (name.to_owned(), cap));
        Ok(head(builder)?.plan(plan("free", |plan| plan.caps = caps.into())))
    };
    let ten = || Some([("limit".to_owned(), ParamLimit::AtMost(10))].into());
    let seed = |stage: &Stage| {
        stage.put("acme_plan0000", "free", |_, _| {});
        stage.put("acme_none0000", "free", |_, key| key.caps = Some([].into()));
        stage.put("acme_acct0000", "free", |account, _| account.caps = ten());
        stage
            .put("acme_both0000", "free", |account, key| (account.caps, key.caps) = (Some([].into()), ten()));
    };
    let above = "parameter_above_cap";
    for (key, expected) in [
        ("plan0000", ["served", above, above, "parameter_forbidden", "served", above]),
        ("none0000", ["served"; 6]),
        ("acct0000", ["served", "served", above, "served", "served", "served"]),
        ("both0000", ["served", "served", above, "served", "served", "served"]),
    ] {
        let queries = ["limit=3", "limit=10", "limit=11", "cursor=x", "depth=0", "depth=1"];
        let lines = queries.map(|query| format!("GET /a?{query}; x-api-key: acme_{key}"));
        let script = lines.each_ref().map(String::as_str);
        assert_eq!(kinds(&both(toml, free, seed, &script).await), expected, "{key}");
    }
}

fn at_a_price(route: &str, cost: u64) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = tollgate::rule::Cost::Fixed(Credits::new(cost));
    rule
}

#[tokio::test]
async fn no_zero_and_unlimited_credits_differ() {
    let toml = r#"
        plans.absent = {}
        plans.zero = { credits = { amount = 0, every = "1h" } }
        plans.some = { credits = { amount = 2, every = "1h" } }
        plans.unlimited = { credits = "unlimited" }
        rules = [{ route = "/a", cost = 1 }]
    "#;
    let credited = |builder| {
        let hourly = GrantPeriod::every(Duration::from_hours(1))?;
        let grant = |amount| Allowance::Grant(Grant::new(Credits::new(amount), hourly.clone()));
        let mut builder = head(builder)?.rule(at_a_price("/a", 1));
        for (name, credits) in [
            ("absent", Allowance::None),
            ("zero", grant(0)),
            ("some", grant(2)),
            ("unlimited", Allowance::Unlimited),
        ] {
            builder = builder.plan(plan(name, |plan| plan.credits = credits));
        }
        Ok(builder)
    };
    let seed = |stage: &Stage| {
        for name in ["absent", "zero", "some", "unlimited"] {
            stage.put(&format!("acme_{:.8}", format!("{name:0<8}")), name, |_, _| {});
        }
    };
    for (key, expected) in [
        ("absent00", [402, 402, 402, 402, 402]),
        ("zero0000", [402, 402, 402, 402, 402]),
        ("some0000", [200, 200, 402, 200, 200]),
        ("unlimite", [200; 5]),
    ] {
        let line = format!("GET /a; x-api-key: acme_{key}");
        let script = [line.as_str(), line.as_str(), line.as_str(), "+3600s", line.as_str(), line.as_str()];
        assert_eq!(statuses(&both(toml, credited, seed, &script).await), expected, "{key}");
    }
}

#[tokio::test]
async fn calendar_grant_is_due_at_zone_midnight() {
    let toml = r#"
        plans.day = { credits = { amount = 1, calendar = "day", zone = "Europe/Berlin" } }
        rules = [{ route = "/a", cost = 1 }]
    "#;
    let daily = |builder| {
        let period = GrantPeriod::calendar(CalendarUnit::Day, "Europe/Berlin")?;
        let day = plan("day", |plan| plan.credits = Allowance::Grant(Grant::new(Credits::new(1), period)));
        Ok(head(builder)?.plan(day).rule(at_a_price("/a", 1)))
    };
    let seed = |stage: &Stage| stage.put("acme_day00000", "day", |_, _| {});
    let ask = "GET /a; x-api-key: acme_day00000";
    // It is 23:30 in Berlin. The day that begins in half an hour has 23 hours.
    let script = [
        ask, ask, "+1799s", ask, "+1s", ask, ask, "+82799s", ask, "+1s", ask, "+86399s", ask, "+1s", ask, ask,
    ];
    let expected = [200, 402, 402, 200, 402, 402, 200, 402, 200, 402];
    assert_eq!(statuses(&both(toml, daily, seed, &script).await), expected);
}

#[tokio::test]
async fn grant_refills_each_hour_day_and_month() {
    for (unit, until) in [("hour", 1_800), ("day", 5_400), ("month", 264_600)] {
        let toml = format!(
            "plans.p = {{ credits = {{ amount = 2, calendar = '{unit}', zone = 'UTC' }} }}\nrules = [{{ route = '/a', cost = 2 }}]"
        );
        let stage = Stage::of_file(&toml).unwrap();
        stage.put("acme_p0000000", "p", |_, _| {});
        let ask = "GET /a; x-api-key: acme_p0000000";
        let (early, turn) = (format!("+{}s", until - 1), "+1s");
        let answers = stage.play(&[ask, ask, &early, ask, turn, ask, ask]).await;
        assert_eq!(statuses(&answers), [200, 402, 402, 200, 402], "{unit}");
    }
}

#[test]
fn plans_are_read_from_the_file() {
    let toml = r#"
        [plans.number]
        max_keys = 2
        rank = 0
        features = ["export", "webhooks"]
        [plans.none]
        max_keys = 0
        [plans.unlimited]
        max_keys = "unlimited"
        [plans.absent]
    "#;
    let config = Config::from_toml(&format!("{HEAD}{toml}"), "acme.toml").unwrap();
    let gate = config.builder().unwrap().build().unwrap();
    let number = plan("number", |plan| {
        (plan.max_keys, plan.rank) = (Some(2), Some(0));
        plan.features = ["export".to_owned(), "webhooks".to_owned()].into();
    });
    let none = plan("none", |plan| plan.max_keys = Some(0));
    for plan in [number, none, Plan::new("unlimited"), Plan::new("absent")] {
        assert_eq!(gate.plan(plan.name.as_str()), Some(plan.clone()));
    }
}

/// Four at once, and four again a minute later: a bucket would admit one more every quarter of a minute.
#[tokio::test]
async fn strict_quota_holds_in_any_window() {
    let toml = r#"
        [plans.free]
        quotas = ["4 in any minute"]
    "#;
    let strict = |builder| {
        Ok(head(builder)?.plan(plan("free", |plan| {
            plan.quotas.push(QuotaRef::Policy(policy("4 per minute").in_any_window()));
        })))
    };
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |_, _| {});
    };
    let ask = "GET /a; x-api-key: acme_free0000";
    let script = [ask, "+40s", ask, ask, ask, ask, "+19s", ask, "+1s", ask, ask, "+40s", ask, ask, ask, ask];
    let answers = both(toml, strict, seed, &script).await;
    assert_eq!(statuses(&answers), [200, 200, 200, 200, 429, 429, 200, 429, 200, 200, 200, 429]);
    let waits = [4, 5, 7, 11].map(|place| answers[place].header("retry-after").unwrap());
    assert_eq!(waits, ["20", "1", "40", "20"]);
}

/// Three at once, and then one every six seconds.
#[tokio::test]
async fn burst_is_the_capacity_of_a_quota() {
    let toml = r#"
        quotas.short = { quota = "10 per minute", burst = 3 }
        [plans.free]
        quotas = ["short"]
    "#;
    let burst = |builder| {
        let short = policy("10 per minute").with_burst(3)?;
        let named = |plan: &mut Plan| plan.quotas.push(QuotaRef::Named("short".into()));
        Ok(head(builder)?.quota("short", short).plan(plan("free", named)))
    };
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |_, _| {});
    };
    let ask = "GET /a; x-api-key: acme_free0000";
    let script = [ask, ask, ask, ask, "+6s", ask, ask, "+60s", ask, ask, ask, ask];
    let answers = both(toml, burst, seed, &script).await;
    assert_eq!(statuses(&answers), [200, 200, 200, 429, 200, 429, 200, 200, 200, 429]);
    assert_eq!(answers[3].header("retry-after").unwrap(), "6");
}

#[tokio::test]
async fn limit_headers_read_as_the_draft_says() {
    let toml = r#"
        limit_headers = true
        [plans.free]
        quotas = [{ quota = "2 per minute", name = "min" }, { quota = "10 per hour", name = "hour" }]
        [plans.open]
    "#;
    let limited = |builder| {
        let free = plan("free", |plan| {
            plan.quotas.push(QuotaRef::Policy(policy("2 per minute").with_name("min").unwrap()));
            plan.quotas.push(QuotaRef::Policy(policy("10 per hour").with_name("hour").unwrap()));
        });
        Ok(head(builder)?.limit_headers().plan(free).plan(Plan::new("open")))
    };
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |_, _| {});
        stage.put("acme_open0000", "open", |_, _| {});
    };
    let ask = "GET /a; x-api-key: acme_free0000";
    let script = [ask, ask, "+18s", ask, "GET /a; x-api-key: acme_open0000", "GET /a"];
    let answers = both(toml, limited, seed, &script).await;
    assert_eq!(statuses(&answers), [200, 200, 429, 200, 401]);
    for answer in &answers[..3] {
        assert_eq!(answer.header("ratelimit-policy"), Some("\"min\";q=2;w=60, \"hour\";q=10;w=3600"));
    }
    let window_statuses = [
        "\"min\";r=1;t=30, \"hour\";r=9;t=360",
        "\"min\";r=0;t=30, \"hour\";r=8;t=360",
        "\"min\";r=0;t=12, \"hour\";r=8",
    ];
    assert_eq!(
        answers[..3].iter().map(|answer| answer.header("ratelimit").unwrap()).collect::<Vec<_>>(),
        window_statuses
    );
    assert_eq!(answers[2].header("retry-after"), Some("12"));
    for answer in &answers[3..] {
        assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), (None, None));
    }

    let quiet = Stage::of(head(Gate::builder()).unwrap().plan(plan("free", |plan| {
        plan.quotas.push(QuotaRef::Policy(policy("2 per minute")));
    })))
    .unwrap();
    seed(&quiet);
    assert_eq!(quiet.play(&[ask]).await[0].header("ratelimit"), None, "only where they are asked for");

    let untold = Stage::of(limited(Gate::builder()).unwrap().without_principal()).unwrap();
    seed(&untold);
    assert_eq!(
        untold.play(&[ask]).await[0].header("ratelimit"),
        Some(window_statuses[0]),
        "whoever else is told"
    );
}

#[tokio::test]
async fn denials_name_account_plan_and_rule() {
    let toml = "[[rules]]\nroute = 'GET /paid/{id}'\ncost = 2\n[plans.free]\ncredits = { amount = 2, every = '1h' }\n";
    let stage = Stage::of_file(toml).unwrap();
    stage.put("acme_00000001", "free", |_, _| ());
    let denied = async |path: &str, key: &str| {
        let request = Request::get(path).header("X-API-Key", key).body(()).unwrap();
        stage.gate.admit(&RequestView::of(&request)).await.map(drop).unwrap_err()
    };
    let request = Request::get("/paid/1").header("X-API-Key", "acme_00000001").body(()).unwrap();
    drop(stage.gate.admit(&RequestView::of(&request)).await.unwrap().finish(Outcome::Served).await);
    let denial = denied("/paid/1", "acme_00000001").await;
    assert_eq!(denial.kind(), DenialKind::CreditsExhausted);
    assert_eq!(denial.account().unwrap().as_str(), "account of acme_00000001");
    assert_eq!(denial.plan().unwrap().as_str(), "free");
    assert_eq!(denial.rule().unwrap().route(), "GET /paid/{id}");
    let shown = format!("{denial:?}");
    assert!(shown.contains("GET /paid/{id}") && !shown.contains("KeyHash"), "{shown}");

    let unknown = denied("/paid/1", "acme_00000002").await;
    assert_eq!((unknown.account(), unknown.plan(), unknown.key()), (None, None, None));
    assert_eq!(unknown.rule().unwrap().route(), "GET /paid/{id}");
    assert!(denied("/elsewhere", "acme_00000002").await.rule().is_none());
}

#[tokio::test]
async fn a_principal_knows_the_cost() {
    let toml = "[[rules]]\nroute = '/paid'\ncost = { parameter = 'n', each = 3, default = 1, most = 9 }\n\
                [plans.free]\ncredits = { amount = 100, every = '1h' }\n";
    let stage = Stage::of_file(toml).unwrap();
    stage.put("acme_00000001", "free", |_, _| ());
    let handler = tower::service_fn(async |request: Request<Empty<Bytes>>| {
        let principal = request.extensions().get::<Principal>().unwrap();
        Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::from(principal.cost().to_string())))
    });
    for (path, cost) in [("/paid?n=4", "12"), ("/paid", "3"), ("/free", "0")] {
        let service = TollgateLayer::new(stage.gate.clone()).layer(handler);
        let request = Request::get(path).header("X-API-Key", "acme_00000001").body(Empty::new()).unwrap();
        let body = service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, cost, "{path}");
    }
}
