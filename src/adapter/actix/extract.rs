//! Extractors for handlers.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};

use crate::account::Caps;
use crate::adapter::NoPrincipal;
use crate::gate::Principal;

impl ResponseError for NoPrincipal {}

/// Who was let in. `Option<Principal>` is for routes that are public too.
impl FromRequest for Principal {
    type Error = NoPrincipal;
    type Future = Ready<Result<Self, NoPrincipal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get().cloned().ok_or(NoPrincipal))
    }
}

/// The caps in force.
impl FromRequest for Caps {
    type Error = NoPrincipal;
    type Future = Ready<Result<Self, NoPrincipal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let principal = extensions.get::<Principal>().ok_or(NoPrincipal);
        ready(principal.map(|principal| principal.caps().clone()))
    }
}
