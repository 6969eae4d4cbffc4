//! A unary call to a service of tonic's, its answer read to the status at its end.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tollgate::TollgateLayer;
use tollgate::adapter::Peer;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Layer, Service};

use crate::harness::drive::poll_now;
use crate::harness::gate;
use crate::harness::world::{HOT, KEYS, Traffic};
use crate::{Framework, service};

/// Answers at once.
struct Up;

type Messages = tonic::codegen::tokio_stream::Empty<Result<HealthCheckResponse, tonic::Status>>;

#[tonic::async_trait]
impl Health for Up {
    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(HealthCheckResponse { status: 1 }))
    }

    type WatchStream = Messages;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Messages>, tonic::Status> {
        Ok(tonic::Response::new(tonic::codegen::tokio_stream::empty()))
    }
}

pub(crate) fn framework() -> Framework {
    let (mut first, mut second) = (Traffic::over(HOT), Traffic::over(HOT));
    let gate = gate::with_keys(KEYS).build().expect("the gate is complete");
    let (mut bare, mut gated) =
        (HealthServer::new(Up), TollgateLayer::new(gate).layer(HealthServer::new(Up)));
    Framework {
        name: "tonic",
        bare: service(move || call(first.key()), move |request| answer(&mut bare, request)),
        gated: service(move || call(second.key()), move |request| answer(&mut gated, request)),
    }
}

/// A call with an empty message.
fn call(key: &str) -> Request<Full<Bytes>> {
    Request::post("http://api.example.com/grpc.health.v1.Health/Check")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", "acme-client/1.4 tonic/0.14")
        .header("x-api-key", key)
        .extension(Peer([203, 0, 113, 9].into()))
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .expect("the call is well-formed")
}

/// Calls, and reads the answer to its end, where its status is.
fn answer<S, R>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let Ok(response) = poll_now(service.call(request)) else { panic!("the service never fails") };
    let mut body = pin!(response.into_body());
    let mut has_status = false;
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
        has_status = black_box(frame).is_ok_and(|frame| frame.is_trailers());
    }
    assert!(has_status, "the call was served to its end");
}
