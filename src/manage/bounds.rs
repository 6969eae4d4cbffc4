//! The bounds of an issuing key: it can give no more than it has.

use std::sync::Arc;

use ipnet::IpNet;

use crate::account::{AccountStatus, Budget, ParamLimits, Terms};
use crate::amount::Currency;
use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::key::{KeyHash, KeyRecord, KeyStatus, PathPattern};
use crate::manage::{KeyChange, KeyManager, ManageError, cover};
use crate::name::Scope;

/// The bounds of the key in whose name a manager acts, if there is one. A member that it gives to another key is equal
/// to its own or narrower. A member that the request omits is equal to its own.
#[derive(Clone)]
pub(super) struct Bounds(Option<Issuer>);

/// The acting key, and the terms that result from its plan, its account and the key itself.
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
    /// Returns the bounds of the key in whose name this manager acts. A key that may not manage keys is rejected.
    pub(super) async fn bounds(&self) -> Result<Bounds, ManageError> {
        let Some(record) = self.issuer().await? else { return Ok(Bounds(None)) };
        self.must_be_granted(&record)?;
        let gate = self.context.gate.clone();
        let terms = gate.core().plans.terms_of(&record);
        let terms = terms.map_err(|unknown| ManageError::Misconfigured(unknown.to_string()))?;
        Ok(Bounds(Some(Issuer { record, terms, gate })))
    }

    /// Returns the key in whose name this manager acts, as the authority stores it. A key that may no longer be used is
    /// rejected, even if a cache still has it as usable.
    pub(super) async fn issuer(&self) -> Result<Option<Arc<KeyRecord>>, ManageError> {
        if self.is_anonymous {
            return Err(ManageError::NotGranted);
        }
        let Some(id) = self.context.actor.key_id() else { return Ok(None) };
        let usable = |issuer: &Arc<KeyRecord>| {
            issuer.status == KeyStatus::Active
                && !issuer.has_expired(self.now())
                && issuer.account.status == AccountStatus::Active
        };
        let stored = self.store.get(id).await?.filter(usable);
        let issuer = stored.and_then(|stored| as_shown(stored, &self.shown, self.now()));
        issuer.map(Some).ok_or(ManageError::Issuer)
    }

    /// Rejects a literal key, a key whose plan does not include the management of keys, and a restricted key that was
    /// not granted the management of keys.
    fn must_be_granted(&self, issuer: &KeyRecord) -> Result<(), ManageError> {
        let core = self.context.gate.core();
        let management = &core.management;
        if !self.plan_of(&issuer.account)?.manages_keys {
            return Err(ManageError::NotInPlan("the management of keys"));
        }
        let scope = management.scope.as_ref();
        let by_scope = |held: &Vec<Scope>| scope.is_some_and(|scope| held.contains(scope));
        // Without mounted endpoints, the gate already checked the key's paths when it admitted the request.
        let by_path = |held: &Vec<PathPattern>| match &management.path {
            Some(path) => held.iter().any(|pattern| leads_to(pattern, path)),
            None => true,
        };
        let granted =
            issuer.scopes.as_ref().is_none_or(by_scope) && issuer.paths.as_ref().is_none_or(by_path);
        if granted && !core.is_hash_of_literal(&issuer.hash) { Ok(()) } else { Err(ManageError::NotGranted) }
    }
}

/// Returns true if a pattern covers a path, or a path below it.
fn leads_to(pattern: &PathPattern, path: &str) -> bool {
    pattern.covers(path) || pattern.as_str().strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the acting key, as restricted by the secret that it presented. With a retiring secret, the key expires no
/// later than the end of the overlap, so that it cannot give a longer expiry. Returns `None` if the authority no longer
/// knows the secret.
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
    /// Returns the acting key.
    pub(super) fn issuer(&self) -> Option<&KeyRecord> {
        self.0.as_ref().map(|issuer| &*issuer.record)
    }

    /// Returns the bounds of the acting key as this record has it, if the record is of that key. The key may have been
    /// narrowed since the bounds were read, and a change that it makes to itself must not undo that.
    pub(super) fn renewed(&self, record: &KeyRecord) -> Result<Self, ManageError> {
        let Some(issuer) = self.0.as_ref().filter(|issuer| issuer.record.id == record.id) else {
            return Ok(self.clone());
        };
        let terms = issuer.gate.core().plans.terms_of(record);
        let terms = terms.map_err(|unknown| ManageError::Misconfigured(unknown.to_string()))?;
        let mut renewed = record.clone();
        // A retiring secret is valid only until the end of its overlap.
        renewed.expires_at = record.expires_at.into_iter().chain(issuer.record.expires_at).min();
        Ok(Self(Some(Issuer { record: Arc::new(renewed), terms, gate: issuer.gate.clone() })))
    }

    /// Gives a new key the members of the acting key, where the request omits them.
    pub(super) fn inherit(&self, record: &mut KeyRecord) {
        let Some(issuer) = self.issuer() else { return };
        record.issued_by = Some(issuer.id);
        record.expires_at = record.expires_at.or(issuer.expires_at);
        record.scopes = record.scopes.take().or_else(|| issuer.scopes.clone());
        record.paths = record.paths.take().or_else(|| issuer.paths.clone());
        record.allowlist = record.allowlist.take().or_else(|| issuer.allowlist.clone());
        record.quotas = record.quotas.take().or_else(|| issuer.quotas.clone());
        record.in_flight = record.in_flight.or(issuer.in_flight);
        record.budgets = record.budgets.take().or_else(|| issuer.budgets.clone());
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
        // Two halves of a network together are equal to the network.
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

    /// Rejects a record whose quotas and limits on parameters, combined with those of its plan and its account, admit
    /// more than those of the acting key.
    pub(super) fn terms(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let Some(issuer) = &self.0 else { return Ok(()) };
        // An explicit absence of limits stays when the account changes to a plan with limits, but inherited terms
        // follow the new plan. The acting key must not give such an absence if it inherits its own terms.
        let frees = |own: Option<bool>, held: bool| own == Some(true) && !held;
        if frees(record.quotas.as_ref().map(Vec::is_empty), issuer.record.quotas.is_some()) {
            return Err(wide("quotas"));
        }
        if frees(record.budgets.as_ref().map(Vec::is_empty), issuer.record.budgets.is_some()) {
            return Err(wide("budgets"));
        }
        if frees(record.caps.as_ref().map(ParamLimits::is_empty), issuer.record.caps.is_some()) {
            return Err(wide("caps"));
        }
        // The terms cannot be compared if the configuration lacks the plan or a quota: it could later define any limit
        // for it.
        let Ok(terms) = issuer.gate.core().plans.terms_of(record) else { return Err(wide("quotas")) };
        if !cover::quotas(&issuer.terms.own.quotas, &terms.own.quotas) {
            return Err(wide("quotas"));
        }
        if !cover::in_flight(&issuer.terms.own.in_flight, &terms.own.in_flight) {
            return Err(wide("inFlight"));
        }
        // A key has at least the budgets of the acting key, none of which is larger or has another period.
        let covers = |(currency, held): (&Currency, &Budget)| {
            let same = |asked: &Budget| asked.period() == held.period() && asked.amount() <= held.amount();
            terms.budget_in(currency).is_some_and(same)
        };
        if !issuer.terms.budgets().into_iter().all(covers) {
            return Err(wide("budgets"));
        }
        if cover::caps(&issuer.terms.caps, &terms.caps) { Ok(()) } else { Err(wide("caps")) }
    }

    /// Rejects a change after which a key admits more than the acting key. A key is also not returned to the limits of
    /// its plan while the acting key has narrower limits of its own, because the plan may later allow more.
    pub(super) fn changed_terms(&self, record: &KeyRecord, change: &KeyChange) -> Result<(), ManageError> {
        let Some(issuer) = self.issuer() else { return Ok(()) };
        if change.quotas == Some(None) && issuer.quotas.as_ref().is_some_and(|own| !own.is_empty()) {
            return Err(wide("quotas"));
        }
        if change.in_flight == Some(None) && issuer.in_flight.is_some() {
            return Err(wide("inFlight"));
        }
        if change.budgets == Some(None) && issuer.budgets.as_ref().is_some_and(|own| !own.is_empty()) {
            return Err(wide("budgets"));
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

    /// Rejects a key of another account. For the acting key, such a key does not exist.
    pub(super) fn must_own(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let own = self.issuer().is_none_or(|issuer| issuer.account.id == record.account.id);
        if own { Ok(()) } else { Err(ManageError::NotFound("key")) }
    }

    /// Rejects a key that is wider than the acting key: a caller that receives the secret can do everything that the
    /// key may do.
    pub(super) fn must_cover(&self, record: &KeyRecord) -> Result<(), ManageError> {
        self.must_reach(record)?;
        self.expiry(record.expires_at)
    }

    /// Rejects a key that may do more than the acting key, unless it is that key. A key must not change a wider one.
    /// The expiry is not compared, because a key that replaces another must be able to revoke it.
    pub(super) fn must_reach(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let Some(issuer) = &self.0 else { return Ok(()) };
        self.must_own(record)?;
        if issuer.record.id == record.id {
            return Ok(());
        }
        // Only the operator may manage a literal key.
        if issuer.gate.core().is_hash_of_literal(&record.hash) {
            return Err(ManageError::NotGranted);
        }
        self.scopes(record.scopes.as_deref())?;
        self.paths(record.paths.as_deref())?;
        self.allowlist(record.allowlist.as_deref())?;
        self.environment(record)?;
        self.terms(record)
    }
}

/// Returns true if every requested value is covered by an allowed one. `None` is no restriction.
fn within<T>(held: Option<&[T]>, asked: Option<&[T]>, covers: fn(&T, &T) -> bool) -> bool {
    match (held, asked) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(held), Some(asked)) => asked.iter().all(|one| held.iter().any(|held| covers(held, one))),
    }
}

/// Returns true if one pattern covers everything that the other does.
fn covers(held: &PathPattern, asked: &PathPattern) -> bool {
    // The text of a pattern starts with every prefix that all of its paths share, so it can be checked as a path.
    held == asked || held.covers(asked.as_str())
}
