//! The trait of a store of crossings and of alerts that wait for their delivery.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, AlertId, AlertKind, Crossing, Delivery};
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// The difference between the clocks of two nodes from which on one of them counts as wrong: a day.
pub const WRONG_BY: Duration = Duration::from_hours(24);

/// A store that remembers which crossings were told, and the alerts that wait for their delivery: the outbox.
///
/// The nodes of a fleet share one store. It makes each alert once for all of them.
///
/// # Contract
///
/// - **Once.** [`claim`](AlertStore::claim) succeeds once for each kind, subject, threshold and period, whichever nodes
///   call it at the same time. A crossing of an earlier period than the remembered one is not claimed.
/// - **Together.** `claim` remembers the crossing and stores the alert for each sink in one step, or does neither.
///   [`forward`](AlertStore::forward) replaces a delivery in one step.
/// - **Leases.** A delivery that [`take_due`](AlertStore::take_due) returned is not returned again until the lease is
///   over, unless [`retry`](AlertStore::retry) sets another time. A node that dies loses nothing.
/// - **Wrong clocks.** A stored time that is more than a [day](crate::alert::WRONG_BY) after the time of a call was set by a clock that
///   was ahead. A crossing that was claimed at such a time does not prevent a claim, and a delivery with such a due time is
///   due.
/// - **May be lossy:** only a store that documents it, as [`MemoryAlertStore`](crate::alert::MemoryAlertStore) does.
pub trait AlertStore: Debug + Send + Sync + 'static {
    /// Remembers a crossing, and stores the alert for each sink. Returns false if the crossing is remembered already. The
    /// time of the claim, at which the deliveries are due, is the time of the alert.
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool>;

    /// Forgets a crossing of this or an earlier period, because the value is on the other side of the threshold again.
    /// The next crossing is told again. Returns true if it was remembered.
    fn release(&self, crossing: &Crossing) -> StoreFuture<bool>;

    /// Returns the crossings of a kind that were claimed at this time or later, with the time of the claim, in order of
    /// that time.
    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>>;

    /// Replaces each due delivery to the sink `from` by one to each of these sinks, which is due at `now`. Without sinks it
    /// does nothing. Returns the number of replaced deliveries.
    ///
    /// A gate that leaves the delivery to the other gates claims its alerts for one reserved name. The next gate with sinks
    /// forwards them to its own sinks.
    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64>;

    /// Returns deliveries that are due for one of these sinks, and counts the attempt. They are due again after the lease.
    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>>;

    /// Sets the time at which a delivery is due again.
    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()>;

    /// Removes a delivery: it succeeded, or is given up.
    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()>;

    /// Forgets the crossings that were claimed before this time, and removes the deliveries that were due before it, but for
    /// those to one of these sinks: no gate has their sink. Returns the number of forgotten crossings.
    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64>;

    /// Removes the alerts whose [`account`](Alert::account) is this one: their crossings and deliveries. Returns true if there
    /// were any.
    fn erase(&self, account: &AccountId) -> StoreFuture<bool>;
}

impl<T: AlertStore + ?Sized> AlertStore for Arc<T> {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        (**self).claim(crossing, alert, sinks)
    }

    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        (**self).release(crossing)
    }

    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        (**self).claimed(kind, since, limit)
    }

    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64> {
        (**self).forward(from, sinks, now)
    }

    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        (**self).take_due(sinks, now, lease, limit)
    }

    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()> {
        (**self).retry(alert, sink, due)
    }

    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        (**self).finish(alert, sink)
    }

    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64> {
        (**self).forget(before, sinks)
    }

    fn erase(&self, account: &AccountId) -> StoreFuture<bool> {
        (**self).erase(account)
    }
}
