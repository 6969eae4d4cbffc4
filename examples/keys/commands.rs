//! What the commands do.

use std::sync::Arc;
use std::time::Duration;

use tollgate::{
    Account, AccountId, AccountManager, Actor, Config, ForeignKey, KeyChange, KeyHash, KeyId, KeyManager,
    KeyRecord, KeyStatus, ListKeys, NewKey, PathPattern,
};

use crate::arguments::{Arguments, Usage, read};
use crate::print::Answer;
use crate::{Fault, print, store};

/// Runs a command: what is to be said of it is said when the change is kept.
pub(crate) async fn run(arguments: &mut Arguments) -> Result<Answer, Fault> {
    let noun = arguments.word("a command")?;
    let verb = arguments.word("what to do")?;
    let (config, url) = (arguments.required("config")?, arguments.required("store")?);
    let actor = Actor::operator(&arguments.option("as").unwrap_or_else(|| "operator".into()));
    let store = store::open(&url).await?;
    let gate = Config::read(&config)?.builder()?.managed_store(Arc::clone(&store.keys)).build()?;
    let manager = KeyManager::new(gate.clone(), Arc::clone(&store.keys)).by(actor.clone());
    let answer = match noun.as_str() {
        "keys" => keys(&verb, arguments, &manager).await?,
        "accounts" => {
            let manager = AccountManager::new(gate, Arc::clone(&store.keys)).by(actor);
            accounts(&verb, arguments, &manager).await?
        }
        #[cfg(any(feature = "sqlite", feature = "postgres"))]
        "credits" => crate::credits::run(&verb, arguments, gate, &store).await?,
        other => return Err(Usage(format!("`{other}` is no command")).into()),
    };
    store.close().await?;
    Ok(answer)
}

async fn keys(verb: &str, arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    match verb {
        "issue" => return issue(arguments, manager).await,
        "list" => return list(arguments, manager).await,
        "rotate" => return rotate(arguments, manager).await,
        "import" => return import(arguments, manager).await,
        _ => {}
    }
    let id: KeyId = read("id", &arguments.word("the key's id")?)?;
    if verb != "update" {
        arguments.end()?;
    }
    let key = match verb {
        "show" => manager.get(id).await?,
        "pause" => manager.pause(id).await?,
        "resume" => manager.resume(id).await?,
        "revoke" => {
            let revoked = manager.revoke(id).await?;
            if !revoked.announced {
                eprintln!(
                    "the other nodes could not be told: they refuse the key once their caches have aged"
                );
            }
            revoked.key
        }
        "update" => update(id, arguments, manager).await?,
        "erase" => {
            manager.erase(id).await?;
            return Ok(Answer::Erased(id));
        }
        other => return Err(Usage(format!("`keys {other}` is no command")).into()),
    };
    Ok(Answer::Key(manager.view(key)))
}

async fn issue(arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    let mut new = NewKey::new(arguments.required("account")?, arguments.required("name")?);
    new.environment = arguments.option("environment").map(Into::into);
    new.expires_at = arguments.read("expires")?;
    new.scopes = arguments.list("scopes", |text| Ok(text.into()))?;
    new.paths = arguments.list("paths", |text| read::<PathPattern>("paths", text))?;
    new.allowlist = arguments.list("allow", network)?;
    arguments.end()?;
    let issued = manager.issue(new).await?;
    Ok(Answer::Secret(manager.view(issued.key), issued.secret))
}

async fn list(arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    let mut asked = ListKeys::default();
    asked.account = arguments.option("account").map(Into::into);
    asked.environment = arguments.option("environment").map(Into::into);
    asked.status = arguments.option("status").map(|text| status(&text)).transpose()?;
    asked.cursor = arguments.read("cursor")?;
    asked.limit = arguments.read("limit")?.unwrap_or(asked.limit);
    arguments.end()?;
    Ok(Answer::Keys(manager.list(&asked).await?))
}

fn status(text: &str) -> Result<KeyStatus, Usage> {
    [KeyStatus::Active, KeyStatus::Paused, KeyStatus::Revoked]
        .into_iter()
        .find(|status| print::status_name(*status) == text)
        .ok_or_else(|| Usage(format!("`--status`: no such status: `{text}`")))
}

async fn rotate(arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    let id: KeyId = read("id", &arguments.word("the key's id")?)?;
    let overlap = arguments.read::<tollgate::config::Span>("overlap")?.map_or(Duration::ZERO, |span| span.0);
    arguments.end()?;
    let rotated = manager.rotate(id, overlap).await?;
    Ok(Answer::Secret(manager.view(rotated.key), rotated.secret))
}

async fn update(id: KeyId, arguments: &mut Arguments, manager: &KeyManager) -> Result<Arc<KeyRecord>, Fault> {
    let mut change = KeyChange { name: arguments.option("name"), ..KeyChange::default() };
    change.expires_at = match arguments.option("expires").as_deref() {
        None => None,
        Some("never") => Some(None),
        Some(text) => Some(Some(read("expires", text)?)),
    };
    change.scopes =
        unless("all", arguments.list("scopes", |text| Ok(text.to_owned()))?, |text| Ok(text.into()))?;
    let paths = arguments.list("paths", |text| Ok(text.to_owned()))?;
    change.paths = unless("all", paths, |text| read("paths", text))?;
    change.allowlist = unless("any", arguments.list("allow", |text| Ok(text.to_owned()))?, network)?;
    arguments.end()?;
    Ok(manager.update(id, &change).await?)
}

/// A list, or the word that takes the restriction away.
#[expect(clippy::option_option, reason = "leaving a restriction and taking it away are two things")]
fn unless<T>(
    free: &str,
    values: Option<Vec<String>>,
    one: impl Fn(&str) -> Result<T, Usage>,
) -> Result<Option<Option<Vec<T>>>, Usage> {
    match values {
        None => Ok(None),
        Some(values) if values == [free] => Ok(Some(None)),
        Some(values) => values.iter().map(|text| one(text)).collect::<Result<_, _>>().map(Some).map(Some),
    }
}

fn network(text: &str) -> Result<ipnet::IpNet, Usage> {
    tollgate::parse_network(text).map_err(|error| Usage(format!("`--allow`: {error}")))
}

async fn import(arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    let digest = print::unhex(&arguments.required("sha256")?);
    let hash = digest.ok_or_else(|| Usage("`--sha256`: write 64 hexadecimal digits".into()))?;
    let (account, name) = (arguments.required("account")?, arguments.required("name")?);
    let mut key = ForeignKey::new(account, name, KeyHash::from_bytes(hash));
    key.start = arguments.option("start").unwrap_or_default();
    key.environment = arguments.option("environment").map_or(key.environment, Into::into);
    key.expires_at = arguments.read("expires")?;
    key.scopes = arguments.list("scopes", |text| Ok(text.into()))?;
    key.paths = arguments.list("paths", |text| read::<PathPattern>("paths", text))?;
    key.allowlist = arguments.list("allow", network)?;
    arguments.end()?;
    let id = manager.import(key).await?;
    Ok(Answer::Key(manager.view(manager.get(id).await?)))
}

async fn accounts(verb: &str, arguments: &mut Arguments, manager: &AccountManager) -> Result<Answer, Fault> {
    let id = AccountId::from(arguments.word("the account's id")?);
    let (plan, agreement) = (arguments.option("plan"), arguments.option("agreement"));
    arguments.end()?;
    let needed =
        |option: Option<String>, name: &str| option.ok_or_else(|| Usage(format!("`--{name}` is missing")));
    Ok(Answer::Account(match verb {
        "create" => manager.create(Account::new(id, needed(plan, "plan")?)).await?,
        "show" => manager.get(&id).await?,
        "plan" => manager.change_plan(&id, needed(plan, "plan")?.into()).await?,
        "suspend" => manager.suspend(&id).await?,
        "resume" => manager.resume(&id).await?,
        "sign" => manager.sign(&id, needed(agreement, "agreement")?.into()).await?,
        "subscribe" => manager.start_subscription(&id).await?,
        "unsubscribe" => manager.end_subscription(&id).await?,
        "delete" => manager.delete(&id).await?,
        other => return Err(Usage(format!("`accounts {other}` is no command")).into()),
    }))
}
