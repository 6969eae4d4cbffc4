//! A gate with its back ends in memory, and the steps that are played on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request};
use serde_json::Value;
use tollgate::adapter::Peer;
use tollgate::key::KeyHash;
use tollgate::store::AccountAdmin;
use tollgate::{
    Config, Credits, Gate, KeyManager, KeyRecord, KeyStore, ManualClock, MemoryLedger, MemoryStore,
    StoreFuture,
};

use crate::data::{Data, Fault};
use crate::driver;
use crate::expect::{Answer, check};
use crate::steps::{Advance, Repeat, Revoke, Sent, Sign, Step};

/// Counts how often the store is asked.
#[derive(Debug)]
struct Counted {
    store: Arc<MemoryStore>,
    asked: Arc<AtomicUsize>,
}

impl KeyStore for Counted {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.store.find(hash)
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&self.store).admin()
    }
}

/// The URIs of the calls that the wrapped service has received.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

pub(crate) struct Stage {
    gate: Gate,
    clock: ManualClock,
    store: Arc<MemoryStore>,
    ledger: Arc<MemoryLedger>,
    asked: Arc<AtomicUsize>,
    seen: Seen,
    saved: BTreeMap<String, String>,
}

/// Puts the data's accounts, balances and keys into the back ends.
fn seed(data: &Data, gate: &Gate, store: &MemoryStore, ledger: &MemoryLedger) -> Result<(), Fault> {
    let now = gate.clock().now().wall();
    for account in &data.accounts {
        store.put_account(account.account()?);
        if let Some(credits) = account.credits {
            ledger.set_balance(&account.id, Credits::new(credits), now);
        }
    }
    for key in &data.keys {
        let account = store.account(&key.account).ok_or_else(|| format!("key {} has no account", key.id))?;
        store.put_key(key.record(gate, account)?);
    }
    Ok(())
}

impl Stage {
    /// A gate as the provider's file describes it, with the data's plans, accounts and keys.
    pub(crate) fn set(data: &Data) -> Result<Self, Fault> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
        let mut config = Config::read(folder.join(format!("{}.toml", data.provider)))?;
        data.merge_plans(&mut config)?;
        let clock = ManualClock::starting_at(data.now.as_deref().ok_or("the file has no `now`")?.parse()?);
        let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        for record in config.demo_keys()? {
            store.put_key(record);
        }
        let counted = Counted { store: Arc::clone(&store), asked: Arc::clone(&asked) };
        let builder = config.builder()?.store(counted).ledger(Arc::clone(&ledger)).clock(clock.clone());
        let gate = builder.build()?;
        seed(data, &gate, &store, &ledger)?;
        Ok(Self { gate, clock, store, ledger, asked, seen: Seen::default(), saved: BTreeMap::new() })
    }

    pub(crate) async fn play(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::Exchange(exchange) => {
                let answer = self.send(&exchange.request).await?;
                check(&exchange.expect, &answer, &mut self.saved, |account| self.ledger.balance(account))
            }
            Step::Advance(Advance { advance_s }) => {
                self.clock.advance(Duration::from_secs(*advance_s));
                Ok(())
            }
            Step::Revoke(Revoke { revoke }) => self.revoke(&fill(revoke, &self.saved)).await,
            Step::Sign(Sign { sign }) => {
                let signed = self.store.change_account(&sign.account, |account| {
                    account.agreements.insert(sign.agreement.as_str().into());
                });
                if signed { Ok(()) } else { Err(format!("no account {}", sign.account).into()) }
            }
            Step::Repeat(Repeat { repeat, what }) => {
                for time in 1..=*repeat {
                    Box::pin(self.play(what)).await.map_err(|fault| format!("time {time}: {fault}"))?;
                }
                Ok(())
            }
        }
    }

    async fn revoke(&self, secret: &str) -> Result<(), Fault> {
        let hash = self.gate.hasher().hash(secret.as_bytes());
        let record = self.store.find(&hash).await?.ok_or("no such key to revoke")?;
        KeyManager::new(self.gate.clone())?.revoke(record.id).await?;
        Ok(())
    }

    async fn send(&self, sent: &Sent) -> Result<Answer, Fault> {
        self.asked.store(0, Ordering::SeqCst);
        log(&self.seen).clear();
        let (status, headers, body) =
            driver::exchange(&self.gate, Arc::clone(&self.seen), &self.request(sent)?).await?;
        let inner_uris = log(&self.seen).clone();
        Ok(Answer { status, headers, body, inner_uris, lookups: self.asked.load(Ordering::SeqCst) })
    }

    fn request(&self, sent: &Sent) -> Result<Request<String>, Fault> {
        let body = match &sent.body {
            None => String::new(),
            Some(Value::String(text)) => fill(text, &self.saved),
            Some(json) => fill(&json.to_string(), &self.saved),
        };
        let uri = fill(&sent.path, &self.saved);
        let mut request = Request::builder().method(sent.method.as_str()).uri(uri).body(body)?;
        for (name, value) in &sent.headers {
            let value = HeaderValue::from_bytes(fill(value, &self.saved).as_bytes())?;
            request.headers_mut().append(http::HeaderName::from_bytes(name.as_bytes())?, value);
        }
        if let Some(peer) = &sent.peer {
            request.extensions_mut().insert(Peer(peer.parse()?));
        }
        Ok(request)
    }
}

/// The wrapped service answers `ok` to everything, but a failure where one is asked for: the status of its answer.
pub(crate) fn wrapped(seen: &Seen, uri: String) -> u16 {
    let fails = uri.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "fail=500"));
    log(seen).push(uri);
    if fails { 500 } else { 200 }
}

fn log(seen: &Seen) -> MutexGuard<'_, Vec<String>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts saved values in place of their names; other braces stay as they are.
pub(crate) fn fill(text: &str, saved: &BTreeMap<String, String>) -> String {
    saved.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}
