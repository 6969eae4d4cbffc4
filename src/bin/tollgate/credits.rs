//! The `credits` commands, which need a database.

use serde_json::{Value, json};
use tollgate::credit::{AdjustmentId, Disagreement, Entry};
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
    let manager = operator.credits()?;
    let account = AccountId::from(arguments.word("the account's id")?);
    if verb == "entries" {
        let mut asked = ListEntries::of(account);
        asked.cursor = arguments.option("cursor").map(|text| number("cursor", &text)).transpose()?;
        asked.limit = arguments.limit()?.unwrap_or(asked.limit);
        arguments.end()?;
        return Ok(Answer::Entries(manager.entries(&asked).await?));
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
        "top-up" | "deduct" | "set" => {
            let amount = Credits::new(number("amount", &arguments.word("the amount")?)?);
            let id = adjustment(arguments)?;
            arguments.end()?;
            match verb {
                "top-up" => manager.top_up(&account, amount, &id).await?,
                "deduct" => manager.deduct(&account, amount, &id).await?,
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
        })
    };
    json!({ "entries": page.entries.iter().map(entry).collect::<Vec<_>>(), "next": page.next })
}

/// Returns a line of text for an entry.
pub(crate) fn entry_line(entry: &Entry) -> String {
    let id = entry.kind.adjustment().map_or("", AdjustmentId::as_str);
    format!(
        "{}  {}  {}  {:+}  balance {}  {id}",
        entry.number,
        entry.at,
        entry.kind.name(),
        entry.amount,
        entry.balance
    )
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
