//! A meter in Redis: one script for the windows and the balance.

use std::fmt;
use std::sync::Arc;

use redis::Script;

use crate::credit::redis as credits;
use crate::credit::{Charge, RedisLedger};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::limit::redis as limits;
use crate::limit::{Draw, LimitDecision, RateLimiter, RedisLimiter};
use crate::meter::{Meter, Metered};
use crate::redis::CLOCK;
use crate::redis::RedisServer;

/// A meter that keeps rate limits and credits on one Redis server, and draws and charges in one round trip.
///
/// The meter's limiter and ledger use the same windows and balances. A gate needs them too, for calls that need only
/// one of the two.
///
/// # Example
///
/// ```
/// use tollgate::meter::RedisMeter;
/// use tollgate::redis::RedisServer;
/// use tollgate::Gate;
///
/// let meter = RedisMeter::new(RedisServer::open("redis://127.0.0.1:6379", "acme")?);
/// let builder = Gate::builder().limiter(meter.limiter()).ledger(meter.ledger()).meter(meter);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisMeter {
    server: RedisServer,
    script: Arc<Script>,
    limiter: RedisLimiter,
    ledger: RedisLedger,
}

const BOTH: &str = "
    local windows = #KEYS - 4
    local drawn = draw(windows)
    if drawn[1] > 0 then return { drawn, false } end
    return { drawn, charge(windows + 1, 2 * windows + 1) }
";

impl RedisMeter {
    /// Creates a meter on this server.
    pub fn new(server: RedisServer) -> Self {
        let script = [CLOCK, limits::WINDOWS, credits::BALANCE_SCRIPT, credits::CHARGE, BOTH].join("\n");
        let (limiter, ledger) = (RedisLimiter::new(server.clone()), RedisLedger::new(server.clone()));
        Self { server, script: Arc::new(Script::new(&script)), limiter, ledger }
    }

    /// Returns the limiter over the same windows.
    pub fn limiter(&self) -> RedisLimiter {
        self.limiter.clone()
    }

    /// Returns the ledger over the same balances.
    pub fn ledger(&self) -> RedisLedger {
        self.ledger.clone()
    }
}

fn metered((drawn, answer): (limits::DrawReply, Option<credits::Answer>)) -> Result<Metered, StoreError> {
    match (limits::quota(drawn), answer) {
        (LimitDecision::Exceeded { retry_after, window_status }, _) => {
            Ok(Metered::Exceeded { retry_after, window_status })
        }
        (LimitDecision::Within(window_status), Some(answer)) => {
            Ok(Metered::Drawn { window_status, charged: credits::charged(answer)? })
        }
        (LimitDecision::Within(_), None) => Err(StoreError::corrupt("Redis drew and did not charge")),
    }
}

impl Meter for RedisMeter {
    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered> {
        let (server, script) = (self.server.clone(), Arc::clone(&self.script));
        let (mut keys, mut arguments) = (self.limiter.names(draw), limits::terms(draw));
        if keys.is_empty() {
            return StoreFuture::failed(StoreError::corrupt("there is no window to draw from"));
        }
        keys.extend(self.ledger.charge_keys(charge));
        arguments.extend(credits::charge_arguments(charge));
        let peeked = draw.every_window.then(|| self.limiter.peek(draw));
        StoreFuture::boxed(async move {
            let mut metered = server.run(&script, &keys, &arguments).await.and_then(metered)?;
            if let Some(peeked) = peeked {
                let (Metered::Exceeded { window_status, .. } | Metered::Drawn { window_status, .. }) =
                    &mut metered;
                // The draw cannot be undone: leave out the windows that cannot be read.
                window_status.all = peeked.await.unwrap_or_default();
            }
            Ok(metered)
        })
    }
}

impl fmt::Debug for RedisMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisMeter").field("server", &self.server).finish_non_exhaustive()
    }
}
