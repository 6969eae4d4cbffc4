//! A gate with a clock that is moved by hand, its store, a manager of its keys, and what the audit was told.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use tollgate::account::Lifetime;
use tollgate::audit::{Action, AuditEvent, AuditSink};
use tollgate::key::Length;
use tollgate::manage::ManageError;
use tollgate::rule::ScopeRule;
use tollgate::{
    Account, DenialKind, Gate, GateBuilder, KeyFormat, KeyManager, KeySource, KeyStore, ManualClock,
    MemoryStore, NewKey, Plan, RequestView, Rule,
};

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// An error in a test's own set-up.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Keeps what the audit is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<AuditEvent>>>);

impl AuditSink for Recorder {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}

impl Recorder {
    /// All events so far, which are forgotten.
    pub(crate) fn take(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the actions since the last call, and forgets them.
    pub(crate) fn actions(&self) -> Vec<Action> {
        self.take().iter().map(|event| event.action).collect()
    }
}

pub(crate) struct Stage {
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) gate: Gate,
    pub(crate) manager: KeyManager,
    pub(crate) audit: Recorder,
}

impl Stage {
    /// Accounts `ada` (plan pro), `bob` (plan free: two keys, no expiry of one's own), `cyd` (plan brief: keys live for 1
    /// to 30 days, 7 by default) and `dan` (plan demo, whose keys manage none).
    pub(crate) fn set() -> Result<Self, Fault> {
        Self::set_with(|builder, _| builder)
    }

    pub(crate) fn set_with(
        more: impl FnOnce(GateBuilder, &Arc<MemoryStore>) -> GateBuilder,
    ) -> Result<Self, Fault> {
        Self::set_over(|store| Arc::clone(store) as _, more)
    }

    /// The same, with the gate and the manager over a store that wraps the memory store.
    pub(crate) fn set_over(
        front: impl FnOnce(&Arc<MemoryStore>) -> Arc<dyn KeyStore>,
        more: impl FnOnce(GateBuilder, &Arc<MemoryStore>) -> GateBuilder,
    ) -> Result<Self, Fault> {
        let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse()?);
        let builder = builder(&clock)?;
        let store = Arc::new(MemoryStore::new());
        for (account, plan) in [("ada", "pro"), ("bob", "free"), ("cyd", "brief"), ("dan", "demo")] {
            store.put_account(Account::new(account, plan));
        }
        let gate = more(builder.store(front(&store)), &store).build()?;
        let audit = Recorder::default();
        let manager = KeyManager::new(gate.clone())?.with_audit(audit.clone());
        Ok(Self { clock, store, gate, manager, audit })
    }

    /// A new key of an account: its secret and its record.
    pub(crate) async fn issue(&self, account: &str) -> Result<tollgate::manage::Issued, ManageError> {
        self.manager.issue(NewKey::new(account, "a key")).await
    }

    /// Returns the gate's denial of a key, for a free request; `None` if the key is admitted.
    pub(crate) async fn refusal(&self, secret: &str) -> Option<DenialKind> {
        refusal(&self.gate, secret).await
    }
}

/// Returns the builder of a stage's gate, without a store.
pub(crate) fn builder(clock: &ManualClock) -> Result<GateBuilder, Fault> {
    let test = KeyFormat::new("acme_test_", Length::exactly(32))?.with_environment("test".into());
    let mut builder = Gate::builder()
        .source(KeySource::header("X-API-Key")?)
        .format(KeyFormat::new("acme_live_", Length::exactly(32))?)
        .format(test)
        .environment("live")
        .environment("test")
        .literal("acme_demo")
        .expiry_feature("key_expiration")
        .management_scope("keys:manage")
        .clock(clock.clone());
    for plan in plans() {
        builder = builder.plan(plan);
    }
    for (route, scope) in [("GET /quotes", "quotes:read"), ("GET /news", "news:read")] {
        let mut rule = Rule::new(route)?;
        rule.scopes = ScopeRule::AnyOf(vec![scope.into()]);
        builder = builder.rule(rule);
    }
    Ok(builder)
}

pub(crate) async fn refusal(gate: &Gate, secret: &str) -> Option<DenialKind> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("/free");
    request.headers_mut().insert("X-API-Key", secret.parse().unwrap());
    gate.admit(&RequestView::of(&request)).await.err().map(|denial| denial.kind())
}

fn plans() -> [Plan; 4] {
    let (mut pro, mut free, mut brief, mut demo) =
        (Plan::new("pro"), Plan::new("free"), Plan::new("brief"), Plan::new("demo"));
    pro.features.insert("key_expiration".into());
    free.max_keys = Some(2);
    brief.features.insert("key_expiration".into());
    brief.lifetime = Lifetime { default: Some(7 * DAY), shortest: Some(DAY), longest: Some(30 * DAY) };
    demo.manages_keys = false;
    [pro, free, brief, demo]
}
