//! Conversions between the two versions of the `http` crate. Names and values are the same byte for byte.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use http::Response;

use crate::respond::AnswerHeaders;

/// The headers that most responses have, in both versions. As constants, they need no parsing.
const USUAL_NAMES: [(http::HeaderName, HeaderName); 3] = [
    (http::header::CACHE_CONTROL, header::CACHE_CONTROL),
    (http::header::VARY, header::VARY),
    (http::header::REFERRER_POLICY, header::REFERRER_POLICY),
];

/// Converts a name. Both versions accept the same names, so this always returns one.
pub(super) fn name(name: &http::HeaderName) -> Option<HeaderName> {
    match USUAL_NAMES.into_iter().find(|(usual, _)| usual == name) {
        Some((_, usual)) => Some(usual),
        None => HeaderName::from_bytes(name.as_str().as_bytes()).ok(),
    }
}

/// The most frequent values of those headers.
const USUAL: [&str; 3] = ["private", "x-api-key", "no-referrer"];

/// Converts a value and keeps it sensitive. Both versions accept the same values, so this always returns one.
pub(super) fn value(value: &http::HeaderValue) -> Option<HeaderValue> {
    if let Some(usual) = USUAL.iter().find(|usual| value == *usual) {
        return Some(HeaderValue::from_static(usual));
    }
    let mut converted = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    converted.set_sensitive(value.is_sensitive());
    Some(converted)
}

/// Converts a response of the gate's own.
pub(super) fn response(answer: Response<Bytes>) -> HttpResponse {
    let (head, body) = answer.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    for (name, value) in &head.headers {
        response.headers_mut().add(name.clone(), value.clone());
    }
    response
}

impl AnswerHeaders for HeaderMap {
    fn any(&self, name: &http::HeaderName, mut such: impl FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name.as_str()).any(|value| such(value.as_bytes()))
    }

    fn set(&mut self, named: http::HeaderName, text: http::HeaderValue) {
        if let (Some(name), Some(value)) = (name(&named), value(&text)) {
            self.insert(name, value);
        }
    }

    fn set_missing(&mut self, named: http::HeaderName, text: http::HeaderValue) -> bool {
        let (Some(name), Some(value)) = (name(&named), value(&text)) else { return false };
        // The header is usually missing, so insert it at once, and restore the old values if there were any.
        let mut before = self.insert(name.clone(), value);
        let Some(first) = before.next() else { return true };
        self.insert(name.clone(), first);
        before.for_each(|value| self.append(name.clone(), value));
        false
    }

    fn add(&mut self, named: http::HeaderName, text: http::HeaderValue) {
        if let (Some(name), Some(value)) = (name(&named), value(&text)) {
            self.append(name, value);
        }
    }
}
