//! A request that the gate answers itself.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::gate::{Admission, Answering, BodyFault, Call, Core, Mounted};
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
    /// Takes a request, and parts it from its body, where it is for what is mounted.
    pub(super) fn take<B>(
        core: &Arc<Core>,
        request: Request<B>,
        admission: &Admission,
    ) -> Result<(Self, B), Request<B>> {
        let Some(mounted) = core.mounted.as_ref().filter(|mounted| mounted.takes(request.uri().path()))
        else {
            return Err(request);
        };
        let Some(principal) = admission.principal(core) else { return Err(request) };
        let view = RequestView::of(&request);
        let (client, request_id) = (core.proxies.client(&view), core.request_ids.of(&view));
        let (head, body) = request.into_parts();
        let (gate, mounted) = (Gate(Arc::clone(core)), Arc::clone(mounted));
        Ok((Self { gate, mounted, principal, head, client, request_id }, body))
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
