//! The rate limiter trait of [`Resilient`].

use super::Resilient;
use crate::future::StoreFuture;
use crate::limit::{Draw, LimitDecision, RateLimiter, WindowStatus};

impl<T: RateLimiter> RateLimiter for Resilient<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.ask(|limiter| limiter.draw(draw))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.ask(|limiter| limiter.peek(draw))
    }

    fn is_failing(&self) -> bool {
        self.shared.circuit.is_open() || self.back_end.is_failing()
    }
}
