//! The `accounts` commands.

use serde_json::{Value, json};
use tollgate::account::Subscription;
use tollgate::name::AccountId;
use tollgate::{Account, AccountManager};

use crate::arguments::{Arguments, Usage};
use crate::print::Answer;
use crate::{Fault, limits};

/// Runs an `accounts` command.
pub(crate) async fn run(
    verb: &str,
    arguments: &mut Arguments,
    manager: &AccountManager,
) -> Result<Answer, Fault> {
    let id = AccountId::from(arguments.word("the account's id")?);
    let given = match verb {
        "create" | "plan" => arguments.required("plan")?,
        "sign" => arguments.required("agreement")?,
        "quotas" | "caps" => arguments.required(verb)?,
        _ => String::new(),
    };
    arguments.end()?;
    Ok(Answer::Account(match verb {
        "create" => manager.create(Account::new(id, given)).await?,
        "show" => manager.get(&id).await?,
        "plan" => manager.change_plan(&id, given.into()).await?,
        "quotas" => manager.change_quotas(&id, limits::quotas(&given)?).await?,
        "caps" => manager.change_caps(&id, limits::caps(&given)?).await?,
        "suspend" => manager.suspend(&id).await?,
        "resume" => manager.resume(&id).await?,
        "sign" => manager.sign(&id, given.into()).await?,
        "subscribe" => manager.start_subscription(&id).await?,
        "unsubscribe" => manager.end_subscription(&id).await?,
        "delete" => manager.delete(&id).await?,
        "erase" => {
            manager.erase(&id).await?;
            return Ok(Answer::Erased(id.to_string()));
        }
        other => return Err(Usage(format!("unknown command `accounts {other}`")).into()),
    }))
}

/// Returns an account as JSON.
pub(crate) fn json(account: &Account) -> Value {
    json!({
        "id": account.id.as_str(),
        "plan": account.plan.as_str(),
        "status": account.status.name(),
        "subscription": account.subscription.map(Subscription::name),
        "agreements": account.agreements.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "quotas": limits::quotas_json(account.quotas.as_ref()),
        "caps": limits::caps_json(account.caps.as_ref()),
        "version": account.version,
    })
}

/// Returns a line of text for an account. Text from an operator is escaped, because the line is printed to a terminal.
pub(crate) fn line(account: &Account) -> String {
    let agreements: Vec<_> = account.agreements.iter().map(ToString::to_string).collect();
    let signed = if agreements.is_empty() { "nothing".to_owned() } else { agreements.join(", ") };
    let own = limits::words(account.quotas.as_ref(), account.caps.as_ref());
    format!(
        "{}  plan {}  {}  subscription {}  signed {}{own}  version {}",
        account.id.as_str().escape_debug(),
        account.plan.as_str().escape_debug(),
        account.status.name(),
        account.subscription.map_or("none", Subscription::name),
        signed.escape_debug(),
        account.version
    )
}
