//! A credit ledger in Redis, shared by a fleet.

mod admin;
mod audit;
mod call;
mod lease;
mod sweep;

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use redis::Script;

pub(crate) use call::Reply;
use call::{Call, code};

use crate::amount::{ChargeId, Credits, Currency};
use crate::credit::decide::{Answer, Ask, Close};
use crate::credit::{Charge, Charged, CreditAdmin, CreditLedger, Refund, Settlement};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::redis::CLOCK;
use crate::redis::RedisServer;

/// A ledger that keeps balances in Redis, with Redis as the authority: credits that the server loses are lost.
///
/// Configure Redis to write to disk (`appendonly yes`) and never to evict balances (`maxmemory-policy noeviction`, or
/// `volatile-…`, because a balance does not expire).
///
/// A charge, a settlement and a refund are one script each, in one round trip. A draw can be a part of the round trip of a
/// charge: see [`RedisLimiter`](crate::limit::RedisLimiter). What depends on a calendar takes a second round trip: the first
/// charge of an account or of a key's budget, a grant that is due, a bucket that starts or expires, and the payment of a
/// debt. The node then decides the call, and a script stores the result if nothing has changed meanwhile. An adjustment takes
/// two round trips. A node that is overtaken several times is given a moment, of up to 100 ms, in which it alone may
/// change the credits: other calls of the account wait for it.
///
/// Of each account, the last 1,000 entries are kept, or slightly more, and
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
    commit: Script,
    look: Script,
    read: Script,
    store: Script,
    entries: Script,
    fold: Script,
    erase: Script,
    audit: Script,
}

pub(crate) const STATE_SCRIPT: &str = concat!(include_str!("numbers.lua"), "\n", include_str!("state.lua"));
pub(crate) const CHARGE: &str = include_str!("charge.lua");

/// The number of keys of the charge script. The script of a meter repeats it.
const CHARGE_KEYS: usize = 5;

impl RedisLedger {
    /// Creates a ledger that keeps its balances on this server.
    pub fn new(server: RedisServer) -> Self {
        let script = |body: &str| Script::new(&[CLOCK, STATE_SCRIPT, body].join("\n"));
        let scripts = Scripts {
            charge: script(&[CHARGE, "return charge(1, 1)"].join("\n")),
            close: script(include_str!("close.lua")),
            commit: script(include_str!("commit.lua")),
            look: script(include_str!("look.lua")),
            read: script(include_str!("read.lua")),
            store: script(include_str!("store.lua")),
            entries: Script::new(include_str!("entries.lua")),
            fold: Script::new(include_str!("fold.lua")),
            erase: Script::new(include_str!("erase.lua")),
            audit: Script::new(include_str!("audit.lua")),
        };
        Self { server, scripts: Arc::new(scripts) }
    }

    /// Returns the name of an account's credits in the default currency, which begins the names of all its keys.
    fn name_of(&self, account: &str) -> String {
        format!("{}:credits", self.server.of_account(account))
    }

    /// Returns the keys of an account's credits in a currency.
    fn keys(&self, account: &str, currency: &Currency) -> Keys {
        let all = self.name_of(account);
        if currency.is_default() {
            return Keys::new(&all, &all);
        }
        Keys::new(&format!("{all}:in:{currency}"), &all)
    }

    /// Returns the account and the currency of the name of credits.
    fn parts(&self, name: &str) -> Result<(AccountId, Currency), StoreError> {
        let unreadable = || StoreError::corrupt("unknown name of a balance in Redis");
        let start = format!("{}:{{a:", self.server.options().prefix);
        let (account, rest) =
            name.strip_prefix(&start).and_then(|rest| rest.split_once('}')).ok_or_else(unreadable)?;
        let account = percent_decode_str(account).decode_utf8().map_err(StoreError::corrupt)?;
        let currency = match rest.strip_prefix(":credits").ok_or_else(unreadable)? {
            "" => Currency::CREDITS,
            other => {
                other.strip_prefix(":in:").ok_or_else(unreadable)?.parse().map_err(StoreError::corrupt)?
            }
        };
        Ok((account.as_ref().into(), currency))
    }

    /// Returns the keys that the charge script reads and writes.
    pub(crate) fn charge_keys(&self, charge: &Charge<'_>) -> [String; CHARGE_KEYS] {
        let [state, open, entries, closed, budgets, ..] =
            self.keys(charge.account.id.as_str(), charge.currency).0;
        [state, open, entries, closed, budgets]
    }

    /// Returns the call of a charge, or of a block of which an amount is committed.
    fn charge_call(&self, charge: &Charge<'_>, committed: Option<Credits>) -> Call<'_> {
        let keys = self.keys(charge.account.id.as_str(), charge.currency);
        let ask = Ask::charge_to(keys.account(), charge, committed);
        let arguments = charge_arguments(charge, committed);
        Call { keys, script: &self.scripts.charge, arguments, ask, currency: written(charge.currency) }
    }

    fn take(&self, charge: &Charge<'_>, committed: Option<Credits>) -> StoreFuture<Charged> {
        let ledger = self.clone();
        let Call { keys, arguments, ask, currency, .. } = self.charge_call(charge, committed);
        StoreFuture::boxed(async move {
            let script = &ledger.scripts.charge;
            charged(&ledger.call(Call { keys, script, arguments, ask, currency }).await?)
        })
    }

    /// Completes a charge after the first answer of its script, which was a part of another script.
    pub(crate) fn complete_charge(
        &self,
        charge: &Charge<'_>,
    ) -> impl FnOnce(Reply) -> StoreFuture<Charged> + Send + 'static {
        let ledger = self.clone();
        let Call { keys, arguments, ask, currency, .. } = self.charge_call(charge, None);
        move |reply| {
            StoreFuture::boxed(async move {
                let script = &ledger.scripts.charge;
                charged(&ledger.complete(Call { keys, script, arguments, ask, currency }, reply).await?)
            })
        }
    }

    /// Closes a charge. The answer is true if it was open.
    async fn close(&self, keys: Keys, close: Close, currency: String) -> Result<bool, StoreError> {
        let now = close.now.map(|now| now.as_millis().to_string()).unwrap_or_default();
        let overage = if close.overage == crate::account::Overage::Debt { "debt" } else { "cap" };
        let holder = if close.abandoned { "abandoned" } else { "alive" };
        let kind = (close.kind)(close.id).name();
        let arguments = [&shown(close.id), &close.cost.to_string(), kind, holder, &now];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.extend([code(&close.allowance), overage.to_owned()]);
        let (script, ask) = (&self.scripts.close, Ask::Close(close));
        let answer = self.call(Call { keys, script, arguments, ask, currency }).await?;
        Ok(matches!(answer, Answer::Closed(true)))
    }

    fn end(&self, account: &str, currency: &Currency, ask: impl FnOnce(AccountId) -> Ask) -> StoreFuture<()> {
        let (ledger, keys, currency) = (self.clone(), self.keys(account, currency), written(currency));
        let Ask::Close(close) = ask(keys.account()) else { return StoreFuture::ready(()) };
        StoreFuture::boxed(async move { ledger.close(keys, close, currency).await.map(drop) })
    }

    /// The server.
    pub(crate) fn server(&self) -> &RedisServer {
        &self.server
    }
}

/// The ends of the names of the keys of an account's credits in one currency: the credits, the open charges, the entries,
/// the recently closed charges, the budgets, the adjustments, and their ids.
const ENDS: [&str; 7] = ["", ":open", ":entries", ":closed", ":budgets", ":made", ":made:order"];

/// The keys of an account's credits in one currency, and the key of the account's currencies.
#[derive(Debug, Clone)]
struct Keys([String; ENDS.len() + 1]);

impl Keys {
    /// Creates the keys of the credits of this name. `all` is the name of those in the default currency.
    fn new(name: &str, all: &str) -> Self {
        let [state, open, entries, closed, budgets, made, order] = ENDS.map(|end| format!("{name}{end}"));
        Self([state, open, entries, closed, budgets, made, order, format!("{all}:currencies")])
    }

    /// Returns the name by which a batch knows the credits.
    fn account(&self) -> AccountId {
        self.0[0].as_str().into()
    }
}

/// Returns the currency, empty for the default one.
fn written(currency: &Currency) -> String {
    if currency.is_default() { String::new() } else { currency.to_string() }
}

pub(crate) fn charge_arguments(charge: &Charge<'_>, committed: Option<Credits>) -> Vec<String> {
    let (now, committed) = (charge.now.wall().as_millis(), committed.map(|part| part.to_string()));
    let [key, period, most] = match charge.budget {
        Some(draw) => {
            let (key, budget) = (call::hex(draw.key.as_bytes()), draw.budget);
            [key, budget.turns().code().to_string(), budget.amount().to_string()]
        }
        None => [const { String::new() }; 3],
    };
    let (committed, period_of_grant) = (committed.unwrap_or_default(), code(charge.allowance));
    let (id, amount) = (shown(charge.id), charge.amount.to_string());
    vec![id, amount, now.to_string(), period_of_grant, committed, key, period, most]
}

fn charged(answer: &Answer) -> Result<Charged, StoreError> {
    match answer {
        Answer::Charged(charged) => Ok(*charged),
        _ => Err(StoreError::corrupt("Redis returned a result of another type")),
    }
}

/// Formats a charge's id as stored in Redis.
fn shown(id: ChargeId) -> String {
    call::hex(&id.to_bytes())
}

fn read_id(text: &str) -> Option<ChargeId> {
    u128::from_str_radix(text, 16).ok().map(|id| ChargeId::from_bytes(id.to_be_bytes()))
}

impl CreditLedger for RedisLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.take(charge, None)
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.end(settlement.account.id.as_str(), settlement.currency, |account| {
            Ask::settle(account, settlement)
        })
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.end(refund.account.id.as_str(), refund.currency, |account| Ask::refund(account, refund))
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
