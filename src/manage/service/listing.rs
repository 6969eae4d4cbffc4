//! Reading of query parameters of the key management endpoints.

use std::collections::HashSet;

use crate::key::KeySource;
use crate::manage::{ListKeys, ManageError};
use crate::query;

/// The maximum number of keys on a page, and the default.
const PAGE: usize = 1_000;

/// Reads the query of a list. Each parameter may occur once; unknown parameters are ignored.
pub(super) fn asked(query: &str) -> Result<ListKeys, ManageError> {
    let mut asked = ListKeys { limit: PAGE, ..ListKeys::default() };
    let mut seen = HashSet::new();
    for pair in query::pairs(query) {
        let (name, value) = (pair.name(), pair.value());
        let Some(member) = ["limit", "cursor", "status", "environment", "issuedBy"]
            .iter()
            .find(|known| known.as_bytes() == &*name)
        else {
            continue;
        };
        let refuse = |problem: &str| ManageError::invalid(*member, problem);
        if !seen.insert(*member) {
            return Err(refuse("is given twice"));
        }
        let value = std::str::from_utf8(&value).map_err(|_| refuse("must be valid UTF-8"))?;
        match *member {
            "limit" => asked.limit = limit(value).ok_or_else(|| refuse("must be from 1 to 1000"))?,
            "cursor" => {
                asked.cursor =
                    Some(value.parse().map_err(|_| refuse("must be the `nextCursor` of an earlier page"))?);
            }
            "status" => {
                let status = value.parse().map_err(|_| refuse("must be `active`, `paused` or `revoked`"))?;
                asked.status = Some(status);
            }
            "issuedBy" => asked.issued_by = Some(value.parse().map_err(|_| refuse("must be a UUID"))?),
            _ if value.is_empty() || value.chars().any(char::is_control) => {
                return Err(refuse("must be a name without control characters"));
            }
            _ => asked.environment = Some(value.into()),
        }
    }
    Ok(asked)
}

/// Reads the query of a revocation. Returns true if the keys that the key issued are to be revoked too. Unknown
/// parameters are rejected, because they would have no effect, except for one that carries the caller's key.
pub(super) fn with_issued(query: &str, sources: &[KeySource]) -> Result<bool, ManageError> {
    let mut asked = None;
    for pair in query::pairs(query) {
        let (name, value) = (pair.name(), pair.value());
        let is_source = |source: &KeySource| source.parameter().is_some_and(|own| own.as_bytes() == &*name);
        let refuse = |problem: &str| Err(ManageError::invalid("withIssued", problem));
        match (&*name, &*value) {
            (b"withIssued", _) if asked.is_some() => return refuse("is given twice"),
            (b"withIssued", b"true") => asked = Some(true),
            (b"withIssued", b"false") => asked = Some(false),
            (b"withIssued", _) => return refuse("must be `true` or `false`"),
            _ if sources.iter().any(is_source) => {}
            _ => {
                return Err(ManageError::invalid(
                    "query",
                    "must not contain a parameter other than `withIssued`",
                ));
            }
        }
    }
    Ok(asked.unwrap_or_default())
}

fn limit(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|limit| digits && (1..=PAGE).contains(limit))
}
