//! The rate limiter trait of [`Guarded`].

use super::Guarded;
use crate::future::StoreFuture;
use crate::limit::{Draw, Quota, RateLimiter, Standing};

impl<T: RateLimiter> RateLimiter for Guarded<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        self.ask(|limiter| limiter.draw(draw))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        self.ask(|limiter| limiter.peek(draw))
    }
}
