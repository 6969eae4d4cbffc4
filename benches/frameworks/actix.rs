//! An application of actix-web, with one handler for all paths.

use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpResponse, web};
use tollgate::TollgateTransform;

use crate::Pair;
use crate::harness::drive::poll_now;
use crate::harness::gate;
use crate::harness::rounds::Stack;
use crate::harness::world::{HOT, KEYS, PEER, ROUTE, Traffic};

pub(crate) fn pair() -> Pair {
    let (mut first, mut second) = (Traffic::uniform(HOT), Traffic::uniform(HOT));
    let gate = gate::with_keys(KEYS).build().expect("the gate is complete");
    let bare = poll_now(init_service(App::new().default_service(web::to(handler))));
    let gated = App::new().default_service(web::to(handler)).wrap(TollgateTransform::new(gate));
    let gated = poll_now(init_service(gated));
    [
        Stack::new(
            "actix-web",
            move || request(&mut first).to_request(),
            move |request| answer(&bare, request),
        ),
        Stack::new(
            "actix-web",
            move || request(&mut second).to_request(),
            move |request| answer(&gated, request),
        ),
    ]
}

async fn handler() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body("[]")
}

/// The request, equal to that of the other frameworks.
fn request(traffic: &mut Traffic) -> TestRequest {
    let key = traffic.next().expect("every request has a key");
    TestRequest::with_uri(ROUTE)
        .insert_header(("host", "api.example.com"))
        .insert_header(("user-agent", "acme-client/1.4"))
        .insert_header(("accept", "application/json"))
        .insert_header(("accept-encoding", "gzip, br"))
        .insert_header(("x-api-key", key))
        .peer_addr(SocketAddr::from((PEER, 443)))
}

/// Calls the service, and reads the whole response.
fn answer<R, B: MessageBody>(
    service: &impl Service<R, Response = ServiceResponse<B>, Error = actix_web::Error>,
    request: R,
) {
    let Ok(response) = poll_now(service.call(request)) else { panic!("the service never fails") };
    assert!(response.status().is_success(), "the request was served");
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(chunk)) = body.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
        assert!(black_box(chunk).is_ok(), "the answer comes to its end");
    }
}
