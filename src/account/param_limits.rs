//! Limits on query parameters.

use std::sync::Arc;

use crate::query::{self, Pairs};

/// The limit on one query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamLimit {
    /// The parameter may occur at most once, as a plain decimal number up to this maximum.
    AtMost(u64),
    /// The parameter may not occur.
    Forbidden,
}

/// The limits that a plan sets on query parameters, such as `limit` up to 3 and no `cursor`.
///
/// # Example
///
/// ```
/// use tollgate::account::{ParamLimit, ParamLimits};
///
/// let caps: ParamLimits = [("limit".to_owned(), ParamLimit::AtMost(3)), ("cursor".to_owned(), ParamLimit::Forbidden)].into();
/// assert_eq!(caps.at_most("limit"), Some(3));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ParamLimits {
    capped: Vec<Capped>,
    /// A bit for the lower six bits of the first byte of each name. A parameter whose bit is not set has no limit.
    first_bytes: u64,
}

/// A parameter and its limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Capped {
    parameter: Arc<str>,
    /// False if the name can only be sent encoded, because it contains `=`.
    is_sent_plain: bool,
    cap: ParamLimit,
}

impl<I: IntoIterator<Item = (String, ParamLimit)>> From<I> for ParamLimits {
    fn from(caps: I) -> Self {
        let capped = |(parameter, cap): (String, _)| Capped {
            is_sent_plain: !parameter.contains('='),
            parameter: parameter.into(),
            cap,
        };
        let capped: Vec<_> = caps.into_iter().map(capped).collect();
        let first_bytes = capped.iter().fold(0, |bits, capped| bits | bit_of(capped.parameter.as_bytes()));
        Self { capped, first_bytes }
    }
}

/// A violated limit: the parameter and the kind of violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) parameter: Arc<str>,
    pub(crate) problem: BreachKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreachKind {
    Forbidden,
    Above(u64),
    Unreadable,
    Repeated,
}

impl ParamLimits {
    /// Returns the maximum value of this parameter, if it has one.
    pub fn at_most(&self, parameter: &str) -> Option<u64> {
        self.iter().find_map(|(name, cap)| match cap {
            ParamLimit::AtMost(most) if name == parameter => Some(most),
            _ => None,
        })
    }

    /// Returns the parameters and their limits.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ParamLimit)> {
        self.capped.iter().map(|capped| (&*capped.parameter, capped.cap))
    }

    /// Returns true if there are no limits.
    pub fn is_empty(&self) -> bool {
        self.capped.is_empty()
    }

    /// Returns the violated limit of this query, if any. Query parameter names are compared after one percent-decoding.
    #[inline]
    pub(crate) fn breach(&self, query: Option<&str>) -> Option<Breach> {
        let query = query?;
        if self.are_plainly_kept(query.as_bytes()) { None } else { self.first_breach(query) }
    }

    /// Returns true if the query obviously keeps the limits: nothing is percent-encoded, no limited parameter is
    /// repeated, and all values are allowed. This holds for almost all queries, and is checked in one pass.
    fn are_plainly_kept(&self, query: &[u8]) -> bool {
        let (mut rest, mut seen) = (query, 0_u64);
        loop {
            let (pair, later) = rest.split_at(query::plain_length(rest));
            if let Some((place, value)) = self.limited(pair) {
                let seen_before = seen.checked_shr(place).is_none_or(|seen| seen & 1 == 1);
                if seen_before || self.capped[place as usize].problem_of_value(value).is_some() {
                    return false;
                }
                seen |= 1 << place;
            }
            rest = match later {
                [] => return true,
                [b'&', next @ ..] => next,
                _ => return false,
            };
        }
    }

    /// Returns the place and the value of the limited parameter that a part of a query sets. The part is not encoded.
    #[inline]
    fn limited<'q>(&self, pair: &'q [u8]) -> Option<(u32, &'q [u8])> {
        if self.first_bytes & bit_of(pair) == 0 {
            return None;
        }
        let value = |capped: &Capped| {
            let (name, rest) = pair.split_at_checked(capped.parameter.len())?;
            // Compared in a loop: for a short text, the call of a function takes longer (`benches/stack`, 64 keys).
            if !name.iter().eq(capped.parameter.as_bytes()) {
                return None;
            }
            match rest {
                [] => Some(&[][..]),
                [b'=', value @ ..] if capped.is_sent_plain => Some(value),
                _ => None,
            }
        };
        (0..).zip(&self.capped).find_map(|(place, capped)| Some((place, value(capped)?)))
    }

    /// Returns the violation to report. The order of the limits in the configuration decides, not the order in the
    /// query. For one limit, it is the first violation in the query.
    #[cold]
    fn first_breach(&self, query: &str) -> Option<Breach> {
        let mut pairs = query::pairs(query);
        let broken = std::iter::from_fn(|| {
            let pair = pairs.next()?;
            let values = self.capped.iter().map(|capped| pair.value_of(&capped.parameter));
            let capped = values.enumerate().find_map(|(place, value)| Some((place, value?)));
            Some(capped.and_then(|(place, value)| Some((place, self.capped[place].problem(&value, &pairs)?))))
        });
        let (place, problem) = broken.flatten().min_by_key(|(place, _)| *place)?;
        Some(Breach { parameter: Arc::clone(&self.capped[place].parameter), problem })
    }
}

/// Returns the bit for the first byte of a name. An empty name has all bits, because any byte may follow it.
#[inline]
fn bit_of(name: &[u8]) -> u64 {
    name.first().map_or(u64::MAX, |first| 1 << (first & 63))
}

impl Capped {
    /// Returns the problem with this parameter, if any, by its first value and the rest of the query.
    fn problem(&self, value: &[u8], later: &Pairs<'_>) -> Option<BreachKind> {
        match self.cap {
            ParamLimit::AtMost(_) if later.hold(&self.parameter) => Some(BreachKind::Repeated),
            _ => self.problem_of_value(value),
        }
    }

    /// Returns the problem with a value of this parameter, if any.
    #[inline]
    fn problem_of_value(&self, value: &[u8]) -> Option<BreachKind> {
        let ParamLimit::AtMost(most) = self.cap else { return Some(BreachKind::Forbidden) };
        match plain_number(value) {
            None => Some(BreachKind::Unreadable),
            Some(asked) => (asked > most).then_some(BreachKind::Above(most)),
        }
    }
}

/// Returns the value of a parameter that may occur at most once and must be one plain decimal number.
pub(crate) fn number(query: &str, parameter: &str) -> Result<Option<u64>, BreachKind> {
    let mut given = query::pairs(query).filter_map(|pair| pair.value_of(parameter));
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(BreachKind::Repeated);
    }
    plain_number(&value).map(Some).ok_or(BreachKind::Unreadable)
}

/// Parses one plain decimal number. Returns `None` for other text and on overflow.
#[inline]
pub(crate) fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let grow = |number: u64, digit: &u8| {
        let digit = digit.wrapping_sub(b'0');
        if digit < 10 { number.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
    };
    digits.iter().try_fold(0, grow)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns every text of these characters up to a length.
    fn texts(characters: &str, most: usize) -> Vec<String> {
        let mut texts = vec![String::new()];
        for place in 0.. {
            let Some(text) = texts.get(place).filter(|text| text.len() < most).cloned() else { break };
            texts.extend(characters.chars().map(|character| format!("{text}{character}")));
        }
        texts
    }

    #[test]
    fn fast_pass_agrees_with_the_full_one() {
        // The first bytes of `a` and `!` have the same bit.
        for names in [&["a", "!"][..], &["", "a"], &["!a"], &["aa", "a="]] {
            let limits = names.iter().zip([ParamLimit::AtMost(1), ParamLimit::Forbidden]);
            let limits: ParamLimits = limits.map(|(name, limit)| ((*name).to_owned(), limit)).into();
            let mut kept = 0;
            for query in texts("a!=&1", 6) {
                let is_kept = limits.are_plainly_kept(query.as_bytes());
                kept += usize::from(is_kept);
                assert!(!is_kept || limits.first_breach(&query).is_none(), "{names:?}: {query}");
            }
            assert!(kept > 100, "{names:?}: {kept} queries take the fast pass");
        }
    }
}
