//! Calls that scripts do not decide: the node decides them on the stored text, and stores the result if nothing has changed
//! meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::{Keys, RedisLedger, read_id, shown};
use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::decide::{AccountState, Answer, Ask, Batch, ChargeRow, NewCharge};
use crate::credit::model::{Model, StateText, StoredBudget};
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, BucketId, Charged, Entry};
use crate::error::StoreError;
use crate::key::KeyId;

/// The time between two attempts while another node alone may change the credits.
const PAUSE: Duration = Duration::from_millis(2);

/// The number of attempts after which a node asks that it alone may change the credits for a moment.
const OVERTAKEN: u32 = 3;

/// The answer of a script: a code and what belongs to it.
pub(crate) type Reply = Vec<String>;

/// An answer of a script, as far as it is one.
enum Told {
    Answer(Answer),
    /// The call is to be decided on this.
    Due(Box<Found>),
    /// Another node alone may change the credits at the moment.
    Busy,
}

/// What was read of an account, for one call.
#[derive(Default)]
struct Found {
    /// The version of the credits, empty if there are none.
    version: String,
    batch: Batch,
    /// The charges as they were read: the id, the text, and the flag for a recently closed charge.
    read: Vec<[String; 3]>,
    /// The time from which on each budget starts no period.
    calm: HashMap<KeyId, Timestamp>,
}

/// A call: its keys, the script that decides it in most cases, and what a node decides it from.
pub(super) struct Call<'a> {
    pub(super) keys: Keys,
    pub(super) script: &'a Script,
    pub(super) arguments: Vec<String>,
    pub(super) ask: Ask,
    /// The currency, empty for the default one.
    pub(super) currency: String,
}

impl RedisLedger {
    /// Makes a call. Most take one round trip.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, StoreError> {
        let reply = self.server.run(call.script, &call.keys.0, &call.arguments).await?;
        self.complete(call, reply).await
    }

    /// Completes a call after the first answer of its script.
    pub(super) async fn complete(&self, call: Call<'_>, reply: Reply) -> Result<Answer, StoreError> {
        let (mut told, mut overtaken) = (Told::read(&call, reply)?, 0);
        let until = Instant::now() + self.server.options().response_timeout;
        let name = format!("{:016x}", crate::amount::random());
        loop {
            match told {
                Told::Answer(answer) => return Ok(answer),
                Told::Due(mut found) => {
                    let answer = found.batch.decide(&call.ask)?;
                    let holds = overtaken >= OVERTAKEN;
                    if self.store(&call, &found, &name, holds).await? {
                        return Ok(answer);
                    }
                    overtaken += 1;
                }
                Told::Busy => tokio::time::sleep(PAUSE).await,
            }
            if Instant::now() >= until {
                return Err(StoreError::overloaded());
            }
            // A node that alone may change the credits is not answered by the other script.
            let reply = if overtaken > OVERTAKEN {
                let (script, arguments) = self.look(&call);
                self.server.run(script, &call.keys.0, &arguments).await?
            } else {
                self.server.run(call.script, &call.keys.0, &call.arguments).await?
            };
            told = Told::read(&call, reply)?;
        }
    }

    fn look(&self, call: &Call<'_>) -> (&Script, Vec<String>) {
        match call.ask.charge() {
            Some(id) => {
                let budget = call.ask.budget().map(|key| hex(key.as_bytes())).unwrap_or_default();
                (&self.scripts.look, vec![shown(id), budget])
            }
            None => (&self.scripts.read, call.arguments.clone()),
        }
    }

    /// Stores what was decided. The answer is false if something has changed meanwhile.
    async fn store(
        &self,
        call: &Call<'_>,
        found: &Found,
        name: &str,
        holds: bool,
    ) -> Result<bool, StoreError> {
        let batch = &found.batch;
        let changes = found.changes(&call.ask);
        let state = batch.account_states.values().next().filter(|state| state.changed);
        if state.is_none() && changes.is_empty() {
            return Ok(true);
        }
        // Credits that are created anew must not start at a version that they had before.
        let version =
            found.version.parse().map_or_else(|_| crate::amount::random() >> 12, |version: u64| version + 1);
        let text = state.map(|state| state.model.to_text(version, state.number)).unwrap_or_default();
        let hold = if holds { "hold" } else { "" };
        let mut arguments = vec![found.version.clone(), text, name.to_owned(), hold.to_owned()];
        arguments.extend([call.currency.clone(), found.read.len().to_string()]);
        arguments.extend(found.read.iter().flatten().cloned());
        arguments.extend(changes);
        let reply: Reply = self.server.run(&self.scripts.store, &call.keys.0, &arguments).await?;
        match reply.first().map(String::as_str) {
            Some("7") => Ok(true),
            Some("6") => Ok(false),
            _ => Err(unreadable_answer()),
        }
    }
}

impl Told {
    /// Reads an answer. The codes are those of `state.lua`.
    fn read(call: &Call<'_>, reply: Reply) -> Result<Self, StoreError> {
        let mut words = reply.into_iter();
        let code = words.next().unwrap_or_default();
        let mut next = || words.next().ok_or_else(unreadable_answer);
        let charged = |charged| Ok(Self::Answer(Answer::Charged(charged)));
        match code.as_str() {
            "0" => charged(Charged::Insufficient { balance: credits(&next()?)? }),
            "1" => charged(Charged::Posted { balance: Some(credits(&next()?)?) }),
            "2" => charged(Charged::Posted { balance: None }),
            "3" => Err(StoreError::rejected("the charge was closed before it was opened")),
            "4" => {
                let (left, resets) = (credits(&next()?)?, next()?.parse().map_err(StoreError::corrupt)?);
                charged(Charged::OverBudget { left, resets: Timestamp::from_millis(resets) })
            }
            "5" => Found::read(&call.ask, words.as_slice()).map(|found| Self::Due(Box::new(found))),
            "6" => Ok(Self::Busy),
            "7" => {
                let done = next()? == "1";
                let commits = matches!(call.ask, Ask::Commit { .. });
                Ok(Self::Answer(if commits { Answer::Committed(done) } else { Answer::Closed(done) }))
            }
            _ => Err(unreadable_answer()),
        }
    }
}

impl Found {
    /// Reads the text of the credits, the adjustment, the budget's key and text, and then each charge.
    fn read(ask: &Ask, words: &[String]) -> Result<Self, StoreError> {
        let [text, made, key, budget, charges @ ..] = words else {
            return Err(unreadable_answer());
        };
        let (account, mut found) = (ask.account(), Self::default());
        let mut state = AccountState::new();
        if !text.is_empty() {
            let StateText { model, version, last } = StateText::read(text)?;
            (state.model, state.number, found.version) = (model, last, version);
        }
        if let (Some(id), false) = (ask.adjustment(), made.is_empty()) {
            found.batch.adjustments.insert((account.clone(), id.clone()), read_adjustment(made)?);
        }
        if !budget.is_empty() {
            let key = KeyId::from_bytes(from_hex(key).ok_or_else(unreadable_answer)?);
            let calm = budget.split(' ').nth(3).and_then(|word| word.parse().ok());
            found.calm.insert(key, Timestamp::from_millis(calm.ok_or_else(unreadable_answer)?));
            state.model.budgets().restore(key, &StoredBudget::from_text(budget)?);
        }
        for charge in charges.chunks_exact(3) {
            let [id, text, closed] = charge else { continue };
            found.read.push([id.clone(), text.clone(), closed.clone()]);
            let id = read_id(id).ok_or_else(|| StoreError::corrupt("invalid id of a charge in Redis"))?;
            if let Some(row) = read_row(&mut state.model, id, text, closed == "1")? {
                found.batch.charges.insert((account.clone(), id), row);
            }
        }
        found.batch.account_states.insert(account.clone(), state);
        Ok(found)
    }

    /// Returns the changes to store, in groups of four words.
    fn changes(&self, ask: &Ask) -> Vec<String> {
        let (mut changes, account) = (Vec::new(), ask.account());
        let mut add = |what: &str, name: String, value: String| {
            changes.extend([what.to_owned(), name, value, String::new()]);
        };
        for (_, entry) in &self.batch.entries {
            add("entry", String::new(), write_entry(entry));
        }
        for ((_, id), row) in self.batch.charges.iter().filter(|(_, row)| row.changed) {
            let known = self.read.iter().any(|[read, text, _]| *read == shown(*id) && !text.is_empty());
            match (row.closed, known) {
                (true, true) => add("close", shown(*id), String::new()),
                (true, false) => add("open", shown(*id), "void @".to_owned()),
                (false, _) => add("open", shown(*id), write_row(row)),
            }
        }
        let state = self.batch.account_states.get(account).filter(|_| !self.batch.budgets.is_empty());
        for (key, stored) in state.iter().flat_map(|state| state.model.budgets_to_store()) {
            let asked = match ask {
                Ask::Charge(NewCharge { budget: Some((asked, budget)), .. }) if *asked == key => Some(budget),
                _ => None,
            };
            let calm = asked.map(|budget| budget.turns().calm_from(stored.due.next()));
            let calm = calm.or_else(|| self.calm.get(&key).copied()).unwrap_or(stored.due.next());
            add("budget", hex(key.as_bytes()), stored.to_text(calm));
        }
        for key in &self.batch.adjusted {
            if let Some((kind, balance)) = self.batch.adjustments.get(key) {
                add("made", key.1.to_string(), write_adjustment(kind, *balance));
            }
        }
        changes
    }
}

/// Reads a charge, and gives its draws to the credits.
fn read_row(
    model: &mut Model,
    id: ChargeId,
    text: &str,
    closed: bool,
) -> Result<Option<ChargeRow>, StoreError> {
    if closed || text.starts_with("void") {
        let draws = Model::charge_nothing(Credits::ZERO);
        let (stored_draws, budget, committed) = (None, None, None);
        let row = ChargeRow { draws, stored_draws, budget, closed: true, committed, changed: false };
        return Ok(Some(row));
    }
    if text.is_empty() {
        return Ok(None);
    }
    let unreadable = || StoreError::corrupt("invalid open charge in Redis");
    let words: Vec<&str> = text.split(' ').collect();
    let word = |place: usize| words.get(place).copied().filter(|word| *word != ".");
    let amount = credits(words[0])?;
    let committed = word(2).map(credits).transpose()?;
    let budget = match word(4) {
        Some(budget) => {
            let (key, turn) = budget.split_once(':').ok_or_else(unreadable)?;
            let key = KeyId::from_bytes(from_hex(key).ok_or_else(unreadable)?);
            Some((key, turn.parse().map_err(StoreError::corrupt)?))
        }
        None => None,
    };
    if let Some((key, turn)) = budget {
        model.budgets().restore_share(id, key, turn);
    }
    let stored_draws = word(3).map(str::to_owned);
    let draws = model.restore_draws(id, amount.get(), stored_draws.as_deref(), budget.is_some())?;
    Ok(Some(ChargeRow { draws, stored_draws, budget, closed: false, committed, changed: false }))
}

/// Returns the text of an open charge. The script fills in the time.
fn write_row(row: &ChargeRow) -> String {
    let missing = || ".".to_owned();
    let committed = row.committed.map_or_else(missing, |committed| committed.to_string());
    let draws = row.stored_draws.clone().unwrap_or_else(missing);
    let budget = row.budget.map_or_else(missing, |(key, turn)| format!("{}:{turn}", hex(key.as_bytes())));
    let text = format!("{} @", row.draws.amount);
    if [&committed, &draws, &budget].iter().all(|word| *word == ".") {
        return text;
    }
    format!("{text} {committed} {draws} {budget}")
}

/// Reads an adjustment and the balance after it.
fn read_adjustment(text: &str) -> Result<(AdjustmentKind, Balance), StoreError> {
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let (Some(kind), Some(amount), Some(after)) = (words.first(), words.get(1), words.get(2)) else {
        return Err(StoreError::corrupt("invalid adjustment in Redis"));
    };
    // A version without buckets wrote this name.
    let kind = if *kind == "deduction" { "deduct" } else { kind };
    let kind = AdjustmentKind::from_stored(kind, credits(amount)?, words.get(3).copied())?;
    Ok((kind, balance(after)?))
}

fn write_adjustment(kind: &AdjustmentKind, balance: Balance) -> String {
    let (name, amount, terms) = kind.stored();
    let between = if terms.is_some() { " " } else { "" };
    format!("{name} {amount} {balance}{between}{}", terms.unwrap_or_default())
}

/// Reads an entry: the number, the kind, the id, the amount, the balance, the time, the bucket, and the amount in it. An
/// entry of a version without buckets has no bucket.
pub(super) fn read_entry(text: &str) -> Result<Entry, StoreError> {
    use crate::credit::EntryKind;

    let unreadable = || StoreError::corrupt("invalid entry in Redis");
    let words: Vec<&str> = text.split(' ').collect();
    let [number, kind, id, amount, after, at, bucket @ ..] = words.as_slice() else {
        return Err(unreadable());
    };
    let charge = || read_id(id).ok_or_else(unreadable);
    let adjustment = || id.parse::<AdjustmentId>().map_err(StoreError::corrupt);
    let kind = EntryKind::from_stored(kind, charge, adjustment)?;
    let at = Timestamp::from_millis(at.parse().map_err(StoreError::corrupt)?);
    let (number, amount) =
        (number.parse().map_err(StoreError::corrupt)?, amount.parse().map_err(StoreError::corrupt)?);
    let entry = Entry::new(number, at, kind, amount, balance(after)?);
    match bucket {
        [] => Ok(entry),
        [bucket, left] => Ok(entry.in_bucket(BucketId::from_stored(bucket)?, credits(left)?)),
        _ => Err(unreadable()),
    }
}

pub(super) fn write_entry(entry: &Entry) -> String {
    let Entry { number, at, kind, amount, balance, bucket, left } = entry;
    let id = kind.charge().map(shown).or_else(|| kind.adjustment().map(ToString::to_string));
    let (id, at, bucket) = (id.unwrap_or_else(|| "-".to_owned()), at.as_millis(), bucket.stored());
    format!("{number} {} {id} {amount} {balance} {at} {bucket} {left}", kind.name())
}

pub(super) fn balance(text: &str) -> Result<Balance, StoreError> {
    match text.strip_prefix('-') {
        _ if text == "unlimited" => Ok(Balance::Unlimited),
        Some(debt) => credits(debt).map(Balance::Owed),
        None => credits(text).map(Balance::Limited),
    }
}

pub(super) fn credits(text: &str) -> Result<Credits, StoreError> {
    let amount = text.parse::<u64>().ok().filter(|amount| *amount <= Credits::MAX.get());
    amount
        .map(Credits::new)
        .ok_or_else(|| StoreError::corrupt("a balance in Redis is not a valid amount of credits"))
}

pub(super) fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// Returns the code of the grant's period, empty without a grant.
pub(super) fn code(allowance: &Allowance) -> String {
    match allowance {
        Allowance::Grant(grant) => grant.code().to_string(),
        Allowance::None | Allowance::Unlimited => String::new(),
    }
}

fn unreadable_answer() -> StoreError {
    StoreError::corrupt("unknown answer of a script in Redis")
}
