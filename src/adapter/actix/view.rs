//! What the gate sees of a request of actix-web.

use std::net::IpAddr;

use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use http::HeaderName;

use crate::{Fields, KeyId, Principal, RequestView};

impl Fields for ServiceRequest {
    fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
        for value in self.headers().get_all(name.as_str()) {
            visit(value.as_bytes());
        }
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer_addr().map(|socket| socket.ip())
    }

    fn admitted(&self) -> Option<KeyId> {
        self.extensions().get::<Principal>().map(Principal::key)
    }
}

/// A view of a request: its path as actix-web routes it, whole, also within a scope.
pub(super) fn view_of(request: &ServiceRequest) -> RequestView<'_> {
    let path = request.match_info().as_str();
    RequestView::new(request.method().as_str(), path, request.uri().query(), request)
}
