//! Extractors for handlers.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};

use crate::account::ParamLimits;
use crate::adapter::NoPrincipal;
use crate::gate::Principal;

impl ResponseError for NoPrincipal {}

/// The principal of the request. `Option<Principal>` is for handlers of routes that are also public.
impl FromRequest for Principal {
    type Error = NoPrincipal;
    type Future = Ready<Result<Self, NoPrincipal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get().cloned().ok_or(NoPrincipal))
    }
}

/// The limits on parameters that apply to the request.
impl FromRequest for ParamLimits {
    type Error = NoPrincipal;
    type Future = Ready<Result<Self, NoPrincipal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let principal = extensions.get::<Principal>().ok_or(NoPrincipal);
        ready(principal.map(|principal| principal.caps().clone()))
    }
}
