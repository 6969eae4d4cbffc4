//! The weight of a request that its handler reports.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::account::AppliedQuotas;
use crate::gate::Core;
use crate::gate::decide::draw_of;
use crate::gate::detach::finish_alone;
use crate::key::KeyRecord;
use crate::limit::Correction;
use crate::panics::guard;
use crate::trace;

/// The weight of a request to a rule with [`Weight::Reported`](crate::rule::Weight::Reported). The handler finds it in the
/// request's extensions.
///
/// The gate has drawn the rule's `reserve` from the windows. When the last clone of this value is dropped, the gate replaces the
/// reserve by the weight that was reported last. A handler that answers with a stream keeps a clone in the stream, and reports
/// when the weight is known. Without a report, the reserve stands: after a panic, or if the client leaves before.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::gate::WeightReport;
///
/// fn chat(request: &Request<String>) -> String {
///     let answer = request.body().to_uppercase();
///     if let Some(weight) = request.extensions().get::<WeightReport>() {
///         weight.report(u32::try_from(request.body().len() + answer.len()).unwrap_or(u32::MAX));
///     }
///     answer
/// }
/// # assert_eq!(chat(&Request::new("hello".to_owned())), "HELLO");
/// ```
#[derive(Clone)]
pub struct WeightReport(Arc<Reservation>);

/// The units that a draw took for a request whose weight is not known yet. They are corrected when this is dropped.
struct Reservation {
    /// The reported weight, or [`NO_REPORT`].
    reported: AtomicU64,
    /// The report of an outer gate, which gets the same weight.
    outer: OnceLock<WeightReport>,
    most: u32,
    core: Arc<Core>,
    drawn: Drawn,
}

/// A draw that was admitted.
pub(super) struct Drawn {
    pub(super) record: Arc<KeyRecord>,
    pub(super) quotas: AppliedQuotas,
    pub(super) address: Option<IpAddr>,
    pub(super) weight: NonZeroU32,
    /// The monotonic time of the draw.
    pub(super) at: Duration,
    /// True if the share of this node admitted it.
    pub(super) local: bool,
}

/// The state before the first report. A weight has 32 bits.
const NO_REPORT: u64 = u64::MAX;

impl WeightReport {
    pub(super) fn new(core: Arc<Core>, most: u32, drawn: Drawn) -> Self {
        let reported = AtomicU64::new(NO_REPORT);
        Self(Arc::new(Reservation { reported, outer: OnceLock::new(), most, core, drawn }))
    }

    /// Reports the weight of the request. The last report counts. A weight above the rule's `most` counts as `most`, and zero
    /// gives the whole reserve back.
    pub fn report(&self, weight: u32) {
        self.0.reported.store(weight.min(self.0.most).into(), Ordering::Relaxed);
        if let Some(outer) = self.0.outer.get() {
            outer.report(weight);
        }
    }

    /// Returns the weight that the gate has drawn in advance.
    pub fn reserve(&self) -> u32 {
        self.0.drawn.weight.get()
    }

    /// Passes each report on to the report of an outer gate.
    pub(crate) fn follow(&self, outer: Self) {
        if !Arc::ptr_eq(&self.0, &outer.0) {
            // The first outer report stays. There is at most one.
            drop(self.0.outer.set(outer));
        }
    }
}

impl Reservation {
    fn correct(&self, actual: u32) {
        let Drawn { record, quotas, address, weight, at, local } = &self.drawn;
        let corrected = guard("a limiter", || {
            let now = self.core.clock.now();
            let draw = draw_of(record, quotas.quotas(), now, *address).weighing(*weight);
            let elapsed = now.elapsed().saturating_sub(*at);
            self.core.limiter.correct(&Correction::new(draw, actual, elapsed).admitted_locally(*local))
        });
        if let Ok(correcting) = corrected {
            finish_alone(self.core.measured(|metrics| &metrics.correct, correcting), trace::uncorrected);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Ok(actual) = u32::try_from(*self.reported.get_mut())
            && actual != self.drawn.weight.get()
        {
            self.correct(actual);
        }
    }
}

impl fmt::Debug for WeightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightReport").field("reserve", &self.reserve()).finish_non_exhaustive()
    }
}
