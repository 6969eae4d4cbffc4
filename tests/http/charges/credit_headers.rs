//! The headers of a request's cost and of the balance after it.

use actix_web::dev::ServiceResponse;
use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, HttpResponse};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{Empty, Full};
use tollgate::gate::FinalCost;
use tollgate::respond::CreditHeaders;
use tollgate::{Credits, Gate, TollgateLayer, TollgateTransform};
use tower::{Layer, ServiceExt, service_fn};

use super::{KEY, builder};
use crate::fixture::Stage;
use crate::grpc::fixture;
use crate::support::World;

fn names() -> CreditHeaders {
    CreditHeaders::default().with_cost("X-Cost").unwrap().with_balance("X-Balance").unwrap()
}

/// Returns the cost and the balance.
fn told(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is there twice");
        first
    };
    (one("x-cost"), one("x-balance"))
}

/// The head of a response, and the cost and the balance that it is told with. The charge is 10 of 100.
struct Row {
    status: u16,
    media_type: &'static str,
    code: Option<&'static str>,
    final_cost: Option<u64>,
    told: [&'static str; 2],
}

const PLAIN: Row =
    Row { status: 200, media_type: "text/plain", code: None, final_cost: None, told: ["10", "90"] };
const GRPC: Row = Row { media_type: "application/grpc", ..PLAIN };

/// The status of a gRPC response may still come in its trailers.
const ROWS: [Row; 9] = [
    PLAIN,
    Row { status: 404, ..PLAIN },
    Row { status: 500, told: ["0", "100"], ..PLAIN },
    Row { status: 503, final_cost: Some(4), told: ["0", "100"], ..PLAIN },
    Row { final_cost: Some(4), told: ["4", "96"], ..PLAIN },
    Row { final_cost: Some(40), ..PLAIN },
    Row { code: Some("0"), ..GRPC },
    Row { code: Some("13"), told: ["0", "100"], ..GRPC },
    Row { final_cost: Some(4), told: ["4", "96"], code: Some("5"), ..GRPC },
];

#[tokio::test]
async fn tower_response_tells_what_its_head_settles() {
    for remote in [false, true] {
        let (builder, book) = builder(remote);
        let gate = builder.credit_headers(names()).build().unwrap();
        for row in &ROWS {
            let mut response = Response::builder().status(row.status).header("content-type", row.media_type);
            // The gate's own figures replace those of the service.
            response = response.header("x-cost", "service").header("x-balance", "service");
            if let Some(code) = row.code {
                response = response.header("grpc-status", code);
            }
            let mut response = response.body(Full::new(Bytes::new())).unwrap();
            if let Some(cost) = row.final_cost {
                response.extensions_mut().insert(FinalCost(Credits::new(cost)));
            }
            let service = service_fn(move |_: Request<Empty<Bytes>>| {
                std::future::ready(Ok::<_, std::convert::Infallible>(response.clone()))
            });
            let request = Request::get("/paid").header("x-api-key", KEY).body(Empty::new()).unwrap();
            let response = TollgateLayer::new(gate.clone()).layer(service).oneshot(request).await.unwrap();
            assert_eq!(told(response.headers()), (Some(row.told[0]), Some(row.told[1])), "{}", row.status);
            assert_eq!(book.take().len(), 1);
        }
    }
}

fn actix_response(row: &Row) -> HttpResponse {
    let mut response = HttpResponse::build(row.status.try_into().unwrap());
    response.insert_header(("content-type", row.media_type)).insert_header(("x-cost", "service"));
    if let Some(code) = row.code {
        response.insert_header(("grpc-status", code));
    }
    let mut response = response.finish();
    if let Some(cost) = row.final_cost {
        response.extensions_mut().insert(FinalCost(Credits::new(cost)));
    }
    response
}

/// Returns the headers of the response to a request whose service answers, or fails with a status.
async fn through_actix(gate: &Gate, row: &'static Row, fails: bool) -> HeaderMap {
    let app = App::new().wrap_fn(move |request, _| {
        std::future::ready(if fails {
            let status = actix_web::http::StatusCode::from_u16(row.status).unwrap();
            Err(actix_web::error::InternalError::new("as asked for", status).into())
        } else {
            Ok(ServiceResponse::new(request.into_parts().0, actix_response(row)))
        })
    });
    let app = init_service(app.wrap(TollgateTransform::new(gate.clone()))).await;
    let request = TestRequest::with_uri("/paid").insert_header(("x-api-key", KEY)).to_request();
    let response = match try_call_service(&app, request).await {
        Ok(response) => response.into_parts().1.map_into_boxed_body(),
        Err(error) => error.error_response(),
    };
    let copied = response.headers().iter().map(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap();
        (name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let mut headers = HeaderMap::new();
    headers.extend(copied);
    headers
}

#[tokio::test]
async fn actix_response_tells_what_its_head_settles() {
    for remote in [false, true] {
        let (builder, book) = builder(remote);
        let gate = builder.credit_headers(names()).build().unwrap();
        for row in &ROWS {
            let headers = through_actix(&gate, row, false).await;
            assert_eq!(told(&headers), (Some(row.told[0]), Some(row.told[1])), "{}", row.status);
            assert_eq!(book.take().len(), 1);
        }
        for row in ROWS[..3].iter().filter(|row| row.status >= 400) {
            let headers = through_actix(&gate, row, true).await;
            assert_eq!(told(&headers), (Some(row.told[0]), Some(row.told[1])), "error {}", row.status);
            assert_eq!(book.take().len(), 1);
        }
    }
}

#[tokio::test]
async fn grpc_call_tells_its_charge() {
    let world = World::new();
    let id = world.plain_key(fixture::KEY);
    let gate = fixture::builder(&world).credit_headers(names()).build().unwrap();
    let address = fixture::serve(&world, gate).await;
    let call = async |asked: &str| {
        let call = fixture::ask(asked, &[("x-api-key", fixture::KEY)]);
        let answered = fixture::client(address).await.check(call).await;
        answered.map_or_else(|status| status.metadata().clone(), |response| response.metadata().clone())
    };
    // Two of 100 credits for each call. The status of a good call comes last, that of a failed one in the head.
    assert_eq!(told(&call("").await.into_headers()), (Some("2"), Some("98")));
    assert_eq!(told(&call("cost:1").await.into_headers()), (Some("1"), Some("97")));
    assert_eq!(told(&call("code:13").await.into_headers()), (Some("0"), Some("97")));
    world.set_balance(id, 1);
    assert_eq!(told(&call("").await.into_headers()), (Some("2"), Some("1")));
}

#[tokio::test]
async fn denial_tells_the_uncovered_cost() {
    let toml = "credit_headers = { cost = 'X-Cost', balance = 'X-Balance' }\nplans.free = { quotas = ['2 per minute'] }\n\
        rules = [{ route = '/paid', cost = 7 }, { route = '/public', public = true }]";
    let stage = Stage::of_file(toml).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    stage.ledger.set_balance("account of acme_free0000", Credits::new(9), stage.gate.clock().now().wall());
    let paid = "GET /paid; x-api-key: acme_free0000";
    let answers =
        stage.play(&[paid, paid, paid, "GET /a; x-api-key: acme_free0000", "GET /public", "GET /paid"]).await;
    let answers: Vec<_> = answers.iter().map(|answer| (answer.status, told(&answer.headers))).collect();
    let none = (None, None);
    let expected = [
        (200, (Some("7"), Some("2"))),
        (402, (Some("7"), Some("2"))),
        (429, none),
        (429, none),
        (200, none),
        (401, none),
    ];
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn one_header_may_be_left_out() {
    for (toml, expected) in [
        ("cost = 'X-Cost'", (Some("7"), None)),
        ("balance = 'X-Balance'", (None, Some("2"))),
        ("", (None, None)),
    ] {
        let toml = format!(
            "credit_headers = {{ {toml} }}\nplans.free = {{}}\nrules = [{{ route = '/paid', cost = 7 }}]"
        );
        let stage = Stage::of_file(&toml).unwrap();
        stage.put("acme_free0000", "free", |_, _| {});
        stage.ledger.set_balance(
            "account of acme_free0000",
            Credits::new(9),
            stage.gate.clock().now().wall(),
        );
        let answer = stage.play(&["GET /paid; x-api-key: acme_free0000"]).await.remove(0);
        assert_eq!((answer.status, told(&answer.headers)), (200, expected), "{toml}");
    }
}
