//! Quotas: the number of requests per window, and the owners whose requests are counted together.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::ConfigError;
use crate::name::PoolName;
use crate::network::NetworkCut;
use crate::state::AttachedState;
use crate::words;

/// The owner whose requests a quota counts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum QuotaScope {
    /// Each key separately.
    #[default]
    Key,
    /// All keys of an account together.
    Account,
    /// All clients of a network together, whatever their keys. The client's address is determined as
    /// [`TrustedProxies`](crate::gate::TrustedProxies) describes, and cut to its network.
    Network(NetworkCut),
    /// All keys whose plan names this pool, together.
    Pool(PoolName),
}

impl QuotaScope {
    /// Returns the rank in the lock order of groups. The order is the same everywhere.
    pub(super) fn rank(&self) -> (u8, Option<NetworkCut>, &str) {
        match self {
            Self::Key => (0, None, ""),
            Self::Account => (1, None, ""),
            Self::Network(cut) => (2, Some(*cut), ""),
            Self::Pool(name) => (3, None, name.as_str()),
        }
    }

    /// Returns true if a quota that counts `other` counts all requests that a quota with this scope counts.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pool(one), Self::Pool(another)) => one == another,
            (Self::Network(one), Self::Network(another)) => one.is_within(*another),
            // A key can be used from several networks, and a network can use several keys.
            (Self::Network(_), _) | (_, Self::Network(_)) => false,
            (one, another) => one.rank().0 <= another.rank().0,
        }
    }
}

/// A quota over a window, such as 60 per minute: a bucket that refills evenly (GCRA). The bucket has `quota` cells, unless
/// [`Self::with_burst`] sets its capacity.
///
/// The text form is `60 per minute`, `10 per second`, `1000 per day` or `5 per 10s`. A bucket refills while it is
/// emptied, so that one minute may see up to 119 requests under `60 per minute`. `60 in any minute` is strict: no
/// period of one minute sees more than 60 requests, wherever it begins. See [`Self::in_any_window`].
///
/// # Several quotas for one owner
///
/// Two keys of an account, or two plans that name a pool, may have different quotas with the same name and length, such
/// as `10 per minute` and `1000 per minute`. Each quota has its own bucket, which refills at its own pace. A request
/// waits until all buckets have counted fewer requests than its quota. Its own bucket takes over what the others have
/// counted. The same applies to a quota that is changed. Beyond 64 such buckets, two are joined to one that is as strict
/// as both. A change of the name, of the length, or between `per` and `in any`, starts with a full window.
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QuotaPolicy {
    name: Arc<str>,
    quota: NonZeroU32,
    /// The number of cells of a full bucket.
    capacity: NonZeroU32,
    window: Duration,
    /// The nanoseconds after which one request's cell is refilled.
    refill: u64,
    counts: QuotaScope,
    strict: bool,
    /// The unit, if the configuration names one.
    unit: Option<Arc<str>>,
    /// The largest number of units that one draw takes: the capacity, or that of the whole of which this is a share.
    heaviest: NonZeroU32,
    /// True if the quota is counted, and denies no request.
    shadow: bool,
}

/// The unit of a quota that counts one for each request, whatever its weight.
const REQUESTS: &str = "requests";

/// The shortest window.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest window: 366 days.
const LONGEST: Duration = Duration::from_hours(366 * 24);

impl QuotaPolicy {
    /// Creates a quota of `quota` requests per `window`, counted per key.
    ///
    /// # Errors
    ///
    /// Returns an error for:
    ///
    /// - A quota of zero.
    /// - A window shorter than a millisecond or longer than 366 days. Redis measures time in microseconds.
    /// - A quota of which more than a hundredth would be lost because the refill time of one request is rounded up to a
    ///   nanosecond. This takes more than ten million requests per second.
    pub fn new(quota: u32, window: Duration) -> Result<Self, ConfigError> {
        let value = || format!("{quota} per {window:?}");
        let refuse = |problem| Err(ConfigError::new(value(), problem, "write for example `60 per minute`"));
        let Some(some) = NonZeroU32::new(quota) else {
            return refuse("a quota must admit at least one request");
        };
        if window < SHORTEST || window > LONGEST {
            return refuse("the window is out of range: it must last from a millisecond to 366 days");
        }
        // Rounded up, because rounding down would admit more than the quota.
        let refill = window.as_nanos().div_ceil(u128::from(quota));
        if (refill * u128::from(quota) - window.as_nanos()) * 100 > window.as_nanos() {
            let refilled = window.as_nanos() / refill;
            let problem = format!(
                "the refill interval is rounded to whole nanoseconds, so that only {refilled} requests would be admitted per window"
            );
            return Err(ConfigError::new(value(), problem, format!("lower the quota to {refilled}")));
        }
        let refill = u64::try_from(refill).unwrap_or(u64::MAX);
        let name = name_of(window);
        Ok(Self {
            name: name.into(),
            quota: some,
            capacity: some,
            window,
            refill,
            counts: QuotaScope::Key,
            strict: false,
            unit: None,
            heaviest: some,
            shadow: false,
        })
    }

    /// Replaces the name, which defaults to the window's. The name appears in `RateLimit` headers and in errors.
    ///
    /// # Errors
    ///
    /// Returns an error if a structured field cannot contain the name as a string (RFC 9651). The name must be
    /// printable ASCII without `"` and `\`.
    pub fn with_name(mut self, name: &str) -> Result<Self, ConfigError> {
        if !is_visible(name) {
            let problem = "a quota's name is visible ASCII without quotes and backslashes";
            return Err(ConfigError::new(name, problem, "write one as in `per-minute`").in_member("name"));
        }
        self.name = name.into();
        Ok(self)
    }

    /// Returns the policy under the name by which a configuration defines it, unless it already has a name of its own.
    pub(crate) fn defined_as(self, name: &str) -> Result<Self, ConfigError> {
        if *self.name == *name_of(self.window) { self.with_name(name) } else { Ok(self) }
    }

    /// Returns true if `other`, which counts at least the same requests, denies every request that this policy would
    /// deny.
    pub(crate) fn is_never_reached_beside(&self, other: &Self) -> bool {
        if self.shadow || other.shadow {
            return false;
        }
        // A request takes at least one unit, so that a quota of units counts at least what a quota of requests counts.
        let counts_less = other.counts_requests() && !self.counts_requests();
        if !self.counts.is_within(&other.counts) || counts_less || self.capacity < other.capacity {
            return false;
        }
        let nanos = |policy: &Self| policy.window.as_nanos();
        let refilled = nanos(self) / u128::from(other.refill);
        match (self.strict, other.strict) {
            (false, false) => self.refill <= other.refill,
            (true, true) => self.window <= other.window,
            (true, false) => u128::from(self.quota.get()) >= u128::from(other.capacity.get()) + refilled,
            (false, true) => u128::from(self.refill) * u128::from(other.quota.get()) <= nanos(other),
        }
    }

    /// Returns true if both policies have one name and count one kind of owner, so that headers and errors do not
    /// distinguish them. They do not contain the parts of addresses that identify a network.
    pub(crate) fn has_window_of(&self, other: &Self) -> bool {
        let are_networks =
            matches!((&self.counts, &other.counts), (QuotaScope::Network(_), QuotaScope::Network(_)));
        self.shadow == other.shadow
            && self.name == other.name
            && (are_networks || self.counts == other.counts)
    }

    /// Returns the index of the first policy that can never be reached, and the policy that always denies before it.
    pub(crate) fn never_reached<'p>(policies: &[&'p Self]) -> Option<(usize, &'p Self)> {
        policies.iter().enumerate().find_map(|(place, policy)| {
            let mut others = policies.iter().enumerate().filter(|(other, _)| *other != place);
            let first = others.find(|(_, other)| policy.is_never_reached_beside(other));
            first.map(|(_, other)| (place, *other))
        })
    }

    /// Sets the owner whose requests are counted together. Defaults to each key separately.
    #[must_use]
    pub fn counting(mut self, counts: QuotaScope) -> Self {
        self.counts = counts;
        self
    }

    /// Sets the capacity of the bucket: the number of requests that a full bucket admits at once. It defaults to the
    /// quota. The bucket refills at the pace of the quota, so that `600 per minute` with a burst of 50 admits 50 requests
    /// at once, and then ten per second.
    ///
    /// # Errors
    ///
    /// Returns an error for:
    ///
    /// - A burst of zero.
    /// - A strict policy, which has no bucket.
    /// - A bucket that takes more than 366 days to refill.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::account::QuotaPolicy;
    ///
    /// let policy = "600 per minute".parse::<QuotaPolicy>()?.with_burst(50)?;
    /// assert_eq!((policy.quota(), policy.capacity()), (600, 50));
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn with_burst(mut self, burst: u32) -> Result<Self, ConfigError> {
        let refuse = |problem: String, expected: String| {
            Err(ConfigError::new(burst.to_string(), problem, expected).in_member("burst"))
        };
        let Some(capacity) = NonZeroU32::new(burst) else {
            let problem = "a bucket without capacity never admits a request";
            return refuse(problem.to_owned(), "write at least 1".to_owned());
        };
        if self.strict {
            let problem = format!("`{self}` is strict, and a strict quota has no burst");
            return refuse(problem, "leave `burst` out, or write `per` instead of `in any`".to_owned());
        }
        let most = LONGEST.as_nanos() / u128::from(self.refill);
        // A bucket of the quota's size is always allowed, although its refill time is rounded up.
        if capacity > self.quota && u128::from(burst) > most {
            let problem = format!("an empty bucket of `{self}` would take more than 366 days to refill");
            return refuse(problem, format!("write {} at the most", most.max(self.quota.get().into())));
        }
        (self.capacity, self.heaviest) = (capacity, capacity);
        Ok(self)
    }

    /// Sets the unit of the quota, as in `tokens`. It appears in `RateLimit-Policy` headers. A request takes as many units
    /// as the [weight](crate::rule::Weight) of its rule says. A quota with the unit `requests` counts one for each request,
    /// whatever its weight.
    ///
    /// # Errors
    ///
    /// Returns an error if a structured field cannot contain the unit as a string (RFC 9651). The unit must be printable
    /// ASCII without spaces, `"` and `\`.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::account::QuotaPolicy;
    ///
    /// let tokens = "100000 per minute".parse::<QuotaPolicy>()?.with_unit("tokens")?;
    /// let requests = "60 per minute".parse::<QuotaPolicy>()?.with_unit("requests")?;
    /// let weight = std::num::NonZeroU32::new(500).unwrap();
    /// assert_eq!((tokens.units_of(weight), requests.units_of(weight)), (500, 1));
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn with_unit(mut self, unit: &str) -> Result<Self, ConfigError> {
        if !is_visible(unit) {
            let problem = "a quota's unit is visible ASCII without quotes and backslashes";
            return Err(ConfigError::new(unit, problem, "write one as in `tokens`").in_member("unit"));
        }
        self.unit = Some(unit.into());
        Ok(self)
    }

    /// Makes the policy strict: any period as long as the window sees at most the quota. A bucket together with its
    /// refill admits almost twice as much. An admitted request takes a place until one window has passed since its
    /// admission.
    ///
    /// If the quota is above sixteen, requests admitted within one sixteenth of the window are counted together. Their
    /// places become free together, one window after the last of them. A steady caller gets at least sixteen
    /// seventeenths of the quota.
    ///
    /// A strict policy has no bucket. This removes a burst.
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
        (self.capacity, self.heaviest) = (self.quota, self.quota);
        self
    }

    /// Counts requests in windows of its own, and denies none. A decision event tells which requests it would have denied.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::account::QuotaPolicy;
    ///
    /// let policy = "300 per minute".parse::<QuotaPolicy>()?.in_shadow();
    /// assert!(policy.is_in_shadow());
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    #[must_use]
    pub fn in_shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// Returns true if the quota denies no request.
    pub fn is_in_shadow(&self) -> bool {
        self.shadow
    }

    /// Returns true if the policy is strict.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of units per window. A request takes one unit, unless its rule has a weight.
    pub fn quota(&self) -> u32 {
        self.quota.get()
    }

    /// Returns the number of units that a full window has: the burst, or the quota if there is none.
    pub fn capacity(&self) -> u32 {
        self.capacity.get()
    }

    /// Returns true if the capacity differs from the quota.
    pub fn has_burst(&self) -> bool {
        self.capacity != self.quota
    }

    /// Returns the unit, if [`Self::with_unit`] has set one.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Returns true if each request takes one unit, whatever its weight.
    pub fn counts_requests(&self) -> bool {
        self.unit() == Some(REQUESTS)
    }

    /// Returns the number of units that a request of this weight takes: the weight, or one if the unit is `requests`.
    pub fn units_of(&self, weight: NonZeroU32) -> u32 {
        if self.counts_requests() { 1 } else { weight.get() }
    }

    /// Returns the largest number of units that one draw takes.
    pub(crate) fn heaviest(&self) -> NonZeroU32 {
        if self.counts_requests() { NonZeroU32::MIN } else { self.heaviest }
    }

    /// Returns the length of the window.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Returns the owner whose requests are counted together.
    pub fn counts(&self) -> &QuotaScope {
        &self.counts
    }

    /// Returns one node's share of the quota: the quota divided by the number of nodes, rounded down, but at least one
    /// request. A burst is divided likewise.
    ///
    /// The sum of the shares is less than the quota by the remainder of the division. It is more than the quota if
    /// there are more nodes than requests.
    ///
    /// A request may take more units than the share has, but no more than the whole quota has. It needs a full window, and
    /// takes all its units. The window admits the next request when they are refilled.
    #[must_use]
    pub fn shared_by(&self, nodes: NonZeroU32) -> Self {
        let share_of = |whole: NonZeroU32| NonZeroU32::new(whole.get() / nodes).unwrap_or(NonZeroU32::MIN);
        let share = share_of(self.quota);
        // With fewer requests in the same window, each refill takes longer: rounding loses no larger a part than it
        // does for the whole quota.
        let refill =
            u64::try_from(self.window.as_nanos().div_ceil(u128::from(share.get()))).unwrap_or(u64::MAX);
        Self { quota: share, capacity: share_of(self.capacity), refill, ..self.clone() }
    }

    /// Returns the time after which one request's cell is refilled, rounded up to the nanosecond.
    pub fn refill(&self) -> Duration {
        Duration::from_nanos(self.refill)
    }

    pub(crate) fn refill_nanos(&self) -> u64 {
        self.refill
    }
}

/// Returns true if a structured field can contain a text without spaces as a string (RFC 9651).
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

pub(crate) const UNITS: [(&str, u64); 5] =
    [("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400), ("week", 604_800)];

fn unit_of(window: Duration) -> Option<&'static str> {
    UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == window).map(|(unit, _)| *unit)
}

/// Returns the default name of a quota with this window.
fn name_of(window: Duration) -> String {
    unit_of(window).map_or_else(|| format!("{}s", window.as_secs_f64()), str::to_owned)
}

/// Parses a plain decimal number, without the sign that Rust's parser accepts.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Writes the text form that [`FromStr`] reads, as in `60 per minute`. The text does not contain the name, the burst or
/// the counted owner. A window that is not a whole number of seconds is written with its fraction, as in `1.5s`, which
/// [`FromStr`] does not accept.
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
            let meant = Self::meant(text);
            let expected = format!("{meant}write for example `60 per minute` or `5 per 10s`");
            ConfigError::new(text, problem, expected)
        };
        let (strict, parts) = match text.split_once(" in any ") {
            Some(parts) => (true, Some(parts)),
            None => (false, text.split_once(" per ")),
        };
        let (quota, window) = parts.ok_or_else(|| refuse("this is no quota"))?;
        let quota = digits(quota)
            .ok_or_else(|| refuse("the number of requests must be a whole number from 1 to 4294967295"))?;
        let named = UNITS.iter().find(|(unit, _)| *unit == window).map(|(_, seconds)| *seconds);
        let seconds = named.or_else(|| window.strip_suffix('s').and_then(digits));
        let seconds = seconds.ok_or_else(|| {
            let units = UNITS.iter().map(|(unit, _)| *unit);
            let meant = Self::meant(text);
            let misspelt = if meant.is_empty() { window } else { "" };
            let units = words::one_of(misspelt, units);
            let expected = format!("{meant}{units}, or seconds as in `10s`: for example `60 per minute`");
            ConfigError::new(text, format!("unknown unit of time `{window}`"), expected)
        })?;
        let policy = Self::new(quota, Duration::from_secs(seconds))
            .map_err(|error| ConfigError::new(text, error.problem(), error.expected()))?;
        Ok(if strict { policy.in_any_window() } else { policy })
    }
}

/// A quota that is set on a key, an account or a plan: either a full policy or the name of a quota defined in the
/// configuration.
///
/// Among the quotas of one key, account or plan, two that count the same owner must have different names, because
/// windows are identified by their names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QuotaRef {
    /// A full policy.
    Policy(QuotaPolicy),
    /// The name of a quota in the configuration. An unknown name is a configuration error: the gate answers 500.
    Named(String),
}

/// Writes the text form that [`FromStr`] reads: the name or the policy.
impl fmt::Display for QuotaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => policy.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The part of a configuration that a quota belongs to. Windows of different origins are separate, even if their quotas
/// have the same name and count the same owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QuotaOrigin {
    /// A plan, an account or a key.
    #[default]
    Plan,
    /// A rule. The text is its route, or the first of its routes.
    Rule(Arc<str>),
    /// A quota that rules refer to by this name. All these rules share its windows.
    Shared(Arc<str>),
    /// The plan of requests without a key. See [`GateBuilder::anonymous`](crate::GateBuilder::anonymous).
    Anonymous,
    /// That part, in shadow: the windows are counted, and deny no request.
    Shadow(Arc<QuotaOrigin>),
}

/// The quotas of a request, grouped by the owner that they count and by their origin.
#[derive(Debug)]
pub struct Quotas {
    groups: Box<[QuotaGroup]>,
    /// The end of the groups of each owner.
    owners: Box<[usize]>,
    /// True if a group counts the client's network.
    counts_network: bool,
    /// The least capacity of the policies whose units a weight multiplies.
    capacity: u32,
    state: AttachedState,
}

/// Quotas that count the same requests together. One draw takes from all of them or from none.
///
/// A clone is the same group: it has the same policies and the same run-time state.
#[derive(Debug, Clone)]
pub struct QuotaGroup {
    counts: QuotaScope,
    origin: QuotaOrigin,
    policies: Arc<[QuotaPolicy]>,
    state: Arc<AttachedState>,
    /// The same group in shadow.
    twin: Arc<OnceLock<QuotaGroup>>,
}

/// Writes nothing for a plan. Otherwise writes the part of the configuration in words, after a space.
impl fmt::Display for QuotaOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => Ok(()),
            Self::Rule(route) => write!(f, " at `{route}`"),
            Self::Shared(name) => write!(f, " of the rules with `{name}`"),
            Self::Anonymous => f.write_str(" of requests without a key"),
            Self::Shadow(origin) => write!(f, "{origin} in shadow"),
        }
    }
}

impl Quotas {
    /// Groups policies of the origin [`QuotaOrigin::Plan`] by the owner that they count. The order of the groups is the
    /// same everywhere.
    pub fn new(policies: impl IntoIterator<Item = QuotaPolicy>) -> Self {
        Self::default().beside(QuotaOrigin::Plan, policies)
    }

    /// Adds policies of another origin. One draw takes from the windows of all origins or from none.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::account::{QuotaOrigin, QuotaPolicy, Quotas};
    ///
    /// let plan = Quotas::new(["600 per minute".parse::<QuotaPolicy>()?]);
    /// let rule = QuotaOrigin::Rule("POST /v1/backtests".into());
    /// let quotas = plan.beside(rule, ["10 per minute".parse::<QuotaPolicy>()?]);
    /// assert_eq!(quotas.policies().count(), 2);
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "an origin is usually made for the call")]
    pub fn beside(self, origin: QuotaOrigin, policies: impl IntoIterator<Item = QuotaPolicy>) -> Self {
        let (same, mut groups): (Vec<_>, Vec<_>) =
            self.groups.into_iter().partition(|group| group.origin == origin);
        let known = same.iter().flat_map(|group| group.policies.iter().cloned());
        groups.extend(QuotaGroup::of(&origin, known.chain(policies)));
        Self::of_groups(groups)
    }

    /// Combines groups, each with a different owner or origin.
    pub(crate) fn of_groups(groups: impl IntoIterator<Item = QuotaGroup>) -> Self {
        let mut groups: Vec<QuotaGroup> = groups.into_iter().collect();
        groups.sort_by(|a, b| (a.counts.rank(), &a.origin).cmp(&(b.counts.rank(), &b.origin)));
        let ends = groups.chunk_by(|a, b| a.counts == b.counts).scan(0, |end, of_one| {
            *end += of_one.len();
            Some(*end)
        });
        let owners = ends.collect();
        let counts_network = groups.iter().any(|group| matches!(group.counts, QuotaScope::Network(_)));
        let policies = groups.iter().flat_map(|group| group.policies.iter());
        let of_units = policies.filter(|policy| !policy.counts_requests());
        let capacity = of_units.map(QuotaPolicy::capacity).min().unwrap_or(u32::MAX);
        let (groups, state) = (groups.into_boxed_slice(), AttachedState::new());
        Self { groups, owners, counts_network, capacity, state }
    }

    /// Returns the largest weight of a request that all windows can admit: the least capacity, without the policies that
    /// count each request once.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the policy with this capacity.
    pub(crate) fn smallest(&self) -> Option<&QuotaPolicy> {
        self.policies().find(|policy| policy.capacity() == self.capacity && !policy.counts_requests())
    }

    /// Returns true if a quota counts the client's network.
    #[inline]
    pub fn counts_network(&self) -> bool {
        self.counts_network
    }

    /// Returns the same quotas without those that count networks.
    pub(crate) fn without_networks(&self) -> Self {
        let counts_network = |group: &&QuotaGroup| matches!(group.counts, QuotaScope::Network(_));
        Self::of_groups(self.groups.iter().filter(|group| !counts_network(group)).cloned())
    }

    /// Returns true if a group belongs to a plan and not to a rule.
    pub(crate) fn has_plan_windows(&self) -> bool {
        let is_of_plan =
            |group: &QuotaGroup| matches!(group.origin, QuotaOrigin::Plan | QuotaOrigin::Anonymous);
        self.groups.iter().any(is_of_plan)
    }

    /// Returns the number of owners.
    #[inline]
    pub(crate) fn owners(&self) -> usize {
        self.owners.len()
    }

    /// Returns the groups that count the owner at this index. The owners have the same order everywhere.
    #[inline]
    pub(crate) fn of_owner(&self, place: usize) -> &[QuotaGroup] {
        let start = place.checked_sub(1).map_or(0, |before| self.owners[before]);
        &self.groups[start..self.owners[place]]
    }

    /// Returns the groups.
    pub fn groups(&self) -> &[QuotaGroup] {
        &self.groups
    }

    /// Returns all policies.
    pub fn policies(&self) -> impl Iterator<Item = &QuotaPolicy> {
        self.groups.iter().flat_map(|group| group.policies.iter())
    }

    /// Returns the origin of the policy at this index of [`Self::policies`].
    pub fn origin_of(&self, policy: usize) -> Option<&QuotaOrigin> {
        self.origins().nth(policy)
    }

    /// Returns the origin of each policy.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &QuotaOrigin> {
        self.groups.iter().flat_map(|group| group.policies.iter().map(|_| &group.origin))
    }

    /// Returns true if there are no quotas, which means no limit.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Returns the run-time state that rate limiters have attached to these quotas.
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self::of_groups([])
    }
}

impl QuotaGroup {
    /// Groups policies of one origin by the owner that they count.
    pub(crate) fn of(origin: &QuotaOrigin, policies: impl IntoIterator<Item = QuotaPolicy>) -> Vec<Self> {
        let mut sorted: Vec<QuotaPolicy> = policies.into_iter().collect();
        sorted.sort_by(|a, b| (a.counts.rank(), a.window).cmp(&(b.counts.rank(), b.window)));
        let group = |policies: &[QuotaPolicy]| Self {
            counts: policies[0].counts.clone(),
            origin: origin.clone(),
            policies: policies.into(),
            state: Arc::default(),
            twin: Arc::default(),
        };
        sorted.chunk_by(|a, b| a.counts == b.counts).map(group).collect()
    }

    /// Returns the same group with each policy replaced by `with(policy)`, and with run-time state of its own.
    pub(crate) fn map(&self, with: impl FnMut(&QuotaPolicy) -> QuotaPolicy) -> Self {
        let policies = self.policies.iter().map(with).collect();
        Self { policies, state: Arc::default(), twin: Arc::default(), ..self.clone() }
    }

    /// Returns true if the windows of the group deny no request.
    pub(crate) fn is_in_shadow(&self) -> bool {
        matches!(self.origin, QuotaOrigin::Shadow(_))
    }

    /// Returns the same group in shadow, with windows of its own. All clones of a group have the same one.
    pub(crate) fn in_shadow(&self) -> Self {
        if self.is_in_shadow() {
            return self.clone();
        }
        let twin = self.twin.get_or_init(|| {
            // Once more in shadow than the quotas of this origin that are in shadow by themselves.
            let origin = QuotaOrigin::Shadow(Arc::new(QuotaOrigin::Shadow(Arc::new(self.origin.clone()))));
            Self { origin, state: Arc::default(), twin: Arc::default(), ..self.clone() }
        });
        twin.clone()
    }

    /// Returns the part of the configuration that the quotas belong to.
    pub fn origin(&self) -> &QuotaOrigin {
        &self.origin
    }

    /// Returns the owner whose requests the group counts.
    pub fn counts(&self) -> &QuotaScope {
        &self.counts
    }

    /// Returns the policies of the group, the shortest window first.
    pub fn policies(&self) -> &Arc<[QuotaPolicy]> {
        &self.policies
    }

    /// Returns the run-time state that rate limiters have attached to the group, such as the windows of a pool.
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}

/// The current state of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowStatus {
    /// The index of the window in [`Quotas::policies`].
    pub policy: usize,
    /// The number of units that the window has left. A request takes one unit, unless its rule has a weight.
    pub remaining: u32,
    /// The number of requests that a full window admits at once, if it is another one than that of the policy; or 0.
    pub(crate) limit: u32,
    /// The time until the window is full again.
    pub reset: Duration,
    /// The nanoseconds until the window has one more unit. One word keeps the status of an admitted request small.
    next: u64,
    /// The state of every window of the draw, including this one, in the order of [`Quotas::policies`]. Empty if
    /// [`Draw::every_window`](crate::limit::Draw::every_window) does not request it or the limiter cannot provide it.
    pub all: Box<[WindowStatus]>,
}

impl WindowStatus {
    /// Creates the state of a window that has `remaining` units left and is full again after `reset`. Until
    /// [`with_next`](Self::with_next) sets a shorter time, one more unit counts as available when the window is full.
    #[inline]
    pub fn new(policy: usize, remaining: u32, reset: Duration) -> Self {
        Self { policy, remaining, limit: 0, reset, next: nanos(reset), all: Box::default() }
    }

    /// Sets the number of requests that a full window admits at once. A limiter sets it if the window is not that of the
    /// policy, but a share of it.
    #[must_use]
    #[inline]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the number of requests that a full window admits at once, if it is not that of the policy, as for a share.
    #[inline]
    pub fn limit(&self) -> Option<u32> {
        (self.limit > 0).then_some(self.limit)
    }

    /// Sets the time until the window has one more unit than it has now.
    #[must_use]
    #[inline]
    pub fn with_next(mut self, next: Duration) -> Self {
        self.next = nanos(next);
        self
    }

    /// Sets the same, in nanoseconds.
    #[cfg(feature = "memory")]
    #[inline]
    pub(crate) fn with_next_nanos(mut self, next: u64) -> Self {
        self.next = next;
        self
    }

    /// Returns the time until the window has one more unit than [`remaining`](Self::remaining), if no other request is
    /// admitted first. Zero if the window is full.
    pub fn next(&self) -> Duration {
        Duration::from_nanos(self.next)
    }
}

/// Returns the nanoseconds of a time. No window is as long as 584 years, which fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
