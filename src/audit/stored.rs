//! The audit sink that writes to a store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{AuditEntry, AuditEvent, AuditSink, AuditStore};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::trace;

/// The number of entries that one call appends.
const BATCH: usize = 256;

/// The default number of entries that wait for a store that does not answer.
const WAITING: usize = 10_000;

/// An audit sink that writes each event to an [`AuditStore`] before the manager's call returns.
///
/// A manager's call takes as long as the change and the append together. If the store does not answer, the entries wait
/// in memory, and every later change tries to write them first. At most 10,000 entries wait by default. Beyond that the
/// oldest one is lost, which the log reports and [`lost`](StoredAudit::lost) counts. An entry that the store rejects is
/// lost too.
///
/// Call [`flush`](AuditSink::flush) when the process ends. A clone is the same sink.
///
/// # Example
///
/// See [`MemoryAuditStore`](crate::audit::MemoryAuditStore).
#[derive(Debug, Clone)]
pub struct StoredAudit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn AuditStore>,
    most: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<AuditEntry>,
    /// The number of recorded entries, which orders those of a millisecond.
    recorded: u32,
    lost: u64,
}

impl StoredAudit {
    /// Creates a sink that writes to this store.
    pub fn new(store: impl AuditStore) -> Self {
        Self::bounded(store, WAITING)
    }

    /// Creates a sink that writes to this store. At most this number of entries wait for it.
    pub fn bounded(store: impl AuditStore, most: usize) -> Self {
        Self(Arc::new(Inner { store: Arc::new(store), most, queue: Mutex::default() }))
    }

    /// Returns the number of entries that are not written yet.
    pub fn waiting(&self) -> usize {
        self.0.queue().waiting.len()
    }

    /// Returns the number of entries that were lost.
    pub fn lost(&self) -> u64 {
        self.0.queue().lost
    }
}

impl AuditSink for StoredAudit {
    fn record(&self, event: &AuditEvent) {
        let mut queue = self.0.queue();
        let entry = AuditEntry::new(event.clone(), queue.recorded);
        queue.waiting.push_back(entry);
        queue.recorded = queue.recorded.wrapping_add(1);
        if queue.waiting.len() > self.0.most {
            queue.waiting.pop_front();
            queue.lost += 1;
            trace::audit_lost("too many entries wait for the audit store");
        }
    }

    fn flush(&self) -> StoreFuture<()> {
        if self.0.queue().waiting.is_empty() {
            return StoreFuture::ready(());
        }
        let inner = Arc::clone(&self.0);
        StoreFuture::boxed(async move { inner.write().await })
    }
}

impl Inner {
    /// Writes the entries that wait, the oldest first. They wait until they are written, so that a cancelled call loses
    /// none. A concurrent call may write an entry again, which changes nothing.
    async fn write(&self) -> Result<(), StoreError> {
        loop {
            let batch: Vec<_> = self.queue().waiting.iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return Ok(());
            }
            match self.store.append(&batch).await {
                Err(error) if error.is_rejected() => self.write_each(&batch).await?,
                written => written?,
            }
            let _ = self.remove(&batch);
        }
    }

    /// Writes the entries of a rejected batch one by one, so that only those at fault are lost.
    async fn write_each(&self, batch: &[AuditEntry]) -> Result<(), StoreError> {
        for entry in batch.chunks(1) {
            match self.store.append(entry).await {
                Err(error) if error.is_rejected() => {
                    // A concurrent call may have counted it.
                    if self.remove(entry) {
                        self.queue().lost += 1;
                        trace::audit_lost("the audit store rejected an entry");
                    }
                }
                written => {
                    written?;
                    let _ = self.remove(entry);
                }
            }
        }
        Ok(())
    }

    /// Removes entries that are done, which are the first ones. Returns true if one of them still waited.
    fn remove(&self, done: &[AuditEntry]) -> bool {
        let is_done = |entry: &AuditEntry| done.iter().any(|one| one.id == entry.id);
        let mut queue = self.queue();
        let waiting = queue.waiting.len();
        while queue.waiting.front().is_some_and(is_done) {
            queue.waiting.pop_front();
        }
        queue.waiting.len() < waiting
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
