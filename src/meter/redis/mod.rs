//! A meter in Redis: one script for the windows and the balance.

#[cfg(all(test, feature = "memory"))]
mod tests;

use std::fmt;
use std::sync::Arc;

use redis::Script;

use crate::account::{QuotaGroup, QuotaScope, Quotas};
use crate::credit::redis as credits;
use crate::credit::{Charge, RedisLedger};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::limit::redis as limits;
use crate::limit::{Draw, LimitDecision, RedisLimiter};
use crate::meter::{Meter, Metered};
use crate::redis::CLOCK;
use crate::redis::RedisServer;

/// A meter that keeps rate limits and credits on one Redis server, and draws and charges in one round trip.
#[derive(Clone)]
pub(super) struct RedisMeter {
    server: RedisServer,
    script: Arc<Script>,
    limiter: RedisLimiter,
    ledger: RedisLedger,
}

const BOTH: &str = "
    local windows = #KEYS - 5
    local drawn = draw(windows, ARGV[#ARGV] == '1')
    if drawn[1] > 0 then return { drawn, false } end
    return { drawn, charge(windows + 1, VALUES * windows + 1) }
";

impl RedisMeter {
    /// Returns the meter of a limiter and a ledger, if they share a server.
    pub(super) fn of(limiter: &RedisLimiter, ledger: &RedisLedger) -> Option<Self> {
        let server = limiter.server().clone();
        if !server.is_same(ledger.server()) {
            return None;
        }
        let script = [CLOCK, limits::WINDOWS, credits::STATE_SCRIPT, credits::CHARGE, BOTH].join("\n");
        let (limiter, ledger) = (limiter.clone(), ledger.clone());
        Some(Self { server, script: Arc::new(Script::new(&script)), limiter, ledger })
    }
}

impl Meter for RedisMeter {
    fn takes(&self, quotas: &Quotas) -> bool {
        // The balance is in the account's slot. A cluster refuses a script over several slots.
        let of_no_account =
            |group: &QuotaGroup| matches!(group.counts(), QuotaScope::Pool(_) | QuotaScope::Network(_));
        self.server.has_one_slot() || !quotas.groups().iter().all(of_no_account)
    }

    fn draw_and_charge(&self, draw: &Draw<'_>, charge: &Charge<'_>) -> StoreFuture<Metered> {
        let (server, script) = (self.server.clone(), Arc::clone(&self.script));
        let limits::DrawnWindows { mut keys, mut arguments } = match self.limiter.windows(draw) {
            Ok(windows) => windows,
            Err(error) => return StoreFuture::failed(error),
        };
        if keys.is_empty() {
            return StoreFuture::failed(StoreError::corrupt("the request has no quota to draw from"));
        }
        keys.extend(self.ledger.charge_keys(charge));
        arguments.extend(credits::charge_arguments(charge, None));
        arguments.push(limits::every_window(draw));
        let (every_window, complete) = (draw.every_window, self.ledger.complete_charge(charge));
        StoreFuture::boxed(async move {
            let (drawn, reply): (limits::DrawReply, Option<credits::Reply>) =
                server.run(&script, &keys, &arguments).await?;
            match (limits::decision(drawn, every_window)?, reply) {
                (LimitDecision::Exceeded { retry_after, window_status }, _) => {
                    Ok(Metered::Exceeded { retry_after, window_status })
                }
                (LimitDecision::Within(window_status), Some(reply)) => {
                    Ok(Metered::Drawn { window_status, charged: complete(reply).await? })
                }
                (LimitDecision::Within(_), None) => {
                    Err(StoreError::corrupt("Redis drew from the quotas but did not charge"))
                }
            }
        })
    }
}

impl fmt::Debug for RedisMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisMeter").field("server", &self.server).finish_non_exhaustive()
    }
}
