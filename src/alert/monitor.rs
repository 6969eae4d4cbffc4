//! The comparison of events with the thresholds.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::account::{Account, Plan, QuotaOrigin, as_written};
use crate::alert::checks::{self, ONCE, PlanChecks};
use crate::alert::crossed::{Crossed, Subject, WindowOwner};
use crate::alert::delivery;
use crate::alert::{
    Alert, AlertCondition, AlertKind, AlertRule, AlertSink, AlertStore, Crossing, MemoryAlertStore, Share,
    TracingAlerts,
};
use crate::audit::Action;
use crate::clock::{Clock, Timestamp};
use crate::credit::{CreditAdmin, CreditLedger};
use crate::error::StoreError;
use crate::key::KeyId;
use crate::limit::RateLimiter;
use crate::name::{AccountId, PlanName};
use crate::store::KeyStore;
use crate::telemetry::{DecisionEvent, DecisionSink, Window};
use crate::trace;

/// The name under which a gate without sinks claims its alerts for the sinks of other gates. No sink has it.
pub(crate) const EVERY_SINK: &str = "*";

/// The maximum number of crossings that wait for the store.
const WAITING: usize = 10_000;

/// The alerts of a gate: they compare events with the thresholds, and deliver the alerts in tasks.
///
/// The tasks start when the gate is built, or with the first event if it was built outside a runtime. They end with the gate. They need a tokio runtime with its timer enabled. A
/// clone is the same alerts.
#[derive(Clone)]
pub struct Alerts(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) rules: Vec<Rule>,
    /// The checks of each plan of the configuration in force.
    pub(super) plans: ArcSwap<HashMap<PlanName, PlanChecks>>,
    pub(super) store: Arc<dyn AlertStore>,
    /// The sinks. Empty if the delivery is left to other gates.
    pub(super) outlets: Vec<Outlet>,
    /// The names for which alerts are claimed.
    pub(super) sink_names: Vec<String>,
    pub(super) back_ends: BackEnds,
    pub(super) clock: Arc<dyn Clock>,
    queue: std::sync::Mutex<VecDeque<Job>>,
    pub(super) lost: AtomicU64,
    pub(super) crossings: delivery::Task,
    /// Held while the queue is worked off, so that one caller does it at a time.
    pub(super) turn: Mutex<delivery::Progress>,
}

/// A sink, and the task that delivers its alerts. A slow sink delays no other one.
pub(super) struct Outlet {
    pub(super) sink: Arc<dyn AlertSink>,
    pub(super) name: [String; 1],
    pub(super) task: delivery::Task,
    /// Held while alerts are delivered.
    pub(super) delivering: Mutex<()>,
}

impl Outlet {
    fn new(sink: Arc<dyn AlertSink>) -> Self {
        let name = [sink.name().to_owned()];
        Self { sink, name, task: delivery::Task::default(), delivering: Mutex::default() }
    }
}

/// A rule, and the crossings of it that this node knows of.
pub(super) struct Rule {
    pub(super) settings: AlertRule,
    pub(super) threshold: String,
    pub(super) crossed: Crossed,
}

/// The back ends of the gate.
pub(crate) struct BackEnds {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    pub(crate) ledger: Arc<dyn CreditLedger>,
    pub(crate) credits: Option<Arc<dyn CreditAdmin>>,
}

impl BackEnds {
    /// Returns each back end's part in the gate, and true if it fails.
    fn states(&self) -> [(&'static str, bool); 3] {
        [
            ("store", self.store.is_failing()),
            ("limiter", self.limiter.is_failing()),
            ("ledger", self.ledger.is_failing()),
        ]
    }
}

/// The text between a threshold and the [`Grant::code`](crate::account::Grant::code) in a crossing of a balance.
pub(super) const OF_GRANT: &str = " of grant ";

/// A crossing to claim or to release.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) rule: usize,
    pub(super) subject: Subject,
    pub(super) crossing: Crossing,
    /// The balance to compare first: the requests that were decided before another one may end after it, and a leased
    /// ledger knows only a part of a balance.
    pub(super) question: Option<Question>,
    /// The alert of a crossing to claim; `None` for one to release.
    pub(super) alert: Option<Alert>,
}

/// A question to the ledger: is the balance of an account below a threshold?
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) account: AccountId,
    pub(super) plan: PlanName,
    pub(super) least: u64,
}

/// The settings of alerts in a builder.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlertSettings {
    pub(crate) rules: Vec<AlertRule>,
    pub(crate) sinks: Vec<Arc<dyn AlertSink>>,
    pub(crate) store: Option<Arc<dyn AlertStore>>,
    /// The webhooks of the file, as numbers that differ if their settings do.
    pub(crate) webhooks: Vec<u64>,
    /// True if other gates deliver the alerts.
    pub(crate) are_delivered_elsewhere: bool,
}

impl AlertSettings {
    /// Returns true if a rule compares all windows of a request.
    pub(crate) fn needs_every_window(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.condition, AlertCondition::QuotaAbove(_)))
    }

    /// Returns the alerts, if there is a rule.
    pub(crate) fn build<'p>(
        self,
        plans: impl IntoIterator<Item = &'p Plan>,
        back_ends: BackEnds,
        clock: &Arc<dyn Clock>,
    ) -> Option<Alerts> {
        if self.rules.is_empty() {
            return None;
        }
        let rule = |rule: &AlertRule| Rule {
            settings: rule.clone(),
            threshold: rule.condition.threshold(),
            crossed: Crossed::new(rule.condition.kind() == AlertKind::BalanceBelow),
        };
        let sinks = match self.sinks {
            _ if self.are_delivered_elsewhere => Vec::new(),
            none if none.is_empty() => vec![Arc::new(TracingAlerts) as _],
            sinks => sinks,
        };
        let outlets: Vec<_> = sinks.into_iter().map(Outlet::new).collect();
        let names = outlets.iter().flat_map(|outlet| outlet.name.iter().cloned());
        let sink_names = if outlets.is_empty() { vec![EVERY_SINK.to_owned()] } else { names.collect() };
        let shared = Arc::new(Shared {
            rules: self.rules.iter().map(rule).collect(),
            plans: ArcSwap::from_pointee(PlanChecks::by_plan(&self.rules, plans)),
            store: self.store.unwrap_or_else(|| Arc::new(MemoryAlertStore::new())),
            sink_names,
            outlets,
            back_ends,
            clock: Arc::clone(clock),
            queue: std::sync::Mutex::default(),
            lost: AtomicU64::new(0),
            crossings: delivery::Task::default(),
            turn: Mutex::default(),
        });
        // A node delivers the alerts of others before it decides on its first request.
        if !shared.outlets.is_empty() {
            delivery::start(&shared);
        }
        Some(Alerts(shared))
    }
}

impl DecisionSink for Alerts {
    fn reads_request(&self) -> bool {
        false
    }

    fn record(&self, event: &DecisionEvent<'_>) {
        delivery::start(&self.0);
        let plans = self.0.plans.load();
        if let Some(checks) = event.plan.and_then(|plan| plans.get(plan.as_str())) {
            self.0.compare(event, checks);
        }
    }
}

impl Alerts {
    /// Notes what is told now, and makes the deliveries that are due. Call it when the process ends, so that an alert
    /// about the last requests need not wait for the next start.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails, or if the ledger cannot answer whether a balance is low. An alert that a sink
    /// does not accept is no error: it waits in the store.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let noted = self.0.note_crossings().await;
        delivery::deliver_all(&self.0).await.and(noted)
    }

    /// Compares events with the thresholds of these plans from now on.
    pub(crate) fn set_plans<'p>(&self, plans: impl IntoIterator<Item = &'p Plan>) {
        let rules: Vec<_> = self.0.rules.iter().map(|rule| rule.settings.clone()).collect();
        self.0.plans.store(Arc::new(PlanChecks::by_plan(&rules, plans)));
    }

    /// Returns the number of crossings that are not in the store yet.
    pub fn waiting(&self) -> usize {
        self.0.queue().len()
    }

    /// Returns the number of alerts that were lost: too many crossings waited for the store, the store or the ledger rejected
    /// one, or a sink accepted an alert in none of its attempts.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Tells of a key that a manager revoked. Returns when the alert is in the store. If the store fails, the alert waits
    /// in memory.
    pub(crate) async fn revoked(&self, action: Action, key: KeyId, account: &Account) {
        let shared = &self.0;
        delivery::start(shared);
        let now = shared.clock.now().wall();
        for (index, rule) in shared.rules.iter().enumerate() {
            let is_met = match rule.settings.condition {
                AlertCondition::Revoked => matches!(action, Action::Revoked | Action::Leaked),
                AlertCondition::Leaked => action == Action::Leaked,
                _ => false,
            };
            if is_met && rule.settings.is_for(&account.plan) {
                let mut alert = Alert::new(rule.settings.condition.kind(), now);
                alert.account = Some(account.id.clone());
                alert.plan = Some(account.plan.clone());
                alert.key = Some(key);
                let job = shared.job(index, Subject::Key(key), ONCE, None, Some(alert));
                shared.settle_or_enqueue(job).await;
            }
        }
        shared.wake_outlets();
    }

    /// Releases the crossings of a key whose revocation was undone, so that the next revocation is told.
    pub(crate) async fn revocation_undone(&self, key: KeyId) {
        let shared = &self.0;
        for (index, rule) in shared.rules.iter().enumerate() {
            if matches!(rule.settings.condition, AlertCondition::Revoked | AlertCondition::Leaked) {
                shared.settle_or_enqueue(shared.job(index, Subject::Key(key), ONCE, None, None)).await;
            }
        }
    }

    /// Releases the crossings of an account whose balance an operator changed, if it is not low now. The ledger is asked: no
    /// request may see the balance before it is low again. If a back end fails, the release waits in memory.
    pub(crate) async fn balance_changed(&self, account: &Account) {
        let shared = &self.0;
        let plans = shared.plans.load_full();
        let Some(checks) = plans.get(account.plan.as_str()) else { return };
        delivery::start(shared);
        let now = shared.clock.now().wall();
        for check in &checks.balances {
            let subject = Subject::Account(account.id.clone(), check.grant_code());
            let (plan, least) = (account.plan.clone(), check.least);
            let question = Question { account: account.id.clone(), plan, least };
            shared
                .settle_or_enqueue(shared.job(check.rule, subject, check.period(now), Some(question), None))
                .await;
        }
    }

    /// Forgets what is remembered about an account that was erased: its crossings, and its alerts that wait for their
    /// delivery.
    pub(crate) async fn account_erased(&self, account: &AccountId) -> Result<bool, StoreError> {
        self.0.erase(account).await
    }
}

impl Shared {
    fn compare(&self, event: &DecisionEvent<'_>, checks: &PlanChecks) {
        let (Some(account), Some(plan), Some(key)) = (event.account, event.plan, event.key) else { return };
        // The request may have begun long ago.
        let now = || self.clock.now().wall();
        // The thresholds of balances are in the currency `credits`.
        if let Some(balance) = event.balance.filter(|_| event.currency.is_default()) {
            for check in &checks.balances {
                let (rule, least) = (check.rule, check.least);
                let subject = || Subject::Account(account.clone(), check.grant_code());
                let question = || Some(Question { account: account.clone(), plan: plan.clone(), least });
                if balance.get() >= least {
                    self.uncross(rule, subject, now, question);
                } else {
                    let now = now();
                    self.cross(rule, subject(), check.period(now), now, question, || {
                        let mut alert = about(AlertKind::BalanceBelow, event, now);
                        alert.value = Some(balance.to_string());
                        alert
                    });
                }
            }
        }
        if let Some(expires) = event.expires {
            let left = expires.as_millis().saturating_sub(event.time.as_millis());
            for (rule, within) in &checks.expiries {
                if left > 0 && left <= *within {
                    let now = now();
                    self.cross(
                        *rule,
                        Subject::Expiry(key, expires),
                        ONCE,
                        now,
                        || None,
                        || {
                            let mut alert = about(AlertKind::ExpiresWithin, event, now);
                            (alert.key, alert.value) = (Some(key), Some(expires.to_string()));
                            alert
                        },
                    );
                }
            }
        }
        for (rule, share) in &checks.quotas {
            for window in event.windows.iter().filter(|window| is_used_above(window, *share)) {
                let Some(owner) = WindowOwner::new(window.counts, key, account) else { continue };
                // Periods of different lengths cannot be compared.
                let quota = format!("{}{} per {}", window.name, window.origin, as_written(window.length));
                let subject = Subject::Window(owner.clone(), quota.into());
                let period = checks::window_period(window.length, event.time);
                let now = now();
                self.cross(
                    *rule,
                    subject,
                    period,
                    now,
                    || None,
                    || {
                        let mut alert = about(AlertKind::QuotaAbove, event, now);
                        if let WindowOwner::Pool(_) = owner {
                            alert.account = None;
                        }
                        alert.key = matches!(owner, WindowOwner::Key(_)).then_some(key);
                        alert.quota = Some(window.name.to_owned());
                        alert.rule = match window.origin {
                            QuotaOrigin::Plan | QuotaOrigin::Anonymous | QuotaOrigin::Shadow(_) => None,
                            QuotaOrigin::Rule(text) | QuotaOrigin::Shared(text) => Some(text.to_string()),
                        };
                        alert.value = Some(used(&window));
                        alert
                    },
                );
            }
        }
    }

    /// Notes which back ends fail.
    pub(super) fn compare_back_ends(&self) {
        let failing = |rule: &Rule| rule.settings.condition == AlertCondition::BackEndFailing;
        let Some(rule) = self.rules.iter().position(failing) else { return };
        let now = self.clock.now().wall();
        for (part, is_failing) in self.back_ends.states() {
            if is_failing {
                self.cross(
                    rule,
                    Subject::BackEnd(part),
                    checks::hour(now),
                    now,
                    || None,
                    || {
                        let mut alert = Alert::new(AlertKind::BackEndFailing, now);
                        alert.back_end = Some(part.to_owned());
                        alert
                    },
                );
            } else {
                self.uncross(rule, || Subject::BackEnd(part), || now, || None);
            }
        }
    }

    fn cross(
        &self,
        rule: usize,
        subject: Subject,
        period: i64,
        now: Timestamp,
        question: impl FnOnce() -> Option<Question>,
        alert: impl FnOnce() -> Alert,
    ) {
        if self.rules[rule].crossed.cross(&subject, period, now) {
            let job = self.job(rule, subject, period, question(), Some(alert()));
            self.enqueue(job);
        }
    }

    fn uncross(
        &self,
        rule: usize,
        subject: impl Fn() -> Subject,
        now: impl FnOnce() -> Timestamp,
        question: impl FnOnce() -> Option<Question>,
    ) {
        if let Some(period) = self.rules[rule].crossed.uncross(&subject, now) {
            let job = self.job(rule, subject(), period, question(), None);
            self.enqueue(job);
        }
    }

    fn job(
        &self,
        index: usize,
        subject: Subject,
        period: i64,
        question: Option<Question>,
        mut alert: Option<Alert>,
    ) -> Job {
        let rule = &self.rules[index];
        if let Some(alert) = &mut alert {
            alert.threshold = Some(rule.threshold.clone()).filter(|threshold| !threshold.is_empty());
        }
        let threshold = match subject {
            Subject::Account(_, code) if code != 0 => format!("{}{OF_GRANT}{code}", rule.threshold),
            _ => rule.threshold.clone(),
        };
        let crossing = Crossing::new(rule.settings.condition.kind(), subject.text(), threshold, period);
        Job { rule: index, subject, crossing, question, alert }
    }

    /// Queues a job for the task. If there is no room, the crossing is forgotten, so that a later event queues it again.
    pub(super) fn enqueue(&self, job: Job) {
        let mut queue = self.queue();
        if queue.len() >= WAITING {
            drop(queue);
            self.rules[job.rule].crossed.forget(&job.subject);
            self.lose(job.crossing.kind, "too many crossings wait for the store");
            return;
        }
        queue.push_back(job);
        drop(queue);
        self.crossings.wake();
    }

    /// Makes the tasks deliver now.
    pub(super) fn wake_outlets(&self) {
        self.outlets.iter().for_each(|outlet| outlet.task.wake());
    }

    pub(super) fn lose(&self, kind: AlertKind, reason: &'static str) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        trace::alert_lost(kind.name(), reason);
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns an alert about the account of an event.
fn about(kind: AlertKind, event: &DecisionEvent<'_>, now: Timestamp) -> Alert {
    let mut alert = Alert::new(kind, now);
    alert.account = event.account.cloned();
    alert.plan = event.plan.cloned();
    alert
}

/// Returns true if more than a share of a window is used.
fn is_used_above(window: &Window<'_>, share: Share) -> bool {
    let used = u64::from(window.limit.saturating_sub(window.remaining));
    used * 100 > u64::from(share.percent()) * u64::from(window.limit)
}

/// Returns the used share of a window in percent, rounded up to a tenth.
fn used(window: &Window<'_>) -> String {
    let used = u64::from(window.limit.saturating_sub(window.remaining));
    match (used * 1_000).div_ceil(u64::from(window.limit.max(1))) {
        tenths if tenths % 10 == 0 => format!("{}%", tenths / 10),
        tenths => format!("{}.{}%", tenths / 10, tenths % 10),
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("rules", &self.0.rules.iter().map(|rule| rule.settings.condition).collect::<Vec<_>>())
            .field("sinks", &self.0.sink_names)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
