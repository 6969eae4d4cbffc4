//! Between the two versions of the `http` crate: names and values byte for byte.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use http::Response;

use crate::respond::AnswerHeaders;

/// A name. Both versions take the same names, so there is always one.
pub(super) fn name(name: &http::HeaderName) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_str().as_bytes()).ok()
}

/// What most answers bear: as constants they are not copied.
const USUAL: [&str; 3] = ["private", "x-api-key", "no-referrer"];

/// A value, sensitive if it was. Both versions take the same values, so there is always one.
pub(super) fn value(value: &http::HeaderValue) -> Option<HeaderValue> {
    if let Some(usual) = USUAL.iter().find(|usual| value == *usual) {
        return Some(HeaderValue::from_static(usual));
    }
    let mut converted = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    converted.set_sensitive(value.is_sensitive());
    Some(converted)
}

/// An answer of the gate's own.
pub(super) fn response(answer: Response<Bytes>) -> HttpResponse {
    let (head, body) = answer.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    for (name, value) in &head.headers {
        response.headers_mut().add(name, value.clone());
    }
    response
}

impl AnswerHeaders for HeaderMap {
    fn any(&self, name: &http::HeaderName, mut such: impl FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name.as_str()).any(|value| such(value.as_bytes()))
    }

    fn set(&mut self, named: &http::HeaderName, text: http::HeaderValue) {
        if let (Some(name), Some(value)) = (name(named), value(&text)) {
            self.insert(name, value);
        }
    }

    fn set_missing(&mut self, named: &http::HeaderName, text: http::HeaderValue) -> bool {
        let missing = !self.contains_key(named.as_str());
        if missing {
            self.set(named, text);
        }
        missing
    }

    fn add(&mut self, named: &http::HeaderName, text: http::HeaderValue) {
        if let (Some(name), Some(value)) = (name(named), value(&text)) {
            self.append(name, value);
        }
    }
}
