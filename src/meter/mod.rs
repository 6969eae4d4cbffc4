//! A draw and a charge in one step, where one server keeps both.

#[cfg(feature = "redis")]
mod redis;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
pub use self::redis::RedisMeter;
use crate::credit::{Charge, Charged};
use crate::future::StoreFuture;
use crate::limit::{Draw, Standing};

/// What became of a draw and the charge behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an exceeded quota and an insufficient balance must refuse the request"]
pub enum Metered {
    /// A window did not admit the request: none gave a cell, and nothing was charged.
    Exceeded {
        /// In what time all windows will admit a request, if no other is admitted first.
        retry_after: Duration,
        /// The window that takes the longest for it.
        standing: Standing,
    },
    /// Every window admitted it and gave a cell, which stays drawn whatever became of the charge.
    Drawn {
        /// How the window with the least left stands.
        standing: Standing,
        /// What became of the charge.
        charged: Charged,
    },
}

/// Draws and charges in one call, where one server keeps both the windows and the balances.
///
/// # Contract
///
/// What a call does and answers is what [`RateLimiter::draw`](crate::limit::RateLimiter::draw) and then, where all windows have
/// admitted the request, [`CreditLedger::charge`](crate::credit::CreditLedger::charge) would: on the same windows and balances,
/// under the contracts of both. A gate calls it where its order has the credits directly behind the rate limits, and the
/// limiter and the ledger otherwise.
pub trait Meter: Debug + Send + Sync + 'static {
    /// Takes a cell from every window, if all have one; then the charge, if the balance has room for it.
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
