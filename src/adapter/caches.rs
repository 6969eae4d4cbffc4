//! The `Cache-Control` and `Vary` headers of responses to admitted keys.

use http::header::{AUTHORIZATION, CACHE_CONTROL, REFERRER_POLICY, VARY};
use http::{HeaderName, HeaderValue};

use crate::key::KeySource;
use crate::respond::AnswerHeaders;

const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// Adds the headers that stop shared caches from serving the response of an admitted key to others.
#[inline]
pub(super) fn keep_private(headers: &mut impl AnswerHeaders, source: &KeySource) {
    if source.header_name() == Some(&AUTHORIZATION) {
        return keep_per_key(headers);
    }
    if !headers.set_missing(CACHE_CONTROL, PRIVATE) {
        narrow(headers);
    }
    match source.vary() {
        Some(name) => headers.add(VARY, name),
        None => {
            // The URI contains the key, so browsers must not pass it on as a referrer.
            headers.set_missing(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
    }
}

/// Adds the headers that are key sources to `Vary`, so that a stored response to a request without a key serves no request
/// with one.
#[cold]
pub(super) fn vary_by_keys(headers: &mut impl AnswerHeaders, sources: &[KeySource]) {
    let mut named: Vec<&HeaderName> = Vec::new();
    for name in sources.iter().filter_map(KeySource::header_name) {
        if !named.contains(&name) {
            headers.add(VARY, HeaderValue::from(name.clone()));
            named.push(name);
        }
    }
}

/// Adds `Vary: authorization` if the handler allows shared caches to store the response. By default, no shared cache
/// stores a response to a request with `Authorization` (RFC 9111, section 3.5). With the handler's permission and this
/// header, a stored response serves only the same key.
fn keep_per_key(headers: &mut impl AnswerHeaders) {
    let said = CacheDirectives::of(headers);
    if said.shared || (said.revalidated && !said.private) {
        headers.add(VARY, HeaderValue::from_static("authorization"));
    }
}

/// Makes a response private that already has a `Cache-Control` of the handler. RFC 6750, section 2.3, requires this if
/// the key was in the query, even if the handler allows caches more. Other directives of the handler, such as
/// `no-cache`, are kept.
#[cold]
fn narrow(headers: &mut impl AnswerHeaders) {
    let said = CacheDirectives::of(headers);
    if !said.shared {
        if !said.private {
            headers.add(CACHE_CONTROL, PRIVATE);
        }
        return;
    }
    let mut kept = b"private".to_vec();
    headers.any(&CACHE_CONTROL, |value| {
        for directive in directives(value) {
            if !shares(directive) && !directive.eq_ignore_ascii_case(b"private") {
                kept.extend_from_slice(b", ");
                kept.extend_from_slice(directive);
            }
        }
        false
    });
    headers.set(CACHE_CONTROL, HeaderValue::from_bytes(&kept).unwrap_or(PRIVATE));
}

/// The handler's directives for caches (RFC 9111, section 5.2.2).
#[derive(Debug, Default)]
struct CacheDirectives {
    /// True if no shared cache may store the response.
    private: bool,
    /// True if shared caches may store the response.
    shared: bool,
    /// True if a stale response must be revalidated. This allows a shared cache to store a response to a request with
    /// `Authorization`.
    revalidated: bool,
}

impl CacheDirectives {
    fn of(headers: &impl AnswerHeaders) -> Self {
        let mut said = Self::default();
        headers.any(&CACHE_CONTROL, |value| {
            for directive in directives(value) {
                // A `private` with an argument applies only to the fields that it names.
                said.private |=
                    directive.eq_ignore_ascii_case(b"private") || is_called(directive, b"no-store");
                said.shared |= shares(directive);
                said.revalidated |= is_called(directive, b"must-revalidate");
            }
            false
        });
        said
    }
}

/// Returns true if a directive allows shared caches to store the response.
fn shares(directive: &[u8]) -> bool {
    is_called(directive, b"public") || is_called(directive, b"s-maxage")
}

/// Returns true if a directive has this name, with or without an argument.
fn is_called(directive: &[u8], name: &[u8]) -> bool {
    let called = directive.split(|&byte| byte == b'=').next().unwrap_or_default();
    called.trim_ascii_end().eq_ignore_ascii_case(name)
}

/// Returns the directives of a value. Commas separate them, except for commas within quotes.
fn directives(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |&byte| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted => escaped = !literal,
            b'"' if !literal => quoted = !quoted,
            _ => {}
        }
        byte == b',' && !quoted
    });
    parts.map(<[u8]>::trim_ascii).filter(|directive| !directive.is_empty())
}
