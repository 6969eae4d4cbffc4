//! The form of an account's credits in Redis: a text whose first two lines are changed by scripts.
//!
//! 1. The header: `b`, the version, the number of the last entry, the time of the last call, the flag for no limit, the
//!    credits that can be spent, those in buckets that have not started, the debt, the uncommitted part of leased blocks
//!    that was drawn from the main bucket, the period of the last grant, the times from and until which a call under it
//!    changes nothing, the time at which the next bucket starts or expires, and the call that alone may change the text.
//! 2. The buckets that have started, in the order of drawing: the number, the amount that is left, the amount of the open
//!    charges, the flag for an expired bucket, and the id.
//! 3. The time of the next grant. Only this module reads the last two lines.
//! 4. All buckets with their terms, in JSON. The amounts of line 2 are the current ones.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::stored::StoredBuckets;
use super::{Model, Numbers, StoredBudget};
use crate::clock::Timestamp;
use crate::credit::BucketId;
use crate::credit::due::{Due, Floor};
use crate::error::StoreError;

/// The credits of an account, read from a text.
#[derive(Debug)]
pub(in crate::credit) struct StateText {
    pub(in crate::credit) model: Model,
    /// The version; for a text that an earlier version of this crate wrote, the whole text.
    pub(in crate::credit) version: String,
    /// The number of the last entry.
    pub(in crate::credit) last: u64,
}

/// The place of a value that is missing.
const NONE: &str = "-";

impl StateText {
    pub(in crate::credit) fn read(text: &str) -> Result<Self, StoreError> {
        let read = if text.starts_with("b ") { read_buckets(text) } else { read_one_balance(text) };
        read.ok_or_else(|| StoreError::corrupt("invalid balance in Redis"))?
    }
}

type Read = Option<Result<StateText, StoreError>>;

fn read_buckets(text: &str) -> Read {
    let mut lines = text.splitn(4, '\n');
    let (header, started, due, buckets) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let words: Vec<&str> = header.split(' ').collect();
    let [_, version, last, seen, unlimited, balance, _, owed, uncommitted, period, from, until, _, _] =
        words[..]
    else {
        return None;
    };
    let mut stored: StoredBuckets = serde_json::from_str(buckets).ok()?;
    let mut current = HashMap::new();
    for bucket in started.split(' ') {
        let mut parts = bucket.splitn(5, ',');
        let (number, left, held) = (parts.next()?, parts.next()?, parts.next()?);
        current.insert(number.parse::<u32>().ok()?, (amount(left)?, amount(held)?));
    }
    // A bucket that is missing there was emptied and removed.
    stored.started.retain(|bucket| current.contains_key(&bucket.number));
    let mut open = 0_u64;
    for bucket in &mut stored.started {
        (bucket.left, bucket.open) = *current.get(&bucket.number)?;
        open = open.checked_add(bucket.open)?;
    }
    stored.debt = amount(owed)?;
    let numbers = Numbers {
        balance: amount(balance)?,
        beside: 0,
        open,
        lent: amount(uncommitted)?,
        unlimited: flag(unlimited)?,
        due: if due == NONE { None } else { Some(read_due(due)?) },
        seen: time(seen)?,
    };
    let (period, from, until) = (period.parse().ok()?, time(from)?, time(until)?);
    let model = Model::of_stored(Some(stored), numbers).map(|mut model| {
        (model.period, model.from, model.until) = (period, from, until);
        model
    });
    let last = last.parse().ok()?;
    Some(model.map(|model| StateText { model, version: version.to_owned(), last }))
}

/// Reads the balance of a version without buckets: the amount, the sum of the open charges, the number of the last entry,
/// the time of the last call, the time of the next grant, the flag for no limit, the uncommitted amount of the blocks, and
/// the rest of the time of the next grant.
fn read_one_balance(text: &str) -> Read {
    let words: Vec<&str> = text.split(' ').collect();
    let [balance, open, last, seen, at, unlimited, lent, rest @ ..] = words.as_slice() else { return None };
    let (period, again, floor) = match *rest {
        [period, again, floor] => (period, again, floor),
        [period, again] => (period, again, "none"),
        [] => ("0", "none", "none"),
        _ => return None,
    };
    let maybe = |text: &str| if text == "none" { Some(None) } else { time(text).map(Some) };
    let (floor, moved) = floor.split_once('/').unwrap_or((floor, ""));
    let moved = if moved.is_empty() { u32::MAX } else { moved.parse().ok()? };
    let (again, floor) = (maybe(again)?, maybe(floor)?.map(|at| Floor { at, moved }));
    let period = period.parse().ok()?;
    let numbers = Numbers {
        balance: amount(balance)?,
        beside: 0,
        open: amount(open)?,
        lent: amount(lent)?,
        unlimited: flag(unlimited)?,
        due: maybe(at)?.map(|at| Due { at, period, again, floor }),
        seen: time(seen)?,
    };
    let last = last.parse().ok()?;
    let model = Model::restored(None, numbers);
    Some(model.map(|model| StateText { model, version: text.to_owned(), last }))
}

fn amount(text: &str) -> Option<u64> {
    text.parse().ok().filter(|amount| *amount <= crate::amount::Credits::MAX.get())
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp::from_millis)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Returns the text of a due time: the time, the period, the time by clocks that were set back, and the floor.
fn due_text(due: Due) -> String {
    let mut text = format!("{} {}", due.at.as_millis(), due.period);
    match due.again {
        Some(again) => _ = write!(text, " {}", again.as_millis()),
        None => text.push_str(" -"),
    }
    match due.floor {
        Some(Floor { at, moved }) => _ = write!(text, " {} {moved}", at.as_millis()),
        None => text.push_str(" - 0"),
    }
    text
}

fn read_due(text: &str) -> Option<Due> {
    let words: Vec<&str> = text.split(' ').collect();
    let [at, period, again, floor, moved] = words[..] else { return None };
    let maybe = |text: &str| if text == NONE { Some(None) } else { time(text).map(Some) };
    let moved = moved.parse().ok()?;
    let floor = maybe(floor)?.map(|at| Floor { at, moved });
    Some(Due { at: time(at)?, period: period.parse().ok()?, again: maybe(again)?, floor })
}

impl Model {
    /// Returns the amounts in all buckets by their stored ids, and the debt as a negative number.
    pub(in crate::credit) fn amounts(&self) -> HashMap<String, i64> {
        let all = self.buckets.iter().chain(self.pending());
        let mut amounts: HashMap<_, _> =
            all.map(|held| (held.label.id().stored(), held.left.cast_signed())).collect();
        amounts.insert(BucketId::Debt.stored(), -self.debt().cast_signed());
        amounts
    }

    /// Returns the text of the credits, under a version and with the number of the last entry.
    pub(in crate::credit) fn to_text(&self, version: u64, last: u64) -> String {
        let lent = self.rest.as_ref().map_or(0, |rest| rest.lent);
        let pending = self.pending().fold(0, |sum: u64, held| sum.saturating_add(held.left));
        let mut text = format!(
            "b {version} {last} {} {} {} {pending} {} {lent} {} {} {} {} {NONE}\n",
            self.seen.as_millis(),
            u8::from(self.unlimited),
            self.balance,
            self.debt(),
            self.period,
            self.from.as_millis(),
            self.until.as_millis(),
            self.deadline().as_millis(),
        );
        for (place, held) in self.buckets.iter().enumerate() {
            let (between, expired) = (if place > 0 { " " } else { "" }, u8::from(held.expired));
            let id = held.label.id().stored();
            let _ = write!(text, "{between}{},{},{},{expired},{id}", held.number, held.left, held.open);
        }
        let due = self.due.map_or_else(|| NONE.to_owned(), due_text);
        let _ = write!(text, "\n{due}\n{}", self.stored_buckets());
        text
    }
}

impl StoredBudget {
    /// Returns the text: the spent amount, the number of the period and of the open charges, the times from and until which a
    /// charge starts no period, the time from which the key is idle, and the end of the period.
    pub(in crate::credit) fn to_text(self, calm_from: Timestamp) -> String {
        let Self { spent, turn, open, due, idle_from } = self;
        let (from, until, idle_from) = (calm_from.as_millis(), due.next().as_millis(), idle_from.as_millis());
        format!("{spent} {turn} {open} {from} {until} {idle_from} {}", due_text(due))
    }

    pub(in crate::credit) fn from_text(text: &str) -> Result<Self, StoreError> {
        let read = || {
            let mut words = text.splitn(7, ' ');
            let (spent, turn, open) = (words.next()?, words.next()?, words.next()?);
            let (_, _, idle_from, due) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let (turn, open) = (turn.parse().ok()?, open.parse().ok()?);
            Some(Self { spent: amount(spent)?, turn, open, due: read_due(due)?, idle_from: time(idle_from)? })
        };
        read().ok_or_else(|| StoreError::corrupt("invalid budget in Redis"))
    }
}
