//! Windows that a fleet shares, in Redis.

#[cfg(all(test, feature = "memory"))]
#[path = "../../../tests/services/mod.rs"]
mod services;
#[cfg(all(test, feature = "memory"))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::account::{Counts, QuotaGroup, QuotaPolicy};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::limit::{Draw, Quota, RateLimiter, Standing};
use crate::redis::CLOCK;
use crate::redis::RedisServer;

/// Rate limits in Redis: all windows of a draw are judged and drawn by one script, in one round trip, on the server's own
/// time, whatever the clocks of the machines that ask say.
///
/// Limit headers for a key with several windows take a second round trip
/// ([`GateBuilder::limit_headers`](crate::gate::GateBuilder::limit_headers)).
///
/// A window's state ends by itself once the window is full; that of a strict one is a log of up to 17 times. The server's clock
/// shows microseconds, and refills are counted in nanoseconds. The refill of a window of more than 30 days, and the length of
/// a strict window, are rounded up to a microsecond: this withholds less than a five-hundredth of the quota.
///
/// A server whose clock is set back delays a request by one window at most, and admits none more for it. One whose clock leaps
/// forward refills what the leap is worth.
///
/// A server that runs out of memory answers an error (503); one
/// that is set to evict (`maxmemory-policy`), or that fails over to a replica that lags, may lose windows: what they had
/// counted is then admitted once more.
///
/// # In a cluster
///
/// What counts a key or an account is kept in the account's slot, what counts a pool in the pool's. A draw from both at
/// once takes them from one slot: give [`RedisOptions::prefix`](crate::redis::RedisOptions::prefix) a hash tag where a plan has
/// both. Otherwise a cluster refuses such a draw, and nothing is spent.
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
}

#[derive(Debug)]
struct Scripts {
    draw: Script,
    peek: Script,
}

pub(crate) const WINDOWS: &str =
    concat!(include_str!("bucket.lua"), "\n", include_str!("log.lua"), "\n", include_str!("windows.lua"));
const DRAW: &str = "return draw(#KEYS)";
const PEEK: &str = include_str!("peek.lua");

impl Scripts {
    fn going_by(clock: &str) -> Self {
        let script = |body: &str| Script::new(&[clock, WINDOWS, body].join("\n"));
        Self { draw: script(DRAW), peek: script(PEEK) }
    }
}

/// What a script answers to a draw: how long to wait; the place of the window that decides, how many more it admits, and
/// in how many microseconds it is full.
pub(crate) type Drawn = (u64, usize, u32, u64);

impl RedisLimiter {
    /// Limits on this server.
    pub fn new(server: RedisServer) -> Self {
        Self { server, scripts: Arc::new(Scripts::going_by(CLOCK)) }
    }

    /// The names of a draw's windows, in the order of its policies.
    pub(crate) fn names(&self, draw: &Draw<'_>) -> Vec<String> {
        let of_group = |group: &QuotaGroup| {
            let subject = self.subject(draw, group);
            let name = move |policy: &QuotaPolicy| {
                let kind = if policy.is_strict() { "any-" } else { "" };
                format!("{subject}:{kind}{}:{}", policy.window().as_nanos(), policy.name())
            };
            group.policies().iter().map(name).collect::<Vec<_>>()
        };
        draw.quotas.groups().iter().flat_map(of_group).collect()
    }

    fn subject(&self, draw: &Draw<'_>, group: &QuotaGroup) -> String {
        let account = || self.server.of_account(draw.key.account.id.as_str());
        match group.counts() {
            Counts::Key => format!("{}:limit:{}", account(), draw.key.id),
            Counts::Account => format!("{}:limit", account()),
            Counts::Pool(name) => format!("{}:limit", self.server.of_pool(name.as_str())),
        }
    }
}

/// The longest window whose times the script holds in nanoseconds: sums of three are exact below 2^53.
const LONGEST_IN_NANOS: Duration = Duration::from_hours(30 * 24);

/// The nanoseconds in which one request's place is refilled, or less the microseconds of a strict window. Both are rounded up:
/// rounding down would admit more than the quota.
fn pace(policy: &QuotaPolicy) -> String {
    if policy.is_strict() {
        return format!("-{}", policy.window().as_nanos().div_ceil(1_000));
    }
    let refill = policy.refill().as_nanos();
    // At most 2^32 requests in more than 30 days: a microsecond is less than a five-hundredth of a refill.
    let longer = policy.window() > LONGEST_IN_NANOS;
    (if longer { refill.next_multiple_of(1_000) } else { refill }).to_string()
}

/// A pace and a quota for each window.
pub(crate) fn terms(draw: &Draw<'_>) -> Vec<String> {
    draw.quotas.policies().flat_map(|policy| [pace(policy), policy.quota().to_string()]).collect()
}

pub(crate) fn quota((wait, place, remaining, ahead): Drawn) -> Quota {
    let standing = Standing::new(place, remaining, Duration::from_micros(ahead));
    match wait {
        0 => Quota::Within(standing),
        _ => Quota::Exceeded { retry_after: Duration::from_micros(wait), standing },
    }
}

impl RateLimiter for RedisLimiter {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let (names, terms) = (self.names(draw), terms(draw));
        if names.is_empty() {
            return StoreFuture::ready(Quota::Within(Standing::new(0, u32::MAX, Duration::ZERO)));
        }
        let every_window = draw.every_window;
        StoreFuture::boxed(async move {
            let drawn = server.run(&scripts.draw, &names, &terms).await.map(quota)?;
            if !every_window {
                return Ok(drawn);
            }
            // What was drawn stays drawn: windows that cannot be read are not told.
            let all = standings(&server, &scripts, &names, &terms).await.unwrap_or_default();
            Ok(drawn.with_all(all))
        })
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let (names, terms) = (self.names(draw), terms(draw));
        StoreFuture::boxed(async move { standings(&server, &scripts, &names, &terms).await })
    }
}

async fn standings(
    server: &RedisServer,
    scripts: &Scripts,
    names: &[String],
    terms: &[String],
) -> Result<Vec<Standing>, StoreError> {
    let windows: Vec<(u32, u64)> = server.run(&scripts.peek, names, terms).await?;
    let standing = |(place, (left, ahead))| Standing::new(place, left, Duration::from_micros(ahead));
    Ok(windows.into_iter().enumerate().map(standing).collect())
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter").field("server", &self.server).finish_non_exhaustive()
    }
}
