//! The events about decisions, for the decision sinks of the gate.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

use crate::account::WindowStatus;
use crate::amount::{Credits, Currency};
use crate::clock::Now;
use crate::denial::{Denial, DenialKind};
use crate::gate::entry::{AdmittedKey, FoundKey};
use crate::gate::{Admission, Core, Decision};
use crate::key::KeyRecord;
use crate::panics::guard;
use crate::request::RequestView;
use crate::respond::RequestId;
use crate::rule::CompiledRule;
use crate::spare::{self, Spare};
use crate::telemetry::{DecisionEvent, DecisionOutcome, Windows};

/// The data of a request that its event needs beyond the key and the charge. Empty if the gate has no sink.
#[derive(Debug, Default)]
pub(super) struct OpenEvent(Option<Box<EventData>>);

#[derive(Debug)]
struct EventData {
    /// The time at which the decision began.
    begun: Now,
    /// The id of the request and the client's network, if a sink reads them.
    request: Option<(RequestId, Option<IpNet>)>,
    /// True if the time that the decision takes is measured.
    is_timed: bool,
    /// The time from the beginning to the admission, if it is measured.
    elapsed: Option<Duration>,
    /// The index of the rule by which the request was admitted.
    rule: usize,
    /// The first denial by a check in shadow.
    shadow: Option<DenialKind>,
    units: Option<u64>,
    bytes: Option<u64>,
    /// The status of the response, once there is one.
    status: Option<StatusCode>,
    /// True if the head of the response was sent.
    is_sent: bool,
    charged: Credits,
    settled: Credits,
}

impl EventData {
    /// Returns the time since the decision began, if it is measured.
    fn elapsed(&self, core: &Core) -> Option<Duration> {
        self.is_timed.then(|| core.clock.now().since(self.begun))
    }
}

thread_local! {
    // The data is boxed because a move of it costs every request more than a move of the pointer.
    #[allow(clippy::vec_box, reason = "the boxes themselves are reused")]
    static SPARE: Spare<EventData> = const { RefCell::new(Vec::new()) };
}

impl OpenEvent {
    /// Stores the data that only the request contains, unless that was done before.
    #[cold]
    pub(super) fn begin(&mut self, core: &Core, view: &RequestView<'_>) {
        if self.0.is_some() {
            return;
        }
        let begun = core.clock.now();
        let data = EventData {
            begun,
            request: core.events_read_request.then(|| {
                let client = core.event_addresses.of(|| core.proxies.client(view));
                (core.request_id(view), client)
            }),
            is_timed: core.events_read_request
                || core.metrics.as_ref().is_some_and(|metrics| metrics.is_sample(begun)),
            elapsed: None,
            rule: 0,
            shadow: None,
            units: None,
            bytes: None,
            status: None,
            is_sent: false,
            charged: Credits::ZERO,
            settled: Credits::ZERO,
        };
        self.0 = Some(spare::boxed(&SPARE, data));
    }

    /// Takes the data of a request that was admitted by this rule.
    #[cold]
    pub(super) fn admitted(
        &mut self,
        core: &Core,
        rule: usize,
        view: &RequestView<'_>,
        shadow: Option<DenialKind>,
    ) -> Self {
        if let Some(data) = &mut self.0 {
            data.elapsed = data.elapsed(core);
            (data.rule, data.shadow) = (rule, shadow);
            data.units = core.rules.at(rule).rule.cost.units(view.query());
        }
        std::mem::take(self)
    }

    /// Returns true if the gate has no sink.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The time at which the decision began.
    #[inline]
    pub(super) fn begun(&self) -> Option<Now> {
        self.0.as_ref().map(|data| data.begun)
    }

    /// The id of the request.
    pub(super) fn request_id(&self) -> Option<&RequestId> {
        self.0.as_ref()?.request.as_ref().map(|(id, _)| id)
    }

    /// Stores the status of the response.
    #[inline]
    pub(super) fn set_status(&mut self, status: u16) {
        if let Some(data) = &mut self.0 {
            data.status = StatusCode::from_u16(status).ok();
        }
    }

    /// Stores the number of bytes of the response's body.
    #[inline]
    pub(super) fn set_bytes(&mut self, bytes: impl FnOnce() -> Option<u64>) {
        if let Some(data) = &mut self.0 {
            data.bytes = bytes();
        }
    }

    /// Marks the head of the response as sent. The end of the charge no longer changes the status.
    #[inline]
    pub(super) fn mark_sent(&mut self) {
        if let Some(data) = &mut self.0 {
            data.is_sent = true;
        }
    }

    /// Stores the amounts of the charge that was closed.
    #[inline]
    pub(super) fn set_amounts(&mut self, charged: Credits, settled: Credits) {
        if let Some(data) = &mut self.0 {
            (data.charged, data.settled) = (charged, settled);
        }
    }
}

impl Drop for OpenEvent {
    /// Keeps the box for another request of this thread.
    #[inline]
    fn drop(&mut self) {
        if let Some(data) = self.0.take() {
            spare::keep(&SPARE, data);
        }
    }
}

/// An event about an admitted request whose charge is being closed. The sinks receive it when this is dropped.
pub(super) struct Report {
    pub(super) found: FoundKey,
    pub(super) window_status: Option<WindowStatus>,
    pub(super) balance: Option<Credits>,
    pub(super) event: OpenEvent,
}

impl Report {
    /// Changes the event to that of a settlement that failed. If it panicked, the charge is refunded, and the response is 500.
    pub(super) fn mark_unsettled(&mut self, panicked: bool) {
        let Some(data) = &mut self.event.0 else { return };
        data.settled = Credits::ZERO;
        if panicked && !data.is_sent && data.status.is_some() {
            data.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.found.record_admitted(&self.event, self.window_status.as_ref(), self.balance);
    }
}

impl FoundKey {
    /// Passes an event to the decision sinks about a request that was admitted with this key.
    #[cold]
    pub(super) fn record_admitted(
        &self,
        event: &OpenEvent,
        window_status: Option<&WindowStatus>,
        balance: Option<Credits>,
    ) {
        let (core, Some(data)) = (&self.core, &event.0) else { return };
        let (record, rule) = (Some(&self.record), Some(core.rules.at(data.rule)));
        let mut recorded = event_of(record, rule, data, DecisionOutcome::Admitted);
        (recorded.status, recorded.elapsed) = (data.status, data.elapsed);
        (recorded.charged, recorded.settled) = (data.charged, data.settled);
        (recorded.units, recorded.bytes) = (data.units, data.bytes);
        (recorded.balance, recorded.shadow) = (balance, data.shadow);
        recorded.windows = Windows::new(window_status.and_then(|status| Some((self.quotas()?, status))));
        core.record(&recorded);
    }
}

impl Core {
    /// Passes an event to the decision sinks about a denied request, with the status of its response.
    pub(crate) fn record_denial(&self, denial: &Denial, status: Option<StatusCode>, decision: &Decision) {
        let Some(data) = &decision.event.0 else { return };
        let drawn = decision.admitted();
        let (record, rule, outcome) =
            (denial.record(), denial.compiled_rule(), DecisionOutcome::Denied(denial.kind()));
        let mut recorded = event_of(record, rule, data, outcome);
        recorded.elapsed = data.elapsed(self);
        (recorded.status, recorded.balance) = (status, denial.balance());
        recorded.shadow = decision.shadow;
        recorded.windows = Windows::new(denial.windows().or_else(|| drawn.entry()?.windows()));
        self.record(&recorded);
    }

    /// Passes an event to the decision sinks about a request that is served without a record, and that a check in shadow would
    /// have denied.
    #[cold]
    pub(super) fn record_without_record(&self, rule: Option<&Arc<CompiledRule>>, decision: &Decision) {
        let Some(data) = &decision.event.0 else { return };
        let mut recorded = event_of(None, rule, data, DecisionOutcome::Admitted);
        (recorded.elapsed, recorded.shadow) = (data.elapsed(self), decision.shadow);
        self.record(&recorded);
    }

    /// Passes an event to the decision sinks about a request whose client left before the decision.
    #[cold]
    pub(super) fn record_departure(&self, admission: &Admission, rule: usize, event: &OpenEvent) {
        let (entry, Some(data)) = (admission.entry(), &event.0) else { return };
        let (record, rule) = (entry.map(AdmittedKey::record), Some(self.rules.at(rule)));
        let mut recorded = event_of(record, rule, data, DecisionOutcome::Abandoned);
        recorded.elapsed = data.elapsed(self);
        recorded.windows = Windows::new(entry.and_then(AdmittedKey::windows));
        self.record(&recorded);
    }

    /// Passes an event to every sink. A panic of a sink is caught.
    fn record(&self, event: &DecisionEvent<'_>) {
        for sink in &self.sinks {
            // The panic has been logged, and the other sinks still receive the event.
            let _ = guard("a decision sink", || sink.record(event));
        }
    }
}

/// Returns the event about a decision, without the members that depend on the outcome.
fn event_of<'e>(
    record: Option<&'e Arc<KeyRecord>>,
    rule: Option<&'e Arc<CompiledRule>>,
    data: &'e EventData,
    outcome: DecisionOutcome,
) -> DecisionEvent<'e> {
    let request = data.request.as_ref();
    let plan = record.map(|record| &record.account.plan);
    let record = record.filter(|record| !record.anonymous);
    let account = record.map(|record| &record.account);
    DecisionEvent {
        time: data.begun.wall(),
        request_id: request.map(|(id, _)| id.as_str()),
        key: record.map(|record| record.id),
        account: account.map(|account| &account.id),
        plan,
        environment: record.map(|record| &record.environment),
        rule: rule.map(|compiled| &compiled.rule).filter(|rule| !rule.pattern().is_empty()),
        rule_index: rule.and_then(|compiled| compiled.index),
        outcome,
        status: None,
        charged: Credits::ZERO,
        settled: Credits::ZERO,
        balance: None,
        currency: rule.map_or(&Currency::CREDITS, |compiled| &compiled.rule.currency),
        shadow: None,
        windows: Windows::default(),
        elapsed: None,
        client: request.and_then(|(_, client)| *client),
        expires: record.and_then(|record| record.expires_at),
        units: None,
        bytes: None,
    }
}
