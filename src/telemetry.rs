//! Events about decisions: which key did what, and what it cost.
//!
//! A gate sends one event to each of its [`DecisionSink`]s for every request that needs a key. It sends the event when the
//! outcome is final: the handler has answered and the charge is settled or refunded, or the request is denied, or the
//! client has left before the decision. A public request and a CORS preflight cause no event.
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

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::amount::Credits;
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
    /// The time at which the outcome became final.
    pub time: Timestamp,
    /// The key. `None` if the request was denied before a key was found.
    pub key: Option<KeyId>,
    /// The account that owns the key.
    pub account: Option<&'a AccountId>,
    /// The account's plan.
    pub plan: Option<&'a PlanName>,
    /// The environment of the key.
    pub environment: Option<&'a Environment>,
    /// The rule of the request. `None` if no rule matched, or if the request was denied before a rule was found.
    pub rule: Option<&'a Rule>,
    /// The outcome of the decision.
    pub outcome: DecisionOutcome,
    /// The status of the response. `None` if there was no response, as when the client left or the service failed, and
    /// for a request that was decided by [`Gate::admit`](crate::Gate::admit).
    pub status: Option<StatusCode>,
    /// The credits that were charged before the handler ran.
    pub charged: Credits,
    /// The credits that were settled: at most the charged ones, and zero after a refund.
    pub settled: Credits,
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

/// A receiver of decision events.
///
/// # Contract
///
/// - **It does not block.** It is called on the path of a request. Work that takes time belongs into another task, behind
///   a bounded queue.
/// - **It may drop events.** Nothing depends on them.
/// - **It fails no request.** A panic in it is caught and logged.
/// - **Once.** Each gate calls each of its sinks once for each decision. A request through two gates makes two decisions.
pub trait DecisionSink: fmt::Debug + Send + Sync + 'static {
    /// Receives an event.
    fn record(&self, event: &DecisionEvent<'_>);
}

impl<T: DecisionSink + ?Sized> DecisionSink for Arc<T> {
    fn record(&self, event: &DecisionEvent<'_>) {
        (**self).record(event);
    }
}
