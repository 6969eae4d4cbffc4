//! Alerts, and the crossings that cause them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::amount::random;
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::key::KeyId;
use crate::name::{AccountId, PlanName};
use crate::words;

/// The kind of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertKind {
    /// The balance of an account is below a threshold.
    BalanceBelow,
    /// A key expires soon.
    ExpiresWithin,
    /// A rate-limit window is used above a threshold.
    QuotaAbove,
    /// A key was revoked.
    Revoked,
    /// A key was found in public, and revoked.
    Leaked,
    /// A back end fails.
    BackEndFailing,
}

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::BalanceBelow,
        Self::ExpiresWithin,
        Self::QuotaAbove,
        Self::Revoked,
        Self::Leaked,
        Self::BackEndFailing,
    ];

    /// The name of the kind, which is the `type` of a webhook.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BalanceBelow => "account.balance_below",
            Self::ExpiresWithin => "key.expires_within",
            Self::QuotaAbove => "quota.used_above",
            Self::Revoked => "key.revoked",
            Self::Leaked => "key.leaked",
            Self::BackEndFailing => "back_end.failing",
        }
    }
}

impl FromStr for AlertKind {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let expected = words::one_of(name, Self::ALL.iter().map(|kind| kind.name()));
            ConfigError::new(name, "unknown kind of alert", expected)
        })
    }
}

/// The id of an alert. It is the same in every attempt to deliver the alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(Uuid);

/// The text before the UUID of an id.
const PREFIX: &str = "alert_";

impl AlertId {
    /// Generates a new id for an alert at this time.
    pub fn generate(time: Timestamp) -> Self {
        let mut tail = [0; 10];
        tail[..8].copy_from_slice(&random().to_be_bytes());
        tail[8..].copy_from_slice(&random().to_be_bytes()[..2]);
        let millis = u64::try_from(time.as_millis()).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid())
    }
}

impl FromStr for AlertId {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.strip_prefix(PREFIX).and_then(|id| Uuid::try_parse(id).ok());
        id.map(Self).ok_or_else(|| {
            let expected = "write it as in `alert_10487f8f-8751-4f4f-8a6a-fe7e2dcb940c`";
            ConfigError::new(text, "invalid id of an alert", expected)
        })
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// A crossing that an operator is told of. It contains no part of a secret.
///
/// The serialised form has the members `type`, `timestamp` and `data`, as Standard Webhooks recommends. The members of
/// `data` are `id`, `account`, `plan`, `key`, `quota`, `rule`, `backEnd`, `threshold` and `value`. Those without a value are
/// absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "AlertText", try_from = "AlertText")]
#[non_exhaustive]
pub struct Alert {
    /// The id of the alert.
    pub id: AlertId,
    /// The kind of the alert.
    pub kind: AlertKind,
    /// The time at which the crossing was claimed in the store: moments after it was noticed, or later if a back end failed
    /// in between.
    pub time: Timestamp,
    /// The account.
    pub account: Option<AccountId>,
    /// The plan of the account.
    pub plan: Option<PlanName>,
    /// The key. `None` if the alert is about a whole account.
    pub key: Option<KeyId>,
    /// The name of the quota whose window is used.
    pub quota: Option<String>,
    /// The rule that the quota belongs to: its route, or the name of the quotas that several rules share. `None` for a quota
    /// of a plan, an account or a key.
    pub rule: Option<String>,
    /// The part that the failing back end has: `store`, `limiter` or `ledger`.
    pub back_end: Option<String>,
    /// The threshold as it is configured, such as `20%`, `500` or `7days`.
    pub threshold: Option<String>,
    /// The value that crossed the threshold: the balance, the time of the expiry, or the used share, as in
    /// `85%` or `80.1%`.
    pub value: Option<String>,
}

impl Alert {
    /// Creates an alert with a new id and without further members.
    pub fn new(kind: AlertKind, time: Timestamp) -> Self {
        Self {
            id: AlertId::generate(time),
            kind,
            time,
            account: None,
            plan: None,
            key: None,
            quota: None,
            rule: None,
            back_end: None,
            threshold: None,
            value: None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct AlertText {
    r#type: String,
    timestamp: String,
    data: AlertData,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertData {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    back_end: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    threshold: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl From<Alert> for AlertText {
    fn from(alert: Alert) -> Self {
        Self {
            r#type: alert.kind.name().to_owned(),
            timestamp: alert.time.to_millis_text(),
            data: AlertData {
                id: alert.id.to_string(),
                account: alert.account.map(|account| account.to_string()),
                plan: alert.plan.map(|plan| plan.to_string()),
                key: alert.key.map(|key| key.to_string()),
                quota: alert.quota,
                rule: alert.rule,
                back_end: alert.back_end,
                threshold: alert.threshold,
                value: alert.value,
            },
        }
    }
}

impl TryFrom<AlertText> for Alert {
    type Error = ConfigError;

    fn try_from(AlertText { r#type, timestamp, data }: AlertText) -> Result<Self, Self::Error> {
        Ok(Self {
            id: data.id.parse()?,
            kind: r#type.parse()?,
            time: timestamp.parse()?,
            account: data.account.map(AccountId::from),
            plan: data.plan.map(PlanName::from),
            key: data.key.map(|key| key.parse()).transpose()?,
            quota: data.quota,
            rule: data.rule,
            back_end: data.back_end,
            threshold: data.threshold,
            value: data.value,
        })
    }
}

/// A crossing of a threshold, as an [`AlertStore`](crate::alert::AlertStore) remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Crossing {
    /// The kind of the alert.
    pub kind: AlertKind,
    /// The account, the key, the key and its time of expiry, the owner, name and length of a quota, or the back end.
    pub subject: String,
    /// The threshold as it is configured. For a balance, a number that identifies the period of the grant follows: periods
    /// of different grants cannot be compared.
    pub threshold: String,
    /// A number that identifies the period. Later periods have greater numbers.
    pub period: i64,
}

impl Crossing {
    /// Creates a crossing.
    pub fn new(
        kind: AlertKind,
        subject: impl Into<String>,
        threshold: impl Into<String>,
        period: i64,
    ) -> Self {
        Self { kind, subject: subject.into(), threshold: threshold.into(), period }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_read_as_written() -> Result<(), Box<dyn std::error::Error>> {
        for kind in AlertKind::ALL {
            let mut alert = Alert::new(kind, Timestamp::from_millis(1_764_499_360_007));
            for _ in 0..2 {
                let text = serde_json::to_string(&alert)?;
                assert_eq!(serde_json::from_str::<Alert>(&text)?, alert, "{text}");
                alert.account = Some("ada".into());
                alert.plan = Some("pro".into());
                alert.key = Some(KeyId::generate());
                alert.quota = Some("day".into());
                alert.rule = Some("/v1/candles".into());
                alert.back_end = Some("store".into());
                alert.threshold = Some("20%".into());
                alert.value = Some("19".into());
            }
        }
        Ok(())
    }
}
