//! A credit ledger in Redis, shared by a fleet.

mod admin;
mod lease;
mod sweep;

use std::fmt;
use std::sync::Arc;

use redis::{FromRedisValue, Script};

use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{Charge, Charged, CreditAdmin, CreditLedger, EntryKind, Refund, Settlement, one_bucket};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::redis::CLOCK;
use crate::redis::RedisServer;

/// A ledger that keeps balances in Redis, with Redis as the authority: credits that the server loses are lost.
///
/// Configure Redis to write to disk (`appendonly yes`) and never to evict balances (`maxmemory-policy noeviction`, or
/// `volatile-…`, because a balance does not expire).
///
/// The ledger has one bucket, and only the default currency. It has no budgets, and takes no cost above the charge.
///
/// Every call is one script, in one round trip. A draw can be a part of the round trip of a charge: see
/// [`RedisLimiter`](crate::limit::RedisLimiter). Of each account, the last 1,000 entries are kept, or slightly more, and
/// the ids of its last 1,024 adjustments. A charge that is repeated within five minutes of its end is not taken again.
/// A refund that arrives before its charge is stored, and the charge is then not taken. The charges of a crashed
/// node stay open, and such refunds stay stored, until [`sweep`](RedisLedger::sweep) closes them.
///
/// # Example
///
/// ```
/// use tollgate::credit::RedisLedger;
/// use tollgate::redis::RedisServer;
///
/// let ledger = RedisLedger::new(RedisServer::open("redis://127.0.0.1:6379", "acme")?);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisLedger {
    server: RedisServer,
    scripts: Arc<Scripts>,
}

#[derive(Debug)]
struct Scripts {
    charge: Script,
    close: Script,
    adjust: Script,
    entries: Script,
    lease: Script,
    commit: Script,
    fold: Script,
}

pub(crate) const BALANCE_SCRIPT: &str =
    concat!(include_str!("numbers.lua"), "\n", include_str!("balance.lua"), "\n", include_str!("closed.lua"));
const BLOCKS: &str = include_str!("blocks.lua");
pub(crate) const CHARGE: &str = include_str!("charge.lua");
const CLOSE: &str = include_str!("close.lua");
const ADJUST: &str = include_str!("adjust.lua");
const ENTRIES: &str = include_str!("entries.lua");
const FOLD: &str = include_str!("fold.lua");

/// The party that closes a charge.
#[derive(Debug, Clone, Copy)]
enum Holder {
    Alive,
    Gone,
}

impl Holder {
    const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Gone => "abandoned",
        }
    }
}

/// The answer of a script to a charge: the outcome code and the balance.
pub(crate) type Answer = (u8, String);

impl RedisLedger {
    /// Creates a ledger that keeps its balances on this server.
    pub fn new(server: RedisServer) -> Self {
        let script = |bodies: &[&str]| Script::new(&[&[CLOCK, BALANCE_SCRIPT], bodies].concat().join("\n"));
        let scripts = Scripts {
            charge: script(&[CHARGE, "return charge(1, 1)"]),
            close: script(&[BLOCKS, CLOSE]),
            adjust: script(&[BLOCKS, ADJUST]),
            entries: Script::new(ENTRIES),
            lease: script(&[BLOCKS, CHARGE, lease::LEASE]),
            commit: script(&[BLOCKS, lease::COMMIT]),
            fold: Script::new(FOLD),
        };
        Self { server, scripts: Arc::new(scripts) }
    }

    /// Returns the key of an account's balance, which is also the prefix of the account's other keys.
    fn balance_key(&self, account: &str) -> String {
        format!("{}:credits", self.server.of_account(account))
    }

    /// Returns the keys that the charge script reads and writes.
    pub(crate) fn charge_keys(&self, charge: &Charge<'_>) -> [String; 4] {
        keys_of(&self.balance_key(charge.account.id.as_str()))
    }

    /// Closes a charge.
    ///
    /// The answer is true if the charge was open.
    fn close<T: FromRedisValue + Send + 'static>(
        &self,
        balance_key: &str,
        id: ChargeId,
        cost: Credits,
        kind: &EntryKind,
        holder: Holder,
    ) -> StoreFuture<T> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let keys = keys_of(balance_key);
        let arguments = [shown(id), cost.to_string(), kind.name().to_owned(), holder.name().to_owned()];
        StoreFuture::boxed(async move { server.run(&scripts.close, &keys, &arguments).await })
    }

    /// The server.
    pub(crate) fn server(&self) -> &RedisServer {
        &self.server
    }
}

/// The suffixes of the keys beside an account's balance: its open charges, its entries, and its recently closed
/// charges.
const BESIDE: [&str; 3] = [":open", ":entries", ":closed"];

/// Returns the key of the balance and the keys beside it.
fn keys_of(balance_key: &str) -> [String; 4] {
    let [open, entries, closed] = BESIDE.map(|rest| format!("{balance_key}{rest}"));
    [balance_key.to_owned(), open, entries, closed]
}

pub(crate) fn charge_arguments(charge: &Charge<'_>) -> Vec<String> {
    let mut arguments = vec![shown(charge.id), charge.amount.to_string()];
    arguments.extend(terms(charge.allowance, charge.now.wall()));
    arguments
}

/// Returns the time of a call and the terms of the account's grant at that time.
///
/// The terms are the grant's amount, its next due time if it is applied now, its period, the code of the period,
/// the due time after the next one, and the mean length of the period.
fn terms(allowance: &Allowance, now: Timestamp) -> [String; 7] {
    let shown = |time: Timestamp| time.as_millis().to_string();
    let [amount, turn, period, code, second, mean] = match allowance {
        Allowance::Grant(grant) => {
            let turn = grant.next_after(now);
            let numbers = [grant.every().unwrap_or(0), grant.code(), grant.mean()];
            let [period, code, mean] = numbers.map(|number| number.to_string());
            [grant.amount().to_string(), shown(turn), period, code, shown(grant.next_after(turn)), mean]
        }
        Allowance::None | Allowance::Unlimited => {
            let none = || "0".to_owned();
            [String::new(), String::new(), none(), none(), String::new(), none()]
        }
    };
    [shown(now), amount, turn, period, code, second, mean]
}

pub(crate) fn charged((became, balance): Answer) -> Result<Charged, StoreError> {
    let balance = credits(&balance)?;
    match became {
        0 => Ok(Charged::Insufficient { balance }),
        1 => Ok(Charged::Posted { balance: Some(balance) }),
        2 => Ok(Charged::Posted { balance: None }),
        _ => Err(StoreError::rejected("the charge was closed before it was opened")),
    }
}

fn credits(text: &str) -> Result<Credits, StoreError> {
    let amount = text.parse::<u64>().ok().filter(|amount| *amount <= Credits::MAX.get());
    amount
        .map(Credits::new)
        .ok_or_else(|| StoreError::corrupt("a balance in Redis is not a valid amount of credits"))
}

/// Formats a charge's id as stored in Redis.
fn shown(id: ChargeId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.to_bytes()))
}

fn read_id(text: &str) -> Option<ChargeId> {
    u128::from_str_radix(text, 16).ok().map(|id| ChargeId::from_bytes(id.to_be_bytes()))
}

impl CreditLedger for RedisLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        if let Err(error) = one_bucket::accept_charge(charge) {
            return StoreFuture::failed(error);
        }
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let keys = self.charge_keys(charge);
        let arguments = charge_arguments(charge);
        StoreFuture::boxed(
            async move { server.run(&scripts.charge, &keys, &arguments).await.and_then(charged) },
        )
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        let Settlement { account, id, cost, .. } = *settlement;
        let balance_key = self.balance_key(account.id.as_str());
        self.close(&balance_key, id, cost, &EntryKind::Settlement(id), Holder::Alive)
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        let (balance_key, id) = (self.balance_key(refund.account.id.as_str()), refund.id);
        self.close(&balance_key, id, Credits::ZERO, &EntryKind::Refund(id), Holder::Alive)
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Some(self)
    }

    fn as_redis(&self) -> Option<&RedisLedger> {
        Some(self)
    }
}

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLedger").field("server", &self.server).finish_non_exhaustive()
    }
}
