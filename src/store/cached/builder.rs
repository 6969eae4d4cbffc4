//! The builder of a cached store.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{Clock, SystemClock};
use crate::error::ConfigError;
use crate::store::cached::bounds::Bounds;
use crate::store::cached::listener::Listener;
use crate::store::cached::local::LocalCache;
use crate::store::cached::reading::ReadsInFlight;
use crate::store::cached::second_tier::SecondTier;
use crate::store::cached::state::{CacheLog, CacheState};
use crate::store::cached::{CachedStore, Inner};
use crate::store::{InvalidationBus, KeyStore, RecordCache};

/// The time limit for calls of a second tier or a channel. It is short, since both are optional.
const SIDE_PATIENCE: Duration = Duration::from_millis(500);

/// A builder of a [`CachedStore`].
///
/// The defaults: 100,000 records and 10,000 hashes of no key. A record is valid for 10 seconds and an unknown hash for
/// 2 seconds, both reduced by up to a tenth. Nothing is served while the authority fails. At most 64 reads of the
/// authority are made at once, each with a time limit of 2 seconds.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::store::CachedStore;
/// use tollgate::MemoryStore;
///
/// let store = CachedStore::builder(MemoryStore::new())
///     .capacity(1_000_000)
///     .stale_for_at_most(Duration::from_secs(5))
///     .stale_if_error(Duration::from_mins(10))
///     .build()?;
/// assert!(format!("{store:?}").contains("stale_for_at_most: 5s"));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct CachedStoreBuilder<S> {
    authority: S,
    capacity: u64,
    absent_capacity: u64,
    stale: Duration,
    absent: Duration,
    past: Duration,
    unannounced: Duration,
    second: Option<Arc<dyn RecordCache>>,
    invalidation_bus: Option<Arc<dyn InvalidationBus>>,
    jitter: u8,
    at_once: usize,
    patience: Duration,
    clock: Arc<dyn Clock>,
    log: CacheLog,
}

impl<S: KeyStore> CachedStoreBuilder<S> {
    pub(super) fn new(authority: S) -> Self {
        Self {
            authority,
            capacity: 100_000,
            absent_capacity: 10_000,
            stale: Duration::from_secs(10),
            absent: Duration::from_secs(2),
            past: Duration::ZERO,
            unannounced: Duration::from_secs(1),
            second: None,
            invalidation_bus: None,
            jitter: 10,
            at_once: 64,
            patience: Duration::from_secs(2),
            clock: Arc::new(SystemClock::new()),
            log: CacheLog {
                stale: CacheLog::stale::<S>(),
                second: CacheLog::second::<dyn RecordCache>(),
                disconnected: CacheLog::disconnected::<dyn InvalidationBus>(),
            },
        }
    }

    /// Sets the maximum number of records in this process. A rotated key counts twice while its old secret is valid.
    pub fn capacity(mut self, records: u64) -> Self {
        self.capacity = records;
        self
    }

    /// Sets the maximum number of hashes that no key has. They are counted apart from the records: a flood of unknown
    /// keys evicts no records.
    pub fn absent_capacity(mut self, hashes: u64) -> Self {
        self.absent_capacity = hashes;
        self
    }

    /// Sets the bound on staleness: the longest time for which a change that was made elsewhere and not announced stays
    /// unseen. The time counts from the read of the authority, whatever tiers the answer came through. With zero,
    /// nothing is cached: every look-up reads the authority.
    pub fn stale_for_at_most(mut self, time: Duration) -> Self {
        self.stale = time;
        self
    }

    /// Sets the time for which an unknown key is remembered as unknown, at most
    /// [`stale_for_at_most`](Self::stale_for_at_most). A key that was presented before it was created works that much
    /// later, unless it was created through this store or announced.
    pub fn absent_for(mut self, time: Duration) -> Self {
        self.absent = time;
        self
    }

    /// Sets the time after expiry for which a known record is still served while the authority fails, and for one
    /// second after. A record that is known to have changed is never served. A key that the cache does not know is
    /// neither admitted nor denied: the look-up fails.
    pub fn stale_if_error(mut self, time: Duration) -> Self {
        self.past = time;
        self
    }

    /// Adds a second tier, in which the store looks before it reads the authority, and in which it stores what the
    /// authority returned.
    pub fn second_tier<T: RecordCache>(mut self, tier: T) -> Self {
        self.log.second = CacheLog::second::<T>();
        self.second = Some(Arc::new(tier));
        self
    }

    /// Adds a channel between nodes, on which the store announces its changes and receives those of other nodes. Other
    /// nodes see a change as fast as the channel delivers it, or within the bound on staleness if a message is lost. A
    /// store without announcements assumes that it is the only node, unless it has a second tier.
    pub fn invalidation_bus<T: InvalidationBus>(mut self, invalidation_bus: T) -> Self {
        self.log.disconnected = CacheLog::disconnected::<T>();
        self.invalidation_bus = Some(Arc::new(invalidation_bus));
        self
    }

    /// Sets the time for which a record is valid while the channel is lost. It is shorter than the bound on staleness,
    /// since during that time a change elsewhere cannot invalidate the record.
    pub fn unannounced_for_at_most(mut self, time: Duration) -> Self {
        self.unannounced = time;
        self
    }

    /// Sets the percentage by which a time to live is reduced at random. It prevents records that were read together
    /// from being read again together.
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }

    /// Sets the number of keys that are read from the authority at once. Other reads wait for their turn.
    pub fn reads_at_once(mut self, reads: usize) -> Self {
        self.at_once = reads;
        self
    }

    /// Sets the time limit for a read, including the wait for its turn. If [`stale_if_error`](Self::stale_if_error) has
    /// an answer, a caller waits for a quarter of this time. Give a guard of the authority a shorter time limit than
    /// this one, so that the guard observes every failure.
    pub fn wait_at_most(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the store.
    ///
    /// # Errors
    ///
    /// Fails for a capacity of zero, for zero reads at once, for a jitter above 100 percent, and for announcements
    /// outside a tokio runtime.
    pub fn build(self) -> Result<CachedStore<S>, ConfigError> {
        let refuse = |member, value: u64, problem, expected| {
            Err(ConfigError::new(value.to_string(), problem, expected).in_member(member))
        };
        if self.capacity == 0 {
            return refuse(
                "capacity",
                0,
                "the capacity must not be zero",
                "write 1 or more, or use the authority without a cache",
            );
        }
        if self.at_once == 0 {
            return refuse("reads_at_once", 0, "the number must not be zero", "write 1 or more");
        }
        if self.jitter > 100 {
            return refuse(
                "jitter",
                self.jitter.into(),
                "the percentage is greater than 100",
                "write 0 to 100",
            );
        }
        let bounds = Bounds {
            stale: Bounds::nanos(self.stale),
            absent: Bounds::nanos(self.absent.min(self.stale)),
            unannounced: Bounds::nanos(self.unannounced.min(self.stale)),
            past: Bounds::nanos(self.past),
            jitter: self.jitter,
            dice: RandomState::new(),
        };
        let kept = LocalCache::new(self.capacity, self.absent_capacity);
        let state = Arc::new(CacheState::new(bounds, kept, self.clock, self.log));
        let listener = match &self.invalidation_bus {
            Some(channel) => {
                let runtime = Handle::try_current().map_err(|_| {
                    let problem = "the cache requires a tokio runtime to receive invalidations";
                    ConfigError::new("", problem, "build the store inside a runtime")
                        .in_member("announcements")
                })?;
                Some(Arc::new(Listener::start(&runtime, Arc::clone(channel), Arc::clone(&state))))
            }
            None => None,
        };
        Ok(CachedStore(Arc::new(Inner {
            authority: Arc::new(self.authority),
            state,
            second_tier: self.second.map(|tier| Arc::new(SecondTier::new(tier, SIDE_PATIENCE))),
            reads: Arc::new(ReadsInFlight::new(self.at_once, self.patience)),
            invalidation_bus: self.invalidation_bus,
            side_patience: SIDE_PATIENCE,
            listener,
        })))
    }
}
