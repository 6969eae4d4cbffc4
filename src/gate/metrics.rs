//! The metrics of a gate: a decision sink, and the measurement of calls to its back ends.
#![cfg_attr(not(feature = "metrics"), allow(clippy::zero_sized_map_values, reason = "the handles are empty"))]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use foldhash::fast::RandomState;

use crate::clock::{Clock, Now, Timestamp};
use crate::denial::DenialKind;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::gate::Parts;
use crate::metrics::{
    BACK_END_DURATION, BACK_END_ERRORS, CONFIG_RELOAD_SUCCESSFUL, CONFIG_RELOAD_TIME, Counter,
    DECISION_DURATION, DECISIONS, Gauge, Histogram, OPEN_CHARGES, SHADOW_DENIALS,
};
use crate::name::PlanName;
use crate::rule::RuleSet;
use crate::telemetry::{DecisionEvent, DecisionOutcome, DecisionSink};

/// A decision sink that counts decisions. All label values come from the configuration.
#[derive(Debug)]
pub(super) struct DecisionMetrics {
    /// The methods and patterns of the rules. The last one is empty, for requests that no rule matches.
    rules: Vec<String>,
    /// The places of the plans in the labels.
    plans: HashMap<PlanName, usize, RandomState>,
    /// The names of the plans, then `unknown`, then the empty name for requests without a key.
    plan_labels: Vec<String>,
    /// The counters of admitted requests, by rule and plan.
    admitted: Box<[OnceLock<Counter>]>,
    /// The other counters, by rule, plan and outcome.
    others: RwLock<HashMap<(usize, usize, &'static str), Counter, RandomState>>,
    /// The counters of denials in shadow, by rule, plan and kind.
    shadow: RwLock<HashMap<(usize, usize, DenialKind), Counter, RandomState>>,
    admitted_duration: Histogram,
    denied_duration: Histogram,
    abandoned_duration: Histogram,
}

impl DecisionMetrics {
    pub(super) fn new<'p>(rules: &RuleSet, plans: impl Iterator<Item = &'p PlanName>) -> Self {
        let rules: Vec<String> =
            rules.named().iter().map(|rule| rule.rule.route()).chain([String::new()]).collect();
        let plans: HashMap<PlanName, usize, RandomState> = plans.cloned().zip(0..).collect();
        let mut plan_labels = vec![String::new(); plans.len()];
        for (name, &place) in &plans {
            name.as_str().clone_into(&mut plan_labels[place]);
        }
        plan_labels.extend(["unknown".to_owned(), String::new()]);
        let duration = |outcome| Histogram::new(&DECISION_DURATION, &[("outcome", outcome)]);
        Self {
            admitted: (0..rules.len() * plan_labels.len()).map(|_| OnceLock::new()).collect(),
            others: RwLock::default(),
            shadow: RwLock::default(),
            admitted_duration: duration("admitted"),
            denied_duration: duration("denied"),
            abandoned_duration: duration("abandoned"),
            rules,
            plans,
            plan_labels,
        }
    }

    #[cold]
    fn count_shadow(&self, rule: usize, plan: usize, kind: DenialKind) {
        let key = (rule, plan, kind);
        if let Some(counter) = self.shadow.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            counter.add(1);
            return;
        }
        let make = || {
            let (rule, plan) = (&*self.rules[rule], &*self.plan_labels[plan]);
            Counter::new(&SHADOW_DENIALS, &[("rule", rule), ("plan", plan), ("kind", kind.name())])
        };
        let mut shadow = self.shadow.write().unwrap_or_else(PoisonError::into_inner);
        shadow.entry(key).or_insert_with(make).add(1);
    }

    fn counter(&self, rule: usize, plan: usize, outcome: DecisionOutcome) -> Counter {
        let kind = outcome.denied().map_or("", crate::denial::DenialKind::name);
        let (rule, plan) = (&*self.rules[rule], &*self.plan_labels[plan]);
        let labels = [("rule", rule), ("plan", plan), ("outcome", outcome.name()), ("kind", kind)];
        Counter::new(&DECISIONS, &labels)
    }
}

impl DecisionSink for DecisionMetrics {
    fn reads_request(&self) -> bool {
        false
    }

    fn record(&self, event: &DecisionEvent<'_>) {
        let rule = event.rule_index.unwrap_or(self.rules.len() - 1);
        let unknown = self.plans.len();
        let plan = event.plan.map_or(unknown + 1, |plan| self.plans.get(plan).copied().unwrap_or(unknown));
        if let Some(kind) = event.shadow {
            self.count_shadow(rule, plan, kind);
        }
        let (duration, outcome) = match event.outcome {
            DecisionOutcome::Admitted => {
                let counter = &self.admitted[rule * self.plan_labels.len() + plan];
                counter.get_or_init(|| self.counter(rule, plan, event.outcome)).add(1);
                if let Some(elapsed) = event.elapsed {
                    self.admitted_duration.record(elapsed);
                }
                return;
            }
            DecisionOutcome::Denied(kind) => (&self.denied_duration, kind.name()),
            DecisionOutcome::Abandoned => (&self.abandoned_duration, ""),
        };
        if let Some(elapsed) = event.elapsed {
            duration.record(elapsed);
        }
        let key = (rule, plan, outcome);
        if let Some(counter) = self.others.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            counter.add(1);
            return;
        }
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.entry(key).or_insert_with(|| self.counter(rule, plan, event.outcome)).add(1);
    }
}

/// The metrics of a gate's back ends.
#[derive(Debug)]
pub(super) struct BackEndMetrics {
    pub(super) find: Operation,
    pub(super) acquire: Operation,
    pub(super) release: Operation,
    pub(super) draw: Operation,
    pub(super) correct: Operation,
    pub(super) charge: Operation,
    pub(super) balance: Operation,
    pub(super) draw_and_charge: Operation,
    pub(super) settle: Operation,
    pub(super) refund: Operation,
    /// The number of open charges: from the call that charges until the call that closes the charge. The failure of that
    /// call leaves the charge to the ledger.
    pub(super) open_charges: Gauge,
    reload_successful: Gauge,
    reload_time: Gauge,
    /// The monotonic time, in nanoseconds, from which on the time of another decision is measured.
    next_sample: AtomicU64,
}

/// The least time, in nanoseconds, between two decisions whose time is measured. A reading of the clock and a sample take
/// a tenth of the time of a decision.
const SAMPLING: u64 = 100_000;

impl BackEndMetrics {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        let operation = |back_end, name| Operation::new(back_end, name, clock);
        Self {
            find: operation("store", "find"),
            acquire: operation("limiter", "acquire"),
            release: operation("limiter", "release"),
            draw: operation("limiter", "draw"),
            correct: operation("limiter", "correct"),
            charge: operation("ledger", "charge"),
            balance: operation("ledger", "balance_of"),
            draw_and_charge: operation("meter", "draw_and_charge"),
            settle: operation("ledger", "settle"),
            refund: operation("ledger", "refund"),
            open_charges: Gauge::new(&OPEN_CHARGES, &[]),
            reload_successful: Gauge::new(&CONFIG_RELOAD_SUCCESSFUL, &[]),
            reload_time: Gauge::new(&CONFIG_RELOAD_TIME, &[]),
            next_sample: AtomicU64::new(0),
        }
    }

    /// Tells of a configuration that was taken at a time, or rejected.
    pub(super) fn reloaded(&self, taken: Option<Timestamp>) {
        self.reload_successful.set(if taken.is_some() { 1.0 } else { 0.0 });
        if let Some(time) = taken {
            #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
            self.reload_time.set(time.as_millis() as f64 / 1000.0);
        }
    }

    /// Returns true if the time of a decision that begins now is measured.
    #[inline]
    pub(super) fn is_sample(&self, now: Now) -> bool {
        let is_sample = now.ticks() >= self.next_sample.load(Ordering::Relaxed);
        if is_sample {
            self.next_sample.store(now.ticks().saturating_add(SAMPLING), Ordering::Relaxed);
        }
        is_sample
    }
}

impl Parts {
    /// Measures a call as this operation, if the gate records metrics. A call that has succeeded at once is not measured.
    pub(super) fn measured<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&BackEndMetrics) -> &Operation,
        mut call: StoreFuture<T>,
    ) -> StoreFuture<T> {
        match &self.metrics {
            Some(metrics) if call.answer_mut().is_none() => operation(metrics).measure(call),
            _ => call,
        }
    }
}

/// The metrics of an operation of a back end.
#[derive(Debug, Clone)]
pub(super) struct Operation(Arc<OperationMetrics>);

#[derive(Debug)]
struct OperationMetrics {
    back_end: &'static str,
    name: &'static str,
    clock: Arc<dyn Clock>,
    duration: Histogram,
    /// The counters of errors, by their kinds.
    errors: Mutex<HashMap<&'static str, Counter>>,
}

impl Operation {
    fn new(back_end: &'static str, name: &'static str, clock: &Arc<dyn Clock>) -> Self {
        let duration = Histogram::new(&BACK_END_DURATION, &[("back_end", back_end), ("operation", name)]);
        let clock = Arc::clone(clock);
        Self(Arc::new(OperationMetrics { back_end, name, clock, duration, errors: Mutex::default() }))
    }

    /// Counts an error.
    #[cold]
    pub(super) fn failed(&self, error: &StoreError) {
        let Self(metrics) = self;
        let kind = error.name();
        let labels = [("back_end", metrics.back_end), ("operation", metrics.name), ("error", kind)];
        let mut errors = metrics.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.entry(kind).or_insert_with(|| Counter::new(&BACK_END_ERRORS, &labels)).add(1);
    }

    /// Measures a call, and counts its error. The time of a call that was answered at once is not measured.
    #[cold]
    fn measure<T: Send + 'static>(&self, call: StoreFuture<T>) -> StoreFuture<T> {
        let operation = self.clone();
        let begun = (!call.is_ready()).then(|| self.0.clock.now());
        StoreFuture::boxed(async move {
            let answer = call.await;
            let Self(metrics) = &operation;
            if let Some(begun) = begun {
                metrics.duration.record(metrics.clock.now().since(begun));
            }
            if let Err(error) = &answer {
                operation.failed(error);
            }
            answer
        })
    }
}
