//! The `credits` commands, which need a database.

use serde_json::{Value, json};
use tollgate::credit::{AdjustmentId, Bucket, BucketId, BucketKind, BucketTerms, Disagreement, Entry};
use tollgate::manage::{EntryPage, ListEntries};
use tollgate::name::AccountId;
use tollgate::{CreditManager, Credits};

use crate::Fault;
use crate::arguments::{Arguments, Usage, number, read};
use crate::commands::Operator;
use crate::print::Answer;

/// Runs a `credits` command.
pub(crate) async fn run(verb: &str, arguments: &mut Arguments, operator: &Operator) -> Result<Answer, Fault> {
    let Some(ledger) = operator.store.ledger() else {
        return Err("this store does not support credits; use `sqlite:PATH` or `postgres://…`".into());
    };
    if verb == "check" {
        arguments.end()?;
        return Ok(Answer::Checked(ledger.audit().await?));
    }
    let currency = arguments.read("currency")?.unwrap_or_default();
    let manager = operator.credits()?.in_currency(currency)?;
    let account = AccountId::from(arguments.word("the account's id")?);
    if verb == "entries" {
        let mut asked = ListEntries::of(account);
        asked.cursor = arguments.option("cursor").map(|text| number("cursor", &text)).transpose()?;
        asked.limit = arguments.limit()?.unwrap_or(asked.limit);
        arguments.end()?;
        return Ok(Answer::Entries(manager.entries(&asked).await?));
    }
    if verb == "buckets" {
        arguments.end()?;
        return Ok(Answer::Buckets(manager.buckets(&account).await?));
    }
    let balance = match verb {
        "balance" => {
            arguments.end()?;
            manager.balance(&account).await?
        }
        "unlimited" => {
            let id = adjustment(arguments)?;
            arguments.end()?;
            manager.make_unlimited(&account, &id).await?
        }
        "expire" => {
            let bucket: BucketId = read("bucket", &arguments.word("the bucket's id")?)?;
            let id = adjustment(arguments)?;
            arguments.end()?;
            manager.expire(&account, bucket, &id).await?
        }
        "move" => {
            let bucket: BucketId = read("bucket", &arguments.word("the bucket's id")?)?;
            let amount = Credits::new(number("amount", &arguments.word("the amount")?)?);
            let (id, terms) = (adjustment(arguments)?, terms(arguments)?.unwrap_or_default());
            arguments.end()?;
            manager.move_credits(&account, bucket, amount, terms, &id).await?
        }
        "top-up" | "deduct" | "set" => {
            let amount = Credits::new(number("amount", &arguments.word("the amount")?)?);
            let id = adjustment(arguments)?;
            let terms = if verb == "top-up" { terms(arguments)? } else { None };
            arguments.end()?;
            match (verb, terms) {
                ("top-up", Some(terms)) => manager.top_up_into(&account, amount, terms, &id).await?,
                ("top-up", None) => manager.top_up(&account, amount, &id).await?,
                ("deduct", _) => manager.deduct(&account, amount, &id).await?,
                _ => manager.set(&account, amount, &id).await?,
            }
        }
        other => return Err(Usage(format!("unknown command `credits {other}`")).into()),
    };
    Ok(Answer::Balance(account, balance))
}

impl Operator {
    fn credits(&self) -> Result<CreditManager, Fault> {
        Ok(CreditManager::new(self.gate.clone())?.by(self.actor.clone()))
    }
}

/// Takes the terms of a new bucket. `None` if no option of them is given.
fn terms(arguments: &mut Arguments) -> Result<Option<BucketTerms>, Usage> {
    let kind: Option<BucketKind> = arguments.read("kind")?;
    let priority = arguments.option("priority").map(|text| {
        let problem = || Usage(format!("`priority`: write a whole number from 0 to {}", u16::MAX));
        text.parse::<u16>().map_err(|_| problem())
    });
    let (priority, from) = (priority.transpose()?, arguments.read("from")?);
    let expires = arguments.read("expires")?;
    if kind.is_none() && priority.is_none() && from.is_none() && expires.is_none() {
        return Ok(None);
    }
    let mut terms = kind.map_or_else(BucketTerms::default, BucketTerms::of);
    (terms.priority, terms.valid_from) = (priority.unwrap_or(terms.priority), from);
    terms.expires = expires;
    Ok(Some(terms))
}

fn adjustment(arguments: &mut Arguments) -> Result<AdjustmentId, Usage> {
    read("id", &arguments.required("id")?)
}

/// Returns a page of entries as JSON.
pub(crate) fn entries_json(page: &EntryPage) -> Value {
    let entry = |entry: &Entry| {
        json!({
            "number": entry.number,
            "at": entry.at.to_string(),
            "kind": entry.kind.name(),
            "id": entry.kind.adjustment().map(AdjustmentId::as_str),
            "amount": entry.amount,
            "balance": crate::print::balance_json(entry.balance),
            "bucket": entry.bucket.to_string(),
            "left": entry.left.get(),
        })
    };
    json!({ "entries": page.entries.iter().map(entry).collect::<Vec<_>>(), "next": page.next })
}

/// Returns a line of text for an entry.
pub(crate) fn entry_line(entry: &Entry) -> String {
    let id = entry.kind.adjustment().map_or("", AdjustmentId::as_str);
    format!(
        "{}  {}  {}  {:+}  balance {}  bucket {}: {}  {id}",
        entry.number,
        entry.at,
        entry.kind.name(),
        entry.amount,
        entry.balance,
        entry.bucket,
        entry.left
    )
}

/// Returns buckets as JSON.
pub(crate) fn buckets_json(buckets: &[Bucket]) -> Value {
    let one = |bucket: &Bucket| {
        json!({
            "id": bucket.id.to_string(),
            "kind": bucket.terms.kind.name(),
            "amount": bucket.amount.get(),
            "left": bucket.left.get(),
            "priority": bucket.terms.priority,
            "validFrom": bucket.terms.valid_from.map(|from| from.to_string()),
            "expiresAt": bucket.terms.expires.map(|expires| expires.to_string()),
        })
    };
    json!({ "buckets": buckets.iter().map(one).collect::<Vec<_>>() })
}

/// Returns a line of text for a bucket.
pub(crate) fn bucket_line(bucket: &Bucket) -> String {
    let Bucket { id, terms, amount, left, .. } = bucket;
    let from = terms.valid_from.map(|from| format!("  from {from}")).unwrap_or_default();
    let end = terms.expires.map_or_else(|| "never".to_owned(), |end| end.to_string());
    format!("{id}  {}  {left} of {amount}  priority {}{from}  expires {end}", terms.kind, terms.priority)
}

/// Returns the accounts whose balances and entries disagree, as JSON.
pub(crate) fn check_json(found: &[Disagreement]) -> Value {
    let one = |wrong: &Disagreement| {
        json!({
            "account": wrong.account.as_str(),
            "currency": wrong.currency.as_str(),
            "balance": wrong.balance,
            "entries": wrong.entries,
            "held": wrong.held,
            "open": wrong.open,
            "broken": wrong.broken,
            "buckets": wrong.buckets,
        })
    };
    json!({ "disagreements": found.iter().map(one).collect::<Vec<_>>() })
}

/// Returns a line of text for an account whose balance and entries disagree.
pub(crate) fn check_line(wrong: &Disagreement) -> String {
    format!(
        "{}: {} balance {}, sum of entries {}; {} held, {} open; {} invalid entries, {} invalid buckets",
        wrong.account.as_str().escape_debug(),
        wrong.currency,
        wrong.balance,
        wrong.entries,
        wrong.held,
        wrong.open,
        wrong.broken,
        wrong.buckets
    )
}
