//! The headers of an answer, whatever framework sends it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of an answer that is being dressed.
pub(crate) trait AnswerHeaders {
    /// Whether one of a header's values is such.
    fn any(&self, name: &HeaderName, such: impl FnMut(&[u8]) -> bool) -> bool;

    /// Sets a header, whatever it was.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Sets a header that is not there; says whether it was not.
    fn set_missing(&mut self, name: HeaderName, value: HeaderValue) -> bool;

    /// Adds a value to a header.
    fn add(&mut self, name: HeaderName, value: HeaderValue);
}

impl AnswerHeaders for HeaderMap {
    fn any(&self, name: &HeaderName, mut such: impl FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name).iter().any(|value| such(value.as_bytes()))
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    fn set_missing(&mut self, name: HeaderName, value: HeaderValue) -> bool {
        let missing = self.keys().all(|named| *named != name);
        if missing {
            self.insert(name, value);
        }
        missing
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.append(name, value);
    }
}
