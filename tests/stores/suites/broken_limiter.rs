//! A limiter that breaks one rule of its contract.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::account::{Counts, QuotaPolicy, Quotas};
use tollgate::clock::Now;
use tollgate::limit::{Draw, Quota, Standing};
use tollgate::{Account, KeyId, KeyRecord, MemoryLimiter, RateLimiter, StoreFuture};

use super::broken_store::ready;

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
    StandsStill,
    TakesLogsForBuckets,
    StartsAnewWhenQuotasChange,
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
        let policies = quotas.policies().cloned();
        Quotas::new(policies.map(|policy| match (self.rule, policy.counts()) {
            (Some(Rule::TakesPoolsForOne), Counts::Pool(_)) => policy.counting(Counts::Pool("one".into())),
            (Some(Rule::CountsKeysAlone), _) => policy.counting(Counts::Key),
            (Some(Rule::TakesLogsForBuckets), counts) => {
                QuotaPolicy::new(policy.quota(), policy.window()).unwrap().counting(counts.clone())
            }
            _ => policy,
        }))
    }

    /// Draws from one window after the other.
    fn draw_each(&self, draw: &Draw<'_>) -> Quota {
        let each = |policy: &QuotaPolicy| {
            let alone = Quotas::new([policy.clone()]);
            ready(self.inner.draw(&Draw::new(draw.key, &alone, draw.now)))
        };
        let answers: Vec<Quota> = draw.quotas.policies().map(each).collect();
        let refused = answers.iter().find(|answer| matches!(answer, Quota::Exceeded { .. }));
        refused.or(answers.first()).cloned().unwrap()
    }
}

impl RateLimiter for Broken {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        let (key, quotas) = (self.key(draw.key, draw.quotas), self.quotas(draw.quotas));
        let draw = Draw::new(&key, &quotas, self.now(draw.now));
        let room = || ready(self.inner.peek(&draw)).iter().all(|window| window.remaining > 0);
        let mut quota = match self.rule {
            Some(Rule::TakesSome) => self.draw_each(&draw),
            Some(Rule::PeeksThenDraws) => {
                let had_room = room();
                std::thread::sleep(Duration::from_millis(3));
                match ready(self.inner.draw(&draw)) {
                    Quota::Exceeded { standing, .. } if had_room => Quota::Within(standing),
                    quota => quota,
                }
            }
            _ => ready(self.inner.draw(&draw)),
        };
        let any = Standing::new(0, 0, Duration::ZERO);
        match (self.rule, &mut quota) {
            (Some(Rule::AdmitsAll), Quota::Exceeded { standing, .. }) => {
                quota = Quota::Within(standing.clone());
            }
            (Some(Rule::RefusesAll), _) => {
                quota = Quota::Exceeded { retry_after: Duration::ZERO, standing: any }
            }
            (Some(Rule::TellsOneMore), Quota::Within(standing)) => standing.remaining += 1,
            (Some(Rule::NamesTheFirst), Quota::Within(standing) | Quota::Exceeded { standing, .. }) => {
                standing.policy = 0;
            }
            (Some(Rule::SaysNoWait), Quota::Exceeded { retry_after, .. }) => *retry_after = Duration::ZERO,
            (Some(Rule::SaysTooLong), Quota::Exceeded { retry_after, .. }) => {
                *retry_after += Duration::from_nanos(1);
            }
            _ => {}
        }
        StoreFuture::ready(quota)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        let (key, quotas) = (self.key(draw.key, draw.quotas), self.quotas(draw.quotas));
        let draw = Draw::new(&key, &quotas, self.now(draw.now));
        let mut standings = ready(self.inner.peek(&draw));
        match self.rule {
            Some(Rule::TakesWhenPeeked) => drop(self.inner.draw(&draw)),
            Some(Rule::PeeksBackwards) => standings.reverse(),
            Some(Rule::TellsALateReset) => {
                for window in &mut standings {
                    window.reset += Duration::from_secs(1);
                }
            }
            _ => {}
        }
        StoreFuture::ready(standings)
    }
}
