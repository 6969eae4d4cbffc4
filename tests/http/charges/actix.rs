//! Through the actix-web transform, polled by hand.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, Error, HttpResponse};
use bytes::Bytes;
use tollgate::adapter::GatedBody;
use tollgate::gate::FinalCost;
use tollgate::{Credits, Gate, TollgateTransform};

use super::{CLAIMS, Closed, KEY, METHODS, Refunded, Settled, gate, has_failed, panics, quietly};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Empty,
    Data,
    Fails,
    Panics,
}

impl MessageBody for Body {
    type Error = Error;

    fn size(&self) -> BodySize {
        if *self == Self::Empty { BodySize::Sized(0) } else { BodySize::Stream }
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match *self {
            Self::Empty => Poll::Ready(None),
            Self::Data => {
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Bytes::from_static(b"data"))))
            }
            Self::Fails => Poll::Ready(Some(Err(actix_web::error::ErrorBadGateway("the source broke")))),
            Self::Panics => panics(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Answers,
    AnswersLater,
    Fails(u16),
    Panics,
    PanicsLater,
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    LeavesAtOnce,
    LeavesWaiting,
    Reads,
    DropsUnread,
    Replaces,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    handler: Handler,
    status: u16,
    media_type: Option<&'static str>,
    code: Option<&'static str>,
    final_cost: Option<u64>,
    body: Body,
}

const PLAIN: Case = Case {
    handler: Handler::Answers,
    status: 200,
    media_type: None,
    code: None,
    final_cost: None,
    body: Body::Data,
};

fn response(case: Case) -> HttpResponse<Body> {
    let mut response = HttpResponse::with_body(StatusCode::from_u16(case.status).unwrap(), case.body);
    for (name, value) in [("content-type", case.media_type), ("grpc-status", case.code)] {
        if let Some(value) = value {
            response.headers_mut().insert(name.parse().unwrap(), value.parse().unwrap());
        }
    }
    if let Some(cost) = case.final_cost {
        response.extensions_mut().insert(FinalCost(Credits::new(cost)));
    }
    response
}

async fn serve(case: Case, request: ServiceRequest) -> Result<ServiceResponse<Body>, Error> {
    let mut waited = false;
    std::future::poll_fn(|_| match case.handler {
        Handler::Panics => panics(),
        Handler::PanicsLater if waited => panics(),
        Handler::Hangs => Poll::Pending,
        Handler::AnswersLater | Handler::PanicsLater if !std::mem::replace(&mut waited, true) => {
            Poll::Pending
        }
        _ => Poll::Ready(()),
    })
    .await;
    match case.handler {
        Handler::Fails(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            Err(actix_web::error::InternalError::new("as asked for", status).into())
        }
        _ => Ok(ServiceResponse::new(request.into_parts().0, response(case))),
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn read(response: ServiceResponse<EitherBody<GatedBody<Body>>>, reader: Reader) {
    if reader != Reader::Reads {
        return;
    }
    let mut body = Box::pin(response.into_body());
    let mut next = || body.as_mut().poll_next(&mut Context::from_waker(Waker::noop()));
    while let Ok(Poll::Ready(Some(Ok(_)))) = quietly(&mut next) {}
}

async fn play(gate: &Gate, case: Case, claim: Option<&str>, method: &str, reader: Reader) {
    let app = App::new().wrap_fn(move |request, _| serve(case, request));
    let app = init_service(app.wrap(TollgateTransform::new(gate.clone()))).await;
    let mut request = TestRequest::with_uri("/paid").method(method.parse().unwrap());
    request = request.insert_header(("x-api-key", KEY));
    if let Some(claim) = claim {
        request = request.insert_header(("content-type", claim));
    }
    let mut future = Box::pin(app.call(request.to_request()));
    if reader == Reader::LeavesAtOnce {
        return;
    }
    for _ in 0..8 {
        match quietly(|| poll_once(future.as_mut())) {
            Ok(Poll::Ready(Ok(response))) => return read(response, reader),
            Ok(Poll::Ready(Err(_))) | Err(_) => return,
            Ok(Poll::Pending) => {}
        }
        tokio::task::yield_now().await;
        if reader == Reader::LeavesWaiting {
            return;
        }
    }
}

/// The table of `Outcome`.
fn expected(case: Case, reader: Reader) -> Closed {
    match case.handler {
        _ if reader == Reader::LeavesAtOnce => return Refunded,
        Handler::Fails(..500) | Handler::Hangs => return Settled(10),
        Handler::AnswersLater | Handler::PanicsLater if reader == Reader::LeavesWaiting => {
            return Settled(10);
        }
        Handler::Fails(_) | Handler::Panics | Handler::PanicsLater => return Refunded,
        _ => {}
    }
    let speaks_grpc = case.media_type.is_some_and(|media_type| media_type.starts_with("application/grpc"));
    let failed = case.status >= 500 || (speaks_grpc && case.code.is_some_and(has_failed));
    if failed { Refunded } else { Settled(case.final_cost.unwrap_or(10)) }
}

fn answers() -> Vec<Case> {
    let mut cases = Vec::new();
    for body in [Body::Empty, Body::Data, Body::Fails, Body::Panics] {
        for media_type in [None, Some("text/html"), Some("application/grpc")] {
            for status in [200, 201, 204, 303, 404, 500, 503] {
                cases.push(Case { status, media_type, body, ..PLAIN });
            }
            for code in ["0", "3", "13"] {
                cases.push(Case { code: Some(code), media_type, body, ..PLAIN });
            }
            cases.push(Case { final_cost: Some(4), media_type, body, ..PLAIN });
        }
    }
    cases
}

const READERS: [Reader; 5] =
    [Reader::LeavesAtOnce, Reader::LeavesWaiting, Reader::Reads, Reader::DropsUnread, Reader::Replaces];

#[tokio::test]
async fn every_ending_closes_the_charge_once() {
    for remote in [false, true] {
        let (gate, book) = gate(remote);
        let later = answers().into_iter().map(|case| Case { handler: Handler::AnswersLater, ..case });
        let ends = [
            Handler::Fails(400),
            Handler::Fails(404),
            Handler::Fails(500),
            Handler::Fails(503),
            Handler::Panics,
            Handler::PanicsLater,
            Handler::Hangs,
        ];
        let ends = ends.map(|handler| Case { handler, ..PLAIN });
        for case in answers().into_iter().chain(later).chain(ends) {
            for reader in READERS {
                if remote && matches!(reader, Reader::LeavesAtOnce | Reader::LeavesWaiting) {
                    // What is waited for then is the ledger.
                    continue;
                }
                play(&gate, case, Some("application/grpc"), "POST", reader).await;
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(book.take(), [expected(case, reader)], "{case:?} {reader:?}");
            }
        }
    }
}

#[tokio::test]
async fn client_headers_do_not_affect_the_charge() {
    let (gate, book) = gate(false);
    for claim in CLAIMS {
        for method in METHODS {
            for case in answers() {
                play(&gate, case, claim, method, Reader::Reads).await;
                let expected = [expected(case, Reader::Reads)];
                assert_eq!(book.take(), expected, "{case:?} {claim:?} {method}");
            }
        }
    }
}
