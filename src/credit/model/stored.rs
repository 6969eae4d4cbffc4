//! The form of an account's credits in a store.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::budget::Budgets;
use super::draw::Spill;
use super::{Change, Draws, Held, Label, MAIN, Model, NEVER};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::due::Due;
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, BucketId, BucketTerms, Entry, EntryKind};
use crate::error::StoreError;
use crate::key::KeyId;

/// The parts of an account's credits that are stored as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::credit) struct Numbers {
    /// The credits that can be spent.
    pub(in crate::credit) balance: u64,
    /// The credits that cannot be spent yet, minus the debt.
    pub(in crate::credit) beside: i64,
    /// The sum of the open charges.
    pub(in crate::credit) open: u64,
    /// The uncommitted part of leased blocks that was drawn from the main bucket.
    pub(in crate::credit) lent: u64,
    pub(in crate::credit) unlimited: bool,
    pub(in crate::credit) due: Option<Due>,
    pub(in crate::credit) seen: Timestamp,
}

/// The buckets and the debt, as they are stored in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredBuckets {
    pub(super) started: Vec<StoredBucket>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<StoredBucket>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) debt: u64,
    /// The number of the next bucket.
    next: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredBucket {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) number: u32,
    /// The id and the terms. `None` for the main bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<StoredTerms>,
    priority: u16,
    amount: u64,
    pub(super) left: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) open: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    expired: bool,
}

/// The terms of a bucket, as they are stored in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTerms {
    kind: String,
    priority: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
}

fn is_zero(number: &(impl Copy + Into<u64>)) -> bool {
    (*number).into() == 0
}

impl From<&BucketTerms> for StoredTerms {
    fn from(terms: &BucketTerms) -> Self {
        Self {
            kind: terms.kind.name().to_owned(),
            priority: terms.priority,
            valid_from: terms.valid_from.map(Timestamp::as_millis),
            expires: terms.expires.map(Timestamp::as_millis),
        }
    }
}

impl StoredTerms {
    fn to_terms(&self) -> Result<BucketTerms, StoreError> {
        Ok(BucketTerms {
            kind: self.kind.parse().map_err(StoreError::corrupt)?,
            priority: self.priority,
            valid_from: self.valid_from.map(Timestamp::from_millis),
            expires: self.expires.map(Timestamp::from_millis),
        })
    }
}

/// The buckets that an adjustment names, as they are stored in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdjustmentTerms {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<StoredTerms>,
}

impl AdjustmentKind {
    /// Returns the stored form: the name of the kind, the amount, and the buckets in JSON.
    pub(in crate::credit) fn stored(&self) -> (&'static str, Credits, Option<String>) {
        let named = |bucket: Option<&BucketId>, terms: Option<&BucketTerms>| {
            let named =
                AdjustmentTerms { bucket: bucket.map(BucketId::stored), terms: terms.map(StoredTerms::from) };
            serde_json::to_string(&named).ok()
        };
        match self {
            Self::TopUp(amount) => ("top-up", *amount, None),
            Self::TopUpInto { amount, terms } => ("top-up", *amount, named(None, Some(terms))),
            Self::Deduct(amount) => ("deduct", *amount, None),
            Self::Expire(bucket) => ("expire", Credits::ZERO, named(Some(bucket), None)),
            Self::Move { from, amount, terms } => ("move", *amount, named(Some(from), Some(terms))),
            Self::Set(amount) => ("set", *amount, None),
            Self::MakeUnlimited => ("unlimited", Credits::ZERO, None),
        }
    }

    pub(in crate::credit) fn from_stored(
        kind: &str,
        amount: Credits,
        named: Option<&str>,
    ) -> Result<Self, StoreError> {
        let named: Option<AdjustmentTerms> =
            named.map(serde_json::from_str).transpose().map_err(StoreError::corrupt)?;
        let (bucket, terms) = named.map_or((None, None), |named| (named.bucket, named.terms));
        let bucket = bucket.as_deref().map(BucketId::from_stored).transpose()?;
        let terms = terms.as_ref().map(StoredTerms::to_terms).transpose()?;
        Ok(match (kind, bucket, terms) {
            ("top-up", None, None) => Self::TopUp(amount),
            ("top-up", None, Some(terms)) => Self::TopUpInto { amount, terms },
            ("deduct", None, None) => Self::Deduct(amount),
            ("expire", Some(bucket), None) => Self::Expire(bucket),
            ("move", Some(from), Some(terms)) => Self::Move { from, amount, terms },
            ("set", None, None) => Self::Set(amount),
            ("unlimited", None, None) => Self::MakeUnlimited,
            _ => return Err(StoreError::corrupt("unknown kind of a stored adjustment")),
        })
    }
}

impl EntryKind {
    /// Returns the kind of a stored name, with the id of its charge or of its adjustment.
    pub(in crate::credit) fn from_stored(
        name: &str,
        charge: impl FnOnce() -> Result<ChargeId, StoreError>,
        adjustment: impl FnOnce() -> Result<AdjustmentId, StoreError>,
    ) -> Result<Self, StoreError> {
        Ok(match name {
            "charge" => Self::Charge(charge()?),
            "settlement" => Self::Settlement(charge()?),
            "overage" => Self::Overage(charge()?),
            "refund" => Self::Refund(charge()?),
            "grant" => Self::Grant,
            "opening" => Self::Opening,
            "expired" => Self::Expired,
            "debt-paid" => Self::DebtPaid,
            "folded" => Self::Folded,
            "top-up" => Self::TopUp(adjustment()?),
            "deduction" => Self::Deduction(adjustment()?),
            "set" => Self::Set(adjustment()?),
            "moved" => Self::Moved(adjustment()?),
            "unlimited" => Self::Unlimited(adjustment()?),
            _ => return Err(StoreError::corrupt("unknown kind of a stored entry")),
        })
    }
}

impl BucketId {
    /// Returns the stored form. The ids of adjustments begin with a colon.
    pub(in crate::credit) fn stored(&self) -> String {
        match self {
            Self::Of(id) => format!(":{id}"),
            own => own.to_string(),
        }
    }

    pub(in crate::credit) fn from_stored(text: &str) -> Result<Self, StoreError> {
        if let Some(id) = text.strip_prefix(':') {
            return id.parse().map(Self::Of).map_err(StoreError::corrupt);
        }
        let own = [Self::Main, Self::Purchased, Self::Returned, Self::Debt];
        let found = own.into_iter().find(|own| own.to_string() == text);
        found.ok_or_else(|| StoreError::corrupt("unknown id of a stored bucket"))
    }
}

impl StoredBucket {
    fn of(held: &Held) -> Self {
        let named = !held.is_main();
        Self {
            number: held.number,
            id: named.then(|| held.label.id().stored()),
            terms: named.then(|| held.terms().into()),
            priority: held.priority,
            amount: held.amount,
            left: held.left,
            open: held.open,
            expired: held.expired,
        }
    }

    fn to_held(&self, due: Option<Due>) -> Result<Held, StoreError> {
        let mut held = match (&self.id, &self.terms) {
            (None, None) if self.number == MAIN => {
                let mut main = Held::main();
                main.order = due.map_or(NEVER.1, |due| due.next());
                main
            }
            (Some(id), Some(terms)) => {
                let label = Label::new(BucketId::from_stored(id)?, terms.to_terms()?);
                Held::new(self.number, label, self.amount)
            }
            _ => return Err(StoreError::corrupt("a stored bucket has no id or no terms")),
        };
        (held.priority, held.amount, held.left) = (self.priority, self.amount, self.left);
        (held.open, held.expired) = (self.open, self.expired);
        Ok(held)
    }
}

impl Model {
    pub(in crate::credit) fn stored_numbers(&self) -> Numbers {
        Numbers {
            balance: self.balance,
            beside: self.beside,
            open: self.open(),
            lent: self.rest.as_ref().map_or(0, |rest| rest.lent),
            unlimited: self.unlimited,
            due: self.due,
            seen: self.seen,
        }
    }

    /// Returns the buckets and the debt as JSON.
    pub(in crate::credit) fn stored_buckets(&self) -> String {
        let stored = StoredBuckets {
            started: self.buckets.iter().map(StoredBucket::of).collect(),
            pending: self.pending().map(StoredBucket::of).collect(),
            debt: self.debt(),
            next: self.rest.as_ref().map_or(MAIN + 1, |rest| rest.next),
        };
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// Creates the credits from their stored form. `buckets` is `None` for a balance that was written by a version
    /// without buckets.
    ///
    /// Such a version may still run. It changes only the balance and the sum of the open charges: what differs belongs
    /// to the main bucket.
    pub(in crate::credit) fn restored(buckets: Option<&str>, numbers: Numbers) -> Result<Self, StoreError> {
        let stored = buckets.map(serde_json::from_str).transpose().map_err(StoreError::corrupt)?;
        Self::of_stored(stored, numbers)
    }

    /// Creates the credits from the buckets and the numbers, as [`Model::restored`] does.
    pub(super) fn of_stored(stored: Option<StoredBuckets>, numbers: Numbers) -> Result<Self, StoreError> {
        let mut model = Self::new();
        (model.unlimited, model.due, model.seen) = (numbers.unlimited, numbers.due, numbers.seen);
        if let Some(stored) = stored {
            model.buckets.clear();
            for bucket in &stored.started {
                model.buckets.push(bucket.to_held(model.due)?);
            }
            let rest = model.rest();
            (rest.debt, rest.next) = (stored.debt, stored.next);
            for bucket in &stored.pending {
                let held = bucket.to_held(None)?;
                model.rest().pending.push(held);
            }
        } else {
            let amount = numbers.balance;
            if let Some(main) = model.held_mut(MAIN) {
                main.amount = amount;
                main.order = numbers.due.map_or(NEVER.1, |due| due.next());
            }
        }
        let sum = |amounts: &mut dyn Iterator<Item = u64>| amounts.fold(0, u64::saturating_add);
        let (left, open) = (sum(&mut model.buckets.iter().map(|held| held.left)), model.open());
        let pending = sum(&mut model.pending().map(|held| held.left));
        model.balance = numbers.balance;
        model.beside = pending.cast_signed() - model.debt().cast_signed();
        let main = model.buckets.iter_mut().find(|held| held.is_main());
        let main = main.ok_or_else(|| StoreError::corrupt("a stored account has no main bucket"))?;
        let moved = |amount: u64, from: u64, to: u64| amount.checked_add(to)?.checked_sub(from);
        match (moved(main.left, left, numbers.balance), moved(main.open, open, numbers.open)) {
            (Some(left), Some(open)) => (main.left, main.open) = (left, open),
            _ => return Err(StoreError::corrupt("a stored balance is less than its buckets")),
        }
        if numbers.lent > 0 {
            model.rest().lent = numbers.lent;
        }
        model.sort();
        model.plan_deadlines(&crate::account::Allowance::None);
        Ok(model)
    }

    /// Returns the amounts in the stored buckets by their stored ids, and the debt as a negative number. `balance` is the
    /// stored sum of all: what differs belongs to the main bucket.
    pub(in crate::credit) fn stored_amounts(
        buckets: Option<&str>,
        balance: i64,
    ) -> Result<HashMap<String, i64>, StoreError> {
        let mut amounts = HashMap::new();
        if let Some(text) = buckets {
            let stored: StoredBuckets = serde_json::from_str(text).map_err(StoreError::corrupt)?;
            for bucket in stored.started.iter().chain(&stored.pending) {
                let id = bucket.id.clone().unwrap_or_else(|| BucketId::Main.stored());
                amounts.insert(id, bucket.left.cast_signed());
            }
            amounts.insert(BucketId::Debt.stored(), -stored.debt.cast_signed());
        }
        let sum = amounts.values().fold(0, |sum: i64, amount| sum.saturating_add(*amount));
        *amounts.entry(BucketId::Main.stored()).or_default() += balance - sum;
        Ok(amounts)
    }

    /// Returns the stored form of a charge's draws, or `None` if all of it was drawn from the main bucket.
    pub(in crate::credit) fn stored_draws(&self, draws: Draws, id: ChargeId) -> Option<String> {
        if draws.is_of_nothing() {
            return Some(NOTHING.to_owned());
        }
        if !draws.is_spilled() {
            return (draws.first() != MAIN).then(|| draws.first().to_string());
        }
        let spills = self.rest.iter().flat_map(|rest| &rest.spills).filter(|spill| spill.id == id);
        let later: Vec<&Spill> = spills.collect();
        let first = later.iter().fold(draws.amount, |rest, spill| rest.saturating_sub(spill.amount));
        let mut text = format!("{}:{first}", draws.first());
        for spill in later {
            let _ = write!(text, ",{}:{}", spill.bucket, spill.amount);
        }
        Some(text)
    }

    /// Reads the draws of an open charge.
    pub(in crate::credit) fn restore_draws(
        &mut self,
        id: ChargeId,
        amount: u64,
        text: Option<&str>,
        has_budget: bool,
    ) -> Result<Draws, StoreError> {
        let number = |text: &str| text.parse::<u32>().map_err(StoreError::corrupt);
        let Some(text) = text else { return Ok(Draws::of_one(amount, MAIN, has_budget)) };
        if text == NOTHING {
            return Ok(Self::charge_nothing(Credits::new(amount)));
        }
        let Some((first, later)) = text.split_once(',') else {
            return Ok(Draws::of_one(amount, number(text)?, has_budget));
        };
        let part = |text: &str| {
            let (bucket, amount) =
                text.split_once(':').ok_or_else(|| StoreError::corrupt("a stored draw has no amount"))?;
            Ok((number(bucket)?, amount.parse::<u64>().map_err(StoreError::corrupt)?))
        };
        let (bucket, _) = part(first)?;
        for text in later.split(',') {
            let (bucket, amount) = part(text)?;
            self.rest().spills.push(Spill { id, bucket, amount });
        }
        Ok(Draws::of_several(amount, bucket, has_budget))
    }

    /// Returns the key whose budget an open charge was drawn from, and the budget's period.
    pub(in crate::credit) fn budget_of(&self, id: ChargeId) -> Option<(KeyId, u32)> {
        self.rest.as_ref()?.budgets.share_of(id)
    }

    /// Returns the budgets to store.
    pub(in crate::credit) fn budgets_to_store(&self) -> impl Iterator<Item = (KeyId, StoredBudget)> {
        self.rest.iter().flat_map(|rest| rest.budgets.stored())
    }

    /// Returns the budgets of the account's keys.
    pub(in crate::credit) fn budgets(&mut self) -> &mut Budgets {
        &mut self.rest().budgets
    }

    /// Returns the time of the next grant.
    pub(in crate::credit) fn due(&self) -> Option<Due> {
        self.due
    }
}

/// The stored draws of a charge to an account without limit.
const NOTHING: &str = "-";

/// The stored part of a key's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::credit) struct StoredBudget {
    pub(in crate::credit) spent: u64,
    pub(in crate::credit) turn: u32,
    pub(in crate::credit) open: u32,
    pub(in crate::credit) due: Due,
    pub(in crate::credit) idle_from: Timestamp,
}

impl Change {
    /// Returns the entry of the change.
    pub(in crate::credit) fn into_entry(self, number: u64) -> Entry {
        let balance = match (&self.kind, self.balance) {
            (EntryKind::Unlimited(_), 0) => Balance::Unlimited,
            (_, owed @ ..0) => Balance::Owed(Credits::new(owed.unsigned_abs())),
            (_, there) => Balance::Limited(Credits::new(there.cast_unsigned())),
        };
        let bucket = self.bucket.id();
        let entry = Entry::new(number, self.at, self.kind, self.amount, balance);
        entry.in_bucket(bucket, Credits::new(self.left))
    }
}
