//! The transform around an app, a scope and a resource whose answers have a body of their own.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::middleware::Condition;
use actix_web::test::{TestRequest, init_service, read_body};
use actix_web::{App, Error, HttpResponse, web};
use bytes::Bytes;
use tollgate::TollgateTransform;

use crate::support::World;

const KEY: &str = "kwery_live_0123456789";

/// A body that is neither boxed nor one of the framework's.
struct Own(Option<Bytes>);

impl MessageBody for Own {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

/// A middleware under the gate that puts its own body in place of the handler's.
fn own<S>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<Own>, Error>> + use<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>,
{
    let answer = service.call(request);
    async { Ok(answer.await?.map_body(|_, _| Own(Some("its own".into())))) }
}

async fn serves<S, B, R>(app: S, sent: fn(TestRequest) -> R)
where
    S: Service<R, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let request = || TestRequest::with_uri("/v1/candles");
    let served = app.call(sent(request().insert_header(("X-API-Key", KEY)))).await.unwrap();
    assert_eq!(served.status(), 200);
    assert_eq!(read_body(served).await, "its own");
    let refused = app.call(sent(request())).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_ne!(read_body(refused).await, "its own");
}

#[tokio::test]
async fn middleware_accepts_custom_body_types() {
    let world = World::new();
    world.plain_key(KEY);
    let around = TollgateTransform::new(world.kwery().build().unwrap());
    let handler = async || HttpResponse::Ok().body("the handler's");

    let app = App::new().route("/v1/candles", web::get().to(handler));
    serves(init_service(app.wrap_fn(own).wrap(around.clone())).await, TestRequest::to_request).await;
    let scope = web::scope("/v1").route("/candles", web::get().to(handler));
    let scope = App::new().service(scope.wrap_fn(own).wrap(around.clone()));
    serves(init_service(scope).await, TestRequest::to_request).await;
    let resource = web::resource("/v1/candles").get(handler);
    let resource = App::new().service(resource.wrap_fn(own).wrap(around.clone()));
    serves(init_service(resource).await, TestRequest::to_request).await;

    // Under a condition, and around a handler that answers with such a body itself.
    let bare = async || HttpResponse::Ok().message_body(Own(Some("its own".into()))).unwrap();
    let app = App::new().route("/v1/candles", web::get().to(bare)).wrap(Condition::new(true, around));
    serves(init_service(app).await, TestRequest::to_request).await;
}
