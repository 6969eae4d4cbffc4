//! The table: what is asked, by whom, and what becomes of it. It is data: whoever serves the routes can run it.

use tollgate::account::{AccountStatus, Subscription};
use tollgate::key::KeyStatus;
use tollgate::{Account, DenialKind, KeyRecord};

/// The balance of an account before a row, and the cost of requests that are not free.
pub(crate) const BALANCE: u64 = 100;
pub(crate) const COST: u64 = 10;

/// One scenario.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) route: &'static str,
    /// `{key}` stands for the row's key, here and in the route.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
    /// True if the key is stored.
    pub(crate) stored: bool,
    /// Changes the key and its account.
    pub(crate) prepare: fn(&mut KeyRecord, &mut Account),
    /// The number of identical requests that are sent before.
    pub(crate) before: usize,
    /// True if the request can be sent over HTTP/1.1 only.
    pub(crate) http1_alone: bool,
    pub(crate) expect: Expect,
}

/// The expected outcome of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// The handler answers, and this is what has been paid.
    Served { status: u16, paid: u64 },
    /// The gate refuses, and nothing is paid.
    Denied { status: u16, kind: DenialKind },
    /// The client leaves when the handler is at work, and this is what has been paid.
    Left { paid: u64 },
}

fn row(name: &'static str, route: &'static str, expect: Expect) -> Row {
    Row {
        name,
        route,
        headers: Vec::new(),
        body: String::new(),
        stored: true,
        prepare: |_, _| {},
        before: 0,
        http1_alone: false,
        expect,
    }
}

fn served(name: &'static str, route: &'static str, status: u16, paid: u64) -> Row {
    row(name, route, Expect::Served { status, paid })
}

fn denied(name: &'static str, route: &'static str, status: u16, kind: DenialKind) -> Row {
    row(name, route, Expect::Denied { status, kind })
}

impl Row {
    fn with(mut self, header: &'static str, value: &'static str) -> Self {
        self.headers.push((header, value));
        self
    }

    fn keyed(self) -> Self {
        self.with("x-api-key", "{key}")
    }

    fn of(mut self, prepare: fn(&mut KeyRecord, &mut Account)) -> Self {
        self.prepare = prepare;
        self.keyed()
    }

    fn sending(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }
}

/// All scenarios.
pub(crate) fn rows() -> Vec<Row> {
    [sources(), methods(), handlers(), keys(), accounts(), limits(), asked(), managed(), back_ends()].concat()
}

fn sources() -> Vec<Row> {
    use DenialKind::{Duplicate, InvalidFormat, Malformed, Missing, Unknown};

    let mut unknown = denied("a key that nobody knows", "GET /v1/data", 401, Unknown).keyed();
    unknown.stored = false;
    vec![
        served("a key in a header", "GET /v1/data", 200, COST).keyed(),
        served("a key in authorization", "GET /v1/data", 200, COST).with("authorization", "bearer {key}"),
        served("a key in the query", "GET /v1/data?a=1&api-key={key}&b=%31", 200, COST),
        served("a key in an encoded query", "GET /v1/data?api%2Dkey={key}", 200, COST),
        served("a key in header and query", "GET /v1/data?api-key=other", 200, COST).keyed(),
        denied("no key", "GET /v1/data", 401, Missing),
        denied("an empty key", "GET /v1/data?api-key={key}", 401, InvalidFormat).with("x-api-key", ""),
        denied("a scheme without a key", "GET /v1/data", 401, Malformed).with("authorization", "Bearer"),
        denied("a foreign scheme", "GET /v1/data", 401, Malformed).with("authorization", "Basic QTpC"),
        denied("two keys", "GET /v1/data", 401, Duplicate).keyed().keyed(),
        denied("two keys in the query", "GET /v1/data?api-key={key}&api-key={key}", 401, Duplicate),
        denied("no shape of a key", "GET /v1/data", 401, InvalidFormat).with("x-api-key", "acme_short"),
        unknown,
        denied("no key, where no route is", "GET /nowhere", 401, Missing),
        served("a public route", "GET /open", 200, 0),
        served("a key on a public route", "GET /open", 200, 0).with("x-api-key", "not even read"),
    ]
}

fn methods() -> Vec<Row> {
    use DenialKind::{MethodNotAllowed, Missing};

    let preflight = |row: Row| row.with("origin", "https://app.example");
    let asking = |row: Row| row.with("access-control-request-method", "GET");
    let mut upgraded = served("an upgrade", "GET /v1/echo", 101, COST).keyed();
    let mut refused = denied("an upgrade without a key", "GET /v1/echo", 401, Missing);
    for row in [&mut upgraded, &mut refused] {
        row.http1_alone = true;
        row.headers.extend([("connection", "upgrade"), ("upgrade", "echo")]);
    }
    vec![
        served("HEAD", "HEAD /v1/data", 200, COST).keyed(),
        denied("HEAD without a key", "HEAD /v1/data", 401, Missing),
        served("HEAD of a public route", "HEAD /open", 200, 0),
        served("POST", "POST /v1/data", 200, COST).keyed().sending("a body"),
        denied("POST without a key", "POST /v1/data", 401, Missing).sending("a body"),
        served("OPTIONS with a key", "OPTIONS /v1/data", 204, 0).keyed(),
        denied("OPTIONS", "OPTIONS /v1/data", 401, Missing),
        asking(preflight(served("a preflight", "OPTIONS /v1/data", 204, 0))),
        preflight(denied("half a preflight", "OPTIONS /v1/data", 401, Missing)),
        asking(denied("the other half of a preflight", "OPTIONS /v1/data", 401, Missing)),
        denied("TRACE", "TRACE /v1/data", 405, MethodNotAllowed).keyed(),
        upgraded,
        refused,
    ]
}

fn handlers() -> Vec<Row> {
    vec![
        served("a streaming body", "GET /v1/stream", 200, COST).keyed(),
        served("a handler that fails", "GET /v1/fails", 500, 0).keyed(),
        served("a handler that finds nothing", "GET /v1/lost", 404, COST).keyed(),
        served("a handler that reports a lower cost", "GET /v1/final", 200, 4).keyed(),
        row("a client that leaves", "GET /v1/slow", Expect::Left { paid: COST }).keyed(),
        row("a client that leaves a stream", "GET /v1/endless", Expect::Left { paid: COST }).keyed(),
    ]
}

fn keys() -> Vec<Row> {
    use DenialKind::{AddressNotAllowed, Expired, NotGranted, Paused, Revoked, RouteDenied, ScopeRequired};

    let away = denied("another address", "GET /v1/data", 401, AddressNotAllowed)
        .of(|key, _| key.allowlist = Some(vec!["203.0.113.0/24".parse().unwrap()]));
    let here = served("an address through a trusted proxy", "GET /v1/data", 200, COST)
        .of(|key, _| key.allowlist = Some(vec!["203.0.113.0/24".parse().unwrap()]));
    vec![
        denied("a revoked key", "GET /v1/data", 401, Revoked).of(|key, _| key.status = KeyStatus::Revoked),
        denied("a paused key", "GET /v1/data", 401, Paused).of(|key, _| key.status = KeyStatus::Paused),
        denied("an expired key", "GET /v1/data", 401, Expired)
            .of(|key, _| key.expires_at = Some("2026-04-30T12:00:00Z".parse().unwrap())),
        away.clone(),
        away.with("x-forwarded-for", "203.0.113.9, 198.51.100.1").named("an address that a client names"),
        here.with("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
        denied("another path", "GET /v1/data", 403, NotGranted)
            .of(|key, _| key.paths = Some(vec!["/v1/other/*".parse().unwrap()])),
        denied("an empty segment", "GET /v1//data", 403, RouteDenied).keyed(),
        denied("no scope for the route", "GET /v1/scoped", 403, ScopeRequired)
            .of(|key, _| key.scopes = Some(vec!["data:write".into()])),
        served("a scope for the route", "GET /v1/scoped", 200, 0)
            .of(|key, _| key.scopes = Some(vec!["data:read".into()])),
    ]
}

fn accounts() -> Vec<Row> {
    use DenialKind::{
        AccountDeleted, AccountSuspended, AgreementRequired, CreditsExhausted, Misconfigured, PlanRequired,
        RateLimited, SubscriptionRequired, WeightTooLarge,
    };

    let mut limited = denied("a quota that is used up", "GET /v1/free", 429, RateLimited)
        .of(|_, account| account.plan = "limited".into());
    limited.before = 2;
    let mut weighed = denied("a quota that a weight uses up", "GET /v1/weighed", 429, RateLimited)
        .of(|_, account| account.plan = "limited".into());
    weighed.before = 1;
    vec![
        served("a weight that a quota holds", "GET /v1/weighed", 200, 0)
            .of(|_, account| account.plan = "limited".into()),
        weighed,
        denied("a weight above a quota", "GET /v1/weighed", 400, WeightTooLarge)
            .of(|_, account| account.plan = "limited".into())
            .with("x-weight", "3"),
        denied("a suspended account", "GET /v1/data", 403, AccountSuspended)
            .of(|_, account| account.status = AccountStatus::Suspended),
        denied("a deleted account", "GET /v1/data", 403, AccountDeleted)
            .of(|_, account| account.status = AccountStatus::Deleted),
        denied("no subscription", "GET /v1/paid", 403, SubscriptionRequired).keyed(),
        served("a subscription", "GET /v1/paid", 200, 0)
            .of(|_, account| account.subscription = Some(Subscription::Active)),
        denied("nothing signed", "GET /v1/signed", 403, AgreementRequired).keyed(),
        denied("too low a plan", "GET /v1/pro", 403, PlanRequired).keyed(),
        denied("too few credits", "GET /v1/dear", 402, CreditsExhausted).keyed(),
        denied("a plan that is not configured", "GET /v1/data", 500, Misconfigured)
            .of(|_, account| account.plan = "nowhere".into()),
        limited,
    ]
}

fn limits() -> Vec<Row> {
    use DenialKind::{InvalidFormat, RateLimited, Unknown};

    let mut bad = denied("a bad key where none is needed", "GET /v1/ticker", 401, Unknown).keyed();
    bad.stored = false;
    // Each row has a network of its own.
    let from = |row: Row, address: &'static str| row.with("x-forwarded-for", address);
    let after = |mut row: Row, before: usize| {
        row.before = before;
        row
    };
    vec![
        after(served("a rule's quota that is not used up", "GET /v1/rare", 200, 0).keyed(), 1),
        after(denied("a rule's quota that is used up", "GET /v1/rare", 429, RateLimited).keyed(), 2),
        from(served("no key where none is needed", "GET /v1/ticker", 200, 0), "203.0.113.31"),
        from(after(denied("too many without a key", "GET /v1/ticker", 429, RateLimited), 2), "203.0.113.32"),
        after(served("a key where none is needed", "GET /v1/ticker", 200, 0).keyed(), 3),
        bad,
        denied("an empty key where none is needed", "GET /v1/ticker", 401, InvalidFormat)
            .with("x-api-key", ""),
        from(after(served("a public quota", "GET /status", 200, 0), 1), "203.0.113.21"),
        from(
            after(denied("a public quota that is used up", "GET /status", 429, RateLimited), 2),
            "203.0.113.22",
        ),
    ]
}

fn asked() -> Vec<Row> {
    use DenialKind::{ParameterAboveCap, ParameterForbidden, ParameterUnreadable, TooEarly};

    vec![
        denied("above a cap", "GET /v1/data?limit=51", 400, ParameterAboveCap).keyed(),
        denied("a forbidden parameter", "GET /v1/data?cursor=x", 400, ParameterForbidden).keyed(),
        denied("a number that is none", "GET /v1/data?limit=%2B5", 400, ParameterUnreadable).keyed(),
        served("a cost by the number asked for", "GET /v1/bulk?limit=7", 200, 7).keyed(),
        denied("early data that costs", "GET /v1/data", 425, TooEarly).keyed().with("early-data", "1"),
        served("early data that does no harm", "GET /v1/free", 200, 0).keyed().with("early-data", "1"),
    ]
}

fn managed() -> Vec<Row> {
    use DenialKind::{
        BodyTooLarge, Conflict, FeatureRequired, InvalidMember, KeyLimitReached, NotFound, TooWide,
        UnsupportedMediaType,
    };

    let name = r#"{"name": "another"}"#;
    let expiring = r#"{"name": "another", "expiresAt": "2099-12-31T00:00:00Z"}"#;
    let wider = r#"{"name": "another", "scopes": ["data:read"]}"#;
    let stranger = "GET /account/keys/0123f4567-89ab-7def-8123-456789abcdef";
    let nobodys = "GET /account/keys/01234567-89ab-7def-8123-456789abcdef";
    vec![
        served("a key that is issued", "POST /account/keys", 201, 0).keyed().sending(name),
        served("the list of keys", "GET /account/keys?limit=5", 200, 0).keyed(),
        denied("a list without a key", "GET /account/keys", 401, DenialKind::Missing),
        denied("a body that is none", "POST /account/keys", 400, InvalidMember).keyed().sending("{"),
        denied("an id that is none", stranger, 400, InvalidMember).keyed(),
        denied("a key that is not there", nobodys, 404, NotFound).keyed(),
        denied("too large a body", "POST /account/keys", 413, BodyTooLarge)
            .keyed()
            .sending("x".repeat(70_000)),
        denied("a body of a form", "POST /account/keys", 415, UnsupportedMediaType)
            .keyed()
            .with("content-type", "application/x-www-form-urlencoded")
            .sending(name),
        denied("a feature that the plan lacks", "POST /account/keys", 403, FeatureRequired)
            .keyed()
            .sending(expiring),
        denied("a restricted key that issues", "POST /account/keys", 403, DenialKind::ScopeRequired)
            .of(|key, _| key.scopes = Some(vec!["data:read".into()]))
            .sending(wider),
        denied("a wider key", "POST /account/keys", 403, TooWide)
            .of(|key, _| key.scopes = Some(vec!["data:write".into(), "keys:manage".into()]))
            .sending(wider),
        denied("one key too many", "POST /account/keys", 409, KeyLimitReached)
            .of(|_, account| account.plan = "single".into())
            .sending(name),
        denied("a dead key that is rotated", "POST /account/keys/{spare}/rotate", 409, Conflict).keyed(),
        denied("another method", "PUT /account/keys", 405, DenialKind::MethodNotAllowed).keyed(),
    ]
}

fn back_ends() -> Vec<Row> {
    let mut down = denied(OUTAGE, "GET /v1/data", 503, DenialKind::Unavailable).keyed();
    let mut broken = denied(PANIC, "GET /v1/data", 500, DenialKind::Internal).keyed();
    (down.stored, broken.stored) = (false, false);
    vec![down, broken]
}

/// The row whose key the store cannot look up.
pub(crate) const OUTAGE: &str = "a store that is down";

/// The row for whose key the store panics.
pub(crate) const PANIC: &str = "a store that panics";

impl Row {
    fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
}
