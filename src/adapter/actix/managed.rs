//! A request that the gate answers itself.

use std::sync::Arc;

use actix_web::body::{BodyStream, to_bytes_limited};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use bytes::Bytes;

use crate::adapter::actix::convert;
use crate::adapter::actix::view::view_of;
use crate::gate::{BodyFault, Call, Core, LARGEST_BODY, Mounted};
use crate::{Gate, Principal};

/// Reads the request's body, and answers in place of the service.
pub(super) async fn answer(
    core: Arc<Core>,
    mounted: Arc<dyn Mounted>,
    request: ServiceRequest,
    principal: Principal,
) -> ServiceResponse {
    let (head, payload) = request.into_parts();
    let body = read(payload).await;
    let request = ServiceRequest::from_request(head);
    let answer = match call(&core, &request, body, principal) {
        Some(call) => mounted.answer(Gate(core), call).await,
        None => return request.into_response(actix_web::HttpResponse::MethodNotAllowed()),
    };
    request.into_response(convert::response(answer))
}

async fn read(payload: Payload) -> Result<Bytes, BodyFault> {
    match to_bytes_limited(BodyStream::new(payload), LARGEST_BODY).await {
        Ok(read) => read.map_err(|_| BodyFault::Broken),
        Err(_) => Err(BodyFault::TooLarge),
    }
}

fn call(
    core: &Core,
    request: &ServiceRequest,
    body: Result<Bytes, BodyFault>,
    principal: Principal,
) -> Option<Call> {
    let view = view_of(request);
    let media_type = request.headers().get(actix_web::http::header::CONTENT_TYPE);
    Some(Call {
        method: view.method().parse().ok()?,
        path: view.path().to_owned(),
        query: view.query().map(str::to_owned),
        media_type: media_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body,
        principal,
        client: core.proxies.client(&view),
        request_id: core.request_ids.of(&view),
    })
}
