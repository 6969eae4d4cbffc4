//! A request to which the gate itself responds.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::adapter::headers;
use crate::gate::{Admission, Answering, BodyFault, Core, Mounted, MountedRequest};
use crate::gate::{Gate, Principal};
use crate::request::RequestView;
use crate::respond::RequestId;

/// A request to which the gate itself responds, without its body.
pub(super) struct Managed {
    gate: Gate,
    target: Target,
    head: Parts,
    client: Option<IpAddr>,
    request_id: RequestId,
}

/// The endpoint, path and caller of a request to which the gate itself responds.
pub(super) struct Target {
    pub(super) mounted: Arc<dyn Mounted>,
    /// The whole path by which the request was checked.
    pub(super) path: String,
    pub(super) principal: Principal,
}

impl Target {
    fn of<B>(core: &Core, request: &Request<B>, admission: &Admission) -> Option<Self> {
        let view = RequestView::of(request);
        let mounted = core.mounted_at(view.path())?;
        Some(Self { mounted, path: view.path().to_owned(), principal: admission.principal()? })
    }
}

impl Managed {
    /// Returns the target of a request, if the gate itself responds to it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "most gates have no such endpoint, and the target is large")]
    pub(super) fn target<B>(core: &Core, request: &Request<B>, admission: &Admission) -> Option<Target> {
        if core.mounted.is_some() { Target::of(core, request, admission) } else { None }
    }

    /// Separates a request from its body.
    pub(super) fn part<B>(
        core: &Arc<Core>,
        target: Target,
        request: Request<B>,
        admission: &Admission,
    ) -> (Self, B) {
        let view = RequestView::of(&request);
        let (client, request_id) =
            (core.proxies.client(&view), headers::request_id(|| view, core, admission));
        let (head, body) = request.into_parts();
        (Self { gate: Gate::of(core), target, head, client, request_id }, body)
    }

    /// Returns the remaining work on the response.
    pub(super) fn finish(&self, admission: Admission) -> ManagedResponse {
        ManagedResponse { admission, head_only: self.head.method == Method::HEAD }
    }

    pub(super) fn answer(self, body: Result<Bytes, BodyFault>) -> Answering {
        let media_type = self.head.headers.get(CONTENT_TYPE);
        let call = MountedRequest {
            method: self.head.method,
            path: self.target.path,
            query: self.head.uri.query().map(str::to_owned),
            media_type: media_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            body,
            principal: self.target.principal,
            client: self.client,
            request_id: self.request_id,
        };
        self.target.mounted.answer(self.gate, call)
    }
}

/// The remaining work on a response of the gate's own.
pub(super) struct ManagedResponse {
    admission: Admission,
    head_only: bool,
}

impl ManagedResponse {
    /// Adds the headers that every response to an admitted key has, except the request's id, which is already there.
    pub(super) fn headers(&mut self, response: &mut Response<Bytes>) {
        self.admission.set_status(response.status().as_u16());
        headers::answer(response.headers_mut(), &self.admission, &mut None);
        if self.head_only {
            keep_head(response);
        }
    }
}

/// Removes the body of a response to `HEAD` and keeps its length. Over HTTP/2, no other layer removes the body.
pub(super) fn keep_head(response: &mut Response<Bytes>) {
    let length = std::mem::take(response.body_mut()).len();
    if response.status() != StatusCode::NO_CONTENT {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
}
