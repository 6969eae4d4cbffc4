//! The limiter in memory, against GCRA written out once per window.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::clock_jumps;
use crate::support;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clock_jumps::Window;
use governor::clock::{Clock as _, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use proptest::prelude::*;
use support::World;
use tollgate::account::{NetworkCut, QuotaPolicy, QuotaScope, Quotas};
use tollgate::clock::{Now, Timestamp};
use tollgate::limit::{Correction, Draw, LimitDecision, WindowStatus};
use tollgate::{Clock, KeyRecord, MemoryLimiter, RateLimiter};

/// A limiter of governor's.
type Governor = governor::RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// Returns a limiter of governor's with the bucket of a policy, and its clock.
fn governor_of(policy: &QuotaPolicy) -> (Governor, FakeRelativeClock) {
    let (clock, burst) = (FakeRelativeClock::default(), NonZeroU32::new(policy.capacity()).unwrap());
    let quota = governor::Quota::with_period(policy.refill()).unwrap().allow_burst(burst);
    (Governor::direct_with_clock(quota, clock.clone()), clock)
}

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() }
}

fn policy() -> impl Strategy<Value = QuotaPolicy> {
    let counts = prop::sample::select(vec![
        QuotaScope::Key,
        QuotaScope::Account,
        QuotaScope::Network(NetworkCut::default()),
        QuotaScope::Network(NetworkCut::new(24, 64).unwrap()),
        QuotaScope::Pool("demo".into()),
    ]);
    let window = prop::sample::select(vec![1_000_u64, 7_000, 60_000]);
    let burst = prop::option::weighted(0.3, 1_u32..9);
    (1_u32..6, window, counts, burst).prop_map(|(quota, window, counts, burst)| {
        let policy = QuotaPolicy::new(quota, Duration::from_millis(window)).unwrap().counting(counts);
        policy.with_burst(burst.unwrap_or(quota)).unwrap()
    })
}

/// One quota per window and subject, as a plan may have them.
fn policies() -> impl Strategy<Value = Vec<QuotaPolicy>> {
    prop::collection::vec(policy(), 1..5).prop_map(|policies| {
        let mut kept: Vec<QuotaPolicy> = Vec::new();
        for policy in policies {
            if !kept
                .iter()
                .any(|known| known.window() == policy.window() && known.counts() == policy.counts())
            {
                kept.push(policy);
            }
        }
        kept
    })
}

/// The same, any of which may be strict, and so wide that requests are counted together.
fn mixed_policies() -> impl Strategy<Value = Vec<QuotaPolicy>> {
    let wide = prop::sample::select(vec![1_u32, 1, 1, 9]);
    (policies(), prop::collection::vec((any::<bool>(), wide), 5)).prop_map(|(policies, kinds)| {
        let kind = |(policy, (strict, wide)): (QuotaPolicy, (bool, u32))| {
            let wider = QuotaPolicy::new(policy.quota() * wide, policy.window()).unwrap();
            let wider = wider.counting(policy.counts().clone());
            if strict { wider.in_any_window() } else { wider }
        };
        policies.into_iter().zip(kinds).map(kind).collect()
    })
}

/// The same, any of which may be strict or count requests. Each request of a strict window is recorded on its own.
fn weighed_policies() -> impl Strategy<Value = Vec<QuotaPolicy>> {
    let kinds = prop::collection::vec((prop::bool::weighted(0.3), prop::bool::weighted(0.3)), 5);
    (policies(), kinds).prop_map(|(policies, kinds)| {
        let kind = |(policy, (strict, requests)): (QuotaPolicy, (bool, bool))| {
            let policy = if strict { policy.in_any_window() } else { policy };
            if requests { policy.with_unit("requests").unwrap() } else { policy }
        };
        policies.into_iter().zip(kinds).map(kind).collect()
    })
}

/// The owner that a window counts, and its length.
type Place = (String, Duration);

/// The state of each window, in nanoseconds.
#[derive(Default)]
struct Model {
    /// The times at which each window is full again, by the refill time of a cell.
    full_at: HashMap<Place, HashMap<u64, u64>>,
    /// The time and the units of each request that a strict window has admitted.
    logs: HashMap<Place, Vec<(u64, u64)>>,
}

impl Model {
    /// Admits a request if all windows do; else says how long the slowest takes.
    fn draw(
        &mut self,
        record: &KeyRecord,
        policies: &[QuotaPolicy],
        weight: NonZeroU32,
        now: u64,
    ) -> Result<(), u64> {
        let (mut drawn, mut logged) = (Vec::new(), Vec::new());
        let mut wait = 0;
        for policy in policies {
            let subject = match policy.counts() {
                QuotaScope::Key => format!("key {}", record.id),
                QuotaScope::Account => format!("account {}", record.account.id),
                QuotaScope::Network(cut) => format!("network {} of {cut:?}", cut.of(address_of(record))),
                QuotaScope::Pool(name) => format!("pool {name}"),
            };
            let refill = u64::try_from(policy.refill().as_nanos()).unwrap();
            let place = (subject, policy.window());
            let units = policy.units_of(weight).min(policy.capacity());
            let most = u64::from(policy.capacity() - units);
            if policy.is_strict() {
                let window = u64::try_from(policy.window().as_nanos()).unwrap();
                let log = self.logs.entry(place.clone()).or_default();
                log.retain(|(at, _)| at + window > now);
                let mut used: u64 = log.iter().map(|(_, units)| units).sum();
                for (at, units) in log {
                    if used <= most {
                        break;
                    }
                    used -= *units;
                    wait = wait.max(*at + window - now);
                }
                logged.push((place, (now, u64::from(units))));
                continue;
            }
            let mut taken = 0;
            for (unit, full_at) in self.full_at.get(&place).into_iter().flatten() {
                let ahead = full_at.saturating_sub(now);
                wait = wait.max(ahead.saturating_sub(unit * most));
                // What was taken under another quota counts by the cell.
                let cells = (u128::from(ahead) * u128::from(refill)).div_ceil(u128::from(*unit));
                taken = taken.max(u64::try_from(cells).unwrap().min(refill * most));
            }
            drawn.push((place, refill, now + taken + refill * u64::from(units)));
        }
        if wait > 0 {
            return Err(wait);
        }
        for (place, refill, full_at) in drawn {
            self.full_at.entry(place).or_default().insert(refill, full_at);
        }
        for (place, request) in logged {
            self.logs.entry(place).or_default().push(request);
        }
        Ok(())
    }
}

fn draw(limiter: &MemoryLimiter, record: &KeyRecord, quotas: &Quotas, world: &World) -> LimitDecision {
    draw_weight(limiter, record, quotas, NonZeroU32::MIN, world)
}

fn draw_weight(
    limiter: &MemoryLimiter,
    record: &KeyRecord,
    quotas: &Quotas,
    weight: NonZeroU32,
    world: &World,
) -> LimitDecision {
    let draw = Draw::new(record, quotas, world.clock.now()).from_address(address_of(record));
    let drawn = limiter.draw(&draw.weighing(weight));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(drawn).unwrap()
}

fn peek(limiter: &MemoryLimiter, record: &KeyRecord, quotas: &Quotas, now: Now) -> Vec<WindowStatus> {
    let peeked = limiter.peek(&Draw::new(record, quotas, now).from_address(address_of(record)));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(peeked).unwrap()
}

/// The address from which a key is used. The accounts share a network of 24 bits.
fn address_of(record: &KeyRecord) -> IpAddr {
    IpAddr::from([192, 0, 2, record.account.id.as_str().as_bytes()[1]])
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Three keys, of which two are of one account.
fn records(world: &World) -> Vec<Arc<KeyRecord>> {
    let put = |key: usize| {
        let id = world
            .key(&format!("kwery_live_{key:010}"), |_, account| account.id = format!("a{}", key / 2).into());
        world.store.key(id).unwrap()
    };
    (0..3).map(put).collect()
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn several_windows_match_a_gcra_model(
        // Keys of one account or pool may have quotas of their own: a window that only one of them has is kept.
        policies in prop::collection::vec(policies(), 3),
        draws in prop::collection::vec((0_usize..3, prop_oneof![3 => Just(0_u64), 2 => 0_u64..900, 1 => 0_u64..20_000], any::<bool>()), 1..80),
    ) {
        let world = World::new();
        let (limiter, mut model, records) = (MemoryLimiter::new(), Model::default(), records(&world));
        let quotas: Vec<Quotas> = policies.iter().map(|policies| Quotas::new(policies.clone())).collect();
        for (key, wait, reloaded) in draws {
            world.clock.advance(Duration::from_millis(wait));
            let now = u64::try_from(world.clock.now().elapsed().as_nanos()).unwrap();
            // A record that was read anew, and terms worked out anew, find the same windows.
            let (record, own);
            let (record, quotas) = if reloaded {
                record = KeyRecord::clone(&records[key]);
                own = Quotas::new(policies[key].clone());
                (&record, &own)
            } else {
                (&*records[key], &quotas[key])
            };
            let expected = model.draw(record, &policies[key], NonZeroU32::MIN, now);
            match draw(&limiter, record, quotas, &world) {
                LimitDecision::Within(_) => prop_assert_eq!(expected, Ok(())),
                LimitDecision::Exceeded { retry_after, .. } => {
                    prop_assert_eq!(Err(u64::try_from(retry_after.as_nanos()).unwrap()), expected);
                }
            }
        }
    }

    #[test]
    fn weights_match_a_naive_model(
        policies in prop::collection::vec(weighed_policies(), 3),
        draws in prop::collection::vec((0_usize..3, 1_u32..9, prop_oneof![2 => Just(0_u64), 2 => 0_u64..900, 2 => 0_u64..20_000]), 1..80),
    ) {
        let world = World::new();
        let (limiter, mut model, records) = (MemoryLimiter::new(), Model::default(), records(&world));
        let quotas: Vec<Quotas> = policies.iter().map(|policies| Quotas::new(policies.clone())).collect();
        for (key, weight, wait) in draws {
            world.clock.advance(Duration::from_millis(wait));
            let now = u64::try_from(world.clock.now().elapsed().as_nanos()).unwrap();
            let weight = NonZeroU32::new(weight).unwrap();
            let expected = model.draw(&records[key], &policies[key], weight, now);
            let told = match draw_weight(&limiter, &records[key], &quotas[key], weight, &world) {
                LimitDecision::Within(_) => Ok(()),
                LimitDecision::Exceeded { retry_after, .. } => Err(u64::try_from(retry_after.as_nanos()).unwrap()),
            };
            prop_assert_eq!(told, expected);
        }
    }

    #[test]
    fn weights_match_governor(
        (quota, burst) in (1_u32..50, 1_u32..80),
        draws in prop::collection::vec((1_u32..20, prop_oneof![2 => Just(0_u64), 2 => 0_u64..900, 1 => 0_u64..9_000]), 1..200),
    ) {
        let world = World::new();
        let (limiter, record) = (MemoryLimiter::new(), Arc::clone(&records(&world)[0]));
        let policy = QuotaPolicy::new(quota, Duration::from_secs(7)).unwrap().with_burst(burst).unwrap();
        let (oracle, clock) = governor_of(&policy);
        let capacity = NonZeroU32::new(policy.capacity()).unwrap();
        let quotas = Quotas::new([policy]);
        for (weight, wait) in draws {
            world.clock.advance(Duration::from_millis(wait));
            clock.advance(Duration::from_millis(wait));
            let weight = NonZeroU32::new(weight).unwrap();
            // governor has no answer for more cells than a bucket has.
            let checked = oracle.check_n(weight.min(capacity)).unwrap();
            let expected = checked.map_err(|refusal| refusal.wait_time_from(clock.now()));
            match draw_weight(&limiter, &record, &quotas, weight, &world) {
                LimitDecision::Within(_) => prop_assert_eq!(expected, Ok(())),
                LimitDecision::Exceeded { retry_after, .. } => prop_assert_eq!(expected, Err(retry_after)),
            }
        }
    }

    /// A weight that is known later admits no more than one that is known at once.
    #[test]
    fn corrections_never_admit_more(
        (quota, burst, strict) in (1_u32..12, 1_u32..20, any::<bool>()),
        steps in prop::collection::vec((
            1_u32..20,
            prop::option::of((0_usize..4, 0_u32..20)),
            prop_oneof![2 => Just(0_u64), 3 => 0_u64..900, 2 => 0_u64..9_000],
        ), 1..150),
    ) {
        let world = World::new();
        let (limiter, record) = (MemoryLimiter::new(), Arc::clone(&records(&world)[0]));
        let policy = QuotaPolicy::new(quota, Duration::from_secs(7)).unwrap();
        let policy = if strict { policy.in_any_window() } else { policy.with_burst(burst).unwrap() };
        let quotas = Quotas::new([policy.clone()]);
        // The time and the units of each admitted request, and the requests whose weight is not known yet.
        let (mut admitted, mut open): (Vec<(Duration, u32)>, Vec<usize>) = (Vec::new(), Vec::new());
        for (weight, corrected, wait) in steps {
            world.clock.advance(Duration::from_millis(wait));
            let now = world.clock.now();
            if let Some((place, actual)) = corrected.filter(|(place, _)| *place < open.len()) {
                let request = open.remove(place);
                let (at, reserve) = admitted[request];
                let draw = Draw::new(&record, &quotas, now).weighing(NonZeroU32::new(reserve).unwrap());
                let correction = Correction::new(draw, actual.min(reserve), now.elapsed().saturating_sub(at));
                runtime().block_on(limiter.correct(&correction)).unwrap();
                admitted[request].1 = actual.min(reserve);
            }
            let weight = NonZeroU32::new(weight.min(policy.capacity())).unwrap();
            if matches!(draw_weight(&limiter, &record, &quotas, weight, &world), LimitDecision::Within(_)) {
                open.push(admitted.len());
                admitted.push((now.elapsed(), weight.get()));
            }
        }
        for (place, (from, _)) in admitted.iter().enumerate() {
            let mut units = 0;
            for (to, more) in &admitted[place..] {
                units += u128::from(*more);
                let passed = to.saturating_sub(*from);
                let refilled = if strict { 0 } else { passed.as_nanos() / policy.refill().as_nanos() };
                if !strict || passed < policy.window() {
                    let most = u128::from(policy.capacity()) + refilled;
                    prop_assert!(units <= most, "{} of {} in {:?}", units, most, passed);
                }
            }
        }
    }

    #[test]
    fn next_is_the_time_until_more_is_left(
        // The keys are of one account, and may have different quotas for it.
        policies in prop::collection::vec(mixed_policies(), 2),
        draws in prop::collection::vec((0_usize..2, 1_u32..4, prop_oneof![2 => Just(0_u64), 2 => 0_u64..900, 1 => 0_u64..20_000]), 1..60),
    ) {
        let world = World::new();
        let (limiter, records) = (MemoryLimiter::new(), records(&world));
        let quotas: Vec<Quotas> = policies.into_iter().map(Quotas::new).collect();
        for (key, weight, wait) in draws {
            world.clock.advance(Duration::from_millis(wait));
            let weight = NonZeroU32::new(weight).unwrap();
            let (record, quotas, now) = (&records[key], &quotas[key], world.clock.now());
            let (LimitDecision::Within(decides) | LimitDecision::Exceeded { window_status: decides, .. }) =
                draw_weight(&limiter, record, quotas, weight, &world);
            let windows = peek(&limiter, record, quotas, now);
            prop_assert_eq!(&decides, &windows[decides.policy]);
            for (policy, window) in quotas.policies().zip(&windows) {
                let left = |after: Duration| {
                    let later = Now::new(now.wall(), now.elapsed() + after);
                    peek(&limiter, record, quotas, later)[window.policy].remaining
                };
                if window.next().is_zero() {
                    prop_assert_eq!((window.remaining, window.reset), (policy.capacity(), Duration::ZERO));
                } else {
                    prop_assert_eq!(left(window.next().saturating_sub(Duration::from_nanos(1))), window.remaining);
                    prop_assert!(left(window.next()) > window.remaining);
                }
            }
        }
    }

    #[test]
    fn request_is_denied_until_the_exact_wait(
        policies in mixed_policies(),
        waits in prop::collection::vec(0_u64..300, 1..60),
    ) {
        let world = World::new();
        let (limiter, record) = (MemoryLimiter::new(), Arc::clone(&records(&world)[0]));
        let quotas = Quotas::new(policies);
        for wait in waits {
            world.clock.advance(Duration::from_millis(wait));
            let LimitDecision::Exceeded { retry_after, .. } = draw(&limiter, &record, &quotas, &world) else { continue };
            world.clock.advance(retry_after.saturating_sub(Duration::from_nanos(1)));
            let early = draw(&limiter, &record, &quotas, &world);
            let nanosecond = matches!(early, LimitDecision::Exceeded { retry_after, .. } if retry_after == Duration::from_nanos(1));
            prop_assert!(nanosecond, "{:?}", early);
            world.clock.advance(Duration::from_nanos(1));
            prop_assert!(matches!(draw(&limiter, &record, &quotas, &world), LimitDecision::Within(_)));
        }
    }

    #[test]
    fn burst_matches_governor(
        (quota, burst) in (1_u32..50, 1_u32..80),
        waits in prop::collection::vec(prop_oneof![3 => Just(0_u64), 2 => 0_u64..300, 1 => 0_u64..9_000], 1..200),
    ) {
        let world = World::new();
        let (limiter, record) = (MemoryLimiter::new(), Arc::clone(&records(&world)[0]));
        let policy = QuotaPolicy::new(quota, Duration::from_secs(7)).unwrap().with_burst(burst).unwrap();
        let (oracle, clock) = governor_of(&policy);
        let quotas = Quotas::new([policy]);
        for wait in waits {
            world.clock.advance(Duration::from_millis(wait));
            clock.advance(Duration::from_millis(wait));
            let expected = oracle.check().map_err(|refusal| refusal.wait_time_from(clock.now()));
            match draw(&limiter, &record, &quotas, &world) {
                LimitDecision::Within(_) => prop_assert_eq!(expected, Ok(())),
                LimitDecision::Exceeded { retry_after, .. } => prop_assert_eq!(expected, Err(retry_after)),
            }
        }
    }

    #[test]
    fn window_admits_its_quota_and_refill_only(
        quota in 1_u32..20,
        waits in prop::collection::vec(0_u64..200, 1..200),
    ) {
        let world = World::new();
        let (limiter, record) = (MemoryLimiter::new(), Arc::clone(&records(&world)[0]));
        let policy = QuotaPolicy::new(quota, Duration::from_secs(1)).unwrap();
        let quotas = Quotas::new([policy.clone()]);
        let mut admitted: Vec<Duration> = Vec::new();
        for wait in waits {
            world.clock.advance(Duration::from_millis(wait));
            if matches!(draw(&limiter, &record, &quotas, &world), LimitDecision::Within(_)) {
                admitted.push(world.clock.now().elapsed());
            }
        }
        for (place, from) in admitted.iter().enumerate() {
            for (count, to) in admitted[place..].iter().enumerate() {
                let refilled = to.saturating_sub(*from).as_nanos() / policy.refill().as_nanos();
                prop_assert!((count as u128) < u128::from(quota) + refilled);
            }
        }
    }

    #[test]
    fn strict_window_is_exact_within_its_bound(
        quota in 1_u32..60,
        waits in prop::collection::vec(prop_oneof![2 => Just(0_u64), 4 => 0_u64..40, 1 => 0_u64..2_000], 1..300),
    ) {
        let world = World::new();
        let (limiter, record) = (MemoryLimiter::new(), Arc::clone(&records(&world)[0]));
        let window = Duration::from_secs(1);
        let quotas = Quotas::new([QuotaPolicy::new(quota, window).unwrap().in_any_window()]);
        // Nothing is counted together of a quota that is small.
        let late = if quota > 16 { window / 16 } else { Duration::ZERO };
        let mut admitted: Vec<Duration> = Vec::new();
        for wait in waits {
            world.clock.advance(Duration::from_millis(wait));
            let now = world.clock.now().elapsed();
            let within = |time: Duration| {
                u32::try_from(admitted.iter().filter(|at| **at + time > now).count()).unwrap()
            };
            match draw(&limiter, &record, &quotas, &world) {
                LimitDecision::Within(window_status) => {
                    prop_assert!(within(window) < quota);
                    prop_assert!(window_status.remaining < quota - within(window));
                    admitted.push(now);
                }
                LimitDecision::Exceeded { retry_after, .. } => {
                    prop_assert!(within(window + late) >= quota, "it had room");
                    prop_assert!(retry_after <= window);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: clock_jumps::cases(1_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clock_jumps_neither_add_nor_lose_cells(window in clock_jumps::window(), asks in clock_jumps::asks()) {
        let (limiter, world) = (MemoryLimiter::new(), World::new());
        let (record, mut watch) = (Arc::clone(&records(&world)[0]), clock_jumps::Watch::new(&window));
        let quotas: Vec<_> = window.quotas.iter().map(|quota| Quotas::new([policy_of(&window, *quota)])).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for ask in asks {
            let told = watch.told(&ask);
            let now = Now::new(Timestamp::from_millis(told.wall), Duration::from_micros(told.now));
            let drawn = limiter.draw(&Draw::new(&record, &quotas[told.quota], now));
            match runtime.block_on(drawn).unwrap() {
                LimitDecision::Within(window_status) => watch.admitted(window_status.remaining)?,
                LimitDecision::Exceeded { retry_after, .. } => watch.refused(retry_after)?,
            }
        }
    }
}

fn policy_of(window: &Window, quota: u32) -> QuotaPolicy {
    let policy = QuotaPolicy::new(quota, window.length).unwrap();
    if window.strict { policy.in_any_window() } else { policy }
}
