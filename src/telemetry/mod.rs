//! Events about decisions: which key did what, and what it cost.
//!
//! A gate sends one event to each of its [`DecisionSink`]s for every request that needs a key. It sends the event when the
//! outcome is final: the handler has answered and the charge is settled or refunded, or the request is denied, or the
//! client has left before the decision. A CORS preflight causes no event, and a public
//! request only one if it is denied.
//!
//! # Example
//!
//! A sink that adds up the credits of each account:
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Mutex;
//!
//! use tollgate::Gate;
//! use tollgate::telemetry::{DecisionEvent, DecisionSink};
//!
//! #[derive(Debug, Default)]
//! struct Spent(Mutex<HashMap<String, u64>>);
//!
//! impl DecisionSink for Spent {
//!     fn record(&self, event: &DecisionEvent<'_>) {
//!         if let (Some(account), Ok(mut spent)) = (event.account, self.0.lock()) {
//!             *spent.entry(account.as_str().to_owned()).or_default() += event.settled.get();
//!         }
//!     }
//! }
//!
//! let builder = Gate::builder().decision_sink(Spent::default());
//! ```
//!
//! # Overview
//!
//! - [`DecisionEvent`]: the event, which borrows from the request, and [`OwnedEvent`], a copy.
//! - [`DecisionSink`]: the trait. [`GateBuilder::decision_sink`](crate::GateBuilder::decision_sink) adds a sink to a gate.
//! - [`EventChannel`]: a sink that sends copies to a task or a thread.
//! - [`CloudEventWriter`]: a sink that writes lines of JSON, as `CloudEvents`.
//! - `TracingSink`: a sink that writes `tracing` events (feature `tracing`).
//! - [`EventAddresses`]: the part of a client's address in the events.

mod channel;
mod cloud_events;
#[cfg(feature = "tracing")]
mod log;
mod owned;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

pub use channel::{EventChannel, EventReceiver};
pub use cloud_events::CloudEventWriter;
#[cfg(feature = "tracing")]
pub use log::TracingSink;
pub use owned::{OwnedEvent, OwnedWindow};

use crate::account::{QuotaOrigin, QuotaScope, Quotas, WindowStatus};
use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::denial::DenialKind;
use crate::key::KeyId;
use crate::name::{AccountId, Environment, PlanName};
use crate::rule::Rule;

/// One decision of a gate, with its final outcome. It contains no part of a secret, no header, no query, and no path
/// but the pattern of a rule.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DecisionEvent<'a> {
    /// The time at which the decision began. The event is sent later: at the end of the charge, or with the response to a
    /// denied request.
    pub time: Timestamp,
    /// The id of the request: the client's, if it is short, plain and not a key, or one that the gate assigned. If the response has
    /// an id of the gate, it is this one. `None` if no sink of the gate [reads](DecisionSink::reads_request) it.
    pub request_id: Option<&'a str>,
    /// The key. `None` if the request was denied before a key was found, and for a request without a key.
    pub key: Option<KeyId>,
    /// The account that owns the key.
    pub account: Option<&'a AccountId>,
    /// The account's plan, or the plan of requests without a key.
    pub plan: Option<&'a PlanName>,
    /// The environment of the key.
    pub environment: Option<&'a Environment>,
    /// The rule of the request. `None` if no rule matched, or if the request was denied before a rule was found.
    pub rule: Option<&'a Rule>,
    /// The index of the rule among the named rules of the gate.
    pub(crate) rule_index: Option<usize>,
    /// The outcome of the decision.
    pub outcome: DecisionOutcome,
    /// The status of the response. `None` if there was no response, as when the client left before the handler answered, or
    /// the service failed, and for a request that was decided by [`Gate::admit`](crate::Gate::admit).
    pub status: Option<StatusCode>,
    /// The credits that were charged before the handler ran.
    pub charged: Credits,
    /// The final cost that was settled: at most the charged credits, unless the cost is known only afterwards. Zero after a
    /// refund or a settlement that failed. Of a cost above the charge, an account whose plan has
    /// [`Overage::Cap`](crate::account::Overage::Cap) pays no more than it has. The ledger may still settle or refund such a charge later: see [`CreditLedger`](crate::CreditLedger).
    pub settled: Credits,
    /// The balance after the charge, or the balance that was smaller than the cost. `None` if the ledger was not asked,
    /// or if the account has no limit.
    pub balance: Option<Credits>,
    /// The currency of these three amounts.
    pub currency: &'a Currency,
    /// The first denial by a check in [shadow](crate::GateBuilder::shadow): what would have been answered, if that check were in
    /// force.
    pub shadow: Option<DenialKind>,
    /// The rate-limit windows whose state is known.
    pub windows: Windows<'a>,
    /// The time that the gate took. For an admitted request, it ends with the admission. For a denied one, it ends with
    /// the response. It does not contain the time of the handler and of the settlement. `None` if no sink of the gate
    /// [reads](DecisionSink::reads_request) it.
    pub elapsed: Option<Duration>,
    /// The client's network. It is determined like the address for allowlists, through the
    /// [trusted proxies](crate::gate::TrustedProxies), and cut as [`EventAddresses`] requires. `None` if the address is
    /// unknown.
    pub client: Option<IpNet>,
    /// The time at which the key expires.
    pub expires: Option<Timestamp>,
    /// The units of an admitted request whose [cost](crate::rule::Cost::PerUnit) is per unit.
    pub units: Option<u64>,
    /// The number of bytes of the response's body. `None` if the handler does not report them as
    /// [`ResponseBytes`](crate::gate::ResponseBytes).
    pub bytes: Option<u64>,
}

/// The part of a client's address that decision events contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventAddresses {
    /// No part.
    None,
    /// The network: the first 24 bits of an IPv4 address, the first 48 bits of an IPv6 address.
    #[default]
    Network,
    /// The whole address, as a network of one address.
    Full,
}

impl EventAddresses {
    /// Returns the part of an address.
    pub(crate) fn of(self, address: impl FnOnce() -> Option<IpAddr>) -> Option<IpNet> {
        match self {
            Self::None => None,
            Self::Network => {
                let address = address()?;
                let kept = if address.is_ipv4() { 24 } else { 48 };
                IpNet::new(address, kept).ok().map(|network| network.trunc())
            }
            Self::Full => address().map(IpNet::from),
        }
    }
}

/// The rate-limit windows of a request whose state is known.
///
/// After a draw, it is the window with the least remaining. After a draw that was denied, it is the window that denied
/// it. If the gate sends [limit headers](crate::GateBuilder::limit_headers), or has an
/// [alert on a quota](crate::alert::AlertCondition::QuotaAbove), these are all windows that the limiter reports. Empty if
/// nothing was drawn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Windows<'a>(Option<(&'a Quotas, &'a WindowStatus)>);

/// The state of a rate-limit window after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window<'a> {
    /// The name of the quota.
    pub name: &'a str,
    /// The number of requests that a full window admits at once. If the node limits by its share of the quota, as with
    /// `LocalShare`, it is that of the share.
    pub limit: u32,
    /// The number of further requests that the window admits immediately.
    pub remaining: u32,
    /// The time until the window is full again.
    pub reset: Duration,
    /// The length of the window.
    pub length: Duration,
    /// The owner whose requests the window counts together.
    pub counts: &'a QuotaScope,
    /// The part of the configuration that the quota belongs to.
    pub origin: &'a QuotaOrigin,
}

impl<'a> Windows<'a> {
    pub(crate) fn new(windows: Option<(&'a Quotas, &'a WindowStatus)>) -> Self {
        Self(windows)
    }

    /// Returns the window with the least remaining, or the one that denied the request.
    pub fn least(&self) -> Option<Window<'a>> {
        let (quotas, least) = self.0?;
        Window::new(quotas, least)
    }

    /// Returns all windows whose state is known.
    pub fn iter(&self) -> impl Iterator<Item = Window<'a>> + use<'a> {
        let known = self.0.into_iter().flat_map(|(quotas, least)| {
            let all = if least.all.is_empty() { std::slice::from_ref(least) } else { &least.all };
            all.iter().map(move |status| (quotas, status))
        });
        known.filter_map(|(quotas, status)| Window::new(quotas, status))
    }
}

impl<'a> Window<'a> {
    fn new(quotas: &'a Quotas, status: &WindowStatus) -> Option<Self> {
        let policy = quotas.policies().nth(status.policy)?;
        let WindowStatus { remaining, reset, .. } = *status;
        let (length, counts) = (policy.window(), policy.counts());
        let origin = quotas.origin_of(status.policy)?;
        let limit = status.limit().unwrap_or_else(|| policy.capacity());
        Some(Self { name: policy.name(), limit, remaining, reset, length, counts, origin })
    }
}

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionOutcome {
    /// The request was admitted.
    Admitted,
    /// The request was denied for this reason.
    Denied(DenialKind),
    /// The client left before the request was admitted or denied. Nothing was charged.
    Abandoned,
}

impl DecisionOutcome {
    /// The name of the outcome in a log and in a metric: `admitted`, `denied` or `abandoned`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Denied(_) => "denied",
            Self::Abandoned => "abandoned",
        }
    }

    /// The kind of the denial.
    pub const fn denied(self) -> Option<DenialKind> {
        if let Self::Denied(kind) = self { Some(kind) } else { None }
    }
}

/// A receiver of decision events.
///
/// # Contract
///
/// - **It does not block.** It is called on the path of a request, and the gate cannot interrupt it: the request waits as
///   long as the sink does. The same holds for other requests of the thread. Work that takes time belongs into another
///   task, behind a bounded queue such as [`EventChannel`]. The sinks of this crate take microseconds, and drop events
///   when their queue is full.
/// - **It may drop events.** Nothing depends on them.
/// - **It fails no request.** A panic in it is caught and logged.
/// - **Once.** Each gate calls each of its sinks once for each decision. A request through two gates makes two decisions.
pub trait DecisionSink: fmt::Debug + Send + Sync + 'static {
    /// Receives an event.
    fn record(&self, event: &DecisionEvent<'_>);

    /// Returns true if the sink reads [`request_id`](DecisionEvent::request_id), [`client`](DecisionEvent::client) or
    /// [`elapsed`](DecisionEvent::elapsed). If no sink of a gate reads them, the gate does not determine them, which takes
    /// most of the time of an event, and they are `None`. Defaults to true.
    fn reads_request(&self) -> bool {
        true
    }
}

impl<T: DecisionSink + ?Sized> DecisionSink for Arc<T> {
    fn record(&self, event: &DecisionEvent<'_>) {
        (**self).record(event);
    }

    fn reads_request(&self) -> bool {
        (**self).reads_request()
    }
}
