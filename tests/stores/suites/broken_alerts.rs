//! An alert store that breaks one rule of its contract.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tollgate::StoreFuture;
use tollgate::alert::{Alert, AlertId, AlertKind, AlertStore, Crossing, Delivery, WRONG_BY};
use tollgate::clock::Timestamp;
use tollgate::name::AccountId;

rules! {
    ClaimsAlways,
    ClaimsNothing,
    ClaimsOnePeriod,
    ClaimsEarlierPeriods,
    HoldsWrongClocks,
    HoldsNoDayAhead,
    LosesClaimRaces,
    IgnoresKinds,
    IgnoresSubjects,
    IgnoresThresholds,
    ReleasesNothing,
    ReleasesLaterPeriods,
    ReleasesUnknown,
    ListsByArrival,
    ListsAllTimes,
    ListsAllKinds,
    ListsReleased,
    ListsOneMore,
    LosesValues,
    LosesTheTimeOfTheAttempt,
    TellsOneSink,
    TellsOfRefusedClaims,
    IgnoresSinks,
    IgnoresDueTimes,
    WaitsForWrongClocks,
    TakesADayAhead,
    ForwardsEarly,
    ForwardsWithoutSinks,
    ForwardsAll,
    ForwardsTwice,
    ForwardsToOneSink,
    ForwardsToThePast,
    CountsNoneForwarded,
    LosesForwardRaces,
    NeverLeases,
    LeasesForEver,
    CountsNoAttempts,
    LosesTakeRaces,
    TakesOneMore,
    IgnoresRetries,
    RetriesAllSinks,
    FinishesNothing,
    FinishesAllSinks,
    FinishesTheFirst,
    ForgetsNothing,
    ForgetsAll,
    ForgetsTheTimeItself,
    ForgetsAllDeliveries,
    ForgetsDeliveriesOfTheTime,
    ForgetsNoDelivery,
    CountsNoneForgotten,
    ForgetsOwnDeliveries,
    ErasesNothing,
    ErasesAll,
    ErasesNoDelivery,
    ErasesNoForwardedDelivery,
    ErasesNoCrossing,
    ErasesOneCrossing,
    ErasesUnknown,
}

#[derive(Debug, Default, Clone)]
struct Kept {
    crossings: Vec<(Crossing, Timestamp)>,
    released: Vec<(Crossing, Timestamp)>,
    deliveries: Vec<(Delivery, Timestamp)>,
    owners: Vec<(Crossing, Option<AccountId>)>,
}

#[derive(Debug)]
pub(crate) struct Broken {
    kept: Mutex<Kept>,
    rule: Rule,
}

impl Broken {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { kept: Mutex::default(), rule }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    fn is(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    fn is_same(&self, one: &Crossing, other: &Crossing) -> bool {
        (one.kind == other.kind || self.is(Rule::IgnoresKinds))
            && (one.subject == other.subject || self.is(Rule::IgnoresSubjects))
            && (one.threshold == other.threshold || self.is(Rule::IgnoresThresholds))
    }

    fn claim_in(&self, kept: &mut Kept, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> bool {
        let remembered = kept.crossings.iter().position(|(one, _)| self.is_same(one, crossing));
        let period = remembered.map(|at| kept.crossings[at].0.period);
        let is_new = match self.rule {
            Rule::ClaimsAlways => true,
            Rule::ClaimsNothing => false,
            Rule::ClaimsOnePeriod => period.is_none(),
            Rule::ClaimsEarlierPeriods => period != Some(crossing.period),
            _ => period.is_none_or(|period| period < crossing.period),
        };
        let claimed = remembered.map(|at| kept.crossings[at].1);
        let latest = match self.rule {
            Rule::HoldsWrongClocks => Timestamp::from_millis(i64::MAX),
            Rule::HoldsNoDayAhead => alert.time,
            _ => alert.time.saturating_add(WRONG_BY),
        };
        let is_new = is_new || claimed.is_some_and(|claimed| claimed > latest);
        if is_new {
            remembered.map(|at| kept.crossings.remove(at));
            kept.crossings.push((crossing.clone(), alert.time));
            kept.owners.push((crossing.clone(), alert.account.clone()));
        }
        if is_new || self.is(Rule::TellsOfRefusedClaims) {
            let sinks = if self.is(Rule::TellsOneSink) { &sinks[..sinks.len().min(1)] } else { sinks };
            for sink in sinks {
                let mut alert = alert.clone();
                if self.is(Rule::LosesValues) {
                    alert.value = None;
                }
                let due = alert.time;
                kept.deliveries.push((Delivery::new(alert, sink, 0, due), due));
            }
        }
        is_new
    }

    fn is_due(&self, due: Timestamp, now: Timestamp) -> bool {
        let is_wrong = match self.rule {
            Rule::WaitsForWrongClocks => false,
            Rule::TakesADayAhead => due >= now.saturating_add(WRONG_BY),
            _ => due > now.saturating_add(WRONG_BY),
        };
        due <= now || is_wrong || self.is(Rule::IgnoresDueTimes)
    }

    fn forward_in(&self, kept: &mut Kept, from: &str, sinks: &[String], now: Timestamp) -> u64 {
        if sinks.is_empty() && !self.is(Rule::ForwardsWithoutSinks) {
            return 0;
        }
        let is_replaced = |(delivery, due): &(Delivery, Timestamp)| {
            (delivery.sink == from || (self.is(Rule::ForwardsAll) && !sinks.contains(&delivery.sink)))
                && (*due <= now || self.is(Rule::ForwardsEarly))
        };
        let replaced: Vec<_> = kept.deliveries.iter().filter(|kept| is_replaced(kept)).cloned().collect();
        if !self.is(Rule::ForwardsTwice) {
            kept.deliveries.retain(|kept| !is_replaced(kept));
        }
        let sinks = if self.is(Rule::ForwardsToOneSink) { &sinks[..1] } else { sinks };
        for (delivery, due) in &replaced {
            for sink in sinks {
                let due = if self.is(Rule::ForwardsToThePast) { *due } else { now };
                let mut alert = delivery.alert.clone();
                if self.is(Rule::ErasesNoForwardedDelivery) {
                    alert.account = None;
                }
                kept.deliveries.push((Delivery::new(alert, sink, 0, due), due));
            }
        }
        if self.is(Rule::CountsNoneForwarded) { 0 } else { u64::try_from(replaced.len()).unwrap() }
    }

    fn take_in(
        &self,
        kept: &mut Kept,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Vec<Delivery> {
        let limit = limit + usize::from(self.is(Rule::TakesOneMore));
        let due = kept.deliveries.iter_mut().filter(|(delivery, due)| {
            self.is_due(*due, now) && (sinks.contains(&delivery.sink) || self.is(Rule::IgnoresSinks))
        });
        let taken = due.take(limit).map(|(delivery, due)| {
            *due = match self.rule {
                Rule::NeverLeases => *due,
                Rule::LeasesForEver => now.saturating_add(1_000 * lease),
                _ => now.saturating_add(lease),
            };
            if !self.is(Rule::CountsNoAttempts) || delivery.attempt == 0 {
                delivery.attempt += 1;
            }
            let mut taken = delivery.clone();
            if !self.is(Rule::LosesTheTimeOfTheAttempt) {
                taken.now = now;
            }
            taken
        });
        taken.collect()
    }

    /// Changes a copy, and stores it later, so that concurrent changes are lost.
    fn slowly<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut copy = self.kept().clone();
        std::thread::sleep(Duration::from_millis(3));
        let answer = change(&mut copy);
        *self.kept() = copy;
        answer
    }
}

impl AlertStore for Broken {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        StoreFuture::ready(if self.is(Rule::LosesClaimRaces) {
            self.slowly(|kept| self.claim_in(kept, crossing, alert, sinks))
        } else {
            self.claim_in(&mut self.kept(), crossing, alert, sinks)
        })
    }

    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        let mut kept = self.kept();
        let is_released = |one: &Crossing| {
            self.is_same(one, crossing)
                && (one.period <= crossing.period || self.is(Rule::ReleasesLaterPeriods))
                && !self.is(Rule::ReleasesNothing)
        };
        let released: Vec<_> = kept.crossings.extract_if(.., |(one, _)| is_released(one)).collect();
        let is_remembered = !released.is_empty();
        kept.released.extend(released);
        StoreFuture::ready(is_remembered || self.is(Rule::ReleasesUnknown))
    }

    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        let kept = self.kept();
        let mut found = kept.crossings.clone();
        if self.is(Rule::ListsReleased) {
            found.extend(kept.released.iter().cloned());
        }
        found.retain(|(crossing, claimed)| {
            (crossing.kind == kind || self.is(Rule::ListsAllKinds))
                && (*claimed >= since || self.is(Rule::ListsAllTimes))
        });
        if !self.is(Rule::ListsByArrival) {
            found.sort_by_key(|(_, claimed)| *claimed);
        }
        found.truncate(limit + usize::from(self.is(Rule::ListsOneMore)));
        StoreFuture::ready(found)
    }

    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64> {
        StoreFuture::ready(if self.is(Rule::LosesForwardRaces) {
            self.slowly(|kept| self.forward_in(kept, from, sinks, now))
        } else {
            self.forward_in(&mut self.kept(), from, sinks, now)
        })
    }

    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        StoreFuture::ready(if self.is(Rule::LosesTakeRaces) {
            self.slowly(|kept| self.take_in(kept, sinks, now, lease, limit))
        } else {
            self.take_in(&mut self.kept(), sinks, now, lease, limit)
        })
    }

    fn retry(&self, alert: AlertId, sink: &str, time: Timestamp) -> StoreFuture<()> {
        for (delivery, due) in &mut self.kept().deliveries {
            let is_of_sink = delivery.sink == sink || self.is(Rule::RetriesAllSinks);
            if delivery.alert.id == alert && is_of_sink && !self.is(Rule::IgnoresRetries) {
                *due = time;
            }
        }
        StoreFuture::ready(())
    }

    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        let deliveries = &mut self.kept().deliveries;
        match self.rule {
            Rule::FinishesNothing => {}
            Rule::FinishesAllSinks => deliveries.retain(|(delivery, _)| delivery.alert.id != alert),
            Rule::FinishesTheFirst => {
                let first = deliveries.iter().position(|(delivery, _)| delivery.alert.id == alert);
                first.map(|at| deliveries.remove(at));
            }
            _ => deliveries.retain(|(delivery, _)| delivery.alert.id != alert || delivery.sink != sink),
        }
        StoreFuture::ready(())
    }

    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64> {
        let mut kept = self.kept();
        let length = kept.crossings.len();
        match self.rule {
            Rule::ForgetsNothing => {}
            Rule::ForgetsAll => kept.crossings.clear(),
            Rule::ForgetsTheTimeItself => kept.crossings.retain(|(_, claimed)| *claimed > before),
            _ => kept.crossings.retain(|(_, claimed)| *claimed >= before),
        }
        match self.rule {
            Rule::ForgetsNoDelivery => {}
            Rule::ForgetsAllDeliveries => kept.deliveries.clear(),
            Rule::ForgetsDeliveriesOfTheTime => kept.deliveries.retain(|(_, due)| *due > before),
            Rule::ForgetsOwnDeliveries => kept.deliveries.retain(|(_, due)| *due >= before),
            _ => kept.deliveries.retain(|(kept, due)| *due >= before || sinks.contains(&kept.sink)),
        }
        let forgotten = u64::try_from(length - kept.crossings.len()).unwrap();
        StoreFuture::ready(if self.is(Rule::CountsNoneForgotten) { 0 } else { forgotten })
    }

    fn erase(&self, account: &AccountId) -> StoreFuture<bool> {
        let kept = &mut *self.kept();
        if self.is(Rule::ErasesNothing) {
            return StoreFuture::ready(false);
        }
        let number = kept.crossings.len() + kept.deliveries.len();
        let is_erased = |of: &Option<AccountId>| of.as_ref() == Some(account) || self.is(Rule::ErasesAll);
        if !self.is(Rule::ErasesNoDelivery) {
            kept.deliveries.retain(|(delivery, _)| !is_erased(&delivery.alert.account));
        }
        let mut erased: Vec<_> =
            kept.owners.iter().filter(|(_, of)| is_erased(of)).map(|(one, _)| one).collect();
        erased.truncate(match self.rule {
            Rule::ErasesNoCrossing => 0,
            Rule::ErasesOneCrossing => 1,
            _ => erased.len(),
        });
        kept.crossings.retain(|(crossing, _)| !erased.contains(&crossing));
        let is_changed = kept.crossings.len() + kept.deliveries.len() < number;
        StoreFuture::ready(is_changed || self.is(Rule::ErasesUnknown))
    }
}
