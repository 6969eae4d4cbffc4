//! Management of credits: balances, their entries, and adjustments.

use std::fmt;
use std::sync::Arc;

use crate::account::{Account, Allowance};
use crate::amount::{Credits, Currency};
use crate::audit::{Action, Actor, AuditSink};
use crate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, Bucket, BucketId, BucketTerms, CreditAdmin,
    Entry, EntryQuery,
};
use crate::error::ConfigError;
use crate::future::StoreFuture;
use crate::gate::Gate;
use crate::manage::ManageError;
use crate::manage::context::{ManagerContext, plan_of};
use crate::name::AccountId;
use crate::store::KeyAdmin;

/// A manager of the credits of a gate's accounts. It uses the grants of the gate's plans, and it asks the authority,
/// never a lease.
///
/// Cloning it is cheap. Every change has an [`AdjustmentId`] that the caller chooses. A repeated change with the same
/// id changes nothing and returns the balance that the first one returned. Effective changes are reported to an
/// [`AuditSink`].
///
/// # Example
///
/// ```
/// use tollgate::credit::Balance;
/// use tollgate::manage::ManageError;
/// use tollgate::{Account, Config, CreditManager, Credits, MemoryLedger, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = r#"
///     sources = [{ header = "X-API-Key" }]
///     formats = [{ prefix = "acme_", body = 32 }]
///     [plans.free]
/// "#;
/// let store = MemoryStore::new();
/// let ada = store.put_account(Account::new("ada", "free")).id.clone();
/// let builder = Config::from_toml(config, "gate.toml")?.builder()?;
/// let gate = builder.store(store).ledger(MemoryLedger::new()).build()?;
/// let credits = CreditManager::new(gate)?;
///
/// let invoice = "invoice-2026-0417".parse()?;
/// let fifty = Balance::Limited(Credits::new(50));
/// assert_eq!(credits.top_up(&ada, Credits::new(50), &invoice).await?, fifty);
/// assert_eq!(credits.top_up(&ada, Credits::new(50), &invoice).await?, fifty, "it was made already");
/// let too_much = credits.deduct(&ada, Credits::new(51), &"refund-1".parse()?).await;
/// assert!(matches!(too_much, Err(ManageError::InsufficientCredits { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CreditManager {
    context: ManagerContext,
    accounts: Arc<dyn KeyAdmin>,
    credits: Arc<dyn CreditAdmin>,
    currency: Currency,
}

/// A query for a page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListEntries {
    /// The account that the entries belong to.
    pub account: AccountId,
    /// The end of the previous page: its [`EntryPage::next`].
    pub cursor: Option<u64>,
    /// The maximum number of entries on a page: 1 to 1,000.
    pub limit: usize,
}

impl ListEntries {
    /// Creates a query for the newest entries of an account, 100 on a page.
    pub fn of(account: impl Into<AccountId>) -> Self {
        Self { account: account.into(), cursor: None, limit: 100 }
    }
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPage {
    /// The entries, the newest first.
    pub entries: Vec<Entry>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<u64>,
}

impl CreditManager {
    /// Creates a manager of the balances in the gate's ledger. It reads the accounts from the gate's store.
    ///
    /// # Errors
    ///
    /// Returns an error if the gate's store or its ledger has no write side
    /// ([`KeyStore::admin`](crate::store::KeyStore::admin), [`CreditLedger::admin`](crate::credit::CreditLedger::admin)).
    pub fn new(gate: Gate) -> Result<Self, ConfigError> {
        let (accounts, credits) = (gate.writable_store()?, gate.writable_ledger()?);
        Ok(Self { context: ManagerContext::new(gate), accounts, credits, currency: Currency::CREDITS })
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

    /// Returns the same manager for the credits in another currency. Defaults to [`Currency::CREDITS`].
    ///
    /// # Errors
    ///
    /// Returns an error if no rule and no plan of the gate has the currency.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn example(credits: &tollgate::CreditManager) -> Result<(), Box<dyn std::error::Error>> {
    /// let tokens = credits.clone().in_currency("tokens".parse()?)?;
    /// println!("{} tokens", tokens.balance(&"ada".into()).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_currency(mut self, currency: Currency) -> Result<Self, ManageError> {
        if !self.context.gate.core().known_currencies().contains(&currency) {
            let problem = format!("`{currency}` is a currency that no rule and no plan has");
            return Err(ManageError::invalid("currency", problem));
        }
        self.currency = currency;
        Ok(self)
    }

    /// Returns the credits that an account can spend now, including a grant that is due.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, if its plan is not configured, or if the store or the ledger fails.
    pub async fn balance(&self, account: &AccountId) -> Result<Balance, ManageError> {
        let allowance = self.allowance(account).await?;
        Ok(self.credits.balance_of(account, &self.currency, &allowance, self.context.now()).await?)
    }

    /// Returns the buckets of an account: first those that can be spent, in the order of drawing, then those that have not
    /// started.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, if its plan is not configured, or if the store or the ledger fails.
    pub async fn buckets(&self, account: &AccountId) -> Result<Vec<Bucket>, ManageError> {
        let allowance = self.allowance(account).await?;
        Ok(self.credits.buckets_of(account, &self.currency, &allowance, self.context.now()).await?)
    }

    /// Lists the entries of an account's balance, newest first, page by page, as far back as the ledger keeps them.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, if the limit is not 1 to 1,000, or if the store or the ledger fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn all(credits: &tollgate::CreditManager) -> Result<(), tollgate::manage::ManageError> {
    /// use tollgate::manage::ListEntries;
    ///
    /// let mut asked = ListEntries::of("ada");
    /// loop {
    ///     let page = credits.entries(&asked).await?;
    ///     page.entries.iter().for_each(|entry| println!("{} {:+}", entry.kind.name(), entry.amount));
    ///     asked.cursor = page.next;
    ///     if asked.cursor.is_none() {
    ///         return Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn entries(&self, asked: &ListEntries) -> Result<EntryPage, ManageError> {
        if !(1..=1_000).contains(&asked.limit) {
            return Err(ManageError::invalid("limit", "must be from 1 to 1000"));
        }
        self.accounts.account_of(&asked.account).await?.ok_or(ManageError::NotFound("account"))?;
        let mut query = EntryQuery::newest(asked.account.clone(), asked.limit + 1);
        query.before = asked.cursor;
        query.currency = self.currency.clone();
        let mut entries = self.credits.entries(&query).await?;
        let more = entries.len() > asked.limit;
        entries.truncate(asked.limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.number);
        Ok(EntryPage { entries, next })
    }

    /// Adds to a balance. Returns the new balance.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or has no limit, if the amount is zero or makes the balance larger
    /// than [`Credits::MAX`], if another adjustment was made with this id, or if the store or the ledger fails.
    pub async fn top_up(
        &self,
        account: &AccountId,
        amount: Credits,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::TopUp(amount), id).await
    }

    /// Adds to a balance, in a new bucket on these terms. The id of the bucket is that of the adjustment. Returns the new
    /// balance.
    ///
    /// # Errors
    ///
    /// Returns an error as [`top_up`](Self::top_up), and if the bucket would expire before it starts or has expired, if the
    /// id is `main`, `purchased`, `returned` or `debt`, if the account has 256 buckets, or if the ledger has no buckets.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn example(credits: &tollgate::CreditManager) -> Result<(), Box<dyn std::error::Error>> {
    /// use tollgate::Credits;
    /// use tollgate::credit::{BucketKind, BucketTerms};
    ///
    /// let mut spring = BucketTerms::of(BucketKind::Promotion);
    /// spring.expires = Some("2026-06-01T00:00:00Z".parse()?);
    /// credits.top_up_into(&"ada".into(), Credits::new(500), spring, &"spring-2026".parse()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn top_up_into(
        &self,
        account: &AccountId,
        amount: Credits,
        terms: BucketTerms,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::TopUpInto { amount, terms }, id).await
    }

    /// Removes all credits that are left in a bucket. Returns the new balance.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, if it has no such bucket with credits, if another adjustment was made
    /// with this id, or if the store or the ledger fails.
    pub async fn expire(
        &self,
        account: &AccountId,
        bucket: BucketId,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::Expire(bucket), id).await
    }

    /// Moves credits from a bucket to a new bucket on these terms. The id of the new bucket is that of the adjustment.
    /// Returns the new balance.
    ///
    /// # Errors
    ///
    /// Returns an error as [`top_up_into`](Self::top_up_into), and if the bucket has fewer credits.
    pub async fn move_credits(
        &self,
        account: &AccountId,
        from: BucketId,
        amount: Credits,
        terms: BucketTerms,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::Move { from, amount, terms }, id).await
    }

    /// Deducts from a balance. Returns the new balance.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown or has no limit, if the amount is zero or larger than the balance, if
    /// another adjustment was made with this id, or if the store or the ledger fails.
    pub async fn deduct(
        &self,
        account: &AccountId,
        amount: Credits,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::Deduct(amount), id).await
    }

    /// Sets a balance. An account without a limit has a limit from then on.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, if the amount makes the balance, with its open charges, larger than
    /// [`Credits::MAX`], if another adjustment was made with this id, or if the store or the ledger fails.
    pub async fn set(
        &self,
        account: &AccountId,
        amount: Credits,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::Set(amount), id).await
    }

    /// Removes the limit of an account. The account is not charged any more, and its balance is lost.
    ///
    /// # Errors
    ///
    /// Returns an error if the account is unknown, if another adjustment was made with this id, or if the store or the
    /// ledger fails.
    pub async fn make_unlimited(
        &self,
        account: &AccountId,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::MakeUnlimited, id).await
    }

    async fn adjust(
        &self,
        account: &AccountId,
        kind: AdjustmentKind,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        if let AdjustmentKind::TopUp(Credits::ZERO)
        | AdjustmentKind::TopUpInto { amount: Credits::ZERO, .. }
        | AdjustmentKind::Move { amount: Credits::ZERO, .. }
        | AdjustmentKind::Deduct(Credits::ZERO) = kind
        {
            return Err(ManageError::invalid("amount", "must be at least 1"));
        }
        let makes_bucket = matches!(kind, AdjustmentKind::TopUpInto { .. } | AdjustmentKind::Move { .. });
        if makes_bucket && BucketId::is_reserved(id) {
            return Err(ManageError::invalid(
                "id",
                format!("must not be `{id}`, which names another bucket"),
            ));
        }
        let owner = self.account(account).await?;
        let plan = plan_of(&self.context.gate, &owner)?;
        let allowance = plan.credits_in(&self.currency);
        let mut adjustment = Adjustment::new(id.clone(), account, kind, allowance, self.context.now());
        adjustment.currency = &self.currency;
        let (holder, by, made) = (account.clone(), id.clone(), adjustment.kind.clone());
        let unit = match self.currency.as_str() {
            _ if self.currency == Currency::CREDITS => String::new(),
            other => format!(" in `{other}`"),
        };
        let adjusted = self.telling(self.credits.adjust(&adjustment), owner);
        let adjusted = self.context.carry(adjusted, move |context, adjusted| {
            if let Adjusted::Done { before, balance } = adjusted
                && (before != balance || matches!(made, AdjustmentKind::Move { .. }))
            {
                let detail = format!("{made}{unit}: from {before} to {balance}, by `{by}`");
                context.record_audit(Action::CreditsAdjusted, None, Some(&holder), Some(detail));
            }
        });
        match adjusted.await? {
            Adjusted::Done { balance, .. } | Adjusted::Repeated { balance } => Ok(balance),
            Adjusted::Conflict { made } => Err(ManageError::AdjustmentTaken { made }),
            Adjusted::Insufficient { balance } => Err(ManageError::InsufficientCredits { balance }),
            Adjusted::TooMuch { .. } => {
                let problem = format!("would make the balance larger than {}", Credits::MAX);
                Err(ManageError::invalid("amount", problem))
            }
            Adjusted::Unlimited => Err(ManageError::UnlimitedCredits),
            Adjusted::Expired => {
                Err(ManageError::invalid("expires", "must be after now and after `valid_from`"))
            }
            Adjusted::TooManyBuckets => {
                let problem =
                    "the account has 256 buckets with credits: set its balance, or wait until some are spent";
                Err(ManageError::invalid("amount", problem))
            }
            Adjusted::UnknownBucket => Err(ManageError::NotFound("bucket")),
        }
    }

    /// Tells the gate's alerts of a balance that was changed.
    fn telling(&self, adjusting: StoreFuture<Adjusted>, owner: Arc<Account>) -> StoreFuture<Adjusted> {
        // The thresholds of balances are in the currency `credits`.
        let alerts = self.context.gate.alerts().filter(|_| self.currency == Currency::CREDITS).cloned();
        let Some(alerts) = alerts else { return adjusting };
        StoreFuture::boxed(async move {
            let adjusted = adjusting.await?;
            if matches!(adjusted, Adjusted::Done { before, balance } if before != balance) {
                alerts.balance_changed(&owner).await;
            }
            Ok(adjusted)
        })
    }

    async fn account(&self, id: &AccountId) -> Result<Arc<Account>, ManageError> {
        self.accounts.account_of(id).await?.ok_or(ManageError::NotFound("account"))
    }

    /// Returns the credits that the account's plan grants.
    async fn allowance(&self, id: &AccountId) -> Result<Allowance, ManageError> {
        let account = self.account(id).await?;
        plan_of(&self.context.gate, &account).map(|plan| plan.credits_in(&self.currency).clone())
    }
}

impl fmt::Debug for CreditManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreditManager")
            .field("credits", &self.credits)
            .field("currency", &self.currency)
            .field("actor", &self.context.actor)
            .finish_non_exhaustive()
    }
}
