//! The documented order: what answers in the gate's place or rewrites paths is wrapped behind it, and runs before it.

use actix_web::dev::{ServiceFactory, ServiceRequest};
use actix_web::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use actix_web::middleware::{DefaultHeaders, NormalizePath};
use support::providers::public;

use super::*;

fn gate(world: &World) -> TollgateTransform {
    let gate = world.kwery().rule(costly("GET /v1/candles")).rule(public("GET /open"));
    TollgateTransform::new(gate.build().unwrap())
}

fn routes() -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new().route("/v1/candles", web::get().to(who)).route("/open", web::get().to(async || "open"))
}

/// Returns a stand-in for CORS: scripts of any origin may read the answers.
fn readable() -> DefaultHeaders {
    DefaultHeaders::new().add((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
}

#[tokio::test]
async fn documented_order_judges_the_routed_path() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let app = routes().wrap(gate(&world)).wrap(readable()).wrap(NormalizePath::trim());
    let app = init_service(app).await;
    for (path, balance) in [("/v1/candles", 90), ("/v1/candles/", 80), ("/v1//candles", 70)] {
        let refused = app.call(request(path).to_request()).await.unwrap();
        assert_eq!(refused.status(), 401, "{path}");
        assert!(refused.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
        assert_eq!(send(&app, keyed(path).to_request()).await, (200, "account-0".into()), "{path}");
        assert_eq!(account(&world, id), (balance, 0), "{path}");
    }
    for path in ["/open", "/open/", "//open"] {
        assert_eq!(send(&app, request(path).to_request()).await, (200, "open".into()), "{path}");
    }
}

#[tokio::test]
async fn reversed_order_judges_another_path() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let app = routes().wrap(NormalizePath::trim()).wrap(readable()).wrap(gate(&world));
    let app = init_service(app).await;
    // The path that was judged is no public one. It is judged under the rule that it differs from by a slash at the end.
    assert_eq!(send(&app, request("/v1/candles/").to_request()).await.0, 401);
    assert_eq!(send(&app, request("/open/").to_request()).await.0, 401);
    assert_eq!(send(&app, keyed("/v1/candles/").to_request()).await.0, 200);
    assert_eq!(account(&world, id), (90, 0));
    let refused = app.call(request("/v1/candles").to_request()).await.unwrap();
    assert!(!refused.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
}
