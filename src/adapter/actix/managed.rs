//! A request to which the gate itself responds.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use actix_web::body::{BodyStream, to_bytes_limited};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use bytes::Bytes;

use crate::adapter::actix::convert;
use crate::adapter::actix::gate_headers::GateHeaders;
use crate::adapter::actix::view::RequestWithGate;
use crate::adapter::call::Deadline;
use crate::adapter::headers;
use crate::gate::{Admission, BodyFault, LARGEST_BODY, Mounted, MountedRequest};
use crate::gate::{Gate, Principal};

/// Reads the request's body and responds in place of the service.
pub(super) async fn answer(
    front: Arc<GateHeaders>,
    mounted: Arc<dyn Mounted>,
    request: ServiceRequest,
    principal: Principal,
    mut admission: Admission,
) -> ServiceResponse {
    let (head, payload) = request.into_parts();
    let time = front.core.management.body_time;
    let mut read = pin!(read(payload));
    let mut deadline = Deadline::after(time);
    let body = poll_fn(|cx| match read.as_mut().poll(cx) {
        Poll::Pending if deadline.has_passed(cx) => Poll::Ready(Err(BodyFault::Late)),
        read => read,
    });
    let body = body.await;
    let request = ServiceRequest::from_request(head);
    let answer = match call(&front, &request, body, principal, &admission) {
        Some(call) => mounted.answer(Gate::of(&front.core), call).await,
        None => return request.into_response(actix_web::HttpResponse::MethodNotAllowed()),
    };
    let mut response = request.into_response(convert::response(answer));
    admission.set_status(response.status().as_u16());
    // The response already has the request's id.
    headers::answer(response.headers_mut(), &admission, &mut None);
    response
}

async fn read(payload: Payload) -> Result<Bytes, BodyFault> {
    match to_bytes_limited(BodyStream::new(payload), LARGEST_BODY).await {
        Ok(read) => read.map_err(|_| BodyFault::Broken),
        Err(_) => Err(BodyFault::TooLarge),
    }
}

fn call(
    front: &GateHeaders,
    request: &ServiceRequest,
    body: Result<Bytes, BodyFault>,
    principal: Principal,
    admission: &Admission,
) -> Option<MountedRequest> {
    let (request_with_gate, core) = (RequestWithGate { request, front }, &front.core);
    let view = request_with_gate.view();
    let media_type = request.headers().get(actix_web::http::header::CONTENT_TYPE);
    Some(MountedRequest {
        method: view.method().parse().ok()?,
        path: view.path().to_owned(),
        query: view.query().map(str::to_owned),
        media_type: media_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body,
        principal,
        client: core.proxies.client(&view),
        request_id: headers::request_id(|| view, core, admission),
    })
}
