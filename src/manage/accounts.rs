//! Management of accounts: creation, changes and removal.

use std::fmt;
use std::sync::Arc;

use crate::account::{Account, AccountStatus, ParamLimit, ParamLimits, QuotaRef, Subscription};
use crate::audit::{Action, Actor, AuditSink};
use crate::error::ConfigError;
use crate::future::StoreFuture;
use crate::gate::Gate;
use crate::key::KeyStatus;
use crate::manage::context::{ChangeOutcome, ManagerContext, change};
use crate::manage::{KeyManager, ManageError, limits};
use crate::name::{AccountId, Agreement, PlanName};
use crate::store::{AccountAdmin, KeyAdmin, KeyQuery, Replaced};

/// The number of keys that are read from the store in one page.
const PAGE: usize = 100;

/// A manager of the accounts that own a gate's keys. It uses the gate's plans, and it writes to the authority, never to
/// a cache.
///
/// Cloning it is cheap. A change applies to all keys of the account from the next request on. Effective changes are
/// reported to an [`AuditSink`], with the [`Actor`] that [`by`](AccountManager::by) sets.
///
/// # Example
///
/// ```
/// use tollgate::account::AccountStatus;
/// use tollgate::{Account, AccountManager, Config, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = r#"
///     sources = [{ header = "X-API-Key" }]
///     formats = [{ prefix = "acme_", body = 32 }]
///     [plans.free]
///     [plans.pro]
/// "#;
/// let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(MemoryStore::new()).build()?;
/// let accounts = AccountManager::new(gate)?;
///
/// let ada = accounts.create(Account::new("ada", "free")).await?;
/// accounts.change_plan(&ada.id, "pro".into()).await?;
/// let suspended = accounts.suspend(&ada.id).await?;
/// assert_eq!((suspended.plan.as_str(), suspended.status), ("pro", AccountStatus::Suspended));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccountManager {
    context: ManagerContext,
    store: Arc<dyn AccountAdmin>,
}

impl AccountManager {
    /// Creates a manager of the accounts in the gate's store.
    ///
    /// # Errors
    ///
    /// Returns an error if the gate's store has no write side
    /// ([`KeyStore::admin`](crate::store::KeyStore::admin)).
    pub fn new(gate: Gate) -> Result<Self, ConfigError> {
        let store = gate.writable_store()?;
        Ok(Self { context: ManagerContext::new(gate), store })
    }

    /// Reports changes to this sink instead of the log.
    #[must_use]
    pub fn with_audit(mut self, audit: impl AuditSink) -> Self {
        self.context.audit = Arc::new(audit);
        self
    }

    /// Returns the same manager, acting in the name of an actor.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.context.actor = actor;
        self
    }

    /// Returns an account as the authority stores it.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, or if the store fails.
    pub async fn get(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        self.store.account_of(id).await?.ok_or(ManageError::NotFound("account"))
    }

    /// Creates an account.
    ///
    /// # Errors
    ///
    /// Returns an error if the id is taken or invalid (it must have 1 to 200 characters and no control characters), if
    /// the plan or a quota is not configured, if two quotas share a name, if a quota can never be reached, if a plan
    /// could not have one of the limits on parameters, if no rule knows an agreement although rules name some, or if
    /// the store fails.
    pub async fn create(&self, account: Account) -> Result<Arc<Account>, ManageError> {
        limits::name(account.id.as_str()).map_err(|error| error.in_member("id"))?;
        self.context.gate.check_plan(&account.plan)?;
        self.context.gate.check_quotas(account.quotas.as_deref().unwrap_or_default())?;
        self.context.gate.check_caps(account.caps.as_ref())?;
        account.agreements.iter().try_for_each(|agreement| self.context.gate.check_agreement(agreement))?;
        let (id, detail) = (account.id.clone(), format!("plan {}", account.plan));
        let created = self.context.carry(self.store.create_account(&account), move |context, created| {
            if *created {
                context.record_audit(Action::AccountCreated, None, Some(&id), Some(detail));
            }
        });
        if !created.await? {
            return Err(ManageError::Exists("account"));
        }
        Ok(Arc::new(account))
    }

    /// Moves an account to another plan. Its keys stay, even if the new plan allows fewer.
    ///
    /// The change moves no credits. The balance stays until the next grant of the new plan is due, for example at the
    /// end of the month. To give the new plan's credits at once, [top up the
    /// balance](crate::manage::CreditManager::top_up). Purchased credits count towards the grant: see
    /// [`Grant`](crate::account::Grant#credits-that-are-bought).
    ///
    /// The new plan's limits apply from the next request on. The used part of a quota counts towards a new quota with
    /// the same name and window.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, if the plan is not configured, or if the store fails.
    pub async fn change_plan(&self, id: &AccountId, plan: PlanName) -> Result<Arc<Account>, ManageError> {
        self.context.gate.check_plan(&plan)?;
        let changed =
            self.change(id, &format!("plan {plan}"), |account| account.plan.clone_from(&plan)).await?;
        // The threshold may be another one.
        if let Some(alerts) = self.context.gate.alerts() {
            alerts.balance_changed(&changed).await;
        }
        Ok(changed)
    }

    /// Replaces the quotas that an account has instead of its plan's. `None` returns the account to its plan's quotas;
    /// an empty list is no limit. Keys that have quotas of their own keep them.
    ///
    /// The new quotas apply from the next request on. The used part of a quota counts towards a new quota with the same
    /// name and window.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, if a quota is not configured, if two share a name, if one
    /// can never be reached, or if the store fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn negotiated(accounts: &tollgate::AccountManager) -> Result<(), Box<dyn std::error::Error>> {
    /// accounts.change_quotas(&"ada".into(), Some(vec!["600 per minute".parse()?])).await?;
    /// accounts.change_quotas(&"ada".into(), None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_quotas(
        &self,
        id: &AccountId,
        quotas: Option<Vec<QuotaRef>>,
    ) -> Result<Arc<Account>, ManageError> {
        self.context.gate.check_quotas(quotas.as_deref().unwrap_or_default())?;
        let said: Option<Vec<_>> = quotas.as_ref().map(|own| own.iter().map(ToString::to_string).collect());
        self.change(id, &own("quotas", said), |account| account.quotas.clone_from(&quotas)).await
    }

    /// Replaces the limits on parameters that an account has instead of its plan's. `None` returns the account to its
    /// plan's. Keys that have limits on parameters of their own keep them.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, if a plan could not have one of the limits, or if the
    /// store fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn widen(accounts: &tollgate::AccountManager) -> Result<(), tollgate::manage::ManageError> {
    /// use tollgate::account::ParamLimit;
    ///
    /// let caps = [("limit".to_owned(), ParamLimit::AtMost(1_000))].into();
    /// accounts.change_caps(&"ada".into(), Some(caps)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_caps(
        &self,
        id: &AccountId,
        caps: Option<ParamLimits>,
    ) -> Result<Arc<Account>, ManageError> {
        self.context.gate.check_caps(caps.as_ref())?;
        let cap = |(parameter, cap): (&str, ParamLimit)| match cap {
            ParamLimit::AtMost(most) => format!("{parameter}={most}"),
            ParamLimit::Forbidden => format!("{parameter}=forbidden"),
        };
        let said: Option<Vec<_>> = caps.as_ref().map(|caps| caps.iter().map(cap).collect());
        self.change(id, &own("caps", said), |account| account.caps.clone_from(&caps)).await
    }

    /// Suspends an account. None of its keys may be used until it is resumed.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, or if the store fails.
    pub async fn suspend(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        self.change(id, "suspended", |account| account.status = AccountStatus::Suspended).await
    }

    /// Resumes a suspended account.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, or if the store fails.
    pub async fn resume(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        self.change(id, "resumed", |account| account.status = AccountStatus::Active).await
    }

    /// Records that an account has signed an agreement.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, if no rule knows the agreement although rules name some,
    /// or if the store fails.
    pub async fn sign(&self, id: &AccountId, agreement: Agreement) -> Result<Arc<Account>, ManageError> {
        self.context.gate.check_agreement(&agreement)?;
        self.change(id, &format!("signed {agreement}"), |account| {
            account.agreements.insert(agreement.clone());
        })
        .await
    }

    /// Starts an account's subscription.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, or if the store fails.
    pub async fn start_subscription(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        let start = |account: &mut Account| account.subscription = Some(Subscription::Active);
        self.change(id, "subscription started", start).await
    }

    /// Ends an account's subscription. An account that never had a subscription stays as it is.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or deleted, or if the store fails.
    pub async fn end_subscription(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        self.change(id, "subscription ended", |account| {
            account.subscription = account.subscription.map(|_| Subscription::Lapsed);
        })
        .await
    }

    /// Deletes an account and all its keys permanently. Their records stay in the store. Each key is revoked and
    /// reported to the audit sink, and no key counts towards a plan's limit on active keys any more. The account is
    /// marked as deleted first, so that every key is denied from then on. Deleting the account again changes nothing.
    ///
    /// The keys are revoked one by one. To complete a partial failure, call this method again. The same call also
    /// revokes a key that was issued or imported at the same time as the first one and that the first one missed. Such
    /// a key is denied even before that.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, or if the store fails.
    pub async fn delete(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        let delete = |account: &mut Account| {
            account.status = AccountStatus::Deleted;
            Ok(())
        };
        let account = self.replace(id, "deleted", delete).await?;
        self.revoke_keys(id).await?;
        Ok(account)
    }

    /// Revokes all keys of an account, page by page, because an account may have any number of keys.
    async fn revoke_keys(&self, id: &AccountId) -> Result<(), ManageError> {
        let store: Arc<dyn KeyAdmin> = Arc::clone(&self.store) as _;
        let keys = KeyManager::at(self.context.clone(), store);
        let mut query = KeyQuery::first(PAGE);
        query.account = Some(id.clone());
        loop {
            let page = self.store.list(&query).await?;
            for key in page.iter().filter(|key| key.status != KeyStatus::Revoked) {
                match keys.end(key.id, Action::Revoked, |_| Ok(())).await {
                    // The key was erased after it was listed, so that there is nothing to revoke.
                    Ok(_) | Err(ManageError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            query.after = page.last().map(|key| key.id);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Erases an account with all its keys, its balance if the gate's [`ledger`](crate::gate::GateBuilder::ledger) has a
    /// write side, its usage if the gate has a [`usage_store`](crate::gate::GateBuilder::usage_store), and its alerts that
    /// wait for their delivery. Nothing of the account stays stored but its [audit entries](crate::audit::AuditStore). To
    /// complete a partial failure, call this method again. It is complete if nothing of the account is left, which is the error
    /// [`NotFound`](ManageError::NotFound).
    ///
    /// Another node may still write the usage that it counted, or an alert that it raised, before the account was erased.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, or if the store, the ledger, the usage store or the alert store fails.
    pub async fn erase(&self, id: &AccountId) -> Result<(), ManageError> {
        // Erase the keys first: a request that arrives after the balance is erased would create a new balance.
        let recorded = |erased: StoreFuture<bool>| {
            let id = id.clone();
            self.context.carry(erased, move |context, erased| {
                if *erased {
                    context.record_audit(Action::AccountErased, None, Some(&id), None);
                }
            })
        };
        let known = recorded(self.store.erase_account(id)).await?;
        let balance = match self.context.gate.credit_admin() {
            Some(credits) if known => credits.erase_balance(id).await?,
            Some(credits) => recorded(credits.erase_balance(id)).await?,
            None => false,
        };
        let usage = match self.context.gate.usage() {
            Some(usage) => usage.erase_account(id).await?,
            None => false,
        };
        let alerts = match self.context.gate.alerts() {
            Some(alerts) => alerts.account_erased(id).await?,
            None => false,
        };
        if known || balance || usage || alerts { Ok(()) } else { Err(ManageError::NotFound("account")) }
    }

    /// Changes an account that is not deleted.
    async fn change(
        &self,
        id: &AccountId,
        detail: &str,
        alter: impl Fn(&mut Account),
    ) -> Result<Arc<Account>, ManageError> {
        let decide = |account: &mut Account| {
            if account.status == AccountStatus::Deleted {
                return Err(ManageError::AccountDeleted);
            }
            alter(account);
            Ok(())
        };
        self.replace(id, detail, decide).await
    }

    async fn replace(
        &self,
        id: &AccountId,
        detail: &str,
        decide: impl Fn(&mut Account) -> Result<(), ManageError>,
    ) -> Result<Arc<Account>, ManageError> {
        let read = || self.store.account_of(id);
        let write = |account: &Account| {
            let (id, detail) = (account.id.clone(), detail.to_owned());
            self.context.carry(self.store.replace_account(account), move |context, replaced| {
                if matches!(replaced, Replaced::Done | Replaced::Unannounced) {
                    context.record_audit(Action::AccountChanged, None, Some(&id), Some(detail));
                }
            })
        };
        match change("account", read, decide, write).await? {
            ChangeOutcome::Not(account) => Ok(account),
            ChangeOutcome::To { changed: mut account, .. } => {
                account.version += 1;
                Ok(Arc::new(account))
            }
        }
    }
}

/// Returns the audit detail for limits that replace the plan's, or for a return to the plan's.
fn own(what: &str, said: Option<Vec<String>>) -> String {
    match said {
        None => format!("{what} of the plan"),
        Some(said) if said.is_empty() => format!("{what}: none"),
        Some(said) => format!("{what}: {}", said.join(", ")),
    }
}

impl fmt::Debug for AccountManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountManager")
            .field("store", &self.store)
            .field("actor", &self.context.actor)
            .finish_non_exhaustive()
    }
}
