//! A draw and a charge in one step, for servers that keep both windows and balances.

#[cfg(feature = "redis")]
mod redis;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
pub use self::redis::RedisMeter;
use crate::credit::{Charge, Charged};
use crate::future::StoreFuture;
use crate::limit::{Draw, WindowStatus};

/// The outcome of a draw and the charge that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an exceeded quota and an insufficient balance must refuse the request"]
pub enum Metered {
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

/// Draws and charges in one call, on a server that keeps both the windows and the balances.
///
/// # Contract
///
/// A call has the effect and the result of [`RateLimiter::draw`](crate::limit::RateLimiter::draw), followed by
/// [`CreditLedger::charge`](crate::credit::CreditLedger::charge) if all windows have admitted the request. It works on
/// the same windows and balances, under the contracts of both. A gate calls it if its order places the credits directly
/// after the rate limits. Otherwise it calls the limiter and the ledger.
pub trait Meter: Debug + Send + Sync + 'static {
    /// Takes a cell from every window, if all have one. Then takes the charge, if the balance covers it.
    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered>;
}

impl<T: Meter + ?Sized> Meter for Arc<T> {
    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered> {
        (**self).draw_and_charge(draw, charge)
    }
}

impl<T: Meter + ?Sized> Meter for Box<T> {
    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered> {
        (**self).draw_and_charge(draw, charge)
    }
}
