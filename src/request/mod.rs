//! What the gate sees of a request, whatever framework it came through.

mod find_key;
mod outer;

use std::fmt;
use std::net::IpAddr;

use http::HeaderName;

pub(crate) use find_key::{Finding, find_key};
pub use outer::{Admitted, TakenKey};

/// The header fields and circumstances of a request, as an adapter can show them.
pub trait Fields {
    /// Shows each value of a header, in the order of arrival, byte for byte.
    fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8]));

    /// The address of the peer on the socket, if it is known. Never one that the request itself names.
    fn peer(&self) -> Option<IpAddr>;

    /// What an outer gate has already done for this request.
    fn admitted(&self) -> Option<Admitted>;

    /// The key that an outer gate took out of this request.
    fn taken(&self) -> Option<TakenKey>;
}

/// How often a header occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occurs<'a> {
    Never,
    Once(&'a [u8]),
    Often,
}

/// A borrowed view of a request: all that a decision goes by, free of any framework.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::RequestView;
///
/// let request = Request::get("/v1/candles?symbol=BTC").body(()).unwrap();
/// let view = RequestView::of(&request);
/// assert_eq!(view.path(), "/v1/candles");
/// assert_eq!(view.query(), Some("symbol=BTC"));
/// ```
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fields: &'a dyn Fields,
}

impl<'a> RequestView<'a> {
    /// A view of a request with this method, this path as the router compares it, and this query.
    #[inline]
    pub fn new(method: &'a str, path: &'a str, query: Option<&'a str>, fields: &'a dyn Fields) -> Self {
        Self { method, path, query, fields }
    }

    /// The method, in the case it was sent in.
    #[inline]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The path, as the router compares it.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The query, as it was sent, without its `?`.
    #[inline]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The address of the peer on the socket.
    #[inline]
    pub fn peer(&self) -> Option<IpAddr> {
        self.fields.peer()
    }

    /// What an outer gate has already done for this request.
    #[inline]
    pub(crate) fn admitted(&self) -> Option<Admitted> {
        self.fields.admitted()
    }

    /// The key that an outer gate took out of this request.
    pub(crate) fn taken(&self) -> Option<TakenKey> {
        self.fields.taken()
    }

    /// Shows each value of a header.
    #[inline]
    pub(crate) fn each(&self, name: &HeaderName, visit: &mut dyn FnMut(&'a [u8])) {
        self.fields.each(name, visit);
    }

    /// A header's value, where there must be one at the most.
    #[inline]
    pub(crate) fn field(&self, name: &HeaderName) -> Occurs<'a> {
        let mut occurs = Occurs::Never;
        self.fields.each(name, &mut |value| {
            occurs = if occurs == Occurs::Never { Occurs::Once(value) } else { Occurs::Often };
        });
        occurs
    }
}

impl fmt::Debug for RequestView<'_> {
    /// Leaves the query out: a key may stand in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
