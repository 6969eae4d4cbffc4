//! The gate of this crate with all checks enabled.

use std::sync::Arc;

use tollgate::account::{Allowance, ParamLimit, Subscription};
use tollgate::clock::SystemClock;
use tollgate::key::{KeyHasher, Length};
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{
    Account, Clock, CreditLedger, Credits, Gate, GateBuilder, KeyFormat, KeyId, KeyRecord, KeySource,
    KeyStore, MemoryLedger, MemoryStore, Plan, Rule,
};

use super::world;

/// Returns a gate with these back ends, and with the plans, rules and formats of the bench, but without a source.
pub(crate) fn builder(store: impl KeyStore, ledger: impl CreditLedger) -> GateBuilder {
    settings(["1000000000 per minute", "4000000000 per day"]).store(store).ledger(ledger)
}

/// Returns the plans, rules and formats of the bench, with these quotas of the plan of its keys.
pub(crate) fn settings(pro: [&str; 2]) -> GateBuilder {
    let builder = Gate::builder()
        .format(KeyFormat::new(world::PREFIX, Length::exactly(32)).expect("a format"))
        .plan(plan("free", 1, ["60 per minute", "10000 per day"]))
        .plan(plan("starter", 2, ["1000000 per minute", "1000000000 per day"]))
        .plan(plan("pro", 3, pro));
    rules().into_iter().fold(builder, GateBuilder::rule)
}

/// Returns the key source of the bench.
pub(crate) fn header() -> KeySource {
    KeySource::header("X-API-Key").expect("a header")
}

/// Returns the same with a source and this number of keys, each of its own account.
pub(crate) fn with_keys(count: usize) -> GateBuilder {
    let (store, ledger) = (MemoryStore::new(), MemoryLedger::new());
    for number in 0..count {
        add(&store, &ledger, record(number, account(number)));
    }
    builder(store, ledger).source(header())
}

/// Returns the same with keys that have a quota of one request per day.
pub(crate) fn limited(count: usize) -> GateBuilder {
    let (store, ledger) = (MemoryStore::new(), MemoryLedger::new());
    for number in 0..count {
        let mut record = record(number, account(number));
        record.quotas = Some(vec!["1 per day".parse().expect("a quota")]);
        add(&store, &ledger, record);
    }
    builder(store, ledger).source(header())
}

/// Adds a key, with a balance that no bench exhausts.
pub(crate) fn add(store: &MemoryStore, ledger: &MemoryLedger, record: KeyRecord) {
    ledger.set_balance(record.account.id.as_str(), Credits::MAX, SystemClock::new().now().wall());
    store.put_key(record);
}

/// Returns an account that satisfies every rule.
pub(crate) fn account(number: usize) -> Account {
    let mut account = Account::new(format!("acct_{number}"), "pro");
    account.subscription = Some(Subscription::Active);
    account.agreements = ["terms".into(), "market-data".into()].into();
    account
}

/// Returns a restricted key that satisfies every rule.
pub(crate) fn record(number: usize, account: Account) -> KeyRecord {
    let id = KeyId::from_bytes((number as u128).to_be_bytes());
    let hash = KeyHasher::sha256().hash(world::key(number).as_bytes());
    let mut record = KeyRecord::new(id, hash, Arc::new(account));
    record.expires_at = Some("2099-12-31T00:00:00Z".parse().expect("a moment"));
    record.scopes = Some(vec!["quotes:read".into(), "candles:read".into()]);
    let paths = ["/v1/quotes/*", "/v1/candles/*", "/grpc.health.v1.Health/*"];
    record.paths = Some(paths.map(|path| path.parse().expect("a path")).into());
    record.allowlist = Some(world::NETWORKS.map(|net| net.parse().expect("a network")).into());
    record
}

fn plan(name: &str, rank: u32, quotas: [&str; 2]) -> Plan {
    let mut plan = Plan::new(name);
    plan.rank = Some(rank);
    plan.quotas = quotas.map(|quota| quota.parse().expect("a quota")).into();
    plan.credits = Allowance::None;
    plan.caps =
        [("limit".to_owned(), ParamLimit::AtMost(1_000)), ("cursor".to_owned(), ParamLimit::Forbidden)]
            .into();
    plan
}

fn rules() -> Vec<Rule> {
    let mut health = Rule::new("GET /health").expect("a route");
    health.public = true;
    let guarded = [
        ("GET /v1/candles/{symbol}", "candles:read", 1),
        ("GET /v1/quotes/{symbol}", "quotes:read", 1),
        ("GET /v1/trades/{symbol}", "trades:read", 2),
        ("GET /v1/news", "news:read", 1),
        ("GET /v1/backtests/{id}", "backtests:read", 1),
        ("POST /v1/backtests", "backtests:write", 10),
        ("POST /grpc.health.v1.Health/*", "candles:read", 1),
    ];
    let guarded = guarded.map(|(route, scope, cost)| guarded_rule(route, scope, cost));
    [health].into_iter().chain(guarded).collect()
}

fn guarded_rule(route: &str, scope: &str, cost: u64) -> Rule {
    let mut rule = Rule::new(route).expect("a route");
    rule.scopes = ScopeRule::AnyOf(vec![scope.into()]);
    rule.cost = Cost::Fixed(Credits::new(cost));
    rule.min_plan = Some("starter".into());
    rule.agreements = vec!["terms".into()];
    rule.subscription = true;
    rule
}
