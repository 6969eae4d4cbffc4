//! A hand-written middleware with the same checks in the same order as the gate. It uses axum's `from_fn`, sha2, moka in front
//! of the database, and governor.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use moka::sync::Cache;
use serde_json::json;
use sha2::{Digest, Sha256};
use tollgate::adapter::Peer;
use tower::{Layer, Service, service_fn};

use super::world;

type KeyHash = [u8; 32];

/// The application's state.
struct App {
    /// The keys, in place of a database.
    database: HashMap<KeyHash, Arc<Key>>,
    cache: Cache<KeyHash, Arc<Key>>,
    routes: HashMap<Method, matchit::Router<Route>>,
    caps: Vec<(&'static str, u64)>,
    per_minute: DefaultKeyedRateLimiter<u64>,
    per_day: DefaultKeyedRateLimiter<u64>,
    balances: DashMap<u64, u64>,
}

struct Key {
    id: u64,
    active: bool,
    expires_at: SystemTime,
    account: Arc<Account>,
    scopes: Vec<String>,
    paths: Vec<String>,
    allowlist: Vec<IpNet>,
}

struct Account {
    id: u64,
    active: bool,
    subscribed: bool,
    agreements: BTreeSet<String>,
    plan_rank: u32,
}

/// The requirements of a route.
struct Route {
    public: bool,
    scope: &'static str,
    min_rank: u32,
    agreement: &'static str,
    cost: u64,
}

/// An admitted request with its charge.
struct Admitted {
    account: u64,
    cost: u64,
}

/// A boxed service that can be cloned.
pub(crate) trait Answers: Service<Request> + Clone + 'static {}

impl<S: Service<Request> + Clone + 'static> Answers for S {}

/// A quota per day that no bench exhausts.
pub(crate) const UNLIMITED: NonZeroU32 = NonZeroU32::MAX;

/// One request per day.
pub(crate) const ONCE: NonZeroU32 = NonZeroU32::MIN;

/// Returns the middleware around the service of the bench, with this number of keys, each with this quota per day.
pub(crate) fn service(keys: usize, per_day: NonZeroU32) -> impl Answers {
    from_fn_with_state(Arc::new(App::new(keys, per_day)), gate).layer(service_fn(world::handler))
}

/// Adds the middleware around all routes of a router.
pub(crate) fn around(router: Router, keys: usize) -> Router {
    router.layer(from_fn_with_state(Arc::new(App::new(keys, UNLIMITED)), gate))
}

async fn gate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let admitted = match app.admit(&request) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.into_response(),
    };
    let response = next.run(request).await;
    if let Some(admitted) = admitted.filter(|_| response.status().is_server_error()) {
        app.refund(&admitted);
    }
    response
}

impl App {
    fn admit(&self, request: &Request) -> Result<Option<Admitted>, Refusal> {
        let path = request.uri().path();
        let routed = self.routes.get(request.method()).and_then(|routes| routes.at(path).ok());
        let route =
            routed.map(|found| found.value).ok_or(Refusal::of(StatusCode::NOT_FOUND, "no such route"))?;
        if route.public {
            return Ok(None);
        }
        let key = self.authenticate(request)?;
        check_account(&key.account, route)?;
        check_address(&key, request)?;
        check_scopes(&key, route, path)?;
        self.check_caps(request)?;
        self.check_rate(&key)?;
        self.charge(&key.account, route.cost)?;
        Ok(Some(Admitted { account: key.account.id, cost: route.cost }))
    }

    fn authenticate(&self, request: &Request) -> Result<Arc<Key>, Refusal> {
        let unauthorized = |detail| Refusal::of(StatusCode::UNAUTHORIZED, detail);
        let mut sent = request.headers().get_all("x-api-key").iter();
        let presented = sent.next().ok_or(unauthorized("the API key is missing"))?.as_bytes();
        if sent.next().is_some() {
            return Err(unauthorized("there is more than one API key"));
        }
        let body = presented.strip_prefix(world::PREFIX.as_bytes());
        if !body.is_some_and(|body| body.len() == 32 && body.iter().all(u8::is_ascii_alphanumeric)) {
            return Err(unauthorized("the API key is malformed"));
        }
        let key =
            self.find(Sha256::digest(presented).into()).ok_or(unauthorized("the API key is unknown"))?;
        if !key.active || key.expires_at <= SystemTime::now() {
            return Err(unauthorized("the API key was revoked or has expired"));
        }
        Ok(key)
    }

    fn find(&self, hash: KeyHash) -> Option<Arc<Key>> {
        self.cache.get(&hash).or_else(|| {
            let key = Arc::clone(self.database.get(&hash)?);
            self.cache.insert(hash, Arc::clone(&key));
            Some(key)
        })
    }

    fn check_caps(&self, request: &Request) -> Result<(), Refusal> {
        let query = request.uri().query().unwrap_or_default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let Some((_, most)) = self.caps.iter().find(|(capped, _)| *capped == name) else { continue };
            if value.parse::<u64>().map_or(true, |asked| asked > *most) {
                return Err(Refusal::of(StatusCode::BAD_REQUEST, "a parameter is not allowed"));
            }
        }
        Ok(())
    }

    fn check_rate(&self, key: &Key) -> Result<(), Refusal> {
        let within = self.per_minute.check_key(&key.id).is_ok() && self.per_day.check_key(&key.id).is_ok();
        if within {
            Ok(())
        } else {
            Err(Refusal::of(StatusCode::TOO_MANY_REQUESTS, "the rate limit is exceeded"))
        }
    }

    fn charge(&self, account: &Account, cost: u64) -> Result<(), Refusal> {
        let exhausted = || Refusal::of(StatusCode::PAYMENT_REQUIRED, "there are not enough credits");
        let mut balance = self.balances.get_mut(&account.id).ok_or_else(exhausted)?;
        *balance = balance.checked_sub(cost).ok_or_else(exhausted)?;
        Ok(())
    }

    fn refund(&self, admitted: &Admitted) {
        if let Some(mut balance) = self.balances.get_mut(&admitted.account) {
            *balance += admitted.cost;
        }
    }
}

fn check_account(account: &Account, route: &Route) -> Result<(), Refusal> {
    let forbidden = |detail| Err(Refusal::of(StatusCode::FORBIDDEN, detail));
    if !account.active {
        return forbidden("the account is suspended");
    }
    if !account.subscribed {
        return forbidden("a subscription is required");
    }
    if !account.agreements.contains(route.agreement) {
        return forbidden("an agreement has to be signed first");
    }
    if account.plan_rank < route.min_rank {
        return forbidden("the plan does not include this");
    }
    Ok(())
}

fn check_address(key: &Key, request: &Request) -> Result<(), Refusal> {
    let extensions = request.extensions();
    let peer = extensions
        .get::<Peer>()
        .map(|Peer(address)| *address)
        .or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(socket)| socket.ip()));
    let allowed = peer.is_some_and(|peer| key.allowlist.iter().any(|network| network.contains(&peer)));
    if allowed { Ok(()) } else { Err(Refusal::of(StatusCode::UNAUTHORIZED, "the API key is unknown")) }
}

fn check_scopes(key: &Key, route: &Route, path: &str) -> Result<(), Refusal> {
    let covered = key.paths.iter().any(|above| path.starts_with(above.as_str()));
    let granted = covered && key.scopes.iter().any(|scope| scope == route.scope);
    if granted { Ok(()) } else { Err(Refusal::of(StatusCode::FORBIDDEN, "the API key lacks the scope")) }
}

/// A denial as problem details.
struct Refusal {
    status: StatusCode,
    detail: &'static str,
}

impl Refusal {
    fn of(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason();
        let problem =
            json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail }).to_string();
        let headers = [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")];
        let mut response = (self.status, headers, problem).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, 60.into());
        }
        response
    }
}

impl App {
    fn new(keys: usize, per_day: NonZeroU32) -> Self {
        let day = Duration::from_hours(24) / per_day.get();
        let day = Quota::with_period(day).expect("a period").allow_burst(per_day);
        let numbers = 0..keys;
        let database = numbers
            .clone()
            .map(|number| (Sha256::digest(world::key(number)).into(), Arc::new(Key::new(number))));
        Self {
            database: database.collect(),
            cache: Cache::builder()
                .max_capacity(keys.max(100_000) as u64)
                .time_to_live(Duration::from_hours(1))
                .build(),
            routes: routes(),
            caps: vec![("limit", 1_000), ("cursor", 0)],
            per_minute: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MAX)),
            per_day: RateLimiter::keyed(day),
            balances: numbers.map(|account| (account as u64, u64::MAX)).collect(),
        }
    }
}

impl Key {
    fn new(number: usize) -> Self {
        let id = number as u64;
        let agreements = ["terms", "market-data"].map(str::to_owned).into();
        let account = Arc::new(Account { id, active: true, subscribed: true, agreements, plan_rank: 3 });
        let networks = world::NETWORKS.map(|network| network.parse().expect("a network"));
        Self {
            id,
            active: true,
            expires_at: SystemTime::now() + Duration::from_hours(24 * 365),
            account,
            scopes: ["quotes:read", "candles:read"].map(str::to_owned).into(),
            paths: ["/v1/quotes/", "/v1/candles/"].map(str::to_owned).into(),
            allowlist: networks.into(),
        }
    }
}

fn routes() -> HashMap<Method, matchit::Router<Route>> {
    let route = |scope, cost| Route { public: false, scope, min_rank: 2, agreement: "terms", cost };
    let mut get = matchit::Router::new();
    for (path, scope, cost) in [
        ("/v1/candles/{symbol}", "candles:read", 1),
        ("/v1/quotes/{symbol}", "quotes:read", 1),
        ("/v1/trades/{symbol}", "trades:read", 2),
        ("/v1/news", "news:read", 1),
        ("/v1/backtests/{id}", "backtests:read", 1),
    ] {
        get.insert(path, route(scope, cost)).expect("the routes differ");
    }
    get.insert("/health", Route { public: true, ..route("", 0) }).expect("the routes differ");
    let mut post = matchit::Router::new();
    post.insert("/v1/backtests", route("backtests:write", 10)).expect("the routes differ");
    HashMap::from([(Method::GET, get), (Method::POST, post)])
}
