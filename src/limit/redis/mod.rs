//! A rate limiter in Redis, with windows that all nodes share.

mod slots;
#[cfg(all(test, feature = "memory"))]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::account::{QuotaGroup, QuotaOrigin, QuotaPolicy, QuotaScope};
use crate::error::{ConfigError, StoreError};
use crate::future::StoreFuture;
use crate::key::KeyRecord;
use crate::limit::redis::slots::HeldSlots;
use crate::limit::{Acquire, Acquired, Caller, Correction, Draw, LimitDecision, RateLimiter, WindowStatus};
use crate::redis::CLOCK;
use crate::redis::RedisServer;
use crate::state::StateOwner;

/// A rate limiter in Redis. One script tests and draws all windows of a draw in one round trip, and returns the state of
/// each if limit headers or alerts need it. It uses the server's time, so that the clocks of the calling machines do not matter.
///
/// A gate whose limiter and [`RedisLedger`](crate::credit::RedisLedger) use clones of one [`RedisServer`] draws and
/// charges in one round trip, where the credits check directly follows the rate limits. In a wrapper such as
/// [`Resilient`](crate::guard::Resilient), each makes its own round trip.
///
/// The state of a window expires once the window is full. The state of a strict window is a log of up to 17 times. The
/// server's clock shows microseconds, and refills are counted in nanoseconds. The refill of a window of more than 30
/// days, or of a burst that takes as long to refill, and the length of a strict window, are rounded up to a microsecond.
/// This withholds less than a five-hundredth of the quota. In a window of more than 30 days, what a quota takes over from another quota for the same owner is
/// rounded up to a microsecond too.
///
/// If the server's clock is set back, a request is delayed by one window at most, and no additional request is
/// admitted. With a burst below the quota, the delay is two windows at most. With a burst above the quota, it is the time
/// in which an empty bucket is refilled. If the clock jumps forward, windows are refilled for the length of the jump.
///
/// A server that runs out of memory answers with an error (503). A server that is configured to evict
/// (`maxmemory-policy`), or that fails over to a replica that lags, may lose windows. The requests that a lost window
/// had counted are then admitted once more.
///
/// # Requests in flight
///
/// The slots of a limit are counted by the server for all nodes, in one round trip when a request begins and one when it
/// ends. Each slot has a lifetime ([`with_slot_lifetime`](Self::with_slot_lifetime)), and the limiter renews the slots that
/// its requests hold, in one task, every third of the lifetime.
///
/// - The slots of a node that is killed are free when their lifetime has passed.
/// - A release that fails is not repeated: the slots are free when their lifetime has passed. The same is true of slots
///   that the server gave in an answer that was lost.
/// - A node that stops for longer than the lifetime, or whose runtime is blocked for so long, loses its slots while its
///   requests go on. A server may lose its data. Until the node renews its slots, which restores them, other requests may
///   be admitted in addition to the limit.
/// - Time is the server's. If its clock is set back, the slots of a node that was killed are free after ten minutes at
///   most.
///
/// Slots are acquired in a round trip of their own, also if the draw and the charge share one.
///
/// # In a cluster
///
/// Windows that count a key or an account are stored in the account's slot. Windows that count a pool or a network are
/// stored in the slot of the pool or the network. A draw from several slots at once needs them in one: if the quotas of a
/// request count several of these, put a hash tag into
/// [`RedisOptions::prefix`](crate::redis::RedisOptions::prefix). Otherwise a gate with such a request does not start. If the
/// quotas of a key's own record make it such a request, it is denied with 503, and nothing is taken. The same is true of
/// limits on requests in flight.
///
/// A cluster copies changes to its replicas after it has answered. What a master has admitted in the last moments before it
/// fails, usually below a second, may be admitted once more after the fail-over. So may what a master admits that is cut off
/// from the others, for as long as the cluster's `cluster-node-timeout`.
///
/// Without such a hash tag, a request whose windows all count pools or networks is drawn and charged in two round trips.
///
/// # Example
///
/// ```
/// use tollgate::limit::RedisLimiter;
/// use tollgate::redis::RedisServer;
///
/// let limiter = RedisLimiter::new(RedisServer::open("redis://127.0.0.1:6379", "acme")?);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisLimiter {
    server: RedisServer,
    scripts: Arc<Scripts>,
    slots: Arc<HeldSlots>,
    /// The owner of the texts that are attached to groups of quotas.
    owner: StateOwner,
}

#[derive(Debug)]
struct Scripts {
    draw: Script,
    peek: Script,
    correct: Script,
}

pub(crate) const WINDOWS: &str =
    concat!(include_str!("bucket.lua"), "\n", include_str!("log.lua"), "\n", include_str!("windows.lua"));
const DRAW: &str = "return draw(#KEYS, ARGV[#ARGV] == '1')";
const PEEK: &str = include_str!("peek.lua");
const CORRECT: &str = include_str!("correct.lua");

impl Scripts {
    fn going_by(clock: &str) -> Self {
        let script = |body: &str| Script::new(&[clock, WINDOWS, body].join("\n"));
        Self { draw: script(DRAW), peek: script(PEEK), correct: script(CORRECT) }
    }
}

/// A script's answer to a draw: the time to wait, the index of the window that decides, and the state of that window, or of
/// each window if the draw requests it.
pub(crate) type DrawReply = (u64, usize, Vec<WindowReply>);

/// The number of units that a window has left, the microseconds until it is full, and those until it has one more unit.
pub(crate) type WindowReply = (u32, u64, u64);

impl RedisLimiter {
    /// Creates a limiter on this server.
    pub fn new(server: RedisServer) -> Self {
        Self::going_by(CLOCK, server)
    }

    fn going_by(clock: &str, server: RedisServer) -> Self {
        let slots = HeldSlots::new(server.clone(), slots::LIFETIME, clock);
        Self { server, scripts: Arc::new(Scripts::going_by(clock)), slots, owner: StateOwner::new() }
    }

    /// Sets the time after which the slots of requests in flight are free if their node does not renew them: the time for
    /// which the slots of a node that was killed are missing. Defaults to ten seconds. Nodes may have different lifetimes.
    ///
    /// # Errors
    ///
    /// Returns an error for a time below one second or above ten minutes.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tollgate::limit::RedisLimiter;
    /// use tollgate::redis::RedisServer;
    ///
    /// let limiter = RedisLimiter::new(RedisServer::open("redis://127.0.0.1:6379", "acme")?);
    /// let limiter = limiter.with_slot_lifetime(Duration::from_secs(30))?;
    /// assert!(limiter.with_slot_lifetime(Duration::ZERO).is_err());
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn with_slot_lifetime(mut self, lifetime: Duration) -> Result<Self, ConfigError> {
        slots::check(lifetime)?;
        self.slots = HeldSlots::new(self.server.clone(), lifetime, CLOCK);
        Ok(self)
    }

    /// Returns the windows of a draw, in the order of its policies.
    pub(crate) fn windows(&self, draw: &Draw<'_>) -> Result<DrawnWindows, StoreError> {
        self.windows_where(draw, |_| true)
    }

    fn windows_where(
        &self,
        draw: &Draw<'_>,
        is_chosen: impl Fn(&QuotaPolicy) -> bool,
    ) -> Result<DrawnWindows, StoreError> {
        let count = draw.quotas.policies().count();
        let (mut keys, mut arguments) = (Vec::with_capacity(count), Vec::with_capacity(VALUES * count + 1));
        for group in draw.quotas.groups() {
            let subject = self.subject(&draw.caller, group.counts())?;
            let texts = self.texts(group);
            let policies = group.policies().iter().zip(&*texts);
            for (policy, texts) in policies.filter(|(policy, _)| is_chosen(policy)) {
                let units = policy.units_of(draw.weight).min(policy.capacity());
                keys.push([&*subject, &texts.name].concat());
                arguments.extend([texts.pace.clone(), texts.capacity.clone(), units.to_string()]);
            }
        }
        Ok(DrawnWindows { keys, arguments })
    }

    /// Returns the texts of the windows of a group. They are made once and attached to the group.
    fn texts(&self, group: &QuotaGroup) -> Arc<Vec<WindowTexts>> {
        group.state().share(self.owner).unwrap_or_else(|| {
            let origin = origin(group.origin());
            let texts = group.policies().iter().map(|policy| WindowTexts::of(policy, &origin));
            let texts = Arc::new(texts.collect::<Vec<_>>());
            group.state().attach(self.owner, Arc::clone(&texts));
            texts
        })
    }

    /// Returns the names of the sets of slots, in the order of the limits.
    fn slot_names(&self, acquire: &Acquire<'_>) -> Result<Arc<[String]>, StoreError> {
        let limits = acquire.limits.all().iter();
        let name = |subject: String, limit_origin| format!("{subject}:slots{}", origin(limit_origin));
        limits.map(|limit| Ok(name(self.subject(&acquire.caller, limit.counts())?, limit.origin()))).collect()
    }

    fn subject(&self, caller: &Caller<'_>, counts: &QuotaScope) -> Result<String, StoreError> {
        let of_account = |key: &KeyRecord| self.server.of_account(key.account.id.as_str());
        Ok(match counts {
            QuotaScope::Key => {
                let key = caller.known_key()?;
                format!("{}:limit:{}", of_account(key), key.id)
            }
            QuotaScope::Account => format!("{}:limit", of_account(caller.known_key()?)),
            QuotaScope::Network(cut) => {
                // Windows of different cuts are apart, even if the networks are equal.
                let network = self.server.of_network(caller.network(*cut)?);
                format!("{network}:limit:{}-{}", cut.ipv4(), cut.ipv6())
            }
            QuotaScope::Pool(name) => format!("{}:limit", self.server.of_pool(name.as_str())),
        })
    }

    /// The server.
    pub(crate) fn server(&self) -> &RedisServer {
        &self.server
    }
}

/// Returns the part of a window's name that stands for the origin of its quota. It is empty for a plan.
fn origin(of: &QuotaOrigin) -> String {
    let (kind, label) = match of {
        QuotaOrigin::Plan => return String::new(),
        QuotaOrigin::Anonymous => return ":anonymous".to_owned(),
        QuotaOrigin::Shadow(within) => return format!(":shadow{}", origin(within)),
        QuotaOrigin::Rule(route) => ("rule", route),
        QuotaOrigin::Shared(name) => ("quota", name),
    };
    // A colon separates parts, and a brace could begin a hash tag.
    let encoded = label.chars().fold(String::new(), |mut encoded, letter| {
        match letter {
            '%' => encoded.push_str("%25"),
            ':' => encoded.push_str("%3A"),
            '{' => encoded.push_str("%7B"),
            '}' => encoded.push_str("%7D"),
            letter => encoded.push(letter),
        }
        encoded
    });
    format!(":{kind}={encoded}")
}

/// The longest window for which the script counts in nanoseconds: sums of three such times are exact below 2^53.
const LONGEST_IN_NANOS: Duration = Duration::from_hours(30 * 24);

/// Returns the nanoseconds after which one request's cell is refilled, or for a strict window its length in
/// microseconds, negated. Both are rounded up, because rounding down would admit more than the quota.
fn pace(policy: &QuotaPolicy) -> String {
    if policy.is_strict() {
        return format!("-{}", policy.window().as_nanos().div_ceil(1_000));
    }
    let refill = policy.refill().as_nanos();
    // At most 2^32 requests in more than 30 days: a microsecond is less than a five-hundredth of a refill.
    let is_long = takes_long(policy);
    (if is_long { refill.next_multiple_of(1_000) } else { refill }).to_string()
}

/// Returns true if times of the window are too long to be counted in nanoseconds.
fn takes_long(policy: &QuotaPolicy) -> bool {
    let whole = policy.refill().as_nanos() * u128::from(policy.capacity());
    policy.window().as_nanos().max(whole) > LONGEST_IN_NANOS.as_nanos()
}

/// The number of arguments of the script for each window.
const VALUES: usize = 3;

/// The windows of a draw, for a call of the script.
pub(crate) struct DrawnWindows {
    pub(crate) keys: Vec<String>,
    /// The pace and the capacity of each window, and the units that the draw takes from it.
    pub(crate) arguments: Vec<String>,
}

/// The texts of a window that are the same in each call of the script.
struct WindowTexts {
    /// The part of the key that follows the subject.
    name: String,
    pace: String,
    /// The capacity. If it is not the quota, the quota follows.
    capacity: String,
}

impl WindowTexts {
    fn of(policy: &QuotaPolicy, origin: &str) -> Self {
        let kind = if policy.is_strict() { "any-" } else { "" };
        let name = format!("{origin}:{kind}{}:{}", policy.window().as_nanos(), policy.name());
        let (capacity, quota) = (policy.capacity(), policy.quota());
        let capacity = if capacity == quota { quota.to_string() } else { format!("{capacity}:{quota}") };
        Self { name, pace: pace(policy), capacity }
    }
}

/// Returns the last argument of a draw: whether the state of each window is requested.
pub(crate) fn every_window(draw: &Draw<'_>) -> String {
    u8::from(draw.every_window).to_string()
}

/// Returns the result of a draw, with the state of every window if the draw requests it.
pub(crate) fn decision(
    (wait, place, windows): DrawReply,
    every_window: bool,
) -> Result<LimitDecision, StoreError> {
    let mut all = window_statuses(windows);
    let deciding = if every_window { all.get(place).cloned() } else { all.pop() };
    let Some(mut window_status) = deciding else {
        return Err(StoreError::corrupt("Redis did not return the window that decides"));
    };
    window_status.policy = place;
    let decision = match wait {
        0 => LimitDecision::Within(window_status),
        _ => LimitDecision::Exceeded { retry_after: Duration::from_micros(wait), window_status },
    };
    Ok(if every_window { decision.with_all(all) } else { decision })
}

impl RateLimiter for RedisLimiter {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        let DrawnWindows { keys, mut arguments } = match self.windows(draw) {
            Ok(windows) => windows,
            Err(error) => return StoreFuture::failed(error),
        };
        if keys.is_empty() {
            return StoreFuture::ready(LimitDecision::Within(WindowStatus::new(0, u32::MAX, Duration::ZERO)));
        }
        arguments.push(every_window(draw));
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let every_window = draw.every_window;
        StoreFuture::boxed(async move {
            decision(server.run(&scripts.draw, &keys, &arguments).await?, every_window)
        })
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        let DrawnWindows { keys, arguments } = match self.windows(draw) {
            Ok(windows) => windows,
            Err(error) => return StoreFuture::failed(error),
        };
        if keys.is_empty() {
            return StoreFuture::ready(Vec::new());
        }
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        StoreFuture::boxed(
            async move { server.run(&scripts.peek, &keys, &arguments).await.map(window_statuses) },
        )
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        // The windows that count requests keep what they have counted.
        let windows = self.windows_where(&correction.draw, |policy| !policy.counts_requests());
        let DrawnWindows { keys, mut arguments } = match windows {
            Ok(windows) => windows,
            Err(error) => return StoreFuture::failed(error),
        };
        if keys.is_empty() {
            return StoreFuture::ready(());
        }
        arguments.extend([correction.actual.to_string(), correction.elapsed.as_micros().to_string()]);
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        StoreFuture::boxed(async move {
            let _: u64 = server.run(&scripts.correct, &keys, &arguments).await?;
            Ok(())
        })
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        let sets = match self.slot_names(acquire) {
            Ok(sets) => sets,
            Err(error) => return StoreFuture::failed(error),
        };
        if sets.is_empty() {
            return StoreFuture::ready(Acquired::Held { local: false });
        }
        let numbers = acquire.limits.all().iter().map(|limit| limit.most().to_string()).collect();
        StoreFuture::boxed(Arc::clone(&self.slots).acquire(acquire.id, sets, numbers))
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        match self.slot_names(acquire) {
            Ok(sets) if sets.is_empty() => StoreFuture::ready(()),
            Ok(sets) => Arc::clone(&self.slots).release(acquire.id, sets),
            Err(error) => StoreFuture::failed(error),
        }
    }

    fn limits_in_flight(&self) -> bool {
        true
    }

    fn counts_together(&self, owners: &[&QuotaScope]) -> bool {
        let are_in_one_slot = |pair: &[&QuotaScope]| match pair {
            [QuotaScope::Key | QuotaScope::Account, QuotaScope::Key | QuotaScope::Account] => true,
            [one, other] => one == other,
            _ => true,
        };
        !self.server.is_cluster() || self.server.has_one_slot() || owners.windows(2).all(are_in_one_slot)
    }

    fn as_redis(&self) -> Option<&RedisLimiter> {
        Some(self)
    }
}

fn window_statuses(windows: Vec<WindowReply>) -> Vec<WindowStatus> {
    let told = |(place, (left, full, next))| {
        WindowStatus::new(place, left, Duration::from_micros(full)).with_next(Duration::from_micros(next))
    };
    windows.into_iter().enumerate().map(told).collect()
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter").field("server", &self.server).finish_non_exhaustive()
    }
}
