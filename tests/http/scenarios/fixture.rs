//! A gate for the table, its keys, and what is noted while it runs.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderName;
use tollgate::account::{Allowance, NetworkCut, ParamLimit, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::gate::{AttemptLimit, TrustedProxies};
use tollgate::key::{KeyHash, KeyHasher, KeyStatus, Length};
use tollgate::rule::{Cost, ScopeRule, Weight};
use tollgate::store::AccountAdmin;
use tollgate::{
    Credits, DenialKind, Gate, GateBuilder, KeyFormat, KeyId, KeyRecord, KeySource, KeyStore, MemoryStore,
    Plan, Rule, StoreError, StoreFuture,
};

use crate::scenarios::rows::{BALANCE, COST, OUTAGE, PANIC, Row};
use crate::support::World;
use crate::support::faulty_back_ends::Later;
use crate::support::providers::public;

/// The records of the handlers and the gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    began: AtomicUsize,
    ended: tokio::sync::Notify,
    denials: Mutex<Vec<DenialKind>>,
}

impl Notes {
    /// A handler begins, and works until it is told to end.
    pub(crate) async fn work(&self) {
        let ended = self.0.ended.notified();
        self.0.began.fetch_add(1, Ordering::SeqCst);
        ended.await;
    }

    /// Tells the handlers at work to end.
    pub(crate) fn end(&self) {
        self.0.ended.notify_waiters();
    }

    pub(crate) fn began(&self) -> usize {
        self.0.began.load(Ordering::SeqCst)
    }

    /// The refusals since they were asked for last.
    pub(crate) fn denials(&self) -> Vec<DenialKind> {
        std::mem::take(&mut self.0.denials.lock().unwrap())
    }
}

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    pub(crate) notes: Notes,
}

/// A store that fails for one key, and panics for another.
#[derive(Debug, Clone)]
struct Partial {
    store: Arc<MemoryStore>,
    fails: KeyHash,
    panics: KeyHash,
}

impl KeyStore for Partial {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        if *hash == self.fails {
            return StoreFuture::failed(StoreError::unavailable("connection refused"));
        }
        assert_ne!(*hash, self.panics, "the store panics for this key");
        self.store.find(hash)
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&self.store).admin()
    }
}

/// The key of a row.
pub(crate) fn key(name: &str) -> String {
    let hash = KeyHasher::sha256().hash(name.as_bytes());
    let letters = hash.as_bytes()[..16].iter().map(|byte| format!("{byte:02x}"));
    format!("acme_{}", letters.collect::<String>())
}

impl Stage {
    /// A gate over back ends in memory that answer at once, or later.
    pub(crate) fn new(later: bool) -> Self {
        let mut rules = rules("GET");
        rules.push(priced("POST /v1/data", COST));
        Self::of(rules, later, |builder| builder)
    }

    /// The same for HTTP and gRPC, with a limit of three failed attempts a minute.
    pub(crate) fn of_guesses(later: bool) -> Self {
        let rules = ["GET", "POST"].map(|method| rule(&format!("{method} /v1/data"), &|_| {})).into();
        let limit = AttemptLimit::new("3 per minute".parse().unwrap()).unwrap();
        Self::of(rules, later, |builder| builder.attempts(limit))
    }

    /// The same for gRPC calls, whose method is POST.
    #[cfg(feature = "tonic")]
    pub(crate) fn of_calls(later: bool) -> Self {
        Self::of(rules("POST"), later, |builder| builder)
    }

    fn of(rules: Vec<Rule>, later: bool, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let (world, notes) = (World::new(), Notes::default());
        let [fails, panics] = [OUTAGE, PANIC].map(|name| KeyHasher::sha256().hash(key(name).as_bytes()));
        let store = Partial { store: Arc::clone(&world.store), fails, panics };
        let denials = notes.clone();
        let builder = if later {
            let (ledger, limiter) = (Later(Arc::clone(&world.ledger)), Later(Arc::clone(&world.limiter)));
            Gate::builder().store(Later(store)).ledger(ledger).limiter(limiter)
        } else {
            let (ledger, limiter) = (Arc::clone(&world.ledger), Arc::clone(&world.limiter));
            Gate::builder().store(store).ledger(ledger).limiter(limiter)
        };
        let mut builder = change(plans(builder, &world));
        if rules.iter().any(|rule| rule.anonymous) {
            builder = builder.anonymous("limited", NetworkCut::default());
        }
        let builder = rules.into_iter().fold(builder, GateBuilder::rule);
        let builder = builder.on_denial(move |denial| denials.0.denials.lock().unwrap().push(denial.kind()));
        let builder = builder.management("/account/keys");
        let gate = builder.management_scope("keys:manage").build().unwrap();
        Self { world, gate, notes }
    }

    /// Puts a row's key in, and one of the same account that is revoked: their ids.
    pub(crate) fn prepare(&self, row: &Row) -> Option<(KeyId, KeyId)> {
        if !row.stored {
            return None;
        }
        let id = self.world.key(&key(row.name), row.prepare);
        self.world.set_balance(id, BALANCE);
        let spare = KeyId::from_bytes((1_000_000 + u128::from_be_bytes(*id.as_bytes())).to_be_bytes());
        let hash = KeyHasher::sha256().hash(format!("spare {}", row.name).as_bytes());
        let mut record = KeyRecord::new(spare, hash, Arc::clone(&self.world.store.key(id).unwrap().account));
        record.status = KeyStatus::Revoked;
        self.world.store.put_key(record);
        Some((id, spare))
    }
}

fn plans(builder: GateBuilder, world: &World) -> GateBuilder {
    let plan = |name: &str, rank, change: fn(&mut Plan)| {
        let mut plan = Plan::new(name);
        plan.rank = Some(rank);
        plan.credits = Allowance::None;
        plan.caps =
            [("limit".to_owned(), ParamLimit::AtMost(50)), ("cursor".to_owned(), ParamLimit::Forbidden)]
                .into();
        change(&mut plan);
        plan
    };
    let proxies = TrustedProxies::new(["127.0.0.0/8".parse().unwrap()]);
    builder
        .clock(world.clock.clone())
        .source(KeySource::header("X-API-Key").unwrap())
        .source(KeySource::authorization("Bearer").unwrap())
        .source(KeySource::query("api-key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(plan("plain", 1, |_| {}))
        .plan(plan("pro", 2, |plan| plan.features = ["expiry".to_owned()].into()))
        .plan(plan("single", 1, |plan| plan.max_keys = Some(1)))
        .plan(plan("limited", 1, |plan| plan.quotas = vec!["2 per minute".parse().unwrap()]))
        .expiry_feature("expiry")
        .trusted_proxies(proxies)
        .limit_headers()
}

fn rule(route: &str, change: &dyn Fn(&mut Rule)) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    change(&mut rule);
    rule
}

fn priced(route: &str, cost: u64) -> Rule {
    rule(route, &|rule| rule.cost = Cost::Fixed(Credits::new(cost)))
}

/// Returns the rules of the table's routes for this method.
fn rules(method: &str) -> Vec<Rule> {
    let named = |path: &str| format!("{method} {path}");
    let costly = ["data", "stream", "fails", "lost", "final", "slow", "endless", "echo"];
    let costly = costly.map(|name| priced(&named(&format!("/v1/{name}")), COST));
    let bulk =
        Cost::PerUnit { parameter: "limit".into(), each: Credits::new(1), least: 1, default: 10, most: 50 };
    let weight =
        Weight::Header { header: HeaderName::from_static("x-weight"), least: 1, default: 2, most: 9 };
    let others = vec![
        rule(&named("/v1/weighed"), &|rule| rule.weight = weight.clone()),
        public(&named("/open")),
        rule(&named("/status"), &|rule| {
            rule.public = true;
            let counts = QuotaScope::Network(NetworkCut::default());
            let quota = "2 per minute".parse::<QuotaPolicy>().unwrap().counting(counts);
            rule.quotas = vec![QuotaRef::Policy(quota)];
        }),
        rule(&named("/v1/ticker"), &|rule| rule.anonymous = true),
        rule(&named("/v1/rare"), &|rule| rule.quotas = vec!["2 per minute".parse().unwrap()]),
        priced(&named("/v1/dear"), BALANCE + 1),
        rule(&named("/v1/bulk"), &|rule| rule.cost = bulk.clone()),
        rule(&named("/v1/scoped"), &|rule| rule.scopes = ScopeRule::AnyOf(vec!["data:read".into()])),
        rule("/v1/written", &|rule| rule.scopes = ScopeRule::AnyOf(vec!["data:write".into()])),
        rule(&named("/v1/pro"), &|rule| rule.min_plan = Some("pro".into())),
        rule(&named("/v1/paid"), &|rule| rule.subscription = true),
        rule(&named("/v1/signed"), &|rule| rule.agreements = vec!["terms".into()]),
    ];
    others.into_iter().chain(costly).collect()
}
