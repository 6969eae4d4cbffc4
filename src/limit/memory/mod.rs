//! A rate limiter in this process's memory.

mod bucket;
mod cells;
mod log;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};

pub(crate) use bucket::Bucket;
use bucket::{CompiledGroup, Verdict, Windows};
use smallvec::SmallVec;

use crate::account::{QuotaGroup, QuotaScope};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::KeyId;
use crate::limit::{Draw, LimitDecision, RateLimiter, WindowStatus};
use crate::name::{AccountId, PoolName};
use crate::state::{AttachedState, StateOwner};

/// The owner of the windows in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Key(KeyId),
    Account(AccountId),
    Pool(PoolName),
}

/// A rate limiter in memory: [`governor`]'s GCRA over all windows of a key at once, and a log for strict windows.
///
/// State is kept only for keys, accounts and pools that exist, up to the capacity. Idle state (all windows full) is
/// dropped when room is needed. State that is not idle is never dropped: at the capacity, a new key is answered with
/// 503 until a window is full.
///
/// # Example
///
/// ```
/// use tollgate::MemoryLimiter;
///
/// let limiter = MemoryLimiter::with_capacity(100_000);
/// assert!(limiter.is_empty());
/// ```
pub struct MemoryLimiter {
    owner: StateOwner,
    /// The owner of the compiled policies of groups.
    compiled: StateOwner,
    buckets: papaya::HashMap<Subject, Arc<Bucket>>,
    capacity: usize,
    /// The number of buckets from which on idle ones are dropped.
    sweep_at: AtomicUsize,
}

/// A bucket, by the pointer that its record stores or by look-up.
enum BucketRef<'a> {
    Pointer(&'a Bucket),
    Shared(Arc<Bucket>),
}

impl BucketRef<'_> {
    #[inline]
    fn bucket(&self) -> &Bucket {
        match self {
            Self::Pointer(bucket) => bucket,
            Self::Shared(bucket) => bucket,
        }
    }
}

type PerGroup<T> = SmallVec<[T; 3]>;

/// The number of buckets below which idle ones are not dropped.
const FEW: usize = 1024;

impl MemoryLimiter {
    /// Creates a limiter for up to a million keys.
    pub fn new() -> Self {
        Self::with_capacity(1_000_000)
    }

    /// Creates a limiter for up to `capacity` keys, accounts and pools together.
    pub fn with_capacity(capacity: usize) -> Self {
        let (owner, compiled, buckets) = (StateOwner::new(), StateOwner::new(), papaya::HashMap::new());
        Self { owner, compiled, buckets, capacity, sweep_at: AtomicUsize::new(FEW.min(capacity)) }
    }

    /// Returns the number of keys, accounts and pools that have windows.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Returns true if there are no windows.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Drops windows that are full and that no record points to. The limiter does this itself when room is needed;
    /// calling it is optional.
    pub fn drop_idle(&self, now: crate::clock::Now) {
        self.buckets.pin().retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_idle(now.ticks()));
    }

    /// Returns the compiled policies of a group. They are attached to the group, so that all its buckets share them.
    #[cold]
    fn compiled(&self, group: &QuotaGroup) -> Arc<CompiledGroup> {
        group.state().share(self.compiled).unwrap_or_else(|| {
            let compiled = Arc::new(CompiledGroup::new(group.policies()));
            group.state().attach(self.compiled, Arc::clone(&compiled));
            group.state().share(self.compiled).unwrap_or(compiled)
        })
    }

    fn held<'a>(&self, draw: &Draw<'a>) -> Result<PerGroup<BucketRef<'a>>, StoreError> {
        draw.quotas.groups().iter().map(|group| self.find(draw, group)).collect()
    }

    #[inline]
    fn find<'a>(&self, draw: &Draw<'a>, group: &'a QuotaGroup) -> Result<BucketRef<'a>, StoreError> {
        let state: &'a AttachedState = match group.counts() {
            QuotaScope::Key => draw.key.state(),
            QuotaScope::Account => draw.key.account.state(),
            QuotaScope::Pool(_) => group.state(),
        };
        if let Some(bucket) = state.get::<Bucket>(self.owner) {
            return Ok(BucketRef::Pointer(bucket));
        }
        let bucket = self.find_or_make(draw, group)?;
        state.attach(self.owner, Arc::clone(&bucket));
        Ok(BucketRef::Shared(bucket))
    }

    fn find_or_make(&self, draw: &Draw<'_>, group: &QuotaGroup) -> Result<Arc<Bucket>, StoreError> {
        let subject = match group.counts() {
            QuotaScope::Key => Subject::Key(draw.key.id),
            QuotaScope::Account => Subject::Account(draw.key.account.id.clone()),
            QuotaScope::Pool(name) => Subject::Pool(name.clone()),
        };
        loop {
            let bucket = self.look_up(&subject, draw, group)?;
            // A sweep may have dropped the bucket between the look-up and the clone. After the clone, a sweep does not
            // drop it.
            if self.buckets.pin().get(&subject).is_some_and(|kept| Arc::ptr_eq(kept, &bucket)) {
                return Ok(bucket);
            }
        }
    }

    fn look_up(
        &self,
        subject: &Subject,
        draw: &Draw<'_>,
        group: &QuotaGroup,
    ) -> Result<Arc<Bucket>, StoreError> {
        let buckets = self.buckets.pin();
        if let Some(bucket) = buckets.get(subject) {
            return Ok(Arc::clone(bucket));
        }
        if buckets.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.drop_idle(draw.now);
            let next = (buckets.len() * 2).clamp(FEW.min(self.capacity), self.capacity);
            self.sweep_at.store(next, Ordering::Relaxed);
            if buckets.len() >= self.capacity {
                return Err(StoreError::overloaded());
            }
        }
        Ok(Arc::clone(
            buckets.get_or_insert_with(subject.clone(), || Arc::new(Bucket::new(self.compiled(group)))),
        ))
    }
}

/// Takes a cell from every window of these groups, if all have one.
#[inline]
fn draw_from(
    limiter: &MemoryLimiter,
    locked: &mut [MutexGuard<'_, Windows>],
    draw: &Draw<'_>,
) -> StoreFuture<LimitDecision> {
    let mut verdict = Verdict::default();
    for (windows, group) in locked.iter_mut().zip(draw.quotas.groups()) {
        windows.test(group, || limiter.compiled(group), draw.now.ticks(), &mut verdict);
    }
    if verdict.admits() {
        for windows in locked.iter_mut() {
            windows.take(draw.now.ticks());
        }
    }
    let quota = verdict.to_quota();
    StoreFuture::ready(if draw.every_window {
        quota.with_all(window_statuses(limiter, locked, draw))
    } else {
        quota
    })
}

#[cold]
fn window_statuses(
    limiter: &MemoryLimiter,
    locked: &mut [MutexGuard<'_, Windows>],
    draw: &Draw<'_>,
) -> Vec<WindowStatus> {
    let mut window_statuses = Vec::new();
    for (windows, group) in locked.iter_mut().zip(draw.quotas.groups()) {
        windows.peek(group, || limiter.compiled(group), draw.now.ticks(), &mut window_statuses);
    }
    window_statuses
}

impl RateLimiter for MemoryLimiter {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        // Most keys have one group, which needs no lists.
        if let [group] = draw.quotas.groups() {
            return match self.find(draw, group) {
                Ok(held) => draw_from(self, &mut [held.bucket().lock()], draw),
                Err(error) => StoreFuture::failed(error),
            };
        }
        let held = match self.held(draw) {
            Ok(held) => held,
            Err(error) => return StoreFuture::failed(error),
        };
        // Groups have the same order everywhere, so that two draws cannot wait for each other.
        let mut locked: PerGroup<_> = held.iter().map(|held| held.bucket().lock()).collect();
        draw_from(self, &mut locked, draw)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        let held = match self.held(draw) {
            Ok(held) => held,
            Err(error) => return StoreFuture::failed(error),
        };
        let mut window_statuses = Vec::new();
        for (held, group) in held.iter().zip(draw.quotas.groups()) {
            held.bucket().lock().peek(group, || self.compiled(group), draw.now.ticks(), &mut window_statuses);
        }
        StoreFuture::ready(window_statuses)
    }
}

impl Default for MemoryLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLimiter")
            .field("buckets", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
