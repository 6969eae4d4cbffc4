//! The current limits and balance of a key, read without a charge.

use std::time::Duration;

use crate::account::{InFlightLimit, ParamLimits, QuotaScope, Quotas};
use crate::clock::{Now, Timestamp};
use crate::credit::{Balance, Currency};
use crate::gate::Gate;
use crate::key::{KeyId, KeyRecord, PathPattern};
use crate::limit::{Draw, RateLimiter};
use crate::manage::ManageError;
use crate::name::{AccountId, PlanName, Scope};

/// The current limits and balance of a key, which result from its plan, its account and the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUsage {
    /// The key's id.
    pub key: KeyId,
    /// The account that owns the key.
    pub account: AccountId,
    /// The account's plan.
    pub plan: PlanName,
    /// The status of each window of the key; empty if there is no limit. The windows of rules, and those that count the
    /// client's network, are not included.
    pub windows: Vec<WindowUsage>,
    /// The maximum number of requests in flight, by the limit of the key or of its plan. `None` if there is no limit.
    pub in_flight: Option<u32>,
    /// The credits that the account can spend, including a grant that is due. `None` if the gate's
    /// [`ledger`](crate::gate::GateBuilder::ledger) has no write side.
    pub balance: Option<Balance>,
    /// The scopes that the key grants; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths that the key may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The limits on parameters that apply.
    pub caps: ParamLimits,
    /// The time from which the key may not be used.
    pub expires_at: Option<Timestamp>,
}

/// The status of a window of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowUsage {
    /// The quota's name.
    pub policy: String,
    /// The number of units that the quota admits in a window. A request takes one unit, unless its rule has a weight.
    pub quota: u32,
    /// The number of units that a full window has: the burst, or the quota if there is none.
    pub capacity: u32,
    /// The unit of the quota, if the configuration names one.
    pub unit: Option<String>,
    /// The length of the window.
    pub window: Duration,
    /// The scope of the count: the requests that are counted together.
    pub counts: QuotaScope,
    /// The number of units that the window has left.
    pub remaining: u32,
    /// The time until the full quota is available again.
    pub reset: Duration,
}

impl Gate {
    /// Returns the current limits and balance of a key. Reading them draws nothing and charges nothing.
    ///
    /// The record is used as it is, without a check of its status. The windows of a revoked key can therefore be read
    /// too.
    ///
    /// # Errors
    ///
    /// Returns an error if a plan or a quota is not configured, or if the limiter or the ledger fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn show(gate: &tollgate::Gate, principal: &tollgate::Principal) -> Result<(), tollgate::manage::ManageError> {
    /// let key_usage = gate.key_usage(principal.record()).await?;
    /// for window in &key_usage.windows {
    ///     println!("{} of {} per {}", window.remaining, window.quota, window.policy);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn key_usage(&self, record: &KeyRecord) -> Result<KeyUsage, ManageError> {
        let (core, now) = (self.core(), self.0.clock.now());
        let place = core.plans.kept(record);
        let kept = place.as_ref().and_then(|place| core.plans.at(place, record)).cloned();
        let terms = kept.map_or_else(|| core.plans.terms_of(record), Ok);
        let terms = terms.map_err(|unknown| ManageError::Misconfigured(unknown.to_string()))?;
        let account = &record.account;
        let balance = match self.credit_admin() {
            Some(credits) => Some(
                credits.balance_of(&account.id, &Currency::CREDITS, &terms.plan.credits, now.wall()).await?,
            ),
            None => None,
        };
        Ok(KeyUsage {
            key: record.id,
            account: account.id.clone(),
            plan: account.plan.clone(),
            windows: self.windows_of(record, &terms.own.quotas, now).await?,
            in_flight: terms
                .own
                .in_flight
                .all()
                .iter()
                .find(|limit| !limit.is_total())
                .map(InFlightLimit::most),
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
    ) -> Result<Vec<WindowUsage>, ManageError> {
        // There is no client here whose network has windows.
        let of_the_key = quotas.counts_network().then(|| quotas.without_networks());
        let quotas = of_the_key.as_ref().unwrap_or(quotas);
        if quotas.is_empty() {
            return Ok(Vec::new());
        }
        let window_statuses = self.0.limiter.peek(&Draw::new(record, quotas, now)).await?;
        let windows = window_statuses.iter().filter_map(|key_usage| {
            let policy = quotas.policies().nth(key_usage.policy)?;
            Some(WindowUsage {
                policy: policy.name().to_owned(),
                quota: policy.quota(),
                capacity: policy.capacity(),
                unit: policy.unit().map(str::to_owned),
                window: policy.window(),
                counts: policy.counts().clone(),
                remaining: key_usage.remaining,
                reset: key_usage.reset,
            })
        });
        Ok(windows.collect())
    }
}
