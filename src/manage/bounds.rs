//! What the key that asks may give: no more than it has.

use std::sync::Arc;

use ipnet::IpNet;

use crate::manage::{KeyManager, ManageError};
use crate::{AccountStatus, KeyHash, KeyRecord, KeyStatus, PathPattern, Scope, Timestamp};

/// The key that asks, if a key does: what it gives is its own or narrower, and what is not asked for is its own.
#[derive(Debug, Clone)]
pub(super) struct Bounds(Option<Arc<KeyRecord>>);

fn wide(member: &'static str) -> ManageError {
    ManageError::TooWide { member }
}

impl KeyManager {
    /// The bounds of the key in whose name this is, as the authority has it: a key that may no longer be used asks for
    /// nothing, whatever a cache still says of it.
    pub(super) async fn bounds(&self) -> Result<Bounds, ManageError> {
        let Some(id) = self.desk.actor.key_id() else {
            return Ok(Bounds(None));
        };
        let usable = |issuer: &Arc<KeyRecord>| {
            issuer.status == KeyStatus::Active
                && !issuer.has_expired(self.now())
                && issuer.account.status == AccountStatus::Active
        };
        let stored = self.store.get(id).await?.filter(usable);
        let issuer = stored.and_then(|stored| as_shown(stored, &self.shown, self.now()));
        let issuer = issuer.ok_or(ManageError::Issuer)?;
        if !self.plan_of(&issuer.account)?.manages_keys {
            return Err(ManageError::NotInPlan("the management of keys"));
        }
        Ok(Bounds(Some(issuer)))
    }
}

/// The key that asks, as the secret has it that was shown: one that is on its way out lasts for its overlap alone, and
/// gives nothing that lasts longer; one that the authority no longer knows is none.
fn as_shown(stored: Arc<KeyRecord>, hashes: &[KeyHash], now: Timestamp) -> Option<Arc<KeyRecord>> {
    if hashes.is_empty() || hashes.contains(&stored.hash) {
        return Some(stored);
    }
    let old = stored.retiring.filter(|old| hashes.contains(&old.hash) && now < old.until)?;
    let mut issuer = KeyRecord::clone(&stored);
    issuer.expires_at = issuer.expires_at.into_iter().chain([old.until]).min();
    Some(Arc::new(issuer))
}

impl Bounds {
    fn of<T>(&self, held: impl FnOnce(&KeyRecord) -> Option<&T>) -> Option<&T> {
        self.0.as_deref().and_then(held)
    }

    /// The key that asks.
    pub(super) fn issuer(&self) -> Option<&KeyRecord> {
        self.0.as_deref()
    }

    pub(super) fn scopes(&self, asked: Option<Vec<Scope>>) -> Result<Option<Vec<Scope>>, ManageError> {
        let held = self.of(|issuer| issuer.scopes.as_ref());
        within(held, asked, |held, scope| held == scope).ok_or(wide("scopes"))
    }

    pub(super) fn paths(
        &self,
        asked: Option<Vec<PathPattern>>,
    ) -> Result<Option<Vec<PathPattern>>, ManageError> {
        within(self.of(|issuer| issuer.paths.as_ref()), asked, covers).ok_or(wide("paths"))
    }

    pub(super) fn allowlist(&self, asked: Option<Vec<IpNet>>) -> Result<Option<Vec<IpNet>>, ManageError> {
        let held = self.of(|issuer| issuer.allowlist.as_ref());
        within(held, asked, |held, network| held.contains(network)).ok_or(wide("allowlist"))
    }

    pub(super) fn expiry(&self, asked: Option<Timestamp>) -> Result<Option<Timestamp>, ManageError> {
        match (self.of(|issuer| issuer.expires_at.as_ref()), asked) {
            (Some(end), Some(asked)) if asked > *end => Err(wide("expiresAt")),
            (Some(end), None) => Ok(Some(*end)),
            (_, asked) => Ok(asked),
        }
    }

    /// Holds what else a new key has within the bounds: its environment, and quotas and caps, which are not compared.
    pub(super) fn hold(&self, record: &mut KeyRecord) -> Result<(), ManageError> {
        let Some(issuer) = self.issuer() else { return Ok(()) };
        if record.environment != issuer.environment {
            return Err(wide("environment"));
        }
        if record.quotas.is_some() && record.quotas != issuer.quotas {
            return Err(wide("quotas"));
        }
        if record.caps.is_some() && record.caps != issuer.caps {
            return Err(wide("caps"));
        }
        record.quotas.clone_from(&issuer.quotas);
        record.caps.clone_from(&issuer.caps);
        Ok(())
    }

    /// Whether a key lies within the bounds: who is given its secret is given all that it may do.
    pub(super) fn must_cover(&self, record: &KeyRecord) -> Result<(), ManageError> {
        self.must_reach(record)?;
        match self.expiry(record.expires_at) {
            Ok(held) if held == record.expires_at => Ok(()),
            _ => Err(wide("expiresAt")),
        }
    }

    /// Whether a key is the one that asks, or may do no more than it: what is wider is not its to change. How long it lasts
    /// is no matter here: a key that replaces another is to be able to revoke it.
    pub(super) fn must_reach(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let Some(issuer) = self.issuer().filter(|issuer| issuer.id != record.id) else { return Ok(()) };
        let covered = [
            ("scopes", self.scopes(record.scopes.clone()).is_ok_and(|held| held == record.scopes)),
            ("paths", self.paths(record.paths.clone()).is_ok_and(|held| held == record.paths)),
            (
                "allowlist",
                self.allowlist(record.allowlist.clone()).is_ok_and(|held| held == record.allowlist),
            ),
            ("environment", record.environment == issuer.environment),
            ("quotas", issuer.quotas.is_none() || record.quotas == issuer.quotas),
            ("caps", issuer.caps.is_none() || record.caps == issuer.caps),
        ];
        covered.into_iter().find(|(_, covered)| !covered).map_or(Ok(()), |(member, _)| Err(wide(member)))
    }
}

/// What is asked for, if all of it lies within what is held; what is held, if nothing is asked for.
#[expect(clippy::option_option, reason = "no restriction and no answer are two things")]
fn within<T: Clone>(
    held: Option<&Vec<T>>,
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
