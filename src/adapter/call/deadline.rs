//! The deadline of a gRPC call.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use http::HeaderName;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use crate::request::HeaderCount;
use crate::request::RequestView;
use crate::respond::Protocol;

/// The time after which the caller of a gRPC call no longer waits for it. A decision after that time is useless.
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Returns the deadline of a request that starts to wait now. Outside a runtime there are no timers, so there is no
    /// deadline.
    pub(crate) fn of(view: &RequestView<'_>) -> Self {
        let timeout = Protocol::of(view).and_then(|_| timeout(view));
        let timeout = timeout.filter(|_| Handle::try_current().is_ok());
        Self(timeout.map(|timeout| Box::pin(sleep(timeout))))
    }

    /// Returns true if the deadline has passed. Otherwise, the task is woken when it passes.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

/// Returns the value of `grpc-timeout`: at most eight digits and a unit.
fn timeout(view: &RequestView<'_>) -> Option<Duration> {
    static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
    let HeaderCount::Once([digits @ .., unit]) = view.field(&GRPC_TIMEOUT) else { return None };
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}
