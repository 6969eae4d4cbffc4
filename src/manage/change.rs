//! Changes to keys that are there.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::account::{Caps, OwnQuota};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, KeyStatus, PathPattern, Retiring};
use crate::manage::bounds::Bounds;
use crate::manage::desk::{self, Changed};
use crate::manage::{Issued, KeyManager, ManageError, limits};
use crate::name::Scope;
use crate::store::{KeyQuery, Replaced};

/// How many keys are read at once.
const PAGE: usize = 1_000;

/// What to change of a key: `None` leaves a member as it is, `Some(None)` takes its restriction away.
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
    /// What its owner calls it.
    pub name: Option<String>,
    /// What it may be used for.
    pub scopes: Option<Option<Vec<Scope>>>,
    /// The paths it may call.
    pub paths: Option<Option<Vec<PathPattern>>>,
    /// The networks it may be used from.
    pub allowlist: Option<Option<Vec<IpNet>>>,
    /// From when on it may not be used; it cannot be taken away from a plan that has a longest lifetime.
    pub expires_at: Option<Option<Timestamp>>,
    /// Quotas of its own, in place of its account's or its plan's; an empty list is no limit. `Some(None)` gives it back its
    /// account's, or else its plan's.
    pub quotas: Option<Option<Vec<OwnQuota>>>,
    /// Caps of its own, in place of its account's or its plan's: `Some(None)` gives it back those.
    pub caps: Option<Option<Caps>>,
    /// Whatever else the service keeps with it: all of it.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A revoked key, and who knows of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Revoked {
    /// The key.
    pub key: Arc<KeyRecord>,
    /// Whether the other nodes, if there are any, were told. If they could not be, they refuse the key within the bound on
    /// staleness of their caches; revoking it again tells them again.
    pub announced: bool,
}

/// A rotated key: its new secret, and how long the old one is still valid.
pub type Rotated = Issued;

impl KeyManager {
    /// Changes a key. New quotas and caps hold from the next request on.
    ///
    /// # Errors
    ///
    /// A change of nothing; an unknown key, one that is revoked or has expired, a value that will not do, one wider than the
    /// [actor's](KeyManager::by), a restriction of the actor's that is to be taken away, a store that fails. Quotas will not do
    /// if one is not configured, two share a name, or one can never be reached.
    pub async fn update(&self, id: KeyId, change: &KeyChange) -> Result<Arc<KeyRecord>, ManageError> {
        if let Some(name) = &change.name {
            limits::name(name)?;
        }
        if let Some(metadata) = &change.metadata {
            limits::metadata(metadata)?;
        }
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

    /// Pauses a key: it may not be used until it is resumed, and keeps its place under the plan's cap.
    ///
    /// # Errors
    ///
    /// An unknown key, one that is revoked or has expired, a store that fails.
    pub async fn pause(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        self.set_status(id, Action::Paused, KeyStatus::Paused).await
    }

    /// Resumes a paused key.
    ///
    /// # Errors
    ///
    /// An unknown key, one that is revoked or has expired, a store that fails.
    pub async fn resume(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        self.set_status(id, Action::Resumed, KeyStatus::Active).await
    }

    /// Revokes a key, for good and at once: a request that comes to this node after this returned is refused, and to another
    /// node as [`Revoked::announced`] says. Revoking it again changes nothing, and announces it again.
    ///
    /// # Errors
    ///
    /// An unknown key, a store that fails.
    pub async fn revoke(&self, id: KeyId) -> Result<Revoked, ManageError> {
        let bounds = self.bounds().await?;
        self.end(id, Action::Revoked, |record| bounds.must_reach(record)).await
    }

    /// Revokes a key, and every key that it issued, and those that they issued. The first of the answer is the key itself; keys
    /// that were revoked before are left as they are, and not among the others.
    ///
    /// The key is revoked first, so that it issues no further one. What failed half-way is finished by revoking it again. A
    /// key that was [erased](Self::erase) hides what it issued.
    ///
    /// # Errors
    ///
    /// An unknown key, one that is wider than the [actor's](KeyManager::by), a store that fails.
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
                // A store that does not know the condition has listed more.
                let issued = page.iter().filter(|key| key.issued_by == Some(issuer));
                for key in issued.filter(|key| seen.insert(key.id)) {
                    issuers.push(key.id);
                    if key.status == KeyStatus::Revoked {
                        continue;
                    }
                    match self.end(key.id, Action::Revoked, |record| bounds.must_reach(record)).await {
                        Ok(ended) => revoked.push(ended),
                        // Erased since it was listed: it is gone all the more.
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

    /// Revokes a key, if that is allowed as the authority has it.
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
            // It was revoked before, and perhaps not announced.
            (key, None) => {
                let announced = self.store.replace(&key).await? != Replaced::Unannounced;
                Ok(Revoked { key, announced })
            }
        }
    }

    /// Gives a key a new secret. The old one stays valid for the overlap (zero: not at all), a secret that was still
    /// retiring from before goes at once; id, limits and credits stay.
    ///
    /// # Errors
    ///
    /// An unknown key, one that is revoked or has expired, one that is wider than the [actor's](KeyManager::by), no
    /// randomness, a store that fails.
    pub async fn rotate(&self, id: KeyId, overlap: Duration) -> Result<Rotated, ManageError> {
        let (bounds, old) = (self.bounds().await?, self.managed(id).await?);
        bounds.must_own(&old)?;
        let fits =
            |format: &&crate::key::KeyFormat| *format.environment() == old.environment && format.can_issue();
        let format = self.desk.gate.formats().iter().find(fits);
        let format =
            format.ok_or_else(|| ManageError::Misconfigured("no format issues keys like this one".into()))?;
        let secret = format.generate_from(self.desk.gate.randomness())?;
        let hash = self.desk.gate.hasher().hash(secret.as_bytes());
        let rotated = self.change(id, Action::Rotated, |record| {
            self.must_live(record)?;
            bounds.must_cover(record)?;
            let until = self.now().saturating_add(overlap);
            record.retiring = (!overlap.is_zero()).then_some(Retiring { hash: record.hash, until });
            record.hash = hash;
            secret.start().clone_into(&mut record.start);
            Ok(())
        });
        Ok(Issued { key: rotated.await?, secret })
    }

    /// Removes a key for good, with all that is known of it.
    ///
    /// # Errors
    ///
    /// An unknown key, a store that fails.
    pub async fn erase(&self, id: KeyId) -> Result<(), ManageError> {
        let (bounds, record) = (self.bounds().await?, self.managed(id).await?);
        bounds.must_reach(&record)?;
        let account = record.account.id.clone();
        let erased = self.desk.carry(self.store.erase(id), move |desk, erased| {
            if *erased {
                desk.tell(Action::Erased, Some(id), Some(&account), None);
            }
        });
        if erased.await? { Ok(()) } else { Err(ManageError::NotFound("key")) }
    }

    /// Removes for good the keys, of all accounts, that were revoked or have expired longer ago than this; says how many.
    ///
    /// # Errors
    ///
    /// A manager for one account or in the name of a key; a store that fails.
    pub async fn sweep(&self, dead_for: Duration) -> Result<u64, ManageError> {
        if self.scope.is_some() || self.desk.actor.key_id().is_some() {
            return Err(ManageError::Misconfigured(
                "only the operator's manager sweeps: it is of all accounts".into(),
            ));
        }
        let millis = i64::try_from(dead_for.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(self.now().as_millis().saturating_sub(millis));
        let swept = self.desk.carry(self.store.sweep(before), move |desk, swept| {
            if *swept > 0 {
                desk.tell(
                    Action::Swept,
                    None,
                    None,
                    Some(format!("{swept} keys, dead since before {before}")),
                );
            }
        });
        Ok(swept.await?)
    }

    /// Makes a change, of which each member lies within the bounds: what it leaves as it is may be wider.
    fn apply(&self, record: &mut KeyRecord, change: &KeyChange, bounds: &Bounds) -> Result<(), ManageError> {
        self.must_live(record)?;
        if *change == KeyChange::default() {
            return Err(ManageError::invalid("change", "names nothing to change"));
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
        if let Some(caps) = &change.caps {
            record.caps.clone_from(caps);
        }
        if change.quotas.is_some() || change.caps.is_some() {
            self.check_terms(record)?;
            bounds.changed_terms(record, change)?;
        }
        if let Some(metadata) = &change.metadata {
            record.metadata.clone_from(metadata);
        }
        if let Some(asked) = change.expires_at.filter(|asked| *asked != record.expires_at) {
            let plan = self.plan_of(&record.account)?;
            match asked {
                Some(end) => self.check_expiry(plan, end, record.created_at.unwrap_or(self.now()))?,
                None => self.check_no_expiry(plan)?,
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

    /// Makes a change of which nobody asks whether it was announced.
    async fn change(
        &self,
        id: KeyId,
        action: Action,
        decide: impl Fn(&mut KeyRecord) -> Result<(), ManageError>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        Ok(self.write(id, action, decide).await?.0)
    }

    /// Reads, decides and writes, again if somebody else wrote in between; says whether the change was announced, where there
    /// was one.
    async fn write(
        &self,
        id: KeyId,
        action: Action,
        decide: impl Fn(&mut KeyRecord) -> Result<(), ManageError>,
    ) -> Result<(Arc<KeyRecord>, Option<bool>), ManageError> {
        let decide = |record: &mut KeyRecord| self.must_manage(record).and_then(|()| decide(record));
        let write = |changed: &KeyRecord| {
            let account = changed.account.id.clone();
            self.desk.carry(self.store.replace(changed), move |desk, replaced| {
                if matches!(replaced, Replaced::Done | Replaced::Unannounced) {
                    desk.tell(action, Some(id), Some(&account), None);
                }
            })
        };
        match desk::change("key", || self.store.get(id), decide, write).await? {
            Changed::Not(stored) => Ok((stored, None)),
            Changed::To { mut changed, announced } => {
                changed.version += 1;
                Ok((Arc::new(changed), Some(announced)))
            }
        }
    }
}
