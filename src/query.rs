//! Query strings, split and percent-decoded as this crate compares them: once, and nothing else.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The pieces between `&`, each as name and value, both as they were sent. A bare name has no value.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    pieces(query).filter(|piece| !piece.is_empty()).map(|piece| match cut(piece, b'=') {
        Some((name, value)) => (name, Some(value)),
        None => (piece, None),
    })
}

fn pieces(query: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(query);
    std::iter::from_fn(move || match cut(rest?, b'&') {
        Some((piece, behind)) => {
            rest = Some(behind);
            Some(piece)
        }
        None => rest.take(),
    })
}

/// What stands before and behind the first such ASCII byte. Pieces of a query are short: a plain loop finds it sooner
/// than the searcher of `str::split_once` is set up.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|byte| byte == at)?;
    Some((&text[..place], &text[place + 1..]))
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
    sent == name || (is_encoded(sent) && decode(sent) == name.as_bytes())
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
