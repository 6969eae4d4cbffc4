//! The provider's gate over back ends in memory, with three accounts.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tollgate::adapter::Peer;
use tollgate::{
    Account, Config, Gate, GateBuilder, KeyManager, ManualClock, MemoryLedger, MemoryStore, NewKey,
    TollgateService,
};
use tower::{ServiceExt, service_fn};

pub(crate) const KEYS: &str = "/api/v1/account/api-keys";

pub(crate) struct Stage {
    pub(crate) gate: Gate,
    pub(crate) manager: KeyManager,
    store: Arc<MemoryStore>,
    pub(crate) clock: ManualClock,
    pub(crate) ledger: Arc<MemoryLedger>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

fn config() -> Config {
    Config::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers/quantconomy.toml")).unwrap()
}

/// Returns the builder of the provider's gate, without a store.
fn builder(clock: &ManualClock, ledger: &Arc<MemoryLedger>) -> GateBuilder {
    config().builder().unwrap().ledger(Arc::clone(ledger)).clock(clock.clone())
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
        let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
        config().demo_keys().unwrap().into_iter().for_each(|demo| store.put_key(demo));
        for (account, plan) in [("ada", "professional"), ("bob", "professional"), ("eve", "starter")] {
            store.put_account(Account::new(account, plan));
        }
        let gate = change(builder(&clock, &ledger).store(Arc::clone(&store))).build().unwrap();
        Self { manager: KeyManager::new(gate.clone()).unwrap(), gate, store, clock, ledger }
    }

    /// A gate that caches records for an hour. The manager is that of another node, and does not use the cache.
    #[cfg(feature = "fleet")]
    pub(crate) fn behind_a_cache() -> Self {
        Self::behind(|cached| cached)
    }

    /// The same, with a cache that is changed.
    #[cfg(feature = "fleet")]
    pub(crate) fn behind(
        change: impl FnOnce(
            tollgate::store::CachedStoreBuilder<Arc<MemoryStore>>,
        ) -> tollgate::store::CachedStoreBuilder<Arc<MemoryStore>>,
    ) -> Self {
        let stage = Self::new();
        let cached = tollgate::store::CachedStore::builder(Arc::clone(&stage.store))
            .stale_for_at_most(std::time::Duration::from_hours(1));
        let cached = change(cached).build().unwrap();
        let gate = builder(&stage.clock, &stage.ledger).store(cached).build().unwrap();
        Self { gate, ..stage }
    }

    /// A new key of an account, and its id.
    pub(crate) async fn key(&self, account: &str) -> (String, String) {
        let issued = self.manager.issue(NewKey::new(account, "first")).await.unwrap();
        (issued.secret.expose_secret().to_owned(), issued.key.id.to_string())
    }

    pub(crate) async fn send(&self, key: &str, route: &str, body: impl Into<Bytes>) -> Answer {
        self.send_body(key, route, Full::new(body.into())).await
    }

    pub(crate) async fn send_body<B: http_body::Body<Data = Bytes>>(
        &self,
        key: &str,
        route: &str,
        body: B,
    ) -> Answer {
        let (method, path) = route.split_once(' ').unwrap();
        let mut request = Request::new(body);
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        request.extensions_mut().insert(Peer("203.0.113.9".parse().unwrap()));
        let inner = service_fn(async |_: Request<B>| {
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        let service = TollgateService::new(inner, self.gate.clone());
        let (head, body) = service.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, text, json }
    }
}
