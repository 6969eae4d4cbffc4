//! A guarded rate limiter is one.

use super::Guarded;
use crate::{Draw, Quota, RateLimiter, Standing, StoreFuture};

impl<T: RateLimiter> RateLimiter for Guarded<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        self.ask(|limiter| limiter.draw(draw))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        self.ask(|limiter| limiter.peek(draw))
    }
}
