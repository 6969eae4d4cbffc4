//! The deadline of a call.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use http::HeaderName;
use tokio::time::{Sleep, sleep};

use crate::request::Occurs;
use crate::request::RequestView;
use crate::respond::Protocol;

/// When a call is over for its caller: there is no use in deciding on it any longer.
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// The deadline of a request that waits from now on.
    pub(crate) fn of(view: &RequestView<'_>) -> Self {
        let timeout = Protocol::of(view).and_then(|_| timeout(view));
        Self(timeout.map(|timeout| Box::pin(sleep(timeout))))
    }

    /// Whether it is over; if not, the task is woken when it is.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(view: &RequestView<'_>) -> Option<Duration> {
    static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
    let Occurs::Once([digits @ .., unit]) = view.field(&GRPC_TIMEOUT) else { return None };
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
