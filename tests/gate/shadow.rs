//! Checks in shadow: judged, counted in windows of their own, told, and never in force.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use tollgate::telemetry::{DecisionEvent, DecisionSink};
use tollgate::{Config, Gate};

use crate::support::{World, with_key, without_key};

const KEY: &str = "kwery_live_0123456789";

/// Keeps the outcome and the kind in shadow of each event.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<(String, String)>>>);

impl DecisionSink for Told {
    fn record(&self, event: &DecisionEvent<'_>) {
        let name =
            |kind: Option<tollgate::DenialKind>| kind.map_or("", tollgate::DenialKind::name).to_owned();
        let outcome = event.outcome.denied().map_or("admitted", tollgate::DenialKind::name);
        self.0.lock().unwrap().push((outcome.to_owned(), name(event.shadow)));
    }
}

impl Told {
    /// Takes the outcomes of the events since the last call, each with its kind in shadow.
    fn take(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.into_iter().map(|(outcome, shadow)| format!("{outcome}/{shadow}")).collect()
    }
}

fn gate(world: &World, lines: &str) -> (Gate, Told) {
    let text = format!(
        "sources = [{{ header = \"X-API-Key\" }}]\n\
         formats = [{{ prefix = \"kwery_live_\", body = 10, issue = false }}]\n{lines}"
    );
    let builder = Config::from_toml(&text, "gate.toml").unwrap().builder().unwrap();
    let builder = builder.store(Arc::clone(&world.store)).ledger(Arc::clone(&world.ledger));
    let told = Told::default();
    let builder = builder.limiter(Arc::clone(&world.limiter)).clock(world.clock.clone());
    (builder.decision_sink(told.clone()).build().unwrap(), told)
}

async fn send(world: &World, gate: &Gate, times: usize) -> Vec<u16> {
    world.statuses(gate, (0..times).map(|_| with_key("GET /v1/candles", KEY))).await
}

#[tokio::test]
async fn shadowed_quota_and_real_quota_use_up_their_own_windows() {
    for (lines, name) in [
        (
            "[plans.plain]\nquotas = [\"3 per minute\", { quota = \"1 per minute\", shadow = true }]",
            "of a plan",
        ),
        (
            "rules = [{ route = \"GET /v1/candles\", quotas = [\"3 per minute\", \
             { quota = \"1 per minute\", shadow = true }] }]\n[plans.plain]",
            "of a rule",
        ),
        (
            "[quotas]\ntried = { quota = \"1 per minute\", shadow = true, name = \"minute\" }\n\
             [plans.plain]\nquotas = [\"3 per minute\", \"tried\"]",
            "with a name",
        ),
    ] {
        let world = World::new();
        let id = world.plain_key(KEY);
        let (gate, told) = gate(&world, lines);
        assert_eq!(send(&world, &gate, 4).await, [200, 200, 200, 429], "{name}");
        let shadow = "rate_limited";
        let expected = ["admitted/", "admitted/rate_limited", "admitted/rate_limited"].map(str::to_owned);
        assert_eq!(told.take()[..3], expected, "{name}");
        assert_eq!(
            gate.key_usage(&world.store.key(id).unwrap()).await.unwrap().windows.len(),
            usize::from(name != "of a rule")
        );
        // The denial of the real quota is told beside that of the other.
        world.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(send(&world, &gate, 1).await, [429], "{name}");
        assert_eq!(told.take(), [format!("rate_limited/{shadow}")], "{name}");
    }
}

#[tokio::test]
async fn checks_of_gate_rule_and_plan_apply_together() {
    let real = "[plans.plain]\nquotas = [\"1 per minute\"]\n";
    let rule = |more: &str| format!("rules = [{{ route = \"GET /v1/candles\", cost = 60{more} }}]\n");
    let both = "shadow = [\"rate_limits\", \"credits\"]";
    for (lines, name) in [
        (format!("{both}\n{}{real}", rule("")), "of the gate"),
        (format!("{}{real}", rule(&format!(", {both}"))), "of the rule"),
        (format!("{}{real}{both}", rule("")), "of the plan"),
        (format!("shadow = [\"credits\"]\n{}{real}", rule(", shadow = [\"rate_limits\"]")), "of two"),
        (format!("shadow = true\n{}{real}", rule("")), "all"),
    ] {
        let lines = lines.replace("cost = 60", "cost = 3");
        let world = World::new();
        let id = world.plain_key(KEY);
        world.set_balance(id, 2);
        let (gate, told) = gate(&world, &lines);
        assert_eq!(send(&world, &gate, 3).await, [200; 3], "{name}");
        assert_eq!(
            told.take(),
            ["admitted/credits_exhausted", "admitted/rate_limited", "admitted/rate_limited"],
            "{name}"
        );
        assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (2, 0), "{name}");
        world.set_balance(id, 1_000);
        world.clock.advance(std::time::Duration::from_mins(1));
        assert_eq!(send(&world, &gate, 1).await, [200]);
        assert_eq!((told.take(), world.balance(id)), (vec!["admitted/".to_owned()], 1_000), "{name}");
    }
}

#[tokio::test]
async fn later_checks_are_in_force() {
    let world = World::new();
    world.key(KEY, |record, account| {
        record.scopes = Some(vec!["candles:write".into()]);
        account.subscription = None;
    });
    let (gate, told) = gate(
        &world,
        "shadow = [\"subscription\", \"rate_limits\"]\n\
         rules = [{ route = \"GET /v1/candles\", scope = \"candles:read\", subscription = true }]\n[plans.plain]",
    );
    assert_eq!(send(&world, &gate, 2).await, [403, 403]);
    assert_eq!(told.take(), ["scope_required/subscription_required"; 2]);
}

#[tokio::test]
async fn shadowed_denial_is_not_remembered_as_passed() {
    let world = World::new();
    world.key(KEY, |record, _| record.scopes = Some(vec!["candles:write".into()]));
    let (gate, told) = gate(
        &world,
        "rules = [{ route = \"GET /v1/candles\", scope = \"candles:read\", shadow = [\"scopes\"] }]\n[plans.plain]",
    );
    assert_eq!(send(&world, &gate, 3).await, [200; 3]);
    assert_eq!(told.take(), ["admitted/scope_required"; 3]);
}

#[tokio::test]
async fn request_without_valid_key_is_served_in_shadow() {
    let world = World::new();
    world.plain_key(KEY);
    let (gate, told) = gate(&world, "shadow = true\n[plans.plain]\n[management]\npath = \"/keys\"");
    let unknown = || with_key("GET /v1/candles", "kwery_live_9999999999");
    assert_eq!(world.statuses(&gate, [without_key("GET /v1/candles"), unknown()]).await, [200, 200]);
    assert!(world.inner.principal().is_none());
    assert_eq!(told.take(), ["admitted/missing", "admitted/unknown"]);
    // Key management is in force.
    assert_eq!(
        world.statuses(&gate, [without_key("GET /keys"), without_key("DELETE /keys/x")]).await,
        [401, 401]
    );
}

#[tokio::test]
async fn requests_in_flight_in_shadow_have_their_own_slots() {
    let world = World::new();
    world.plain_key(KEY);
    let lines =
        "rules = [{ route = \"GET /tried\", shadow = [\"in_flight\"] }]\n[plans.plain]\nin_flight = 1";
    let (gate, told) = gate(&world, lines);
    let admit = async |route: &str| {
        let request = with_key(route, KEY).body(()).unwrap();
        gate.admit(&tollgate::RequestView::of(&request)).await
    };
    let first = admit("GET /tried").await.unwrap();
    let second = admit("GET /tried").await.unwrap();
    // The slot that is in force is free.
    let real = admit("GET /v1/candles").await.unwrap();
    assert_eq!(admit("GET /v1/candles").await.unwrap_err().kind().name(), "in_flight_limited");
    drop((first, second, real));
    let mut told = told.take();
    told.sort();
    assert_eq!(told, ["admitted/", "admitted/", "admitted/in_flight_limited", "in_flight_limited/"]);
    assert!(admit("GET /v1/candles").await.is_ok());
}

#[tokio::test]
async fn back_end_that_fails_in_shadow_denies_nothing() {
    let world = World::new();
    world.plain_key(KEY);
    let lines = "shadow = [\"rate_limits\"]\n[plans.plain]\nquotas = [\"1 per minute\"]";
    let text = format!(
        "sources = [{{ header = \"X-API-Key\" }}]\n\
         formats = [{{ prefix = \"kwery_live_\", body = 10, issue = false }}]\n{lines}"
    );
    let builder = Config::from_toml(&text, "gate.toml").unwrap().builder().unwrap();
    let full = tollgate::MemoryLimiter::with_capacity(0);
    let told = Told::default();
    let builder = builder.store(Arc::clone(&world.store)).limiter(full).decision_sink(told.clone());
    assert_eq!(send(&world, &builder.build().unwrap(), 1).await, [200]);
    assert_eq!(told.take(), ["admitted/unavailable"]);
}

#[tokio::test]
async fn public_rule_in_shadow_is_counted() {
    let world = World::new();
    let quota = "quotas = [{ quota = \"1 per minute\", counts = \"network\" }]";
    let lines = format!("rules = [{{ route = \"GET /open\", public = true, shadow = true, {quota} }}]");
    let (gate, told) = gate(&world, &lines);
    assert_eq!(world.statuses(&gate, [without_key("GET /open"), without_key("GET /open")]).await, [200, 200]);
    assert_eq!(told.take(), ["admitted/rate_limited"]);
}

#[test]
fn unknown_check_in_shadow_is_rejected() {
    for (lines, member) in [
        ("shadow = [\"rate limits\"]", "shadow[0]"),
        ("rules = [{ route = \"GET /\", shadow = [\"credits\", \"x\"] }]", "rules[0].shadow[1]"),
        ("[plans.plain]\nshadow = [\"x\"]", "plans.plain.shadow[0]"),
    ] {
        let text = format!("sources = [{{ header = \"X-API-Key\" }}]\nformats = [{{ body = 32 }}]\n{lines}");
        let error = Config::from_toml(&text, "gate.toml").unwrap_err();
        assert_eq!(error.member(), member, "{error}");
        assert!(error.expected().contains("rate_limits"), "{error}");
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metric_counts_denials_in_shadow() {
    let metrics = crate::recorder::Metrics::default();
    let _recording = metrics.install();
    let world = World::new();
    world.plain_key(KEY);
    let rule = tollgate::Rule::new("GET /v1/candles").unwrap();
    let mut plan = tollgate::Plan::new("plain");
    plan.quotas = vec![tollgate::account::QuotaRef::Policy("1 per minute".parse().unwrap())];
    plan.shadow = [tollgate::gate::Check::RateLimits].into_iter().collect();
    let builder =
        Gate::builder().source(tollgate::KeySource::header("X-API-Key").unwrap()).rule(rule).plan(plan);
    let format = tollgate::KeyFormat::new("kwery_live_", tollgate::key::Length::exactly(10)).unwrap();
    let gate = builder.format(format.accepted_only()).store(world.store.clone()).metrics().build().unwrap();
    assert_eq!(send(&world, &gate, 3).await, [200; 3]);
    let name = "tollgate_shadow_denials_total{rule=\"GET /v1/candles\",plan=\"plain\",kind=\"rate_limited\"}";
    assert_eq!(metrics.value(name), 2);
}
