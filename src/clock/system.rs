//! The system clock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Clock, Now, Timestamp};

/// Returns monotonic time in nanoseconds. All system clocks of a process count from one origin, so that they agree.
#[cfg(not(feature = "quanta"))]
#[inline]
fn ticks() -> u64 {
    use std::time::Instant;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let elapsed = ORIGIN.elapsed();
    // Overflows 584 years after the start of the process.
    elapsed.as_secs().wrapping_mul(1_000_000_000) + u64::from(elapsed.subsec_nanos())
}

/// Returns monotonic time in nanoseconds. It is read from the processor's counter if the counter has a constant rate,
/// and from the system's clock otherwise.
#[cfg(feature = "quanta")]
#[inline]
fn ticks() -> u64 {
    static ORIGIN: LazyLock<(quanta::Clock, u64)> = LazyLock::new(|| {
        let counter = quanta::Clock::new();
        let origin = counter.raw();
        (counter, origin)
    });
    let (counter, origin) = &*ORIGIN;
    counter.delta_as_nanos(*origin, counter.raw())
}

/// The time in nanoseconds for which wall time is derived from the monotonic clock before the system is asked again.
const RESYNC: u64 = 100_000_000;

/// The system clock.
///
/// One reading costs one read of the monotonic clock. Wall time is derived from it and compared with the system's wall
/// time every 100 ms, so a step of the system's clock is visible after at most 100 ms.
///
/// With the feature `quanta`, the monotonic clock is the processor's counter, on processors that report a constant rate
/// for it. A read takes a third of the time. The first clock of a process then takes up to 200 ms to measure that rate.
/// Do not use this feature on machines whose processors disagree (`dmesg` prints `TSC unstable` there).
///
/// # Example
///
/// ```
/// use tollgate::clock::SystemClock;
/// use tollgate::Clock;
///
/// let clock = SystemClock::new();
/// let (earlier, later) = (clock.now(), clock.now());
/// assert!(earlier.elapsed() <= later.elapsed());
/// ```
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time minus monotonic time, in nanoseconds.
    offset: AtomicI64,
    /// Monotonic time up to which the offset is valid.
    good_until: AtomicU64,
}

impl SystemClock {
    /// Creates a system clock.
    pub fn new() -> Self {
        // Initializes the origin here, so that no request has to.
        ticks();
        Self { offset: AtomicI64::new(0), good_until: AtomicU64::new(0) }
    }

    #[cold]
    fn resync(&self, ticks: u64) {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        self.offset.store(wall.saturating_sub_unsigned(ticks), Ordering::Relaxed);
        self.good_until.store(ticks.saturating_add(RESYNC), Ordering::Release);
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let ticks = ticks();
        if ticks >= self.good_until.load(Ordering::Acquire) {
            self.resync(ticks);
        }
        let nanos = self.offset.load(Ordering::Relaxed).saturating_add_unsigned(ticks);
        Now { wall: Timestamp::from_millis(nanos.div_euclid(1_000_000)), ticks }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn monotonic_time_keeps_the_system_pace() {
        let clock = SystemClock::new();
        let read = || (Instant::now(), clock.now().elapsed(), Instant::now());
        let (before, start, begun) = read();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (ending, end, after) = read();
        let (least, most) = (ending - begun, after - before);
        let (passed, leeway) = (end.checked_sub(start).unwrap(), most / 1_000);
        assert!(least <= passed + leeway && passed <= most + leeway, "{least:?} {passed:?} {most:?}");
    }
}
