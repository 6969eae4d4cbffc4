//! The slots of requests in flight.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Bucket, BucketRef, MemoryLimiter, Owner, PerOwner, Place};
use crate::account::InFlightLimit;
use crate::error::StoreError;
use crate::limit::{Acquire, Acquired};

impl<'a> Owner<'a> {
    /// Returns the owner that a limit on requests in flight counts.
    #[inline]
    fn of_limit(acquire: &Acquire<'a>, limit: &'a InFlightLimit) -> Self {
        Self { caller: acquire.caller, counts: limit.counts(), shared: limit.state() }
    }
}

impl MemoryLimiter {
    /// Takes a slot of every limit, if all have one. The number of slots is the share of each of `nodes` nodes.
    #[inline]
    pub(in crate::limit) fn acquire_share(
        &self,
        acquire: &Acquire<'_>,
        nodes: NonZeroU32,
    ) -> Result<Acquired, StoreError> {
        // Most requests have one limit, which needs no lists.
        if let [limit] = acquire.limits.all()
            && let Some(bucket) = Owner::of_limit(acquire, limit).bucket(self.owner)
        {
            let mut slots = bucket.lock();
            if !slots.dropped {
                let held = slots.held(limit.origin());
                if *held >= limit.shared_by(nodes) {
                    return Ok(Acquired::Full { limit: 0 });
                }
                *held += 1;
                return Ok(Acquired::Held { local: false });
            }
        }
        self.acquire_all(acquire, nodes)
    }

    fn acquire_all(&self, acquire: &Acquire<'_>, nodes: NonZeroU32) -> Result<Acquired, StoreError> {
        let limits = || acquire.limits.by_owner();
        let mut buckets = limits()
            .map(|limits| self.find_slots(acquire, &limits[0]))
            .collect::<Result<PerOwner<_>, _>>()?;
        loop {
            // Owners have the same order everywhere, so that two requests cannot wait for each other.
            let mut locked: PerOwner<_> = buckets.iter().map(|bucket| bucket.bucket().lock()).collect();
            if locked.iter().all(|slots| !slots.dropped) {
                let mut place = 0;
                for (slots, limits) in locked.iter_mut().zip(limits()) {
                    for limit in limits {
                        if *slots.held(limit.origin()) >= limit.shared_by(nodes) {
                            return Ok(Acquired::Full { limit: place });
                        }
                        place += 1;
                    }
                }
                for (slots, limits) in locked.iter_mut().zip(limits()) {
                    for limit in limits {
                        *slots.held(limit.origin()) += 1;
                    }
                }
                return Ok(Acquired::Held { local: false });
            }
            drop(locked);
            buckets = limits()
                .map(|limits| self.look_up_slots(acquire, &limits[0]).map(BucketRef::Shared))
                .collect::<Result<_, _>>()?;
        }
    }

    #[inline]
    fn find_slots<'a>(
        &self,
        acquire: &Acquire<'a>,
        limit: &'a InFlightLimit,
    ) -> Result<BucketRef<'a>, StoreError> {
        match Owner::of_limit(acquire, limit).bucket(self.owner) {
            Some(bucket) => Ok(BucketRef::Pointer(bucket)),
            None => self.look_up_slots(acquire, limit).map(BucketRef::Shared),
        }
    }

    #[cold]
    fn look_up_slots(&self, acquire: &Acquire<'_>, limit: &InFlightLimit) -> Result<Arc<Bucket>, StoreError> {
        let owner = Owner::of_limit(acquire, limit);
        self.look_up(owner, acquire.now.ticks(), || Arc::clone(&self.without_quotas))
    }

    /// Frees a slot of every limit.
    #[inline]
    pub(super) fn free(&self, acquire: &Acquire<'_>) {
        for limit in acquire.limits.all() {
            let owner = Owner::of_limit(acquire, limit);
            let is_freed = owner.bucket(self.owner).is_some_and(|bucket| free(bucket, limit));
            if !is_freed {
                self.free_in_map(owner, limit);
            }
        }
    }

    /// Frees a slot of an owner whose record does not point to the bucket that is in use.
    #[cold]
    fn free_in_map(&self, owner: Owner<'_>, limit: &InFlightLimit) {
        // A bucket with a slot that is held is not dropped.
        let bucket = match owner.place() {
            Ok(Place::Kept(subject, _)) => self.buckets.pin().get(&subject).cloned(),
            Ok(Place::Network(network)) => self.networks.get().and_then(|networks| networks.known(&network)),
            Err(_) => None,
        };
        if let Some(bucket) = bucket {
            free(&bucket, limit);
        }
    }
}

/// Frees a slot. Returns false if the bucket was dropped.
#[inline]
fn free(bucket: &Bucket, limit: &InFlightLimit) -> bool {
    let mut slots = bucket.lock();
    if slots.dropped {
        return false;
    }
    let held = slots.held(limit.origin());
    *held = held.saturating_sub(1);
    true
}
