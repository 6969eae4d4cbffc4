//! What a key may be: names, scopes, metadata, lifetimes; and never wider than the key that issues it.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use crate::manage::{KeyManager, ManageError};
use crate::{KeyId, KeyRecord, PathPattern, Plan, Scope, Timestamp};

type Verdict = Result<(), ManageError>;

/// The longest name, in characters.
const LONGEST_NAME: usize = 200;

/// The most entries of a key's metadata, and the most bytes of each name and value.
const MOST_METADATA: usize = 32;
const LONGEST_METADATA: usize = 500;

pub(super) fn name(name: &str) -> Verdict {
    let refuse = |problem| Err(ManageError::invalid("name", problem));
    if name.trim().is_empty() {
        return refuse("must not be empty".into());
    }
    if name.chars().count() > LONGEST_NAME {
        return refuse(format!("must have at most {LONGEST_NAME} characters"));
    }
    if name.chars().any(char::is_control) {
        return refuse("must not hold control characters".into());
    }
    Ok(())
}

pub(super) fn metadata(metadata: &BTreeMap<String, String>) -> Verdict {
    let long = |text: &String| text.is_empty() || text.len() > LONGEST_METADATA;
    if metadata.len() > MOST_METADATA
        || metadata.iter().any(|(name, value)| long(name) || value.len() > LONGEST_METADATA)
    {
        let problem =
            format!("must have at most {MOST_METADATA} entries, of at most {LONGEST_METADATA} bytes each");
        return Err(ManageError::invalid("metadata", problem));
    }
    Ok(())
}

impl KeyManager {
    /// A key can only hand out secrets of keys that are no wider than itself.
    pub(super) async fn must_cover(&self, issuer: &KeyRecord, id: KeyId) -> Verdict {
        let key = self.get(id).await?;
        let mut held = KeyRecord::clone(&key);
        narrow(&mut held, issuer)?;
        // What is not restricted at all would have been narrowed: that is wider too.
        let wider = held.scopes != key.scopes || held.paths != key.paths || held.allowlist != key.allowlist;
        if wider || held.expires_at != key.expires_at {
            Err(ManageError::TooWide { member: "id" })
        } else {
            Ok(())
        }
    }

    /// A scope that no rule knows would grant nothing: it is a slip.
    pub(super) fn check_scopes(&self, scopes: Option<&[Scope]>) -> Verdict {
        let known = self.gate.0.known_scopes();
        match scopes.into_iter().flatten().find(|scope| !known.contains(*scope)) {
            Some(unknown) => {
                Err(ManageError::invalid("scopes", format!("names `{unknown}`, which no rule knows")))
            }
            None => Ok(()),
        }
    }

    /// When a new key expires: when it is asked for, within what its plan allows, or at the end of its plan's lifetime.
    pub(super) fn expiry(
        &self,
        plan: &Plan,
        asked: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, ManageError> {
        let Some(end) = asked else {
            return Ok(plan.lifetime.default.map(|lifetime| now.saturating_add(lifetime)));
        };
        let included = |feature: &String| plan.features.contains(feature);
        if !self.gate.0.expiry_feature.as_ref().is_none_or(included) {
            return Err(ManageError::NotInPlan("an expiry of one's own"));
        }
        let lasts = |lifetime: Duration| now.saturating_add(lifetime);
        let refuse = |problem: String| Err(ManageError::invalid("expiresAt", problem));
        if end <= now {
            return refuse("must be in the future".into());
        }
        if plan.lifetime.shortest.is_some_and(|shortest| end < lasts(shortest)) {
            return refuse("is earlier than the plan allows".into());
        }
        if plan.lifetime.longest.is_some_and(|longest| end > lasts(longest)) {
            return refuse("is later than the plan allows".into());
        }
        Ok(Some(end))
    }
}

/// Holds a new key within the one that issues it: what is not asked for is the issuer's.
pub(super) fn narrow(record: &mut KeyRecord, issuer: &KeyRecord) -> Verdict {
    let wide = |member| ManageError::TooWide { member };
    record.scopes =
        within(&issuer.scopes, record.scopes.take(), |held, scope| held == scope).ok_or(wide("scopes"))?;
    record.paths = within(&issuer.paths, record.paths.take(), covers).ok_or(wide("paths"))?;
    let contains = |held: &IpNet, network: &IpNet| held.contains(network);
    record.allowlist =
        within(&issuer.allowlist, record.allowlist.take(), contains).ok_or(wide("allowlist"))?;
    record.expires_at = match (issuer.expires_at, record.expires_at) {
        (Some(end), Some(asked)) if asked > end => return Err(wide("expiresAt")),
        (end, asked) => asked.or(end),
    };
    if record.environment != issuer.environment {
        return Err(wide("environment"));
    }
    Ok(())
}

/// What is asked for, if all of it lies within what is held; what is held, if nothing is asked for.
#[expect(clippy::option_option, reason = "no restriction and no answer are two things")]
fn within<T: Clone>(
    held: &Option<Vec<T>>,
    asked: Option<Vec<T>>,
    covers: fn(&T, &T) -> bool,
) -> Option<Option<Vec<T>>> {
    match (held, asked) {
        (None, asked) => Some(asked),
        (Some(held), None) => Some(Some(held.clone())),
        (Some(held), Some(asked)) => {
            let all = asked.iter().all(|one| held.iter().any(|held| covers(held, one)));
            all.then_some(Some(asked))
        }
    }
}

/// Whether one pattern covers all that another does.
fn covers(held: &PathPattern, asked: &PathPattern) -> bool {
    // Read as a path, a pattern lies below whatever all of its paths lie below.
    held == asked || held.covers(asked.as_str())
}
