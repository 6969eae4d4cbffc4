//! An interface to response headers that is the same for all frameworks.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of a response to which the gate adds its own.
pub(crate) trait AnswerHeaders {
    /// Returns true if `such` returns true for one of the header's values.
    fn any(&self, name: &HeaderName, such: impl FnMut(&[u8]) -> bool) -> bool;

    /// Sets a header and replaces its former values.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Sets a header if it is missing. Returns true if it was missing.
    fn set_missing(&mut self, name: HeaderName, value: HeaderValue) -> bool;

    /// Adds a value to a header.
    fn add(&mut self, name: HeaderName, value: HeaderValue);
}

/// The number of headers up to which a search compares names one by one.
const FEW: usize = 12;

impl AnswerHeaders for HeaderMap {
    fn any(&self, name: &HeaderName, mut such: impl FnMut(&[u8]) -> bool) -> bool {
        // Most responses have few headers: comparing all names costs less than the hash of one.
        if self.len() <= FEW {
            return self.iter().any(|(named, value)| named == name && such(value.as_bytes()));
        }
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
