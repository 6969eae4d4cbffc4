//! The current limits and balance of a key, read without a charge.

use std::time::Duration;

use crate::account::{BudgetStatus, InFlightLimit, ParamLimits, QuotaScope, Quotas, Terms};
use crate::clock::{Now, Timestamp};
use crate::credit::{Balance, Bucket, BudgetDraw, Currency};
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
    /// The credits of the account and the budget of the key in each currency; the currency `credits` comes first. Empty if
    /// the gate's ledger has no write side.
    pub currencies: Vec<CurrencyUsage>,
    /// The scopes that the key grants; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths that the key may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The limits on parameters that apply.
    pub caps: ParamLimits,
    /// The time from which the key may not be used.
    pub expires_at: Option<Timestamp>,
}

/// The credits of an account in one currency, and the budget of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurrencyUsage {
    /// The currency.
    pub currency: Currency,
    /// The credits that the account can spend, including a grant that is due.
    pub balance: Balance,
    /// The buckets of the account: first those that can be spent, in the order of drawing, then those that have not started.
    pub buckets: Vec<Bucket>,
    /// The budget of the key. `None` if it has none, or if the ledger has no budgets.
    pub budget: Option<BudgetStatus>,
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
        let currencies = self.currencies_of(record, &terms, now.wall()).await?;
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
            balance: currencies.first().map(|credits| credits.balance),
            currencies,
            scopes: record.scopes.clone(),
            paths: record.paths.clone(),
            caps: terms.caps.clone(),
            expires_at: record.expires_at,
        })
    }

    async fn currencies_of(
        &self,
        record: &KeyRecord,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Vec<CurrencyUsage>, ManageError> {
        let (Some(credits), account) = (self.credit_admin(), &record.account.id) else {
            return Ok(Vec::new());
        };
        let (core, budgets) = (self.core(), terms.budgets());
        let mut currencies = Vec::new();
        // `Currency::CREDITS` is the first of all currencies.
        for currency in core.known_currencies() {
            let allowance = terms.plan.credits_in(currency);
            let budget = match budgets.iter().find(|(named, _)| *named == currency) {
                Some((_, budget)) => {
                    let draw = BudgetDraw { key: record.id, budget };
                    credits.budget_of(account, currency, &draw, now).await?
                }
                None => None,
            };
            currencies.push(CurrencyUsage {
                currency: currency.clone(),
                balance: credits.balance_of(account, currency, allowance, now).await?,
                buckets: credits.buckets_of(account, currency, allowance, now).await?,
                budget,
            });
        }
        Ok(currencies)
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
