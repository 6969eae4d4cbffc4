//! Issuing of new keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::account::{Account, AccountStatus, KeyBudget, ParamLimits, QuotaRef};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{IssuedKey, KeyFormat, KeyId, KeyRecord, PathPattern};
use crate::manage::bounds::Bounds;
use crate::manage::{KeyManager, ManageError, context, limits};
use crate::name::{AccountId, Environment, Scope};
use crate::store::{InsertKey, Inserted};

/// The members of a key that is to be issued.
///
/// # Example
///
/// ```
/// use tollgate::NewKey;
///
/// let mut key = NewKey::new("ada", "My Trading Bot");
/// key.scopes = Some(vec!["quotes:read".into()]);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewKey {
    /// The account that is to own the key.
    pub account: AccountId,
    /// The name of the key: 1 to 200 characters, without a key in them.
    pub name: String,
    /// The environment that the key belongs to. Defaults to the issuing key's environment, or else to that of the first
    /// format that can issue keys.
    pub environment: Option<Environment>,
    /// The time from which the key may not be used. Defaults to the plan's default expiry.
    pub expires_at: Option<Timestamp>,
    /// The scopes that the key grants; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths that the key may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The networks from which the key may be used; `None` for all.
    pub allowlist: Option<Vec<IpNet>>,
    /// The key's own quotas.
    pub quotas: Option<Vec<QuotaRef>>,
    /// The maximum number of the key's requests in flight, which replaces the plan's limit.
    pub in_flight: Option<u32>,
    /// The key's own budgets, which replace those of its plan.
    pub budgets: Option<Vec<KeyBudget>>,
    /// The key's own limits on parameters.
    pub caps: Option<ParamLimits>,
    /// Additional data that the service stores with the key, without a key in it.
    pub metadata: BTreeMap<String, String>,
}

impl NewKey {
    /// Creates a description of a key without restrictions for this account.
    pub fn new(account: impl Into<AccountId>, name: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            name: name.into(),
            environment: None,
            expires_at: None,
            scopes: None,
            paths: None,
            allowlist: None,
            quotas: None,
            in_flight: None,
            budgets: None,
            caps: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// A new key: its secret, which is shown once, and its record.
#[derive(Debug)]
pub struct Issued {
    /// The secret.
    pub secret: IssuedKey,
    /// The stored record.
    pub key: Arc<KeyRecord>,
}

impl KeyManager {
    /// Issues a key. Its hash is stored, and its secret is returned once.
    ///
    /// The plan's limit on active keys applies also to concurrent calls.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or has as many active keys as its plan allows, if a name, scope,
    /// path, network, environment, quota, limit, expiry or metadata is invalid, if the plan does not
    /// include an expiry, if the key is wider than the [actor's](KeyManager::by), if no randomness is available, or if
    /// the store fails.
    pub async fn issue(&self, new: NewKey) -> Result<Issued, ManageError> {
        self.check_texts(Some(&new.name), Some(&new.metadata))?;
        limits::list("paths", new.paths.as_deref())?;
        limits::allowlist(new.allowlist.as_deref())?;
        self.check_scopes(new.scopes.as_deref())?;
        let bounds = self.bounds().await?;
        let (account, cap) = self.account_with_cap(&new).await?;
        if bounds.issuer().is_some_and(|issuer| issuer.account.id != account.id) {
            return Err(ManageError::NotFound("account"));
        }
        let format = self.format_for(&new, &bounds)?;
        let secret = format.generate_from(self.context.gate.randomness())?;
        let record = self.record(&new, account, &format, &secret, &bounds)?;
        let insert = InsertKey::new(record.clone(), self.now()).with_max_active(cap);
        match self.insert(&insert, Action::Issued).await? {
            Inserted::Done => {}
            Inserted::Full => return Err(ManageError::KeyLimitReached { most: cap.unwrap_or_default() }),
            Inserted::NoAccount => return Err(ManageError::NotFound("account")),
            // Two random keys are equal: the machine's randomness is broken.
            Inserted::Taken => {
                return Err(ManageError::Misconfigured("a newly generated key already exists".into()));
            }
        }
        self.must_outlive(&record).await?;
        Ok(Issued { secret, key: Arc::new(record) })
    }

    /// Revokes a new key whose issuer was revoked in the meantime. A concurrent revocation of the issuer with all the
    /// keys that it issued may have listed them before the new key was stored.
    async fn must_outlive(&self, record: &KeyRecord) -> Result<(), ManageError> {
        match self.issuer().await {
            Err(ManageError::Issuer) => {
                self.end(record.id, Action::Revoked, |_| Ok(())).await?;
                Err(ManageError::Issuer)
            }
            // The new key is stored. A store that fails now is no reason to withhold its secret.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Inserts a key and reports it to the audit sink.
    pub(super) fn insert(&self, insert: &InsertKey, action: Action) -> StoreFuture<Inserted> {
        let (id, holder) = (insert.record.id, insert.record.account.id.clone());
        self.context.carry(self.store.insert(insert), move |context, inserted| {
            if matches!(inserted, Inserted::Done) {
                context.record_audit(action, Some(id), Some(&holder), None);
            }
        })
    }

    /// Returns the account that is to own a key, and the maximum number of active keys of the account.
    async fn account_with_cap(&self, new: &NewKey) -> Result<(Arc<Account>, Option<u32>), ManageError> {
        if self.scope.as_ref().is_some_and(|scope| *scope != new.account) {
            return Err(ManageError::NotFound("account"));
        }
        let there = |account: &Arc<Account>| account.status != AccountStatus::Deleted;
        let account = self.store.account_of(&new.account).await?.filter(there);
        let account = account.ok_or(ManageError::NotFound("account"))?;
        let plan = self.plan_of(&account)?;
        Ok((account, plan.max_keys))
    }

    /// Returns the plan of an account.
    pub(super) fn plan_of(&self, account: &Account) -> Result<crate::account::Plan, ManageError> {
        context::plan_of(&self.context.gate, account)
    }

    fn format_for(&self, new: &NewKey, bounds: &Bounds) -> Result<KeyFormat, ManageError> {
        let wanted = new.environment.as_ref().or(bounds.issuer().map(|issuer| &issuer.environment));
        let fits = |format: &&KeyFormat| wanted.is_none_or(|wanted| wanted == format.environment());
        let core = self.context.gate.core();
        let mut formats = core.formats().iter().filter(|format| format.can_issue());
        formats.find(fits).cloned().ok_or_else(|| match wanted {
            Some(unknown) => {
                let shown = self.shown_value(unknown.as_str());
                ManageError::invalid("environment", format!("is {shown}, for which no format issues keys"))
            }
            None => ManageError::Misconfigured("no key format provides enough randomness".into()),
        })
    }

    fn record(
        &self,
        new: &NewKey,
        account: Arc<Account>,
        format: &KeyFormat,
        secret: &IssuedKey,
        bounds: &Bounds,
    ) -> Result<KeyRecord, ManageError> {
        let (now, plan) = (self.now(), self.plan_of(&account)?);
        if let Some(end) = new.expires_at {
            self.check_expiry(&plan, end, now)?;
        }
        let expires_at = new.expires_at.or(Self::default_expiry(&plan, bounds, now));
        let hash = self.context.gate.hasher().hash(secret.expose_secret().as_bytes());
        let mut record = KeyRecord::new(KeyId::generate(), hash, account);
        secret.start().clone_into(&mut record.start);
        record.name.clone_from(&new.name);
        record.environment = format.environment().clone();
        record.created_at = Some(now);
        record.expires_at = expires_at;
        record.scopes.clone_from(&new.scopes);
        record.paths.clone_from(&new.paths);
        record.allowlist.clone_from(&new.allowlist);
        record.quotas.clone_from(&new.quotas);
        record.in_flight = new.in_flight;
        record.budgets.clone_from(&new.budgets);
        record.caps.clone_from(&new.caps);
        record.metadata.clone_from(&new.metadata);
        bounds.inherit(&mut record);
        self.check_terms(&record)?;
        bounds.must_cover(&record)?;
        Ok(record)
    }
}
