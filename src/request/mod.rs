//! The view that the gate has of a request, independent of any framework.
//!
//! For a request of the `http` crate, [`RequestView::of`] creates the view. An adapter for another framework implements
//! [`RequestParts`] for that framework's requests.
//!
//! # Example
//!
//! ```
//! use std::net::{IpAddr, Ipv4Addr};
//!
//! use http::HeaderName;
//! use tollgate::key::Length;
//! use tollgate::request::{Admitted, RequestParts, TakenKey};
//! use tollgate::{DenialKind, Gate, KeyFormat, KeySource, RequestView};
//!
//! struct Call {
//!     headers: Vec<(String, String)>,
//!     peer: IpAddr,
//! }
//!
//! impl RequestParts for Call {
//!     fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
//!         let named = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name.as_str()));
//!         named.for_each(|(_, value)| visit(value.as_bytes()));
//!     }
//!
//!     fn peer(&self) -> Option<IpAddr> {
//!         Some(self.peer)
//!     }
//!
//!     fn admitted(&self) -> Option<Admitted> {
//!         None
//!     }
//!
//!     fn taken(&self) -> Option<TakenKey> {
//!         None
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tollgate::ConfigError> {
//! # let gate = Gate::builder()
//! #     .source(KeySource::header("X-API-Key")?)
//! #     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//! #     .build()?;
//! let call = Call { headers: vec![("X-API-Key".into(), "other_key".into())], peer: Ipv4Addr::LOCALHOST.into() };
//! let view = RequestView::new("GET", "/v1/candles", Some("limit=3"), &call);
//! assert_eq!(gate.admit(&view).await.unwrap_err().kind(), DenialKind::InvalidFormat);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`RequestView`]: the method, the path, the query and the parts of a request.
//! - [`RequestParts`]: the headers and the peer's address, as the adapter provides them.
//! - [`Channel`]: the encryption of the connection, which a server that terminates TLS tells.
//! - [`Admitted`] and [`TakenKey`]: what an outer gate leaves for an inner gate, if a request passes two gates.

mod find_key;
mod outer;

use std::fmt;
use std::net::IpAddr;

use http::HeaderName;

pub(crate) use find_key::{KeySearch, find_key};
pub use outer::{Admitted, TakenKey};

/// The header fields and connection data of a request, as provided by an adapter.
pub trait RequestParts {
    /// Calls `visit` with the exact bytes of each value of a header, in the order of arrival.
    fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8]));

    /// Returns the address of the peer on the socket, if it is known. It must never be an address that the request
    /// itself contains.
    fn peer(&self) -> Option<IpAddr>;

    /// Returns the draw and the charge that an outer gate made for this request.
    fn admitted(&self) -> Option<Admitted>;

    /// Returns the key that an outer gate removed from this request.
    fn taken(&self) -> Option<TakenKey>;

    /// Returns the encryption of the connection, if the server knows it. Defaults to `None`.
    fn channel(&self) -> Option<Channel> {
        None
    }
}

/// The encryption of the connection on which a request arrived. A server that terminates TLS itself inserts it into the
/// extensions of each request.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::request::Channel;
///
/// let mut request = Request::new(());
/// request.extensions_mut().insert(Channel::Tls);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The connection is encrypted.
    Tls,
    /// The connection is not encrypted.
    Clear,
}

/// The number of occurrences of a header, and its value if there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderCount<'a> {
    Never,
    Once(&'a [u8]),
    Often,
}

/// A borrowed view of a request, with all the inputs of a decision, independent of any framework.
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
    fields: &'a dyn RequestParts,
}

impl<'a> RequestView<'a> {
    /// Creates a view of a request with this method, this path as the router compares it, and this query.
    #[inline]
    pub fn new(method: &'a str, path: &'a str, query: Option<&'a str>, fields: &'a dyn RequestParts) -> Self {
        Self { method, path, query, fields }
    }

    /// The method, in the case in which it was sent.
    #[inline]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The path, as the router compares it.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The query as it was sent, without its `?`.
    #[inline]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The address of the peer on the socket.
    #[inline]
    pub fn peer(&self) -> Option<IpAddr> {
        self.fields.peer()
    }

    /// The draw and the charge that an outer gate made for this request.
    #[inline]
    pub(crate) fn admitted(&self) -> Option<Admitted> {
        self.fields.admitted()
    }

    /// The key that an outer gate removed from this request.
    pub(crate) fn taken(&self) -> Option<TakenKey> {
        self.fields.taken()
    }

    /// The encryption of the connection, if the server knows it.
    pub(crate) fn channel(&self) -> Option<Channel> {
        self.fields.channel()
    }

    /// Calls `visit` with each value of a header.
    #[inline]
    pub(crate) fn each(&self, name: &HeaderName, visit: &mut dyn FnMut(&'a [u8])) {
        self.fields.each(name, visit);
    }

    /// Returns the value of a header that must occur at most once.
    #[inline]
    pub(crate) fn field(&self, name: &HeaderName) -> HeaderCount<'a> {
        let mut occurs = HeaderCount::Never;
        self.fields.each(name, &mut |value| {
            occurs = if occurs == HeaderCount::Never { HeaderCount::Once(value) } else { HeaderCount::Often };
        });
        occurs
    }
}

impl fmt::Debug for RequestView<'_> {
    /// Omits the query, because it may contain a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
