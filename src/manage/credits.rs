//! Credits by hand: what an account has, why, and more or less of it.

use std::fmt;
use std::sync::Arc;

use crate::account::Allowance;
use crate::amount::Credits;
use crate::audit::{Action, Actor, AuditSink};
use crate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, CreditAdmin, Entry, EntryQuery,
};
use crate::gate::Gate;
use crate::manage::ManageError;
use crate::manage::desk::{Desk, plan_of};
use crate::name::AccountId;
use crate::store::KeyAdmin;

/// Manages the credits of a gate's accounts: it knows the plans' grants, and asks the authority, never a lease.
///
/// Cloning it is cheap. Every change bears an [`AdjustmentId`] that its maker chooses: made again under the same id, it
/// changes nothing and answers what it answered before. What changed something is told to an [`AuditSink`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
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
/// let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
/// let ada = store.put_account(Account::new("ada", "free")).id.clone();
/// let builder = Config::from_toml(config, "gate.toml")?.builder()?;
/// let gate = builder.store(Arc::clone(&store)).credit_authority(Arc::clone(&ledger)).build()?;
/// let credits = CreditManager::new(gate, store, ledger);
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
    desk: Desk,
    accounts: Arc<dyn KeyAdmin>,
    credits: Arc<dyn CreditAdmin>,
}

/// Which entries to list, and how many at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListEntries {
    /// Whose.
    pub account: AccountId,
    /// Where the page before ended: its [`EntryPage::next`].
    pub cursor: Option<u64>,
    /// How many on a page: 1 to 1,000.
    pub limit: usize,
}

impl ListEntries {
    /// The newest entries of an account, a hundred on a page.
    pub fn of(account: impl Into<AccountId>) -> Self {
        Self { account: account.into(), cursor: None, limit: 100 }
    }
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPage {
    /// The entries, the newest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

impl CreditManager {
    /// Manages the credits of the accounts in this store, in the ledger that is their authority.
    pub fn new(gate: Gate, accounts: impl KeyAdmin, credits: impl CreditAdmin) -> Self {
        Self { desk: Desk::new(gate), accounts: Arc::new(accounts), credits: Arc::new(credits) }
    }

    /// Tells what is done to another sink than the log.
    #[must_use]
    pub fn with_audit(mut self, audit: impl AuditSink) -> Self {
        self.desk.audit = Arc::new(audit);
        self
    }

    /// The same manager, in the name of an actor.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.desk.actor = actor;
        self
    }

    /// What an account has to spend now, a grant that has come due counted in.
    ///
    /// # Errors
    ///
    /// An unknown account; a plan that is not configured; a store or a ledger that fails.
    pub async fn balance(&self, account: &AccountId) -> Result<Balance, ManageError> {
        let allowance = self.allowance(account).await?;
        Ok(self.credits.balance_of(account, &allowance, self.desk.now()).await?)
    }

    /// Lists what moved an account's balance, the newest first, page by page, as far back as the ledger keeps it.
    ///
    /// # Errors
    ///
    /// An unknown account; a limit that is not 1 to 1,000; a store or a ledger that fails.
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
        let mut entries = self.credits.entries(&query).await?;
        let more = entries.len() > asked.limit;
        entries.truncate(asked.limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.number);
        Ok(EntryPage { entries, next })
    }

    /// Adds to a balance; answers what it came to.
    ///
    /// # Errors
    ///
    /// An unknown account, or one without limit; an amount of nothing, or one that makes the balance larger than
    /// [`Credits::MAX`]; an id under which something else was made; a store or a ledger that fails.
    pub async fn top_up(
        &self,
        account: &AccountId,
        amount: Credits,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::TopUp(amount), id).await
    }

    /// Takes from a balance; answers what it came to.
    ///
    /// # Errors
    ///
    /// An unknown account, or one without limit; an amount of nothing, or one that is not there; an id under which
    /// something else was made; a store or a ledger that fails.
    pub async fn deduct(
        &self,
        account: &AccountId,
        amount: Credits,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::Deduct(amount), id).await
    }

    /// Sets a balance, also that of an account without limit, which has one from then on.
    ///
    /// # Errors
    ///
    /// An unknown account; an amount that makes the balance, with its open charges, larger than [`Credits::MAX`]; an id
    /// under which something else was made; a store or a ledger that fails.
    pub async fn set(
        &self,
        account: &AccountId,
        amount: Credits,
        id: &AdjustmentId,
    ) -> Result<Balance, ManageError> {
        self.adjust(account, AdjustmentKind::Set(amount), id).await
    }

    /// Takes the limit from an account: it is not charged any more, and what it had is gone.
    ///
    /// # Errors
    ///
    /// An unknown account; an id under which something else was made; a store or a ledger that fails.
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
        if let AdjustmentKind::TopUp(Credits::ZERO) | AdjustmentKind::Deduct(Credits::ZERO) = kind {
            return Err(ManageError::invalid("amount", "must be at least 1"));
        }
        let allowance = self.allowance(account).await?;
        let adjustment = Adjustment::new(id.clone(), account, kind, &allowance, self.desk.now());
        let (holder, by) = (account.clone(), id.clone());
        let adjusted = self.desk.carry(self.credits.adjust(&adjustment), move |desk, adjusted| {
            if let Adjusted::Done { before, balance } = adjusted
                && before != balance
            {
                let detail = format!("{kind}: from {before} to {balance}, by `{by}`");
                desk.tell(Action::CreditsAdjusted, None, Some(&holder), Some(detail));
            }
        });
        match adjusted.await? {
            Adjusted::Done { balance, .. } | Adjusted::Repeated { balance } => Ok(balance),
            Adjusted::Conflict { made } => Err(ManageError::AdjustmentTaken { made }),
            Adjusted::Insufficient { balance } => Err(ManageError::InsufficientCredits { balance }),
            Adjusted::TooMuch { .. } => {
                let problem = format!("makes the balance larger than {}", Credits::MAX);
                Err(ManageError::invalid("amount", problem))
            }
            Adjusted::Unlimited => Err(ManageError::UnlimitedCredits),
        }
    }

    /// What the account's plan gives.
    async fn allowance(&self, id: &AccountId) -> Result<Allowance, ManageError> {
        let account = self.accounts.account_of(id).await?.ok_or(ManageError::NotFound("account"))?;
        plan_of(&self.desk.gate, &account).map(|plan| plan.credits.clone())
    }
}

impl fmt::Debug for CreditManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreditManager")
            .field("credits", &self.credits)
            .field("actor", &self.desk.actor)
            .finish_non_exhaustive()
    }
}
