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
        let query = query?;
        // One walk tells whether a capped name is there at all; mostly none is.
        let capped = |sent| self.0.iter().any(|(parameter, _)| query::names(sent, parameter));
        if !query::pairs(query).any(|(sent, _)| capped(sent)) {
            return None;
        }
        // Which breach is told is the configuration's order, not the query's.
        self.0.iter().find_map(|(parameter, cap)| {
            let problem = match cap {
                Cap::Forbidden => query::pairs(query)
                    .any(|(sent, _)| query::names(sent, parameter))
                    .then_some(BreachKind::Forbidden),
                Cap::AtMost(most) => match number(query, parameter) {
                    Err(problem) => Some(problem),
                    Ok(Some(asked)) if asked > *most => Some(BreachKind::Above(*most)),
                    Ok(_) => None,
                },
            };
            problem.map(|problem| Breach { parameter: Arc::clone(parameter), problem })
        })
    }
}

/// The value of a parameter that may be given once, as one plain decimal number.
pub(crate) fn number(query: &str, parameter: &str) -> Result<Option<u64>, BreachKind> {
    let mut given = query::pairs(query).filter(|(sent, _)| query::names(sent, parameter));
    let Some((_, value)) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(BreachKind::Repeated);
    }
    let digits = query::decode(value.unwrap_or_default());
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BreachKind::Unreadable);
    }
    let grow = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, grow).map(Some).ok_or(BreachKind::Unreadable)
}
