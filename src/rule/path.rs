//! Paths that a router, a proxy or a file system may read as another path.

use crate::query::decode;

/// Returns true if a path has dot segments, empty segments, an encoded slash, or a backslash. Such a path is granted
/// nothing, because the server behind the gate may read it as another path.
///
/// A segment is read up to its first `;`, as servlet containers read it. It is decoded twice, as two servers in a row
/// do.
#[inline]
pub(crate) fn is_odd(path: &str) -> bool {
    is_doubtful(path) && has_odd_segment(path)
}

#[cold]
fn has_odd_segment(path: &str) -> bool {
    let segments = path.strip_prefix('/').unwrap_or(path);
    has_empty_segment(path) || segments.split('/').any(is_odd_segment)
}

/// Returns true if a path has an empty segment before its last one. Routers treat it differently: matchit 0.8, and
/// therefore axum, matches it with a `{name}`; others leave it out.
pub(super) fn has_empty_segment(path: &str) -> bool {
    path.contains("//")
}

/// Returns true if a path contains anything that occurs in odd paths. Some paths that are not odd contain it too, but
/// most paths do not.
#[inline]
pub(super) fn is_doubtful(path: &str) -> bool {
    let path = path.as_bytes();
    let is_marked = |&byte: &u8| matches!(byte, b'%' | b'\\' | 0 | b'/' | b'.' | b';');
    let opens = |place: usize| place > 0 && path[place - 1] == b'/';
    let doubtful = |(place, byte): (usize, &u8)| {
        is_marked(byte) && (!matches!(byte, b'/' | b'.' | b';') || opens(place))
    };
    path.iter().enumerate().any(doubtful)
}

fn is_odd_segment(segment: &str) -> bool {
    let once = decode(segment.as_bytes());
    is_odd_reading(&once) || is_odd_reading(&decode(&once))
}

fn is_odd_reading(segment: &[u8]) -> bool {
    let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
    matches!(name, b"." | b"..")
        || (name.is_empty() && !segment.is_empty())
        || segment.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
}

#[cfg(test)]
mod tests {
    use super::is_odd;

    #[test]
    fn ambiguous_paths_are_odd() {
        let odd = [
            "//v1",
            "/v1//x",
            "/v1/..",
            "/v1/../x",
            "/./v1",
            "/.",
            "/v1/%2e%2e/x",
            "/v1/.%2E",
            "/a%2Fb",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/%2e",
            "/a\0",
            "/v1/..;/x",
            "/v1/..;a=1/x",
            "/v1/.;/x",
            "/v1/%2e%2e;/x",
            "/v1/..%3b/x",
            "/v1/;/x",
            "/v1/;a=1",
            "/;",
            "/v1/%3b/x",
            "/v1/%252e%252e/x",
            "/v1/a%252fb",
        ];
        let plain = [
            "/",
            "/v1/",
            "/v1/.well-known/x",
            "/v1/a.b",
            "/v1/..a",
            "/v1/%61",
            "/v1/a..",
            "/v1/...",
            "/%25",
            "/v1/a;x=1/b",
            "/v1/a;",
            "/v1/...;",
            "/v1/a%3b..",
        ];
        assert!(odd.iter().all(|path| is_odd(path)));
        assert!(!plain.iter().any(|path| is_odd(path)));
    }
}
