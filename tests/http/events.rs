//! Decision events behind actix-web and tonic: one for each request, with the id of the response.
#![cfg(all(feature = "actix-web", feature = "tonic", feature = "memory"))]

use std::sync::Arc;

use actix_web::dev::{Service, ServiceResponse};
use actix_web::error::{ErrorBadGateway, ErrorConflict};
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpResponse, web};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tollgate::credit::{Charge, Charged, Refund, Settlement};
use tollgate::gate::ResponseBytes;
use tollgate::respond::RequestIds;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::telemetry::DecisionOutcome;
use tollgate::{
    CreditLedger, Credits, DenialKind, Gate, MemoryLedger, Rule, StoreFuture, TollgateLayer,
    TollgateTransform,
};
use tower::{Layer, ServiceExt};

use crate::grpc::fixture::{CHECK, KEY as GRPC_KEY, builder, post, raw, serve};
use crate::support::events::Recorder;
use crate::support::faulty_back_ends::Later;
use crate::support::{World, with_key};

const KEY: &str = "kwery_live_0123456789";

fn costly(route: &str) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    rule.scopes = ScopeRule::Everyone;
    rule
}

/// Gates whose store answers at once and later.
fn gates() -> impl Iterator<Item = (Gate, Recorder)> {
    [false, true].into_iter().map(|later| {
        let (world, recorder) = (World::new(), Recorder::default());
        world.plain_key(KEY);
        let world = if later { world.with_store(Later(world.store.clone())) } else { world };
        let ids = RequestIds::default().in_every_answer();
        let gate = world.kwery().rule(costly("/v1/{item}")).management("/keys").request_ids(ids);
        (gate.decision_sink(recorder.clone()).build().unwrap(), recorder)
    })
}

#[actix_web::test]
async fn actix_event_has_the_id_of_the_response() {
    for (gate, recorder) in gates() {
        let app = App::new()
            .route("/v1/good", web::get().to(async || "good"))
            .route("/v1/bad", web::get().to(async || HttpResponse::ServiceUnavailable()))
            .route("/v1/fault", web::get().to(async || Err::<HttpResponse, _>(ErrorBadGateway("down"))));
        let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
        let admitted = DecisionOutcome::Admitted;
        let rows = [
            ("/v1/good", KEY, admitted, 200, 10, 10),
            ("/v1/bad", KEY, admitted, 503, 10, 0),
            ("/v1/fault", KEY, admitted, 502, 10, 0),
            ("/keys", KEY, admitted, 200, 0, 0),
            ("/v1/good", "short", DecisionOutcome::Denied(DenialKind::InvalidFormat), 401, 0, 0),
        ];
        for (uri, key, outcome, status, charged, settled) in rows {
            let request = TestRequest::with_uri(uri).peer_addr("203.0.113.9:443".parse().unwrap());
            let answer = app.call(request.insert_header(("X-API-Key", key)).to_request()).await.unwrap();
            let event = recorder.only();
            assert_eq!((answer.status().as_u16(), event.status), (status, Some(status)), "{uri}");
            assert_eq!((event.outcome, event.charged, event.settled), (outcome, charged, settled), "{uri}");
            let id = answer.headers().get("x-request-id").unwrap().to_str().unwrap();
            assert_eq!(id, event.request_id, "{uri}");
            assert_eq!(event.client.as_deref(), Some("203.0.113.0/24"));
        }
    }
}

#[actix_web::test]
async fn actix_error_is_recorded_once() {
    for (gate, recorder) in gates() {
        let app = App::new().wrap_fn(|_, _| async { Err::<ServiceResponse, _>(ErrorConflict("conflict")) });
        let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
        let request = TestRequest::with_uri("/v1/good").insert_header(("X-API-Key", KEY));
        let error = app.call(request.to_request()).await.unwrap_err();
        let id = error.error_response().headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        drop(error);
        let event = recorder.only();
        assert_eq!((event.status, event.settled, event.request_id), (Some(409), 10, id));
    }
}

#[tokio::test]
async fn grpc_event_has_the_id_of_the_response() {
    let (world, recorder) = (World::new(), Recorder::default());
    let health =
        |record: &mut tollgate::KeyRecord, _: &mut _| record.scopes = Some(vec!["health:read".into()]);
    world.key(GRPC_KEY, health);
    let gate = builder(&world).request_ids(RequestIds::default().in_every_answer());
    let address = serve(&world, gate.decision_sink(recorder.clone()).build().unwrap()).await;
    let rows = [
        (GRPC_KEY, DecisionOutcome::Admitted, 2),
        ("acme_other", DecisionOutcome::Denied(DenialKind::InvalidFormat), 0),
    ];
    for (key, outcome, settled) in rows {
        let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("x-api-key", key)];
        let head = raw(address, post(address, CHECK, &headers)).await;
        let event = recorder.only();
        assert_eq!((event.outcome, event.settled, event.status), (outcome, settled, Some(200)));
        assert_eq!(head.header("x-request-id"), Some(&*event.request_id));
        assert_eq!(event.client.as_deref(), Some("127.0.0.0/24"));
    }
}

/// A ledger whose settlement panics.
#[derive(Debug)]
struct Unsettling(Arc<MemoryLedger>);

impl CreditLedger for Unsettling {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.0.charge(charge)
    }

    fn settle(&self, _: &Settlement<'_>) -> StoreFuture<()> {
        StoreFuture::boxed(async { panic!("the ledger is broken") })
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.0.refund(refund)
    }
}

#[actix_web::test]
async fn event_has_the_status_that_actix_answers() {
    for fails in [false, true] {
        let (world, recorder) = (World::new(), Recorder::default());
        let ledger = Arc::clone(&world.ledger);
        let world = world.with_ledger(Unsettling(ledger));
        world.plain_key(KEY);
        let gate = world.kwery().rule(costly("/v1/data")).decision_sink(recorder.clone()).build().unwrap();
        // Middleware inside the gate that fails passes an error, not a response.
        let app = App::new()
            .route("/v1/data", web::get().to(HttpResponse::Ok))
            .wrap_fn(move |request, service| {
                let called = service.call(request);
                async move { if fails { Err(ErrorConflict("conflict")) } else { called.await } }
            })
            .wrap(TollgateTransform::new(gate));
        let app = init_service(app).await;
        let request = TestRequest::with_uri("/v1/data").insert_header(("X-API-Key", KEY));
        let status = match app.call(request.to_request()).await {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.error_response().status().as_u16(),
        };
        settle().await;
        assert_eq!(recorder.only().status, Some(status), "an error of the service: {fails}");
    }
}

#[actix_web::test]
async fn reported_bytes_are_in_the_event() {
    for (gate, recorder) in gates() {
        let handler = || async {
            let mut response = HttpResponse::Ok().body("[1, 2]");
            response.extensions_mut().insert(ResponseBytes(6));
            response
        };
        let app = init_service(
            App::new().route("/v1/data", web::get().to(handler)).wrap(TollgateTransform::new(gate.clone())),
        )
        .await;
        let request = TestRequest::with_uri("/v1/data").insert_header(("X-API-Key", KEY));
        let _ = app.call(request.to_request()).await.unwrap();
        settle().await;
        assert_eq!(recorder.only().bytes, Some(6));

        let service = tower::service_fn(|_: Request<Empty<Bytes>>| async {
            let mut response = Response::new(Empty::<Bytes>::new());
            response.extensions_mut().insert(ResponseBytes(0));
            Ok::<_, std::convert::Infallible>(response)
        });
        let request = with_key("GET /v1/data", KEY).body(Empty::new()).unwrap();
        let answer = TollgateLayer::new(gate).layer(service).oneshot(request).await.unwrap();
        drop(answer);
        settle().await;
        assert_eq!(recorder.only().bytes, Some(0));
    }
}

/// Lets detached tasks end.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
