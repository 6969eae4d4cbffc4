//! The buckets of networks. Clients choose their addresses, so that their number is bounded without an error.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use ipnet::IpNet;

use super::bucket::Bucket;
use crate::account::NetworkCut;
use crate::metrics::{Counter, networks_forgotten};

/// A network under a cut. The windows of two cuts are apart, even if the networks are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network {
    pub(super) cut: NetworkCut,
    pub(super) network: IpNet,
}

/// The number of shards, each behind its own lock.
const SHARDS: usize = 64;

/// The number of networks of which one is forgotten if there is no place.
const SAMPLE: usize = 8;

#[derive(Debug)]
pub(super) struct Networks {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// The number of networks of a shard at which others are forgotten.
    most: usize,
    forgotten: Counter,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: IndexMap<Network, Arc<Bucket>, foldhash::fast::RandomState>,
    /// The index at which the next sample begins.
    hand: usize,
}

impl Networks {
    pub(super) fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let most = capacity.div_ceil(SHARDS).max(1);
        Self { shards, hasher: RandomState::new(), most, forgotten: networks_forgotten("windows") }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).buckets.len()).sum()
    }

    /// Returns the bucket of a network. A new network takes the place of another if there is no place for one more.
    pub(super) fn get(&self, network: Network, now: u64, make: impl FnOnce() -> Bucket) -> Arc<Bucket> {
        let mut shard = self.shard(&network);
        if let Some(bucket) = shard.buckets.get(&network) {
            return Arc::clone(bucket);
        }
        if shard.buckets.len() >= self.most && shard.forget_quietest(now) {
            self.forgotten.add(1);
        }
        Arc::clone(shard.buckets.entry(network).or_insert_with(|| Arc::new(make())))
    }

    /// Returns the bucket of a network, if it has one.
    pub(super) fn known(&self, network: &Network) -> Option<Arc<Bucket>> {
        self.shard(network).buckets.get(network).cloned()
    }

    /// Drops the buckets whose windows are all full.
    pub(super) fn drop_idle(&self, now: u64) {
        for shard in &self.shards {
            let in_use = |_: &Network, bucket: &mut Arc<Bucket>| {
                Arc::strong_count(bucket) > 1 || bucket.lock().full_at() > now
            };
            locked(shard).buckets.retain(in_use);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits suffice")]
    fn shard(&self, network: &Network) -> MutexGuard<'_, Shard> {
        locked(&self.shards[self.hasher.hash_one(network) as usize % SHARDS])
    }
}

impl Shard {
    /// Drops the network of a sample whose windows are full first. Returns true if a window was not full.
    ///
    /// A draw holds a pointer to its bucket, and such a bucket is not dropped. Neither is that of a request in flight. If
    /// all of a sample are in use, none is dropped.
    #[cold]
    fn forget_quietest(&mut self, now: u64) -> bool {
        let count = self.buckets.len();
        let sample = (self.hand..).map(|place| place % count).take(SAMPLE.min(count));
        self.hand = (self.hand + SAMPLE) % count;
        let full_at = |place: usize| {
            let (_, bucket) = self.buckets.get_index(place)?;
            (Arc::strong_count(bucket) == 1).then(|| (bucket.lock().full_at(), place))
        };
        let quietest = sample.filter_map(full_at).min().filter(|(full_at, _)| *full_at < u64::MAX);
        let Some((full_at, place)) = quietest else { return false };
        self.buckets.swap_remove_index(place);
        full_at > now
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use crate::account::{NetworkCut, QuotaPolicy, QuotaScope, Quotas};
    use crate::clock::{Now, Timestamp};
    use crate::limit::{Draw, LimitDecision, MemoryLimiter, RateLimiter};

    fn admits(limiter: &MemoryLimiter, quotas: &Quotas, address: u32, now: Duration) -> bool {
        let address = IpAddr::V4(Ipv4Addr::from_bits(address));
        let draw = Draw::keyless(quotas, Now::new(Timestamp::from_millis(0), now)).from_address(address);
        matches!(limiter.draw(&draw).take_ready(), Some(Ok(LimitDecision::Within(_))))
    }

    fn quotas(policies: &[&str]) -> Quotas {
        let counts = QuotaScope::Network(NetworkCut::default());
        let policy = |text: &&str| text.parse::<QuotaPolicy>().ok().map(|one| one.counting(counts.clone()));
        Quotas::new(policies.iter().filter_map(policy))
    }

    #[test]
    fn flood_of_networks_is_bounded() {
        let (limiter, quotas) =
            (MemoryLimiter::new().with_network_capacity(6_400), quotas(&["100 per minute"]));
        // A hundred loud networks, which have used half of their quotas.
        let loud = || 0..100_u32;
        for address in loud() {
            for _ in 0..50 {
                assert!(admits(&limiter, &quotas, address, Duration::ZERO));
            }
        }
        for address in 1_000..101_000 {
            assert!(admits(&limiter, &quotas, address, Duration::ZERO));
        }
        assert!(limiter.networks() <= 6_400, "{}", limiter.networks());
        // None of the loud networks got its quota back.
        for address in loud() {
            let admitted = (0..100).filter(|_| admits(&limiter, &quotas, address, Duration::ZERO)).count();
            assert_eq!(admitted, 50, "{address}");
        }
        limiter.drop_idle(Now::new(Timestamp::from_millis(0), Duration::from_mins(1)));
        assert_eq!(limiter.networks(), 0);
    }

    #[test]
    fn smallest_capacity_still_limits() {
        let limiter = MemoryLimiter::new().with_network_capacity(1);
        let quotas = quotas(&["2 per minute"]);
        let admitted = (0..5).filter(|_| admits(&limiter, &quotas, 7, Duration::ZERO)).count();
        assert_eq!(admitted, 2);
    }
}
