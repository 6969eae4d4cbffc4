//! A gate with its back ends in memory, before a service that tells what it saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use tollgate::adapter::Peer;
use tollgate::key::{KeyHash, KeyStatus};
use tollgate::{
    Account, Config, ConfigError, Gate, GateBuilder, KeyId, KeyRecord, KeyStore, ManualClock, MemoryLedger,
    MemoryStore, Principal, StoreError, StoreFuture, TollgateService,
};
use tower::{ServiceExt, service_fn};

/// The beginning of every file that sets nothing else.
pub(crate) const HEAD: &str =
    "sources = [{ header = \"X-API-Key\" }]\nformats = [{ prefix = \"acme_\", body = 8, issue = false }]\n";

/// The start time of the clock.
pub(crate) const START: &str = "2026-03-28T22:30:00Z";

/// Requests: `GET /path; header: value; peer 192.0.2.1`, or `+90s` to let time pass. With `; store down` at the end the store
/// does not answer.
pub(crate) type Script<'s> = &'s [&'s str];

/// A refusal as the operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) kind: &'static str,
    pub(crate) key: Option<KeyId>,
    pub(crate) problem: Option<String>,
}

/// The service's view of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) account: Option<String>,
}

/// An answer, and what happened behind it.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) seen: Option<Seen>,
    pub(crate) refusal: Option<Refusal>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn kind(&self) -> Option<&str> {
        self.refusal.as_ref().map(|refusal| refusal.kind)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A store that may be down.
#[derive(Debug)]
struct Reachable {
    store: Arc<MemoryStore>,
    down: Arc<AtomicBool>,
}

impl KeyStore for Reachable {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        if self.down.load(Ordering::SeqCst) {
            return StoreFuture::failed(StoreError::timed_out());
        }
        self.store.find(hash)
    }
}

pub(crate) struct Stage {
    pub(crate) gate: Gate,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) clock: ManualClock,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    down: Arc<AtomicBool>,
}

impl Stage {
    pub(crate) fn of(builder: GateBuilder) -> Result<Self, ConfigError> {
        let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
        let clock = ManualClock::starting_at(START.parse()?);
        let down = Arc::new(AtomicBool::new(false));
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&refusals);
        let gate = builder
            .store(Reachable { store: Arc::clone(&store), down: Arc::clone(&down) })
            .ledger(Arc::clone(&ledger))
            .clock(clock.clone())
            .on_denial(move |denial| {
                let problem = denial.operator_problem();
                told.lock().unwrap().push(Refusal { kind: denial.kind().name(), key: denial.key(), problem });
            })
            .build()?;
        Ok(Self { gate, store, ledger, clock, refusals, down })
    }

    /// The gate that a file describes, its demo keys in the store.
    pub(crate) fn of_file(toml: &str) -> Result<Self, ConfigError> {
        let text = if toml.contains("sources") { toml.to_owned() } else { format!("{HEAD}{toml}") };
        let config = Config::from_toml(&text, "acme.toml")?;
        let stage = Self::of(config.builder()?)?;
        config.demo_keys()?.into_iter().for_each(|record| stage.store.put_key(record));
        Ok(stage)
    }

    /// An account with an active key, changed before they are put in.
    pub(crate) fn put(&self, secret: &str, plan: &str, change: impl FnOnce(&mut Account, &mut KeyRecord)) {
        let mut account = Account::new(format!("account of {secret}"), plan);
        let id = secret.bytes().fold([0; 16], |mut id, byte| {
            id.rotate_left(1);
            id[0] ^= byte;
            id
        });
        let hash = self.gate.hasher().hash(secret.as_bytes());
        let mut record = KeyRecord::new(KeyId::from_bytes(id), hash, Arc::new(account.clone()));
        assert_eq!(record.status, KeyStatus::Active);
        change(&mut account, &mut record);
        record.account = self.store.put_account(account);
        self.store.put_key(record);
    }

    pub(crate) async fn play(&self, script: Script<'_>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for line in script {
            self.down.store(line.ends_with("; store down"), Ordering::SeqCst);
            let line = line.trim_end_matches("; store down");
            match line.strip_prefix('+').and_then(|time| time.strip_suffix('s')) {
                Some(seconds) => self.clock.advance(Duration::from_secs_f64(seconds.parse().unwrap())),
                None => answers.push(self.send(request(line)).await),
            }
        }
        answers
    }

    pub(crate) async fn send(&self, request: Request<String>) -> Answer {
        let seen = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&seen);
        let service = service_fn(move |request: Request<String>| {
            let account = request.extensions().get::<Principal>().map(|who| who.account().id.to_string());
            let (uri, headers) = (request.uri().to_string(), request.headers().clone());
            *noted.lock().unwrap() = Some(Seen { uri, headers, account });
            std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(
                "served",
            )))))
        });
        self.refusals.lock().unwrap().clear();
        let response = TollgateService::new(service, self.gate.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let refusal = self.refusals.lock().unwrap().first().cloned();
        let seen = seen.lock().unwrap().take();
        Answer { status: head.status.as_u16(), headers: head.headers, body, seen, refusal }
    }
}

fn request(line: &str) -> Request<String> {
    let mut parts = line.split("; ");
    let (method, uri) = parts.next().and_then(|start| start.split_once(' ')).unwrap();
    let request = Request::builder().method(method).uri(uri).body(String::new());
    let mut request = request.unwrap_or_else(|error| panic!("{line}: {error}"));
    for part in parts {
        if let Some(peer) = part.strip_prefix("peer ") {
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        } else {
            let (name, value) = part.split_once(": ").unwrap();
            request.headers_mut().append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
    }
    // New ids are random: a request that names itself is answered the same by two gates.
    request.headers_mut().entry("x-request-id").or_insert(http::HeaderValue::from_static("r1"));
    request
}

/// Plays a script on the gate that a file describes and on the one that a builder makes: they must answer the same.
pub(crate) async fn both(
    toml: &str,
    build: impl FnOnce(GateBuilder) -> Result<GateBuilder, ConfigError>,
    seed: impl Fn(&Stage),
    script: Script<'_>,
) -> Vec<Answer> {
    let (by_file, by_code) =
        (Stage::of_file(toml).unwrap(), Stage::of(build(Gate::builder()).unwrap()).unwrap());
    seed(&by_file);
    seed(&by_code);
    let (filed, coded) = (by_file.play(script).await, by_code.play(script).await);
    for ((line, filed), coded) in script.iter().filter(|line| !line.starts_with('+')).zip(&filed).zip(&coded)
    {
        assert_eq!(filed, coded, "{line}: by the file, and by the builder");
    }
    filed
}

pub(crate) fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

pub(crate) fn kinds(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.kind().unwrap_or("served")).collect()
}
