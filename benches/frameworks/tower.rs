//! A tower service without a framework.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::extract::Request;
use http::Response;
use http_body::Body;
use tollgate::TollgateLayer;
use tower::{Layer, Service, service_fn};

use crate::Pair;
use crate::harness::drive;
use crate::harness::gate;
use crate::harness::rounds::Stack;
use crate::harness::world::{self, HOT, KEYS, Traffic};

pub(crate) fn pair() -> Pair {
    let (mut first, mut second) = (Traffic::uniform(HOT), Traffic::uniform(HOT));
    let mut bare = service_fn(world::handler);
    let gate = gate::with_keys(KEYS).build().expect("the gate is complete");
    let mut gated = TollgateLayer::new(gate).layer(service_fn(world::handler));
    [
        Stack::new("tower", move || first.request(), move |request| answer(&mut bare, request)),
        Stack::new("tower", move || second.request(), move |request| answer(&mut gated, request)),
    ]
}

/// Calls the service, and reads the whole response.
fn answer<S, R>(service: &mut S, request: Request)
where
    S: Service<Request, Response = Response<R>>,
    R: Body,
{
    let mut body = pin!(drive::call(service, request).into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
        assert!(black_box(frame).is_ok(), "the answer comes to its end");
    }
}
