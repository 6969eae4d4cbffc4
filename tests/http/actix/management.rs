//! Key management that the gate mounts.

use std::time::Duration;

use actix_web::App;
use actix_web::dev::Payload;
use actix_web::test::{TestRequest, call_service, init_service};
use tokio::time::{Instant, timeout};
use tollgate::TollgateTransform;

use super::{KEY, request};
use crate::support::World;

#[actix_web::test]
async fn query_key_management_sends_no_referrer() {
    let world = World::new();
    let mut plan = tollgate::Plan::new("limited");
    plan.quotas.push("9 per minute".parse().unwrap());
    world.key(KEY, |_, account| account.plan = "limited".into());
    let gate = world.kwery().plan(plan);
    let gate = gate.management("/account/keys").limit_headers().build().unwrap();
    let app = init_service(App::new().wrap(TollgateTransform::new(gate))).await;
    let send = |asked: TestRequest| call_service(&app, asked.to_request());
    for path in ["/account/keys", "/account/keys/a/b/c"] {
        let answer = send(request(&format!("{path}?api-key={KEY}"))).await;
        assert_eq!(answer.headers().get("referrer-policy").unwrap(), "no-referrer", "{path}");
        assert!(answer.headers().contains_key("ratelimit"), "{path}");
        assert_eq!(answer.headers().get("cache-control").unwrap(), "no-store", "{path}");
        assert_eq!(answer.headers().get_all("x-request-id").count(), 1, "{path}");
    }
    let answer = send(request("/account/keys").insert_header(("X-API-Key", KEY))).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers().get("vary").unwrap()),
        (200, &"x-api-key".parse().unwrap())
    );
}

#[actix_web::test]
async fn a_body_that_does_not_come_is_408() {
    let world = World::new();
    world.key(KEY, |_, _| {});
    let gate = world.kwery().management("/account/keys");
    let gate = gate.management_body_time(Duration::from_secs(3)).build().unwrap();
    let app = init_service(App::new().wrap(TollgateTransform::new(gate))).await;
    let asked = request("/account/keys").method(actix_web::http::Method::POST);
    let asked = asked.insert_header(("X-API-Key", KEY)).to_request();
    let never: Payload = Payload::Stream { payload: Box::pin(futures_util::stream::pending()) };
    let (stalled, _) = asked.replace_payload(never);
    tokio::time::pause();
    let begun = Instant::now();
    let answer = timeout(Duration::from_mins(1), call_service(&app, stalled)).await.unwrap();
    assert_eq!((answer.status().as_u16(), begun.elapsed().as_secs()), (408, 3));
}
