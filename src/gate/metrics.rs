//! The metrics of a gate: a decision sink, and back ends that measure their calls.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::account::{Account, Quotas};
use crate::amount::{ChargeId, Credits};
use crate::clock::Clock;
use crate::credit::{Charge, Charged, CreditAdmin, CreditLedger};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyRecord};
use crate::limit::{Draw, LimitDecision, RateLimiter, WindowStatus};
use crate::meter::{Meter, Metered};
use crate::metrics::{
    BACK_END_DURATION, BACK_END_ERRORS, Counter, DECISION_DURATION, DECISIONS, Gauge, Histogram, OPEN_CHARGES,
};
use crate::name::PlanName;
use crate::rule::RuleSet;
use crate::store::{AccountAdmin, KeyStore};
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
            admitted_duration: duration("admitted"),
            denied_duration: duration("denied"),
            abandoned_duration: duration("abandoned"),
            rules,
            plans,
            plan_labels,
        }
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
        let (duration, outcome) = match event.outcome {
            DecisionOutcome::Admitted => {
                let counter = &self.admitted[rule * self.plan_labels.len() + plan];
                counter.get_or_init(|| self.counter(rule, plan, event.outcome)).add(1);
                self.admitted_duration.record(event.elapsed);
                return;
            }
            DecisionOutcome::Denied(kind) => (&self.denied_duration, kind.name()),
            DecisionOutcome::Abandoned => (&self.abandoned_duration, ""),
        };
        duration.record(event.elapsed);
        let key = (rule, plan, outcome);
        if let Some(counter) = self.others.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            counter.add(1);
            return;
        }
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.entry(key).or_insert_with(|| self.counter(rule, plan, event.outcome)).add(1);
    }
}

/// The metrics of an operation of a back end.
#[derive(Debug)]
struct Operation {
    back_end: &'static str,
    name: &'static str,
    duration: Histogram,
    /// The counters of errors, by their kinds.
    errors: RwLock<HashMap<&'static str, Counter>>,
}

impl Operation {
    fn new(back_end: &'static str, name: &'static str) -> Arc<Self> {
        let duration = Histogram::new(&BACK_END_DURATION, &[("back_end", back_end), ("operation", name)]);
        Arc::new(Self { back_end, name, duration, errors: RwLock::default() })
    }

    #[cold]
    fn failed(&self, error: &StoreError) {
        let kind = error.name();
        let labels = [("back_end", self.back_end), ("operation", self.name), ("error", kind)];
        let mut errors = self.errors.write().unwrap_or_else(PoisonError::into_inner);
        errors.entry(kind).or_insert_with(|| Counter::new(&BACK_END_ERRORS, &labels)).add(1);
    }

    /// Measures a call for whose answer the gate waits, and counts its error.
    #[inline]
    fn watch<T: Send + 'static>(
        self: &Arc<Self>,
        clock: &Arc<dyn Clock>,
        mut answer: StoreFuture<T>,
        seen: impl FnOnce(&Result<T, StoreError>) + Send + 'static,
    ) -> StoreFuture<T> {
        if let Some(answer) = answer.take_ready() {
            if let Err(error) = &answer {
                self.failed(error);
            }
            seen(&answer);
            return answer.into();
        }
        let (operation, clock, begun) = (Arc::clone(self), Arc::clone(clock), clock.now().ticks());
        StoreFuture::boxed(async move {
            let answer = answer.await;
            operation.duration.record(Duration::from_nanos(clock.now().ticks().saturating_sub(begun)));
            if let Err(error) = &answer {
                operation.failed(error);
            }
            seen(&answer);
            answer
        })
    }
}

/// A store that measures its calls.
#[derive(Debug)]
pub(super) struct MeasuredStore {
    store: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    find: Arc<Operation>,
}

impl MeasuredStore {
    pub(super) fn new(store: Arc<dyn KeyStore>, clock: &Arc<dyn Clock>) -> Self {
        Self { store, clock: Arc::clone(clock), find: Operation::new("store", "find") }
    }
}

impl KeyStore for MeasuredStore {
    #[inline]
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.find.watch(&self.clock, self.store.find(hash), |_| {})
    }

    fn is_failing(&self) -> bool {
        self.store.is_failing()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&self.store).admin()
    }
}

/// A limiter that measures its calls.
#[derive(Debug)]
pub(super) struct MeasuredLimiter {
    limiter: Arc<dyn RateLimiter>,
    clock: Arc<dyn Clock>,
    draw: Arc<Operation>,
    peek: Arc<Operation>,
}

impl MeasuredLimiter {
    pub(super) fn new(limiter: Arc<dyn RateLimiter>, clock: &Arc<dyn Clock>) -> Self {
        let (draw, peek) = (Operation::new("limiter", "draw"), Operation::new("limiter", "peek"));
        Self { limiter, clock: Arc::clone(clock), draw, peek }
    }
}

impl RateLimiter for MeasuredLimiter {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.draw.watch(&self.clock, self.limiter.draw(draw), |_| {})
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.peek.watch(&self.clock, self.limiter.peek(draw), |_| {})
    }

    fn is_failing(&self) -> bool {
        self.limiter.is_failing()
    }

    #[cfg(feature = "redis")]
    fn as_redis(&self) -> Option<&crate::limit::RedisLimiter> {
        self.limiter.as_redis()
    }
}

/// A ledger that measures its calls and counts the open charges.
///
/// A charge is open from the call until the call that closes it, whose failure leaves it to the ledger.
#[derive(Debug)]
pub(super) struct MeasuredLedger {
    ledger: Arc<dyn CreditLedger>,
    clock: Arc<dyn Clock>,
    open: Gauge,
    charge: Arc<Operation>,
    settle: Arc<Operation>,
    refund: Arc<Operation>,
}

impl MeasuredLedger {
    pub(super) fn new(ledger: Arc<dyn CreditLedger>, clock: &Arc<dyn Clock>) -> Self {
        let operation = |name| Operation::new("ledger", name);
        Self {
            ledger,
            clock: Arc::clone(clock),
            open: Gauge::new(&OPEN_CHARGES, &[]),
            charge: operation("charge"),
            settle: operation("settle"),
            refund: operation("refund"),
        }
    }
}

impl CreditLedger for MeasuredLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        let open = self.open.clone();
        self.open.raise(true);
        self.charge.watch(&self.clock, self.ledger.charge(charge), move |answer| {
            // The gate closes every other charge, also one that failed.
            if matches!(answer, Ok(Charged::Insufficient { .. })) {
                open.raise(false);
            }
        })
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        let (open, answer) = (self.open.clone(), self.ledger.settle(account, id, cost));
        self.open.raise(false);
        self.settle.watch(&self.clock, answer, move |answer| {
            // The gate refunds a charge whose settlement panicked.
            if answer.as_ref().is_err_and(StoreError::is_panic) {
                open.raise(true);
            }
        })
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        let answer = self.ledger.refund(account, id);
        self.open.raise(false);
        self.refund.watch(&self.clock, answer, |_| {})
    }

    fn is_failing(&self) -> bool {
        self.ledger.is_failing()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Arc::clone(&self.ledger).admin()
    }

    #[cfg(feature = "redis")]
    fn as_redis(&self) -> Option<&crate::credit::RedisLedger> {
        self.ledger.as_redis()
    }
}

/// A meter that measures its calls and counts the open charges.
#[derive(Debug)]
pub(super) struct MeasuredMeter {
    meter: Arc<dyn Meter>,
    clock: Arc<dyn Clock>,
    open: Gauge,
    draw_and_charge: Arc<Operation>,
}

impl MeasuredMeter {
    pub(super) fn new(meter: Arc<dyn Meter>, clock: &Arc<dyn Clock>) -> Self {
        let draw_and_charge = Operation::new("meter", "draw_and_charge");
        Self { meter, clock: Arc::clone(clock), open: Gauge::new(&OPEN_CHARGES, &[]), draw_and_charge }
    }
}

impl Meter for MeasuredMeter {
    fn takes(&self, quotas: &Quotas) -> bool {
        self.meter.takes(quotas)
    }

    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered> {
        let open = self.open.clone();
        self.open.raise(true);
        self.draw_and_charge.watch(&self.clock, self.meter.draw_and_charge(draw, charge), move |answer| {
            let is_open = match answer {
                Ok(Metered::Drawn { charged, .. }) => matches!(charged, Charged::Posted { .. }),
                Ok(Metered::Exceeded { .. }) => false,
                Err(_) => true,
            };
            if !is_open {
                open.raise(false);
            }
        })
    }
}
