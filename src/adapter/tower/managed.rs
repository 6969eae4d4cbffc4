//! A request that the gate answers itself.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::gate::{Answering, BodyFault, Call, Core, Mounted};
use crate::{Gate, Principal, RequestId, RequestView};

/// A request that the gate answers itself, but for its body.
pub(super) struct Managed {
    gate: Gate,
    mounted: Arc<dyn Mounted>,
    principal: Principal,
    head: Parts,
    client: Option<IpAddr>,
    request_id: RequestId,
}

impl Managed {
    /// What a request is for, if the gate answers it itself.
    pub(super) fn target<B>(core: &Core, request: &Request<B>) -> Option<Arc<dyn Mounted>> {
        core.mounted.as_ref()?;
        core.mounted_at(RequestView::of(request).path())
    }

    /// Parts a request from its body.
    pub(super) fn part<B>(
        core: &Arc<Core>,
        mounted: Arc<dyn Mounted>,
        request: Request<B>,
        principal: Principal,
    ) -> (Self, B) {
        let view = RequestView::of(&request);
        let (client, request_id) = (core.proxies.client(&view), core.request_ids.of(&view));
        let (head, body) = request.into_parts();
        (Self { gate: Gate(Arc::clone(core)), mounted, principal, head, client, request_id }, body)
    }

    pub(super) fn answer(self, body: Result<Bytes, BodyFault>) -> Answering {
        let media_type = self.head.headers.get(CONTENT_TYPE);
        let call = Call {
            method: self.head.method,
            path: self.head.uri.path().to_owned(),
            query: self.head.uri.query().map(str::to_owned),
            media_type: media_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            body,
            principal: self.principal,
            client: self.client,
            request_id: self.request_id,
        };
        self.mounted.answer(self.gate, call)
    }
}
