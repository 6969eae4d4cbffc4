//! The rate limiter trait of [`Resilient`].

use super::Resilient;
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
        self.back_end.release(acquire)
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        self.ask(|limiter| limiter.correct(correction))
    }

    fn is_failing(&self) -> bool {
        self.shared.circuit.is_open() || self.back_end.is_failing()
    }
}
