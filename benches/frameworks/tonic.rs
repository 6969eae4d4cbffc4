//! A unary call to a tonic service. The response is read up to the status in its trailers.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tollgate::TollgateLayer;
use tollgate::adapter::Peer;
use tonic_health::pb::health_server::HealthServer;
use tower::{Layer, Service};

use crate::Pair;
use crate::harness::drive::poll_now;
use crate::harness::gate;
use crate::harness::health::Up;
use crate::harness::rounds::Stack;
use crate::harness::world::{HOT, KEYS, PEER, Traffic};

pub(crate) fn pair() -> Pair {
    let (mut first, mut second) = (Traffic::uniform(HOT), Traffic::uniform(HOT));
    let gate = gate::with_keys(KEYS).build().expect("the gate is complete");
    let (mut bare, mut gated) =
        (HealthServer::new(Up), TollgateLayer::new(gate).layer(HealthServer::new(Up)));
    [
        Stack::new("tonic", move || call(&mut first), move |request| answer(&mut bare, request)),
        Stack::new("tonic", move || call(&mut second), move |request| answer(&mut gated, request)),
    ]
}

/// A call with an empty message.
fn call(traffic: &mut Traffic) -> Request<Full<Bytes>> {
    let key = traffic.next().expect("every call has a key");
    Request::post("http://api.example.com/grpc.health.v1.Health/Check")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", "acme-client/1.4 tonic/0.14")
        .header("x-api-key", key)
        .extension(Peer(PEER.into()))
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .expect("the call is well-formed")
}

/// Calls the service, and reads the response up to the status in its trailers.
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
