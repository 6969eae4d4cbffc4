//! Draws from one window whose quota changes, under a clock that leaps forward and back, and the bounds of what is admitted.
//! The unit tests of the limiter in Redis include this file as well.

use std::time::Duration;

use proptest::prelude::*;

/// A window, and the quotas that it has in turn.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) length: Duration,
    pub(crate) strict: bool,
    pub(crate) quotas: Vec<u32>,
}

/// The events before a draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    leap: Leap,
    /// Wall time in milliseconds. No limiter goes by it.
    wall: i64,
    /// The quota that is in force from now on.
    change: Option<prop::sample::Index>,
}

#[derive(Debug, Clone, Copy)]
enum Leap {
    None,
    /// Thousandths of the window.
    Forward(u64),
    Back(u64),
    /// By the wait that the last refusal told, if nothing was admitted since. The draw is then admitted.
    Wait,
    /// Until the window is full.
    Rest,
}

/// Returns the number of cases of a run: `TOLLGATE_LIMIT_CASES`, or as many as take a few seconds.
pub(crate) fn cases(few: u32) -> u32 {
    std::env::var("TOLLGATE_LIMIT_CASES").map_or(few, |number| number.parse().unwrap())
}

pub(crate) fn window() -> impl Strategy<Value = Window> {
    let length = prop::sample::select(vec![1_u64, 7, 60, 3_600, 86_400, 31 * 86_400, 366 * 86_400]);
    let quota = prop_oneof![4 => 1_u32..9, 2 => 9_u32..40, 1 => Just(1_000_u32)];
    let quotas = prop_oneof![prop::collection::vec(quota.clone(), 1), prop::collection::vec(quota, 2..4)];
    (length, any::<bool>(), quotas).prop_map(|(length, strict, quotas)| Window {
        length: Duration::from_secs(length),
        strict,
        quotas,
    })
}

pub(crate) fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let leap = prop_oneof![
        12 => Just(Leap::None),
        6 => (0_u64..200).prop_map(Leap::Forward),
        2 => (0_u64..3_000).prop_map(Leap::Forward),
        2 => (0_u64..200).prop_map(Leap::Back),
        1 => (0_u64..3_000).prop_map(Leap::Back),
        3 => Just(Leap::Wait),
        1 => Just(Leap::Rest),
    ];
    let change = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let ask = (leap, -1_000_000_000_000_i64..10_000_000_000_000, change);
    prop::collection::vec(ask.prop_map(|(leap, wall, change)| Ask { leap, wall, change }), 1..120)
}

/// The time and the quota of a draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// In microseconds.
    pub(crate) now: u64,
    pub(crate) wall: i64,
    /// The place of the quota in force.
    pub(crate) quota: usize,
}

/// The fractions that a full cell has.
const CELL: u128 = 1 << 40;

/// The bounds of what is admitted.
#[derive(Debug)]
pub(crate) struct Watch {
    window: Window,
    quota: usize,
    now: u64,
    /// The latest time that was shown.
    latest: u64,
    /// The sum of forward time: an interval that was passed twice counts twice.
    passed: u64,
    /// Cells that are surely taken from a bucket, if all time that passed refilled it.
    least: u128,
    /// Cells that are taken at most under each quota, if only what `latest` gained refilled them.
    most: Vec<u128>,
    /// The nanoseconds in which a cell is refilled that was taken.
    refill: u128,
    /// The times of admitted requests: by `passed` and by `latest`.
    admitted: Vec<(u64, u64)>,
    wait: Option<u64>,
    /// The expected outcome of the current draw.
    expected: Option<Expected>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Admitted,
    /// From a window that is full.
    First,
}

impl Watch {
    pub(crate) fn new(window: &Window) -> Self {
        let refill = refill(window, window.quotas[0]);
        let now = 3_000_000_000_000_000;
        Self {
            window: window.clone(),
            quota: 0,
            now,
            latest: now,
            passed: 0,
            least: 0,
            most: vec![0; window.quotas.len()],
            refill,
            admitted: Vec::new(),
            wait: None,
            expected: None,
        }
    }

    /// Moves the clock, and says at which time to draw under which quota.
    pub(crate) fn told(&mut self, ask: &Ask) -> Told {
        let length = self.window.micros();
        self.expected = None;
        match ask.leap {
            Leap::None => {}
            Leap::Forward(part) => self.forward(part * length / 1_000),
            // What a limiter can tell begins at zero.
            Leap::Back(part) => {
                self.now = self.now.saturating_sub(part * length / 1_000).max(1_000_000_000_000_000);
            }
            Leap::Wait => {
                if let Some(wait) = self.wait {
                    self.forward(wait);
                    self.expected = Some(Expected::Admitted);
                }
            }
            Leap::Rest => {
                let slack = u64::try_from(self.window.slack().as_micros()).unwrap();
                self.forward(self.latest - self.now + length + slack);
                self.expected = Some(Expected::First);
            }
        }
        if let Some(place) = ask.change
            && self.expected != Some(Expected::Admitted)
        {
            self.quota = place.index(self.window.quotas.len());
        }
        self.wait = None;
        Told { now: self.now, wall: ask.wall, quota: self.quota }
    }

    fn forward(&mut self, by: u64) {
        // Microseconds that a double holds, and nanoseconds within 64 bits.
        let to = self.now.saturating_add(by).min(8_000_000_000_000_000);
        let (passed, gained) = (to - self.now, to.saturating_sub(self.latest));
        let cells = |micros: u64| u128::from(micros) * 1_000 * CELL;
        self.least = self.least.saturating_sub(cells(passed).div_ceil(self.refill));
        for (most, quota) in self.most.iter_mut().zip(&self.window.quotas) {
            // A long window refills in whole microseconds.
            *most = most.saturating_sub(cells(gained) / refill(&self.window, *quota).next_multiple_of(1_000));
        }
        (self.now, self.latest, self.passed) = (to, to.max(self.latest), self.passed + passed);
    }

    fn in_force(&self) -> u32 {
        self.window.quotas[self.quota]
    }

    /// A draw was admitted, and the window told how many more it admits.
    pub(crate) fn admitted(&mut self, remaining: u32) -> Result<(), TestCaseError> {
        let (quota, length) = (self.in_force(), self.window.micros());
        let taken = if self.window.strict {
            let within = self.admitted.iter().filter(|(passed, _)| passed + length > self.passed);
            u128::try_from(within.count()).unwrap() * CELL
        } else {
            self.least
        };
        prop_assert!(taken <= u128::from(quota - 1) * CELL, "more than {} in a window: {:?}", quota, self);
        let left = u128::from(quota) * CELL - taken - CELL;
        prop_assert!(u128::from(remaining) * CELL <= left, "{} are said to be left: {:?}", remaining, self);
        if self.expected == Some(Expected::First) {
            prop_assert_eq!(remaining, quota - 1, "a window that is full: {:?}", self);
        }
        self.refill = refill(&self.window, quota);
        // What was taken under another quota is rounded up to the nanosecond.
        let mut most = self.most_taken() + CELL.div_ceil(self.refill);
        if self.window.quotas.len() > 1 && self.now < self.latest {
            // What a clock that is behind says to be taken is counted by the cell of the quota: at most a whole window.
            most = most.max(u128::from(quota) * CELL);
        }
        self.least += CELL;
        for (taken, other) in self.most.iter_mut().zip(&self.window.quotas) {
            if *other == quota {
                *taken = most + CELL;
            }
        }
        self.admitted.push((self.passed, self.latest));
        Ok(())
    }

    /// Returns the cells that are taken at most under any quota.
    fn most_taken(&self) -> u128 {
        self.most.iter().copied().max().unwrap_or_default()
    }

    /// A draw was refused, and told to wait.
    pub(crate) fn refused(&mut self, retry_after: Duration) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.expected, None, "{:?}", self);
        let back = Duration::from_micros(self.latest - self.now);
        let longest = back + self.window.length + self.window.slack();
        prop_assert!(retry_after <= longest, "{:?} of {:?} to wait: {:?}", retry_after, longest, self);
        if back.is_zero() {
            let had_room = if self.window.strict {
                // Of a quota above sixteen what is admitted within a sixteenth of the window is counted together.
                let reach = self.window.micros() + self.window.micros() / 16;
                let held = self.admitted.iter().filter(|(_, latest)| latest + reach > self.latest);
                held.count() < self.in_force() as usize
            } else {
                self.most_taken() <= u128::from(self.in_force() - 1) * CELL
            };
            prop_assert!(!had_room, "it had room: {:?}", self);
        }
        self.wait = Some(u64::try_from(retry_after.as_nanos().div_ceil(1_000)).unwrap());
        Ok(())
    }
}

impl Window {
    fn micros(&self) -> u64 {
        u64::try_from(self.length.as_micros()).unwrap()
    }

    /// Returns the time that the rounding of a refill to the microsecond adds to a window.
    pub(crate) fn slack(&self) -> Duration {
        Duration::from_micros(self.quotas.iter().copied().max().unwrap().into())
    }
}

fn refill(window: &Window, quota: u32) -> u128 {
    window.length.as_nanos().div_ceil(quota.into())
}
