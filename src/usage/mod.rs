//! Usage of keys over time: requests, refusals and credits by key, rule, outcome and minute.
//!
//! A gate with [`Usage`] counts every decision in memory, and writes the counts to a [`UsageStore`] in batches. The store
//! keeps the sums of each minute, hour, day and month, in UTC.
//!
//! # Who adds up
//!
//! Each batch is added to its minute, hour, day and month in one transaction. The longer steps are therefore always
//! equal to the sum of the shorter ones, no node is responsible for a roll-up, and retention removes the rows of a step
//! without reading them.
//!
//! # Example
//!
//! The credits that an account spent today, by hour:
//!
//! ```
//! use tollgate::clock::Timestamp;
//! use tollgate::usage::{Usage, UsageFilter, UsageRange, UsageStep};
//! use tollgate::StoreError;
//!
//! async fn print_today(usage: &Usage, account: &str, now: Timestamp) -> Result<(), StoreError> {
//!     let range = UsageRange::latest(UsageStep::Hour, now);
//!     for point in usage.report(UsageFilter::account(account), range).await?.points {
//!         println!("{}: {} credits", point.start, point.counts.credits);
//!     }
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tollgate::clock::SystemClock;
//! # use tollgate::usage::{MemoryUsage, UsageOptions};
//! let usage = Usage::new(MemoryUsage::new(), UsageOptions::default(), SystemClock::new())?;
//! print_today(&usage, "ada", "2026-04-30T12:00:00Z".parse()?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`Usage`]: the usage of a gate: its counts, the task that writes them, and its queries.
//! - [`UsageOptions`]: the interval between two writes, the retention and the bound on memory.
//! - [`UsageReport`] and [`TopReport`]: the answers to queries, also as JSON and CSV.
//! - [`UsageStore`]: the trait of stores. [`MemoryUsage`] and [`SqlUsage`] implement it.
//! - [`UsageBatch`] and [`UsageRow`]: the counts that a node writes.
//! - [`UsageQuery`], [`TopQuery`]: the queries, over a [`UsageRange`] of [`UsageStep`]s.

mod cells;
mod handle;
#[cfg(feature = "memory")]
mod memory;
mod options;
mod query;
mod queue;
mod record;
mod report;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod step;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use handle::{Usage, UsageStatus};
#[cfg(feature = "memory")]
pub use memory::MemoryUsage;
pub use options::{UsageOptions, UsageRetention};
pub use query::{
    InvalidUsageQuery, MOST_POINTS, TopKey, TopOrder, TopQuery, UsageFilter, UsagePart, UsageQuery,
    UsageRange,
};
pub use record::{BatchId, OTHER, UsageBatch, UsageCounts, UsageRow, Written};
pub use report::{TopReport, UsagePoint, UsageReport};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlUsage;
pub use step::UsageStep;

use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// The minimum time for which a store remembers the id of a batch: a day.
pub const BATCH_IDS_KEPT: Duration = Duration::from_hours(24);

/// A store of usage: counts by key, rule, outcome and step of time.
///
/// # Contract
///
/// - **Atomic.** A batch is added whole, to all four steps, or not at all. A reader never sees a part of it.
/// - **Idempotent.** A batch whose id was written before changes nothing, also if both writes overlap, or if the answer
///   of the first was lost. The id is remembered for at least [`BATCH_IDS_KEPT`]. A writer repeats a batch only within
///   half of that time.
/// - **Additive.** The counts of a batch are added to those in the store, whatever node wrote them. The last times are
///   combined to the latest.
/// - **Durable after the answer.** A batch that was answered survives whatever the store's own data survive. A batch
///   that was not answered may be lost.
/// - **Sparse.** A step without requests has no rows.
///
/// Counts of a row are at most [`Credits::MAX`](crate::Credits::MAX). A store may reject a batch with which a sum would
/// exceed it.
///
/// The suite of `conformance::usage` checks this contract.
pub trait UsageStore: Debug + Send + Sync + 'static {
    /// Adds a batch.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached: the batch may have been added, and can be written again. An error for which
    /// [`StoreError::is_rejected`](crate::StoreError::is_rejected) is true means that the batch was not added and never
    /// will be.
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written>;

    /// Returns the counts of each step and outcome, in the order of time. Steps without requests are left out.
    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>>;

    /// Returns the keys with the most usage, in descending order. Keys of the same rank are in the order of their ids.
    /// Requests without a key are left out.
    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>>;

    /// Removes the counts that are older than their retention, and the ids of old batches. Returns the number of removed
    /// rows. Any number of nodes may do this at once.
    fn prune(&self, keep: &UsageRetention, now: Timestamp) -> StoreFuture<u64>;

    /// Removes all counts of an account. Returns true if there were any. A batch that is written later adds counts again.
    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool>;
}

impl<T: UsageStore + ?Sized> UsageStore for Arc<T> {
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written> {
        (**self).write(batch)
    }

    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        (**self).read(query)
    }

    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        (**self).top(query)
    }

    fn prune(&self, keep: &UsageRetention, now: Timestamp) -> StoreFuture<u64> {
        (**self).prune(keep, now)
    }

    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool> {
        (**self).erase_account(account)
    }
}
