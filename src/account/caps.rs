//! What a plan allows of a request's query.

use std::sync::Arc;

use crate::query;

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
/// use tollgate::{Cap, Caps};
///
/// let caps: Caps = [("limit".to_owned(), Cap::AtMost(3)), ("cursor".to_owned(), Cap::Forbidden)].into();
/// assert_eq!(caps.at_most("limit"), Some(3));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caps(Vec<(Arc<str>, Cap)>);

impl<I: IntoIterator<Item = (String, Cap)>> From<I> for Caps {
    fn from(caps: I) -> Self {
        Self(caps.into_iter().map(|(parameter, cap)| (parameter.into(), cap)).collect())
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
        self.0.iter().map(|(parameter, cap)| (&**parameter, *cap))
    }

    /// Whether nothing is capped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What in this query breaks a cap. The query names are compared as they read percent-decoded once.
    pub(crate) fn breach(&self, query: Option<&str>) -> Option<Breach> {
        let mut first: Option<(usize, BreachKind)> = None;
        let mut pairs = query::pairs(query?);
        while let Some(pair) = pairs.next() {
            let Some(place) = self.0.iter().position(|(parameter, _)| pair.is_named(parameter)) else {
                continue;
            };
            let (parameter, cap) = &self.0[place];
            let problem = match cap {
                Cap::Forbidden => Some(BreachKind::Forbidden),
                Cap::AtMost(_) if pairs.clone().any(|later| later.is_named(parameter)) => {
                    Some(BreachKind::Repeated)
                }
                Cap::AtMost(most) => match plain_number(&pair.value()) {
                    None => Some(BreachKind::Unreadable),
                    Some(asked) => (asked > *most).then_some(BreachKind::Above(*most)),
                },
            };
            // Which breach is told is the configuration's order, not the query's; of one cap, the first that is met.
            if let Some(problem) = problem
                && first.is_none_or(|(before, _)| place < before)
            {
                first = Some((place, problem));
            }
        }
        first.map(|(place, problem)| Breach { parameter: Arc::clone(&self.0[place].0), problem })
    }
}

/// The value of a parameter that may be given once, as one plain decimal number.
pub(crate) fn number(query: &str, parameter: &str) -> Result<Option<u64>, BreachKind> {
    let mut given = query::pairs(query).filter(|pair| pair.is_named(parameter));
    let Some(pair) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(BreachKind::Repeated);
    }
    plain_number(&pair.value()).map(Some).ok_or(BreachKind::Unreadable)
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
