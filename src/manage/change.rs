//! Changes to existing keys.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::account::{Account, AccountStatus, KeyBudget, ParamLimits, QuotaRef};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{KeyId, KeyRecord, KeyStatus, PathPattern, PreviousSecret};
use crate::manage::bounds::Bounds;
use crate::manage::context::{self, ChangeOutcome};
use crate::manage::{Issued, KeyManager, ManageError, limits};
use crate::name::Scope;
use crate::store::{KeyQuery, Replaced};

/// The number of keys that are read from the store in one page.
const PAGE: usize = 1_000;

/// A change to a key. A member that is `None` stays as it is; `Some(None)` removes the restriction.
///
/// # Example
///
/// ```
/// use tollgate::manage::KeyChange;
///
/// let change = KeyChange { name: Some("renamed".into()), scopes: Some(None), ..KeyChange::default() };
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyChange {
    /// The new name of the key.
    pub name: Option<String>,
    /// The scopes that the key grants.
    pub scopes: Option<Option<Vec<Scope>>>,
    /// The paths that the key may call.
    pub paths: Option<Option<Vec<PathPattern>>>,
    /// The networks from which the key may be used.
    pub allowlist: Option<Option<Vec<IpNet>>>,
    /// The time from which the key may not be used. It cannot be removed on a plan that has a longest lifetime.
    pub expires_at: Option<Option<Timestamp>>,
    /// The key's own quotas, which replace those of its account or its plan. An empty list is no limit. `Some(None)`
    /// returns the key to the quotas of its account, or else of its plan.
    pub quotas: Option<Option<Vec<QuotaRef>>>,
    /// The maximum number of the key's requests in flight. `Some(None)` returns the key to the limit of its plan.
    pub in_flight: Option<Option<u32>>,
    /// The key's own budgets, which replace those of its plan. An empty list is no budget. `Some(None)` returns the key to
    /// the budgets of its plan.
    pub budgets: Option<Option<Vec<KeyBudget>>>,
    /// The key's own limits on parameters, which replace those of its account or its plan. `Some(None)` returns the key
    /// to those.
    pub caps: Option<Option<ParamLimits>>,
    /// The additional data that the service stores with the key. It replaces all existing data.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A revoked key, and the result of the announcement to other nodes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Revoked {
    /// The revoked key.
    pub key: Arc<KeyRecord>,
    /// True if the other nodes were notified, or if there are none. If they could not be notified, they deny the key
    /// within the bound on staleness of their caches. Revoking the key again repeats the announcement.
    pub announced: bool,
}

/// A rotated key and its new secret. [`retiring`](crate::key::KeyDetails::retiring) has the end of the old secret's validity.
pub type Rotated = Issued;

impl KeyManager {
    /// Changes a key. New quotas and limits apply from the next request on.
    ///
    /// # Errors
    ///
    /// Returns an error if the change is empty, if the key is unknown, revoked or expired, if a value is invalid or
    /// wider than the [actor's](KeyManager::by), if the change removes a restriction that the actor has, or if the
    /// store fails. Quotas are invalid if one is not configured, if two share a name, or if one can never be reached.
    pub async fn update(&self, id: KeyId, change: &KeyChange) -> Result<Arc<KeyRecord>, ManageError> {
        self.check_texts(change.name.as_deref(), change.metadata.as_ref())?;
        limits::list("paths", change.paths.as_ref().and_then(|paths| paths.as_deref()))?;
        limits::allowlist(change.allowlist.as_ref().and_then(|allowlist| allowlist.as_deref()))?;
        self.check_scopes(change.scopes.as_ref().and_then(|scopes| scopes.as_deref()))?;
        let bounds = self.bounds().await?;
        let decide = |record: &mut KeyRecord| {
            bounds.must_reach(record)?;
            self.apply(record, change, &bounds.renewed(record)?)
        };
        self.change(id, Action::Updated, decide).await
    }

    /// Pauses a key. It may not be used until it is resumed, and it still counts towards the plan's limit on active
    /// keys.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, revoked or expired, if it is wider than the [actor's](KeyManager::by),
    /// or if the store fails.
    pub async fn pause(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        self.set_status(id, Action::Paused, KeyStatus::Paused).await
    }

    /// Resumes a paused key.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, revoked or expired, if it is wider than the [actor's](KeyManager::by),
    /// or if the store fails.
    pub async fn resume(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        self.set_status(id, Action::Resumed, KeyStatus::Active).await
    }

    /// Revokes a key at once. The revocation is permanent, unless the operator [undoes](Self::undo_revocation) it. This node denies every request that arrives after this method returned.
    /// For other nodes, see [`Revoked::announced`]. Revoking the key again changes nothing and repeats the
    /// announcement.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, if it is wider than the [actor's](KeyManager::by), or if the store
    /// fails.
    pub async fn revoke(&self, id: KeyId) -> Result<Revoked, ManageError> {
        let bounds = self.bounds().await?;
        self.end(id, Action::Revoked, |record| bounds.must_reach(record)).await
    }

    /// Revokes a key, every key that it issued, and every key that those issued. The first element of the result is the
    /// key itself. Keys that were already revoked stay as they are and are not among the other elements.
    ///
    /// The key is revoked first, so that it cannot issue another one. To complete a partial failure, call this method
    /// again. Keys that an [erased](Self::erase) key issued are not found.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, if a key is wider than the [actor's](KeyManager::by), or if the store
    /// fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn leaked(manager: &tollgate::KeyManager, id: tollgate::KeyId) -> Result<(), tollgate::manage::ManageError> {
    /// for revoked in manager.revoke_with_issued(id).await? {
    ///     println!("{} is revoked", revoked.key.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke_with_issued(&self, id: KeyId) -> Result<Vec<Revoked>, ManageError> {
        let bounds = self.bounds().await?;
        let mut revoked = vec![self.end(id, Action::Revoked, |record| bounds.must_reach(record)).await?];
        let mut query = KeyQuery::first(PAGE);
        query.account = Some(revoked[0].key.account.id.clone());
        let (mut seen, mut issuers) = (HashSet::from([id]), vec![id]);
        while let Some(issuer) = issuers.pop() {
            (query.issued_by, query.after) = (Some(issuer), None);
            loop {
                let page = self.store.list(&query).await?;
                // A store that does not support the condition returns other keys too.
                let issued = page.iter().filter(|key| key.issued_by == Some(issuer));
                for key in issued.filter(|key| seen.insert(key.id)) {
                    issuers.push(key.id);
                    if key.status == KeyStatus::Revoked {
                        continue;
                    }
                    match self.end(key.id, Action::Revoked, |record| bounds.must_reach(record)).await {
                        Ok(ended) => revoked.push(ended),
                        // The key was erased after it was listed, so that there is nothing to revoke.
                        Err(ManageError::NotFound(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                query.after = page.last().map(|key| key.id);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(revoked)
    }

    /// Revokes a key if `allow` accepts the record that the authority stores.
    pub(super) async fn end(
        &self,
        id: KeyId,
        action: Action,
        allow: impl Fn(&KeyRecord) -> Result<(), ManageError>,
    ) -> Result<Revoked, ManageError> {
        let revoke = |record: &mut KeyRecord| {
            allow(record)?;
            if record.status != KeyStatus::Revoked {
                record.status = KeyStatus::Revoked;
                record.revoked_at = Some(self.now());
                record.retiring = None;
            }
            Ok(())
        };
        match self.write(id, action, revoke).await? {
            (key, Some(announced)) => Ok(Revoked { key, announced }),
            // The key was already revoked, but the announcement may have failed.
            (key, None) => {
                let announced = self.store.replace(&key).await? != Replaced::Unannounced;
                Ok(Revoked { key, announced })
            }
        }
    }

    /// Takes back the revocation of a key, also of a leaked one: the key is active again, with its secret and its limits. A
    /// secret that was retiring at the revocation stays invalid. The audit has it as [`Action::Unrevoked`].
    ///
    /// Only the operator may do that, within the time that
    /// [`GateBuilder::undo_revocation`](crate::GateBuilder::undo_revocation) sets. The account may then have one key more than its
    /// plan's `max_keys`. Other nodes admit the key after the announcement, or within the bound on staleness of their caches.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, if it is not revoked or was revoked too long ago, if its account is deleted, if
    /// the gate allows no undoing, if the manager is for one account or acts in the name of a key, or if the store fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn mistaken(manager: &tollgate::KeyManager, id: tollgate::KeyId) -> Result<(), tollgate::manage::ManageError> {
    /// let key = manager.undo_revocation(id).await?;
    /// assert_eq!(key.revoked_at, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn undo_revocation(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        let misconfigured = |problem: &str| Err(ManageError::Misconfigured(problem.to_owned()));
        if self.scope.is_some() || self.context.actor.key_id().is_some() {
            return misconfigured("undoing a revocation requires the operator's manager");
        }
        let Some(within) = self.context.gate.core().management.undo_revocation else {
            return misconfigured("a revocation is final, unless `management.undo_revocation` sets a time");
        };
        let decide = |record: &mut KeyRecord| {
            if record.account.status == AccountStatus::Deleted {
                return Err(ManageError::AccountDeleted);
            }
            if record.status != KeyStatus::Revoked {
                return Err(ManageError::invalid("key", "is not revoked"));
            }
            let revoked_at = record.revoked_at.unwrap_or(Timestamp::from_millis(i64::MIN));
            if self.now() > revoked_at.saturating_add(within) {
                return Err(ManageError::invalid("key", "was revoked too long ago"));
            }
            record.status = KeyStatus::Active;
            record.revoked_at = None;
            Ok(())
        };
        self.change(id, Action::Unrevoked, decide).await
    }

    /// Gives a key a new secret. The old secret stays valid for the overlap; an overlap of zero ends it at once. A
    /// secret that was still retiring from an earlier rotation ends at once. The id, the limits and the credits stay.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, revoked or expired, if it is wider than the [actor's](KeyManager::by),
    /// if no randomness is available, or if the store fails.
    pub async fn rotate(&self, id: KeyId, overlap: Duration) -> Result<Rotated, ManageError> {
        let (bounds, old) = (self.bounds().await?, self.managed(id).await?);
        bounds.must_own(&old)?;
        let fits =
            |format: &&crate::key::KeyFormat| *format.environment() == old.environment && format.can_issue();
        let core = self.context.gate.core();
        let format = core.formats().iter().find(fits);
        let format = format
            .ok_or_else(|| ManageError::Misconfigured("no key format issues keys such as this one".into()))?;
        let secret = format.generate_from(self.context.gate.randomness())?;
        let hash = self.context.gate.hasher().hash(secret.expose_secret().as_bytes());
        let rotated = self.change(id, Action::Rotated, |record| {
            self.must_live(record)?;
            bounds.must_cover(record)?;
            let until = self.now().saturating_add(overlap);
            record.retiring = (!overlap.is_zero()).then_some(PreviousSecret { hash: record.hash, until });
            record.hash = hash;
            secret.start().clone_into(&mut record.start);
            Ok(())
        });
        Ok(Issued { key: rotated.await?, secret })
    }

    /// Removes a key permanently, with all its data.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown, if it is wider than the [actor's](KeyManager::by), or if the store
    /// fails.
    pub async fn erase(&self, id: KeyId) -> Result<(), ManageError> {
        let (bounds, record) = (self.bounds().await?, self.managed(id).await?);
        bounds.must_reach(&record)?;
        let account = record.account.id.clone();
        let erased = self.context.carry(self.store.erase(id), move |context, erased| {
            if *erased {
                context.record_audit(Action::Erased, Some(id), Some(&account), None);
            }
        });
        if erased.await? { Ok(()) } else { Err(ManageError::NotFound("key")) }
    }

    /// Permanently removes the keys, of all accounts, that were revoked or expired longer than `dead_for` ago. Returns
    /// the number of removed keys.
    ///
    /// # Errors
    ///
    /// Returns an error if the manager is for one account or acts in the name of a key, or if the store fails.
    pub async fn sweep(&self, dead_for: Duration) -> Result<u64, ManageError> {
        if self.scope.is_some() || self.context.actor.key_id().is_some() {
            return Err(ManageError::Misconfigured(
                "sweeping requires the operator's manager, because it covers all accounts".into(),
            ));
        }
        let millis = i64::try_from(dead_for.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(self.now().as_millis().saturating_sub(millis));
        let swept = self.context.carry(self.store.sweep(before), move |context, swept| {
            if *swept > 0 {
                context.record_audit(
                    Action::Swept,
                    None,
                    None,
                    Some(format!("{swept} keys, dead since before {before}")),
                );
            }
        });
        Ok(swept.await?)
    }

    /// Applies a change. Only changed members must be within the bounds; an unchanged member may be wider.
    fn apply(&self, record: &mut KeyRecord, change: &KeyChange, bounds: &Bounds) -> Result<(), ManageError> {
        self.must_live(record)?;
        if *change == KeyChange::default() {
            return Err(ManageError::invalid("change", "must contain at least one change"));
        }
        if let Some(name) = &change.name {
            record.name.clone_from(name);
        }
        if let Some(scopes) = &change.scopes {
            bounds.scopes(scopes.as_deref())?;
            record.scopes.clone_from(scopes);
        }
        if let Some(paths) = &change.paths {
            bounds.paths(paths.as_deref())?;
            record.paths.clone_from(paths);
        }
        if let Some(allowlist) = &change.allowlist {
            bounds.allowlist(allowlist.as_deref())?;
            record.allowlist.clone_from(allowlist);
        }
        if let Some(quotas) = &change.quotas {
            record.quotas.clone_from(quotas);
        }
        if let Some(in_flight) = change.in_flight {
            record.in_flight = in_flight;
        }
        if let Some(budgets) = &change.budgets {
            record.budgets.clone_from(budgets);
        }
        if let Some(caps) = &change.caps {
            record.caps.clone_from(caps);
        }
        let limits = [change.quotas.is_some(), change.in_flight.is_some(), change.budgets.is_some()];
        if limits.contains(&true) || change.caps.is_some() {
            self.check_terms(record)?;
            bounds.changed_terms(record, change)?;
        }
        if let Some(metadata) = &change.metadata {
            record.metadata.clone_from(metadata);
        }
        if let Some(asked) = change.expires_at.filter(|asked| *asked != record.expires_at) {
            let plan = self.plan_of(&record.account)?;
            match asked {
                Some(end) => self.check_expiry(&plan, end, record.created_at.unwrap_or(self.now()))?,
                None => self.check_no_expiry(&plan)?,
            }
            bounds.expiry(asked)?;
            record.expires_at = asked;
        }
        Ok(())
    }

    async fn set_status(
        &self,
        id: KeyId,
        action: Action,
        status: KeyStatus,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        let bounds = self.bounds().await?;
        let decide = |record: &mut KeyRecord| {
            bounds.must_reach(record)?;
            self.must_live(record)?;
            record.status = status;
            Ok(())
        };
        self.change(id, action, decide).await
    }

    fn must_live(&self, record: &KeyRecord) -> Result<(), ManageError> {
        if record.counts_as_active(self.now()) { Ok(()) } else { Err(ManageError::Dead) }
    }

    /// Applies a change whose announcement result the caller does not need.
    async fn change(
        &self,
        id: KeyId,
        action: Action,
        decide: impl Fn(&mut KeyRecord) -> Result<(), ManageError>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        Ok(self.write(id, action, decide).await?.0)
    }

    /// Tells the gate's alerts of a revocation, or of its undoing, after it was made.
    fn telling(
        &self,
        replaced: StoreFuture<Replaced>,
        id: KeyId,
        action: Action,
        account: &Arc<Account>,
    ) -> StoreFuture<Replaced> {
        let is_told = matches!(action, Action::Revoked | Action::Leaked | Action::Unrevoked);
        let alerts = self.context.gate.alerts().filter(|_| is_told);
        let Some(alerts) = alerts.cloned() else { return replaced };
        let account = Arc::clone(account);
        StoreFuture::boxed(async move {
            let replaced = replaced.await?;
            if matches!(replaced, Replaced::Done | Replaced::Unannounced) {
                match action {
                    Action::Unrevoked => alerts.revocation_undone(id).await,
                    _ => alerts.revoked(action, id, &account).await,
                }
            }
            Ok(replaced)
        })
    }

    /// Reads the key, decides and writes, and repeats this if another writer was first. Returns true if the change was
    /// announced, and `None` if nothing changed.
    async fn write(
        &self,
        id: KeyId,
        action: Action,
        decide: impl Fn(&mut KeyRecord) -> Result<(), ManageError>,
    ) -> Result<(Arc<KeyRecord>, Option<bool>), ManageError> {
        let decide = |record: &mut KeyRecord| self.must_manage(record).and_then(|()| decide(record));
        let write = |changed: &KeyRecord| {
            let account = changed.account.id.clone();
            let replaced = self.telling(self.store.replace(changed), id, action, &changed.account);
            self.context.carry(replaced, move |context, replaced| {
                if matches!(replaced, Replaced::Done | Replaced::Unannounced) {
                    context.record_audit(action, Some(id), Some(&account), None);
                }
            })
        };
        match context::change("key", || self.store.get(id), decide, write).await? {
            ChangeOutcome::Not(stored) => Ok((stored, None)),
            ChangeOutcome::To { mut changed, announced } => {
                changed.version += 1;
                Ok((Arc::new(changed), Some(announced)))
            }
        }
    }
}
