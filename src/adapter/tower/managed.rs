//! A request that the gate answers itself.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::adapter::dress;
use crate::gate::{Admission, Answering, BodyFault, Call, Core, Mounted};
use crate::gate::{Gate, Principal};
use crate::request::RequestView;
use crate::respond::RequestId;

/// A request that the gate answers itself, but for its body.
pub(super) struct Managed {
    gate: Gate,
    target: Target,
    head: Parts,
    client: Option<IpAddr>,
    request_id: RequestId,
}

/// What a request is for that the gate answers itself, and whose it is.
pub(super) struct Target {
    pub(super) mounted: Arc<dyn Mounted>,
    /// The path that it was judged by, whole.
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
    /// What a request is for, if the gate answers it itself.
    #[inline]
    pub(super) fn target<B>(core: &Core, request: &Request<B>, admission: &Admission) -> Option<Target> {
        if core.mounted.is_some() { Target::of(core, request, admission) } else { None }
    }

    /// Parts a request from its body.
    pub(super) fn part<B>(core: &Arc<Core>, target: Target, request: Request<B>) -> (Self, B) {
        let view = RequestView::of(&request);
        let (client, request_id) = (core.proxies.client(&view), core.request_ids.of(&view));
        let (head, body) = request.into_parts();
        (Self { gate: Gate(Arc::clone(core)), target, head, client, request_id }, body)
    }

    /// What the answer needs when it is there.
    pub(super) fn finish(&self, admission: Admission) -> Finish {
        Finish { admission, head_only: self.head.method == Method::HEAD }
    }

    pub(super) fn answer(self, body: Result<Bytes, BodyFault>) -> Answering {
        let media_type = self.head.headers.get(CONTENT_TYPE);
        let call = Call {
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

/// What an answer of the gate's own still needs when it is there.
pub(super) struct Finish {
    admission: Admission,
    head_only: bool,
}

impl Finish {
    /// Adds what every answer to a key bears. The request's id it has already.
    pub(super) fn dress(&self, response: &mut Response<Bytes>) {
        dress::answer(response.headers_mut(), &self.admission, &mut None);
        if self.head_only {
            keep_head(response);
        }
    }
}

/// Takes the body out of an answer to `HEAD`, and leaves its length: over HTTP/2 nobody else does.
pub(super) fn keep_head(response: &mut Response<Bytes>) {
    let length = std::mem::take(response.body_mut()).len();
    if response.status() != StatusCode::NO_CONTENT {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
}
