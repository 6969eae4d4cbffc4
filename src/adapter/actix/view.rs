//! The gate's view of a request of actix-web.

use std::net::IpAddr;

use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use http::HeaderName;

use crate::adapter::actix::gate_headers::GateHeaders;
use crate::gate::Principal;
use crate::request::{Admitted, Channel, RequestParts, RequestView, TakenKey};

/// A request and the gate that checks it.
pub(super) struct RequestWithGate<'r> {
    pub(super) request: &'r ServiceRequest,
    pub(super) front: &'r GateHeaders,
}

impl RequestWithGate<'_> {
    /// Returns the gate's view of the request. Its path is the whole path as actix-web routes it, also within a scope.
    pub(super) fn view(&self) -> RequestView<'_> {
        let path = self.request.match_info().as_str();
        RequestView::new(self.request.method().as_str(), path, self.request.uri().query(), self)
    }
}

impl RequestParts for RequestWithGate<'_> {
    fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
        let headers = self.request.headers();
        let values = match self.front.known(name) {
            Some(name) => headers.get_all(name),
            None => headers.get_all(name.as_str()),
        };
        values.for_each(|value| visit(value.as_bytes()));
    }

    fn peer(&self) -> Option<IpAddr> {
        self.request.peer_addr().map(|socket| socket.ip())
    }

    fn admitted(&self) -> Option<Admitted> {
        self.request.extensions().get::<Principal>().map(Principal::admitted)
    }

    fn taken(&self) -> Option<TakenKey> {
        self.request.extensions().get().cloned()
    }

    fn channel(&self) -> Option<Channel> {
        self.request.extensions().get().copied()
    }
}
