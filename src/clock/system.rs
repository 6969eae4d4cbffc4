//! The machine's clock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Clock, Now, Timestamp};

/// Monotonic time in nanoseconds. All system clocks of a process count from one origin, so that they agree.
#[cfg(not(feature = "quanta"))]
#[inline]
fn ticks() -> u64 {
    use std::time::Instant;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let elapsed = ORIGIN.elapsed();
    // Enough for 584 years since the process began.
    elapsed.as_secs().wrapping_mul(1_000_000_000) + u64::from(elapsed.subsec_nanos())
}

/// The same by the processor's counter, where it counts at one pace, and by the system's clock elsewhere.
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

/// How long wall time is carried forward by the monotonic clock before the system is asked again.
const RESYNC: u64 = 100_000_000;

/// The machine's clock.
///
/// One reading costs one read of the monotonic clock: wall time is carried forward by it and compared with the
/// system's every 100 ms, so a step of the system's clock shows that much later at the most.
///
/// With the feature `quanta` the monotonic clock is the processor's counter, read in a third of the time, on processors
/// whose counter says of itself that it counts at one pace; the first clock of a process then takes up to 200 ms to
/// find that pace out. It is no choice for machines whose processors disagree (`dmesg` says `TSC unstable` there).
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
    /// Monotonic time up to which the offset holds.
    good_until: AtomicU64,
}

impl SystemClock {
    /// The machine's clock.
    pub fn new() -> Self {
        // Whatever has to be made ready is made ready now, and not within a request.
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
    fn monotonic_time_goes_at_the_pace_of_the_systems() {
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
