//! The alerts and webhooks of the configuration file.

use std::fmt;

use serde::Deserialize;

use crate::alert::{AlertCondition, AlertRule, BalanceThreshold, Share};
use crate::amount::Credits;
use crate::config::secret::Reference;
use crate::config::{Config, Never, OneOf, Span, Text, Written};
use crate::error::ConfigError;
use crate::gate::GateBuilder;

/// A threshold of alerts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertConfig {
    /// The condition.
    pub when: AlertWhen,
    /// The plans of the accounts. Defaults to all plans.
    #[serde(default)]
    pub plans: Option<Vec<String>>,
}

/// The condition of an alert: exactly one member.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertWhen {
    /// The balance is below this number of credits, or this share of the grant.
    pub balance_below: Option<OneOf<u64, Share, Never>>,
    /// The key expires within this time.
    pub expires_within: Option<Text<Span>>,
    /// More than this share of a rate-limit window is used.
    pub quota_above: Option<Text<Share>>,
    /// True for keys that were revoked.
    pub revoked: bool,
    /// True for keys that leaked.
    pub leaked: bool,
    /// True for back ends that fail.
    pub back_end_failing: bool,
}

impl AlertConfig {
    /// Returns true if an account's plan may be one of both alerts.
    fn shares_a_plan_with(&self, other: &Self) -> bool {
        match (&self.plans, &other.plans) {
            (Some(own), Some(others)) => own.iter().any(|plan| others.contains(plan)),
            _ => true,
        }
    }
}

impl Written for Share {
    const HOW: &'static str = "a share as in `\"20%\"`";
}

impl AlertWhen {
    fn condition(&self) -> Result<AlertCondition, ConfigError> {
        let balance = self.balance_below.as_ref().map(|threshold| match threshold {
            OneOf::Number(credits) => {
                AlertCondition::BalanceBelow(BalanceThreshold::Credits(Credits::new(*credits)))
            }
            OneOf::Text(share) => AlertCondition::BalanceBelow(BalanceThreshold::Share(*share)),
            OneOf::Table(never) => match *never {},
        });
        let conditions = [
            balance,
            self.expires_within.as_ref().map(|time| AlertCondition::ExpiresWithin(time.0.0)),
            self.quota_above.as_ref().map(|share| AlertCondition::QuotaAbove(share.0)),
            self.revoked.then_some(AlertCondition::Revoked),
            self.leaked.then_some(AlertCondition::Leaked),
            self.back_end_failing.then_some(AlertCondition::BackEndFailing),
        ];
        let mut conditions = conditions.into_iter().flatten();
        match (conditions.next(), conditions.next()) {
            (Some(condition), None) => Ok(condition),
            (None, _) => {
                let expected = "write one as in `balance_below = \"20%\"` or `revoked = true`";
                Err(ConfigError::new("", "the alert has no condition", expected))
            }
            (Some(_), Some(_)) => {
                let expected = "write a table `[[alerts]]` for each condition";
                Err(ConfigError::new("", "the alert has more than one condition", expected))
            }
        }
    }
}

/// A URL that alerts are sent to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The URL.
    pub url: String,
    /// The reference to the secret with which requests are signed: `env:NAME` or `file:PATH`.
    pub secret: Text<Reference>,
    /// The reference to the previous secret. Requests are signed with both.
    #[serde(default)]
    pub old_secret: Option<Text<Reference>>,
    /// True if the URL may lead to loopback and private addresses, and may have the scheme `http`.
    #[serde(default)]
    pub allow_private: bool,
}

/// Adds the alerts and the webhooks of the file.
pub(super) fn with_alerts(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    for (place, alert) in config.alerts.iter().enumerate() {
        let condition =
            alert.when.condition().map_err(|error| error.in_member(format!("alerts[{place}].when")))?;
        let is_same = |other: &AlertConfig| {
            other.when.condition().is_ok_and(|other| other == condition) && other.shares_a_plan_with(alert)
        };
        if config.alerts[..place].iter().any(is_same) {
            let expected = "leave one of them out, or give them different plans";
            let problem = "another alert has the same condition, so that this one is never sent";
            return Err(ConfigError::new("", problem, expected).in_member(format!("alerts[{place}]")));
        }
        let rule = AlertRule::new(condition);
        builder = builder.alert(match &alert.plans {
            Some(plans) => rule.for_plans(plans.iter().map(String::as_str)),
            None => rule,
        });
    }
    for (place, webhook) in config.webhooks.iter().enumerate() {
        let within = |error: ConfigError| error.in_member(format!("webhooks[{place}]"));
        if config.alerts.is_empty() {
            let expected = "add a table `[[alerts]]`, or leave the webhook out";
            let problem = "the webhook is never called, because there is no alert";
            return Err(within(ConfigError::new("", problem, expected)));
        }
        // The error does not quote the URL, which may contain a token.
        if config.webhooks[..place].iter().any(|other| other.url == webhook.url) {
            let expected = "give each webhook its own URL";
            return Err(within(
                ConfigError::new("", "another webhook has the same URL", expected).in_member("url"),
            ));
        }
        builder = webhook.add(builder).map_err(within)?;
    }
    Ok(builder)
}

impl fmt::Debug for WebhookConfig {
    /// Omits the URL, because it may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("secret", &self.secret)
            .field("old_secret", &self.old_secret)
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

impl WebhookConfig {
    #[cfg(feature = "webhooks")]
    fn add(&self, builder: GateBuilder) -> Result<GateBuilder, ConfigError> {
        use crate::alert::Webhook;

        // The error names the reference, because its value would be the secret.
        let resolved = |reference: &Text<Reference>, member: &str| {
            let secret = reference.0.resolve().map_err(|error| error.in_member(member))?;
            let name = |error: ConfigError| {
                ConfigError::new(reference.0.to_string(), error.problem(), error.expected()).in_member(member)
            };
            std::str::from_utf8(&secret)
                .map_err(|_| ConfigError::new("", "the secret is not text", "write it as in `whsec_…`"))
                .and_then(str::parse)
                .map_err(name)
        };
        let mut webhook = Webhook::new(&self.url, resolved(&self.secret, "secret")?);
        if let Some(old) = &self.old_secret {
            webhook = webhook.with_old_secret(resolved(old, "old_secret")?);
        }
        if self.allow_private {
            webhook = webhook.allowing_private_addresses();
        }
        webhook.check()?;
        Ok(builder.webhook_of_file(webhook))
    }

    #[cfg(not(feature = "webhooks"))]
    #[allow(clippy::unused_self, reason = "the other build needs it")]
    fn add(&self, _: GateBuilder) -> Result<GateBuilder, ConfigError> {
        let expected = "enable the feature `webhooks`, or leave the webhook out";
        Err(ConfigError::new("", "this build cannot call webhooks", expected).in_member("url"))
    }
}
