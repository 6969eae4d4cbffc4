//! The headers of an answer, whatever framework sends it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of an answer that is being dressed.
pub(crate) trait AnswerHeaders {
    /// Whether one of a header's values is such.
    fn any(&self, name: &HeaderName, such: impl Fn(&[u8]) -> bool) -> bool;

    /// Sets a header, whatever it was.
    fn set(&mut self, name: &HeaderName, value: HeaderValue);

    /// Sets a header that is not there.
    fn set_missing(&mut self, name: &HeaderName, value: HeaderValue);

    /// Adds a value to a header.
    fn add(&mut self, name: &HeaderName, value: HeaderValue);
}

impl AnswerHeaders for HeaderMap {
    fn any(&self, name: &HeaderName, such: impl Fn(&[u8]) -> bool) -> bool {
        self.get_all(name).iter().any(|value| such(value.as_bytes()))
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    fn set_missing(&mut self, name: &HeaderName, value: HeaderValue) {
        self.entry(name).or_insert(value);
    }

    fn add(&mut self, name: &HeaderName, value: HeaderValue) {
        self.append(name, value);
    }
}
