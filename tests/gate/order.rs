//! The order of the checks, as a generated table, and what a refusal leaves untouched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::{Arc, Mutex};

use http::request::Builder;
use support::{World, with_key};
use tollgate::account::{QuotaPolicy, Quotas, ShadowChecks};
use tollgate::key::KeyStatus;
use tollgate::limit::{Draw, WindowStatus};
use tollgate::rule::Cost;
use tollgate::telemetry::{DecisionEvent, DecisionSink};
use tollgate::{Clock, Credits, DenialKind, Gate, GateBuilder, Plan, RateLimiter, Rule};
use tower::{Layer, ServiceExt};

/// The conditions that fail, in the order in which Kwery's document checks them, and what each answers.
const FAILING: [(&str, u16, &str); 10] = [
    ("bad format", 401, "invalid_api_key"),
    ("unknown", 401, "invalid_api_key"),
    ("revoked or expired", 401, "api_key_revoked"),
    ("paused", 401, "api_key_paused"),
    ("suspended", 403, "account_suspended"),
    ("bad address", 401, "invalid_api_key"),
    ("over per second", 429, "rate_limit_exceeded"),
    ("over per minute", 429, "rate_limit_exceeded"),
    ("no credits", 402, "credits_exhausted"),
    ("no scope or path", 403, "plan_required"),
];

/// One row of the table: which of the conditions fail.
#[derive(Clone, Copy)]
struct Row(usize);

impl Row {
    fn fails(self, condition: &str) -> bool {
        let place = FAILING.iter().position(|(name, ..)| *name == condition).unwrap();
        self.0 & (1 << place) != 0
    }

    fn expected(self) -> (u16, &'static str) {
        let first = FAILING.iter().enumerate().find(|(place, _)| self.0 & (1 << place) != 0);
        first.map_or((200, ""), |(_, (_, status, code))| (*status, *code))
    }

    fn name(self) -> String {
        let failing = FAILING.iter().enumerate().filter(|(place, _)| self.0 & (1 << place) != 0);
        format!("{:?}", failing.map(|(_, (name, ..))| *name).collect::<Vec<_>>())
    }

    fn secret(self) -> String {
        if self.fails("bad format") { format!("k{}", self.0) } else { format!("kwery_live_{:010}", self.0) }
    }

    fn plan(self) -> String {
        format!("{}-{}", self.fails("over per second"), self.fails("over per minute"))
    }

    /// One request exhausts the windows that are to be exhausted, and leaves room in the others.
    fn quotas(self) -> [QuotaPolicy; 2] {
        let of = |exhausted, window: &str| {
            format!("{} per {window}", if exhausted { 1 } else { 50 }).parse().unwrap()
        };
        [of(self.fails("over per second"), "second"), of(self.fails("over per minute"), "minute")]
    }
}

fn gate(world: &World) -> Gate {
    over(world).build().unwrap()
}

fn over(world: &World) -> GateBuilder {
    let mut rule = Rule::new("GET /v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(1));
    let plans = (0..4).map(|place| Row(place << 6)).map(|row| {
        let mut plan = Plan::new(row.plan());
        plan.quotas.extend(row.quotas().map(tollgate::account::QuotaRef::Policy));
        plan
    });
    plans.fold(world.kwery().rule(rule), GateBuilder::plan)
}

/// Makes the row's conditions true; says how the windows stand when the request comes.
async fn arrange(world: &World, row: Row) -> (tollgate::KeyId, Vec<WindowStatus>) {
    // A key that does not exist has a record all the same, under another secret: its windows and balance can be told.
    let secret = if row.fails("unknown") { format!("elsewhere-{}", row.0) } else { row.secret() };
    let id = world.key(&secret, |record, account| {
        account.plan = row.plan().as_str().into();
        record.status = match (row.fails("revoked or expired"), row.fails("paused")) {
            (true, false) => KeyStatus::Revoked,
            (_, true) => KeyStatus::Paused,
            (false, false) => KeyStatus::Active,
        };
        if row.fails("revoked or expired") && row.fails("paused") {
            record.expires_at = Some(world.clock.now().wall());
        }
        if row.fails("suspended") {
            account.status = tollgate::account::AccountStatus::Suspended;
        }
        let allowed = if row.fails("bad address") { "198.51.100.0/24" } else { "203.0.113.0/24" };
        record.allowlist = Some(vec![allowed.parse().unwrap()]);
        let path = if row.fails("no scope or path") { "/v1/trades" } else { "/v1/candles" };
        record.paths = Some(vec![path.parse().unwrap()]);
    });
    world.set_balance(id, if row.fails("no credits") { 0 } else { 10 });
    let _ = world
        .limiter
        .draw(&Draw::new(&world.store.key(id).unwrap(), &quotas(row), world.clock.now()))
        .await
        .unwrap();
    (id, windows(world, row, id).await)
}

fn quotas(row: Row) -> Quotas {
    Quotas::new(row.quotas())
}

async fn windows(world: &World, row: Row, id: tollgate::KeyId) -> Vec<WindowStatus> {
    let record = world.store.key(id).unwrap();
    world.limiter.peek(&Draw::new(&record, &quotas(row), world.clock.now())).await.unwrap()
}

fn request(row: Row) -> Builder {
    with_key("GET /v1/candles", &row.secret())
}

#[tokio::test]
async fn first_failing_check_decides() {
    let world = World::new();
    let gate = gate(&world);
    for row in (0..1 << FAILING.len()).map(Row) {
        let (id, drawn) = arrange(&world, row).await;
        let before = (world.calls(), world.balance(id));
        let answer = world.send(&gate, request(row)).await;
        let (status, code) = row.expected();
        assert_eq!(answer.status, status, "{}: {answer:?}", row.name());
        let served = status == 200;
        let told = if served { String::new() } else { answer.member("/error") };
        assert_eq!(told, code, "{}", row.name());
        let after = (world.calls(), world.balance(id));
        assert_eq!(after, if served { (before.0 + 1, before.1 - 1) } else { before }, "{}", row.name());
        assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0, "{}", row.name());
        // A cell that all windows gave stays drawn, whatever a later check says.
        let passed_limits = served || matches!(code, "credits_exhausted" | "plan_required");
        let now = windows(&world, row, id).await;
        assert_eq!(now != drawn, passed_limits, "{}: {drawn:?} became {now:?}", row.name());
    }
}

/// Counts the kinds that events tell as denied in shadow.
#[derive(Debug, Clone, Default)]
struct Shadow(Arc<Mutex<Vec<Option<DenialKind>>>>);

impl DecisionSink for Shadow {
    fn record(&self, event: &DecisionEvent<'_>) {
        assert_eq!(event.outcome.name(), "admitted");
        self.0.lock().unwrap().push(event.shadow);
    }
}

#[tokio::test]
async fn shadow_changes_no_answer_of_any_row() {
    let world = World::new();
    let told = Shadow::default();
    let gate = over(&world).shadow(ShadowChecks::ALL).decision_sink(told.clone()).build().unwrap();
    for row in (0..1 << FAILING.len()).map(Row) {
        let (id, drawn) = arrange(&world, row).await;
        let before = world.balance(id);
        // Twice, so that the windows in shadow are exhausted too.
        for _ in 0..2 {
            told.0.lock().unwrap().clear();
            assert_eq!(world.send(&gate, request(row)).await.status, 200, "{}", row.name());
        }
        // What would have been answered is told.
        let kinds = told.0.lock().unwrap().clone();
        let told = kinds[0].map_or(200, |kind| kind.status().as_u16());
        assert_eq!((kinds.len(), told), (1, row.expected().0), "{}: {kinds:?}", row.name());
        // Nothing was charged, and no window that is in force was drawn from.
        assert_eq!(world.balance(id), before, "{}", row.name());
        assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
        assert_eq!(windows(&world, row, id).await, drawn, "{}", row.name());
    }
}

#[tokio::test]
async fn refusal_wait_is_the_longest_window() {
    for (condition, seconds) in [("over per second", 1), ("over per minute", 60)] {
        let world = World::new();
        let row = Row(1 << FAILING.iter().position(|(name, ..)| *name == condition).unwrap());
        let gate = gate(&world);
        arrange(&world, row).await;
        let answer = world.send(&gate, request(row)).await;
        assert_eq!(answer.json()["retry_after"], seconds, "{condition}");
        assert_eq!(answer.header("retry-after"), Some(seconds.to_string().as_str()), "{condition}");
    }
}

#[tokio::test]
async fn another_check_order_decides_differently() {
    use tollgate::gate::Check::{AccountStatus, Addresses, Format, KeyStatus, LookUp};
    let rows = [
        ([KeyStatus, AccountStatus, Addresses], 401, "revoked"),
        ([AccountStatus, KeyStatus, Addresses], 403, "account_suspended"),
        ([Addresses, AccountStatus, KeyStatus], 401, "unknown"),
    ];
    for (order, status, code) in rows {
        let world = World::new();
        world.key("kwery_live_0123456789", |record, account| {
            record.status = tollgate::key::KeyStatus::Revoked;
            record.allowlist = Some(vec![]);
            account.status = tollgate::account::AccountStatus::Suspended;
        });
        let gate = world.kwery().order([&[Format, LookUp], &order[..]].concat());
        let shape = tollgate::respond::ErrorFormat::json(r#"{"error": "{code}"}"#).unwrap();
        let gate = gate.error_format(shape).build().unwrap();
        let answer = world.send(&gate, with_key("GET /", "kwery_live_0123456789")).await;
        assert_eq!((answer.status, answer.member("/error").as_str()), (status, code), "{order:?}");
    }
}

#[tokio::test]
async fn unknown_plan_is_told_after_record_checks() {
    use tollgate::gate::Check::{Addresses, Format, KeyStatus, LookUp, ParamLimits, Plan, RateLimits};
    type Change = fn(&mut tollgate::KeyRecord, &mut tollgate::Account);
    let fine: Change = |_, _| {};
    let denied: Change = |record, _| record.allowlist = Some(vec![]);
    let revoked: Change = |record, _| record.status = tollgate::key::KeyStatus::Revoked;
    let expired: Change = |record, _| record.expires_at = Some(tollgate::clock::Timestamp::from_millis(0));
    let suspended: Change = |_, account| account.status = tollgate::account::AccountStatus::Suspended;
    let no_path: Change = |record, _| record.paths = Some(vec!["/other".parse().unwrap()]);
    let rows: [(&str, Change, &[tollgate::gate::Check], u16, &str); 9] = [
        ("nothing else", fine, &[], 500, "misconfigured"),
        ("address", denied, &[], 401, "unknown"),
        ("revoked", revoked, &[], 401, "revoked"),
        ("expired", expired, &[], 401, "expired"),
        ("suspended", suspended, &[], 403, "account_suspended"),
        ("path", no_path, &[], 403, "not_granted"),
        ("plan before addresses", denied, &[Plan, Addresses], 500, "misconfigured"),
        ("caps before status", revoked, &[Addresses, ParamLimits, KeyStatus], 500, "misconfigured"),
        ("limits before addresses", denied, &[RateLimits, Addresses], 500, "misconfigured"),
    ];
    let unknown: [(&str, Change); 2] = [
        ("plan", |_, account| account.plan = "nowhere".into()),
        ("quota", |record, _| record.quotas = Some(vec![tollgate::account::QuotaRef::Named("none".into())])),
    ];
    for ((name, change, order, status, code), (what, unknown)) in
        rows.into_iter().flat_map(|row| unknown.map(|unknown| (row, unknown)))
    {
        let world = World::new();
        world.key(GOOD, |record, account| {
            unknown(record, account);
            change(record, account);
        });
        let shape = tollgate::respond::ErrorFormat::json(r#"{"error": "{code}"}"#).unwrap();
        let gate = world.kwery().order([&[Format, LookUp], order].concat()).error_format(shape);
        let answer = world.send(&gate.build().unwrap(), with_key("GET /", GOOD)).await;
        let told = (answer.status, answer.member("/error"));
        assert_eq!(told, (status, code.to_owned()), "{name}, unknown {what}");
    }
}

/// A key that every rule of [`two_rules`] lets in, but for its paths.
const GOOD: &str = "kwery_live_0123456789";

/// A gate whose rules ask for all that a record can lack.
fn two_rules(world: &World) -> Gate {
    let rule = |route: &str, scope: &str| {
        let mut rule = Rule::new(route).unwrap();
        rule.scopes = tollgate::rule::ScopeRule::AnyOf(vec![scope.into()]);
        rule.agreements = vec!["terms".into()];
        rule.subscription = true;
        rule.min_plan = Some("high".into());
        rule
    };
    let plan = |name: &str, rank| {
        let mut plan = Plan::new(name);
        plan.rank = Some(rank);
        plan
    };
    let builder = world.kwery().plan(plan("low", 1)).plan(plan("high", 2));
    builder
        .rule(rule("GET /v1/quotes/{symbol}", "quotes"))
        .rule(rule("GET /v1/news", "news"))
        .build()
        .unwrap()
}

fn with_paths(world: &World, paths: &[&str]) -> tollgate::KeyId {
    world.key(GOOD, |record, account| {
        record.scopes = Some(vec!["quotes".into()]);
        record.paths = Some(paths.iter().map(|path| path.parse().unwrap()).collect());
        account.plan = "high".into();
        account.agreements.insert("terms".into());
        account.subscription = Some(tollgate::account::Subscription::Active);
    })
}

#[tokio::test]
async fn admission_on_one_path_excuses_no_other() {
    let cases = [
        (&["/v1/quotes/*", "/v1/news"][..], "GET /v1/quotes/BTC", 200),
        (&["/v1/quotes/*", "/v1/news"], "GET /v1/quotes/ETH", 200),
        (&["/v1/quotes/*", "/v1/news"], "GET /v1/quotes/%2e%2e", 403),
        (&["/v1/quotes/*", "/v1/news"], "GET /v1/quotes/a%2fb", 403),
        (&["/v1/quotes/*", "/v1/news"], "GET /v1/quotes/BTC/x", 403),
        (&["/v1/quotes/*", "/v1/news"], "GET /v1/news", 403),
        (&["/v1/quotes/BTC"], "GET /v1/quotes/BTC", 200),
        (&["/v1/quotes/BTC"], "GET /v1/quotes/ETH", 403),
        (&["/v1/quotes/BTC/*"], "GET /v1/quotes/BTC", 403),
    ];
    for (paths, route, status) in cases {
        let world = World::new();
        let gate = two_rules(&world);
        with_paths(&world, paths);
        for _ in 0..3 {
            world.send(&gate, with_key("GET /v1/quotes/BTC", GOOD)).await;
            assert_eq!(world.send(&gate, with_key(route, GOOD)).await.status, status, "{paths:?}: {route}");
        }
    }
}

#[tokio::test]
async fn changed_account_is_checked_again() {
    type Change = fn(&mut tollgate::Account);
    let changes: [(Change, &str); 5] = [
        (|account| account.status = tollgate::account::AccountStatus::Suspended, "suspended"),
        (|account| account.subscription = None, "unpaid"),
        (|account| account.agreements.clear(), "unsigned"),
        (|account| account.plan = "low".into(), "a lower plan"),
        (|account| account.status = tollgate::account::AccountStatus::Deleted, "deleted"),
    ];
    for (change, name) in changes {
        let world = World::new();
        let gate = two_rules(&world);
        let id = with_paths(&world, &["/v1/quotes/*"]);
        for _ in 0..3 {
            assert_eq!(world.send(&gate, with_key("GET /v1/quotes/BTC", GOOD)).await.status, 200);
        }
        assert!(world.store.change_account(&world.account_of(id), change));
        assert_eq!(world.send(&gate, with_key("GET /v1/quotes/BTC", GOOD)).await.status, 403, "{name}");
    }
}

/// A record points to what it comes to at one gate. Whichever gate that is, another judges the record by its own rules.
#[tokio::test]
async fn admission_at_one_gate_excuses_no_other() {
    type Ask = fn(&mut Rule);
    let asks: [(Ask, &str); 3] = [
        (|rule| rule.scopes = tollgate::rule::ScopeRule::AnyOf(vec!["news".into()]), "a scope"),
        (|rule| rule.agreements.push("more terms".into()), "an agreement"),
        (|rule| rule.min_plan = Some("higher".into()), "a higher plan"),
    ];
    let plan = |name: &str, rank| {
        let mut plan = Plan::new(name);
        plan.rank = Some(rank);
        plan
    };
    for ((ask, name), strict_first) in asks.into_iter().flat_map(|ask| [(ask, false), (ask, true)]) {
        let world = World::new();
        with_paths(&world, &["/v1/quotes/*"]);
        let open = two_rules(&world);
        let mut rule = Rule::new("GET /v1/quotes/{symbol}").unwrap();
        rule.scopes = tollgate::rule::ScopeRule::AnyOf(vec!["quotes".into()]);
        ask(&mut rule);
        let strict = world.kwery().plan(plan("high", 2)).plan(plan("higher", 3)).rule(rule).build().unwrap();
        let ask_for = || with_key("GET /v1/quotes/BTC", GOOD);
        if strict_first {
            assert_eq!(world.send(&strict, ask_for()).await.status, 403, "{name}");
        }
        for _ in 0..3 {
            assert_eq!(world.send(&open, ask_for()).await.status, 200, "{name}");
            assert_eq!(world.send(&strict, ask_for()).await.status, 403, "{name}");
            // The same where a request passes the one and then the other.
            for gates in [[&open, &strict], [&strict, &open]] {
                let [outer, inner] = gates.map(|gate| tollgate::TollgateLayer::new(gate.clone()));
                let service = outer.layer(inner.layer(world.inner.clone()));
                let request = ask_for().body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
                assert_eq!(service.oneshot(request).await.unwrap().status(), 403, "{name}");
            }
        }
        assert_eq!(world.calls(), 3, "{name}");
    }
}
