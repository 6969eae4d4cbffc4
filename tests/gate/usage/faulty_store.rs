//! A usage store in memory that fails on request.

use std::sync::{Arc, Mutex};

use tollgate::clock::Timestamp;
use tollgate::name::AccountId;
use tollgate::usage::{
    MemoryUsage, TopKey, TopQuery, UsageBatch, UsagePart, UsageQuery, UsageRetention, UsageStore, Written,
};
use tollgate::{StoreError, StoreFuture};

/// The way in which writes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A write is not made.
    IsUnreachable,
    /// A write is made, and its answer is lost.
    LosesAnswers,
    /// A write is rejected.
    Rejects,
    /// The call panics.
    Panics,
    /// The future panics.
    PanicsLater,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FaultyStore {
    inner: Arc<MemoryUsage>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl FaultyStore {
    pub(super) fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }
}

impl UsageStore for FaultyStore {
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            None => self.inner.write(batch),
            Some(Fault::IsUnreachable) => StoreFuture::failed(StoreError::unavailable("no connection")),
            Some(Fault::LosesAnswers) => {
                drop(self.inner.write(batch));
                StoreFuture::failed(StoreError::timed_out())
            }
            Some(Fault::Rejects) => StoreFuture::failed(StoreError::rejected("a number is too large")),
            Some(Fault::Panics) => panic!("the store is broken"),
            Some(Fault::PanicsLater) => StoreFuture::boxed(async { panic!("the store is broken") }),
        }
    }

    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        self.inner.read(query)
    }

    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        self.inner.top(query)
    }

    fn prune(&self, keep: &UsageRetention, now: Timestamp) -> StoreFuture<u64> {
        self.inner.prune(keep, now)
    }

    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool> {
        self.inner.erase_account(account)
    }
}
