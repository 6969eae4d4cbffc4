//! How many requests in which time, and whom that counts.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;
use crate::name::PoolName;
use crate::state::AttachedState;
use crate::words;

/// Whom a quota counts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Counts {
    /// Each key by itself.
    #[default]
    Key,
    /// All keys of an account.
    Account,
    /// All keys whose plan names this pool.
    Pool(PoolName),
}

impl Counts {
    /// The order in which groups are locked: the same everywhere.
    fn rank(&self) -> (u8, &str) {
        match self {
            Self::Key => (0, ""),
            Self::Account => (1, ""),
            Self::Pool(name) => (2, name.as_str()),
        }
    }
}

/// A quota over a window, such as 60 per minute: a bucket that holds so many cells and refills evenly (GCRA).
///
/// It reads `60 per minute`, `10 per second`, `1000 per day` or `5 per 10s`. As a bucket refills while it is emptied, a
/// minute may see up to 119 of 60 per minute. `60 in any minute` is strict: no time of a minute's length sees more than 60,
/// wherever it begins. See [`Self::in_any_window`].
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::account::QuotaPolicy;
///
/// let policy: QuotaPolicy = "60 per minute".parse()?;
/// assert_eq!((policy.quota(), policy.window()), (60, Duration::from_secs(60)));
/// assert_eq!(policy.name(), "minute");
/// assert!("60 in any minute".parse::<QuotaPolicy>()?.is_strict());
/// assert!("60/minute".parse::<QuotaPolicy>().is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaPolicy {
    name: Arc<str>,
    quota: NonZeroU32,
    window: Duration,
    /// Nanoseconds in which one request's place is refilled.
    refill: u64,
    counts: Counts,
    strict: bool,
}

/// The shortest window.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest window: 366 days.
const LONGEST: Duration = Duration::from_hours(366 * 24);

impl QuotaPolicy {
    /// So many requests per window, counted per key.
    ///
    /// # Errors
    ///
    /// - A quota of nothing.
    /// - A window of less than a millisecond or more than 366 days. Redis tells time in microseconds.
    /// - A quota of which more than a hundredth would be lost, because the time of one request is rounded up to a
    ///   nanosecond. This takes more than ten million requests per second.
    pub fn new(quota: u32, window: Duration) -> Result<Self, ConfigError> {
        let value = || format!("{quota} per {window:?}");
        let refuse = |problem| Err(ConfigError::new(value(), problem, "write for example `60 per minute`"));
        let Some(some) = NonZeroU32::new(quota) else { return refuse("a quota admits at least one request") };
        if window < SHORTEST || window > LONGEST {
            return refuse("a window lasts from a millisecond to 366 days");
        }
        // Rounded up: rounding down would admit more than the quota.
        let refill = window.as_nanos().div_ceil(u128::from(quota));
        if (refill * u128::from(quota) - window.as_nanos()) * 100 > window.as_nanos() {
            let refilled = window.as_nanos() / refill;
            let problem = format!(
                "refills are counted in whole nanoseconds, so that only {refilled} requests would be admitted per window"
            );
            return Err(ConfigError::new(value(), problem, format!("lower the quota to {refilled}")));
        }
        let refill = u64::try_from(refill).unwrap_or(u64::MAX);
        let name = name_of(window);
        Ok(Self { name: name.into(), quota: some, window, refill, counts: Counts::Key, strict: false })
    }

    /// Another name than the window's: it stands in `RateLimit` headers and in errors.
    ///
    /// # Errors
    ///
    /// A name that a structured field cannot hold as a string (RFC 9651): printable ASCII without `"` and `\`.
    pub fn with_name(mut self, name: &str) -> Result<Self, ConfigError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            let problem = "a quota's name is visible ASCII without quotes and backslashes";
            return Err(ConfigError::new(name, problem, "write one as in `per-minute`").in_member("name"));
        }
        self.name = name.into();
        Ok(self)
    }

    /// The same under the name by which a configuration defines it, unless it was given one of its own.
    pub(crate) fn defined_as(self, name: &str) -> Result<Self, ConfigError> {
        if *self.name == *name_of(self.window) { self.with_name(name) } else { Ok(self) }
    }

    /// Whether `other`, which counts at least the same requests, refuses all that this one would.
    pub(crate) fn is_never_reached_beside(&self, other: &Self) -> bool {
        let wider = match (&self.counts, &other.counts) {
            (Counts::Pool(one), Counts::Pool(another)) => one == another,
            (one, another) => one.rank().0 <= another.rank().0,
        };
        if !wider || self.quota < other.quota {
            return false;
        }
        let nanos = |policy: &Self| policy.window.as_nanos();
        let refilled = nanos(self) / u128::from(other.refill);
        match (self.strict, other.strict) {
            (false, false) => self.refill <= other.refill,
            (true, true) => self.window <= other.window,
            (true, false) => u128::from(self.quota.get()) >= u128::from(other.quota.get()) + refilled,
            (false, true) => u128::from(self.refill) * u128::from(other.quota.get()) <= nanos(other),
        }
    }

    /// Returns the place of the first policy that can never be reached among these, and the one that always refuses first.
    pub(crate) fn never_reached<'p>(policies: &[&'p Self]) -> Option<(usize, &'p Self)> {
        policies.iter().enumerate().find_map(|(place, policy)| {
            let mut others = policies.iter().enumerate().filter(|(other, _)| *other != place);
            let first = others.find(|(_, other)| policy.is_never_reached_beside(other));
            first.map(|(_, other)| (place, *other))
        })
    }

    /// Whom it counts together: each key by itself, if nothing is said.
    #[must_use]
    pub fn counting(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    /// Makes it strict: any time as long as the window sees at most the quota, where a bucket and its refill come to almost
    /// twice as much. What was admitted takes a place until the window has passed since.
    ///
    /// Of a quota above sixteen, what is admitted within one sixteenth of the window is counted together, and gives its
    /// places back with the last of it: a steady caller gets at least sixteen seventeenths of the quota.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::account::QuotaPolicy;
    ///
    /// let strict = QuotaPolicy::new(60, Duration::from_secs(60))?.in_any_window();
    /// assert_eq!(strict, "60 in any minute".parse()?);
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    #[must_use]
    pub fn in_any_window(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Whether it is strict.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many requests.
    pub fn quota(&self) -> u32 {
        self.quota.get()
    }

    /// In which time.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Whom it counts together.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The share that each of so many nodes has of it: the quota divided, rounded down, and at least one request.
    ///
    /// The shares together are less than the quota by the rest of the division, and more than the quota where there are more
    /// nodes than requests.
    #[must_use]
    pub fn shared_by(&self, nodes: NonZeroU32) -> Self {
        let share = NonZeroU32::new(self.quota.get() / nodes).unwrap_or(NonZeroU32::MIN);
        // Fewer requests in the same window take longer each: rounding loses no more than of the whole quota.
        let refill =
            u64::try_from(self.window.as_nanos().div_ceil(u128::from(share.get()))).unwrap_or(u64::MAX);
        Self { quota: share, refill, ..self.clone() }
    }

    /// The time in which one request's place is refilled, rounded up to the nanosecond.
    pub fn refill(&self) -> Duration {
        Duration::from_nanos(self.refill)
    }

    /// The same in nanoseconds.
    #[cfg(feature = "memory")]
    pub(crate) fn burst(&self) -> NonZeroU32 {
        self.quota
    }

    #[cfg(feature = "memory")]
    pub(crate) fn refill_nanos(&self) -> u64 {
        self.refill
    }
}

pub(crate) const UNITS: [(&str, u64); 5] =
    [("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400), ("week", 604_800)];

fn unit_of(window: Duration) -> Option<&'static str> {
    UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == window).map(|(unit, _)| *unit)
}

/// The name of a quota that was given none.
fn name_of(window: Duration) -> String {
    unit_of(window).map_or_else(|| format!("{}s", window.as_secs_f64()), str::to_owned)
}

/// A plain decimal number: without the sign that Rust's own reader takes.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Writes it as it is read, as in `60 per minute`: its name, and whom it counts, are not part of the text. A window that is no
/// whole number of seconds is written with its fraction, as in `1.5s`, which is not read.
impl fmt::Display for QuotaPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = if self.strict { "in any" } else { "per" };
        match unit_of(self.window) {
            Some(unit) => write!(f, "{} {link} {unit}", self.quota),
            None => write!(f, "{} {link} {}s", self.quota, self.window.as_secs_f64()),
        }
    }
}

impl FromStr for QuotaPolicy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: &str| {
            ConfigError::new(text, problem, "write for example `60 per minute` or `5 per 10s`")
        };
        let (strict, parts) = match text.split_once(" in any ") {
            Some(parts) => (true, Some(parts)),
            None => (false, text.split_once(" per ")),
        };
        let (quota, window) = parts.ok_or_else(|| refuse("this is no quota"))?;
        let quota = digits(quota).ok_or_else(|| refuse("the quota is no whole number up to 4294967295"))?;
        let named = UNITS.iter().find(|(unit, _)| *unit == window).map(|(_, seconds)| *seconds);
        let seconds = named.or_else(|| window.strip_suffix('s').and_then(digits));
        let seconds = seconds.ok_or_else(|| {
            let units = UNITS.iter().map(|(unit, _)| *unit);
            let expected = format!("{}, or seconds as in `10s`", words::one_of(window, units));
            ConfigError::new(text, format!("`{window}` is no unit of time"), expected)
        })?;
        let policy = Self::new(quota, Duration::from_secs(seconds))
            .map_err(|error| ConfigError::new(text, error.problem(), error.expected()))?;
        Ok(if strict { policy.in_any_window() } else { policy })
    }
}

/// A quota that a key or an account has of its own: spelt out, or named as the configuration defines it.
///
/// Of the quotas of one key, account or plan no two that count the same have the same name: windows are known by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnQuota {
    /// Spelt out.
    Policy(QuotaPolicy),
    /// One of the configuration's, by name. A name that it does not know is the operator's error: the gate answers 500.
    Named(String),
}

/// Writes it as it is read: its name, or what it is.
impl fmt::Display for OwnQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => policy.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The quotas of a plan or a key, grouped by whom they count.
#[derive(Debug, Default)]
pub struct Quotas {
    groups: Box<[QuotaGroup]>,
    state: AttachedState,
}

/// The quotas that count the same requests together: one draw takes from all of them or from none.
#[derive(Debug)]
pub struct QuotaGroup {
    counts: Counts,
    policies: Arc<[QuotaPolicy]>,
    state: AttachedState,
}

impl Quotas {
    /// Groups policies by whom they count, in an order that is the same everywhere.
    pub fn new(policies: impl IntoIterator<Item = QuotaPolicy>) -> Self {
        let mut sorted: Vec<QuotaPolicy> = policies.into_iter().collect();
        sorted.sort_by(|a, b| (a.counts.rank(), a.window).cmp(&(b.counts.rank(), b.window)));
        let group = |policies: &[QuotaPolicy]| QuotaGroup {
            counts: policies[0].counts.clone(),
            policies: policies.into(),
            state: AttachedState::new(),
        };
        let groups = sorted.chunk_by(|a, b| a.counts == b.counts).map(group).collect();
        Self { groups, state: AttachedState::new() }
    }

    /// The groups.
    pub fn groups(&self) -> &[QuotaGroup] {
        &self.groups
    }

    /// All policies.
    pub fn policies(&self) -> impl Iterator<Item = &QuotaPolicy> {
        self.groups.iter().flat_map(|group| group.policies.iter())
    }

    /// Whether there is no quota: no limit.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The run-time state that rate limiters have attached to these quotas.
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}

impl QuotaGroup {
    /// Whom the group counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The policies of the group, the shortest window first.
    pub fn policies(&self) -> &Arc<[QuotaPolicy]> {
        &self.policies
    }

    /// The run-time state that rate limiters have attached to the group, such as a pool's windows.
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}

/// How a window stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Which window: its place among [`Quotas::policies`].
    pub policy: usize,
    /// How many more requests it admits at once.
    pub remaining: u32,
    /// In what time it is full again.
    pub reset: Duration,
    /// How every window of the draw stands, this one included, in the order of [`Quotas::policies`]. Empty where
    /// [`Draw::every_window`](crate::limit::Draw::every_window) does not ask for it, or the limiter cannot tell.
    pub all: Vec<Standing>,
}

impl Standing {
    /// A window that admits `remaining` more requests and is full again after `reset`.
    pub fn new(policy: usize, remaining: u32, reset: Duration) -> Self {
        Self { policy, remaining, reset, all: Vec::new() }
    }
}
