//! Batches that wait for the store.

use std::collections::VecDeque;
use std::time::Duration;

use crate::usage::{BATCH_IDS_KEPT, BatchId, UsageBatch, UsageRow};

/// The maximum number of rows of a batch, which is one transaction.
const MOST_IN_BATCH: usize = 4_096;

/// The time after which a batch that was tried is dropped: the store may have added it, and may soon forget its id.
const LONGEST_RETRY: Duration = Duration::from_secs(BATCH_IDS_KEPT.as_secs() / 2);

/// A queue of batches with a bounded number of rows.
#[derive(Debug)]
pub(super) struct Queue {
    node: [u8; 16],
    next: u64,
    /// The maximum number of rows.
    most: usize,
    rows: usize,
    waiting: VecDeque<Waiting>,
    /// The number of requests in the batches that were dropped.
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    batch: UsageBatch,
    /// The monotonic time of the first attempt to write the batch.
    tried: Option<Duration>,
}

impl Queue {
    /// Creates an empty queue for up to `most` rows.
    pub(super) fn new(node: [u8; 16], most: usize) -> Self {
        Self { node, next: 1, most, rows: 0, waiting: VecDeque::new(), dropped: 0 }
    }

    /// Appends rows in batches. Drops the oldest batches while there are too many rows.
    pub(super) fn push(&mut self, rows: Vec<UsageRow>) {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let rows: Vec<_> = rows.by_ref().take(MOST_IN_BATCH).collect();
            let id = BatchId { node: self.node, number: self.next };
            self.next += 1;
            self.rows += rows.len();
            self.waiting.push_back(Waiting { batch: UsageBatch::new(id, rows), tried: None });
        }
        while self.rows > self.most && self.waiting.len() > 1 {
            self.drop_first();
        }
    }

    /// Returns the oldest batch, to be written at this monotonic time. Drops the batches that were tried too long ago.
    pub(super) fn first(&mut self, now: Duration) -> Option<UsageBatch> {
        while self.waiting.front()?.tried.is_some_and(|tried| now.saturating_sub(tried) > LONGEST_RETRY) {
            self.drop_first();
        }
        let first = self.waiting.front_mut()?;
        first.tried.get_or_insert(now);
        Some(first.batch.clone())
    }

    /// Removes a batch that was written.
    pub(super) fn written(&mut self, id: BatchId) {
        if self.waiting.front().is_some_and(|first| first.batch.id() == id) {
            self.pop();
        }
    }

    /// Drops a batch that the store does not accept.
    pub(super) fn rejected(&mut self, id: BatchId) {
        if self.waiting.front().is_some_and(|first| first.batch.id() == id) {
            self.drop_first();
        }
    }

    /// The number of rows that wait.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of requests in the batches that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn drop_first(&mut self) {
        if let Some(batch) = self.pop() {
            let requests = batch.rows().iter().map(|row| row.counts.requests);
            self.dropped = requests.fold(self.dropped, u64::saturating_add);
        }
    }

    fn pop(&mut self) -> Option<UsageBatch> {
        let batch = self.waiting.pop_front()?.batch;
        self.rows -= batch.rows().len();
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::telemetry::DecisionOutcome;
    use crate::usage::UsageCounts;

    fn rows(number: usize) -> Vec<UsageRow> {
        let (time, outcome) = (Timestamp::from_millis(0), DecisionOutcome::Admitted);
        let row = UsageRow::new(None, "/", outcome, time, UsageCounts::of_request(time, 0));
        vec![row; number]
    }

    #[test]
    fn oldest_batches_are_dropped_and_counted() {
        let mut queue = Queue::new([7; 16], 5_000);
        queue.push(rows(4_000));
        queue.push(rows(900));
        assert_eq!((queue.rows(), queue.dropped()), (4_900, 0));
        queue.push(rows(200));
        assert_eq!((queue.rows(), queue.dropped()), (1_100, 4_000));
        let first = queue.first(Duration::ZERO).unwrap();
        assert_eq!((first.id().number, first.rows().len()), (2, 900));
        queue.written(BatchId { number: 1, ..first.id() });
        assert_eq!(queue.rows(), 1_100, "a batch that was dropped meanwhile is not removed again");
        queue.written(first.id());
        assert_eq!(queue.rows(), 200);
    }

    #[test]
    fn large_flushes_become_several_batches() {
        let mut queue = Queue::new([7; 16], 100_000);
        queue.push(rows(10_000));
        let sizes: Vec<_> = queue.waiting.iter().map(|waiting| waiting.batch.rows().len()).collect();
        assert_eq!(sizes, [4_096, 4_096, 1_808]);
    }

    #[test]
    fn batches_tried_too_long_ago_are_dropped() {
        let mut queue = Queue::new([7; 16], 100);
        queue.push(rows(3));
        let first = queue.first(Duration::ZERO).unwrap().id();
        assert_eq!(queue.first(LONGEST_RETRY).unwrap().id(), first);
        queue.push(rows(2));
        let later = LONGEST_RETRY + Duration::from_secs(1);
        assert_eq!(queue.first(later).unwrap().id().number, 2, "a batch that was never tried stays");
        assert_eq!(queue.dropped(), 3);
    }
}
