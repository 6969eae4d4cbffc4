//! A limiter that breaks one rule of its contract.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::account::{
    InFlightLimit, InFlightLimits, NetworkCut, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas,
};
use tollgate::clock::Now;
use tollgate::limit::{Acquire, Acquired, Correction, Draw, LimitDecision, WindowStatus};
use tollgate::{Account, KeyId, KeyRecord, MemoryLimiter, RateLimiter, StoreFuture};

use super::broken_store::{answer, ready};

const DAY: Duration = Duration::from_hours(24);

rules! {
    AdmitsAll,
    RefusesAll,
    TellsOneMore,
    NamesTheFirst,
    TakesSome,
    TakesWhenPeeked,
    PeeksBackwards,
    PeeksThenDraws,
    GoesByPointers,
    TakesKeysForOne,
    TakesAccountsForOne,
    TakesPoolsForOne,
    CountsKeysAlone,
    SaysNoWait,
    SaysTooLong,
    GoesByWallTime,
    CountsWholeMinutes,
    TellsALateReset,
    TellsAnEarlyNext,
    StandsStill,
    TakesLogsForBuckets,
    StartsAnewWhenQuotasChange,
    IgnoresBursts,
    LimitsBurstsToTheQuota,
    RefillsByTheBurst,
    IgnoresOrigins,
    MixesRules,
    KeepsRulesApart,
    ForgetsChangedRules,
    MixesNetworks,
    CountsWholeAddresses,
    MixesCuts,
    KeepsMappedAddressesApart,
    AdmitsUnknownOwners,
    IgnoresWeights,
    WeighsRequests,
    WeighsStrictWindowsAsOne,
    TakesTheRestForAWeight,
    TakesTheRestWhenRefused,
    RefusesHeavyRequests,
    WaitsForPartOfTheWeight,
    HidesItsSlots,
    GivesOneSlotMore,
    GivesNoSlot,
    KeepsReleasedSlots,
    FreesTheFirstLimit,
    TakesSomeSlots,
    NamesTheLastLimit,
    ForgetsChangedLimits,
    TakesACellForASlot,
    LooksThenAcquires,
    IgnoresCorrections,
    GivesNothingBack,
    ForgetsDebts,
    OwesTooMuch,
    GivesBackRefills,
    CorrectsOneWindow,
    CorrectsRequests,
}

#[derive(Debug)]
pub(crate) struct Broken {
    inner: MemoryLimiter,
    rule: Option<Rule>,
    /// The origin of its own time.
    origin: Option<Instant>,
}

impl Broken {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { inner: MemoryLimiter::new(), rule: Some(rule), origin: None }
    }

    /// One that goes by its own time.
    pub(crate) fn on_its_own_time(rule: Option<Rule>) -> Self {
        Self { inner: MemoryLimiter::new(), rule, origin: Some(Instant::now()) }
    }

    fn now(&self, now: Now) -> Now {
        let mut elapsed = self.origin.map_or(now.elapsed(), |origin| origin.elapsed());
        match self.rule {
            Some(Rule::GoesByWallTime) => {
                elapsed = Duration::from_millis(now.wall().as_millis().unsigned_abs());
            }
            Some(Rule::CountsWholeMinutes) => elapsed = Duration::from_mins(elapsed.as_secs() / 60),
            Some(Rule::StandsStill) => elapsed = Duration::from_hours(1),
            _ => {}
        }
        Now::new(now.wall(), elapsed)
    }

    fn key(&self, key: &KeyRecord, quotas: &Quotas) -> KeyRecord {
        let mut copy = key.clone();
        match self.rule {
            Some(Rule::StartsAnewWhenQuotasChange) => {
                let quotas: u32 = quotas.policies().map(QuotaPolicy::quota).fold(0, u32::wrapping_add);
                let id = u128::from_be_bytes(*copy.id.as_bytes()) ^ u128::from(quotas);
                copy.id = KeyId::from_bytes(id.to_be_bytes());
            }
            Some(Rule::TakesKeysForOne) => copy.id = KeyId::from_bytes([1; 16]),
            Some(Rule::TakesAccountsForOne) => copy.account = Arc::new(Account::new("one", "any")),
            Some(Rule::GoesByPointers) => {
                let place = std::ptr::from_ref(key) as usize as u128;
                copy.id = KeyId::from_bytes(place.to_be_bytes());
            }
            _ => {}
        }
        copy
    }

    fn quotas(&self, quotas: &Quotas) -> Quotas {
        self.changed_quotas(quotas, false)
    }

    fn changed_quotas(&self, quotas: &Quotas, is_correction: bool) -> Quotas {
        let changed = |policy: QuotaPolicy| match (self.rule, policy.counts()) {
            (Some(Rule::TakesPoolsForOne), QuotaScope::Pool(_)) => {
                policy.counting(QuotaScope::Pool("one".into()))
            }
            (Some(Rule::CountsWholeAddresses), QuotaScope::Network(_)) => {
                policy.counting(QuotaScope::Network(NetworkCut::new(32, 128).unwrap()))
            }
            (Some(Rule::MixesCuts), QuotaScope::Network(_)) => {
                policy.counting(QuotaScope::Network(NetworkCut::default()))
            }
            (Some(Rule::CountsKeysAlone), _) => policy.counting(QuotaScope::Key),
            (Some(Rule::TakesLogsForBuckets), counts) => {
                QuotaPolicy::new(policy.quota(), policy.window()).unwrap().counting(counts.clone())
            }
            (Some(Rule::CorrectsRequests), _) if is_correction && policy.counts_requests() => {
                policy.with_unit("units").unwrap()
            }
            (Some(Rule::WeighsRequests), _) if policy.counts_requests() => policy.with_unit("units").unwrap(),
            (Some(Rule::WeighsStrictWindowsAsOne), _) if policy.is_strict() => {
                policy.with_unit("requests").unwrap()
            }
            (Some(Rule::IgnoresBursts), _) if policy.has_burst() => {
                let quota = policy.quota();
                policy.with_burst(quota).unwrap()
            }
            (Some(Rule::LimitsBurstsToTheQuota), _) if policy.capacity() > policy.quota() => {
                let quota = policy.quota();
                policy.with_burst(quota).unwrap()
            }
            (Some(Rule::RefillsByTheBurst), counts) if policy.has_burst() => {
                let quota = policy.capacity();
                QuotaPolicy::new(quota, policy.window()).unwrap().counting(counts.clone())
            }
            _ => policy,
        };
        let origin = |origin: &QuotaOrigin| match (self.rule, origin) {
            (Some(Rule::IgnoresOrigins), _) => QuotaOrigin::Plan,
            (Some(Rule::MixesRules), QuotaOrigin::Rule(_)) => QuotaOrigin::Rule("one".into()),
            (Some(Rule::MixesRules), QuotaOrigin::Shared(_)) => QuotaOrigin::Shared("one".into()),
            (Some(Rule::KeepsRulesApart), QuotaOrigin::Shared(_)) => {
                let labels = quotas.groups().iter().map(|group| format!("{:?}", group.origin()));
                QuotaOrigin::Shared(labels.collect::<String>().into())
            }
            (Some(Rule::ForgetsChangedRules), QuotaOrigin::Rule(label)) => {
                let all: u32 = quotas.policies().map(QuotaPolicy::quota).fold(0, u32::wrapping_add);
                QuotaOrigin::Rule(format!("{label} {all}").into())
            }
            _ => origin.clone(),
        };
        let mut all = Quotas::default();
        for group in quotas.groups() {
            let is_known = |policy: &QuotaPolicy| all.policies().any(|known| known.name() == policy.name());
            let kept = |policy: &&QuotaPolicy| self.rule != Some(Rule::IgnoresOrigins) || !is_known(policy);
            let policies: Vec<_> = group.policies().iter().filter(kept).cloned().map(changed).collect();
            all = all.beside(origin(group.origin()), policies);
        }
        all
    }

    /// Returns the draw of this caller at this limiter.
    fn changed<'d>(&self, draw: &Draw<'_>, key: Option<&'d KeyRecord>, quotas: &'d Quotas) -> Draw<'d> {
        let mut changed = Draw::keyless(quotas, self.now(draw.now));
        changed.caller.key = key;
        changed.caller.address = self.address(draw.caller.address);
        changed
    }

    fn address(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.map(|address| match (self.rule, address) {
            (Some(Rule::MixesNetworks), _) => IpAddr::from([192, 0, 2, 1]),
            (Some(Rule::KeepsMappedAddressesApart), IpAddr::V6(v6)) => {
                // An address beside the mapped ones.
                v6.to_ipv4_mapped().map_or(address, |_| Ipv6Addr::from_bits(v6.to_bits() + (1 << 64)).into())
            }
            _ => address,
        })
    }

    fn limits(&self, limits: &InFlightLimits) -> InFlightLimits {
        let changed = |limit: &InFlightLimit| {
            let counts = match (self.rule, limit.counts()) {
                (Some(Rule::TakesPoolsForOne), QuotaScope::Pool(_)) => QuotaScope::Pool("one".into()),
                (Some(Rule::CountsKeysAlone), _) => QuotaScope::Key,
                (_, counts) => counts.clone(),
            };
            let origin = match (self.rule, limit.origin()) {
                (Some(Rule::IgnoresOrigins), _) => QuotaOrigin::Plan,
                (Some(Rule::MixesRules), QuotaOrigin::Rule(_)) => QuotaOrigin::Rule("one".into()),
                (Some(Rule::MixesRules), QuotaOrigin::Shared(_)) => QuotaOrigin::Shared("one".into()),
                (Some(Rule::ForgetsChangedLimits), origin) => {
                    QuotaOrigin::Rule(format!("{origin:?} {}", limit.most()).into())
                }
                (_, origin) => origin.clone(),
            };
            let more = u32::from(self.rule == Some(Rule::GivesOneSlotMore));
            InFlightLimit::new(limit.most() + more).unwrap().counting(counts).of(origin)
        };
        InFlightLimits::new(limits.all().iter().map(changed))
    }

    /// Returns the request for slots of this caller at this limiter.
    fn changed_slots<'d>(
        &self,
        acquire: &Acquire<'_>,
        key: Option<&'d KeyRecord>,
        limits: &'d InFlightLimits,
    ) -> Acquire<'d> {
        let mut changed = Acquire::keyless(acquire.id, limits, acquire.now);
        (changed.caller.key, changed.caller.address) = (key, self.address(acquire.caller.address));
        changed
    }

    /// Takes a slot of one limit after the other.
    fn acquire_each(&self, acquire: &Acquire<'_>) -> Acquired {
        let mut full = None;
        for (limit, one) in acquire.limits.all().iter().enumerate() {
            let alone = InFlightLimits::new([one.clone()]);
            let mut one = *acquire;
            one.limits = &alone;
            let acquired = ready(self.inner.acquire(&one));
            if matches!(acquired, Acquired::Full { .. }) {
                full = full.or(Some(Acquired::Full { limit }));
            }
        }
        full.unwrap_or(Acquired::Held { local: false })
    }

    /// Draws from one window after the other.
    fn draw_each(&self, draw: &Draw<'_>) -> LimitDecision {
        let each = |policy: &QuotaPolicy| {
            let alone = Quotas::new([policy.clone()]);
            let mut one = *draw;
            one.quotas = &alone;
            ready(self.inner.draw(&one))
        };
        let answers: Vec<LimitDecision> = draw.quotas.policies().map(each).collect();
        let refused = answers.iter().find(|answer| matches!(answer, LimitDecision::Exceeded { .. }));
        refused.or(answers.first()).cloned().unwrap()
    }
}

impl RateLimiter for Broken {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        let key = draw.caller.key.map(|key| self.key(key, draw.quotas));
        let quotas = self.quotas(draw.quotas);
        let one = self.changed(draw, key.as_ref(), &quotas);
        if let Err(error) = answer(self.inner.peek(&one)) {
            let any = WindowStatus::new(0, 0, Duration::ZERO);
            return match self.rule {
                Some(Rule::AdmitsUnknownOwners) => StoreFuture::ready(LimitDecision::Within(any)),
                _ => StoreFuture::failed(error),
            };
        }
        let left = || ready(self.inner.peek(&one)).iter().map(|window| window.remaining).min().unwrap_or(0);
        let weight = match self.rule {
            Some(Rule::IgnoresWeights) => NonZeroU32::MIN,
            Some(Rule::TakesTheRestForAWeight) => {
                NonZeroU32::new(left()).map_or(draw.weight, |left| left.min(draw.weight))
            }
            _ => draw.weight,
        };
        let draw = one.weighing(weight);
        let room = || ready(self.inner.peek(&draw)).iter().all(|window| window.remaining > 0);
        let mut quota = match self.rule {
            Some(Rule::TakesSome) => self.draw_each(&draw),
            Some(Rule::PeeksThenDraws) => {
                let had_room = room();
                std::thread::sleep(Duration::from_millis(3));
                match ready(self.inner.draw(&draw)) {
                    LimitDecision::Exceeded { window_status, .. } if had_room => {
                        LimitDecision::Within(window_status)
                    }
                    quota => quota,
                }
            }
            _ => ready(self.inner.draw(&draw)),
        };
        let any = WindowStatus::new(0, 0, Duration::ZERO);
        match (self.rule, &mut quota) {
            (Some(Rule::TakesTheRestWhenRefused), LimitDecision::Exceeded { .. }) => {
                if let Some(left) = NonZeroU32::new(left()) {
                    drop(self.inner.draw(&one.weighing(left)));
                }
            }
            (Some(Rule::RefusesHeavyRequests), LimitDecision::Within(window_status))
                if weight.get() > quotas.capacity() =>
            {
                quota = LimitDecision::Exceeded { retry_after: DAY, window_status: window_status.clone() };
            }
            (Some(Rule::WaitsForPartOfTheWeight), LimitDecision::Exceeded { retry_after, .. }) => {
                *retry_after /= weight.get();
            }
            (Some(Rule::AdmitsAll), LimitDecision::Exceeded { window_status, .. }) => {
                quota = LimitDecision::Within(window_status.clone());
            }
            (Some(Rule::RefusesAll), _) => {
                quota = LimitDecision::Exceeded { retry_after: Duration::ZERO, window_status: any }
            }
            (Some(Rule::TellsOneMore), LimitDecision::Within(window_status)) => window_status.remaining += 1,
            (
                Some(Rule::NamesTheFirst),
                LimitDecision::Within(window_status) | LimitDecision::Exceeded { window_status, .. },
            ) => {
                window_status.policy = 0;
            }
            (Some(Rule::SaysNoWait), LimitDecision::Exceeded { retry_after, .. }) => {
                *retry_after = Duration::ZERO;
            }
            (Some(Rule::SaysTooLong), LimitDecision::Exceeded { retry_after, .. }) => {
                *retry_after += Duration::from_nanos(1);
            }
            _ => {}
        }
        StoreFuture::ready(quota)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        let key = draw.caller.key.map(|key| self.key(key, draw.quotas));
        let quotas = self.quotas(draw.quotas);
        let draw = self.changed(draw, key.as_ref(), &quotas);
        let mut window_statuses = ready(self.inner.peek(&draw));
        match self.rule {
            Some(Rule::TakesWhenPeeked) => drop(self.inner.draw(&draw)),
            Some(Rule::PeeksBackwards) => window_statuses.reverse(),
            Some(Rule::TellsALateReset) => {
                for window in &mut window_statuses {
                    window.reset += Duration::from_secs(1);
                }
            }
            Some(Rule::TellsAnEarlyNext) => {
                for window in &mut window_statuses {
                    let next = window.next().saturating_sub(Duration::from_nanos(1));
                    *window = window.clone().with_next(next);
                }
            }
            _ => {}
        }
        StoreFuture::ready(window_statuses)
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        let key = acquire.caller.key.map(|key| self.key(key, &Quotas::default()));
        let limits = self.limits(acquire.limits);
        let acquire = self.changed_slots(acquire, key.as_ref(), &limits);
        let mut acquired = match answer(self.inner.acquire(&acquire)) {
            Err(_) if self.rule == Some(Rule::AdmitsUnknownOwners) => Acquired::Held { local: false },
            Err(error) => return StoreFuture::failed(error),
            Ok(acquired) => acquired,
        };
        let is_held = matches!(acquired, Acquired::Held { .. });
        match self.rule {
            Some(Rule::TakesSomeSlots) if !is_held => acquired = self.acquire_each(&acquire),
            // The slot is given before the others have looked.
            Some(Rule::LooksThenAcquires) if is_held => {
                ready(self.inner.release(&acquire));
                std::thread::sleep(Duration::from_millis(3));
                drop(self.inner.acquire(&acquire));
            }
            _ => {}
        }
        match (self.rule, &mut acquired) {
            (Some(Rule::GivesNoSlot), _) => acquired = Acquired::Full { limit: 0 },
            (Some(Rule::NamesTheLastLimit), Acquired::Full { limit }) => *limit = limits.all().len() - 1,
            (Some(Rule::TakesACellForASlot), _) => {
                let quotas = Quotas::new([QuotaPolicy::new(3, Duration::from_hours(1)).unwrap()]);
                drop(self.inner.draw(&Draw::new(acquire.caller.key.unwrap(), &quotas, acquire.now)));
            }
            _ => {}
        }
        StoreFuture::ready(acquired)
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        let key = acquire.caller.key.map(|key| self.key(key, &Quotas::default()));
        let limits = self.limits(acquire.limits);
        let limits = match self.rule {
            Some(Rule::KeepsReleasedSlots) => InFlightLimits::default(),
            Some(Rule::FreesTheFirstLimit) => InFlightLimits::new(limits.all().first().cloned()),
            _ => limits,
        };
        self.inner.release(&self.changed_slots(acquire, key.as_ref(), &limits))
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        let draw = &correction.draw;
        let key = draw.caller.key.map(|key| self.key(key, draw.quotas));
        let mut quotas = self.changed_quotas(draw.quotas, true);
        let reserve = draw.weight.get();
        let (mut actual, mut elapsed, mut late) = (correction.actual, correction.elapsed, Duration::ZERO);
        match self.rule {
            Some(Rule::IgnoresCorrections) => return StoreFuture::ready(()),
            Some(Rule::GivesNothingBack) => actual = actual.max(reserve),
            Some(Rule::ForgetsDebts) => {
                let left = ready(self.inner.peek(&self.changed(draw, key.as_ref(), &quotas)));
                let left = left.iter().map(|window| window.remaining).min().unwrap_or(0);
                actual = actual.min(reserve + left);
            }
            // The bound on the debt is relative to the time.
            Some(Rule::OwesTooMuch) if actual > 1_000 => late = Duration::from_mins(1),
            Some(Rule::GivesBackRefills) => elapsed = Duration::ZERO,
            Some(Rule::CorrectsOneWindow) => {
                quotas = Quotas::new(quotas.policies().take(1).cloned());
            }
            _ => {}
        }
        let mut one = self.changed(draw, key.as_ref(), &quotas).weighing(draw.weight);
        one.now = Now::new(one.now.wall(), one.now.elapsed() + late);
        self.inner.correct(&Correction::new(one, actual, elapsed))
    }

    fn limits_in_flight(&self) -> bool {
        self.rule != Some(Rule::HidesItsSlots)
    }
}
