//! Errors of the service: they keep their meaning, and their responses are dressed like others.

use actix_web::error::{ErrorBadGateway, ErrorConflict, InternalError};
use tollgate::respond::RequestIds;

use super::*;

type Fault = fn() -> actix_web::Error;

#[tokio::test]
async fn errors_keep_their_status() {
    let rows: [(Fault, u16, u64); 2] =
        [(|| ErrorConflict("a conflict"), 409, 90), (|| ErrorBadGateway("a gateway"), 502, 100)];
    for (fault, status, balance) in rows {
        // From a handler an error is a response already; from a middleware it is one when it reaches the server.
        let (world, gate, id) = world();
        let handler = move || ready(Err::<HttpResponse, _>(fault()));
        let app = App::new().route("/v1/candles", web::get().to(handler)).wrap(TollgateTransform::new(gate));
        let answer = init_service(app).await.call(keyed("/v1/candles").to_request()).await.unwrap();
        assert_eq!((answer.status().as_u16(), account(&world, id)), (status, (balance, 0)));

        let (world, gate, id) = self::world();
        let app = App::new().wrap_fn(move |_, _| async move { Err::<ServiceResponse, _>(fault()) });
        let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
        let error = app.call(keyed("/v1/candles").to_request()).await.unwrap_err();
        assert_eq!(error.as_response_error().status_code(), status);
        assert_eq!(account(&world, id), (balance, 0));
        // A refusal is none: what stands around the gate sees a response.
        assert_eq!(send(&app, request("/v1/candles").to_request()).await.0, 401);
    }
}

#[tokio::test]
async fn error_response_has_the_gate_headers() {
    // What the error's own response says stands: it forbids more.
    let strict: Fault = || {
        let response = HttpResponse::Conflict().insert_header(("Cache-Control", "no-store")).body("strict");
        InternalError::from_response("strict", response).into()
    };
    let rows: [(Fault, u16, &str, &str); 3] = [
        (|| ErrorConflict("a conflict"), 409, "private", "a conflict"),
        (|| ErrorBadGateway("a gateway"), 502, "private", "a gateway"),
        (strict, 409, "no-store", "strict"),
    ];
    for (fault, status, cache, body) in rows {
        for later in [false, true] {
            let (world, _, _) = world();
            let world = if later { world.with_store(Later(Arc::clone(&world.store))) } else { world };
            let gate = world.kwery().request_ids(RequestIds::default().in_every_answer()).limit_headers();
            let app = App::new().wrap_fn(move |_, _| async move { Err::<ServiceResponse, _>(fault()) });
            let app = init_service(app.wrap(TollgateTransform::new(gate.build().unwrap()))).await;
            let asked = keyed("/v1/candles").insert_header(("X-Request-ID", "mine"));
            let error = app.call(asked.to_request()).await.unwrap_err();
            // What stands around the gate finds the error that it knows.
            assert!(error.as_error::<InternalError<&str>>().is_some(), "{error:?}");
            let response = error.error_response();
            assert_eq!(response.status(), status);
            let told = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!((told("x-request-id"), told("cache-control")), (Some("mine"), Some(cache)), "{body}");
            assert_eq!(told("vary"), Some("x-api-key"), "{body}");
            let text = actix_web::body::to_bytes(response.into_body()).await.unwrap_or_default();
            assert_eq!(text, body);
        }
    }
}
