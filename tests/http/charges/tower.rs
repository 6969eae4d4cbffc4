//! Through the tower layer, polled by hand.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tollgate::adapter::ResponseBody;
use tollgate::gate::FinalCost;
use tollgate::{Credits, Gate, TollgateLayer};
use tower::{Layer, Service};

use super::{Book, CLAIMS, Closed, KEY, METHODS, Refunded, Settled, gate, has_failed, panics, quietly};

/// One poll of a body.
#[derive(Debug, Clone)]
enum Step {
    Data,
    Waits,
    Trailers(Option<&'static str>),
    Fails,
    Panics,
}

#[derive(Debug, Clone, Default)]
struct Script(VecDeque<Step>);

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data"))))),
            Some(Step::Waits) => Poll::Pending,
            Some(Step::Trailers(code)) => {
                let status =
                    code.map(|code| ("grpc-status".parse().unwrap(), HeaderValue::from_static(code)));
                Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter(status)))))
            }
            Some(Step::Fails) => Poll::Ready(Some(Err(io::Error::other("the source broke")))),
            Some(Step::Panics) => panics(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.0.is_empty() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

/// The behaviour of the service behind the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Answers,
    AnswersLater,
    PanicsInCall,
    Panics,
    PanicsLater,
    Fails,
    Hangs,
}

/// The head of its response.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    media_type: Option<&'static str>,
    code: Option<&'static str>,
    final_cost: Option<u64>,
}

#[derive(Debug, Clone)]
struct Scripted {
    handler: Handler,
    head: Head,
    body: Script,
}

impl Scripted {
    fn response(&self) -> Response<Script> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.head.status.try_into().unwrap();
        let headers = response.headers_mut();
        if let Some(media_type) = self.head.media_type {
            headers.insert("content-type", HeaderValue::from_static(media_type));
        }
        if let Some(code) = self.head.code {
            headers.insert("grpc-status", HeaderValue::from_static(code));
        }
        if let Some(cost) = self.head.final_cost {
            response.extensions_mut().insert(FinalCost(Credits::new(cost)));
        }
        response
    }
}

impl Service<Request<Empty<Bytes>>> for Scripted {
    type Response = Response<Script>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Script>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        if self.handler == Handler::PanicsInCall {
            panics();
        }
        let scripted = self.clone();
        Box::pin(async move {
            let mut waited = false;
            std::future::poll_fn(|_| match scripted.handler {
                Handler::Panics => panics(),
                Handler::PanicsLater if waited => panics(),
                Handler::Hangs => Poll::Pending,
                Handler::AnswersLater | Handler::PanicsLater if !std::mem::replace(&mut waited, true) => {
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            })
            .await;
            if scripted.handler == Handler::Fails {
                Err("the service fails")
            } else {
                Ok(scripted.response())
            }
        })
    }
}

/// The behaviour of the client that reads the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The client leaves before the handler has been polled.
    LeavesAtOnce,
    /// It leaves when the handler has been polled once.
    LeavesWaiting,
    /// The body is read to its end.
    ReadsAll,
    /// A server that does not poll a body which says that it is empty, as hyper does not.
    ReadsUnlessEmpty,
    /// The body is dropped unread, as that of an answer to `HEAD`.
    DropsUnread,
    /// The client leaves after the first frame.
    ReadsOne,
    /// A layer around the gate puts another body in its place.
    Replaces,
    /// The same, while a panic of that layer's unwinds.
    PanicsAround,
}

const READERS: [Reader; 8] = [
    Reader::LeavesAtOnce,
    Reader::LeavesWaiting,
    Reader::ReadsAll,
    Reader::ReadsUnlessEmpty,
    Reader::DropsUnread,
    Reader::ReadsOne,
    Reader::Replaces,
    Reader::PanicsAround,
];

fn poll_body(body: &mut Pin<Box<ResponseBody<Script>>>) -> Option<bool> {
    let mut cx = Context::from_waker(Waker::noop());
    match quietly(|| body.as_mut().poll_frame(&mut cx)) {
        Err(_) | Ok(Poll::Ready(None | Some(Err(_)))) => Some(false),
        Ok(Poll::Ready(Some(Ok(_)))) => Some(true),
        Ok(Poll::Pending) => None,
    }
}

fn read(response: Response<ResponseBody<Script>>, reader: Reader) {
    let mut body = Box::pin(response.into_body());
    match reader {
        Reader::ReadsUnlessEmpty if body.is_end_stream() => {}
        Reader::ReadsAll | Reader::ReadsUnlessEmpty => while poll_body(&mut body) != Some(false) {},
        Reader::ReadsOne => drop(poll_body(&mut body)),
        Reader::PanicsAround => {
            let _ = quietly(move || {
                let _held = body;
                panics();
            });
        }
        _ => {}
    }
}

/// Sends one request, and lets what goes on in the background come to its end.
async fn play(gate: &Gate, scripted: &Scripted, claim: Option<&'static str>, method: &str, reader: Reader) {
    let mut request = Request::builder().method(method).uri("/paid").header("x-api-key", KEY);
    if let Some(claim) = claim {
        request = request.header("content-type", claim);
    }
    let mut service = TollgateLayer::new(gate.clone()).layer(scripted.clone());
    let request = request.body(Empty::new()).unwrap();
    let Ok(future) = quietly(|| service.call(request)) else { return };
    let mut future = Box::pin(future);
    if reader == Reader::LeavesAtOnce {
        return;
    }
    let mut polls = 0;
    while polls < 8 {
        let polled = quietly(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        match polled {
            Ok(Poll::Ready(Ok(response))) => return read(response, reader),
            Ok(Poll::Ready(Err(_))) | Err(_) => return,
            Ok(Poll::Pending) => {}
        }
        tokio::task::yield_now().await;
        polls += 1;
        if reader == Reader::LeavesWaiting {
            return;
        }
    }
}

/// The table of `Outcome`.
fn expected(scripted: &Scripted, reader: Reader) -> Closed {
    let Scripted { handler, head, body } = scripted;
    let served = Settled(head.final_cost.unwrap_or(10));
    let failed_head = head.status >= 500;
    match handler {
        _ if reader == Reader::LeavesAtOnce => return Refunded,
        Handler::AnswersLater | Handler::PanicsLater if reader == Reader::LeavesWaiting => {
            return Settled(10);
        }
        Handler::Hangs => return Settled(10),
        Handler::PanicsInCall | Handler::Panics | Handler::PanicsLater | Handler::Fails => return Refunded,
        Handler::Answers | Handler::AnswersLater if failed_head => return Refunded,
        Handler::Answers | Handler::AnswersLater => {}
    }
    if head.media_type.is_none_or(|media_type| !media_type.starts_with("application/grpc")) {
        return served;
    }
    if let Some(code) = head.code {
        return if has_failed(code) { Refunded } else { served };
    }
    let polled = match reader {
        Reader::ReadsAll => usize::MAX,
        Reader::ReadsUnlessEmpty if !body.0.is_empty() => usize::MAX,
        Reader::ReadsOne => 1,
        _ => 0,
    };
    for step in body.0.iter().take(polled) {
        match step {
            Step::Data | Step::Waits => {}
            Step::Trailers(Some(code)) if has_failed(code) => return Refunded,
            Step::Trailers(_) => return served,
            Step::Fails | Step::Panics => return Refunded,
        }
    }
    served
}

async fn check(
    (gate, book): &(Gate, Book),
    scripted: &Scripted,
    claim: Option<&'static str>,
    method: &str,
    reader: Reader,
) {
    play(gate, scripted, claim, method, reader).await;
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    let expected = vec![expected(scripted, reader)];
    assert_eq!(book.take(), expected, "{scripted:?} {claim:?} {method} {reader:?}");
}

fn bodies() -> Vec<Script> {
    let ends: [&[Step]; 6] = [
        &[],
        &[Step::Trailers(None)],
        &[Step::Trailers(Some("0"))],
        &[Step::Trailers(Some("13"))],
        &[Step::Fails],
        &[Step::Panics],
    ];
    let begins: [&[Step]; 2] = [&[], &[Step::Data, Step::Waits, Step::Data]];
    let all = begins.iter().flat_map(|begin| ends.iter().map(move |end| [*begin, *end].concat()));
    all.map(|steps| Script(steps.into())).collect()
}

fn heads() -> Vec<Head> {
    let mut heads = Vec::new();
    for media_type in [None, Some("text/html"), Some("application/grpc"), Some("application/grpc-web+proto")]
    {
        for status in [200, 204, 303, 101, 404, 500, 503] {
            heads.push(Head { status, media_type, code: None, final_cost: None });
        }
        for code in ["0", "3", "13", "nonsense"] {
            heads.push(Head { status: 200, media_type, code: Some(code), final_cost: None });
        }
        heads.push(Head { status: 200, media_type, code: None, final_cost: Some(4) });
    }
    heads
}

#[tokio::test]
async fn every_ending_closes_the_charge_once() {
    for remote in [false, true] {
        let kept = gate(remote);
        for body in bodies() {
            for head in heads() {
                for handler in [Handler::Answers, Handler::AnswersLater] {
                    let scripted = Scripted { handler, head, body: body.clone() };
                    for reader in READERS.into_iter().filter(|&reader| {
                        // A remote ledger's answer is what is waited for then.
                        !(remote && matches!(reader, Reader::LeavesAtOnce | Reader::LeavesWaiting))
                    }) {
                        check(&kept, &scripted, Some("application/grpc"), "POST", reader).await;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn client_headers_do_not_affect_the_charge() {
    let kept = gate(false);
    let posted = CLAIMS.map(|claim| (claim, "POST"));
    let others = METHODS.map(|method| (Some("application/grpc"), method));
    for (claim, method) in posted.into_iter().chain(others) {
        for head in heads() {
            for body in bodies() {
                let scripted = Scripted { handler: Handler::Answers, head, body };
                check(&kept, &scripted, claim, method, Reader::ReadsUnlessEmpty).await;
            }
        }
    }
}

#[tokio::test]
async fn handler_without_response_is_judged() {
    for claim in CLAIMS {
        let kept = gate(false);
        for handler in
            [Handler::PanicsInCall, Handler::Panics, Handler::PanicsLater, Handler::Fails, Handler::Hangs]
        {
            let head = Head { status: 200, media_type: None, code: None, final_cost: None };
            let scripted = Scripted { handler, head, body: Script::default() };
            for reader in [Reader::LeavesAtOnce, Reader::LeavesWaiting, Reader::ReadsAll] {
                check(&kept, &scripted, claim, "POST", reader).await;
            }
        }
    }
}
