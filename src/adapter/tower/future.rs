//! The future of a response through the gate.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use crate::adapter::call::{self, CallEnd, Deadline};
use crate::adapter::headers::RequestIdHeader;
use crate::adapter::serving::Serving;
use crate::adapter::tower::ResponseBody;
use crate::adapter::tower::collect::Collecting;
use crate::adapter::tower::managed::{Managed, ManagedResponse, Target, keep_head};
use crate::adapter::{closed, headers, refusal};
use crate::denial::Denial;
use crate::future::StoreFuture;
use crate::gate::{Admission, Answering, Core, Decision, Outcome, bare_failure, decide, detach};
use crate::request::RequestView;

pin_project! {
    /// The future of a response through the gate. It waits for remote back ends, then for the service, and then for the
    /// end of the charge.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, S::Future, S::Response, B>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, F, R, B> {
        Deciding { waiting: Option<Box<Waiting<S, B>>> },
        Serving { #[pin] future: F, serving: Serving },
        Closing { closing: StoreFuture<()>, response: Option<(R, CallEnd)> },
        Reading { #[pin] body: Collecting<B>, managed: Option<Box<(Managed, ManagedResponse)>> },
        Answering { answering: Answering, finish: ManagedResponse },
        Refused { response: Option<Response<Bytes>> },
    }
}

/// A request that waits for a remote back end's decision.
struct Waiting<S, B> {
    core: Arc<Core>,
    decision: Decision,
    service: S,
    request: Request<B>,
    deadline: Deadline,
}

impl<S, B, R> ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body,
{
    pub(super) fn decide(core: Arc<Core>, decision: Decision, service: S, request: Request<B>) -> Self {
        let deadline = Deadline::of(&RequestView::of(&request));
        let waiting = Waiting { core, decision, service, request, deadline };
        Self { state: State::Deciding { waiting: Some(Box::new(waiting)) } }
    }

    #[inline]
    pub(super) fn serve(future: S::Future, decision: &mut Decision, request_id: RequestIdHeader) -> Self {
        Self { state: State::Serving { future, serving: Serving::new(decision.admission(), request_id) } }
    }

    pub(super) fn manage(
        core: &Arc<Core>,
        target: Target,
        request: Request<B>,
        admission: Admission,
    ) -> Self {
        Self { state: manage(core, target, request, admission) }
    }

    pub(super) fn refuse(core: &Core, request: &Request<B>, denial: &Denial, decision: &Decision) -> Self {
        Self { state: State::Refused { response: Some(refuse(core, request, denial, decision)) } }
    }
}

/// Starts to read the body of a key management request. Management is free, so the admission has no charge that must be
/// closed.
#[cold]
fn manage<S, F, R, B>(
    core: &Arc<Core>,
    target: Target,
    request: Request<B>,
    admission: Admission,
) -> State<S, F, R, B>
where
    B: Body,
{
    let (managed, body) = Managed::part(core, target, request, &admission);
    let finish = managed.finish(admission);
    State::Reading {
        body: Collecting::new(body, core.management.body_time),
        managed: Some(Box::new((managed, finish))),
    }
}

#[cold]
fn refuse<B>(core: &Core, request: &Request<B>, denial: &Denial, decision: &Decision) -> Response<Bytes> {
    let view = RequestView::of(request);
    let mut response = refusal::refuse(core, &view, view.path(), denial, decision);
    if request.method() == Method::HEAD {
        keep_head(&mut response);
    }
    response
}

/// Removes from a request what the service must not see, and inserts what the service must know. Returns the header of
/// the request's id for the response.
#[inline]
pub(super) fn prepare<B>(
    core: &Core,
    request: &mut Request<B>,
    admission: &mut Admission,
) -> RequestIdHeader {
    let request_id = headers::name(|| RequestView::of(request), core, admission);
    if let Some(named) = &request_id {
        request.headers_mut().insert(&named.0, named.1.clone());
    }
    headers::prepare_request(request, admission, core);
    if !admission.holds_nothing()
        && is_upgrade(request)
        && let Some(slot) = admission.slot()
    {
        request.extensions_mut().insert(slot);
    }
    request_id
}

/// Returns true if the connection, or the stream, may be used after the response, which has no body.
fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT
}

/// Adds the gate's headers to the response and closes the charge. Returns the work to wait for. Also returns what the end of
/// the response's body ends: the slots, and a charge whose end is still to come: that of a gRPC response without a status,
/// or of a request whose cost is not known yet.
#[inline]
fn finish<R>(serving: &mut Serving, response: &mut Response<R>) -> (Option<StoreFuture<()>>, CallEnd) {
    let (status, held) = (response.status().as_u16(), serving.take_held());
    serving.answer(status, response.headers_mut());
    serving.set_bytes(|| response.extensions_mut().remove());
    let Some(outcome) = serving.outcome(status, || response.extensions_mut().remove()) else {
        return (None, CallEnd::holding(held));
    };
    let by_status = call::grpc_outcome(response.headers(), outcome);
    serving.tell_credits(by_status.unwrap_or(outcome), response.headers_mut());
    match by_status {
        Some(outcome) => match serving.leave_to_meter(outcome) {
            Some(meter) => (None, CallEnd::metered(meter, held)),
            None => (serving.close(outcome), CallEnd::holding(held)),
        },
        None => (None, CallEnd::awaited(serving.take().0, outcome, held)),
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Deciding { waiting } => ready!(decided(waiting, cx)),
                Projected::Serving { future, serving } => {
                    let mut response = match ready!(serving.poll(|| future.poll(cx))) {
                        Ok(response) => response,
                        Err(error) => {
                            if let Some(closing) = serving.close(Outcome::Failed) {
                                detach(closing);
                            }
                            return Poll::Ready(Err(error));
                        }
                    };
                    let (closing, end) = finish(serving, &mut response);
                    let Some(closing) = closing else {
                        let (head, body) = response.into_parts();
                        return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::served(body, end))));
                    };
                    State::Closing { closing, response: Some((response, end)) }
                }
                Projected::Closing { closing, response } => {
                    if ready!(closed(closing, cx)).is_err() {
                        return Poll::Ready(Ok(bare_failure().map(ResponseBody::refused)));
                    }
                    let Some((response, end)) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(|body| ResponseBody::served(body, end))));
                }
                Projected::Reading { body, managed } => {
                    let read = ready!(body.poll(cx));
                    let Some(managed) = managed.take() else { return Poll::Pending };
                    let (managed, finish) = *managed;
                    State::Answering { answering: managed.answer(read), finish }
                }
                Projected::Answering { answering, finish } => {
                    let mut response = ready!(answering.as_mut().poll(cx));
                    finish.headers(&mut response);
                    State::Refused { response: Some(response) }
                }
                Projected::Refused { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(ResponseBody::refused)));
                }
            };
            state.set(next);
        }
    }
}

/// Polls the decision. When it is made, continues with the service or with the denial.
fn decided<S, B, R>(
    waiting: &mut Option<Box<Waiting<S, B>>>,
    cx: &mut Context<'_>,
) -> Poll<State<S, S::Future, S::Response, B>>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body,
{
    let Some(asked) = waiting else { return Poll::Pending };
    let decided = match decide(&mut asked.decision, &asked.core, cx, &RequestView::of(&asked.request)) {
        Poll::Ready(decided) => decided,
        Poll::Pending if asked.deadline.has_passed(cx) => Err(asked.decision.late(&asked.core)),
        Poll::Pending => return Poll::Pending,
    };
    let Some(waiting) = waiting.take() else { return Poll::Pending };
    let Waiting { core, mut decision, mut service, mut request, .. } = *waiting;
    let core = &core;
    if let Err(denial) = decided {
        let response = refuse(core, &request, &denial, &decision);
        return Poll::Ready(State::Refused { response: Some(response) });
    }
    if let Some(target) = Managed::target(core, &request, decision.admitted()) {
        return Poll::Ready(manage(core, target, request, decision.admission()));
    }
    let request_id = prepare(core, &mut request, decision.admission_mut());
    let future = service.call(request);
    Poll::Ready(State::Serving { future, serving: Serving::new(decision.admission(), request_id) })
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
