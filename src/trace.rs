//! Log events. Without the feature `tracing`, nothing is logged. Only this module and the span of a request depend on it.

/// Logs an event of a level, in the syntax of `tracing`.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($event:tt)*) => {
        tracing::$level!($($event)*)
    };
}

/// Logs nothing.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($event:tt)*) => {
        ()
    };
}

pub(crate) use event;
pub(crate) use mode::Mode;

use crate::error::StoreError;

/// Logs a panic in code that the service's author supplies.
pub(crate) fn panicked(what: &'static str) {
    event!(error, what, "code that the gate called panicked");
}

/// Logs a charge that could be neither settled nor refunded.
pub(crate) fn unsettled(error: &StoreError) {
    event!(warn, ?error, "a charge could not be settled or refunded, and remains open");
}

/// Logs slots of a request in flight that could not be released.
pub(crate) fn unreleased(error: &StoreError) {
    event!(
        warn,
        ?error,
        "the slots of a request in flight could not be released, and are free after their lifetime"
    );
}

/// Logs that the windows of a request keep its reserve, although another weight was reported.
pub(crate) fn uncorrected(error: &StoreError) {
    event!(warn, ?error, "the reported weight of a request could not be applied: its reserve stays drawn");
}

/// Logs that a key has an allowlist and the client's address is unknown.
pub(crate) fn address_unknown(key: impl std::fmt::Display) {
    event!(warn, %key, "a key has an allowlist, and the client's address is unknown: check that the peer's address is passed on");
}

/// Logs a quota of a plan that can never be reached because another one always denies first.
pub(crate) fn unreachable_quota(plan: impl std::fmt::Display, quota: &str, other: &str) {
    event!(warn, %plan, quota, other, "a quota of a plan can never be reached: the other quota always denies first");
}

/// Logs that a configuration is in force.
pub(crate) fn reloaded(version: u32) {
    event!(info, version, "a new configuration is in force");
}

/// Logs that a configuration was rejected.
pub(crate) fn reload_failed(error: &crate::error::ConfigError) {
    event!(error, %error, "the new configuration was rejected, and the old one stays in force");
}

/// Logs that the audit sink could not write the events of a change that was made.
pub(crate) fn audit_unwritten(error: &StoreError) {
    event!(error, ?error, "a change was made, and its audit event is not written yet");
}

/// Logs an audit entry that is lost.
pub(crate) fn audit_lost(reason: &'static str) {
    event!(error, reason, "an audit entry is lost");
}

/// Logs an alert in the store that cannot be read.
pub(crate) fn alert_unread(error: &StoreError) {
    event!(error, ?error, "a waiting alert cannot be read");
}

/// Logs an alert that is lost, or is given up.
pub(crate) fn alert_lost(kind: &'static str, reason: &'static str) {
    event!(error, kind, reason, "an alert is lost");
}

/// Logs a failed attempt to deliver an alert.
pub(crate) fn alert_undelivered(sink: &str, attempt: u32, error: &StoreError) {
    event!(warn, sink, attempt, ?error, "an alert could not be delivered, and is delivered again later");
}

mod mode {
    use std::any::type_name;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use crate::error::StoreError;

    /// A state caused by a back end's faults, such as an open circuit. One event is logged when it begins and one when
    /// it ends, both with the name of the back end. The text of the fault is logged at debug level, because it may
    /// contain addresses and accounts.
    #[derive(Debug)]
    pub(crate) struct Mode {
        back_end: String,
        begins: &'static str,
        ends: &'static str,
        /// The minimum time between two logged beginnings, in nanoseconds. It limits the events of a back end that
        /// answers only every other call.
        apart: u64,
        on: AtomicBool,
        /// The time of the last logged beginning.
        reported: AtomicU64,
    }

    /// The value of `reported` before the first event.
    const NEVER: u64 = u64::MAX;

    impl Mode {
        /// Creates a state of a wrapper around a back end of the type `T`.
        pub(crate) fn before<T: ?Sized>(begins: &'static str, ends: &'static str) -> Self {
            Self::of(type_name::<T>(), begins, ends)
        }

        /// Creates a state of a part that uses a back end of the type with this name.
        pub(crate) fn of(type_name: &str, begins: &'static str, ends: &'static str) -> Self {
            let back_end = without_paths(type_name);
            let (on, reported) = (AtomicBool::new(false), AtomicU64::new(NEVER));
            Self { back_end, begins, ends, apart: 0, on, reported }
        }

        /// The type of the back end, without module paths.
        pub(crate) fn back_end(&self) -> &str {
            &self.back_end
        }

        /// Sets the minimum time between two logged beginnings.
        pub(crate) fn apart(mut self, time: Duration) -> Self {
            self.apart = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self
        }

        /// Logs that the state begins because of this fault. `now` is monotonic, in nanoseconds.
        #[cold]
        pub(crate) fn begin(&self, now: u64, error: &StoreError) {
            if self.on.load(Ordering::Relaxed) {
                return;
            }
            let reported = self.reported.load(Ordering::Relaxed);
            if reported != NEVER && now.saturating_sub(reported) < self.apart {
                return;
            }
            if !self.on.swap(true, Ordering::Relaxed) {
                self.reported.store(now, Ordering::Relaxed);
                event!(warn, back_end = self.back_end, %error, "{}", self.begins);
                event!(debug, back_end = self.back_end, ?error, "details of the back end's failure");
            }
        }

        /// Returns true if the state's beginning was logged and its end was not.
        pub(crate) fn is_on(&self) -> bool {
            self.on.load(Ordering::Relaxed)
        }

        /// Logs that the state ends, if its beginning was logged.
        #[inline]
        pub(crate) fn end(&self) {
            // The load avoids a write in the usual case, so that the cache line stays shared.
            if self.on.load(Ordering::Relaxed) && self.on.swap(false, Ordering::Relaxed) {
                event!(info, back_end = self.back_end, "{}", self.ends);
            }
        }
    }

    /// Returns a type's name without module paths.
    fn without_paths(name: &str) -> String {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let mut short = String::new();
        for piece in name.split_inclusive(|letter| !is_part(letter)) {
            short.push_str(piece.rsplit("::").next().unwrap_or_default());
        }
        short
    }

    #[cfg(test)]
    mod tests {
        use super::without_paths;

        #[test]
        fn type_names_lose_their_paths() {
            assert_eq!(without_paths("tollgate::credit::sql::SqlLedger"), "SqlLedger");
            let nested = "tollgate::guard::Guarded<alloc::sync::Arc<dyn tollgate::limit::RateLimiter>>";
            assert_eq!(without_paths(nested), "Guarded<Arc<dyn RateLimiter>>");
        }
    }
}

/// Logs that a SQLite file was removed from its path, or that it is back.
pub(crate) fn database_file(path: &std::path::Path, gone: bool) {
    let file = path.display();
    if gone {
        event!(error, %file, "the database file was deleted or replaced: put it back, or restart to open the new one");
    } else {
        event!(warn, %file, "the database file was restored");
    }
}
