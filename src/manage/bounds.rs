//! What the key that asks may give: no more than it has.

use std::sync::Arc;

use ipnet::IpNet;

use crate::account::Terms;
use crate::account::{AccountStatus, Caps};
use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::key::{KeyHash, KeyRecord, KeyStatus, PathPattern};
use crate::manage::{KeyChange, KeyManager, ManageError, cover};
use crate::name::Scope;

/// The bounds of the key that asks, if a key does: what it gives is its own or narrower, and what is not asked for is its
/// own.
#[derive(Clone)]
pub(super) struct Bounds(Option<Issuer>);

/// The key that asks, and what its plan, its account and itself come to.
#[derive(Clone)]
struct Issuer {
    record: Arc<KeyRecord>,
    terms: Arc<Terms>,
    gate: Gate,
}

fn wide(member: &'static str) -> ManageError {
    ManageError::TooWide { member }
}

impl KeyManager {
    /// The bounds of the key in whose name this is. A key that may not manage keys asks for nothing.
    pub(super) async fn bounds(&self) -> Result<Bounds, ManageError> {
        let Some(record) = self.issuer().await? else { return Ok(Bounds(None)) };
        self.must_be_granted(&record)?;
        let gate = self.desk.gate.clone();
        let terms = gate.0.plans.terms_of(&record);
        let terms = terms.map_err(|unknown| ManageError::Misconfigured(unknown.to_string()))?;
        Ok(Bounds(Some(Issuer { record, terms, gate })))
    }

    /// The key in whose name this is, as the authority has it: one that may no longer be used asks for nothing, whatever a
    /// cache still says of it.
    pub(super) async fn issuer(&self) -> Result<Option<Arc<KeyRecord>>, ManageError> {
        let Some(id) = self.desk.actor.key_id() else { return Ok(None) };
        let usable = |issuer: &Arc<KeyRecord>| {
            issuer.status == KeyStatus::Active
                && !issuer.has_expired(self.now())
                && issuer.account.status == AccountStatus::Active
        };
        let stored = self.store.get(id).await?.filter(usable);
        let issuer = stored.and_then(|stored| as_shown(stored, &self.shown, self.now()));
        issuer.map(Some).ok_or(ManageError::Issuer)
    }

    /// Refuses a key that everybody knows, one whose plan manages no keys, and one that is restricted and was not granted
    /// the management of keys.
    fn must_be_granted(&self, issuer: &KeyRecord) -> Result<(), ManageError> {
        let (core, management) = (&self.desk.gate.0, &self.desk.gate.0.management);
        if !self.plan_of(&issuer.account)?.manages_keys {
            return Err(ManageError::NotInPlan("the management of keys"));
        }
        let scope = management.scope.as_ref();
        let by_scope = |held: &Vec<Scope>| scope.is_some_and(|scope| held.contains(scope));
        // Where the gate mounts no management, the paths were asked when the gate let the request in.
        let by_path = |held: &Vec<PathPattern>| match &management.path {
            Some(path) => held.iter().any(|pattern| leads_to(pattern, path)),
            None => true,
        };
        let granted =
            issuer.scopes.as_ref().is_none_or(by_scope) && issuer.paths.as_ref().is_none_or(by_path);
        if granted && !core.is_hash_of_literal(&issuer.hash) { Ok(()) } else { Err(ManageError::NotGranted) }
    }
}

/// Whether a pattern covers a path, or one below it.
fn leads_to(pattern: &PathPattern, path: &str) -> bool {
    pattern.covers(path) || pattern.as_str().strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
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
    /// The key that asks.
    pub(super) fn issuer(&self) -> Option<&KeyRecord> {
        self.0.as_ref().map(|issuer| &*issuer.record)
    }

    /// Returns the bounds of the key that asks as this record has it, if it is that key: it may have been narrowed since the
    /// bounds were read, and a change by itself does not undo that.
    pub(super) fn renewed(&self, record: &KeyRecord) -> Result<Self, ManageError> {
        let Some(issuer) = self.0.as_ref().filter(|issuer| issuer.record.id == record.id) else {
            return Ok(self.clone());
        };
        let terms = issuer.gate.0.plans.terms_of(record);
        let terms = terms.map_err(|unknown| ManageError::Misconfigured(unknown.to_string()))?;
        let mut renewed = record.clone();
        // A secret on its way out lasts for its overlap alone.
        renewed.expires_at = record.expires_at.into_iter().chain(issuer.record.expires_at).min();
        Ok(Self(Some(Issuer { record: Arc::new(renewed), terms, gate: issuer.gate.clone() })))
    }

    /// Gives a new key what the key that asks has, wherever nothing is asked for.
    pub(super) fn inherit(&self, record: &mut KeyRecord) {
        let Some(issuer) = self.issuer() else { return };
        record.issued_by = Some(issuer.id);
        record.expires_at = record.expires_at.or(issuer.expires_at);
        record.scopes = record.scopes.take().or_else(|| issuer.scopes.clone());
        record.paths = record.paths.take().or_else(|| issuer.paths.clone());
        record.allowlist = record.allowlist.take().or_else(|| issuer.allowlist.clone());
        record.quotas = record.quotas.take().or_else(|| issuer.quotas.clone());
        record.caps = record.caps.take().or_else(|| issuer.caps.clone());
    }

    pub(super) fn scopes(&self, asked: Option<&[Scope]>) -> Result<(), ManageError> {
        let held = self.issuer().and_then(|issuer| issuer.scopes.as_deref());
        within(held, asked, |held, scope| held == scope).then_some(()).ok_or(wide("scopes"))
    }

    pub(super) fn paths(&self, asked: Option<&[PathPattern]>) -> Result<(), ManageError> {
        let held = self.issuer().and_then(|issuer| issuer.paths.as_deref());
        within(held, asked, covers).then_some(()).ok_or(wide("paths"))
    }

    pub(super) fn allowlist(&self, asked: Option<&[IpNet]>) -> Result<(), ManageError> {
        // Two halves of a network are the network.
        let held = self.issuer().and_then(|issuer| issuer.allowlist.as_ref()).map(IpNet::aggregate);
        let held = held.as_deref();
        within(held, asked, |held, network| held.contains(network)).then_some(()).ok_or(wide("allowlist"))
    }

    pub(super) fn expiry(&self, asked: Option<Timestamp>) -> Result<(), ManageError> {
        match self.issuer().and_then(|issuer| issuer.expires_at) {
            Some(end) if asked.is_none_or(|asked| asked > end) => Err(wide("expiresAt")),
            _ => Ok(()),
        }
    }

    /// Refuses a record whose quotas and caps, with those of its plan and its account, let through what those of the key that
    /// asks do not.
    pub(super) fn terms(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let Some(issuer) = &self.0 else { return Ok(()) };
        // No limit of its own outlasts a plan without limits: what is inherited follows the next plan.
        let frees = |own: Option<bool>, held: bool| own == Some(true) && !held;
        if frees(record.quotas.as_ref().map(Vec::is_empty), issuer.record.quotas.is_some()) {
            return Err(wide("quotas"));
        }
        if frees(record.caps.as_ref().map(Caps::is_empty), issuer.record.caps.is_some()) {
            return Err(wide("caps"));
        }
        // What the configuration does not know may come to anything once it does.
        let Ok(terms) = issuer.gate.0.plans.terms_of(record) else { return Err(wide("quotas")) };
        if !cover::quotas(&issuer.terms.quotas, &terms.quotas) {
            return Err(wide("quotas"));
        }
        if cover::caps(&issuer.terms.caps, &terms.caps) { Ok(()) } else { Err(wide("caps")) }
    }

    /// Refuses a change after which a key lets through what the key that asks does not. Nor is a key given back what its plan
    /// allows while the key that asks has less of its own: the plan may come to allow more.
    pub(super) fn changed_terms(&self, record: &KeyRecord, change: &KeyChange) -> Result<(), ManageError> {
        let Some(issuer) = self.issuer() else { return Ok(()) };
        if change.quotas == Some(None) && issuer.quotas.as_ref().is_some_and(|own| !own.is_empty()) {
            return Err(wide("quotas"));
        }
        if change.caps == Some(None) && issuer.caps.as_ref().is_some_and(|own| !own.is_empty()) {
            return Err(wide("caps"));
        }
        self.terms(record)
    }

    fn environment(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let same = self.issuer().is_none_or(|issuer| issuer.environment == record.environment);
        if same { Ok(()) } else { Err(wide("environment")) }
    }

    /// Refuses a key of another account, which is missing to the key that asks.
    pub(super) fn must_own(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let own = self.issuer().is_none_or(|issuer| issuer.account.id == record.account.id);
        if own { Ok(()) } else { Err(ManageError::NotFound("key")) }
    }

    /// Refuses a key that is wider than the one that asks: who is given its secret is given all that it may do.
    pub(super) fn must_cover(&self, record: &KeyRecord) -> Result<(), ManageError> {
        self.must_reach(record)?;
        self.expiry(record.expires_at)
    }

    /// Refuses a key that may do more than the one that asks, unless it is that one: what is wider is not its to change. How
    /// long it lasts is no matter here: a key that replaces another is to be able to revoke it.
    pub(super) fn must_reach(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let Some(issuer) = &self.0 else { return Ok(()) };
        self.must_own(record)?;
        if issuer.record.id == record.id {
            return Ok(());
        }
        // A key that everybody knows is the operator's alone.
        if issuer.gate.0.is_hash_of_literal(&record.hash) {
            return Err(ManageError::NotGranted);
        }
        self.scopes(record.scopes.as_deref())?;
        self.paths(record.paths.as_deref())?;
        self.allowlist(record.allowlist.as_deref())?;
        self.environment(record)?;
        self.terms(record)
    }
}

/// Whether all of what is asked for lies within what is held. Nothing asked for is no restriction.
fn within<T>(held: Option<&[T]>, asked: Option<&[T]>, covers: fn(&T, &T) -> bool) -> bool {
    match (held, asked) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(held), Some(asked)) => asked.iter().all(|one| held.iter().any(|held| covers(held, one))),
    }
}

/// Whether one pattern covers all that another does.
fn covers(held: &PathPattern, asked: &PathPattern) -> bool {
    // Read as a path, a pattern lies below whatever all of its paths lie below.
    held == asked || held.covers(asked.as_str())
}
