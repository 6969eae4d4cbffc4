//! The path of a denied request, as a URI reference.

use std::borrow::Cow;
use std::fmt::Write;

use crate::key::{KeyFormat, without_keys};

/// The maximum number of bytes of a path in a denial's response.
const LONGEST: usize = 256;

/// Returns a path without keys as a relative reference (RFC 3986, section 4.2). Its length is bounded, and it names no
/// scheme and no authority.
pub(super) fn reference_to<'p>(path: &'p str, formats: &[KeyFormat]) -> Cow<'p, str> {
    match without_keys(path, formats) {
        Cow::Borrowed(path) => encoded(path),
        Cow::Owned(path) => Cow::Owned(encoded(&path).into_owned()),
    }
}

fn encoded(path: &str) -> Cow<'_, str> {
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_');
    let needs_no_care = path.starts_with('/') && !path.starts_with("//") && path.bytes().all(is_plain);
    let fits_all = || needs_no_care || (0..path.len()).all(|at| is_fit(path.as_bytes(), at));
    if path.len() <= LONGEST && fits_all() {
        return Cow::Borrowed(path);
    }
    let mut encoded = String::new();
    for (at, byte) in path.bytes().enumerate() {
        let fits = is_fit(path.as_bytes(), at);
        // A percent-encoded triplet is kept whole or omitted whole.
        let needed = if !fits || byte == b'%' { 3 } else { 1 };
        if encoded.len() + needed > LONGEST {
            break;
        }
        if fits {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Cow::Owned(encoded)
}

/// Returns true if the byte may occur unchanged at its place in the reference.
fn is_fit(path: &[u8], at: usize) -> bool {
    let hex = |at: usize| path.get(at).is_some_and(u8::is_ascii_hexdigit);
    match path[at] {
        b'/' => at != 1 || path[0] != b'/',
        b'%' => hex(at + 1) && hex(at + 2),
        // In the first segment of a path that is not absolute, a colon would end a scheme.
        b':' => path[0] == b'/',
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=@".contains(&byte),
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, reference_to};

    #[test]
    fn path_becomes_a_uri_reference() {
        let rows = [
            ("/v1/candles", "/v1/candles"),
            ("/v1/a%20b;c=d:e@f", "/v1/a%20b;c=d:e@f"),
            ("//evil.example/x", "/%2Fevil.example/x"),
            ("///x", "/%2F/x"),
            ("/v1//x", "/v1//x"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/{x}|\\\"<>^`", "/%7Bx%7D%7C%5C%22%3C%3E%5E%60"),
            ("/100%", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
            ("/a\u{0}\u{7f} b", "/a%00%7F%20b"),
            ("javascript:x", "javascript%3Ax"),
            ("*", "*"),
            ("", ""),
        ];
        for (path, reference) in rows {
            assert_eq!(reference_to(path, &[]), reference, "{path}");
        }
    }

    #[test]
    fn a_long_path_is_cut_between_triplets() {
        for path in [
            "/x".repeat(4_000),
            "/%41".repeat(4_000),
            "/\u{20ac}".repeat(4_000),
            format!("/{}", "%".repeat(300)),
        ] {
            let reference = reference_to(&path, &[]);
            assert!((LONGEST - 2..=LONGEST).contains(&reference.len()), "{reference}");
            let tail = reference.rsplit_once('%').map_or("00", |(_, tail)| tail);
            assert!(tail.len() >= 2, "{reference}");
        }
    }
}
