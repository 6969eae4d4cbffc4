//! The tasks that claim crossings and deliver alerts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::alert::crossed::Subject;
use crate::alert::monitor::{EVERY_SINK, Job, OF_GRANT, Outlet, Question, Rule, Shared};
use crate::alert::{AlertId, AlertKind, AlertSink, AlertStore, Crossing, Delivery, WRONG_BY};
use crate::amount::{Currency, random};
use crate::clock::Timestamp;
use crate::credit::Balance;
use crate::error::StoreError;
use crate::name::AccountId;
use crate::trace::Mode;
use crate::{panics, trace};

/// The longest time between two turns of a task.
const TURN: Duration = Duration::from_secs(5);

/// The time limit of an attempt to deliver an alert.
const ATTEMPT: Duration = Duration::from_secs(30);

/// The time after which another node repeats an attempt that has no result.
const LEASE: Duration = Duration::from_mins(1);

/// The number of deliveries to a sink at the same time.
const AT_ONCE: usize = 16;

/// The time between the first attempts, which doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The number of attempts after which an alert is lost: about three days. The time alone does not decide, because clocks may
/// be set, and because the gates may not run.
const MOST_ATTEMPTS: u32 = 106;

/// The least age of an alert that is lost. Nodes whose clocks differ by more than a day make the attempts faster.
const LEAST_AGE: Duration = Duration::from_hours(48);

/// The time limit of a question to the ledger.
const ANSWER: Duration = Duration::from_secs(10);

/// The time for which a manager waits for the alert store. After that, the work waits in memory.
const SETTLING: Duration = Duration::from_secs(10);

/// The name of an alert store in the log of a panic.
const A_STORE: &str = "an alert store";

/// The time between two readings of the crossings that other nodes claimed.
const LEARNING: Duration = Duration::from_secs(30);

/// The time by which the clocks of nodes may differ.
const SKEW: Duration = Duration::from_mins(5);

/// The number of crossings that are read at once.
const LEARNT: usize = 1_000;

/// The time for which crossings are remembered.
const REMEMBERED: Duration = Duration::from_hours(400 * 24);

/// The time between two removals of old crossings.
const FORGETTING: Duration = Duration::from_hours(24);

/// The time from the start to the first removal of old crossings. A clock that is wrong at the start can be set until then.
const FIRST_FORGETTING: Duration = Duration::from_hours(1);

/// The progress of the work on crossings.
#[derive(Debug)]
pub(super) struct Progress {
    /// The time of the last reading of crossings.
    learnt: Option<Timestamp>,
    /// The monotonic time of the next removal of old crossings.
    forgets: Option<Duration>,
    /// The waiting alerts that were told without the store, and the sinks that accepted them.
    told: Vec<(AlertId, String)>,
    log: Mode,
}

impl Default for Progress {
    fn default() -> Self {
        let begins = "an alert store fails: alerts wait in memory";
        let log = Mode::before::<dyn AlertStore>(begins, "an alert store has recovered");
        Self { learnt: None, forgets: None, told: Vec::new(), log }
    }
}

/// A task of the alerts.
#[derive(Debug, Default)]
pub(super) struct Task {
    is_running: AtomicBool,
    notify: Arc<Notify>,
}

impl Task {
    /// Makes the task do its work now.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }
}

/// The work of a task.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// To claim and to release crossings.
    Crossings,
    /// To deliver alerts to the sink at this place. A slow sink delays neither the claims nor another sink.
    Deliveries(usize),
}

/// Starts the tasks, unless they run or there is no runtime.
pub(super) fn start(shared: &Arc<Shared>) {
    let deliveries = (0..shared.outlets.len()).map(Work::Deliveries);
    for work in std::iter::once(Work::Crossings).chain(deliveries) {
        let is_running = &shared.task(work).is_running;
        if !is_running.load(Ordering::Relaxed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !is_running.swap(true, Ordering::AcqRel)
        {
            drop(runtime.spawn(run(Running(Arc::downgrade(shared), work))));
        }
    }
}

/// A running task. When it ends, as with its runtime, another may start.
struct Running(Weak<Shared>, Work);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.task(self.1).is_running.store(false, Ordering::Release);
        }
    }
}

async fn run(running: Running) {
    while let Some(shared) = running.0.upgrade() {
        // An error or a panic is logged, and the work is tried again.
        let _ = panics::guard_future(A_STORE, async {
            match running.1 {
                Work::Crossings => shared.note_crossings().await,
                Work::Deliveries(place) => shared.deliver_due(&shared.outlets[place]).await,
            }
        })
        .await;
        let notify = Arc::clone(&shared.task(running.1).notify);
        drop(shared);
        let _ = timeout(TURN, notify.notified()).await;
    }
}

/// Makes the deliveries that are due, to all sinks at the same time.
pub(super) async fn deliver_all(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let mut deliveries = JoinSet::new();
    for place in 0..shared.outlets.len() {
        let shared = Arc::clone(shared);
        deliveries.spawn(async move { shared.deliver_due(&shared.outlets[place]).await });
    }
    let mut done = Ok(());
    while let Some(delivered) = deliveries.join_next().await {
        done = done.and(delivered.unwrap_or_else(|_| Err(StoreError::panicked())));
    }
    done
}

/// The reason why a crossing could not be claimed or released.
#[derive(Debug)]
pub(super) enum Unsettled {
    Store(StoreError),
    Ledger(StoreError),
}

impl Shared {
    fn task(&self, work: Work) -> &Task {
        match work {
            Work::Crossings => &self.crossings,
            Work::Deliveries(place) => &self.outlets[place].task,
        }
    }

    /// Claims and releases the crossings that wait.
    pub(super) async fn note_crossings(&self) -> Result<(), StoreError> {
        let mut progress = self.turn.lock().await;
        self.compare_back_ends();
        let now = self.clock.now();
        let learnt = self.learn(&mut progress, now.wall(), now.elapsed()).await;
        let (stored, answered) = self.settle_all(&mut progress).await;
        let stored = stored.and(learnt).and(self.forward(now.wall()).await);
        match &stored {
            Ok(()) => progress.log.end(),
            Err(error) => progress.log.begin(now.ticks(), error),
        }
        self.wake_outlets();
        stored.and(answered)
    }

    /// Takes over the alerts that were claimed by gates without sinks.
    async fn forward(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.outlets.is_empty() {
            self.store.forward(EVERY_SINK, &self.sink_names, now).await?;
        }
        Ok(())
    }

    /// Returns the results of the store and of the ledger. While one of them fails, the jobs that need it wait.
    async fn settle_all(&self, progress: &mut Progress) -> (Result<(), StoreError>, Result<(), StoreError>) {
        let (mut stored, mut answered, mut place) = (Ok(()), Ok(()), 0);
        // A job stays in the queue until it is done, so that a cancelled call loses none.
        loop {
            let Some(job) = self.queue().get(place).cloned() else { break };
            let settled = if stored.is_err() {
                stored.clone().map_err(Unsettled::Store)
            } else if answered.is_err() && job.question.is_some() {
                answered.clone().map_err(Unsettled::Ledger)
            } else {
                self.settle(&job, &self.untold(&job, progress)).await
            };
            let is_done = match settled {
                Ok(()) => true,
                Err(Unsettled::Store(error) | Unsettled::Ledger(error)) if error.is_rejected() => {
                    self.rules[job.rule].crossed.forget(&job.subject);
                    self.lose(job.crossing.kind, "the store or the ledger rejected it");
                    true
                }
                Err(Unsettled::Store(error)) => {
                    stored = Err(error);
                    self.told_directly(&job, progress).await
                }
                Err(Unsettled::Ledger(error)) => {
                    answered = Err(error);
                    false
                }
            };
            if is_done {
                self.queue().remove(place);
                progress.told.retain(|(told, _)| job.alert.as_ref().is_none_or(|alert| alert.id != *told));
            } else {
                place += 1;
            }
        }
        (stored, answered)
    }

    /// Claims or releases a crossing for a manager, whose own result does not depend on the store. If that fails, the job
    /// waits in memory.
    pub(super) async fn settle_or_enqueue(&self, job: Job) {
        let settling = panics::guard_future(A_STORE, self.settle(&job, &self.sink_names));
        if !matches!(timeout(SETTLING, settling).await, Ok(Ok(Ok(())))) {
            self.enqueue(job);
        }
    }

    /// Forgets what is remembered about an account. An account that is created under the same id is another one.
    pub(super) async fn erase(&self, account: &AccountId) -> Result<bool, StoreError> {
        self.queue()
            .retain(|job| job.alert.as_ref().is_none_or(|alert| alert.account.as_ref() != Some(account)));
        let erasing = panics::guard_future(A_STORE, self.store.erase(account));
        let erased = timeout(SETTLING, erasing).await.map_err(|_| StoreError::timed_out())?;
        let erased = erased.map_err(|panics::Panicked| StoreError::panicked())??;
        self.rules.iter().for_each(|rule| rule.crossed.forget_account(account));
        Ok(erased)
    }

    /// Claims or releases a crossing. The alert is stored for these sinks.
    pub(super) async fn settle(&self, job: &Job, sinks: &[String]) -> Result<(), Unsettled> {
        let crossed = &self.rules[job.rule].crossed;
        let balance = match &job.question {
            Some(question) => self.answer(question).await.map_err(Unsettled::Ledger)?,
            None => None,
        };
        let is_below = balance.as_ref().map(|(_, is_below)| *is_below);
        let now = self.clock.now().wall();
        match &job.alert {
            Some(_) if is_below == Some(false) => crossed.refute(&job.subject, now),
            Some(alert) => {
                let mut alert = alert.clone();
                alert.time = now;
                alert.value = balance.map(|(balance, _)| balance.to_string()).or(alert.value);
                self.store.claim(&job.crossing, &alert, sinks).await.map_err(Unsettled::Store)?;
                crossed.tell(&job.subject, now);
            }
            None if is_below == Some(true) => crossed.keep(&job.subject, now),
            None => {
                self.store.release(&job.crossing).await.map_err(Unsettled::Store)?;
                crossed.forget(&job.subject);
            }
        }
        Ok(())
    }

    /// Returns the balance in the ledger, and true if it is below the threshold. `None` if the ledger has no write side.
    async fn answer(&self, question: &Question) -> Result<Option<(Balance, bool)>, StoreError> {
        let plans = self.plans.load_full();
        let (Some(credits), Some(checks)) = (&self.back_ends.credits, plans.get(question.plan.as_str()))
        else {
            return Ok(None);
        };
        let now = self.clock.now().wall();
        let asked = credits.balance_of(&question.account, &Currency::CREDITS, &checks.allowance, now);
        let balance = timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(StoreError::timed_out()))?;
        let is_below = balance.credits().is_some_and(|credits| credits.get() < question.least);
        Ok(Some((balance, is_below)))
    }

    /// Returns the sinks that an alert was not told without the store.
    fn untold(&self, job: &Job, progress: &Progress) -> Vec<String> {
        let is_told = |name: &String| {
            let told = progress.told.iter().filter(|(_, sink)| sink == name);
            told.clone().any(|(told, _)| job.alert.as_ref().is_some_and(|alert| alert.id == *told))
        };
        self.sink_names.iter().filter(|name| !is_told(name)).cloned().collect()
    }

    /// Delivers an alert about a failing back end without the store, which may be in the same database. Each node then
    /// tells of it. A sink that accepted it is not told again. Returns true if every sink accepted it.
    async fn told_directly(&self, job: &Job, progress: &mut Progress) -> bool {
        let Some(alert) = job.alert.as_ref().filter(|alert| alert.kind == AlertKind::BackEndFailing) else {
            return false;
        };
        let (untold, now) = (self.untold(job, progress), self.clock.now().wall());
        let mut attempts = JoinSet::new();
        for outlet in self.outlets.iter().filter(|outlet| untold.contains(&outlet.name[0])) {
            let (sink, name) = (Arc::clone(&outlet.sink), outlet.name[0].clone());
            let delivery = Delivery::new(alert.clone(), name.as_str(), 1, now);
            attempts.spawn(async move { (attempt(&*sink, &delivery).await, name) });
        }
        while let Some(attempted) = attempts.join_next().await {
            if let Ok((Ok(()), name)) = attempted {
                progress.told.push((alert.id, name));
            }
        }
        let is_told = !self.outlets.is_empty() && self.untold(job, progress).is_empty();
        if is_told {
            self.rules[job.rule].crossed.tell(&job.subject, now);
        }
        is_told
    }

    /// Reads the balances that other nodes, or earlier processes, told of: this node may be the first to see that one
    /// of them is not below its threshold any more.
    async fn learn(
        &self,
        progress: &mut Progress,
        now: Timestamp,
        elapsed: Duration,
    ) -> Result<(), StoreError> {
        if self.rules.iter().any(|rule| rule.crossed.was_cleared()) {
            progress.learnt = None;
        }
        if progress.learnt.is_some_and(|learnt| is_within(learnt, LEARNING, now)) {
            return Ok(());
        }
        let start = Timestamp::from_millis(i64::MIN);
        let mut since = progress.learnt.map_or(start, |learnt| learnt.min(now).saturating_sub(SKEW));
        loop {
            let claimed = self.store.claimed(AlertKind::BalanceBelow, since, LEARNT).await?;
            // A crossing of a clock that was ahead holds no longer.
            for (crossing, claimed) in &claimed {
                if *claimed <= now.saturating_add(WRONG_BY) {
                    self.note(crossing, now);
                }
            }
            match claimed.last() {
                // More crossings of one moment than one answer has are not read.
                Some((_, last)) if claimed.len() >= LEARNT && *last > since => since = *last,
                _ => break,
            }
        }
        if *progress.forgets.get_or_insert(elapsed + FIRST_FORGETTING) <= elapsed {
            self.store.forget(now.saturating_sub(REMEMBERED), &self.sink_names).await?;
            progress.forgets = Some(elapsed + FORGETTING);
        }
        progress.learnt = Some(now);
        Ok(())
    }

    fn note(&self, crossing: &Crossing, now: Timestamp) {
        let (threshold, code) = match crossing.threshold.split_once(OF_GRANT) {
            Some((threshold, code)) => (threshold, code.parse().ok()),
            None => (crossing.threshold.as_str(), Some(0)),
        };
        let Some(code) = code else { return };
        let is_its =
            |rule: &&Rule| rule.settings.condition.kind() == crossing.kind && rule.threshold == threshold;
        for rule in self.rules.iter().filter(is_its) {
            let subject = Subject::Account(crossing.subject.as_str().into(), code);
            rule.crossed.learn(subject, crossing.period, now);
        }
    }

    /// Makes the deliveries to a sink that are due.
    async fn deliver_due(&self, outlet: &Outlet) -> Result<(), StoreError> {
        let _turn = outlet.delivering.lock().await;
        loop {
            let now = self.clock.now().wall();
            let due = self.store.take_due(&outlet.name, now, LEASE, AT_ONCE).await?;
            let is_last = due.len() < AT_ONCE;
            let mut attempts = JoinSet::new();
            for delivery in due {
                let sink = Arc::clone(&outlet.sink);
                attempts.spawn(async move { (attempt(&*sink, &delivery).await, delivery) });
            }
            let mut concluded = Ok(());
            while let Some(attempted) = attempts.join_next().await {
                // A panic of a sink is caught before. The lease ends.
                if let Ok((result, delivery)) = attempted {
                    concluded = concluded.and(self.conclude(&delivery, result).await);
                }
            }
            concluded?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Notes the result of an attempt.
    async fn conclude(&self, delivery: &Delivery, result: Result<(), StoreError>) -> Result<(), StoreError> {
        let (id, kind, now) = (delivery.alert.id, delivery.alert.kind, self.clock.now().wall());
        match result {
            Ok(()) => return self.store.finish(id, &delivery.sink).await,
            Err(error) if error.is_rejected() => self.lose(kind, "its sink rejected it"),
            Err(_)
                if delivery.attempt >= MOST_ATTEMPTS
                    && now >= delivery.alert.time.saturating_add(LEAST_AGE) =>
            {
                self.lose(kind, "its sink accepted it in none of the attempts");
            }
            Err(error) => {
                trace::alert_undelivered(&delivery.sink, delivery.attempt, &error);
                let due = now.saturating_add(pause(delivery.attempt, random()));
                return self.store.retry(id, &delivery.sink, due).await;
            }
        }
        self.store.finish(id, &delivery.sink).await
    }
}

/// Makes an attempt within its time limit.
async fn attempt(sink: &dyn AlertSink, delivery: &Delivery) -> Result<(), StoreError> {
    let delivered = panics::guard("an alert sink", || sink.deliver(delivery));
    let delivered = delivered.map_err(|panics::Panicked| StoreError::panicked())?;
    timeout(ATTEMPT, delivered).await.unwrap_or_else(|_| Err(StoreError::timed_out()))
}

/// Returns the time until the next attempt. It doubles with each attempt, and a random half of it is left out, so that
/// many alerts do not arrive at once at a receiver that is back.
fn pause(attempt: u32, random: u64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(half + random % (half + 1))
}

/// Returns true if less than a time has passed. A clock that was set back counts as passed time.
fn is_within(then: Timestamp, time: Duration, now: Timestamp) -> bool {
    now >= then && now < then.saturating_add(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        for (attempt, longest) in [(1, 5), (2, 10), (3, 20), (10, 2_560), (11, 3_600), (40, 3_600)] {
            let longest = Duration::from_secs(longest);
            let drawn: Vec<_> = (0..50).map(|_| pause(attempt, random())).collect();
            assert!(
                drawn.iter().all(|pause| (longest / 2..=longest).contains(pause)),
                "{attempt}: {drawn:?}"
            );
            assert!(drawn.iter().any(|pause| *pause != drawn[0]), "{attempt}: no jitter");
        }
    }
}
