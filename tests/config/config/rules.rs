//! Rules, and what they take from `[default]`.

use tollgate::account::Subscription;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Credits, Plan, Rule};

use crate::config::fixture::{Stage, both, kinds};
use crate::config::{head, plan};

const DEFAULTS: &str = r#"
[default]
cost = 2
scope = "all"
closed_to = ["trial"]
agreements = ["terms"]
subscription = true
[agreements.terms]
[plans.free]
[plans.trial]
[[rules]]
route = ["GET /open", "/free/{id}"]
public = true
[[rules]]
route = "GET /own"
cost = 0
scope = "*"
closed_to = []
agreements = []
subscription = false
[[rules]]
route = "GET /half"
cost = 5
"#;

fn defaults(builder: tollgate::GateBuilder) -> Result<tollgate::GateBuilder, tollgate::ConfigError> {
    let ask = |rule: &mut Rule| {
        rule.cost = Cost::Fixed(Credits::new(2));
        rule.scopes = ScopeRule::AnyOf(vec!["all".into()]);
        rule.closed_to = vec!["trial".into()];
        rule.agreements = vec!["terms".into()];
        rule.subscription = true;
    };
    let (mut otherwise, mut half) = (Rule::otherwise(), Rule::new("GET /half")?);
    ask(&mut otherwise);
    ask(&mut half);
    half.cost = Cost::Fixed(Credits::new(5));
    let mut own = Rule::new("GET /own")?;
    own.scopes = ScopeRule::Everyone;
    let (mut open, mut free) = (Rule::new("GET /open")?, Rule::new("/free/{id}")?);
    (open.public, free.public) = (true, true);
    let rules = [open, free, own, half];
    let builder = head(builder)?.plan(Plan::new("free")).plan(Plan::new("trial")).otherwise(otherwise);
    Ok(rules.into_iter().fold(builder, tollgate::GateBuilder::rule))
}

#[tokio::test]
async fn rule_inherits_from_the_default_rule() {
    let good = |account: &mut tollgate::Account| {
        account.subscription = Some(Subscription::Active);
        account.agreements.insert("terms".into());
    };
    let seed = |stage: &Stage| {
        stage.put("acme_bare0000", "free", |_, _| {});
        stage.put("acme_good0000", "free", |account, _| good(account));
        stage.put("acme_sign0000", "free", |account, _| account.subscription = Some(Subscription::Active));
        stage.put("acme_tria0000", "trial", |account, _| good(account));
        stage.put("acme_scop0000", "free", |account, key| {
            good(account);
            key.scopes = Some(vec!["other".into()]);
        });
        for secret in ["acme_bare0000", "acme_good0000", "acme_scop0000"] {
            stage.ledger.set_balance(
                &format!("account of {secret}"),
                Credits::new(8),
                stage.gate.clock().now().wall(),
            );
        }
    };
    let script = [
        "GET /open",
        "POST /free/1",
        "GET /open; x-api-key: nonsense",
        "GET /own; x-api-key: acme_bare0000",
        "GET /own; x-api-key: acme_scop0000",
        "GET /own; x-api-key: acme_tria0000",
        "GET /else; x-api-key: acme_bare0000",
        "GET /else; x-api-key: acme_sign0000",
        "GET /else; x-api-key: acme_tria0000",
        "GET /else; x-api-key: acme_scop0000",
        "GET /half; x-api-key: acme_scop0000",
        "GET /half; x-api-key: acme_bare0000",
        "GET /half; x-api-key: acme_good0000",
        "GET /else; x-api-key: acme_good0000",
        "GET /else; x-api-key: acme_good0000",
    ];
    let answers = both(DEFAULTS, defaults, seed, &script).await;
    let (served, unpaid) = ("served", "subscription_required");
    let expected = [
        served,
        served,
        served,
        served,
        served,
        served,
        unpaid,
        "agreement_required",
        "plan_required",
        "scope_required",
        "scope_required",
        unpaid,
        served,
        served,
        "credits_exhausted",
    ];
    assert_eq!(kinds(&answers), expected);
}

#[tokio::test]
async fn plans_are_compared_by_rank() {
    let toml = r#"
        plans = { free = { rank = 1 }, pro = { rank = 2 }, max = { rank = 3 }, demo = {}, other = {} }
        [[rules]]
        route = "/pro"
        min_plan = "pro"
        open_to = ["demo"]
        closed_to = ["max"]
    "#;
    let ranked = |builder| {
        let mut builder = head(builder)?;
        for (name, rank) in
            [("free", Some(1)), ("pro", Some(2)), ("max", Some(3)), ("demo", None), ("other", None)]
        {
            builder = builder.plan(plan(name, |plan| plan.rank = rank));
        }
        let mut rule = Rule::new("/pro")?;
        rule.min_plan = Some("pro".into());
        (rule.open_to, rule.closed_to) = (vec!["demo".into()], vec!["max".into()]);
        Ok(builder.rule(rule))
    };
    let seed = |stage: &Stage| {
        for (secret, plan) in [
            ("acme_free0000", "free"),
            ("acme_pro00000", "pro"),
            ("acme_max00000", "max"),
            ("acme_demo0000", "demo"),
            ("acme_othe0000", "other"),
        ] {
            stage.put(secret, plan, |_, _| {});
        }
    };
    let script = [
        "GET /pro; x-api-key: acme_free0000",
        "GET /pro; x-api-key: acme_pro00000",
        "GET /pro; x-api-key: acme_max00000",
        "GET /pro; x-api-key: acme_demo0000",
        "GET /pro; x-api-key: acme_othe0000",
    ];
    let refused = "plan_required";
    assert_eq!(
        kinds(&both(toml, ranked, seed, &script).await),
        [refused, "served", refused, "served", refused]
    );
}

/// A key, its scopes, and what becomes of a request to each route.
type Held = (&'static str, Option<&'static [&'static str]>, [&'static str; 5]);

#[tokio::test]
async fn scopes_any_all_everyone_and_unnamed() {
    let toml = r#"
        plans.free = {}
        rules = [
          { route = "/one", scope = "a" },
          { route = "/any", scope = { any = ["a", "b"] } },
          { route = "/all", scope = { all = ["a", "b"] } },
          { route = "/everyone", scope = "*" },
        ]
    "#;
    let by_scope = |builder| {
        let mut builder = head(builder)?.plan(Plan::new("free"));
        for (route, scopes) in [
            ("/one", ScopeRule::AnyOf(vec!["a".into()])),
            ("/any", ScopeRule::AnyOf(vec!["a".into(), "b".into()])),
            ("/all", ScopeRule::AllOf(vec!["a".into(), "b".into()])),
            ("/everyone", ScopeRule::Everyone),
        ] {
            let mut rule = Rule::new(route)?;
            rule.scopes = scopes;
            builder = builder.rule(rule);
        }
        Ok(builder)
    };
    // `*`, and a scope that no rule knows, are names like any other in a key: they grant nothing.
    let held: [Held; 5] = [
        ("acme_none0000", None, ["served"; 5]),
        (
            "acme_empty000",
            Some(&[]),
            ["scope_required", "scope_required", "scope_required", "served", "not_granted"],
        ),
        (
            "acme_star0000",
            Some(&["*", "admin", ""]),
            ["scope_required", "scope_required", "scope_required", "served", "not_granted"],
        ),
        (
            "acme_b0000000",
            Some(&["b"]),
            ["scope_required", "served", "scope_required", "served", "not_granted"],
        ),
        ("acme_ab000000", Some(&["b", "a", "z"]), ["served", "served", "served", "served", "not_granted"]),
    ];
    let seed = |stage: &Stage| {
        for (secret, scopes, _) in held {
            let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).into()).collect());
            stage.put(secret, "free", |_, key| key.scopes = scopes);
        }
    };
    for (secret, _, expected) in held {
        let lines = ["/one", "/any", "/all", "/everyone", "/else"]
            .map(|path| format!("GET {path}; x-api-key: {secret}"));
        let script = lines.each_ref().map(String::as_str);
        assert_eq!(kinds(&both(toml, by_scope, seed, &script).await), expected, "{secret}");
    }
}

#[tokio::test]
async fn cost_follows_the_requested_number() {
    let toml = r#"
        plans.free = {}
        [[rules]]
        route = "GET /list"
        cost = { parameter = "limit", each = 3, default = 2, most = 10 }
        [[rules]]
        route = "GET /zero"
        cost = { parameter = "limit", each = 3, least = 0, default = 2, most = 10 }
    "#;
    let per_unit = |least| Cost::PerUnit {
        parameter: "limit".into(),
        each: Credits::new(3),
        least,
        default: 2,
        most: 10,
    };
    let priced = |builder| {
        let mut rule = Rule::new("GET /list")?;
        rule.cost = per_unit(1);
        let mut zero = Rule::new("GET /zero")?;
        zero.cost = per_unit(0);
        Ok(head(builder)?.plan(Plan::new("free")).rule(rule).rule(zero))
    };
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |_, _| {});
        stage.ledger.set_balance(
            "account of acme_free0000",
            Credits::new(20),
            stage.gate.clock().now().wall(),
        );
    };
    let script = [
        "GET /list; x-api-key: acme_free0000",
        "GET /list?limit=4; x-api-key: acme_free0000",
        "GET /list?limit=11; x-api-key: acme_free0000",
        "GET /list?limit=-1; x-api-key: acme_free0000",
        "GET /list?limit=1&limit=1; x-api-key: acme_free0000",
        "GET /list?limit=0; x-api-key: acme_free0000",
        "GET /zero?limit=0; x-api-key: acme_free0000",
        "GET /list?limit=1; x-api-key: acme_free0000",
    ];
    let (unreadable, exhausted) = ("parameter_unreadable", "credits_exhausted");
    let expected =
        ["served", "served", "parameter_above_cap", unreadable, unreadable, unreadable, "served", exhausted];
    assert_eq!(kinds(&both(toml, priced, seed, &script).await), expected);
}
