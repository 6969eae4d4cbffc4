//! Decision events in the log.

use crate::telemetry::{DecisionEvent, DecisionSink};
use crate::trace;

/// A decision sink that writes `tracing` events with level `INFO` and target `tollgate::decision`.
///
/// A `tracing` subscriber runs on the path of the request. A subscriber that writes to a slow file or terminal delays
/// requests, unless it writes in another thread.
///
/// # Example
///
/// ```
/// use tollgate::Gate;
/// use tollgate::telemetry::TracingSink;
///
/// let builder = Gate::builder().decision_sink(TracingSink);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

impl DecisionSink for TracingSink {
    fn record(&self, event: &DecisionEvent<'_>) {
        let window = event.windows.least();
        trace::event!(
            info,
            target: "tollgate::decision",
            request_id = event.request_id,
            key = event.key.map(tracing::field::display),
            account = event.account.map(tracing::field::display),
            plan = event.plan.map(tracing::field::display),
            environment = event.environment.map(tracing::field::display),
            rule = event.rule.map(|rule| &**rule.shared_route()),
            outcome = event.outcome.name(),
            kind = event.outcome.denied().map(crate::denial::DenialKind::name),
            status = event.status.map(|status| status.as_u16()),
            charged = event.charged.get(),
            settled = event.settled.get(),
            balance = event.balance.map(crate::amount::Credits::get),
            currency = (!event.currency.is_default()).then(|| event.currency.as_str()),
            shadow = event.shadow.map(crate::denial::DenialKind::name),
            window = window.map(|window| window.name),
            remaining = window.map(|window| window.remaining),
            elapsed_micros = event.elapsed.map(|elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)),
            client = event.client.map(tracing::field::display),
            units = event.units,
            bytes = event.bytes,
            "a request was decided"
        );
    }
}
