//! The changes to an admitted request before the handler sees it.

use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use actix_web::http::Uri;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::PathAndQuery;

use crate::adapter::actix::convert;
use crate::adapter::actix::gate_headers::GateHeaders;
use crate::adapter::actix::view::RequestWithGate;
use crate::adapter::headers::without_parameter;
use crate::gate::{Admission, CostMeter, Principal};

/// Removes or hides the key in a request, and inserts the principal.
pub(super) fn prepare_request(request: &mut ServiceRequest, admission: &Admission, front: &GateHeaders) {
    let core = &front.core;
    let source = admission.entry().map(|entry| entry.source);
    let taken = source.and_then(|at| {
        let request_with_gate = RequestWithGate { request, front };
        core.take_key(|| request_with_gate.view(), at)
    });
    let id_to_remove = {
        let request_with_gate = RequestWithGate { request, front };
        core.id_to_remove(|| request_with_gate.view(), source).and_then(convert::name)
    };
    if let Some(id) = id_to_remove {
        request.headers_mut().remove(id);
    }
    for (place, listed) in core.sources.iter().enumerate() {
        if let Some(parameter) = listed.parameter() {
            strip_parameter(request, parameter);
        }
        if let Some(header) = listed.header_name().and_then(|name| front.known(name)) {
            let headers = request.headers_mut();
            if core.strip_headers {
                headers.remove(header);
            } else if source == Some(place) || headers.get_all(header).len() <= 1 {
                // The gate found a key in this header, so the header occurs once.
                hide_one(headers, header);
            } else {
                hide_all(headers, header);
            }
        }
    }
    if core.principal
        && let Some(principal) = admission.principal()
    {
        let mut extensions = request.extensions_mut();
        if let Some(outer) = extensions.insert(principal)
            && let Some(principal) = extensions.get_mut::<Principal>()
        {
            principal.follow(outer);
        }
    }
    if let Some(taken) = taken {
        request.extensions_mut().insert(taken);
    }
    if let Some(meter) = admission.cost_meter() {
        let mut extensions = request.extensions_mut();
        let outer = extensions.remove::<CostMeter>();
        extensions.insert(meter.inside(outer, admission.is_charged()));
    }
    if let Some(report) = admission.weight_report()
        && let Some(outer) = request.extensions_mut().insert(report.clone())
    {
        report.follow(outer);
    }
}

fn hide_one(headers: &mut HeaderMap, name: &HeaderName) {
    if let Some(value) = headers.get_mut(name) {
        value.set_sensitive(true);
    }
}

/// Marks all values of a header as sensitive. Only the first of several values can be changed in place, so all are
/// removed and appended again.
fn hide_all(headers: &mut HeaderMap, name: &HeaderName) {
    let values: Vec<HeaderValue> = headers.remove(name).collect();
    for mut value in values {
        value.set_sensitive(true);
        headers.append(name.clone(), value);
    }
}

/// Removes the parameter from the request's query. A request without the parameter does not change.
fn strip_parameter(request: &mut ServiceRequest, parameter: &str) {
    let uri = request.uri();
    let Some(rewritten) = without_parameter(uri.path(), uri.query(), parameter) else { return };
    let mut parts = uri.clone().into_parts();
    // The path and the kept parameters are still a valid path and query. If they were not, the path must become `/`
    // rather than show the key.
    parts.path_and_query =
        Some(PathAndQuery::try_from(rewritten).unwrap_or_else(|_| PathAndQuery::from_static("/")));
    let stripped = Uri::from_parts(parts).unwrap_or_default();
    // The path does not change, so the positions of the matched segments stay valid.
    request.match_info_mut().get_mut().update(&stripped);
    request.head_mut().uri = stripped;
}
