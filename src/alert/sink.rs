//! Receivers of alerts.

use std::fmt::Debug;
use std::sync::Arc;

use crate::alert::Alert;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::trace;

/// One attempt to deliver an alert to one sink.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The alert.
    pub alert: Alert,
    /// The [name](AlertSink::name) of the sink.
    pub sink: String,
    /// The number of the attempt, starting at 1.
    pub attempt: u32,
    /// The time of the attempt.
    pub now: Timestamp,
}

impl Delivery {
    /// Creates a delivery.
    pub fn new(alert: Alert, sink: impl Into<String>, attempt: u32, now: Timestamp) -> Self {
        Self { alert, sink: sink.into(), attempt, now }
    }
}

/// A receiver of alerts.
///
/// # Contract
///
/// - **At least once.** An alert is delivered until an attempt succeeds, with the same [id](Alert::id) each time. A
///   process that is killed after an attempt and before the store notes it delivers the alert again, and so does another
///   node. A receiver that must act once remembers the id.
/// - **Errors.** After an error the alert is delivered again, later and later, at most hourly. It is lost after 106 attempts,
///   which take about three days of running gates. After an error for which
///   [`StoreError::is_rejected`](crate::StoreError::is_rejected) is true it is not delivered again.
/// - **Time.** An attempt ends after 30 seconds. It is made in a task of the sink, so no request and no other sink waits for
///   it. Attempts for several alerts run at the same time and in no particular order.
/// - **Name.** The name finds the sink again after a restart. An alert that waits for a sink that no gate has any more
///   is not delivered, and is removed after 400 days.
pub trait AlertSink: Debug + Send + Sync + 'static {
    /// Returns the name of the sink, which is unique in a gate and the same on all nodes. The name `*` is reserved.
    fn name(&self) -> &str;

    /// Delivers an alert.
    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()>;
}

impl<T: AlertSink + ?Sized> AlertSink for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
        (**self).deliver(delivery)
    }
}

/// An alert sink that writes `tracing` events of the target `tollgate::alert`, at the level of a warning. It is the sink
/// of a gate that has no other. Without the feature `tracing` it writes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAlerts;

impl AlertSink for TracingAlerts {
    fn name(&self) -> &'static str {
        "log"
    }

    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
        let alert = &delivery.alert;
        trace::event!(
            warn,
            target: "tollgate::alert",
            kind = alert.kind.name(),
            id = %alert.id,
            account = alert.account.as_ref().map(tracing::field::display),
            plan = alert.plan.as_ref().map(tracing::field::display),
            key = alert.key.map(tracing::field::display),
            quota = alert.quota,
            rule = alert.rule,
            back_end = alert.back_end,
            threshold = alert.threshold,
            value = alert.value,
            "a threshold was crossed"
        );
        let _ = alert;
        StoreFuture::ready(())
    }
}
