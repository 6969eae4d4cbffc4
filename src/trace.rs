//! What the log is told: the one place that knows whether there is one.

use crate::error::StoreError;

/// A panic of code that the service's author supplies.
#[cfg(feature = "tracing")]
pub(crate) fn panicked(what: &'static str) {
    tracing::error!(what, "code that the gate calls panicked");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn panicked(_: &'static str) {}

/// A charge that could be neither settled nor given back.
#[cfg(feature = "tracing")]
pub(crate) fn unsettled(error: &StoreError) {
    tracing::warn!(?error, "a charge stays open");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn unsettled(_: &StoreError) {}

/// A key with an allowlist, and a client whose address cannot be told.
#[cfg(feature = "tracing")]
pub(crate) fn address_unknown(key: impl std::fmt::Display) {
    tracing::warn!(%key, "a key has an allowlist and the client's address is unknown: is the peer's address passed on?");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn address_unknown(_: impl std::fmt::Display) {}

/// A quota of a plan that another always refuses before.
#[cfg(feature = "tracing")]
pub(crate) fn unreachable_quota(plan: impl std::fmt::Display, quota: &str, other: &str) {
    tracing::warn!(%plan, quota, other, "a quota of a plan can never be reached: the other one always refuses first");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn unreachable_quota(_: impl std::fmt::Display, _: &str, _: &str) {}

#[cfg(feature = "fleet")]
pub(crate) use mode::Mode;

#[cfg(all(feature = "tracing", feature = "fleet"))]
mod mode {
    use std::any::type_name;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use crate::error::StoreError;

    /// A state that a back end's faults bring about, such as an open circuit: one event when it begins and one when it ends, both
    /// with the name of the back end. The text of the fault itself may tell of addresses and accounts: it is at debug level.
    #[derive(Debug)]
    pub(crate) struct Mode {
        back_end: String,
        begins: &'static str,
        ends: &'static str,
        /// It is told of at most once in this time, in nanoseconds: a back end that answers every other call floods no log.
        apart: u64,
        on: AtomicBool,
        /// When it was last told of.
        told: AtomicU64,
    }

    /// Before the first time.
    const NEVER: u64 = u64::MAX;

    impl Mode {
        /// A state of what stands before a back end of the type `T`.
        pub(crate) fn before<T: ?Sized>(begins: &'static str, ends: &'static str) -> Self {
            let back_end = without_paths(type_name::<T>());
            let (on, told) = (AtomicBool::new(false), AtomicU64::new(NEVER));
            Self { back_end, begins, ends, apart: 0, on, told }
        }

        /// Tells of it at most once in this time.
        pub(crate) fn apart(mut self, time: Duration) -> Self {
            self.apart = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self
        }

        /// It holds now, by this fault; `now` is monotonic, in nanoseconds.
        #[cold]
        pub(crate) fn begin(&self, now: u64, error: &StoreError) {
            if self.on.load(Ordering::Relaxed) {
                return;
            }
            let told = self.told.load(Ordering::Relaxed);
            if told != NEVER && now.saturating_sub(told) < self.apart {
                return;
            }
            if !self.on.swap(true, Ordering::Relaxed) {
                self.told.store(now, Ordering::Relaxed);
                tracing::warn!(back_end = self.back_end, %error, "{}", self.begins);
                tracing::debug!(back_end = self.back_end, ?error, "what the back end failed with");
            }
        }

        /// Whether it was told that it holds.
        pub(crate) fn is_on(&self) -> bool {
            self.on.load(Ordering::Relaxed)
        }

        /// It does not hold.
        #[inline]
        pub(crate) fn end(&self) {
            // Mostly it did not before: a shared line stays where it is.
            if self.on.load(Ordering::Relaxed) && self.on.swap(false, Ordering::Relaxed) {
                tracing::info!(back_end = self.back_end, "{}", self.ends);
            }
        }
    }

    /// A type's name without the modules that its parts are in.
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
        fn names_of_types_lose_their_paths() {
            assert_eq!(without_paths("tollgate::credit::sql::SqlLedger"), "SqlLedger");
            let nested = "tollgate::guard::Guarded<alloc::sync::Arc<dyn tollgate::limit::RateLimiter>>";
            assert_eq!(without_paths(nested), "Guarded<Arc<dyn RateLimiter>>");
        }
    }
}

#[cfg(all(not(feature = "tracing"), feature = "fleet"))]
mod mode {
    use std::time::Duration;

    use crate::error::StoreError;

    /// A state of which nothing is told: there is no log.
    #[derive(Debug)]
    pub(crate) struct Mode;

    impl Mode {
        pub(crate) fn before<T: ?Sized>(_: &'static str, _: &'static str) -> Self {
            Self
        }

        pub(crate) fn apart(self, _: Duration) -> Self {
            self
        }

        #[expect(clippy::unused_self, reason = "the same call as with the feature")]
        pub(crate) fn begin(&self, _: u64, _: &StoreError) {}

        #[expect(clippy::unused_self, reason = "the same call as with the feature")]
        pub(crate) fn is_on(&self) -> bool {
            true
        }

        #[expect(clippy::unused_self, reason = "the same call as with the feature")]
        pub(crate) fn end(&self) {}
    }
}

/// A SQLite file that is not in its place any more, or is there again.
#[cfg(all(feature = "tracing", feature = "sqlite"))]
pub(crate) fn database_file(path: &std::path::Path, gone: bool) {
    let file = path.display();
    if gone {
        tracing::error!(%file, "the database file was deleted or replaced: put it back, or restart to open the new one");
    } else {
        tracing::warn!(%file, "the database file is back in its place");
    }
}

#[cfg(all(not(feature = "tracing"), feature = "sqlite"))]
pub(crate) fn database_file(_: &std::path::Path, _: bool) {}
