//! The gate as a transform of actix-web: where it may stand, what handlers are shown, what becomes of a charge.
#![cfg(feature = "actix-web")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

mod errors;
mod limits;
mod management;
mod order;
mod unfinished_handlers;
mod wire;

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::test::{TestRequest, init_service, read_body};
use actix_web::{App, HttpRequest, HttpResponse, web};
use support::World;
use support::faulty_back_ends::Later;
use tollgate::account::ParamLimits;
use tollgate::gate::FinalCost;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Credits, Gate, KeyId, Principal, Rule, TollgateTransform};

const KEY: &str = "kwery_live_0123456789";

/// A world with one key of 100 credits, and a gate where a candle costs 10.
fn world() -> (World, Gate, KeyId) {
    let world = World::new();
    let id = world.plain_key(KEY);
    let gate = world.kwery().rule(costly("/v1/candles")).build().unwrap();
    (world, gate, id)
}

fn costly(route: &str) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    rule
}

fn request(uri: &str) -> TestRequest {
    TestRequest::with_uri(uri).peer_addr("203.0.113.9:443".parse().unwrap())
}

fn keyed(uri: &str) -> TestRequest {
    request(uri).insert_header(("X-API-Key", KEY))
}

/// Balance and open charges.
fn account(world: &World, id: KeyId) -> (u64, usize) {
    (world.balance(id), world.ledger.open_charges(&world.account_of(id)))
}

async fn send<S, B, R>(service: &S, request: R) -> (u16, String)
where
    S: Service<R, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    let answer = service.call(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8(read_body(answer).await.to_vec()).unwrap())
}

async fn who(principal: Principal) -> String {
    principal.account().id.to_string()
}

#[tokio::test]
async fn middleware_wraps_app_scope_and_resource() {
    let (_, gate, _) = world();
    let around = || TollgateTransform::new(gate.clone());
    let app = init_service(App::new().route("/v1/candles", web::get().to(who)).wrap(around())).await;
    let scope = web::scope("/v1").route("/candles", web::get().to(who)).wrap(around());
    let scope = init_service(App::new().service(scope).route("/open", web::get().to(async || "open"))).await;
    let resource = web::resource("/v1/candles").get(who).wrap(around());
    let resource = init_service(App::new().service(resource)).await;

    assert_eq!(send(&app, keyed("/v1/candles").to_request()).await, (200, "account-0".into()));
    assert_eq!(send(&scope, keyed("/v1/candles").to_request()).await, (200, "account-0".into()));
    assert_eq!(send(&resource, keyed("/v1/candles").to_request()).await, (200, "account-0".into()));
    for path in ["/v1/candles", "/v1/nothing"] {
        assert_eq!(send(&app, request(path).to_request()).await.0, 401);
        assert_eq!(send(&scope, request(path).to_request()).await.0, 401);
    }
    assert_eq!(send(&resource, request("/v1/candles").to_request()).await.0, 401);
    // Why the documentation says to wrap the application: what lies elsewhere is open.
    assert_eq!(send(&app, request("/elsewhere").to_request()).await.0, 401);
    assert_eq!(send(&scope, request("/open").to_request()).await, (200, "open".into()));
    assert_eq!(send(&resource, request("/elsewhere").to_request()).await.0, 404);
}

#[tokio::test]
async fn scope_is_judged_by_the_full_path() {
    let (world, gate, id) = world();
    let scope = web::scope("/v1").service(
        web::scope("/{kind}").wrap(TollgateTransform::new(gate)).default_service(web::to(async || "served")),
    );
    let app = init_service(App::new().service(scope)).await;
    let gate =
        world.kwery().rule(costly("/v1/candles/{symbol}")).rule(support::providers::public("/btc")).build();
    let scope = web::scope("/v1/candles").route("/{symbol}", web::get().to(async || "served"));
    let costly = init_service(App::new().service(scope.wrap(TollgateTransform::new(gate.unwrap())))).await;
    assert_eq!(send(&app, keyed("/v1/candles").to_request()).await.0, 200);
    assert_eq!(account(&world, id), (90, 0));
    assert_eq!(send(&costly, keyed("/v1/candles/btc").to_request()).await.0, 200);
    assert_eq!(account(&world, id), (80, 0));
    assert_eq!(send(&costly, request("/v1/candles/btc").to_request()).await.0, 401);
}

#[tokio::test]
async fn routed_path_is_the_judged_path() {
    let world = World::new();
    let id = world.key(KEY, |record, _| record.scopes = Some(vec!["read".into()]));
    let of_scope = |route: &str, scope: &str| {
        let mut rule = costly(route);
        rule.scopes = ScopeRule::AnyOf(vec![scope.into()]);
        rule
    };
    let gate = world.kwery().rule(of_scope("/v1/admin", "admin")).rule(of_scope("/v1/data/{name}", "read"));
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let handler = web::to(move |request: HttpRequest| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { request.match_pattern().unwrap_or_default() }
    });
    let app = App::new()
        .service(web::resource("/v1/admin").route(handler))
        .route("/v1/data/{name}", web::get().to(who));
    let app = init_service(app.wrap(TollgateTransform::new(gate.build().unwrap()))).await;
    for path in ["/v1/admin", "/v1/%61dmin", "/v1/admi%6E", "/%761/%61%64%6d%69%6e", "/v1/%2561dmin"] {
        assert_eq!(send(&app, keyed(path).to_request()).await.0, 403, "{path}");
    }
    assert_eq!((calls.load(Ordering::SeqCst), account(&world, id)), (0, (100, 0)));
    // An encoded letter of a path that is granted is granted, and costs what it costs.
    for (path, balance) in [("/v1/data/btc", 90), ("/v1/d%61ta/%62tc", 80), ("/v1/data/%20", 70)] {
        assert_eq!(send(&app, keyed(path).to_request()).await.0, 200, "{path}");
        assert_eq!(account(&world, id), (balance, 0), "{path}");
    }
    // What may be read as another path is granted nothing.
    for path in [
        "/v1/data/%2e%2e",
        "/v1/data/a%2fb",
        "/v1/data/a%5cb",
        "/v1/data/%00",
        "/v1/data//btc",
        "/v1/./data/btc",
    ] {
        assert_eq!(send(&app, keyed(path).to_request()).await.0, 403, "{path}");
    }
    assert_eq!(account(&world, id), (70, 0));
}

#[tokio::test]
async fn handler_gets_the_principal() {
    let world = World::new();
    world.key(KEY, |record, _| {
        record.caps = Some([("limit".to_owned(), tollgate::account::ParamLimit::AtMost(3))].into());
    });
    let gate = world.kwery().rule(support::providers::public("GET /open")).build().unwrap();
    let capped = async |caps: ParamLimits| caps.at_most("limit").unwrap_or(0).to_string();
    let maybe =
        async |who: Option<Principal>| who.map_or("nobody".into(), |who| who.account().id.to_string());
    let routes = move |app: &mut web::ServiceConfig| {
        app.route("/who", web::get().to(who))
            .route("/caps", web::get().to(capped))
            .route("/open", web::get().to(maybe))
            .route("/maybe", web::get().to(maybe));
    };
    let app = init_service(App::new().configure(routes).wrap(TollgateTransform::new(gate))).await;
    assert_eq!(send(&app, keyed("/who").to_request()).await.1, "account-0");
    assert_eq!(send(&app, keyed("/caps").to_request()).await.1, "3");
    assert_eq!(send(&app, keyed("/maybe").to_request()).await.1, "account-0");
    assert_eq!(send(&app, request("/open").to_request()).await.1, "nobody");
    // Without a gate the handler says what is missing.
    let bare = init_service(App::new().configure(routes)).await;
    let (status, text) = send(&bare, keyed("/who").to_request()).await;
    assert_eq!(status, 500);
    assert!(text.contains("the handler is not behind a gate"), "{text}");
    assert_eq!(send(&bare, keyed("/caps").to_request()).await.0, 500);
    assert_eq!(send(&bare, keyed("/maybe").to_request()).await, (200, "nobody".into()));
}

#[tokio::test]
async fn handlers_are_not_shown_the_key() {
    let world = World::new();
    world.plain_key(KEY);
    let look = async |request: HttpRequest| {
        let sensitive = request.headers().get_all("x-api-key").all(HeaderValue::is_sensitive);
        let uri = request.match_info().get_ref().uri();
        format!(
            "{} {uri} {sensitive} {} {request:?}",
            request.uri(),
            request.match_info().get("symbol").unwrap()
        )
    };
    let sees = async |gate: Gate, sent: TestRequest| {
        let app = App::new().route("/v1/{symbol}/x", web::get().to(look)).wrap(TollgateTransform::new(gate));
        let (status, text) = send(&init_service(app).await, sent.to_request()).await;
        assert_eq!(status, 200);
        assert!(!text.contains(KEY), "{text}");
        text
    };
    let gate = || world.kwery().build().unwrap();
    let query = format!("/v1/%62tc/x?b=%31&api%2Dkey={KEY}&a=+");
    assert!(
        sees(gate(), request(&query))
            .await
            .starts_with("/v1/%62tc/x?b=%31&a=+ /v1/%62tc/x?b=%31&a=+ true btc ")
    );
    assert!(
        sees(gate(), request(&format!("/v1/btc/x?api-key={KEY}")))
            .await
            .starts_with("/v1/btc/x /v1/btc/x true btc")
    );
    let both = keyed("/v1/btc/x?api-key=another").append_header(("Authorization", "x"));
    assert!(sees(gate(), both).await.starts_with("/v1/btc/x /v1/btc/x true btc"));
    let stripping = world.kwery().strip_headers().build().unwrap();
    assert!(!sees(stripping, keyed("/v1/btc/x")).await.contains("x-api-key"));
}

#[tokio::test]
async fn peer_is_the_socket_address() {
    let world = World::new();
    world.key(KEY, |record, _| record.allowlist = Some(vec!["7.7.7.7/32".parse().unwrap()]));
    let app = App::new().default_service(web::to(async || "served"));
    let app = init_service(app.wrap(TollgateTransform::new(world.kwery().build().unwrap()))).await;
    for (name, value) in
        [("Forwarded", "for=7.7.7.7"), ("X-Forwarded-For", "7.7.7.7"), ("X-Real-IP", "7.7.7.7")]
    {
        assert_eq!(send(&app, keyed("/").insert_header((name, value)).to_request()).await.0, 401, "{name}");
    }
    let from = |peer: &str| keyed("/").peer_addr(peer.parse().unwrap()).to_request();
    assert_eq!(send(&app, from("7.7.7.7:1")).await.0, 200);
    assert_eq!(send(&app, from("[::ffff:7.7.7.7]:1")).await.0, 200);
    // No peer at all.
    let nowhere = TestRequest::with_uri("/").insert_header(("X-API-Key", KEY)).to_request();
    assert_eq!(send(&app, nowhere).await.0, 401);
}

#[tokio::test]
async fn handler_status_decides_the_charge() {
    let rows = [
        (200, None, 90),
        (404, None, 90),
        (401, None, 90),
        (429, None, 90),
        (500, None, 100),
        (503, None, 100),
        (200, Some(4), 96),
        (200, Some(0), 100),
        (200, Some(11), 90),
        (502, Some(4), 100),
    ];
    for (status, cost, balance) in rows {
        for later in [false, true] {
            let (world, gate, id) = world();
            let slow = world
                .with_ledger(Later(Arc::clone(&world.ledger)))
                .with_store(Later(Arc::clone(&world.store)));
            let slow = slow.kwery().rule(costly("/v1/candles")).build().unwrap();
            let handler = move || {
                let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish();
                if let Some(cost) = cost {
                    response.extensions_mut().insert(FinalCost(Credits::new(cost)));
                }
                ready(response)
            };
            let app = App::new().route("/v1/candles", web::get().to(handler));
            let gate = TollgateTransform::new(if later { slow } else { gate });
            let app = init_service(app.wrap(gate)).await;
            let answer = app.call(keyed("/v1/candles").to_request()).await.unwrap();
            assert_eq!(answer.status(), status);
            assert!(!answer.headers().contains_key("www-authenticate"));
            assert_eq!(account(&world, id), (balance, 0), "{status} {cost:?} {later}");
        }
    }
}
