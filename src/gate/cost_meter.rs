//! The cost of a request that is known only afterwards.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::amount::Credits;
use crate::gate::Outcome;
use crate::gate::detach::detach;
use crate::gate::entry::AdmittedKey;

/// The final cost of a request to a rule with a [`most_cost`](crate::Rule::most_cost). The handler finds it in the request's
/// extensions.
///
/// The gate has charged the rule's cost as a reservation. The handler, or the stream of its response, adds or sets the
/// final cost, which may be below or above the reservation. Without a report, the request costs the reservation.
///
/// # The end of the charge
///
/// The charge is settled when the body of the response has ended, or was dropped, and no clone of the meter is left. A
/// stream, or a task that works on after the response or on an upgraded connection, therefore keeps a clone, and drops it
/// when the cost is known. [`commit`](Self::commit) settles the charge earlier. If the client leaves, the request costs
/// what the meter has seen. The charge is refunded if the handler panics, or if the status of its response shows that the
/// server failed: see [`Outcome`]. A report after the end changes nothing.
///
/// # Above the reservation
///
/// A cost above the rule's `most_cost` counts as that cost. What is above the reservation is charged at the end. If the
/// account's credits do not cover it, the [`overage`](crate::Plan::overage) of the plan decides.
///
/// # Example
///
/// A handler that charges one credit for each line that its client has received:
///
/// ```
/// use bytes::Bytes;
/// use futures_util::{Stream, StreamExt, stream};
/// use http::Request;
/// use tollgate::Credits;
/// use tollgate::gate::CostMeter;
///
/// fn lines(request: &Request<()>) -> impl Stream<Item = Bytes> + use<> {
///     let meter = request.extensions().get::<CostMeter>().cloned();
///     stream::iter(["one\n", "two\n"]).map(move |line| {
///         if let Some(meter) = &meter {
///             meter.add(Credits::new(1));
///         }
///         Bytes::from(line)
///     })
/// }
/// # drop(lines(&Request::new(())));
/// ```
#[derive(Clone)]
pub struct CostMeter(Arc<Metering>);

struct Metering {
    reserve: Credits,
    most: Credits,
    /// The meter of an outer gate, which gets the same reports.
    outer: OnceLock<CostMeter>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The cost so far. `None` before the first report.
    seen: Option<Credits>,
    committed: bool,
    /// The request with its open charge, from the head of its response to the end of the charge.
    open: Option<Box<AdmittedKey>>,
}

impl CostMeter {
    pub(super) fn new(reserve: Credits, most: Credits) -> Self {
        Self(Arc::new(Metering { reserve, most, outer: OnceLock::new(), state: Mutex::default() }))
    }

    /// Adds to the cost of the request. The cost starts at zero, not at the reservation.
    pub fn add(&self, cost: Credits) {
        self.report(cost, |seen| seen.checked_add(cost).unwrap_or(Credits::MAX));
        if let Some(outer) = self.0.outer.get() {
            outer.add(cost);
        }
    }

    /// Sets the cost of the request, whatever was reported before.
    pub fn set(&self, cost: Credits) {
        self.report(cost, |_| cost);
        if let Some(outer) = self.0.outer.get() {
            outer.set(cost);
        }
    }

    /// Makes the cost so far final. The charge is settled at once if the head of the response was sent, and otherwise with
    /// the head. Later reports change nothing.
    pub fn commit(&self) {
        let mut state = self.0.lock();
        state.committed = true;
        let ending = state.take();
        drop(state);
        if let Some((entry, outcome)) = ending {
            settle(entry, outcome);
        }
        if let Some(outer) = self.0.outer.get() {
            outer.commit();
        }
    }

    /// Returns the cost so far, or `None` before the first report.
    pub fn cost(&self) -> Option<Credits> {
        self.0.lock().seen
    }

    /// Returns the reservation that was charged. It is zero if nothing was charged, as on a plan without limit.
    pub fn reserve(&self) -> Credits {
        self.0.reserve
    }

    /// Returns the highest final cost.
    pub fn most(&self) -> Credits {
        self.0.most
    }

    fn report(&self, first: Credits, next: impl FnOnce(Credits) -> Credits) {
        let mut state = self.0.lock();
        if !state.committed {
            state.seen = Some(state.seen.map_or(first, next).min(self.0.most));
        }
    }

    /// Returns true if the cost is final.
    pub(super) fn is_committed(&self) -> bool {
        self.0.lock().committed
    }

    /// Keeps the request until the end of its charge: until the last clone of the meter is dropped, or a commit.
    pub(super) fn keep(&self, entry: AdmittedKey) {
        let mut state = self.0.lock();
        state.open = Some(Box::new(entry));
        let ending = if state.committed { state.take() } else { None };
        drop(state);
        if let Some((entry, outcome)) = ending {
            settle(entry, outcome);
        }
    }

    /// Returns the meter for the handler behind two gates: that of the gate that has charged the request, which passes each
    /// report on if the other gate has charged it too.
    pub(crate) fn inside(self, outer: Option<Self>, is_charged: bool) -> Self {
        match outer {
            Some(outer) if !is_charged => outer,
            Some(outer) => {
                // This meter is new, and has no outer one yet.
                drop(self.0.outer.set(outer));
                self
            }
            None => self,
        }
    }
}

impl Metering {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves no half-made change behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the request, with the outcome of its charge.
    fn take(&mut self) -> Option<(AdmittedKey, Outcome)> {
        let outcome = self.seen.map_or(Outcome::Served, Outcome::ServedAt);
        Some((*self.open.take()?, outcome))
    }
}

impl Drop for Metering {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((entry, outcome)) = state.take() {
            settle(entry, outcome);
        }
    }
}

/// Settles the charge of a request whose response was sent.
fn settle(mut entry: AdmittedKey, outcome: Outcome) {
    if let Some(closing) = entry.close(outcome) {
        detach(closing);
    }
}

impl fmt::Debug for CostMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CostMeter")
            .field("reserve", &self.0.reserve)
            .field("most", &self.0.most)
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}
