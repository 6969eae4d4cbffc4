//! Query strings, split and percent-decoded exactly once, which is the form that this crate compares.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A part of a query between `&`, as it was sent: a name, and the value after the first `=`. A name without `=` has no
/// value.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'q> {
    sent: &'q [u8],
    /// True if the part contains a `%`.
    encoded: bool,
}

impl<'q> Pair<'q> {
    /// Returns the decoded name.
    pub(crate) fn name(&self) -> Cow<'q, [u8]> {
        decode(self.parts().0)
    }

    /// Returns the decoded value. Empty if the value is missing.
    pub(crate) fn value(&self) -> Cow<'q, [u8]> {
        decode(self.parts().1)
    }

    /// Returns the decoded value if the decoded name equals `name`.
    #[inline]
    pub(crate) fn value_of(&self, name: &str) -> Option<Cow<'q, [u8]>> {
        if self.encoded { self.decoded_value_of(name) } else { self.plain_value_of(name).map(Cow::Borrowed) }
    }

    fn plain_value_of(&self, name: &str) -> Option<&'q [u8]> {
        let (named, value) = self.parts();
        (named == name.as_bytes()).then_some(value)
    }

    #[cold]
    fn decoded_value_of(&self, name: &str) -> Option<Cow<'q, [u8]>> {
        let (named, value) = self.parts();
        (named == name.as_bytes() || *decode(named) == *name.as_bytes()).then(|| decode(value))
    }

    fn parts(&self) -> (&'q [u8], &'q [u8]) {
        let equals = self.sent.iter().position(|&byte| byte == b'=').unwrap_or(self.sent.len());
        let (name, value) = self.sent.split_at(equals);
        (name, value.get(1..).unwrap_or_default())
    }
}

/// Returns the non-empty parts of a query between `&`.
#[inline]
pub(crate) fn pairs(query: &str) -> Pairs<'_> {
    Pairs(query.as_bytes())
}

/// An iterator over the parts of a query.
#[derive(Clone)]
pub(crate) struct Pairs<'q>(&'q [u8]);

impl Pairs<'_> {
    /// Returns true if a remaining part has this name.
    pub(crate) fn hold(&self, name: &str) -> bool {
        self.clone().any(|pair| pair.value_of(name).is_some())
    }
}

impl<'q> Iterator for Pairs<'q> {
    type Item = Pair<'q>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'q>> {
        while !self.0.is_empty() {
            let (pair, rest) = first_pair(self.0);
            self.0 = rest;
            if !pair.sent.is_empty() {
                return Some(pair);
            }
        }
        None
    }
}

/// Returns the first part, and the rest after its `&`.
fn first_pair(query: &[u8]) -> (Pair<'_>, &[u8]) {
    let end = query.iter().position(|&byte| byte == b'&').unwrap_or(query.len());
    let (sent, rest) = query.split_at(end);
    (Pair { sent, encoded: sent.contains(&b'%') }, rest.get(1..).unwrap_or_default())
}

/// Returns the number of bytes before the first `%` or `&`.
///
/// Whole groups of eight bytes are tested at once. A loop over single bytes takes 45 instructions more (`benches/counts`:
/// a query of 21 bytes with two parameters).
#[inline]
pub(crate) fn plain_length(query: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    let (eights, _) = query.as_chunks::<8>();
    // The subtraction sets the top bit of each byte up to `&`. The mask excludes bytes above 127, whose top bit was set
    // before.
    let is_plain = |eight: &&[u8; 8]| {
        let word = u64::from_ne_bytes(**eight);
        word.wrapping_sub(ONES * (u64::from(b'&') + 1)) & !word & (ONES << 7) == 0
    };
    let plain = 8 * eights.iter().take_while(is_plain).count();
    let rest = query[plain..].iter().position(|byte| matches!(byte, b'%' | b'&'));
    rest.map_or(query.len(), |rest| plain + rest)
}

/// Returns the decoded bytes of a name or value.
pub(crate) fn decode(sent: &[u8]) -> Cow<'_, [u8]> {
    if sent.contains(&b'%') { percent_decode(sent).into() } else { Cow::Borrowed(sent) }
}

/// Returns true if a name, as it was sent, decodes to this name.
pub(crate) fn names(sent: &str, name: &str) -> bool {
    *decode(sent.as_bytes()) == *name.as_bytes()
}

/// Returns the query without the parameters whose names match. The others keep their bytes and order. `None` if no
/// parameter matches.
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
    fn removed_parameter_leaves_the_rest_as_is() {
        let strip = |query| without(query, |name| names(name, "api-key"));
        assert_eq!(strip("a=1&b=2"), None);
        assert_eq!(strip("api-key=K"), Some(String::new()));
        assert_eq!(strip("b=%31&api-key=K&a=+&&api%2Dkey=L&c"), Some("b=%31&a=+&&c".into()));
        assert_eq!(strip("API-KEY=K"), None);
    }

    #[test]
    fn name_ends_at_the_first_equals_sign() {
        let value =
            |query, name| pairs(query).next().and_then(|pair| pair.value_of(name)).map(Cow::into_owned);
        assert_eq!(value("a=b=3", "a"), Some(b"b=3".to_vec()));
        assert_eq!(value("a=b=3", "a=b"), None);
        assert_eq!(value("a%3Db=3", "a=b"), Some(b"3".to_vec()));
        assert_eq!(value("a%3Db=3", "a"), None);
        assert_eq!(value("limits=3", "limit"), None);
        assert_eq!(value("limit", "limit"), Some(Vec::new()));
    }
}
