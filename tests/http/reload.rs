//! A gate behind axum and actix-web whose configuration is replaced.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use tollgate::{Gate, GateBuilder, KeySource, Principal, TollgateLayer};
use tower::ServiceExt;

use crate::support::World;

const KEY: &str = "kwery_live_0123456789";

/// The settings of a gate that reads keys from this header.
fn reading(header: &str) -> GateBuilder {
    let format = tollgate::KeyFormat::new("kwery_live_", tollgate::key::Length::exactly(10)).unwrap();
    let format = format.accepted_only();
    let builder = Gate::builder().source(KeySource::header(header).unwrap()).format(format);
    builder.plan(tollgate::Plan::new("plain")).strip_headers()
}

fn gate(world: &World) -> Gate {
    world.plain_key(KEY);
    reading("X-API-Key").store(world.store.clone()).build().unwrap()
}

/// The headers of the requests, each with the answer before and after the reload.
const CASES: [(&str, u16, u16); 2] = [("x-api-key", 200, 401), ("x-other-key", 401, 200)];

#[tokio::test]
async fn axum_reads_the_new_header() {
    let gate = gate(&World::new());
    let router = Router::new()
        .route("/", get(async |principal: Principal| principal.account().id.to_string()))
        .layer(TollgateLayer::new(gate.clone()));
    for after in [false, true] {
        for (header, old, new) in CASES {
            let request = Request::get("/").header(header, KEY).body(Body::empty()).unwrap();
            let status = router.clone().oneshot(request).await.unwrap().status();
            assert_eq!(status, if after { new } else { old }, "{header}, after the reload: {after}");
        }
        gate.reload(reading("X-Other-Key")).unwrap();
    }
}

#[cfg(feature = "actix-web")]
#[tokio::test]
async fn actix_reads_the_new_header() {
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, HttpRequest, web};
    use tollgate::TollgateTransform;

    let gate = gate(&World::new());
    // The key is removed from the request under either configuration.
    let handler = async |request: HttpRequest| {
        let bears_key = request.headers().iter().any(|(_, value)| value.as_bytes() == KEY.as_bytes());
        format!("{bears_key}")
    };
    let app = App::new().route("/", web::get().to(handler)).wrap(TollgateTransform::new(gate.clone()));
    let app = init_service(app).await;
    for after in [false, true] {
        for (header, old, new) in CASES {
            let request = TestRequest::get().insert_header((header, KEY)).to_request();
            let response = call_service(&app, request).await;
            let expected = if after { new } else { old };
            assert_eq!(response.status(), expected, "{header}, after the reload: {after}");
            if expected == 200 {
                assert_eq!(actix_web::test::read_body(response).await, "false");
            }
        }
        gate.reload(reading("X-Other-Key")).unwrap();
    }
}

#[cfg(feature = "openapi")]
#[test]
fn openapi_document_is_of_the_configuration_in_force() {
    let gate = gate(&World::new());
    let schemes = || gate.openapi()["components"]["securitySchemes"].clone();
    assert!(schemes()["header-x-api-key"].is_object());
    gate.reload(reading("X-Other-Key")).unwrap();
    assert!(schemes()["header-x-other-key"].is_object());
    assert!(schemes()["header-x-api-key"].is_null());
}
