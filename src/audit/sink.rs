//! Receivers of audit events.

use std::fmt::Debug;
use std::sync::Arc;

use crate::audit::AuditEvent;
use crate::future::StoreFuture;
use crate::trace;

/// A receiver of audit events.
///
/// A pair of sinks is a sink too: it passes each event to both.
///
/// # Contract
///
/// - **Order.** The sink receives every change after it was made. The events of one caller arrive in the order of its
///   changes.
/// - **`record` does not block.** It is called while the caller of the manager waits. A sink that needs I/O queues the
///   event.
/// - **`flush` writes.** The manager awaits it after each change, also if the caller has left. The manager's call does
///   not fail if `flush` does: the change is made, and a new key's secret must not be withheld. The error is logged. A
///   sink whose events must not be lost keeps them until a later `flush` succeeds.
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// Records an event.
    fn record(&self, event: &AuditEvent);

    /// Writes the recorded events. Returns when they are written, or that they could not be. Defaults to nothing.
    fn flush(&self) -> StoreFuture<()> {
        StoreFuture::ready(())
    }
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn record(&self, event: &AuditEvent) {
        (**self).record(event);
    }

    fn flush(&self) -> StoreFuture<()> {
        (**self).flush()
    }
}

impl<A: AuditSink, B: AuditSink> AuditSink for (A, B) {
    fn record(&self, event: &AuditEvent) {
        self.0.record(event);
        self.1.record(event);
    }

    /// Flushes both sinks, the second one also if the first one fails.
    fn flush(&self) -> StoreFuture<()> {
        let (first, second) = (self.0.flush(), self.1.flush());
        StoreFuture::boxed(async move {
            let (first, second) = (first.await, second.await);
            first.and(second)
        })
    }
}

/// An audit sink that writes `tracing` events of the target `tollgate::audit`. Without the feature `tracing` it writes
/// nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

impl AuditSink for TracingAudit {
    fn record(&self, event: &AuditEvent) {
        trace::event!(
            info,
            target: "tollgate::audit",
            action = event.action.name(),
            key = event.key.map(tracing::field::display),
            account = event.account.as_ref().map(tracing::field::display),
            actor = event.actor.name(),
            actor_user = event.actor.user_id(),
            actor_key = event.actor.key_id().map(tracing::field::display),
            address = event.actor.address().map(tracing::field::display),
            detail = event.detail,
            "keys were managed"
        );
    }
}
