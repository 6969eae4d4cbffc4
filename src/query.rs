//! Query strings, split and percent-decoded as this crate compares them: once, and nothing else.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The pieces between `&`, each as name and value, both as they were sent. A bare name has no value.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = Some(query);
    std::iter::from_fn(move || {
        let (pair, behind) = first_pair(rest?);
        rest = behind;
        Some(pair)
    })
    .filter(|(name, value)| !name.is_empty() || value.is_some())
}

/// The first pair, and what stands behind it. Queries are short: one plain loop is done with them before the searchers
/// of `str::split` are set up.
fn first_pair(query: &str) -> ((&str, Option<&str>), Option<&str>) {
    let (mut equals, mut end) = (None, None);
    for (place, byte) in query.bytes().enumerate() {
        if byte == b'&' {
            end = Some(place);
            break;
        }
        if byte == b'=' && equals.is_none() {
            equals = Some(place);
        }
    }
    let (piece, rest) = match end {
        Some(end) => (&query[..end], Some(&query[end + 1..])),
        None => (query, None),
    };
    match equals {
        Some(place) => ((&piece[..place], Some(&piece[place + 1..])), rest),
        None => ((piece, None), rest),
    }
}

fn is_encoded(sent: &str) -> bool {
    sent.bytes().any(|byte| byte == b'%')
}

/// The bytes that a name or value stands for.
pub(crate) fn decode(sent: &str) -> Cow<'_, [u8]> {
    if is_encoded(sent) { percent_decode_str(sent).into() } else { Cow::Borrowed(sent.as_bytes()) }
}

/// Whether a name, as it was sent, stands for this name.
pub(crate) fn names(sent: &str, name: &str) -> bool {
    // What is encoded is longer than what it stands for.
    sent == name || (sent.len() > name.len() && is_encoded(sent) && decode(sent) == name.as_bytes())
}

/// The query without the parameters of this name, the others keeping their bytes and order; `None` where it holds
/// none of them.
pub(crate) fn without(query: &str, secret: impl Fn(&str) -> bool) -> Option<String> {
    let named = |piece: &&str| secret(piece.split_once('=').map_or(*piece, |(name, _)| name));
    if !query.split('&').any(|piece| named(&piece)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|piece| !named(piece)).collect();
    Some(kept.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_leave_without_a_trace_and_the_others_keep_bytes_and_order() {
        let strip = |query| without(query, |name| names(name, "api-key"));
        assert_eq!(strip("a=1&b=2"), None);
        assert_eq!(strip("api-key=K"), Some(String::new()));
        assert_eq!(strip("b=%31&api-key=K&a=+&&api%2Dkey=L&c"), Some("b=%31&a=+&&c".into()));
        assert_eq!(strip("API-KEY=K"), None);
    }
}
