//! A rate limiter in this process's memory.

mod bucket;
mod cells;
mod log;
mod networks;
mod slots;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};

pub(crate) use bucket::Bucket;
use bucket::{CompiledGroup, Verdict, WeightAndTime, Windows};
use networks::{Network, Networks};
use smallvec::SmallVec;

use crate::account::{QuotaGroup, QuotaScope, Quotas};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::{KeyId, KeyRecord};
use crate::limit::{Acquire, Acquired, Caller, Correction, Draw, LimitDecision, RateLimiter, WindowStatus};
use crate::name::{AccountId, PoolName};
use crate::state::{AttachedState, StateOwner};

/// The owner of the windows in a bucket that is never dropped before they are full.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Key(KeyId),
    Account(AccountId),
    Pool(PoolName),
}

/// A rate limiter in memory: [`governor`]'s GCRA over all windows of a key at once, a log for strict windows, and counts of
/// the requests in flight.
///
/// State is kept only for keys, accounts and pools that exist, up to the capacity. Idle state (all windows full) is
/// dropped when room is needed. State that is not idle is never dropped: at the capacity, a new key is answered with
/// 503 until a window is full.
///
/// Networks of clients have places of their own, by default 262,144, so that a flood of addresses takes none from keys. If
/// there is no place for a further network, one of those with the most quota left is forgotten, and has full windows when it
/// returns. The metric `tollgate_networks_forgotten_total` counts those whose windows were not full.
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
    /// The windows of an owner that has only slots.
    without_quotas: Arc<CompiledGroup>,
    buckets: papaya::HashMap<Subject, Arc<Bucket>>,
    capacity: usize,
    /// The buckets of networks. Made for the first of them.
    networks: OnceLock<Networks>,
    network_capacity: usize,
    /// The number of buckets from which on idle ones are dropped.
    sweep_at: AtomicUsize,
}

/// The owner of a bucket, as a request names it.
#[derive(Clone, Copy)]
struct Owner<'a> {
    caller: Caller<'a>,
    counts: &'a QuotaScope,
    /// The run-time state of the group or the limit, which has the bucket of a pool.
    shared: &'a AttachedState,
}

impl<'a> Owner<'a> {
    /// Returns the owner that a group of quotas counts.
    #[inline]
    fn of(draw: &Draw<'a>, group: &'a QuotaGroup) -> Self {
        Self { caller: draw.caller, counts: group.counts(), shared: group.state() }
    }

    /// Returns the run-time state of the owner. A network has none.
    #[inline]
    fn state(self) -> Option<&'a AttachedState> {
        match self.counts {
            QuotaScope::Key => self.caller.key.map(KeyRecord::state),
            QuotaScope::Account => self.caller.key.map(|key| key.account.state()),
            QuotaScope::Network(_) => None,
            QuotaScope::Pool(_) => Some(self.shared),
        }
    }

    /// Returns the bucket to which the owner's state points.
    #[inline]
    fn bucket(self, limiter: StateOwner) -> Option<&'a Bucket> {
        self.state()?.get(limiter)
    }
}

/// A place in one of the limiter's maps.
enum Place<'a> {
    /// A bucket that is never dropped before its windows are full, and the state that points to it.
    Kept(Subject, &'a AttachedState),
    Network(Network),
}

impl<'a> Owner<'a> {
    fn place(self) -> Result<Place<'a>, StoreError> {
        Ok(match self.counts {
            QuotaScope::Key => {
                let key = self.caller.known_key()?;
                Place::Kept(Subject::Key(key.id), key.state())
            }
            QuotaScope::Account => {
                let account = &self.caller.known_key()?.account;
                Place::Kept(Subject::Account(account.id.clone()), account.state())
            }
            QuotaScope::Network(cut) => {
                Place::Network(Network { cut: *cut, network: self.caller.network(*cut)? })
            }
            QuotaScope::Pool(name) => Place::Kept(Subject::Pool(name.clone()), self.shared),
        })
    }
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

type PerOwner<T> = SmallVec<[T; 3]>;

/// The number of buckets below which idle ones are not dropped.
const FEW: usize = 1024;

/// The default number of networks.
const NETWORKS: usize = 1 << 18;

impl MemoryLimiter {
    /// Creates a limiter for up to a million keys.
    pub fn new() -> Self {
        Self::with_capacity(1_000_000)
    }

    /// Creates a limiter for up to `capacity` keys, accounts and pools together.
    pub fn with_capacity(capacity: usize) -> Self {
        let (owner, compiled, buckets) = (StateOwner::new(), StateOwner::new(), papaya::HashMap::new());
        let sweep_at = AtomicUsize::new(FEW.min(capacity));
        let (networks, network_capacity) = (OnceLock::new(), NETWORKS);
        let without_quotas = Arc::new(CompiledGroup::empty());
        Self { owner, compiled, without_quotas, buckets, capacity, networks, network_capacity, sweep_at }
    }

    /// Sets the number of networks whose windows are kept. It is rounded up to a multiple of 64.
    #[must_use]
    pub fn with_network_capacity(mut self, networks: usize) -> Self {
        self.network_capacity = networks;
        self.networks = OnceLock::new();
        self
    }

    /// Returns the number of keys, accounts and pools that have windows.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Returns the number of networks that have windows.
    pub fn networks(&self) -> usize {
        self.networks.get().map_or(0, Networks::len)
    }

    /// Returns true if there are no windows.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.networks() == 0
    }

    /// Drops windows that are full and that no record points to. The limiter does this itself when room is needed;
    /// calling it is optional.
    pub fn drop_idle(&self, now: crate::clock::Now) {
        self.drop_where(now.ticks(), |bucket| Arc::strong_count(bucket) == 1);
        if let Some(networks) = self.networks.get() {
            networks.drop_idle(now.ticks());
        }
    }

    /// Drops the buckets that fulfil a condition and whose windows are all full.
    ///
    /// A bucket is marked and leaves the map under its lock, so that no draw is taken from a bucket outside the map.
    fn drop_where(&self, now: u64, condition: impl Fn(&Arc<Bucket>) -> bool) {
        let buckets = self.buckets.pin();
        for (subject, bucket) in buckets.iter().filter(|(_, bucket)| condition(bucket)) {
            let mut windows = bucket.lock();
            if !windows.dropped && windows.is_idle(now) {
                windows.dropped = true;
                buckets.remove(subject);
            }
        }
    }

    /// Returns the compiled policies of a group. They are attached to the group, so that all its buckets share them.
    #[cold]
    fn compiled(&self, group: &QuotaGroup) -> Arc<CompiledGroup> {
        group.state().share(self.compiled).unwrap_or_else(|| {
            let compiled = Arc::new(CompiledGroup::new(group));
            group.state().attach(self.compiled, Arc::clone(&compiled));
            group.state().share(self.compiled).unwrap_or(compiled)
        })
    }

    /// Finds the bucket of each owner of a draw, without a check that they are not dropped.
    fn held<'a>(&self, draw: &Draw<'a>) -> Result<PerOwner<BucketRef<'a>>, StoreError> {
        owners_of(draw.quotas).map(|groups| self.find(draw, &groups[0])).collect()
    }

    /// Returns the bucket to which the state of an owner of a draw points.
    #[inline]
    fn pointed<'a>(&self, draw: &Draw<'a>, owner: usize) -> Option<&'a Bucket> {
        Owner::of(draw, draw.quotas.of_owner(owner).first()?).bucket(self.owner)
    }

    #[inline]
    fn find<'a>(&self, draw: &Draw<'a>, group: &'a QuotaGroup) -> Result<BucketRef<'a>, StoreError> {
        match Owner::of(draw, group).bucket(self.owner) {
            Some(bucket) => Ok(BucketRef::Pointer(bucket)),
            None => self.look_up_group(draw, group).map(BucketRef::Shared),
        }
    }

    #[cold]
    fn look_up_group(&self, draw: &Draw<'_>, group: &QuotaGroup) -> Result<Arc<Bucket>, StoreError> {
        self.look_up(Owner::of(draw, group), draw.now.ticks(), || self.compiled(group))
    }

    /// Runs `work` on the locked windows of a draw, whose buckets are in the map.
    fn work<R>(
        &self,
        draw: &Draw<'_>,
        work: impl FnOnce(&mut [MutexGuard<'_, Windows>]) -> R,
    ) -> Result<R, StoreError> {
        let mut held = self.held(draw)?;
        loop {
            // Owners have the same order everywhere, so that two draws cannot wait for each other.
            let mut locked: PerOwner<_> = held.iter().map(|held| held.bucket().lock()).collect();
            if locked.iter().all(|windows| !windows.dropped) {
                return Ok(work(&mut locked));
            }
            drop(locked);
            held = owners_of(draw.quotas)
                .map(|groups| self.look_up_group(draw, &groups[0]).map(BucketRef::Shared))
                .collect::<Result<_, _>>()?;
        }
    }

    /// Returns the bucket of an owner, in its map. A bucket to which the record points is put back into the map if it was
    /// dropped, so that the pointer can be used again. A new bucket has windows for `group`. No state is attached for a
    /// network, because a network has no record.
    #[cold]
    fn look_up(
        &self,
        owner: Owner<'_>,
        now: u64,
        group: impl FnOnce() -> Arc<CompiledGroup>,
    ) -> Result<Arc<Bucket>, StoreError> {
        let (subject, state) = match owner.place()? {
            Place::Kept(subject, state) => (subject, state),
            Place::Network(network) => {
                let networks = self.networks.get_or_init(|| Networks::new(self.network_capacity));
                return Ok(networks.get(network, now, || Bucket::new(group())));
            }
        };
        let buckets = self.buckets.pin();
        if let Some(bucket) = buckets.get(&subject) {
            state.attach(self.owner, Arc::clone(bucket));
            return Ok(Arc::clone(bucket));
        }
        self.make_room(now)?;
        if let Some(own) = state.share::<Bucket>(self.owner) {
            let mut windows = own.lock();
            if !windows.dropped {
                drop(windows);
                return Ok(own);
            }
            let kept = Arc::clone(buckets.get_or_insert(subject, Arc::clone(&own)));
            windows.dropped = !Arc::ptr_eq(&kept, &own);
            return Ok(kept);
        }
        let kept = buckets.get_or_insert_with(subject, || Arc::new(Bucket::new(group())));
        state.attach(self.owner, Arc::clone(kept));
        Ok(Arc::clone(kept))
    }

    /// Drops idle buckets if there may be no room for one more. At the capacity, these include the buckets to which
    /// records point.
    fn make_room(&self, now: u64) -> Result<(), StoreError> {
        if self.buckets.len() < self.sweep_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.drop_where(now, |bucket| Arc::strong_count(bucket) == 1);
        if self.buckets.len() >= self.capacity {
            self.drop_where(now, |_| true);
        }
        let next = (self.buckets.len() * 2).clamp(FEW.min(self.capacity), self.capacity);
        self.sweep_at.store(next, Ordering::Relaxed);
        if self.buckets.len() >= self.capacity { Err(StoreError::overloaded()) } else { Ok(()) }
    }
}

/// Takes the cells of a draw from every window, if all have them. `locked` has the windows of each owner.
#[inline]
fn draw_from(
    limiter: &MemoryLimiter,
    locked: &mut [MutexGuard<'_, Windows>],
    draw: &Draw<'_>,
) -> StoreFuture<LimitDecision> {
    let mut verdict = Verdict::default();
    let taken = WeightAndTime { weight: draw.weight, now: draw.now.ticks() };
    if let ([windows], [group]) = (&mut *locked, draw.quotas.groups()) {
        windows.draw(group, || limiter.compiled(group), taken, &mut verdict);
    } else {
        for (windows, groups) in locked.iter_mut().zip(owners_of(draw.quotas)) {
            windows.test(groups, |group| limiter.compiled(group), taken, &mut verdict);
        }
        if verdict.admits() {
            for (windows, groups) in locked.iter_mut().zip(owners_of(draw.quotas)) {
                windows.take(groups, taken);
            }
        }
    }
    if draw.every_window {
        let all = window_statuses(limiter, locked, draw);
        return StoreFuture::ready(verdict.to_quota().with_all(all));
    }
    StoreFuture::ready(verdict.to_quota())
}

/// Returns the groups of each owner.
fn owners_of(quotas: &Quotas) -> impl Iterator<Item = &[QuotaGroup]> {
    (0..quotas.owners()).map(|place| quotas.of_owner(place))
}

/// Calls `with` for each group of a draw, with the windows of its owner.
fn each_group(
    locked: &mut [MutexGuard<'_, Windows>],
    draw: &Draw<'_>,
    mut with: impl FnMut(&mut Windows, &QuotaGroup),
) {
    for (windows, groups) in locked.iter_mut().zip(owners_of(draw.quotas)) {
        for group in groups {
            with(windows, group);
        }
    }
}

#[cold]
fn window_statuses(
    limiter: &MemoryLimiter,
    locked: &mut [MutexGuard<'_, Windows>],
    draw: &Draw<'_>,
) -> Vec<WindowStatus> {
    let mut window_statuses = Vec::new();
    each_group(locked, draw, |windows, group| {
        windows.peek(group, || limiter.compiled(group), draw.now.ticks(), &mut window_statuses);
    });
    window_statuses
}

impl RateLimiter for MemoryLimiter {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        // Most draws count one or two owners, which need no lists.
        match draw.quotas.owners() {
            1 => {
                if let Some(group) = draw.quotas.groups().first()
                    && let Some(bucket) = Owner::of(draw, group).bucket(self.owner)
                {
                    let windows = bucket.lock();
                    if !windows.dropped {
                        return draw_from(self, &mut [windows], draw);
                    }
                }
            }
            2 => {
                if let (Some(first), Some(second)) = (self.pointed(draw, 0), self.pointed(draw, 1)) {
                    let locked = [first.lock(), second.lock()];
                    if locked.iter().all(|windows| !windows.dropped) {
                        return draw_from(self, &mut { locked }, draw);
                    }
                }
            }
            _ => {}
        }
        let answer = self.work(draw, |locked| draw_from(self, locked, draw));
        answer.unwrap_or_else(StoreFuture::failed)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.work(draw, |locked| window_statuses(self, locked, draw)).into()
    }

    #[inline]
    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        self.acquire_share(acquire, NonZeroU32::MIN).into()
    }

    #[inline]
    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        self.free(acquire);
        StoreFuture::ready(())
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        let draw = &correction.draw;
        let correct = |locked: &mut [MutexGuard<'_, Windows>]| {
            each_group(locked, draw, |windows, group| {
                windows.correct(group, || self.compiled(group), correction);
            });
        };
        self.work(draw, correct).into()
    }

    fn limits_in_flight(&self) -> bool {
        true
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
            .field("networks", &self.networks())
            .finish_non_exhaustive()
    }
}
