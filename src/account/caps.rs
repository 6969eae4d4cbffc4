//! What a plan allows of a request's query.

use std::sync::Arc;

use crate::query::{self, Pair, Pairs};

/// What may be said of one query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// Once at the most, as a plain decimal number up to this one.
    AtMost(u64),
    /// Not at all.
    Forbidden,
}

/// What a plan allows of a request's query parameters, such as `limit` up to 3 and no `cursor`.
///
/// # Example
///
/// ```
/// use tollgate::account::{Cap, Caps};
///
/// let caps: Caps = [("limit".to_owned(), Cap::AtMost(3)), ("cursor".to_owned(), Cap::Forbidden)].into();
/// assert_eq!(caps.at_most("limit"), Some(3));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caps(Vec<Capped>);

/// A parameter with its cap.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Capped {
    parameter: Arc<str>,
    cap: Cap,
}

impl<I: IntoIterator<Item = (String, Cap)>> From<I> for Caps {
    fn from(caps: I) -> Self {
        Self(caps.into_iter().map(|(parameter, cap)| Capped { parameter: parameter.into(), cap }).collect())
    }
}

/// Which parameter broke its cap, and how.
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

impl Caps {
    /// The highest value of this parameter, where it is capped.
    pub fn at_most(&self, parameter: &str) -> Option<u64> {
        self.iter().find_map(|(name, cap)| match cap {
            Cap::AtMost(most) if name == parameter => Some(most),
            _ => None,
        })
    }

    /// The parameters with their caps.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cap)> {
        self.0.iter().map(|capped| (&*capped.parameter, capped.cap))
    }

    /// Whether nothing is capped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What in this query breaks a cap. The query names are compared as they read percent-decoded once.
    #[inline]
    pub(crate) fn breach(&self, query: Option<&str>) -> Option<Breach> {
        let query = query?;
        if self.are_plainly_kept(query) { None } else { self.told(query) }
    }

    /// Whether the query keeps to the caps, as nearly all do, and sends what is capped as it is: that is seen without decoding
    /// anything.
    fn are_plainly_kept(&self, query: &str) -> bool {
        let mut pairs = query::pairs(query);
        while let Some(pair) = pairs.next() {
            if pair.is_encoded() {
                if self.concern(&pair) {
                    return false;
                }
                continue;
            }
            for capped in &self.0 {
                if let Some(value) = pair.plain_value_of(&capped.parameter) {
                    if capped.problem(value, &pairs).is_some() {
                        return false;
                    }
                    break;
                }
            }
        }
        true
    }

    /// Whether a parameter is capped whose name or value is encoded.
    #[cold]
    fn concern(&self, pair: &Pair<'_>) -> bool {
        self.0.iter().any(|capped| pair.value_of(&capped.parameter).is_some())
    }

    /// Which breach is told is the configuration's order, not the query's; of one cap, the first that is met.
    #[cold]
    fn told(&self, query: &str) -> Option<Breach> {
        let mut pairs = query::pairs(query);
        let broken = std::iter::from_fn(|| {
            let pair = pairs.next()?;
            let values = self.0.iter().map(|capped| pair.value_of(&capped.parameter));
            let capped = values.enumerate().find_map(|(place, value)| Some((place, value?)));
            Some(capped.and_then(|(place, value)| Some((place, self.0[place].problem(&value, &pairs)?))))
        });
        let (place, problem) = broken.flatten().min_by_key(|(place, _)| *place)?;
        Some(Breach { parameter: Arc::clone(&self.0[place].parameter), problem })
    }
}

impl Capped {
    /// What is wrong with a value of the parameter that this caps.
    #[inline]
    fn problem(&self, value: &[u8], later: &Pairs<'_>) -> Option<BreachKind> {
        let Cap::AtMost(most) = self.cap else { return Some(BreachKind::Forbidden) };
        if !later.is_empty() && later.hold(&self.parameter) {
            return Some(BreachKind::Repeated);
        }
        match plain_number(value) {
            None => Some(BreachKind::Unreadable),
            Some(asked) => (asked > most).then_some(BreachKind::Above(most)),
        }
    }
}

/// The value of a parameter that may be given once, as one plain decimal number.
pub(crate) fn number(query: &str, parameter: &str) -> Result<Option<u64>, BreachKind> {
    let mut given = query::pairs(query).filter_map(|pair| pair.value_of(parameter));
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(BreachKind::Repeated);
    }
    plain_number(&value).map(Some).ok_or(BreachKind::Unreadable)
}

/// A value that is one plain decimal number, and fits.
#[inline]
fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let grow = |number: u64, digit: &u8| {
        let digit = digit.wrapping_sub(b'0');
        if digit < 10 { number.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
    };
    digits.iter().try_fold(0, grow)
}
