//! Reading of query parameters of the key management endpoints.

use std::collections::HashSet;

use crate::key::KeySource;
use crate::manage::service::body::shown;
use crate::manage::{ListKeys, ManageError};
use crate::{query, words};

/// The maximum number of keys on a page, and the default.
const PAGE: usize = 1_000;

/// The parameters of a list.
const PARAMETERS: [&str; 5] = ["limit", "cursor", "status", "environment", "issuedBy"];

/// Reads the query of a list.
pub(super) fn asked(query: &str, sources: &[KeySource]) -> Result<ListKeys, ManageError> {
    let mut asked = ListKeys { limit: PAGE, ..ListKeys::default() };
    each_parameter(query, &PARAMETERS, sources, |member, value| {
        let refuse = |problem: &str| ManageError::invalid(member, problem);
        match member {
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
        Ok(())
    })?;
    Ok(asked)
}

/// Calls `read` with each parameter of a query and its value. Each of the `known` parameters may occur once. Other
/// parameters are rejected, because they would have no effect, except for one that carries the caller's key.
pub(super) fn each_parameter(
    query: &str,
    known: &[&'static str],
    sources: &[KeySource],
    mut read: impl FnMut(&'static str, &str) -> Result<(), ManageError>,
) -> Result<(), ManageError> {
    let mut seen = HashSet::new();
    for pair in query::pairs(query) {
        let (name, value) = (pair.name(), pair.value());
        let Some(&member) = known.iter().find(|known| known.as_bytes() == &*name) else {
            if carries_key(&name, sources) {
                continue;
            }
            let name = String::from_utf8_lossy(&name);
            let problem = format!("is unknown; {}", words::one_of(&name, known.iter().copied()));
            return Err(ManageError::invalid(shown(&name), problem));
        };
        let refuse = |problem: &str| ManageError::invalid(member, problem);
        if !seen.insert(member) {
            return Err(refuse("is given twice"));
        }
        read(member, std::str::from_utf8(&value).map_err(|_| refuse("must be valid UTF-8"))?)?;
    }
    Ok(())
}

/// Reads the query of a revocation. Returns true if the keys that the key issued are to be revoked too. Unknown
/// parameters are rejected, because they would have no effect, except for one that carries the caller's key.
pub(super) fn with_issued(query: &str, sources: &[KeySource]) -> Result<bool, ManageError> {
    let mut asked = None;
    for pair in query::pairs(query) {
        let (name, value) = (pair.name(), pair.value());
        let refuse = |problem: &str| Err(ManageError::invalid("withIssued", problem));
        match (&*name, &*value) {
            (b"withIssued", _) if asked.is_some() => return refuse("is given twice"),
            (b"withIssued", b"true") => asked = Some(true),
            (b"withIssued", b"false") => asked = Some(false),
            (b"withIssued", _) => return refuse("must be `true` or `false`"),
            _ if carries_key(&name, sources) => {}
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

/// Returns true if a key may be in the query parameter with this name.
fn carries_key(name: &[u8], sources: &[KeySource]) -> bool {
    sources.iter().filter_map(KeySource::parameter).any(|own| own.as_bytes() == name)
}

fn limit(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|limit| digits && (1..=PAGE).contains(limit))
}
