//! The future of a response through the gate.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use pin_project_lite::pin_project;

use crate::adapter::actix::GatedBody;
use crate::adapter::actix::gate_headers::GateHeaders;
use crate::adapter::actix::prepare_request::prepare_request;
use crate::adapter::actix::view::RequestWithGate;
use crate::adapter::actix::{convert, managed};
use crate::adapter::serving::Serving;
use crate::adapter::{call, closed, headers, refusal};
use crate::denial::Denial;
use crate::future::StoreFuture;
use crate::gate::{Admission, Decision, Held, bare_failure, decide};
use crate::respond::RequestCredits;

pin_project! {
    /// The future of a response through a [`TollgateMiddleware`](crate::adapter::TollgateMiddleware).
    pub struct MiddlewareFuture<S, B>
    where
        S: Service<ServiceRequest>,
    {
        #[pin]
        state: State<S, S::Future, B>,
    }
}

type Answer<B> = Result<ServiceResponse<EitherBody<GatedBody<B>>>, actix_web::Error>;

pin_project! {
    #[project = Projected]
    enum State<S, F, B> {
        Deciding { waiting: Option<Box<Waiting<S>>> },
        Serving { #[pin] future: F, serving: Serving },
        Closing { closing: StoreFuture<()>, answer: Option<Answer<B>> },
        Managing { answering: Pin<Box<dyn Future<Output = ServiceResponse>>> },
        Refused { response: Option<ServiceResponse> },
    }
}

/// A request that waits for a remote back end's decision.
struct Waiting<S> {
    front: Arc<GateHeaders>,
    decision: Decision,
    service: Rc<S>,
    request: ServiceRequest,
}

impl<S, B> MiddlewareFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
{
    pub(super) fn decide(
        front: Arc<GateHeaders>,
        decision: Decision,
        service: Rc<S>,
        request: ServiceRequest,
    ) -> Self {
        let waiting = Waiting { front, decision, service, request };
        Self { state: State::Deciding { waiting: Some(Box::new(waiting)) } }
    }

    pub(super) fn serve(
        front: &Arc<GateHeaders>,
        service: &S,
        request: ServiceRequest,
        admission: Admission,
    ) -> Self {
        Self { state: serve(front, service, request, admission) }
    }

    pub(super) fn refuse(
        front: &GateHeaders,
        request: ServiceRequest,
        denial: &Denial,
        decision: &Decision,
    ) -> Self {
        Self { state: State::Refused { response: Some(refuse(front, request, denial, decision)) } }
    }
}

fn serve<S, B>(
    front: &Arc<GateHeaders>,
    service: &S,
    mut request: ServiceRequest,
    admission: Admission,
) -> State<S, S::Future, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
{
    let core = &front.core;
    // Management is free, so the admission has no charge that must be closed.
    if let Some(mounted) = core.mounted_at(request.match_info().as_str())
        && let Some(principal) = admission.principal()
    {
        let answering = Box::pin(managed::answer(Arc::clone(front), mounted, request, principal, admission));
        return State::Managing { answering };
    }
    let request_id = {
        let request_with_gate = RequestWithGate { request: &request, front };
        headers::name(|| request_with_gate.view(), core, &admission)
    };
    if let Some(named) = &request_id
        && let (Some(name), Some(id)) = (convert::name(&named.0), convert::value(&named.1))
    {
        request.headers_mut().insert(name, id);
    }
    prepare_request(&mut request, &admission, front);
    let serving = Serving::new(admission, request_id);
    State::Serving { future: service.call(request), serving }
}

fn refuse(
    front: &GateHeaders,
    request: ServiceRequest,
    denial: &Denial,
    decision: &Decision,
) -> ServiceResponse {
    // For a `HEAD` request, actix-web itself sends only the head, with the length of the body.
    let request_with_gate = RequestWithGate { request: &request, front };
    let answer =
        refusal::refuse(&front.core, &request_with_gate.view(), request.uri().path(), denial, decision);
    request.into_response(convert::response(answer))
}

/// Adds the gate's headers to the response, and closes the charge. An error counts as the response with its status. The slots
/// of the request, and a charge whose cost is not known yet, are held until the end of the body. The charge of an error is
/// settled at once.
fn finish<B>(
    serving: &mut Serving,
    mut result: Result<ServiceResponse<B>, actix_web::Error>,
) -> (Option<StoreFuture<()>>, Answer<B>) {
    let (mut held, mut meter) = (serving.take_held(), None);
    let closing = match &mut result {
        Ok(response) => {
            let status = response.status().as_u16();
            serving.answer(status, response.headers_mut());
            serving.set_bytes(|| response.response_mut().extensions_mut().remove());
            let outcome = serving.outcome(status, || response.response_mut().extensions_mut().remove());
            outcome.and_then(|outcome| {
                // actix-web sends no trailers, so a status that is not in the head never comes.
                let outcome = call::grpc_outcome(response.headers(), outcome).unwrap_or(outcome);
                serving.tell_credits(outcome, response.headers_mut());
                meter = serving.leave_to_meter(outcome);
                if meter.is_some() { None } else { serving.close(outcome) }
            })
        }
        Err(error) => {
            let status = error.as_response_error().status_code().as_u16();
            serving.set_status(status);
            let outcome = serving.outcome(status, || None);
            let credits = outcome.and_then(|outcome| serving.credits_after(outcome));
            let closing = outcome.and_then(|outcome| serving.close(outcome));
            answer_later(serving, credits, std::mem::take(&mut held), error);
            closing
        }
    };
    let gated = |response: ServiceResponse<B>| response.map_body(|_, body| GatedBody::new(body, held, meter));
    (closing, result.map(|response| gated(response).map_into_left_body()))
}

/// Adds the gate's headers to the response of an error once that response is created, because some errors can create only
/// one. The error keeps its type, also for middleware that looks for it.
fn answer_later(
    serving: &mut Serving,
    credits: Option<RequestCredits>,
    held: Held,
    error: &mut actix_web::Error,
) {
    let (admission, request_id) = serving.take();
    let held = Cell::new(held);
    error.add_response_mapper(move |mut response| {
        headers::answer(response.headers_mut(), &admission, &mut request_id.clone());
        headers::tell_credits(response.headers_mut(), &admission, credits);
        // The body of an error's response may be a stream.
        response.map_body(|_, body| GatedBody::new(body, held.take(), None).boxed())
    });
}

impl<S, B> Future for MiddlewareFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Output = Answer<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Deciding { waiting } => ready!(decided(waiting, cx)),
                Projected::Serving { future, serving } => {
                    let result = ready!(serving.poll(|| future.poll(cx)));
                    let (closing, answer) = finish(serving, result);
                    let Some(closing) = closing else { return Poll::Ready(answer) };
                    State::Closing { closing, answer: Some(answer) }
                }
                Projected::Closing { closing, answer } => {
                    let closed = ready!(closed(closing, cx));
                    let Some(answer) = answer.take() else { return Poll::Pending };
                    return Poll::Ready(if closed.is_ok() { answer } else { failed(answer) });
                }
                Projected::Managing { answering } => {
                    State::Refused { response: Some(ready!(answering.as_mut().poll(cx))) }
                }
                Projected::Refused { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map_into_right_body()));
                }
            };
            state.set(next);
        }
    }
}

/// Replaces a response, or an error, with a failure.
fn failed<B: MessageBody>(answer: Answer<B>) -> Answer<B> {
    let failure = convert::response(bare_failure());
    match answer {
        Ok(response) => {
            let (request, _) = response.into_parts();
            Ok(ServiceResponse::new(request, failure.map_into_right_body()))
        }
        Err(error) => Err(InternalError::from_response(error, failure.map_into_boxed_body()).into()),
    }
}

/// Polls the decision. When it is made, continues with the service or with the denial.
fn decided<S, B>(waiting: &mut Option<Box<Waiting<S>>>, cx: &mut Context<'_>) -> Poll<State<S, S::Future, B>>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
{
    let Some(asked) = waiting else { return Poll::Pending };
    let request_with_gate = RequestWithGate { request: &asked.request, front: &asked.front };
    let decided = ready!(decide(&mut asked.decision, &asked.front.core, cx, &request_with_gate.view()));
    let Some(waiting) = waiting.take() else { return Poll::Pending };
    let Waiting { front, mut decision, service, request } = *waiting;
    Poll::Ready(match decided {
        Ok(()) => serve(&front, &*service, request, decision.admission()),
        Err(denial) => State::Refused { response: Some(refuse(&front, request, &denial, &decision)) },
    })
}

impl<S, B> fmt::Debug for MiddlewareFuture<S, B>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiddlewareFuture").finish_non_exhaustive()
    }
}
