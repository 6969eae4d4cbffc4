//! The fixture of the tests: a gate over back ends in memory whose time stands still, in front of a service that counts.
#![allow(dead_code, unused_imports, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod events;
pub(crate) mod faulty_back_ends;
pub(crate) mod naive_credits;
pub(crate) mod providers;
pub(crate) mod remote;
pub(crate) mod service;
pub(crate) mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Builder;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tollgate::adapter::Peer;
use tollgate::clock::SystemClock;
use tollgate::credit::{ChargeId, Entry, Refund, Settlement};
use tollgate::key::KeyHasher;
use tollgate::{
    Account, CreditLedger, Credits, Gate, GateBuilder, KeyId, KeyRecord, KeyStore, ManualClock, MemoryLedger,
    MemoryLimiter, MemoryStore, Plan, RateLimiter, TollgateLayer,
};
use tower::{Layer, ServiceExt};

pub(crate) use service::Inner;

/// The clock of settlements and refunds whose time does not matter.
static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// A settlement of a charge at a cost.
pub(crate) fn settlement(account: &Account, id: ChargeId, cost: Credits) -> Settlement<'_> {
    Settlement::new(account, id, cost, &*CLOCK)
}

/// A refund of a charge.
pub(crate) fn refund(account: &Account, id: ChargeId) -> Refund<'_> {
    Refund::new(account, id, &*CLOCK)
}

/// Back ends, a clock that stands, and the service behind the gate.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) limiter: Arc<MemoryLimiter>,
    pub(crate) inner: Inner,
    next_id: Arc<AtomicU64>,
    back_ends: BackEnds,
}

/// The back ends that a world's gates are given.
#[derive(Debug, Clone)]
struct BackEnds {
    store: Arc<dyn KeyStore>,
    ledger: Arc<dyn CreditLedger>,
    limiter: Arc<dyn RateLimiter>,
}

impl World {
    pub(crate) fn new() -> Self {
        let (store, ledger, limiter) =
            (Arc::<MemoryStore>::default(), Arc::<MemoryLedger>::default(), Arc::<MemoryLimiter>::default());
        Self {
            clock: ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap()),
            back_ends: BackEnds { store: store.clone(), ledger: ledger.clone(), limiter: limiter.clone() },
            store,
            ledger,
            limiter,
            inner: Inner::default(),
            next_id: Arc::default(),
        }
    }

    /// The same world, whose gates have this store.
    pub(crate) fn with_store(&self, store: impl KeyStore) -> Self {
        let back_ends = BackEnds { store: Arc::new(store), ..self.back_ends.clone() };
        Self { back_ends, ..self.clone() }
    }

    /// The same world, whose gates have this ledger.
    pub(crate) fn with_ledger(&self, ledger: impl CreditLedger) -> Self {
        let back_ends = BackEnds { ledger: Arc::new(ledger), ..self.back_ends.clone() };
        Self { back_ends, ..self.clone() }
    }

    /// The same world, whose gates have this limiter.
    pub(crate) fn with_limiter(&self, limiter: impl RateLimiter) -> Self {
        let back_ends = BackEnds { limiter: Arc::new(limiter), ..self.back_ends.clone() };
        Self { back_ends, ..self.clone() }
    }

    /// A builder with this world's back ends and nothing else.
    pub(crate) fn bare(&self) -> GateBuilder {
        Gate::builder()
            .store(Arc::clone(&self.back_ends.store))
            .ledger(Arc::clone(&self.back_ends.ledger))
            .limiter(Arc::clone(&self.back_ends.limiter))
            .clock(self.clock.clone())
            .plan(Plan::new("plain"))
    }

    /// Puts a key in, of an account of its own on the plan `plain`, changed as the test needs it.
    pub(crate) fn key(&self, secret: &str, change: impl FnOnce(&mut KeyRecord, &mut Account)) -> KeyId {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        let id = KeyId::from_bytes(u128::from(number).to_be_bytes());
        let mut account = Account::new(format!("account-{number}"), "plain");
        let hash = KeyHasher::sha256().hash(secret.as_bytes());
        let mut record = KeyRecord::new(id, hash, Arc::new(account.clone()));
        change(&mut record, &mut account);
        self.ledger.set_balance(
            account.id.as_str(),
            Credits::new(100),
            tollgate::Clock::now(&self.clock).wall(),
        );
        record.account = self.store.put_account(account);
        self.store.put_key(record);
        id
    }

    /// Puts a plain key in.
    pub(crate) fn plain_key(&self, secret: &str) -> KeyId {
        self.key(secret, |_, _| {})
    }

    /// The account of a key.
    pub(crate) fn account_of(&self, id: KeyId) -> String {
        self.store.key(id).unwrap().account.id.to_string()
    }

    pub(crate) fn balance(&self, id: KeyId) -> u64 {
        self.ledger.balance(&self.account_of(id)).unwrap().get()
    }

    pub(crate) fn set_balance(&self, id: KeyId, credits: u64) {
        let now = tollgate::Clock::now(&self.clock).wall();
        self.ledger.set_balance(&self.account_of(id), Credits::new(credits), now);
    }

    /// Returns the number of calls to the service behind the gate.
    pub(crate) fn calls(&self) -> usize {
        self.inner.calls()
    }

    /// Sends one request through the gate, and checks what holds of every answer.
    pub(crate) async fn send(&self, gate: &Gate, request: Builder) -> Answer {
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let presented = presented(&request);
        let before = self.calls();
        let service = TollgateLayer::new(gate.clone()).layer(self.inner.clone());
        let answer = Answer::read(service.oneshot(request).await.unwrap()).await;
        let served = self.calls() - before;
        assert_eq!(served, usize::from(answer.status < 400), "served or refused, not both: {answer:?}");
        answer.check(&presented);
        answer
    }

    /// Returns the statuses of requests that are sent one after another.
    pub(crate) async fn statuses(
        &self,
        gate: &Gate,
        requests: impl IntoIterator<Item = Builder>,
    ) -> Vec<u16> {
        let mut statuses = Vec::new();
        for request in requests {
            statuses.push(self.send(gate, request).await.status);
        }
        statuses
    }
}

/// Returns the parts of the request that may be a key: none of them may come back.
fn presented<B>(request: &Request<B>) -> Vec<String> {
    let headers = ["x-api-key", "authorization"].into_iter().flat_map(|name| request.headers().get_all(name));
    let in_headers = headers.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let in_query =
        request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let keys = in_headers.chain(in_query.map(|(_, value)| value.to_owned()));
    keys.flat_map(|text| text.split([' ', ',', '\t']).map(str::to_owned).collect::<Vec<_>>())
        .filter(|text| text.len() >= 8)
        .collect()
}

/// A request with the key in `X-API-Key`, from a peer with an address.
pub(crate) fn with_key(route: &str, key: &str) -> Builder {
    without_key(route).header("X-API-Key", key)
}

/// A request without a key.
pub(crate) fn without_key(route: &str) -> Builder {
    let (method, uri) = route.split_once(' ').unwrap();
    Request::builder().method(method).uri(uri).extension(Peer("203.0.113.9".parse().unwrap()))
}

/// The same request from a peer with this address.
pub(crate) fn from(request: Builder, address: &str) -> Builder {
    request.extension(Peer(address.parse().unwrap()))
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read<B: Body<Data = Bytes>>(response: Response<B>) -> Self
    where
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A member of the body, by JSON pointer, as text.
    pub(crate) fn member(&self, pointer: &str) -> String {
        match self.json().pointer(pointer) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// Checks the properties that every answer of the gate must have.
    pub(crate) fn check(&self, secrets: &[String]) {
        if self.status == 401 {
            assert!(self.headers.contains_key(WWW_AUTHENTICATE), "a 401 without a challenge: {self:?}");
        }
        if self.status >= 400 {
            assert_eq!(self.header(CACHE_CONTROL.as_str()), Some("no-store"), "{self:?}");
            assert!(self.headers.contains_key("x-request-id"), "{self:?}");
        }
        if matches!(self.status, 429 | 503) {
            let seconds: u64 = self.header(RETRY_AFTER.as_str()).unwrap().parse().unwrap();
            assert!(seconds >= 1, "{self:?}");
        }
        for secret in secrets {
            let shown =
                self.headers.values().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(secret));
            assert!(!shown && !self.body.contains(secret), "`{secret}` comes back: {self:?}");
        }
    }
}
