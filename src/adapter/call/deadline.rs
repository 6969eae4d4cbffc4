//! Deadlines: of a gRPC call, and of a request's body.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use http::HeaderName;
use tokio::runtime::{Handle, Id};
use tokio::time::{Sleep, sleep};

use crate::panics::guard;
use crate::request::HeaderCount;
use crate::request::RequestView;
use crate::respond::Protocol;

/// A time after which the gate no longer waits. Where there are no timers, there is no such time.
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Returns the deadline of a gRPC call that starts to wait now. After it, the caller no longer waits for the call,
    /// and a decision is useless.
    pub(crate) fn of(view: &RequestView<'_>) -> Self {
        let timeout = Protocol::of(view).and_then(|_| timeout(view));
        timeout.map_or(Self(None), Self::after)
    }

    /// Returns the deadline that passes after this time.
    pub(crate) fn after(time: Duration) -> Self {
        Self(has_timers().then(|| Box::pin(sleep(time))))
    }

    /// Returns true if the deadline has passed. Otherwise, the task is woken when it passes.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

/// Returns true if this code runs in a tokio runtime whose timers are enabled. tokio tells this only by a panic, so it is
/// asked once for each runtime and thread.
fn has_timers() -> bool {
    thread_local! {
        static KNOWN: Cell<Option<(Id, bool)>> = const { Cell::new(None) };
    }
    let Ok(runtime) = Handle::try_current() else { return false };
    match KNOWN.get() {
        Some((known, has_timers)) if known == runtime.id() => has_timers,
        _ => {
            let has_timers =
                guard("a timer, since the runtime's timers are disabled", || sleep(Duration::ZERO));
            KNOWN.set(Some((runtime.id(), has_timers.is_ok())));
            has_timers.is_ok()
        }
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
