//! The tasks that claim crossings and deliver alerts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::alert::crossed::Subject;
use crate::alert::monitor::{Job, Question, Rule, Shared};
use crate::alert::{AlertKind, AlertSink, AlertStore, Crossing, Delivery};
use crate::amount::random;
use crate::clock::Timestamp;
use crate::credit::Balance;
use crate::error::StoreError;
use crate::trace::Mode;
use crate::{panics, trace};

/// The longest time between two turns of a task.
const TURN: Duration = Duration::from_secs(5);

/// The time limit of an attempt to deliver an alert.
const ATTEMPT: Duration = Duration::from_secs(30);

/// The time after which another node repeats an attempt that has no result.
const LEASE: Duration = Duration::from_mins(1);

/// The number of deliveries at the same time.
const AT_ONCE: usize = 16;

/// The time between the first attempts, which doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The time after which an alert is given up.
const GIVEN_UP: Duration = Duration::from_hours(72);

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

/// The progress of the work on crossings.
#[derive(Debug)]
pub(super) struct Progress {
    /// The time of the last reading of crossings.
    learnt: Option<Timestamp>,
    forgot: Option<Timestamp>,
    log: Mode,
}

impl Default for Progress {
    fn default() -> Self {
        let begins = "an alert store fails: alerts wait in memory";
        let log = Mode::before::<dyn AlertStore>(begins, "an alert store has recovered");
        Self { learnt: None, forgot: None, log }
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
    /// To deliver alerts. A slow sink does not delay the claims.
    Deliveries,
}

/// Starts the tasks, unless they run or there is no runtime.
pub(super) fn start(shared: &Arc<Shared>) {
    for work in [Work::Crossings, Work::Deliveries] {
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
        // An error is logged, and the work is tried again.
        let _ = match running.1 {
            Work::Crossings => shared.note_crossings().await,
            Work::Deliveries => shared.deliver_due().await,
        };
        let notify = Arc::clone(&shared.task(running.1).notify);
        drop(shared);
        let _ = timeout(TURN, notify.notified()).await;
    }
}

impl Shared {
    fn task(&self, work: Work) -> &Task {
        match work {
            Work::Crossings => &self.crossings,
            Work::Deliveries => &self.deliveries,
        }
    }

    /// Claims and releases the crossings that wait.
    pub(super) async fn note_crossings(&self) -> Result<(), StoreError> {
        let mut progress = self.turn.lock().await;
        self.compare_back_ends();
        let now = self.clock.now();
        let learnt = self.learn(&mut progress, now.wall()).await;
        let done = self.settle_all().await.and(learnt);
        match &done {
            Ok(()) => progress.log.end(),
            Err(error) => progress.log.begin(now.ticks(), error),
        }
        self.deliveries.wake();
        done
    }

    async fn settle_all(&self) -> Result<(), StoreError> {
        // A job stays in the queue until it is done, so that a cancelled call loses none.
        loop {
            let Some(job) = self.queue().front().cloned() else { return Ok(()) };
            match self.settle(&job).await {
                Err(error) if error.is_rejected() => self.lose(job.crossing.kind, "the store rejected it"),
                Err(error) => {
                    if !self.told_directly(&job).await {
                        return Err(error);
                    }
                }
                Ok(()) => {}
            }
            self.queue().pop_front();
        }
    }

    /// Claims or releases a crossing.
    pub(super) async fn settle(&self, job: &Job) -> Result<(), StoreError> {
        let crossed = &self.rules[job.rule].crossed;
        let balance = match &job.question {
            Some(question) => self.answer(question).await?,
            None => None,
        };
        let is_below = balance.as_ref().map(|(_, is_below)| *is_below);
        match &job.alert {
            Some(_) if is_below == Some(false) => crossed.refute(&job.subject, self.clock.now().wall()),
            Some(alert) => {
                let mut alert = alert.clone();
                alert.value = balance.map(|(balance, _)| balance.to_string()).or(alert.value);
                self.store.claim(&job.crossing, &alert, &self.sink_names).await?;
            }
            None if is_below == Some(true) => crossed.keep(&job.subject, self.clock.now().wall()),
            None => {
                self.store.release(&job.crossing).await?;
                crossed.forget(&job.subject);
            }
        }
        Ok(())
    }

    /// Returns the balance in the ledger, and true if it is below the threshold. `None` if the ledger has no write side.
    async fn answer(&self, question: &Question) -> Result<Option<(Balance, bool)>, StoreError> {
        let (Some(credits), Some(checks)) = (&self.back_ends.credits, self.plans.get(question.plan.as_str()))
        else {
            return Ok(None);
        };
        let now = self.clock.now().wall();
        let balance = credits.balance_of(&question.account, &checks.allowance, now).await?;
        let is_below = balance.credits().is_some_and(|credits| credits.get() < question.least);
        Ok(Some((balance, is_below)))
    }

    /// Delivers an alert about a failing back end without the store, which may be in the same database. Each node then
    /// tells of it. Returns true if every sink accepted it.
    async fn told_directly(&self, job: &Job) -> bool {
        let Some(alert) = job.alert.as_ref().filter(|alert| alert.kind == AlertKind::BackEndFailing) else {
            return false;
        };
        let mut is_told = true;
        for sink in &self.sinks {
            let delivery = Delivery::new(alert.clone(), sink.name(), 1, self.clock.now().wall());
            is_told &= attempt(&**sink, &delivery).await.is_ok();
        }
        is_told
    }

    /// Reads the balances that other nodes, or earlier processes, told of: this node may be the first to see that one
    /// of them is not below its threshold any more.
    async fn learn(&self, progress: &mut Progress, now: Timestamp) -> Result<(), StoreError> {
        if self.rules.iter().any(|rule| rule.crossed.was_cleared()) {
            progress.learnt = None;
        }
        if progress.learnt.is_some_and(|learnt| is_within(learnt, LEARNING, now)) {
            return Ok(());
        }
        let start = Timestamp::from_millis(i64::MIN);
        let mut since = progress.learnt.map_or(start, |learnt| learnt.saturating_sub(SKEW));
        loop {
            let claimed = self.store.claimed(AlertKind::BalanceBelow, since, LEARNT).await?;
            for (crossing, _) in &claimed {
                self.note(crossing);
            }
            match claimed.last() {
                // More crossings of one moment than one answer has are not read.
                Some((_, last)) if claimed.len() >= LEARNT && *last > since => since = *last,
                _ => break,
            }
        }
        if !progress.forgot.is_some_and(|forgot| is_within(forgot, FORGETTING, now)) {
            self.store.forget(now.saturating_sub(REMEMBERED)).await?;
            progress.forgot = Some(now);
        }
        progress.learnt = Some(now);
        Ok(())
    }

    fn note(&self, crossing: &Crossing) {
        let is_its = |rule: &&Rule| {
            rule.settings.condition.kind() == crossing.kind && rule.threshold == crossing.threshold
        };
        for rule in self.rules.iter().filter(is_its) {
            rule.crossed.learn(Subject::Account(crossing.subject.as_str().into()), crossing.period);
        }
    }

    /// Makes the deliveries that are due.
    pub(super) async fn deliver_due(&self) -> Result<(), StoreError> {
        let _turn = self.delivering.lock().await;
        loop {
            let now = self.clock.now().wall();
            let due = self.store.take_due(&self.sink_names, now, LEASE, AT_ONCE).await?;
            let is_last = due.len() < AT_ONCE;
            let mut attempts = JoinSet::new();
            for delivery in due {
                if let Some(sink) = self.sinks.iter().find(|sink| sink.name() == delivery.sink) {
                    let sink = Arc::clone(sink);
                    attempts.spawn(async move { (attempt(&*sink, &delivery).await, delivery) });
                }
            }
            while let Some(attempted) = attempts.join_next().await {
                // A panic of a sink is caught before. The lease ends.
                if let Ok((result, delivery)) = attempted {
                    self.conclude(&delivery, result).await?;
                }
            }
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
            Err(_) if !is_within(delivery.alert.time, GIVEN_UP, now) => {
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
