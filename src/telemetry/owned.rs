//! Decision events that outlive their request.

use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::denial::DenialKind;
use crate::key::KeyId;
use crate::name::{AccountId, Environment, PlanName};
use crate::rule::Rule;
use crate::telemetry::{DecisionEvent, DecisionOutcome};

/// A copy of a [`DecisionEvent`], for another task or thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedEvent {
    /// The time at which the decision began.
    pub time: Timestamp,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The key.
    pub key: Option<KeyId>,
    /// The account that owns the key.
    pub account: Option<AccountId>,
    /// The account's plan.
    pub plan: Option<PlanName>,
    /// The environment of the key.
    pub environment: Option<Environment>,
    /// The method and the pattern of the rule, as in `GET /v1/candles/{symbol}`.
    pub rule: Option<String>,
    /// The outcome of the decision.
    pub outcome: DecisionOutcome,
    /// The status of the response.
    pub status: Option<StatusCode>,
    /// The credits that were charged before the handler ran.
    pub charged: Credits,
    /// The credits that were settled.
    pub settled: Credits,
    /// The balance after the charge, or the balance that was smaller than the cost.
    pub balance: Option<Credits>,
    /// The currency of these three amounts.
    pub currency: Currency,
    /// The first denial by a check in shadow.
    pub shadow: Option<DenialKind>,
    /// The rate-limit windows whose state is known.
    pub windows: Vec<OwnedWindow>,
    /// The time that the gate took.
    pub elapsed: Option<Duration>,
    /// The client's network.
    pub client: Option<IpNet>,
    /// The time at which the key expires.
    pub expires: Option<Timestamp>,
    /// The units of an admitted request whose cost is per unit.
    pub units: Option<u64>,
    /// The number of bytes of the response's body.
    pub bytes: Option<u64>,
}

/// A copy of a [`Window`](crate::telemetry::Window).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedWindow {
    /// The name of the quota.
    pub name: String,
    /// The number of requests that the window admits.
    pub limit: u32,
    /// The number of further requests that the window admits immediately.
    pub remaining: u32,
    /// The time until the window is full again.
    pub reset: Duration,
}

impl From<&DecisionEvent<'_>> for OwnedEvent {
    fn from(event: &DecisionEvent<'_>) -> Self {
        let windows = event.windows.iter().map(|window| OwnedWindow {
            name: window.name.to_owned(),
            limit: window.limit,
            remaining: window.remaining,
            reset: window.reset,
        });
        Self {
            time: event.time,
            request_id: event.request_id.map(str::to_owned),
            key: event.key,
            account: event.account.cloned(),
            plan: event.plan.cloned(),
            environment: event.environment.cloned(),
            rule: event.rule.map(Rule::route),
            outcome: event.outcome,
            status: event.status,
            charged: event.charged,
            settled: event.settled,
            balance: event.balance,
            currency: event.currency.clone(),
            shadow: event.shadow,
            windows: windows.collect(),
            elapsed: event.elapsed,
            client: event.client,
            expires: event.expires,
            units: event.units,
            bytes: event.bytes,
        }
    }
}
