//! The conformance checks for alert stores.

use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, AlertId, AlertKind, AlertStore, Crossing, WRONG_BY};
use crate::clock::Timestamp;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Suite, Verdict, holds, same};
use crate::key::KeyId;

type Store = Arc<dyn AlertStore>;

pub(super) fn suite(store: &Store) -> Suite {
    Suite::new("alerts", [checks(store)])
}

fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_crossing_is_claimed_once,
        each_part_of_a_crossing_tells_it_apart,
        a_later_period_is_claimed,
        an_earlier_period_is_not_claimed,
        a_crossing_of_a_wrong_clock_does_not_hold,
        concurrent_claims_succeed_once,
        a_released_crossing_is_claimed_again,
        a_crossing_of_a_later_period_is_not_released,
        claimed_crossings_are_listed_by_time,
        claimed_crossings_are_of_one_kind,
        a_list_of_crossings_ends_at_its_limit,
        an_alert_is_taken_as_it_was_claimed,
        an_alert_is_stored_for_each_sink,
        a_refused_claim_stores_no_alert,
        deliveries_are_of_the_named_sinks,
        an_alert_is_not_due_before_its_time,
        a_time_of_a_wrong_clock_is_due,
        a_lease_holds_a_delivery,
        attempts_are_counted,
        concurrent_nodes_take_a_delivery_once,
        a_page_of_deliveries_ends_at_its_limit,
        a_retry_sets_the_time,
        a_finished_delivery_is_removed,
        a_delivery_is_forwarded_to_each_sink,
        concurrent_nodes_forward_a_delivery_once,
        old_crossings_are_forgotten,
        old_deliveries_to_own_sinks_stay,
        an_erased_account_leaves_nothing,
    ]
}

const LEASE: Duration = Duration::from_mins(1);

/// A subject and two sinks that no other check uses, and the time of its first alert.
#[derive(Clone)]
struct Subject {
    store: Store,
    name: String,
    sinks: Vec<String>,
    start: Timestamp,
}

impl Subject {
    fn new(store: Store) -> Self {
        let sinks = vec![fresh::name(), fresh::name()];
        Self { store, name: fresh::name(), sinks, start: fresh::now() }
    }

    /// Returns the time that is this number of seconds after the start.
    fn at(&self, seconds: u64) -> Timestamp {
        self.start.saturating_add(Duration::from_secs(seconds))
    }

    fn crossing(&self, period: i64) -> Crossing {
        Crossing::new(AlertKind::BalanceBelow, self.name.as_str(), "20%", period)
    }

    /// Returns an alert of this number of seconds after the start.
    fn alert(&self, seconds: u64) -> Alert {
        let mut alert = Alert::new(AlertKind::BalanceBelow, self.at(seconds));
        alert.account = Some(self.name.as_str().into());
        alert
    }

    /// Claims a crossing, with an alert to both sinks.
    async fn claim(&self, crossing: &Crossing) -> Result<bool, Fault> {
        Ok(self.store.claim(crossing, &self.alert(0), &self.sinks).await?)
    }

    /// Claims a crossing of a new subject, with an alert of this time to both sinks. Returns the id of the alert.
    async fn told(&self, seconds: u64) -> Result<AlertId, Fault> {
        let alert = self.alert(seconds);
        let crossing = Crossing::new(AlertKind::BalanceBelow, fresh::name(), "20%", 1);
        holds("a new crossing is claimed", self.store.claim(&crossing, &alert, &self.sinks).await?)?;
        Ok(alert.id)
    }

    /// Takes the deliveries that are due at this number of seconds after the start, as alert, sink and attempt.
    async fn taken(&self, seconds: u64) -> Result<Vec<(AlertId, String, u32)>, Fault> {
        let deliveries = self.store.take_due(&self.sinks, self.at(seconds), LEASE, 100).await?;
        let mut taken: Vec<_> = deliveries
            .into_iter()
            .map(|delivery| (delivery.alert.id, delivery.sink, delivery.attempt))
            .collect();
        taken.sort_unstable();
        Ok(taken)
    }

    /// Returns the deliveries of these alerts to both sinks at this attempt.
    fn to_both(&self, alerts: &[AlertId], attempt: u32) -> Vec<(AlertId, String, u32)> {
        let of_one =
            |alert: &AlertId| self.sinks.iter().map(|sink| (*alert, sink.clone(), attempt)).collect();
        let mut all: Vec<_> = alerts.iter().flat_map(|alert| -> Vec<_> { of_one(alert) }).collect();
        all.sort_unstable();
        all
    }

    /// Returns the claimed crossings whose subjects are these, of the kind of the subject's alerts.
    async fn claimed(
        &self,
        since: Timestamp,
        subjects: &[&str],
    ) -> Result<Vec<(Crossing, Timestamp)>, Fault> {
        let mut claimed = self.store.claimed(AlertKind::BalanceBelow, since, 1_000_000).await?;
        claimed.retain(|(crossing, _)| subjects.contains(&crossing.subject.as_str()));
        Ok(claimed)
    }
}

async fn a_crossing_is_claimed_once(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let crossing = subject.crossing(7);
    same("the first claim", subject.claim(&crossing).await?, true)?;
    same("the second claim", subject.claim(&crossing).await?, false)
}

async fn each_part_of_a_crossing_tells_it_apart(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let crossing = subject.crossing(7);
    same("the claim", subject.claim(&crossing).await?, true)?;
    for (part, other) in [
        ("kind", Crossing { kind: AlertKind::QuotaAbove, ..crossing.clone() }),
        ("subject", Crossing { subject: fresh::name(), ..crossing.clone() }),
        ("threshold", Crossing { threshold: "500".into(), ..crossing.clone() }),
    ] {
        same(&format!("the claim of another {part}"), subject.claim(&other).await?, true)?;
        same("the same claim again", subject.claim(&other).await?, false)?;
    }
    same("the first claim again", subject.claim(&crossing).await?, false)
}

async fn a_later_period_is_claimed(store: Store) -> Verdict {
    let subject = Subject::new(store);
    for period in [-3, 0, 1, i64::from(u32::MAX), i64::MAX] {
        same("the claim of a later period", subject.claim(&subject.crossing(period)).await?, true)?;
        same("the claim of the period again", subject.claim(&subject.crossing(period)).await?, false)?;
    }
    Ok(())
}

async fn an_earlier_period_is_not_claimed(store: Store) -> Verdict {
    let subject = Subject::new(store);
    same("the claim", subject.claim(&subject.crossing(7)).await?, true)?;
    same("the claim of an earlier period", subject.claim(&subject.crossing(6)).await?, false)?;
    same("the claim of the period", subject.claim(&subject.crossing(7)).await?, false)
}

async fn a_crossing_of_a_wrong_clock_does_not_hold(store: Store) -> Verdict {
    let day = WRONG_BY.as_secs();
    for (seconds, expected) in [(day, false), (day + 1, true)] {
        let subject = Subject::new(Arc::clone(&store));
        let claim = async |period, seconds| {
            let (crossing, alert) = (subject.crossing(period), subject.alert(seconds));
            subject.store.claim(&crossing, &alert, &subject.sinks).await
        };
        same("the claim", claim(7, seconds).await?, true)?;
        same("the claim at an earlier time", claim(6, 0).await?, expected)?;
        same("the same claim again", claim(6, 0).await?, false)?;
    }
    Ok(())
}

async fn concurrent_claims_succeed_once(store: Store) -> Verdict {
    let subject = Subject::new(store);
    for period in 1..=4 {
        let calls = (0..RACERS).map(|_| {
            let subject = subject.clone();
            move || subject.store.claim(&subject.crossing(period), &subject.alert(0), &subject.sinks)
        });
        let succeeded = race(calls).await?.into_iter().filter(|claimed| *claimed).count();
        same("the number of claims that succeeded", succeeded, 1)?;
    }
    same("the number of deliveries", subject.taken(0).await?.len(), 8)
}

async fn a_released_crossing_is_claimed_again(store: Store) -> Verdict {
    let subject = Subject::new(store);
    same("the release of an unknown crossing", subject.store.release(&subject.crossing(7)).await?, false)?;
    for period in [7, 8] {
        same("the claim", subject.claim(&subject.crossing(7)).await?, true)?;
        let other = Crossing { threshold: "500".into(), ..subject.crossing(period) };
        same("the release of another threshold", subject.store.release(&other).await?, false)?;
        same("the release", subject.store.release(&subject.crossing(period)).await?, true)?;
        same("the second release", subject.store.release(&subject.crossing(period)).await?, false)?;
    }
    same("the claim after the release", subject.claim(&subject.crossing(7)).await?, true)
}

async fn a_crossing_of_a_later_period_is_not_released(store: Store) -> Verdict {
    let subject = Subject::new(store);
    same("the claim", subject.claim(&subject.crossing(7)).await?, true)?;
    same("the release of an earlier period", subject.store.release(&subject.crossing(6)).await?, false)?;
    same("the claim again", subject.claim(&subject.crossing(7)).await?, false)
}

async fn claimed_crossings_are_listed_by_time(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let names: Vec<_> = (0..5).map(|_| fresh::name()).collect();
    let mut expected = Vec::new();
    for (name, seconds) in names.iter().zip([3, 1, 4, 2, 0]) {
        let crossing = Crossing::new(AlertKind::BalanceBelow, name.as_str(), "20%", 7);
        let alert = subject.alert(seconds);
        holds("a crossing is claimed", subject.store.claim(&crossing, &alert, &[]).await?)?;
        expected.push((crossing, alert.time));
    }
    expected.sort_by_key(|(_, time)| *time);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    same("the crossings", subject.claimed(subject.at(0), &names).await?, expected.clone())?;
    same("those from a time", subject.claimed(subject.at(2), &names).await?, expected.split_off(2))
}

async fn claimed_crossings_are_of_one_kind(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let other = Crossing { kind: AlertKind::QuotaAbove, ..subject.crossing(7) };
    same("the claim", subject.claim(&other).await?, true)?;
    same("the crossings", subject.claimed(subject.at(0), &[&subject.name]).await?, Vec::new())?;
    same("the claim of the kind", subject.claim(&subject.crossing(7)).await?, true)?;
    let expected = vec![(subject.crossing(7), subject.at(0))];
    same("the crossings", subject.claimed(subject.at(0), &[&subject.name]).await?, expected)?;
    holds("the crossing is released", subject.store.release(&subject.crossing(7)).await?)?;
    same("the crossings", subject.claimed(subject.at(0), &[&subject.name]).await?, Vec::new())
}

async fn a_list_of_crossings_ends_at_its_limit(store: Store) -> Verdict {
    let subject = Subject::new(store);
    for _ in 0..3 {
        let _ = subject.told(0).await?;
    }
    for limit in [0, 1, 2] {
        let claimed = subject.store.claimed(AlertKind::BalanceBelow, subject.at(0), limit).await?;
        same("the number of crossings", claimed.len(), limit)?;
    }
    Ok(())
}

async fn an_alert_is_taken_as_it_was_claimed(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let mut alert = subject.alert(0);
    alert.plan = Some("pro".into());
    alert.key = Some(KeyId::generate());
    alert.quota = Some("\"Ä\" 世界; --".into());
    alert.back_end = Some("ledger".into());
    alert.threshold = Some("20%".into());
    alert.value = Some("19".into());
    holds("the claim", subject.store.claim(&subject.crossing(7), &alert, &subject.sinks[..1]).await?)?;
    let taken = subject.store.take_due(&subject.sinks, subject.at(5), LEASE, 100).await?;
    let taken: Vec<_> =
        taken.into_iter().map(|delivery| (delivery.alert, delivery.sink, delivery.now)).collect();
    same("the delivery", taken, vec![(alert, subject.sinks[0].clone(), subject.at(5))])
}

async fn an_alert_is_stored_for_each_sink(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alerts = [subject.told(0).await?, subject.told(0).await?];
    same("the deliveries", subject.taken(0).await?, subject.to_both(&alerts, 1))
}

async fn a_refused_claim_stores_no_alert(store: Store) -> Verdict {
    let subject = Subject::new(store);
    same("the claim", subject.claim(&subject.crossing(7)).await?, true)?;
    same("the claim again", subject.claim(&subject.crossing(7)).await?, false)?;
    same("the claim of an earlier period", subject.claim(&subject.crossing(6)).await?, false)?;
    same("the number of deliveries", subject.taken(0).await?.len(), 2)
}

async fn deliveries_are_of_the_named_sinks(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(0).await?;
    let take = |sinks: Vec<String>| subject.store.take_due(&sinks, subject.at(0), LEASE, 100);
    same("the deliveries to no sink", take(Vec::new()).await?.len(), 0)?;
    same("the deliveries to an unknown sink", take(vec![fresh::name()]).await?.len(), 0)?;
    let first = take(vec![subject.sinks[0].clone(), fresh::name()]).await?;
    let sinks: Vec<_> = first.into_iter().map(|delivery| delivery.sink).collect();
    same("the sinks", sinks, subject.sinks[..1].to_vec())?;
    same("the deliveries to both", subject.taken(0).await?, vec![(alert, subject.sinks[1].clone(), 1)])
}

async fn an_alert_is_not_due_before_its_time(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(5).await?;
    same("the early deliveries", subject.taken(4).await?, Vec::new())?;
    same("the deliveries", subject.taken(5).await?, subject.to_both(&[alert], 1))
}

async fn a_time_of_a_wrong_clock_is_due(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(0).await?;
    let _ = subject.taken(0).await?;
    let day = WRONG_BY.as_secs();
    subject.store.retry(alert, &subject.sinks[0], subject.at(day)).await?;
    subject.store.retry(alert, &subject.sinks[1], subject.at(day + 1)).await?;
    same("the deliveries", subject.taken(0).await?, vec![(alert, subject.sinks[1].clone(), 2)])
}

async fn a_lease_holds_a_delivery(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(0).await?;
    same("the deliveries", subject.taken(0).await?, subject.to_both(&[alert], 1))?;
    let lease = LEASE.as_secs();
    same("the deliveries during the lease", subject.taken(lease - 1).await?, Vec::new())?;
    same("the deliveries after the lease", subject.taken(lease).await?, subject.to_both(&[alert], 2))
}

async fn attempts_are_counted(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(0).await?;
    for attempt in 1..=4 {
        let seconds = u64::from(attempt - 1) * LEASE.as_secs();
        same("the deliveries", subject.taken(seconds).await?, subject.to_both(&[alert], attempt))?;
    }
    Ok(())
}

async fn concurrent_nodes_take_a_delivery_once(store: Store) -> Verdict {
    let subject = Subject::new(store);
    for _ in 0..4 {
        let _ = subject.told(0).await?;
    }
    let calls = (0..RACERS).map(|_| {
        let subject = subject.clone();
        move || subject.store.take_due(&subject.sinks, subject.at(0), LEASE, 100)
    });
    let mut taken = Vec::new();
    for delivery in race(calls).await?.into_iter().flatten() {
        taken.push((delivery.alert.id, delivery.sink));
    }
    // A call may leave out deliveries that another call has locked. They are due for the next call.
    taken.extend(subject.taken(0).await?.into_iter().map(|(alert, sink, _)| (alert, sink)));
    taken.sort_unstable();
    let number = taken.len();
    taken.dedup();
    same("the number of taken and of different deliveries", (number, taken.len()), (8, 8))
}

async fn a_page_of_deliveries_ends_at_its_limit(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alerts = [subject.told(0).await?, subject.told(0).await?];
    let mut taken = Vec::new();
    for (limit, expected) in [(0, 0), (1, 1), (2, 2), (3, 1)] {
        let page = subject.store.take_due(&subject.sinks, subject.at(0), LEASE, limit).await?;
        same("the number of deliveries", page.len(), expected)?;
        taken.extend(page.into_iter().map(|delivery| (delivery.alert.id, delivery.sink, delivery.attempt)));
    }
    taken.sort_unstable();
    same("the deliveries", taken, subject.to_both(&alerts, 1))
}

async fn a_retry_sets_the_time(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(0).await?;
    let _ = subject.taken(0).await?;
    let lease = LEASE.as_secs();
    subject.store.retry(alert, &subject.sinks[0], subject.at(10)).await?;
    subject.store.retry(alert, &subject.sinks[1], subject.at(lease + 10)).await?;
    same("the deliveries before both times", subject.taken(9).await?, Vec::new())?;
    same("those at the earlier time", subject.taken(10).await?, vec![(alert, subject.sinks[0].clone(), 2)])?;
    same("those at the end of the lease", subject.taken(lease).await?, Vec::new())?;
    let mut expected = vec![(alert, subject.sinks[0].clone(), 3), (alert, subject.sinks[1].clone(), 2)];
    expected.sort_unstable();
    same("those at the later time", subject.taken(lease + 10).await?, expected)
}

async fn a_finished_delivery_is_removed(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let alert = subject.told(0).await?;
    subject.store.finish(alert, &fresh::name()).await?;
    subject.store.finish(alert, &subject.sinks[0]).await?;
    subject.store.finish(alert, &subject.sinks[0]).await?;
    subject.store.retry(alert, &subject.sinks[0], subject.at(0)).await?;
    same("the deliveries", subject.taken(0).await?, vec![(alert, subject.sinks[1].clone(), 1)])?;
    subject.store.finish(alert, &subject.sinks[1]).await?;
    same("the deliveries after the lease", subject.taken(2 * LEASE.as_secs()).await?, Vec::new())
}

async fn a_delivery_is_forwarded_to_each_sink(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let from = [fresh::name()];
    let crossing = subject.crossing(7);
    let alert = subject.alert(5);
    holds("the crossing is claimed", subject.store.claim(&crossing, &alert, &from).await?)?;
    let forward = |sinks, seconds| subject.store.forward(&from[0], sinks, subject.at(seconds));
    same("the number before its time", forward(&subject.sinks, 4).await?, 0)?;
    same("the number without sinks", forward(&[], 5).await?, 0)?;
    same("the deliveries", subject.taken(5).await?.len(), 0)?;
    let other = subject.store.forward(&fresh::name(), &subject.sinks, subject.at(5)).await?;
    same("the number to another sink", other, 0)?;
    same("the number", forward(&subject.sinks, 7).await?, 1)?;
    same("the number of the second call", forward(&subject.sinks, 7).await?, 0)?;
    same("the deliveries before the call", subject.taken(6).await?.len(), 0)?;
    same("the deliveries", subject.taken(7).await?, subject.to_both(&[alert.id], 1))?;
    let replaced = subject.store.take_due(&from, subject.at(7), LEASE, 100).await?;
    same("the number of replaced deliveries", replaced.len(), 0)
}

async fn concurrent_nodes_forward_a_delivery_once(store: Store) -> Verdict {
    let subject = Subject::new(store);
    let from = [fresh::name()];
    for period in 1..=4 {
        let crossing = subject.crossing(period);
        holds("the crossing is claimed", subject.store.claim(&crossing, &subject.alert(0), &from).await?)?;
    }
    let calls = (0..RACERS).map(|_| {
        let (subject, from) = (subject.clone(), from[0].clone());
        move || subject.store.forward(&from, &subject.sinks, subject.at(0))
    });
    let mut forwarded: u64 = race(calls).await?.into_iter().sum();
    // A call may leave out deliveries that another call has locked. They are forwarded by the next call.
    forwarded += subject.store.forward(&from[0], &subject.sinks, subject.at(0)).await?;
    same("the number of forwarded deliveries", forwarded, 4)?;
    same("the number of deliveries", subject.taken(0).await?.len(), 8)
}

/// The store may be in use: only crossings of the year 1970 are forgotten.
async fn old_crossings_are_forgotten(store: Store) -> Verdict {
    let (old, later) = (Timestamp::from_millis(1_000), Timestamp::from_millis(1_001));
    let mut forgotten = 0;
    // Another run on the same store may forget the old crossing first. Then the next turn is tried.
    for _ in 0..10 {
        let subject = Subject { start: old, ..Subject::new(Arc::clone(&store)) };
        let stays = Subject { start: old, ..Subject::new(Arc::clone(&store)) };
        let recent = Subject::new(Arc::clone(&store));
        same("the claim", stays.claim(&stays.crossing(7)).await?, true)?;
        let claims = (subject.claim(&subject.crossing(7)).await?, recent.claim(&recent.crossing(7)).await?);
        same("the claims", claims, (true, true))?;
        subject.store.forget(old, &[]).await?;
        let kept = subject.claimed(old, &[&subject.name]).await?.len();
        let waiting = stays.taken(0).await?.len();
        forgotten = subject.store.forget(later, &[]).await?;
        same("the recent crossing", recent.claim(&recent.crossing(7)).await?, false)?;
        same("the recent deliveries", recent.taken(0).await?.len(), 2)?;
        same("the old deliveries", subject.taken(0).await?.len(), 0)?;
        if kept == 1 && waiting == 2 && forgotten > 0 {
            return same(
                "the claim of the forgotten crossing",
                subject.claim(&subject.crossing(7)).await?,
                true,
            );
        }
    }
    holds("the forgotten crossings are counted", forgotten > 0)?;
    holds("a crossing and a delivery of the time itself stay", false)
}

async fn old_deliveries_to_own_sinks_stay(store: Store) -> Verdict {
    let subject = Subject { start: Timestamp::from_millis(2_000), ..Subject::new(store) };
    let alert = subject.told(0).await?;
    subject.store.forget(Timestamp::from_millis(2_001), &[fresh::name(), subject.sinks[1].clone()]).await?;
    same("the deliveries", subject.taken(0).await?, vec![(alert, subject.sinks[1].clone(), 1)])
}

async fn an_erased_account_leaves_nothing(store: Store) -> Verdict {
    let (subject, other) = (Subject::new(Arc::clone(&store)), Subject::new(store));
    let from = [fresh::name()];
    let forwarded = Crossing::new(AlertKind::QuotaAbove, fresh::name(), "50%", 1);
    for subject in [&subject, &other] {
        same("the claim", subject.claim(&subject.crossing(7)).await?, true)?;
    }
    let alert = Alert { kind: AlertKind::QuotaAbove, ..subject.alert(0) };
    same("the claim for another gate", subject.store.claim(&forwarded, &alert, &from).await?, true)?;
    same(
        "the forwarded deliveries",
        subject.store.forward(&from[0], &subject.sinks, subject.at(0)).await?,
        1,
    )?;
    same("the erasure", subject.store.erase(&subject.name.as_str().into()).await?, true)?;
    same("the second erasure", subject.store.erase(&subject.name.as_str().into()).await?, false)?;
    same("the deliveries", subject.taken(0).await?.len(), 0)?;
    same("the deliveries of another account", other.taken(0).await?.len(), 2)?;
    let names = [subject.name.as_str(), &other.name];
    same("the crossings", subject.claimed(subject.at(0), &names).await?.len(), 1)?;
    same("the claim of another account", other.claim(&other.crossing(7)).await?, false)?;
    same("the claim after the erasure", subject.claim(&subject.crossing(7)).await?, true)?;
    same("the claim of another kind", subject.store.claim(&forwarded, &alert, &from).await?, true)
}
