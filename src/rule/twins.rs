//! Twins: patterns of paths that some routers match with a given pattern, and others do not.

use std::borrow::Cow;

/// The maximum number of segments that can contain a parameter beside text. A pattern has a twin for each subset of
/// them.
const MOST: usize = 4;

/// Returns the patterns of the paths that a router may match with this pattern.
pub(super) fn of(pattern: &str) -> Vec<String> {
    let mut shapes = vec![pattern.to_owned()];
    // matchit 0.8, and therefore axum, lets a parameter be empty unless it ends the path.
    for place in beside_text(pattern) {
        let emptied: Vec<_> = shapes.iter().map(|shape| without_parameter(shape, place)).collect();
        shapes.extend(emptied);
    }
    for shape in shapes.clone() {
        shapes.extend(at_the_end(&shape));
    }
    let decoded: Vec<_> = shapes.iter().filter_map(|shape| decoded_pattern(shape)).collect();
    shapes.extend(decoded);
    shapes.retain(|shape| shape != pattern);
    shapes
}

/// Returns true if a pattern has more twins than are allowed.
pub(super) fn too_many(pattern: &str) -> bool {
    beside_text(pattern).len() > MOST
}

/// Returns the first segment that contains a `{*rest}` beside text.
pub(super) fn partial_rest(pattern: &str) -> Option<&str> {
    pattern.split('/').find(|segment| {
        let parameter = gap(segment).map(|(from, _)| segment.split_at(from));
        parameter.is_some_and(|(text, rest)| !text.is_empty() && rest.starts_with("{*"))
    })
}

/// Returns true if a path may match both patterns, and the second is not found before this twin.
pub(super) fn compete(twin: &str, pattern: &str) -> bool {
    meet(twin, pattern) && (!covers(twin, pattern) || covers(pattern, twin))
}

/// Returns true if one path may match both patterns.
fn meet(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if is_rest(one) || is_rest(other) => return true,
            (Some(one), Some(other)) if segments_meet(one, other) => {}
            _ => return false,
        }
    }
}

/// Returns the text of a pattern before its first brace. If two patterns match one path, the text of one starts with the
/// text of the other.
pub(super) fn text(pattern: &str) -> &str {
    pattern.find('{').map_or(pattern, |brace| &pattern[..brace])
}

fn segments_meet(one: &str, other: &str) -> bool {
    match (gap(one), gap(other)) {
        (None, None) => one == other,
        (Some(gap), None) => is_filled(one, gap, other),
        (None, Some(gap)) => is_filled(other, gap, one),
        (Some((from, to)), Some((other_from, other_to))) => {
            let (before, other_before) = (&one[..from], &other[..other_from]);
            let (behind, other_behind) = (&one[to..], &other[other_to..]);
            (before.starts_with(other_before) || other_before.starts_with(before))
                && (behind.ends_with(other_behind) || other_behind.ends_with(behind))
        }
    }
}

/// Returns true if a segment with a parameter matches a text. A whole segment is not empty.
fn is_filled(segment: &str, (from, to): (usize, usize), text: &str) -> bool {
    let (before, behind) = (&segment[..from], &segment[to..]);
    !text.is_empty() && text.strip_prefix(before).is_some_and(|rest| rest.ends_with(behind))
}

/// Returns true if the first pattern matches every path that the second matches, as far as a comparison by segments can
/// decide.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wides, mut narrows) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wides.next(), narrows.next()) {
            (None, None) => return true,
            (Some(wide), Some(_)) if is_rest(wide) => return true,
            (Some(wide), Some(narrow)) if !is_rest(narrow) && covers_segment(wide, narrow) => {}
            _ => return false,
        }
    }
}

fn covers_segment(wide: &str, narrow: &str) -> bool {
    match (gap(wide), gap(narrow)) {
        (None, None) => wide == narrow,
        (Some(gap), _) if gap == (0, wide.len()) => !narrow.is_empty(),
        (Some((from, to)), Some((narrow_from, narrow_to))) => {
            wide[..from] == narrow[..narrow_from] && wide[to..] == narrow[narrow_to..]
        }
        _ => false,
    }
}

fn is_rest(segment: &str) -> bool {
    segment.starts_with("{*")
}

/// Returns the indexes of the segments, except for the last, that contain a parameter beside text.
fn beside_text(pattern: &str) -> Vec<usize> {
    let segments: Vec<_> = pattern.split('/').collect();
    let is_beside = |segment: &str| gap(segment).is_some_and(|(from, to)| (from, to) != (0, segment.len()));
    let before_last = segments.len().saturating_sub(1);
    (0..before_last).filter(|place| is_beside(segments[*place])).collect()
}

/// Returns the start and the end of a segment's parameter. Doubled braces are text.
pub(super) fn gap(segment: &str) -> Option<(usize, usize)> {
    let bytes = segment.as_bytes();
    let mut from = 0;
    while let Some(open) = bytes.get(from..)?.iter().position(|byte| *byte == b'{') {
        let open = from + open;
        if bytes.get(open + 1) != Some(&b'{') {
            return segment[open..].find('}').map(|length| (open, open + length + 1));
        }
        from = open + 2;
    }
    None
}

fn without_parameter(pattern: &str, place: usize) -> String {
    let emptied = |(nth, segment): (usize, &str)| match gap(segment) {
        Some((from, to)) if nth == place => Cow::Owned(format!("{}{}", &segment[..from], &segment[to..])),
        _ => segment.to_owned().into(),
    };
    pattern.split('/').enumerate().map(emptied).collect::<Vec<_>>().join("/")
}

/// Returns the patterns that differ by a slash at the end. A nested service answers both, and actix-web's `{rest:.*}`
/// may be empty.
fn at_the_end(pattern: &str) -> Vec<String> {
    let bare = match pattern.split_once("{*") {
        Some((above, _)) if above.ends_with('/') => above.trim_end_matches('/'),
        Some(_) => return Vec::new(),
        None => pattern.trim_end_matches('/'),
    };
    let slashed = format!("{bare}/");
    if bare.is_empty() { vec![slashed] } else { vec![bare.to_owned(), slashed] }
}

/// Returns the decoded form of a pattern.
fn decoded_pattern(pattern: &str) -> Option<String> {
    // A decoded brace is text, so it is doubled.
    let times = |byte| if matches!(byte, b'{' | b'}') { 2 } else { 1 };
    decode_with(pattern, |byte| std::iter::repeat_n(byte, times(byte)))
}

/// Returns the decoded form of a path, or `None` if it has no other form.
pub(super) fn decoded(path: &str) -> Option<String> {
    decode_with(path, std::iter::once)
}

/// Returns a text in the form of actix-web's paths: decoded once, except for `%25`, `%2B` and `%2F`. `write` returns the
/// text of a decoded byte.
fn decode_with<I: IntoIterator<Item = u8>>(text: &str, write: impl Fn(u8) -> I) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let mut read = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        if let Some(escaped) = escaped(rest).filter(|byte| !matches!(byte, b'%' | b'+' | b'/')) {
            read.extend(write(escaped));
            rest = &rest[3..];
        } else {
            read.push(byte);
            rest = behind;
        }
    }
    let read = String::from_utf8_lossy(&read).into_owned();
    (read != text).then_some(read)
}

/// Returns the decoded byte if a text begins with a percent-encoded byte.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn confusable_patterns_are_twins() {
        let rows: [(&str, &[&str]); 10] = [
            ("/", &[]),
            ("/a", &["/a/"]),
            ("/a/", &["/a"]),
            ("/a/{x}", &["/a/{x}/"]),
            ("/a/{*rest}", &["/a", "/a/"]),
            ("/{*rest}", &["/"]),
            ("/p-{x}/b", &["/p-/b", "/p-{x}/b/", "/p-/b/"]),
            ("/p-{x}", &["/p-{x}/"]),
            ("/%C3%A9%2F%7b", &["/%C3%A9%2F%7b/", "/\u{e9}%2F{{", "/\u{e9}%2F{{/"]),
            ("/p{{/{x}", &["/p{{/{x}/"]),
        ];
        for (pattern, expected) in rows {
            let mut twins = super::of(pattern);
            twins.sort_unstable();
            twins.dedup();
            let mut expected: Vec<_> = expected.iter().map(|twin| (*twin).to_owned()).collect();
            expected.sort_unstable();
            assert_eq!(twins, expected, "{pattern}");
        }
        assert!(super::too_many("/a{a}/b{b}/c{c}/d{d}/e{e}/f"));
        assert!(!super::too_many("/a{a}/b{b}/c{c}/d{d}/e{e}"));
    }
    #[test]
    fn twins_compete_with_ambiguous_patterns() {
        let rows = [
            ("/a/", "/a/", true),
            ("/a/", "/{*rest}", true),
            ("/a/", "/{x}/", true),
            ("/a/", "/{x}", false),
            ("/a/", "/a/{x}", false),
            ("/a/", "/b/", false),
            ("/a/{x}/", "/a/b/", false),
            ("/a/{x}/", "/{y}/b/", true),
            ("/a/{x}/", "/a/p-{x}/", false),
            ("/a/p-{x}/", "/a/{x}/", true),
            ("/a/p-{x}/", "/a/p-q{x}/", true),
            ("/a/p-{x}/", "/a/q-{x}/", false),
            ("/p-/b", "/{x}/b", true),
            ("/p-/b", "/q-/b", false),
        ];
        for (twin, pattern, expected) in rows {
            assert_eq!(super::compete(twin, pattern), expected, "{twin} {pattern}");
        }
    }
}
