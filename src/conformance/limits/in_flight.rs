//! Checks of limits on requests in flight.

use std::net::IpAddr;
use std::sync::Arc;

use super::{HOUR, Limiter, TestKey, networks};
use crate::account::{Account, InFlightLimit, InFlightLimits, NetworkCut, QuotaOrigin, QuotaScope};
use crate::clock::Now;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::future::StoreFuture;
use crate::key::KeyRecord;
use crate::limit::{Acquire, Acquired, SlotId};
use crate::name::PoolName;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_limiter_with_slots_says_so needs InFlight,
        a_limit_gives_so_many_slots_and_no_more needs InFlight,
        a_released_slot_is_given_again needs InFlight,
        a_release_frees_one_slot_of_each_limit needs InFlight,
        a_refused_request_holds_no_slot needs InFlight,
        the_first_full_limit_is_named needs InFlight,
        owners_share_slots_as_their_limits_count needs InFlight,
        networks_have_slots_of_their_own needs InFlight,
        an_unknown_owner_gets_no_slot needs InFlight,
        limits_of_several_origins_are_separate needs InFlight,
        a_changed_limit_counts_held_slots needs InFlight,
        another_copy_of_a_record_meets_the_same_slots needs InFlight,
        slots_and_windows_do_not_count_each_other needs InFlight,
        racing_requests_hold_no_more_than_the_limit needs InFlight,
        racing_requests_hold_all_slots_or_none needs InFlight,
    ]
}

/// Requests with a key that no other check uses, and their limits.
#[derive(Debug, Clone)]
struct Requests {
    limiter: Limiter,
    key: Arc<KeyRecord>,
    limits: Arc<InFlightLimits>,
    address: Option<IpAddr>,
    now: Now,
}

/// The owner, the origin and the number of slots of each limit.
type Limits<'a> = &'a [(QuotaScope, QuotaOrigin, u32)];

impl Requests {
    fn new(limiter: &Limiter, limits: Limits<'_>) -> Result<Self, Fault> {
        Self::of(limiter, &Arc::new(fresh::account()), limits)
    }

    fn of(limiter: &Limiter, account: &Arc<Account>, limits: Limits<'_>) -> Result<Self, Fault> {
        let limit = |(counts, origin, most): &(QuotaScope, QuotaOrigin, u32)| {
            let limit = InFlightLimit::new(*most).map_err(|error| Fault::new(error.to_string()))?;
            Ok(limit.counting(counts.clone()).of(origin.clone()))
        };
        let limits = limits.iter().map(limit).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Self {
            limiter: Arc::clone(limiter),
            key: Arc::new(fresh::key(account)),
            limits: Arc::new(InFlightLimits::new(limits)),
            address: None,
            now: Now::new(fresh::now(), HOUR),
        })
    }

    /// Returns the same requests with the limits of others.
    fn under(&self, other: &Self) -> Self {
        Self { limits: Arc::clone(&other.limits), ..self.clone() }
    }

    /// Returns the same requests from an address.
    fn from(&self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self.clone() }
    }

    fn slots(&self, id: SlotId) -> Acquire<'_> {
        let slots = Acquire::new(id, &self.key, &self.limits, self.now);
        self.address.into_iter().fold(slots, Acquire::from_address)
    }

    fn acquire(&self, id: SlotId) -> StoreFuture<Acquired> {
        self.limiter.acquire(&self.slots(id))
    }

    /// Returns the slots that are given to `requests` requests: their id, and true if they are of a node's own share.
    async fn hold(&self, requests: usize) -> Result<Vec<(SlotId, bool)>, Fault> {
        let mut held = Vec::new();
        for _ in 0..requests {
            let id = fresh::slots();
            if let Acquired::Held { local } = self.acquire(id).await? {
                held.push((id, local));
            }
        }
        Ok(held)
    }

    async fn release(&self, held: &[(SlotId, bool)]) -> Result<(), Fault> {
        for (id, local) in held {
            self.limiter.release(&self.slots(*id).held_locally(*local)).await?;
        }
        Ok(())
    }

    /// Returns the number of slots that are free, out of `most`.
    async fn free(&self, most: usize) -> Result<usize, Fault> {
        let held = self.hold(most).await?;
        self.release(&held).await?;
        Ok(held.len())
    }
}

fn pool() -> QuotaScope {
    QuotaScope::Pool(PoolName::from(fresh::name()))
}

fn rule() -> QuotaOrigin {
    QuotaOrigin::Rule(format!("GET /{}/{{name}}:{{*rest}}", fresh::name()).into())
}

async fn a_limiter_with_slots_says_so(limiter: Limiter) -> Verdict {
    holds("`limits_in_flight` returns true", limiter.limits_in_flight())
}

async fn a_limit_gives_so_many_slots_and_no_more(limiter: Limiter) -> Verdict {
    for counts in [QuotaScope::Key, QuotaScope::Account, pool()] {
        let requests = Requests::new(&limiter, &[(counts.clone(), QuotaOrigin::Plan, 3)])?;
        same(&format!("how many of 5 are given, of 3 for {counts:?}"), requests.hold(5).await?.len(), 3)?;
    }
    Ok(())
}

async fn a_released_slot_is_given_again(limiter: Limiter) -> Verdict {
    let requests = Requests::new(&limiter, &[(QuotaScope::Key, QuotaOrigin::Plan, 2)])?;
    let held = requests.hold(3).await?;
    same("how many of 3 are given, of 2", held.len(), 2)?;
    requests.release(&held[..1]).await?;
    let next = requests.hold(2).await?;
    same("how many of 2 are given after a release", next.len(), 1)?;
    requests.release(&held[1..]).await?;
    requests.release(&next).await?;
    same("how many of 3 are given after all releases", requests.hold(3).await?.len(), 2)
}

async fn a_release_frees_one_slot_of_each_limit(limiter: Limiter) -> Verdict {
    let limits = [
        (QuotaScope::Key, QuotaOrigin::Plan, 2),
        (QuotaScope::Key, rule(), 2),
        (QuotaScope::Account, QuotaOrigin::Plan, 2),
        (pool(), rule(), 2),
    ];
    let requests = Requests::new(&limiter, &limits)?;
    let held = requests.hold(2).await?;
    requests.release(&held).await?;
    for limit in &limits {
        let alone = requests.under(&Requests::new(&limiter, std::slice::from_ref(limit))?);
        same(&format!("how many of 3 are given, of 2, under {limit:?}"), alone.free(3).await?, 2)?;
    }
    Ok(())
}

async fn a_refused_request_holds_no_slot(limiter: Limiter) -> Verdict {
    for mosts in [[2, 5, 9], [9, 2, 5], [5, 9, 2]] {
        let owners = [QuotaScope::Key, QuotaScope::Account, pool()];
        let limits: Vec<_> =
            owners.into_iter().zip(mosts).map(|(owner, most)| (owner, QuotaOrigin::Plan, most)).collect();
        let requests = Requests::new(&limiter, &limits)?;
        same("how many of 9 are given", requests.hold(9).await?.len(), 2)?;
        for (limit, most) in limits.iter().zip(mosts) {
            let alone = requests.under(&Requests::new(&limiter, std::slice::from_ref(limit))?);
            let left = usize::try_from(most - 2).unwrap_or_default();
            same(&format!("how many slots are free under {limit:?}"), alone.free(10).await?, left)?;
        }
    }
    Ok(())
}

async fn the_first_full_limit_is_named(limiter: Limiter) -> Verdict {
    for (mosts, full) in [([1, 2, 2], 0), ([2, 1, 2], 1), ([2, 2, 1], 2), ([2, 1, 1], 1)] {
        let owners = [QuotaScope::Key, QuotaScope::Account, pool()];
        let limits: Vec<_> =
            owners.into_iter().zip(mosts).map(|(owner, most)| (owner, QuotaOrigin::Plan, most)).collect();
        let requests = Requests::new(&limiter, &limits)?;
        same("how many of 1 are given", requests.hold(1).await?.len(), 1)?;
        let refused = requests.acquire(fresh::slots()).await?;
        same("the answer", refused, Acquired::Full { limit: full })?;
    }
    Ok(())
}

async fn owners_share_slots_as_their_limits_count(limiter: Limiter) -> Verdict {
    let account = Arc::new(fresh::account());
    let shared = pool();
    let rows = [(QuotaScope::Key, 2, 2), (QuotaScope::Account, 0, 2), (shared, 0, 0)];
    for (counts, same_account, other_account) in rows {
        let limits = [(counts.clone(), QuotaOrigin::Plan, 2)];
        let one = Requests::of(&limiter, &account, &limits)?;
        same("how many of 3 are given to a key", one.hold(3).await?.len(), 2)?;
        let what = format!("how many of 3 are given to another key, by {counts:?}");
        let other = Requests::of(&limiter, &account, &limits)?;
        same(&what, other.hold(3).await?.len(), same_account)?;
        let what = format!("how many of 3 are given to a key of another account, by {counts:?}");
        same(&what, Requests::new(&limiter, &limits)?.hold(3).await?.len(), other_account)?;
    }
    Ok(())
}

async fn networks_have_slots_of_their_own(limiter: Limiter) -> Verdict {
    let limits = [(QuotaScope::Network(NetworkCut::default()), QuotaOrigin::Plan, 2)];
    let (address, other_address) = (networks::address(), networks::address());
    let one = Requests::new(&limiter, &limits)?.from(address.into());
    let other = Requests::new(&limiter, &limits)?.from(networks::next(address).into());
    let held = one.hold(1).await?;
    same("how many of 2 are given to another key of the network, of 2", other.hold(2).await?.len(), 1)?;
    let elsewhere = one.from(other_address.into());
    same("how many of 3 are given to the key in another network", elsewhere.hold(3).await?.len(), 2)?;
    one.release(&held).await?;
    same("how many of 2 are given after a release", other.hold(2).await?.len(), 1)
}

async fn an_unknown_owner_gets_no_slot(limiter: Limiter) -> Verdict {
    let limits = [(QuotaScope::Network(NetworkCut::default()), QuotaOrigin::Plan, 2)];
    let requests = Requests::new(&limiter, &limits)?;
    let acquired = requests.acquire(fresh::slots()).await;
    holds("a slot of an unknown network is refused with an error", acquired.is_err())
}

async fn limits_of_several_origins_are_separate(limiter: Limiter) -> Verdict {
    let shared = QuotaOrigin::Shared(fresh::name().into());
    let origins = [QuotaOrigin::Plan, rule(), rule(), shared, QuotaOrigin::Shared(fresh::name().into())];
    let first = Requests::new(&limiter, &[(QuotaScope::Key, origins[0].clone(), 2)])?;
    for origin in origins {
        let limits = [(QuotaScope::Key, origin.clone(), 2)];
        let requests = first.under(&Requests::new(&limiter, &limits)?);
        same(&format!("how many of 3 are given, of 2, of {origin:?}"), requests.hold(3).await?.len(), 2)?;
    }
    Ok(())
}

async fn a_changed_limit_counts_held_slots(limiter: Limiter) -> Verdict {
    let limit = |most| Requests::new(&limiter, &[(QuotaScope::Key, QuotaOrigin::Plan, most)]);
    let requests = limit(5)?;
    let held = requests.hold(4).await?;
    same("how many of 4 are given, of 5", held.len(), 4)?;
    let lowered = requests.under(&limit(3)?);
    same("how many of 1 are given under a limit of 3", lowered.hold(1).await?.len(), 0)?;
    requests.release(&held[..2]).await?;
    same("how many of 2 are given under it after two releases", lowered.hold(2).await?.len(), 1)?;
    let raised = requests.under(&limit(9)?);
    same("how many of 9 are given under a limit of 9", raised.hold(9).await?.len(), 6)
}

async fn another_copy_of_a_record_meets_the_same_slots(limiter: Limiter) -> Verdict {
    let limits = [(QuotaScope::Key, QuotaOrigin::Plan, 2), (QuotaScope::Account, QuotaOrigin::Plan, 2)];
    let requests = Requests::new(&limiter, &limits)?;
    let held = requests.hold(2).await?;
    let account = Account::new(requests.key.account.id.clone(), "conformance");
    let mut copy = KeyRecord::new(requests.key.id, fresh::hash(), Arc::new(account));
    copy.version = 7;
    let copied = Requests { key: Arc::new(copy), ..requests.under(&Requests::new(&limiter, &limits)?) };
    same("how many of 1 are given to a copy", copied.hold(1).await?.len(), 0)?;
    copied.release(&held).await?;
    same("how many of 3 are given after releases with the copy", requests.hold(3).await?.len(), 2)
}

async fn slots_and_windows_do_not_count_each_other(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(Arc::clone(&limiter), &[(3, HOUR)])?;
    let limits = [(QuotaScope::Key, QuotaOrigin::Plan, 2)];
    let requests =
        Requests { key: Arc::clone(&caller.key), now: caller.now, ..Requests::new(&limiter, &limits)? };
    same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
    same("how many of 3 slots are given", requests.hold(3).await?.len(), 2)?;
    same("what the window has left", caller.left().await?, vec![2])?;
    same("how many of 3 are admitted then", caller.admitted(3).await?, 2)
}

async fn racing_requests_hold_no_more_than_the_limit(limiter: Limiter) -> Verdict {
    let requests = Requests::new(&limiter, &[(QuotaScope::Key, QuotaOrigin::Plan, 5)])?;
    for _ in 0..3 {
        let calls = (0..RACERS).map(|_| {
            let (requests, id) = (requests.clone(), fresh::slots());
            move || {
                let acquired = requests.acquire(id);
                StoreFuture::boxed(async move { Ok((id, acquired.await?)) })
            }
        });
        let answers = race(calls).await?;
        let held = |(id, acquired)| match acquired {
            Acquired::Held { local } => Some((id, local)),
            Acquired::Full { .. } => None,
        };
        let held: Vec<_> = answers.into_iter().filter_map(held).collect();
        same("how many of 16 are given, of 5", held.len(), 5)?;
        requests.release(&held).await?;
    }
    Ok(())
}

async fn racing_requests_hold_all_slots_or_none(limiter: Limiter) -> Verdict {
    let (one_pool, other_pool) = (pool(), pool());
    let limits = |first: &QuotaScope, second: &QuotaScope| {
        [
            (QuotaScope::Key, QuotaOrigin::Plan, 4),
            (QuotaScope::Account, QuotaOrigin::Plan, 6),
            (first.clone(), QuotaOrigin::Plan, 6),
            (second.clone(), QuotaOrigin::Plan, 6),
        ]
    };
    let account = Arc::new(fresh::account());
    let requests = [
        Requests::of(&limiter, &account, &limits(&one_pool, &other_pool))?,
        Requests::of(&limiter, &account, &limits(&other_pool, &one_pool))?,
    ];
    let calls = (0..RACERS).map(|racer| {
        let (requests, id) = (requests[racer % 2].clone(), fresh::slots());
        move || requests.acquire(id)
    });
    let held = race(calls).await?;
    let held = held.iter().filter(|acquired| matches!(acquired, Acquired::Held { .. })).count();
    same("how many of 16 are given, with 6 for the account", held, 6)?;
    let mut free = 0;
    for requests in requests {
        let limits = [(QuotaScope::Key, QuotaOrigin::Plan, 4)];
        free += requests.under(&Requests::new(&limiter, &limits)?).free(5).await?;
    }
    holds(&format!("the keys have 2 of 8 slots free, not {free}"), free == 2)
}
