//! A gate with alerts, a clock that is moved by hand, and a sink that keeps what it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tollgate::alert::{Alert, AlertSink, Delivery};
use tollgate::gate::{Admission, Outcome};
use tollgate::{
    Account, Config, Denial, Gate, GateBuilder, KeyId, KeyManager, ManualClock, MemoryLedger, MemoryStore,
    NewKey, RequestView, StoreError, StoreFuture,
};

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A sink that keeps its deliveries, and fails while it is down.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    told: Vec<Delivery>,
    failed: Vec<Delivery>,
    fault: Option<StoreError>,
}

impl Recorder {
    pub(crate) fn fail(&self, fault: Option<StoreError>) {
        self.0.lock().unwrap().fault = fault;
    }

    /// Returns the deliveries that were accepted, which are forgotten.
    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.0.lock().unwrap().told)
    }

    /// Returns true if a gate still has the sink.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Returns the deliveries that failed, which are forgotten.
    pub(crate) fn take_failed(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.0.lock().unwrap().failed)
    }
}

impl AlertSink for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
        let mut state = self.0.lock().unwrap();
        if let Some(fault) = state.fault.clone() {
            state.failed.push(delivery.clone());
            return StoreFuture::failed(fault);
        }
        state.told.push(delivery.clone());
        StoreFuture::ready(())
    }
}

/// The plans: `pro` has 100 credits per month, `flat` has no grant, and both have quotas.
pub(crate) const CONFIG: &str = r#"
    sources = [{ header = "X-API-Key" }]
    formats = [{ prefix = "acme_", body = 32 }]
    [[rules]]
    route = "/paid/{n}"
    cost = { parameter = "n", each = 1, least = 0, default = 0, most = 1000 }
    [plans.pro]
    quotas = ["10 per second", "100 per day"]
    credits = { amount = 100, calendar = "month", zone = "UTC" }
    [plans.flat]
    quotas = ["100 per day"]
    [plans.large]
    credits = { amount = 100, calendar = "month", zone = "UTC" }
"#;

/// A node: a gate, its clock, its store, its ledger and its sink.
pub(crate) struct Node {
    pub(crate) gate: Gate,
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) sink: Recorder,
}

/// A key and its id.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    secret: String,
}

impl Key {
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }
}

impl Node {
    /// Creates a node with these alerts.
    pub(crate) fn new(alerts: &str) -> Self {
        Self::with(alerts, |builder| builder)
    }

    pub(crate) fn with(alerts: &str, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let clock = ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
        let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
        for (account, plan) in [("ada", "pro"), ("bob", "flat"), ("eve", "large")] {
            store.put_account(Account::new(account, plan));
        }
        Self::over(alerts, &clock, store, ledger, change)
    }

    /// Creates a node over these back ends.
    pub(crate) fn over(
        alerts: &str,
        clock: &ManualClock,
        store: Arc<MemoryStore>,
        ledger: Arc<MemoryLedger>,
        change: impl FnOnce(GateBuilder) -> GateBuilder,
    ) -> Self {
        let builder =
            Config::from_toml(&format!("{CONFIG}{alerts}"), "gate.toml").unwrap().builder().unwrap();
        let sink = Recorder::default();
        let builder = builder.clock(clock.clone()).store(Arc::clone(&store)).ledger(Arc::clone(&ledger));
        let gate = change(builder.alert_sink(sink.clone())).build().unwrap();
        Self { gate, clock: clock.clone(), store, ledger, sink }
    }

    /// Creates another node over the same back ends, with its own limiter.
    pub(crate) fn other(&self, alerts: &str, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        Self::over(alerts, &self.clock, Arc::clone(&self.store), Arc::clone(&self.ledger), change)
    }

    pub(crate) fn keys(&self) -> KeyManager {
        KeyManager::new(self.gate.clone()).unwrap()
    }

    pub(crate) async fn key(&self, account: &str) -> Key {
        self.key_with(NewKey::new(account, "a key")).await
    }

    pub(crate) async fn key_with(&self, new: NewKey) -> Key {
        let issued = self.keys().issue(new).await.unwrap();
        Key { id: issued.key.id, secret: issued.secret.expose_secret().to_owned() }
    }

    /// Makes a request that costs this number of credits, and keeps it open.
    pub(crate) async fn open(&self, key: &Key, cost: u64) -> Result<Admission, Denial> {
        let request = Request::get(format!("/paid/x?n={cost}")).header("X-API-Key", &key.secret);
        self.gate.admit(&RequestView::of(&request.body(()).unwrap())).await
    }

    /// Makes a request that costs this number of credits. Returns true if it is admitted.
    pub(crate) async fn request(&self, key: &Key, cost: u64) -> bool {
        match self.open(key, cost).await {
            Ok(admission) => {
                admission.finish(Outcome::Served).await.unwrap();
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) async fn flush(&self) {
        self.gate.alerts().unwrap().flush().await.unwrap();
    }

    /// Returns the alerts since the last call.
    pub(crate) async fn told(&self) -> Vec<Alert> {
        self.flush().await;
        self.sink.take().into_iter().map(|delivery| delivery.alert).collect()
    }

    /// Returns the alerts since the last call of this node and another one of the same store. Either may deliver what the
    /// other one noted.
    pub(crate) async fn told_with(&self, other: &Self) -> Vec<Alert> {
        // After the first round every crossing is noted; the second waits for the deliveries that the other node began.
        for _ in 0..2 {
            tokio::join!(self.flush(), other.flush());
        }
        let mut told = self.told().await;
        told.extend(other.told().await);
        told
    }

    /// Drops the gate, and waits until its tasks have ended, as they do when a process ends.
    pub(crate) async fn end(self) {
        drop(self.gate);
        while self.sink.is_shared() {
            tokio::task::yield_now().await;
        }
    }

    /// Returns the kind, the threshold and the value of the alerts since the last call, separated by spaces.
    pub(crate) async fn lines(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let line = |alert: &Alert| {
            format!("{} {} {}", alert.kind.name(), text(&alert.threshold), text(&alert.value))
        };
        self.told().await.iter().map(line).collect()
    }
}
