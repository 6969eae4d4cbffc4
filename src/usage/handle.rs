//! The usage of a gate: its counts, the task that writes them, and queries.

use std::any::type_name;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::cells::Cells;
use super::queue::Queue;
use crate::amount::random;
use crate::clock::Clock;
use crate::error::{ConfigError, StoreError};
use crate::future::StoreFuture;
use crate::metrics;
use crate::name::AccountId;
use crate::panics::{Panicked, guard};
use crate::telemetry::{DecisionEvent, DecisionSink};
use crate::trace;
use crate::usage::{
    TopOrder, TopQuery, TopReport, UsageFilter, UsageOptions, UsageQuery, UsageRange, UsageReport, UsageStore,
};

/// The interval at which old counts are removed.
const PRUNING: Duration = Duration::from_hours(1);

/// The usage of a gate: counts of its decisions, written to a [`UsageStore`] at intervals.
///
/// [`GateBuilder::usage_store`](crate::GateBuilder::usage_store) creates it, and [`Gate::usage`](crate::Gate::usage)
/// returns it. It is a [`DecisionSink`] that never blocks for I/O. Cloning is cheap, and clones share their counts.
///
/// # When counts are written
///
/// The first decision in a tokio runtime starts a task that writes the counts every [`flush`](UsageOptions::flush)
/// interval, and that removes old ones every hour. The runtime must have its time enabled. [`flush`](Self::flush) writes
/// them at once. Call [`shutdown`](Self::shutdown) after the server has stopped: it writes all counts.
///
/// A process that is killed loses the requests since the last batch that was written: those of one interval, and of the
/// time that the write took. A batch is added once, however often it is written, so no count is too high.
///
/// # A store that cannot be reached
///
/// Requests go on. Batches wait until the store can be reached. If more than [`max_rows`](UsageOptions::max_rows) rows
/// wait, the oldest batches are dropped, and their requests are counted in [`UsageStatus::lost`]. A batch that was tried
/// for 12 hours is dropped too, because the store may forget its id.
///
/// # Memory
///
/// At most [`max_rows`](UsageOptions::max_rows) combinations of key, rule, outcome and minute are counted between two
/// flushes. Beyond that, the key, the account and the rule of a request are replaced by [`OTHER`](crate::usage::OTHER),
/// and the request is counted in [`UsageStatus::folded`] too. Requests without a known key are counted by rule and
/// outcome, so that any number of unknown keys takes a few rows. With the default of 100,000 rows, the counts take up to
/// 30 MB, and the batches that wait up to 23 MB.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::key::Length;
/// use tollgate::usage::{MemoryUsage, UsageFilter, UsageRange, UsageStep};
/// use tollgate::{Clock, Gate, KeyFormat, KeySource, RequestView};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .usage_store(MemoryUsage::new())
///     .build()?;
/// let request = Request::get("/v1/candles").body(())?;
/// gate.admit(&RequestView::of(&request)).await.unwrap_err();
///
/// let usage = gate.usage().unwrap();
/// usage.flush().await?;
/// let range = UsageRange::latest(UsageStep::Hour, gate.clock().now().wall());
/// let report = usage.report(UsageFilter::all(), range).await?;
/// assert_eq!(report.points[0].counts.requests, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Usage(Arc<Shared>);

struct Shared {
    cells: Cells,
    queue: Mutex<Queue>,
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    options: UsageOptions,
    /// Held while batches are written, so that they are written in order.
    writing: tokio::sync::Mutex<()>,
    /// True if the task runs, or if there is none to start.
    is_started: AtomicBool,
    /// True after a call of `shutdown`.
    is_shut_down: AtomicBool,
    failure: trace::Mode,
    /// The number of folded requests that the metric has counted.
    told_folded: AtomicU64,
    /// The number of requests that found no place, of which the metric has counted.
    told_lost: AtomicU64,
}

/// The state of a gate's usage in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageStatus {
    /// The number of rows that wait for the store.
    pub waiting: usize,
    /// The number of requests whose key, account and rule were replaced by [`OTHER`](crate::usage::OTHER), because there
    /// were too many rows.
    pub folded: u64,
    /// The number of requests that the store does not count: those in batches that were dropped.
    pub lost: u64,
}

impl Usage {
    /// Creates the usage for a gate. It counts the decisions that it receives as a [`DecisionSink`].
    ///
    /// # Errors
    ///
    /// Returns an error if the options are not valid.
    pub fn new<S: UsageStore>(
        store: S,
        options: UsageOptions,
        clock: impl Clock,
    ) -> Result<Self, ConfigError> {
        options.check().map_err(|error| error.in_member("usage"))?;
        Ok(Self::of(Arc::new(store), type_name::<S>(), options, Arc::new(clock)))
    }

    /// Creates the usage for a gate whose options were checked.
    pub(crate) fn of(
        store: Arc<dyn UsageStore>,
        type_name: &'static str,
        options: UsageOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let node = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
        let failure = trace::Mode::of(
            type_name,
            "usage is not written: the counts wait in memory",
            "usage is written again",
        );
        Self(Arc::new(Shared {
            cells: Cells::new(options.max_rows),
            queue: Mutex::new(Queue::new(node, options.max_rows)),
            store,
            clock,
            writing: tokio::sync::Mutex::new(()),
            is_started: AtomicBool::new(options.flush.is_none()),
            is_shut_down: AtomicBool::new(false),
            options,
            failure,
            told_folded: AtomicU64::new(0),
            told_lost: AtomicU64::new(0),
        }))
    }

    /// Writes all counts to the store.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot be reached. The counts wait for the next flush. If the store rejects a batch,
    /// the batch is dropped, the others are written, and the error is returned.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.flush().await
    }

    /// Writes all counts to the store, and ends the task that writes them at intervals. Later requests are still counted,
    /// and [`flush`](Self::flush) writes them.
    ///
    /// # Errors
    ///
    /// As for [`flush`](Self::flush).
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        self.0.is_shut_down.store(true, Ordering::Release);
        self.0.flush().await
    }

    /// Removes the counts that are older than their retention. Returns the number of removed rows. The task does this
    /// every hour.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot be reached.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        let (keep, now) = (self.0.options.keep, self.0.clock.now().wall());
        self.0.ask(|store| store.prune(&keep, now)).await
    }

    /// Returns the usage over time. It contains what was written to the store, and so not the last interval.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot be reached.
    pub async fn report(&self, filter: UsageFilter, range: UsageRange) -> Result<UsageReport, StoreError> {
        let query = UsageQuery::new(filter, range);
        let parts = self.0.ask(|store| store.read(&query)).await?;
        Ok(UsageReport::of(range, &parts))
    }

    /// Returns up to `limit` keys with the most usage in a range of time.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot be reached.
    pub async fn top(
        &self,
        filter: UsageFilter,
        range: UsageRange,
        order: TopOrder,
        limit: usize,
    ) -> Result<TopReport, StoreError> {
        let query = TopQuery::new(filter, range, order, limit);
        let keys = self.0.ask(|store| store.top(&query)).await?;
        Ok(TopReport::new(range, order, keys))
    }

    /// Writes all counts, and then removes those of an account. Returns true if there were any. Other nodes may still
    /// write counts of the account.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot be reached.
    pub async fn erase_account(&self, account: &AccountId) -> Result<bool, StoreError> {
        self.flush().await?;
        self.0.ask(|store| store.erase_account(account)).await
    }

    /// Returns the state of the counts in this process.
    pub fn status(&self) -> UsageStatus {
        let (queue, cells) = (self.0.queue(), &self.0.cells);
        let lost = queue.dropped().saturating_add(cells.lost());
        UsageStatus { waiting: queue.rows(), folded: cells.folded(), lost }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn UsageStore> {
        &self.0.store
    }

    /// The options.
    pub fn options(&self) -> &UsageOptions {
        &self.0.options
    }
}

impl DecisionSink for Usage {
    fn reads_request(&self) -> bool {
        false
    }

    #[inline]
    fn record(&self, event: &DecisionEvent<'_>) {
        if !self.0.is_started.load(Ordering::Relaxed) {
            self.0.start();
        }
        self.0.cells.count(event);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the queue, and counts the requests that it drops.
    fn queued<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue();
        let before = queue.dropped();
        let done = work(&mut queue);
        let dropped = queue.dropped() - before;
        drop(queue);
        if dropped > 0 {
            metrics::usage_events_dropped(dropped);
        }
        done
    }

    /// Calls the store, which may panic.
    fn ask<T>(&self, call: impl FnOnce(&dyn UsageStore) -> StoreFuture<T>) -> StoreFuture<T> {
        guard("a usage store", || call(&*self.store))
            .unwrap_or_else(|Panicked| StoreFuture::failed(StoreError::panicked()))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        let rows = self.cells.take();
        let folded = self.cells.folded();
        let told = self.told_folded.swap(folded, Ordering::Relaxed);
        if folded > told {
            metrics::usage_folded(folded - told);
        }
        let lost = self.cells.lost();
        let told = self.told_lost.swap(lost, Ordering::Relaxed);
        if lost > told {
            metrics::usage_events_dropped(lost - told);
        }
        self.queued(|queue| queue.push(rows));
        let mut done = Ok(());
        loop {
            let now = self.clock.now();
            let Some(batch) = self.queued(|queue| queue.first(now.elapsed())) else { return done };
            match self.ask(|store| store.write(&batch)).await {
                Ok(_) => {
                    self.queue().written(batch.id());
                    metrics::usage_batch_written();
                    self.failure.end();
                }
                Err(error) => {
                    metrics::usage_batch_failed();
                    self.failure.begin(now.ticks(), &error);
                    if !error.is_rejected() {
                        return Err(error);
                    }
                    self.queued(|queue| queue.rejected(batch.id()));
                    done = Err(error);
                }
            }
        }
    }

    /// Starts the task that writes the counts, for as long as the usage exists.
    #[cold]
    fn start(self: &Arc<Self>) {
        let Some(interval) = self.options.flush else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        if self.is_shut_down.load(Ordering::Acquire) || self.is_started.swap(true, Ordering::AcqRel) {
            return;
        }
        let (task, usage) = (Task(Arc::downgrade(self)), Arc::downgrade(self));
        drop(runtime.spawn(async move {
            let _task = task;
            let (mut since_pruning, mut pruning) = (PRUNING, None);
            loop {
                tokio::time::sleep(interval).await;
                let Some(shared) = usage.upgrade() else { return };
                if shared.is_shut_down.load(Ordering::Acquire) {
                    return;
                }
                // A failure is logged, and the next interval tries again.
                let _ = shared.flush().await;
                since_pruning += interval;
                // The removal may take longer than the interval, and no flush waits for it.
                if since_pruning >= PRUNING && pruning.as_ref().is_none_or(JoinHandle::is_finished) {
                    since_pruning = Duration::ZERO;
                    pruning = Some(tokio::spawn(async move { Usage(shared).prune().await }));
                }
            }
        }));
    }
}

/// Clears the `is_started` flag when the task's runtime ends, so that another runtime can start the task. If the task
/// panics, as in a runtime without time, it is not started again.
struct Task(Weak<Shared>);

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade()
            && !std::thread::panicking()
            && !shared.is_shut_down.load(Ordering::Acquire)
        {
            shared.is_started.store(false, Ordering::Release);
        }
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("store", &self.0.store)
            .field("options", &self.0.options)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
