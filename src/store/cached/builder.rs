//! How a cached store is put together.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{Clock, SystemClock};
use crate::error::ConfigError;
use crate::store::cached::behind::Behind;
use crate::store::cached::bounds::Bounds;
use crate::store::cached::front::{Front, Told};
use crate::store::cached::listener::Listener;
use crate::store::cached::reading::Readings;
use crate::store::cached::shelf::Shelf;
use crate::store::cached::{CachedStore, Inner};
use crate::store::{Announcements, KeyStore, RecordCache};

/// How long a second tier or a channel may take: what they are asked can be done without.
const SIDE_PATIENCE: Duration = Duration::from_millis(500);

/// Puts a [`CachedStore`] together.
///
/// What is not said: 100,000 records and 10,000 hashes of no key; a record good for 10 seconds, an unknown hash for 2, both
/// less by up to a tenth; nothing served while the authority fails; 64 readings of the authority at once, each given up
/// after 2 seconds.
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
    announcements: Option<Arc<dyn Announcements>>,
    jitter: u8,
    at_once: usize,
    patience: Duration,
    clock: Arc<dyn Clock>,
    told: Told,
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
            announcements: None,
            jitter: 10,
            at_once: 64,
            patience: Duration::from_secs(2),
            clock: Arc::new(SystemClock::new()),
            told: Told {
                stale: Told::stale::<S>(),
                second: Told::second::<dyn RecordCache>(),
                deaf: Told::deaf::<dyn Announcements>(),
            },
        }
    }

    /// How many records are kept in this process. A rotated key has two while its old secret is valid.
    pub fn capacity(mut self, records: u64) -> Self {
        self.capacity = records;
        self
    }

    /// How many hashes are kept that no key has, apart from the records: a flood of unknown keys drops none of those.
    pub fn absent_capacity(mut self, hashes: u64) -> Self {
        self.absent_capacity = hashes;
        self
    }

    /// The bound on staleness: how long, at the most, a change that was made elsewhere and that nobody told of stays unseen.
    /// It counts from when the authority was asked, whatever tiers the answer went through. Zero keeps nothing: every
    /// question is put to the authority.
    pub fn stale_for_at_most(mut self, time: Duration) -> Self {
        self.stale = time;
        self
    }

    /// How long it is remembered that a key is unknown, at most [`stale_for_at_most`](Self::stale_for_at_most). A key that was
    /// tried before it was made works that much later, unless it was made through this store, or announced.
    pub fn absent_for(mut self, time: Duration) -> Self {
        self.absent = time;
        self
    }

    /// For how long past its time a known record is answered with while the authority fails, and for a second after. What is known to have changed is
    /// never answered with, nor is a key unknown to the cache let in or refused: that is an error.
    pub fn stale_if_error(mut self, time: Duration) -> Self {
        self.past = time;
        self
    }

    /// Looks in a second tier before the authority is asked, and keeps there what it answered.
    pub fn second_tier<T: RecordCache>(mut self, tier: T) -> Self {
        self.told.second = Told::second::<T>();
        self.second = Some(Arc::new(tier));
        self
    }

    /// Tells other nodes of changes, and hears of theirs: they are then seen as fast as the channel is, and within the bound
    /// on staleness where a message is lost. A store without them takes itself to be the only node, unless it has a second
    /// tier.
    pub fn announcements<T: Announcements>(mut self, announcements: T) -> Self {
        self.told.deaf = Told::deaf::<T>();
        self.announcements = Some(Arc::new(announcements));
        self
    }

    /// How long a record is good while the channel is lost: less than the bound on staleness, since nothing but time then
    /// makes it void.
    pub fn unannounced_for_at_most(mut self, time: Duration) -> Self {
        self.unannounced = time;
        self
    }

    /// How much of a time to live is taken off at random, in percent, so that what was read together is not read again
    /// together.
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }

    /// How many keys are read from the authority at once; others wait for their turn.
    pub fn reads_at_once(mut self, reads: usize) -> Self {
        self.at_once = reads;
        self
    }

    /// How long a reading may take, its turn included. Where [`stale_if_error`](Self::stale_if_error) has an answer, a quarter of
    /// it is waited for. A guard of the authority is better given less time than this, so that it hears of all that fails.
    pub fn wait_at_most(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Where the time is read.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// Room for no record, no reading at once, a jitter of more than all, or announcements outside a tokio runtime.
    pub fn build(self) -> Result<CachedStore<S>, ConfigError> {
        let refuse = |member, value: u64, problem, expected| {
            Err(ConfigError::new(value.to_string(), problem, expected).in_member(member))
        };
        if self.capacity == 0 {
            return refuse(
                "capacity",
                0,
                "a cache without room reads every time",
                "use the authority itself",
            );
        }
        if self.at_once == 0 {
            return refuse("reads_at_once", 0, "nothing could be read", "write 1 or more");
        }
        if self.jitter > 100 {
            return refuse("jitter", self.jitter.into(), "this is more than all", "write 0 to 100");
        }
        let bounds = Bounds {
            stale: Bounds::nanos(self.stale),
            absent: Bounds::nanos(self.absent.min(self.stale)),
            unannounced: Bounds::nanos(self.unannounced.min(self.stale)),
            past: Bounds::nanos(self.past),
            jitter: self.jitter,
            dice: RandomState::new(),
        };
        let kept = Shelf::new(self.capacity, self.absent_capacity);
        let front = Arc::new(Front::new(bounds, kept, self.clock, self.told));
        let listener = match &self.announcements {
            Some(channel) => {
                let runtime = Handle::try_current().map_err(|_| {
                    let problem = "nothing can be listened to outside a tokio runtime";
                    ConfigError::new("", problem, "build the store inside one").in_member("announcements")
                })?;
                Some(Listener::start(&runtime, Arc::clone(channel), Arc::clone(&front)))
            }
            None => None,
        };
        Ok(CachedStore(Arc::new(Inner {
            authority: self.authority,
            front,
            behind: self.second.map(|tier| Behind::new(tier, SIDE_PATIENCE)),
            readings: Readings::new(self.at_once, self.patience),
            announcements: self.announcements,
            side_patience: SIDE_PATIENCE,
            listener,
        })))
    }
}
