//! What is left for a key: a look, free of charge.

use std::sync::Arc;
use std::time::Duration;

use crate::account::{Caps, Counts, Quotas};
use crate::clock::{Now, Timestamp};
use crate::credit::Balance;
use crate::gate::Gate;
use crate::key::{KeyId, KeyRecord, PathPattern};
use crate::limit::{Draw, RateLimiter};
use crate::manage::ManageError;
use crate::name::{AccountId, PlanName, Scope};

/// What a key may still do, as of a moment: what its plan, its account and the key itself come to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStanding {
    /// The key's id.
    pub key: KeyId,
    /// Who holds it.
    pub account: AccountId,
    /// The account's plan.
    pub plan: PlanName,
    /// How each window stands; none where there is no limit.
    pub windows: Vec<WindowStanding>,
    /// What the account has to spend, a grant that has come due counted in; `None` where the gate has no
    /// [`credit_authority`](crate::gate::GateBuilder::credit_authority) to ask.
    pub balance: Option<Balance>,
    /// What the key may be used for; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths it may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The caps in force.
    pub caps: Caps,
    /// From when on it may not be used.
    pub expires_at: Option<Timestamp>,
}

/// How a window of a quota stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowStanding {
    /// The quota's name.
    pub policy: String,
    /// How many requests it admits in a window.
    pub quota: u32,
    /// How long the window is.
    pub window: Duration,
    /// Whom it counts together.
    pub counts: Counts,
    /// How many more requests it admits at once.
    pub remaining: u32,
    /// In what time it is full again.
    pub reset: Duration,
}

impl Gate {
    /// How a key stands. Nothing is drawn and nothing is charged for the look.
    ///
    /// It goes by the record that it is handed, which is not judged: a revoked key's windows can be looked at too.
    ///
    /// # Errors
    ///
    /// A plan or a quota that is not configured; a limiter or a ledger that fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn show(gate: &tollgate::Gate, principal: &tollgate::Principal) -> Result<(), tollgate::manage::ManageError> {
    /// let standing = gate.standing(principal.record()).await?;
    /// for window in &standing.windows {
    ///     println!("{} of {} per {}", window.remaining, window.quota, window.policy);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn standing(&self, record: &KeyRecord) -> Result<KeyStanding, ManageError> {
        let (plans, now) = (&self.0.plans, self.0.clock.now());
        let terms = match plans.kept(record) {
            Some(pass) => Arc::clone(&pass.terms),
            None => {
                plans.terms_of(record).map_err(|unknown| ManageError::Misconfigured(unknown.to_string()))?
            }
        };
        let account = &record.account;
        let balance = match self.credit_authority() {
            Some(credits) => Some(credits.balance_of(&account.id, &terms.plan.credits, now.wall()).await?),
            None => None,
        };
        Ok(KeyStanding {
            key: record.id,
            account: account.id.clone(),
            plan: account.plan.clone(),
            windows: self.windows_of(record, &terms.quotas, now).await?,
            balance,
            scopes: record.scopes.clone(),
            paths: record.paths.clone(),
            caps: terms.caps.clone(),
            expires_at: record.expires_at,
        })
    }

    async fn windows_of(
        &self,
        record: &KeyRecord,
        quotas: &Quotas,
        now: Now,
    ) -> Result<Vec<WindowStanding>, ManageError> {
        if quotas.is_empty() {
            return Ok(Vec::new());
        }
        let standings = self.0.limiter.peek(&Draw::new(record, quotas, now)).await?;
        let windows = standings.iter().filter_map(|standing| {
            let policy = quotas.policies().nth(standing.policy)?;
            Some(WindowStanding {
                policy: policy.name().to_owned(),
                quota: policy.quota(),
                window: policy.window(),
                counts: policy.counts().clone(),
                remaining: standing.remaining,
                reset: standing.reset,
            })
        });
        Ok(windows.collect())
    }
}
