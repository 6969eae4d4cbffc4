//! Counts in process: a bounded number of cells in shards.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::telemetry::{DecisionEvent, DecisionOutcome};
use crate::usage::{OTHER, UsageCounts, UsageRow};

/// The number of shards. A request locks one of them for as long as it changes five numbers.
const SHARDS: usize = 32;

/// The number of cells of a shard that folded requests may use beyond its share of the bound.
const FOLDED_CELLS: usize = 64;

/// The milliseconds of a minute.
const MINUTE: i64 = 60_000;

/// Counts by key, rule, outcome and minute.
#[derive(Debug)]
pub(super) struct Cells {
    shards: Box<[Shard]>,
    /// The number of cells of a shard beyond which detail is folded.
    most: usize,
    /// The rule of requests that no rule matched.
    unmatched: Arc<str>,
    /// The rule of folded detail.
    other: Arc<str>,
    /// An empty map with room, for the first shard of the next flush.
    spare: Mutex<Map>,
    folded: AtomicU64,
    lost: AtomicU64,
}

/// A shard, alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Map>);

type Map = HashMap<Place, Cell, FixedState>;

/// The key, rule, outcome and minute of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    key: Option<KeyId>,
    /// The address of the rule's route. The cell keeps the route, so that no other rule can have this address.
    rule: usize,
    outcome: DecisionOutcome,
    /// The number of the minute since 1970.
    minute: i32,
}

impl Place {
    /// Returns a number that differs for most keys and rules.
    #[inline]
    fn spread(&self) -> u64 {
        let key = self.key.map_or(0, |key| u128::from_le_bytes(*key.as_bytes()));
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let key = key as u64 ^ (key >> 64) as u64;
        key ^ (self.rule as u64).rotate_left(32)
    }
}

impl Hash for Place {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let outcome = match self.outcome {
            DecisionOutcome::Admitted => 0,
            DecisionOutcome::Abandoned => 1,
            DecisionOutcome::Denied(kind) => 2 + kind as u64,
        };
        state.write_u64(self.spread());
        state.write_u64(u64::from(self.minute.cast_unsigned()) << 8 | outcome);
    }
}

#[derive(Debug)]
struct Cell {
    rule: Arc<str>,
    account: Option<AccountId>,
    counts: UsageCounts,
}

impl Cells {
    /// Creates cells for about `most` rows.
    pub(super) fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            most: most.div_ceil(SHARDS),
            unmatched: "".into(),
            other: OTHER.into(),
            spare: Mutex::default(),
            folded: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    #[inline]
    pub(super) fn count(&self, event: &DecisionEvent<'_>) {
        let rule = event.rule.map_or(&self.unmatched, |rule| rule.shared_route());
        let place = Place {
            key: event.key,
            rule: rule.as_ptr() as usize,
            outcome: event.outcome,
            // The minutes of the years that a timestamp can be written in fit.
            minute: i32::try_from(event.time.as_millis().div_euclid(MINUTE)).unwrap_or(i32::MAX),
        };
        let counts = UsageCounts {
            requests: 1,
            // The sum of two currencies would mean nothing.
            credits: if event.currency.is_default() { event.settled.get() } else { 0 },
            units: event.units.unwrap_or(0),
            bytes: event.bytes.unwrap_or(0),
            last_seen: event.time,
        };
        // A multiplication spreads all bits of the number over the highest ones, which choose the shard.
        let shard = place.spread().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SHARDS.ilog2());
        #[expect(clippy::cast_possible_truncation, reason = "there are few shards")]
        let mut map = lock(&self.shards[shard as usize].0);
        match map.get_mut(&place) {
            Some(cell) => cell.counts.add(&counts),
            None => self.insert(&mut map, place, rule, event.account, counts),
        }
    }

    #[cold]
    fn insert(
        &self,
        map: &mut Map,
        mut place: Place,
        rule: &Arc<str>,
        account: Option<&AccountId>,
        counts: UsageCounts,
    ) {
        if map.len() < self.most {
            map.insert(place, Cell { rule: Arc::clone(rule), account: account.cloned(), counts });
            return;
        }
        (place.key, place.rule) = (None, self.other.as_ptr() as usize);
        let has_room = map.len() < self.most + FOLDED_CELLS;
        match map.get_mut(&place) {
            Some(cell) => cell.counts.add(&counts),
            None if has_room => {
                map.insert(place, Cell { rule: Arc::clone(&self.other), account: None, counts });
            }
            None => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        self.folded.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes all counts. Each shard is locked only while its map is exchanged for an empty one that has room.
    pub(super) fn take(&self) -> Vec<UsageRow> {
        let mut rows = Vec::new();
        let mut spare = lock(&self.spare);
        for shard in &self.shards {
            let full = {
                let mut map = lock(&shard.0);
                if map.is_empty() {
                    continue;
                }
                mem::replace(&mut *map, mem::take(&mut *spare))
            };
            *spare = full;
            rows.extend(spare.drain().map(|(place, cell)| UsageRow {
                key: place.key,
                account: cell.account,
                rule: cell.rule,
                outcome: place.outcome,
                minute: Timestamp::from_millis(i64::from(place.minute) * MINUTE),
                counts: cell.counts,
            }));
        }
        rows
    }

    /// Returns the number of requests whose key and rule were folded.
    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    /// Returns the number of requests that could not even be folded.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
