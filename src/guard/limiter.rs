//! The rate limiter trait of [`Resilient`].

use tokio::time::timeout;

use super::Resilient;
use crate::account::QuotaScope;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::limit::{Acquire, Acquired, Correction, Draw, LimitDecision, RateLimiter, WindowStatus};

impl<T: RateLimiter> RateLimiter for Resilient<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.ask(|limiter| limiter.draw(draw))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.ask(|limiter| limiter.peek(draw))
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        self.ask(|limiter| limiter.acquire(acquire))
    }

    /// Calls the limiter even while the circuit is open: it must not keep the slots any longer.
    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        let mut released = self.back_end.release(acquire);
        if let Some(released) = released.take_ready() {
            return released.into();
        }
        let time = self.shared.limits.time;
        StoreFuture::boxed(async move {
            timeout(time, released).await.unwrap_or_else(|_| Err(StoreError::timed_out()))
        })
    }

    fn limits_in_flight(&self) -> bool {
        self.back_end.limits_in_flight()
    }

    fn counts_together(&self, owners: &[&QuotaScope]) -> bool {
        self.back_end.counts_together(owners)
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        self.ask(|limiter| limiter.correct(correction))
    }

    fn is_failing(&self) -> bool {
        self.shared.circuit.is_open() || self.back_end.is_failing()
    }
}
