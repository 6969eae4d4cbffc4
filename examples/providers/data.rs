//! Accounts, keys and plans from a data file, put into a gate's back ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tollgate::account::{AccountStatus, QuotaPolicy, QuotaRef, Subscription};
use tollgate::clock::Timestamp;
use tollgate::config::{Config, OneOf, PlanConfig, QuotaConfig};
use tollgate::key::KeyStatus;
use tollgate::{Account, Gate, KeyRecord};

/// An error of the example.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The contents of a data file. Members that only its reader or a test uses are ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    /// The provider that this data belongs to.
    pub(crate) provider: String,
    #[serde(rename = "document")]
    _document: Option<IgnoredAny>,
    #[serde(rename = "policy")]
    _policy: Option<IgnoredAny>,
    /// The start time of a test's clock.
    pub(crate) now: Option<String>,
    #[serde(default)]
    plans: BTreeMap<String, PlanData>,
    #[serde(default)]
    pub(crate) accounts: Vec<AccountData>,
    /// The keys, with their secrets.
    #[serde(default)]
    pub(crate) keys: Vec<KeyData>,
    #[serde(rename = "cases")]
    _cases: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanData {
    rate: Option<Rate>,
    max_keys: Option<u32>,
    features: Option<BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    per_second: Option<u32>,
    per_minute: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountData {
    pub(crate) id: String,
    plan: String,
    status: String,
    subscription: Option<String>,
    #[serde(default)]
    agreements: Vec<String>,
    pub(crate) credits: Option<u64>,
}

/// A key with its secret.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyData {
    pub(crate) id: String,
    /// The key itself.
    pub(crate) secret: String,
    /// The account that the key belongs to.
    pub(crate) account: String,
    /// `active`, `revoked` or `paused`.
    pub(crate) status: String,
    expires_at: Option<String>,
    scopes: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    allow_ips: Option<Vec<String>>,
}

impl Data {
    /// Overwrites members of the configuration's plans with those of the file's plans.
    pub(crate) fn merge_plans(&self, config: &mut Config) -> Result<(), Fault> {
        for (name, data) in &self.plans {
            let plan = config.plans.entry(name.clone()).or_default();
            if let Some(rate) = &data.rate {
                let windows = [(rate.per_second, 1), (rate.per_minute, 60)];
                for (quota, seconds) in windows {
                    if let Some(quota) = quota {
                        set_quota(plan, QuotaPolicy::new(quota, Duration::from_secs(seconds))?);
                    }
                }
            }
            if let Some(most) = data.max_keys {
                plan.max_keys = Some(OneOf::Number(most));
            }
            if let Some(features) = &data.features {
                plan.features.clone_from(features);
            }
        }
        Ok(())
    }
}

/// Replaces the plan's quota of the same window. The scope and the strictness of the old quota are kept.
fn set_quota(plan: &mut PlanConfig, policy: QuotaPolicy) {
    let as_strict_as =
        |old: &QuotaPolicy| if old.is_strict() { policy.clone().in_any_window() } else { policy.clone() };
    for quota in &mut plan.quotas {
        match quota {
            QuotaConfig::Text(QuotaRef::Policy(old)) if old.window() == policy.window() => {
                *old = as_strict_as(old);
                return;
            }
            QuotaConfig::Table(table) if table.quota.0.window() == policy.window() => {
                table.quota.0 = as_strict_as(&table.quota.0);
                return;
            }
            _ => {}
        }
    }
    plan.quotas.push(QuotaConfig::Text(QuotaRef::Policy(policy)));
}

impl AccountData {
    pub(crate) fn account(&self) -> Result<Account, Fault> {
        let mut account = Account::new(self.id.as_str(), self.plan.as_str());
        account.status = match self.status.as_str() {
            "active" => AccountStatus::Active,
            "suspended" => AccountStatus::Suspended,
            "deleted" => AccountStatus::Deleted,
            other => return Err(format!("account {}: unknown status `{other}`", self.id).into()),
        };
        account.subscription = match self.subscription.as_deref() {
            None => None,
            Some("active") => Some(Subscription::Active),
            Some("lapsed") => Some(Subscription::Lapsed),
            Some(other) => return Err(format!("account {}: unknown subscription `{other}`", self.id).into()),
        };
        account.agreements = self.agreements.iter().map(|name| name.as_str().into()).collect();
        Ok(account)
    }
}

impl KeyData {
    pub(crate) fn record(&self, gate: &Gate, account: Arc<Account>) -> Result<KeyRecord, Fault> {
        let secret = self.secret.as_str();
        let mut record = KeyRecord::new(self.id.parse()?, gate.hasher().hash(secret.as_bytes()), account);
        if let Some(format) = gate.formats().iter().find(|format| format.accepts(secret.as_bytes())) {
            format.start_of(secret).clone_into(&mut record.start);
            record.environment = format.environment().clone();
        }
        record.status = match self.status.as_str() {
            "active" => KeyStatus::Active,
            "revoked" => KeyStatus::Revoked,
            "paused" => KeyStatus::Paused,
            other => return Err(format!("key {}: unknown status `{other}`", self.id).into()),
        };
        record.expires_at = self.expires_at.as_deref().map(str::parse::<Timestamp>).transpose()?;
        record.scopes =
            self.scopes.as_ref().map(|scopes| scopes.iter().map(|scope| scope.as_str().into()).collect());
        let paths = self.paths.as_ref().map(|paths| paths.iter().map(|path| path.parse()).collect());
        record.paths = paths.transpose()?;
        let networks = |networks: &Vec<String>| {
            networks.iter().map(|network| tollgate::key::parse_network(network)).collect()
        };
        record.allowlist = self.allow_ips.as_ref().map(networks).transpose()?;
        Ok(record)
    }
}
