//! Containment of panics in code that the service's author supplies: back ends, and closures that the gate calls.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use crate::trace;

/// A panic that was caught and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs code that may panic. `what` names the code in the log. The panic's own message is not logged, because it may
/// contain a secret.
#[inline]
pub(crate) fn guard<T>(what: &'static str, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Unwind safety: the request does not use code again that has panicked, and the locks of back ends are poisoned or
    // free.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        trace::panicked(what);
        Panicked
    })
}

/// Runs a future that may panic.
pub(crate) async fn guard_future<F: Future>(what: &'static str, work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    poll_fn(|cx| match guard(what, || work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => std::task::Poll::Ready(Err(panicked)),
    })
    .await
}
