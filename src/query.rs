//! Query strings, split and percent-decoded as this crate compares them: once, and nothing else.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A piece between `&`, as it was sent. A bare name has no value.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'q> {
    name: &'q [u8],
    value: Option<&'q [u8]>,
    /// Whether a `%` stands in it.
    encoded: bool,
}

impl<'q> Pair<'q> {
    /// The bytes that the name stands for.
    #[cfg(feature = "keygen")]
    pub(crate) fn name(&self) -> Cow<'q, [u8]> {
        decode(self.name)
    }

    /// The bytes that the value stands for; none where there is no value.
    #[inline]
    pub(crate) fn value(&self) -> Cow<'q, [u8]> {
        let sent = self.value.unwrap_or_default();
        if self.encoded { decode(sent) } else { Cow::Borrowed(sent) }
    }

    /// Whether the name stands for this name.
    #[inline]
    pub(crate) fn is_named(&self, name: &str) -> bool {
        // What is encoded is longer than what it stands for.
        self.name == name.as_bytes()
            || (self.encoded && self.name.len() > name.len() && *decode(self.name) == *name.as_bytes())
    }
}

/// The pieces between `&`, but for empty ones.
#[inline]
pub(crate) fn pairs(query: &str) -> Pairs<'_> {
    Pairs(Some(query.as_bytes()))
}

/// The pieces of a query, one by one.
#[derive(Clone)]
pub(crate) struct Pairs<'q>(Option<&'q [u8]>);

impl<'q> Iterator for Pairs<'q> {
    type Item = Pair<'q>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'q>> {
        loop {
            let (pair, behind) = first_pair(self.0?);
            self.0 = behind;
            if !pair.name.is_empty() || pair.value.is_some() {
                return Some(pair);
            }
        }
    }
}

/// The first pair, and what stands behind it. Queries are short: one plain loop is done with them before the searchers
/// of `str::split` are set up.
#[inline]
fn first_pair(query: &[u8]) -> (Pair<'_>, Option<&[u8]>) {
    let (mut equals, mut end, mut encoded) = (query.len(), query.len(), false);
    let mut place = 0;
    while let Some(&byte) = query.get(place) {
        // Letters stand behind all three.
        if byte <= b'=' {
            if byte == b'&' {
                end = place;
                break;
            }
            if byte == b'=' && equals == query.len() {
                equals = place;
            }
            encoded |= byte == b'%';
        }
        place += 1;
    }
    let (piece, rest) = query.split_at(end);
    let (name, value) = match piece.split_at_checked(equals) {
        Some((name, value)) => (name, value.get(1..)),
        None => (piece, None),
    };
    (Pair { name, value, encoded }, rest.split_first().map(|(_, behind)| behind))
}

/// The bytes that a name or value stands for.
pub(crate) fn decode(sent: &[u8]) -> Cow<'_, [u8]> {
    if sent.contains(&b'%') { percent_decode(sent).into() } else { Cow::Borrowed(sent) }
}

/// Whether a name, as it was sent, stands for this name.
pub(crate) fn names(sent: &str, name: &str) -> bool {
    *decode(sent.as_bytes()) == *name.as_bytes()
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
