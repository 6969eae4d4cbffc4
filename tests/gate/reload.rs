//! A new configuration for a gate that runs: what changes, what goes on, and what is rejected.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use support::{World, with_key};
use tokio::sync::Semaphore;
use tollgate::account::{NetworkCut, QuotaRef};
use tollgate::clock::SystemClock;
use tollgate::gate::{AttemptLimit, Outcome};
use tollgate::key::KeyHasher;
use tollgate::telemetry::{DecisionEvent, DecisionSink};
use tollgate::{Config, Credits, Gate, GateBuilder, MemoryStore, RequestView, TollgateLayer};
use tower::{Layer, ServiceExt, service_fn};

const KEY: &str = "kwery_live_0123456789";

/// Returns the settings of a file that also has these lines.
fn file(lines: &str) -> GateBuilder {
    let text = format!(
        r#"
        sources = [{{ header = "X-API-Key" }}]
        formats = [{{ prefix = "kwery_live_", body = 10, issue = false }}]
        {lines}
        "#
    );
    Config::from_toml(&text, "gate.toml").unwrap().builder().unwrap()
}

/// Returns a gate over the back ends of a world.
fn gate(world: &World, lines: &str) -> Gate {
    over(world, file(lines)).build().unwrap()
}

fn over(world: &World, builder: GateBuilder) -> GateBuilder {
    let builder = builder.store(Arc::clone(&world.store)).ledger(Arc::clone(&world.ledger));
    builder.limiter(Arc::clone(&world.limiter)).clock(world.clock.clone())
}

async fn status(world: &World, gate: &Gate) -> u16 {
    world.send(gate, with_key("GET /v1/candles", KEY)).await.status
}

/// Returns the number of requests that are admitted before one is denied.
async fn admitted(world: &World, gate: &Gate) -> usize {
    let mut admitted = 0;
    while status(world, gate).await == 200 {
        admitted += 1;
    }
    admitted
}

#[tokio::test]
async fn cached_record_is_judged_by_new_rules_at_once() {
    let world = World::new();
    world.key(KEY, |record, _| record.scopes = Some(vec!["candles:read".into()]));
    let open = r#"rules = [{ route = "GET /v1/candles", scope = "candles:read" }]
        [plans.plain]"#;
    let gate = gate(&world, open);
    // The record has passed the first rule.
    assert_eq!(status(&world, &gate).await, 200);
    assert_eq!(status(&world, &gate).await, 200);
    gate.reload(file(&open.replace("candles:read", "candles:write"))).unwrap();
    assert_eq!(status(&world, &gate).await, 403);
    gate.reload(file(open)).unwrap();
    assert_eq!(status(&world, &gate).await, 200);
    let closed = open.replace("scope = \"candles:read\"", "closed_to = [\"plain\"]");
    gate.reload(file(&format!("{closed}\n[plans.other]"))).unwrap();
    assert_eq!(status(&world, &gate).await, 403);
}

#[tokio::test]
async fn plan_that_is_gone_is_the_operators_fault() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = gate(&world, "[plans.plain]");
    assert_eq!(status(&world, &gate).await, 200);
    gate.reload(file("[plans.other]")).unwrap();
    assert_eq!(status(&world, &gate).await, 500);
    gate.reload(file("[plans.plain]")).unwrap();
    assert_eq!(status(&world, &gate).await, 200);
}

#[tokio::test]
async fn changed_quota_keeps_what_is_used() {
    let quota = |quota: &str| file(&format!("[plans.plain]\nquotas = [\"{quota}\"]"));
    for (before, used, after, left) in [
        ("60 per minute", 40, "600 per minute", 560),
        ("60 per minute", 20, "30 per minute", 10),
        ("60 per minute", 40, "30 per minute", 0),
        ("60 per minute", 40, "60 per minute", 20),
        ("60 per minute", 40, "60 per hour", 60),
        ("60 in any minute", 40, "60 in any minute", 20),
    ] {
        let world = World::new();
        world.plain_key(KEY);
        let gate = over(&world, quota(before)).build().unwrap();
        for _ in 0..used {
            assert_eq!(status(&world, &gate).await, 200);
        }
        gate.reload(quota(after)).unwrap();
        assert_eq!(admitted(&world, &gate).await, left, "{before}, then {after}");
    }
}

#[tokio::test]
async fn lowered_quota_admits_when_its_share_is_refilled() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = gate(&world, "[plans.plain]\nquotas = [\"60 per minute\"]");
    assert_eq!(admitted(&world, &gate).await, 60);
    gate.reload(file("[plans.plain]\nquotas = [\"30 per minute\"]")).unwrap();
    // 31 of 60 requests must be refilled, one each second.
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(status(&world, &gate).await, 429);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(status(&world, &gate).await, 200);
}

#[tokio::test]
async fn windows_of_pools_rules_and_networks_go_on() {
    let world = World::new();
    world.plain_key(KEY);
    for lines in [
        "[plans.plain]\nquotas = [{ quota = \"5 per minute\", counts = \"pool:all\" }]",
        "[plans.plain]\nquotas = [{ quota = \"5 per minute\", counts = \"network\" }]",
        "[plans.plain]\nquotas = [{ quota = \"5 per minute\", counts = \"account\" }]",
        "rules = [{ route = \"GET /v1/candles\", quotas = [\"5 per minute\"] }]\n[plans.plain]",
        "rules = [{ route = \"GET /v1/candles\", public = true, quotas = [{ quota = \"5 per minute\", \
         counts = \"network\" }] }]\n[plans.plain]",
    ] {
        world.clock.advance(Duration::from_mins(2));
        let gate = gate(&world, lines);
        for _ in 0..3 {
            assert_eq!(status(&world, &gate).await, 200);
            gate.reload(file(lines)).unwrap();
        }
        assert_eq!(admitted(&world, &gate).await, 2, "{lines}");
    }
}

#[tokio::test]
async fn own_quotas_of_a_key_survive_many_reloads() {
    let world = World::new();
    let id = world.key(KEY, |record, _| {
        record.quotas = Some(vec![QuotaRef::Named("own".to_owned())]);
    });
    let lines = |quota: u32| format!("quotas = {{ own = \"{quota} per minute\" }}\n[plans.plain]");
    let (gate, second) = (gate(&world, &lines(10)), gate(&world, &lines(10)));
    assert_eq!(status(&world, &gate).await, 200);
    assert_eq!(status(&world, &second).await, 200);
    for version in 2..=6 {
        gate.reload(file(&lines(10 * version))).unwrap();
        second.reload(file(&lines(10 * version))).unwrap();
        for gate in [&gate, &second] {
            assert_eq!(status(&world, gate).await, 200);
            let record = world.store.key(id).unwrap();
            let windows = gate.key_usage(&record).await.unwrap().windows;
            assert_eq!((windows.len(), windows[0].quota), (1, 10 * version));
        }
    }
    assert_eq!(admitted(&world, &gate).await, 60 - 12);
}

/// Counts the outcomes and the plans of its events.
#[derive(Debug, Clone, Default)]
struct Events(Arc<std::sync::Mutex<Vec<(String, Credits, String)>>>);

impl DecisionSink for Events {
    fn record(&self, event: &DecisionEvent<'_>) {
        let window = event.windows.least().map(|window| format!("{} of {}", window.remaining, window.limit));
        let told = (event.outcome.name().to_owned(), event.settled, window.unwrap_or_default());
        self.0.lock().unwrap().push(told);
    }
}

#[tokio::test]
async fn request_under_way_ends_under_old_configuration() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let old = r#"rules = [{ route = "GET /v1/candles", cost = 7 }]
        credit_headers = { cost = "X-Old-Cost" }
        limit_headers = true
        [plans.plain]
        in_flight = 1
        quotas = ["60 per minute"]"#;
    let new = r#"rules = [{ route = "GET /v1/candles", cost = 2 }]
        credit_headers = { cost = "X-New-Cost" }
        [plans.plain]
        quotas = ["600 per minute"]"#;
    let events = Events::default();
    let gate = over(&world, file(old)).decision_sink(events.clone()).build().unwrap();
    let (entered, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
        service_fn(move |_: Request<Empty<Bytes>>| {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            async move {
                entered.add_permits(1);
                leave.acquire().await.unwrap().forget();
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
            }
        })
    };
    let service = TollgateLayer::new(gate.clone()).layer(handler);
    let request = || with_key("GET /v1/candles", KEY).body(Empty::<Bytes>::new()).unwrap();
    let old_request = tokio::spawn(service.clone().oneshot(request()));
    entered.acquire().await.unwrap().forget();
    gate.reload(file(new)).unwrap();
    // The limit on requests in flight is gone, so that a second request is admitted.
    let new_request = tokio::spawn(service.oneshot(request()));
    entered.acquire().await.unwrap().forget();
    leave.add_permits(2);
    let old_answer = old_request.await.unwrap().unwrap();
    assert_eq!(old_answer.headers()["x-old-cost"], "7");
    assert!(old_answer.headers()["ratelimit-policy"].to_str().unwrap().contains("q=60;"));
    old_answer.into_body().collect().await.unwrap();
    let new_answer = new_request.await.unwrap().unwrap();
    assert_eq!(new_answer.headers()["x-new-cost"], "2");
    assert!(!new_answer.headers().contains_key("x-old-cost"));
    new_answer.into_body().collect().await.unwrap();
    assert_eq!(world.balance(id), 91);
    let mut told = events.0.lock().unwrap().clone();
    told.sort();
    let admitted = "admitted".to_owned();
    assert_eq!(told[0], (admitted.clone(), Credits::new(2), "598 of 600".to_owned()));
    assert_eq!(told[1], (admitted, Credits::new(7), "59 of 60".to_owned()));
    // The slot of the old limit is free.
    gate.reload(file(old)).unwrap();
    assert_eq!(status(&world, &gate).await, 200);
}

#[tokio::test]
async fn waiting_decision_ends_under_old_configuration() {
    let world = World::new();
    world.plain_key(KEY);
    let closed = "rules = [{ route = \"GET /v1/candles\", closed_to = [\"plain\"] }]\n[plans.plain]\n\
                  [plans.other]";
    let rules = file(closed);
    let store = support::faulty_back_ends::Later(Arc::clone(&world.store));
    let gate = file("[plans.plain]").store(store).build().unwrap();
    let request = with_key("GET /v1/candles", KEY).body(()).unwrap();
    let view = RequestView::of(&request);
    let mut deciding = std::pin::pin!(gate.admit(&view));
    // The store is asked under the old configuration.
    assert!(deciding.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    gate.reload(rules).unwrap();
    deciding.await.unwrap().finish(Outcome::Served).await.unwrap();
    assert!(gate.admit(&view).await.is_err());
}

#[tokio::test]
async fn failed_attempts_go_on() {
    let world = World::new();
    let limited =
        |quota: &str| file("[plans.plain]").attempts(AttemptLimit::new(quota.parse().unwrap()).unwrap());
    let gate = over(&world, limited("3 per minute")).build().unwrap();
    let unknown = || with_key("GET /v1/candles", "kwery_live_9999999999");
    assert_eq!(world.statuses(&gate, [unknown(), unknown()]).await, [401, 401]);
    gate.reload(limited("3 per minute")).unwrap();
    assert_eq!(world.statuses(&gate, [unknown(), unknown()]).await, [401, 429]);
    // The minute until the quota is full stays: it is ten attempts of the new quota.
    gate.reload(limited("20 per minute")).unwrap();
    assert_eq!(world.send(&gate, unknown()).await.status, 429);
    gate.reload(file("[plans.plain]")).unwrap();
    assert_eq!(world.send(&gate, unknown()).await.status, 401);
}

#[tokio::test]
async fn fault_leaves_old_configuration_in_force() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = gate(&world, "[plans.plain]\nquotas = [\"3 per minute\"]");
    world.clock.advance(Duration::from_secs(5));
    let unknown_plan = file("[plans.plain]").anonymous("nobody", NetworkCut::default());
    for (builder, member) in [(Gate::builder(), "sources"), (unknown_plan, "anonymous.plan")] {
        let error = gate.reload(builder).unwrap_err();
        assert_eq!(error.member(), member, "{error}");
        assert!(!error.expected().is_empty());
        assert_eq!(gate.configuration().version(), 1);
    }
    assert_eq!(admitted(&world, &gate).await, 3);
    let since = gate.configuration().since();
    let taken = gate.reload(file("[plans.plain]")).unwrap();
    assert_eq!((taken, taken.version()), (gate.configuration(), 2));
    assert_eq!(taken.since().as_millis() - since.as_millis(), 5_000);
    assert_eq!(status(&world, &gate).await, 200);
}

#[tokio::test]
async fn parts_and_fixed_settings_are_rejected() {
    let world = World::new();
    world.plain_key(KEY);
    let lines = "[plans.plain]\n[management]\npath = \"/keys\"\n[back_ends.store]\ntimeout = \"2s\"";
    let gate = gate(&world, lines);
    let changed = |from: &str, to: &str| file(&lines.replace(from, to));
    for (builder, member, value) in vec![
        (file(lines).store(MemoryStore::new()), "store", "tollgate::store::memory::MemoryStore"),
        (file(lines).clock(SystemClock::new()), "clock", ""),
        (file(lines).decision_sink(Events::default()), "decision_sink", ""),
        (file(lines).on_denial(|_| {}), "on_denial", ""),
        (changed("/keys", "/my-keys"), "management.path", "/my-keys"),
        (changed("[management]\npath = \"/keys\"", ""), "management.path", ""),
        (changed("2s", "3s"), "back_ends", ""),
        (file(&format!("{lines}\n[usage]\nmax_rows = 5000")), "usage", ""),
        (file(&format!("{lines}\n[[alerts]]\nwhen = {{ revoked = true }}")), "alerts", ""),
        (file(lines).note_uses(Duration::from_secs(9)), "note_uses", ""),
    ] {
        let error = gate.reload(builder).unwrap_err();
        assert_eq!((error.member(), error.value()), (member, value), "{error}");
        assert!(error.problem().contains("while the gate runs"), "{error}");
        assert!(error.expected().contains("restart the process"), "{error}");
    }
    gate.reload(file(lines)).unwrap();
    assert_eq!(status(&world, &gate).await, 200);
}

#[tokio::test]
async fn formats_hashers_and_texts_are_replaced() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = gate(&world, "[plans.plain]");
    assert_eq!(status(&world, &gate).await, 200);
    let other = file("[plans.plain]\n[errors.unauthorized]\nstatus = 404");
    let hasher = || KeyHasher::hmac_sha256(b"a pepper of thirty-two characters").unwrap();
    gate.reload(other.hasher(hasher())).unwrap();
    assert_eq!(status(&world, &gate).await, 404);
    // The older scheme finds the key, which is then rehashed.
    let both = || file("[plans.plain]").hasher(hasher()).older_hasher(KeyHasher::sha256());
    gate.reload(both()).unwrap();
    assert_eq!(status(&world, &gate).await, 200);
    gate.reload(file("[plans.plain]").hasher(hasher())).unwrap();
    assert_eq!(status(&world, &gate).await, 200);
}

/// Requests of four threads, while another thread replaces the configuration all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 5)]
async fn reloads_under_load_deny_nothing_that_is_not_due() {
    const RELOADS: u32 = 100;
    let world = World::new();
    let id = world.plain_key(KEY);
    world.set_balance(id, 1_000_000);
    let lines = |number: u32| {
        format!(
            "rules = [{{ route = \"GET /v1/candles\", cost = 1 }}]\n[plans.plain]\nin_flight = 50\n\
             quotas = [\"{} per day\"]",
            1_000_000 + number % 3
        )
    };
    let gate = gate(&world, &lines(0));
    let stop = Arc::new(AtomicBool::new(false));
    let requests: Vec<_> = (0..4)
        .map(|_| {
            let (world, gate, stop) = (world.clone(), gate.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let service = TollgateLayer::new(gate).layer(world.inner.clone());
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    let request = with_key("GET /v1/candles", KEY).body(Empty::<Bytes>::new()).unwrap();
                    let response = service.clone().oneshot(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    response.into_body().collect().await.unwrap();
                    sent += 1;
                    tokio::task::yield_now().await;
                }
                sent
            })
        })
        .collect();
    let reloading = gate.clone();
    tokio::task::spawn_blocking(move || {
        for number in 1..=RELOADS {
            reloading.reload(file(&lines(number))).unwrap();
        }
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for request in requests {
        sent += request.await.unwrap();
    }
    assert_eq!(gate.configuration().version(), RELOADS + 1);
    // Every request was charged once, and drawn once.
    assert_eq!(world.balance(id), 1_000_000 - u64::from(sent));
    let record = world.store.key(id).unwrap();
    let windows = gate.key_usage(&record).await.unwrap().windows;
    assert_eq!(windows[0].quota - windows[0].remaining, sent);
    assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics_tell_of_reloads() {
    let metrics = crate::recorder::Metrics::default();
    let _recording = metrics.install();
    let world = World::new();
    let gate = over(&world, file("[plans.plain]")).metrics().build().unwrap();
    let told = || {
        let name = "tollgate_config_last_reload_success";
        (metrics.value(&format!("{name}ful")), metrics.value(&format!("{name}_timestamp_seconds")))
    };
    let start = 1_777_550_400;
    assert_eq!(told(), (1, start));
    world.clock.advance(Duration::from_secs(10));
    gate.reload(Gate::builder()).unwrap_err();
    assert_eq!(told(), (0, start));
    gate.reload(file("[plans.plain]")).unwrap();
    assert_eq!(told(), (1, start + 10));
}
