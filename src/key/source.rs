//! The places in a request from which a gate reads the key.

use std::fmt;

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue};

use crate::error::ConfigError;
use crate::header;

/// The name of the header that most services use. It is a constant, so copies of it need no reference count.
const USUAL: HeaderValue = HeaderValue::from_static("x-api-key");

/// Returns true if clients, browsers, proxies and servers write and interpret a header themselves. A key cannot be sent in
/// it, and the gate must not hide or remove it. Browsers can send a key with a WebSocket in its protocol alone.
fn is_unfit(name: &HeaderName) -> bool {
    (header::is_reserved(name) && *name != SEC_WEBSOCKET_PROTOCOL) || header::is_of_proxies(name)
}

/// A place in a request from which a gate reads a key. A gate has an ordered list of them, and the first source that is
/// present decides.
///
/// # Example
///
/// ```
/// use tollgate::KeySource;
///
/// let source = KeySource::header("X-API-Key")?;
/// assert_eq!(source.to_string(), "header x-api-key");
/// assert!(KeySource::header("X API Key").is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Header {
        name: HeaderName,
        /// The name as a header value, if it differs from `USUAL`.
        unusual: Option<HeaderValue>,
    },
    Authorization {
        scheme: String,
        literal: bool,
    },
    Query(String),
}

impl KeySource {
    /// Creates a source for a header that contains the key and nothing else.
    ///
    /// # Errors
    ///
    /// Returns an error for a name that no header can have, and for `Authorization`, which needs a scheme. Also returns
    /// an error for headers that have another meaning to clients, proxies and servers, such as `Host`, `Cookie`,
    /// `Content-Length` and `X-Forwarded-For`.
    pub fn header(name: &str) -> Result<Self, ConfigError> {
        let refuse =
            |problem: String, expected| Err(ConfigError::new(name, problem, expected).in_member("header"));
        match HeaderName::try_from(name) {
            Ok(AUTHORIZATION) => refuse(
                "the `Authorization` header contains a scheme".into(),
                "write `authorization = \"Bearer\"`",
            ),
            Ok(name) if is_unfit(&name) => {
                refuse(header::MEANS_SOMETHING_ELSE.into(), "write one as in `X-API-Key`")
            }
            Ok(name) => {
                let unusual = Some(HeaderValue::from(name.clone())).filter(|name| *name != USUAL);
                Ok(Self(Place::Header { name, unusual }))
            }
            Err(_) => refuse("invalid header name".into(), "write one as in `X-API-Key`"),
        }
    }

    /// Creates a source for the `Authorization` header with this scheme. The scheme is compared without regard to case,
    /// and one or more spaces follow it (RFC 6750, section 2.1).
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is not a token (RFC 9110, section 5.6.2).
    pub fn authorization(scheme: &str) -> Result<Self, ConfigError> {
        Self::with_scheme(scheme, false)
    }

    /// Creates a source for the `Authorization` header that begins with the literal scheme and exactly one space.
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is not a token (RFC 9110, section 5.6.2).
    pub fn authorization_literal(scheme: &str) -> Result<Self, ConfigError> {
        Self::with_scheme(scheme, true)
    }

    fn with_scheme(scheme: &str, literal: bool) -> Result<Self, ConfigError> {
        if scheme.is_empty() || !scheme.bytes().all(is_token) {
            let problem = "invalid authorization scheme";
            return Err(
                ConfigError::new(scheme, problem, "write one as in `Bearer`").in_member("authorization")
            );
        }
        Ok(Self(Place::Authorization { scheme: scheme.to_owned(), literal }))
    }

    /// Creates a source for a query parameter. Its name and value are percent-decoded once before they are compared.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is empty, contains a character that is not visible ASCII, or contains one of `&`,
    /// `=`, `#`, `%` and `+`.
    pub fn query(name: &str) -> Result<Self, ConfigError> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#%+".contains(&byte)) {
            let problem = "invalid name of a query parameter for a key";
            return Err(ConfigError::new(name, problem, "write one as in `api-key`").in_member("query"));
        }
        Ok(Self(Place::Query(name.to_owned())))
    }

    /// Returns the header that contains the key. Returns `None` for a query parameter.
    pub(crate) fn header_name(&self) -> Option<&HeaderName> {
        match &self.0 {
            Place::Header { name, .. } => Some(name),
            Place::Authorization { .. } => Some(&AUTHORIZATION),
            Place::Query(_) => None,
        }
    }

    /// Returns the header that contains only the key, as a value for `Vary`. Returns `None` for other places.
    #[inline]
    pub(crate) fn vary(&self) -> Option<HeaderValue> {
        let Place::Header { unusual, .. } = &self.0 else { return None };
        Some(unusual.clone().unwrap_or(USUAL))
    }

    /// Returns the name of the query parameter that contains the key. Returns `None` for other places.
    pub(crate) fn parameter(&self) -> Option<&str> {
        if let Place::Query(name) = &self.0 { Some(name) } else { None }
    }

    /// Returns true if both sources read the same place. Schemes of `Authorization` are compared without regard to
    /// case.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::Authorization { scheme, .. }, Place::Authorization { scheme: later, .. }) => {
                scheme.eq_ignore_ascii_case(later)
            }
            (place, later) => place == later,
        }
    }

    /// Returns the scheme of the challenge that a 401 names for this source (RFC 9110, section 11.6.1).
    pub(crate) fn challenge_scheme(&self) -> &str {
        if let Place::Authorization { scheme, .. } = &self.0 { scheme } else { "ApiKey" }
    }

    /// Returns true if the source is a Bearer credential (RFC 6750).
    pub(crate) fn is_bearer(&self) -> bool {
        matches!(&self.0, Place::Authorization { scheme, .. } if scheme.eq_ignore_ascii_case("Bearer"))
    }

    /// Returns the place that the source reads.
    #[inline]
    pub(crate) fn place(&self) -> &Place {
        &self.0
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Header { name, .. } => write!(f, "header {name}"),
            Place::Authorization { scheme, .. } => write!(f, "authorization {scheme}"),
            Place::Query(name) => write!(f, "query {name}"),
        }
    }
}

/// Returns true if the byte is a character of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
