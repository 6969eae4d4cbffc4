//! A draw and a charge in one call, for a limiter and a ledger on one server.

#[cfg(feature = "redis")]
mod redis;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Quotas;
use crate::credit::{Charge, Charged, CreditLedger};
use crate::future::StoreFuture;
use crate::limit::{Draw, RateLimiter, WindowStatus};

/// The outcome of a draw and the charge that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an exceeded quota and an insufficient balance must deny the request"]
pub(crate) enum Metered {
    /// A window did not admit the request. No cell was taken from any window, and nothing was charged.
    Exceeded {
        /// The time until all windows will admit a request, if no other request is admitted first.
        retry_after: Duration,
        /// The status of the window that takes the longest to admit a request.
        window_status: WindowStatus,
    },
    /// Every window admitted the request and gave a cell. The cells stay drawn, whatever the outcome of the charge is.
    Drawn {
        /// The status of the window with the least left.
        window_status: WindowStatus,
        /// The outcome of the charge.
        charged: Charged,
    },
}

/// Draws and charges in one call.
///
/// A call has the effect and the result of [`RateLimiter::draw`], followed by [`CreditLedger::charge`] if all windows
/// have admitted the request. It works on the windows and balances of a limiter and a ledger, under their contracts.
pub(crate) trait Meter: Debug + Send + Sync {
    /// Returns true if these windows can be drawn in one call with a charge.
    fn takes(&self, quotas: &Quotas) -> bool;

    /// Takes a cell from every window, if all have one. Then takes the charge, if the balance covers it.
    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered>;
}

/// Returns the meter of a limiter and a ledger, if they are on one server.
#[cfg(feature = "redis")]
pub(crate) fn meter_of(limiter: &dyn RateLimiter, ledger: &dyn CreditLedger) -> Option<Arc<dyn Meter>> {
    let meter = redis::RedisMeter::of(limiter.as_redis()?, ledger.as_redis()?)?;
    Some(Arc::new(meter))
}

/// Returns no meter: only Redis keeps both windows and balances.
#[cfg(not(feature = "redis"))]
pub(crate) fn meter_of(_: &dyn RateLimiter, _: &dyn CreditLedger) -> Option<Arc<dyn Meter>> {
    None
}
