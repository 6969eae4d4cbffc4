//! Failed attempts: the number of requests without a valid key that a network may send.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;

use crate::account::{NetworkCut, QuotaPolicy, QuotaScope};
use crate::error::ConfigError;
use crate::key::KeyHash;
use crate::metrics::{Counter, networks_forgotten};

/// A quota of failed attempts for each network of clients.
///
/// An attempt is a request that is denied as [`Unauthorized`](crate::DenialKind::Unauthorized) or as a kind below it:
/// its key is missing, malformed, unknown, revoked, expired, paused, or not allowed from the client's address. If a
/// network has used its quota, such requests are denied as
/// [`TooManyAttempts`](crate::DenialKind::TooManyAttempts), and no store is asked for their keys. Valid keys from the
/// same network are served.
///
/// # Networks
///
/// The client's address is determined by the [trusted proxies](crate::gate::TrustedProxies), and cut to its network:
/// by default, 32 bits of an IPv4 address and 64 bits of an IPv6 address. All clients whose address is unknown count as
/// one network. A gate behind a proxy must therefore trust that proxy, and a server must provide the peer's address.
///
/// # Valid keys from a network above its quota
///
/// | the key | answer |
/// |---|---|
/// | A key that [`KeyStore::find_cached`](crate::KeyStore::find_cached) returns: every key of a `MemoryStore`, and every key that a `CachedStore` holds | It is served. |
/// | Another key that this gate found before. The gate keeps keyed fingerprints of about 65,000 keys | The store is asked, and the key is served. |
/// | A key that this gate has never seen | The store is asked, as often as the same quota permits for all such keys of the network. |
///
/// The last row has one limit: a valid key that this gate has never seen is denied while another client of its network
/// tries further keys faster than the quota. A client that repeats one invalid key, or sends none, does not cause this.
///
/// A failed attempt is counted when the look-up has ended. Requests of a network that arrive while the look-ups of others are
/// under way are looked up too, and are then denied with 429 above the quota.
///
/// # Memory and nodes
///
/// The counts are in the memory of each process: `n` nodes permit `n` times the quota. They take at most 17 MiB, for
/// 524,288 networks. If there is no place for a further network, one of those with the most quota left is forgotten.
/// The metric `tollgate_networks_forgotten_total` counts them.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::adapter::Peer;
/// use tollgate::gate::AttemptLimit;
/// use tollgate::key::Length;
/// use tollgate::{DenialKind, Gate, KeyFormat, KeySource, RequestView};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .attempts(AttemptLimit::new("2 per minute".parse()?)?)
///     .build()?;
/// let peer = Peer("192.0.2.7".parse()?);
/// let request = Request::get("/v1/candles").extension(peer).body(())?;
/// let mut kinds = Vec::new();
/// for _ in 0..3 {
///     kinds.push(gate.admit(&RequestView::of(&request)).await.unwrap_err().kind());
/// }
/// assert_eq!(kinds, [DenialKind::Missing, DenialKind::Missing, DenialKind::TooManyAttempts]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLimit {
    quota: QuotaPolicy,
    cut: NetworkCut,
}

impl AttemptLimit {
    /// Creates a limit of this quota for each network.
    ///
    /// # Errors
    ///
    /// Returns an error if the quota is [strict](QuotaPolicy::in_any_window), or if it
    /// [counts](QuotaPolicy::counting) an account or a pool.
    pub fn new(quota: QuotaPolicy) -> Result<Self, ConfigError> {
        let refuse = |problem, expected: String| {
            Err(ConfigError::new(quota.to_string(), problem, expected).in_member("quota"))
        };
        if quota.is_strict() {
            let expected = format!("write `{}`", quota.to_string().replace(" in any ", " per "));
            return refuse("failed attempts cannot have a strict window", expected);
        }
        if *quota.counts() != QuotaScope::Key {
            let expected = "leave out what the quota counts".to_owned();
            return refuse("failed attempts are counted for each network", expected);
        }
        Ok(Self { quota, cut: NetworkCut::default() })
    }

    /// Sets the parts of addresses that identify a network.
    #[must_use]
    pub fn with_network(mut self, cut: NetworkCut) -> Self {
        self.cut = cut;
        self
    }

    /// The quota of each network.
    pub fn quota(&self) -> &QuotaPolicy {
        &self.quota
    }

    /// The parts of addresses that identify a network.
    pub fn network(&self) -> NetworkCut {
        self.cut
    }
}

/// The number of parts of the table, each with its own lock.
const SHARDS: usize = 256;

/// The number of sets in a shard.
const SETS: usize = 256;

/// The number of places in a set. A network can be at any place of one set.
const PLACES: usize = 8;

/// The failed attempts of the networks, and the keys that were found.
///
/// Nothing of a key is kept but a fingerprint under a random key of this process.
#[derive(Debug)]
pub(super) struct Attempts {
    cut: NetworkCut,
    bucket: Bucket,
    counts: Arc<Counts>,
}

/// The counts of failed attempts, which go on under another limit.
#[derive(Debug)]
struct Counts {
    /// The places of a shard are allocated when the first of its networks fails.
    shards: Box<[Mutex<Vec<Place>>]>,
    hasher: RandomState,
    found: Fingerprints,
    /// The latest time until which a network is above its quota. Zero if there is none.
    limiting_until: AtomicU64,
    forgotten: Counter,
}

/// The failed attempts of one network. Times are monotonic, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The hash of the network.
    network: u64,
    /// The time at which the quota of attempts is full again. If it is past, the place is free.
    full_at: u64,
    /// The time at which the quota of look-ups above the quota of attempts is full again.
    look_ups_full_at: u64,
    /// The fingerprint of the key that was last denied.
    last_key: u64,
}

/// A quota that is taken from in place (GCRA).
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// The time after which one attempt is refilled.
    refill: u64,
    /// The time in which the whole bucket except one attempt is refilled.
    spare: u64,
}

impl Bucket {
    fn new(quota: &QuotaPolicy) -> Self {
        let refill = quota.refill_nanos();
        Self { refill, spare: refill.saturating_mul(u64::from(quota.capacity() - 1)) }
    }

    /// Returns the time until an attempt is left.
    fn wait(self, full_at: u64, now: u64) -> Option<Duration> {
        let wait = full_at.saturating_sub(self.spare).saturating_sub(now);
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Takes one attempt. Returns the time to wait if none is left.
    fn take(self, full_at: &mut u64, now: u64) -> Result<(), Duration> {
        if let Some(wait) = self.wait(*full_at, now) {
            return Err(wait);
        }
        *full_at = (*full_at).max(now).saturating_add(self.refill);
        Ok(())
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            found: Fingerprints::new(),
            limiting_until: AtomicU64::new(0),
            forgotten: networks_forgotten("attempts"),
        }
    }
}

impl Attempts {
    /// Creates the attempts under a limit. They continue those of the configuration before: the time until a network may fail
    /// again at the full quota stays.
    pub(super) fn new(limit: &AttemptLimit, before: Option<&Self>) -> Self {
        let counts = before.map_or_else(|| Arc::new(Counts::new()), |before| Arc::clone(&before.counts));
        Self { cut: limit.cut, bucket: Bucket::new(&limit.quota), counts }
    }

    /// Returns the parts of addresses that identify a network.
    pub(super) fn cut(&self) -> NetworkCut {
        self.cut
    }

    /// Returns true if a network may be above its quota.
    #[inline]
    pub(super) fn is_limiting(&self) -> bool {
        self.counts.limiting_until.load(Ordering::Relaxed) != 0
    }

    /// Counts a failed attempt, with the key that was looked up.
    ///
    /// # Errors
    ///
    /// Returns the time to wait if the network is above its quota.
    #[cold]
    pub(super) fn count(
        &self,
        network: Option<IpNet>,
        key: Option<&KeyHash>,
        now: u64,
    ) -> Result<(), Duration> {
        let hash = self.counts.hasher.hash_one(network);
        let mut shard = self.shard(hash);
        if shard.is_empty() {
            shard.resize(SETS * PLACES, Place::default());
        }
        let place = self.place(&mut shard, hash, now);
        if let Some(key) = key {
            place.last_key = self.fingerprint(key);
        }
        self.bucket.take(&mut place.full_at, now)?;
        if let Some(wait) = self.bucket.wait(place.full_at, now) {
            let until = now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
            self.counts.limiting_until.fetch_max(until, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Permits a look-up of a key in the store, given the key's hash under each scheme. If the network is above its quota
    /// and the key was not found before, takes the look-up from the network's quota of look-ups.
    ///
    /// # Errors
    ///
    /// Returns the time to wait if the look-up is not permitted.
    #[cold]
    pub(super) fn permit_look_up(
        &self,
        network: Option<IpNet>,
        hashes: &[KeyHash],
        now: u64,
    ) -> Result<(), Duration> {
        let until = self.counts.limiting_until.load(Ordering::Relaxed);
        if until <= now {
            // If another network is above its quota since, its time is kept.
            let _ =
                self.counts.limiting_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
            return Ok(());
        }
        let hash = self.counts.hasher.hash_one(network);
        let mut shard = self.shard(hash);
        let Some(place) = known(set_of(&mut shard, hash), hash) else { return Ok(()) };
        let Some(wait) = self.bucket.wait(place.full_at, now) else { return Ok(()) };
        let mut fingerprints = hashes.iter().map(|hash| self.fingerprint(hash));
        if fingerprints.clone().any(|key| self.counts.found.contain(key)) {
            return Ok(());
        }
        if fingerprints.any(|key| key == place.last_key) {
            return Err(wait);
        }
        self.bucket.take(&mut place.look_ups_full_at, now).map_err(|_| wait)
    }

    /// Remembers a key that was found.
    pub(super) fn remember(&self, key: &KeyHash) {
        self.counts.found.insert(self.fingerprint(key));
    }

    /// Forgets a key that was denied.
    pub(super) fn forget(&self, key: &KeyHash) {
        self.counts.found.remove(self.fingerprint(key));
    }

    fn fingerprint(&self, key: &KeyHash) -> u64 {
        // Zero is the value of a free place.
        self.counts.hasher.hash_one(key.as_bytes()).max(1)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Vec<Place>> {
        self.counts.shards[pick(hash, 0, SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the place of a network. A new network gets a free place, or else the place of the network whose quota is
    /// full first.
    fn place<'s>(&self, shard: &'s mut [Place], hash: u64, now: u64) -> &'s mut Place {
        let set = set_of(shard, hash);
        if known(set, hash).is_none() {
            let (mut quietest, mut full_at) = (0, u64::MAX);
            for (place, held) in set.iter().enumerate() {
                if held.full_at < full_at {
                    (quietest, full_at) = (place, held.full_at);
                }
            }
            if full_at > now {
                self.counts.forgotten.add(1);
            }
            set[quietest] = Place { network: hash, ..Place::default() };
        }
        // The network has a place now.
        let place = set.iter().position(|place| place.network == hash).unwrap_or_default();
        &mut set[place]
    }
}

/// Returns an index below `count`, from the bits of a hash that follow the first `skipped`.
#[expect(clippy::cast_possible_truncation, reason = "the low bits suffice")]
fn pick(hash: u64, skipped: u32, count: usize) -> usize {
    (hash >> skipped) as usize % count
}

/// Returns the places at which a network can be.
fn set_of(shard: &mut [Place], hash: u64) -> &mut [Place] {
    let from = pick(hash, 8, SETS) * PLACES;
    shard.get_mut(from..from + PLACES).unwrap_or_default()
}

/// Returns the place of a network that has one.
fn known(set: &mut [Place], hash: u64) -> Option<&mut Place> {
    set.iter_mut().find(|place| place.network == hash)
}

/// The number of sets of fingerprints, and the places of a set.
const FOUND_SETS: usize = 1 << 13;
const FOUND_PLACES: usize = 8;

/// The fingerprints of keys that were found. A new one may take the place of another.
#[derive(Debug)]
struct Fingerprints(Box<[[AtomicU64; FOUND_PLACES]]>);

impl Fingerprints {
    fn new() -> Self {
        Self((0..FOUND_SETS).map(|_| Default::default()).collect())
    }

    fn set(&self, fingerprint: u64) -> &[AtomicU64; FOUND_PLACES] {
        &self.0[pick(fingerprint, 0, FOUND_SETS)]
    }

    fn contain(&self, fingerprint: u64) -> bool {
        self.set(fingerprint).iter().any(|held| held.load(Ordering::Relaxed) == fingerprint)
    }

    fn insert(&self, fingerprint: u64) {
        if self.contain(fingerprint) {
            return;
        }
        let set = self.set(fingerprint);
        let free = set.iter().find(|held| held.load(Ordering::Relaxed) == 0);
        let any = &set[pick(fingerprint, 32, FOUND_PLACES)];
        free.unwrap_or(any).store(fingerprint, Ordering::Relaxed);
    }

    fn remove(&self, fingerprint: u64) {
        for held in self.set(fingerprint) {
            let _ = held.compare_exchange(fingerprint, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
