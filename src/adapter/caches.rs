//! What caches may keep of an answer to a key.

use http::HeaderValue;
use http::header::{AUTHORIZATION, CACHE_CONTROL, REFERRER_POLICY, VARY};

use crate::key::KeySource;
use crate::respond::AnswerHeaders;

const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// Adds what an answer to an admitted key needs, so that no shared cache keeps it for others.
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
            // The address with the key in it is not passed on.
            headers.set_missing(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
    }
}

/// No shared cache keeps what answers `Authorization`, unless the handler says that it may (RFC 9111, section 3.5): then
/// what it keeps answers the same key alone.
fn keep_per_key(headers: &mut impl AnswerHeaders) {
    let said = Said::of(headers);
    if said.shared || (said.revalidated && !said.private) {
        headers.add(VARY, HeaderValue::from_static("authorization"));
    }
}

/// Makes an answer private for which the handler says something: RFC 6750, section 2.3, asks for it where the key stood in
/// the query, also where the handler allows caches more. What else the handler asks for, such as `no-cache`, stands.
#[cold]
fn narrow(headers: &mut impl AnswerHeaders) {
    let said = Said::of(headers);
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

/// What the handler says of caches (RFC 9111, section 5.2.2).
#[derive(Debug, Default)]
struct Said {
    /// No shared cache may keep the answer.
    private: bool,
    /// Shared caches may keep it.
    shared: bool,
    /// It is not used when it is stale: allows a shared cache to keep what answers `Authorization`.
    revalidated: bool,
}

impl Said {
    fn of(headers: &impl AnswerHeaders) -> Self {
        let mut said = Self::default();
        headers.any(&CACHE_CONTROL, |value| {
            for directive in directives(value) {
                // With an argument `private` is for the fields alone that it names.
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

/// Whether a directive allows shared caches to keep the answer.
fn shares(directive: &[u8]) -> bool {
    is_called(directive, b"public") || is_called(directive, b"s-maxage")
}

/// Whether a directive has this name, with an argument or without.
fn is_called(directive: &[u8], name: &[u8]) -> bool {
    let called = directive.split(|&byte| byte == b'=').next().unwrap_or_default();
    called.trim_ascii_end().eq_ignore_ascii_case(name)
}

/// The directives of a value: what its commas part, but for those within quotes.
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
