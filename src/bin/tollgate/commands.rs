//! The commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tollgate::alert::SqlAlertStore;
use tollgate::audit::{Actor, AuditEvent, AuditSink, SqlAuditStore, StoredAudit};
use tollgate::key::PathPattern;
use tollgate::manage::{KeyChange, ListKeys, ManageError};
use tollgate::usage::SqlUsage;
use tollgate::{AccountManager, Config, Gate, KeyId, KeyManager, KeyRecord, NewKey};

use crate::arguments::{Arguments, Usage, problem_with, read};
use crate::audit::AuditFile;
use crate::fleet::Channel;
use crate::print::Answer;
use crate::store::Store;
use crate::{Fault, accounts, audit, import, limits, store};

/// The result of a successful command.
pub(crate) struct CommandResult {
    pub(crate) answer: Answer,
    /// A note on the other nodes, if one is necessary.
    pub(crate) note: Option<&'static str>,
    /// The error if the audit log is incomplete.
    pub(crate) unaudited: Option<String>,
}

/// The store, the gate, the actor and the audit file of a command.
pub(crate) struct Operator {
    pub(crate) store: Store,
    pub(crate) gate: Gate,
    pub(crate) actor: Actor,
    audit: Audit,
}

/// The places that the audit events of a command are written to.
struct Audit {
    file: Option<AuditFile>,
    stored: Option<StoredAudit>,
}

impl Audit {
    /// Returns the sink of the gate's managers, if there is a place.
    fn sink(&self) -> Option<Arc<dyn AuditSink>> {
        match (&self.file, &self.stored) {
            (Some(file), Some(stored)) => Some(Arc::new((file.clone(), stored.clone()))),
            (Some(file), None) => Some(Arc::new(file.clone())),
            (None, Some(stored)) => Some(Arc::new(stored.clone())),
            (None, None) => None,
        }
    }

    /// Writes the events that are not written yet to the store. Returns an error if an event could not be written.
    async fn store(&self) -> Result<(), String> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let written = stored.flush().await.map_err(|error| error.to_string());
        let lost = match stored.lost() {
            0 => Ok(()),
            _ => Err("the store rejected an event".to_owned()),
        };
        written.and(lost).map_err(|problem| {
            format!("the change was made, but its audit event could not be written to the store: {problem}")
        })
    }
}

/// Runs a command. The result is returned, and then printed, only after the change is persisted.
pub(crate) async fn run(arguments: &mut Arguments) -> Result<CommandResult, Fault> {
    let (noun, verb) = arguments.command()?;
    let operator = Operator::set(arguments).await?;
    // An error does not repeat a key that was given in place of an id.
    let is_key = |id: &String| operator.gate.formats().iter().any(|format| format.accepts(id.as_bytes()));
    let subject = arguments.subject().filter(|id| !is_key(id));
    let answer = match noun.as_str() {
        "keys" => keys(&verb, arguments, &operator).await,
        "accounts" => accounts::run(&verb, arguments, &operator.accounts()?).await,
        "audit" => audit::run(&verb, arguments, &operator).await,
        "usage" => crate::usage::run(&verb, arguments, &operator).await,
        _ => crate::credits::run(&verb, arguments, &operator).await,
    };
    let answer = answer.map_err(|fault| of_subject(fault, subject.as_deref()))?;
    let note = if concerns_nodes(&noun, &verb) { operator.store.note_on_nodes() } else { None };
    let stored = operator.audit.store().await;
    operator.store.close().await?;
    let filed = operator.audit.file.map_or(Ok(()), |file| file.finish());
    let unaudited = stored.and(filed).err();
    Ok(CommandResult { answer, note, unaudited })
}

/// Adds the key or the account, and a remedy, to the error that there is none with this id.
fn of_subject(fault: Fault, subject: Option<&str>) -> Fault {
    let remedy = match fault.downcast_ref::<ManageError>() {
        Some(ManageError::NotFound("account")) => "create it with `accounts create ID --plan PLAN`",
        Some(ManageError::NotFound("key")) => "`keys list` prints the ids of all keys",
        _ => return fault,
    };
    let id = subject.map(|id| format!("`{}`: ", id.escape_debug())).unwrap_or_default();
    format!("{id}{fault}; {remedy}").into()
}

impl Operator {
    /// Records an event that no manager of the gate records.
    pub(crate) fn record(&self, event: &AuditEvent) {
        if let Some(sink) = self.audit.sink() {
            sink.record(event);
        }
    }

    async fn set(arguments: &mut Arguments) -> Result<Self, Fault> {
        let (config, url) = (arguments.required("config")?, arguments.required("store")?);
        let name = arguments.option("as").unwrap_or_else(|| "operator".into());
        if name.trim().is_empty() {
            return Err(Usage("`--as` is empty; write the name of the operator".into()).into());
        }
        // Without `--redis`, no command accepts `--redis-prefix`.
        let channel = match arguments.option("redis") {
            Some(url) => Some(Channel { url, prefix: arguments.required("redis-prefix")? }),
            None => None,
        };
        let file = arguments.option("audit");
        let file = file.map(|path| AuditFile::open(Path::new(&path))).transpose()?;
        let store = store::open(&url, arguments.flag("create"), channel).await?;
        if let Some(file) = file.as_ref().filter(|_| store.keeps_at_once()) {
            file.write_at_once();
        }
        let stored = store.database().map(|database| StoredAudit::new(SqlAuditStore::new(database)));
        let audit = Audit { file, stored };
        let mut config = Config::read(&config)?;
        // The nodes of the service deliver the alerts.
        config.webhooks.clear();
        let gate = config.builder()?.store(Arc::clone(&store.keys));
        let gate = match store.ledger() {
            Some(ledger) => gate.ledger(ledger.clone()),
            None => gate,
        };
        let gate = match store.database() {
            Some(database) => {
                let gate = gate.usage_store(SqlUsage::new(database));
                gate.alert_store(SqlAlertStore::new(database)).alerts_delivered_elsewhere()
            }
            None => gate,
        };
        let gate = match audit.sink() {
            Some(sink) => gate.audit(sink),
            None => gate,
        };
        Ok(Self { gate: gate.build()?, store, actor: Actor::operator(&name), audit })
    }

    fn keys(&self) -> Result<KeyManager, Fault> {
        Ok(KeyManager::new(self.gate.clone())?.by(self.actor.clone()))
    }

    fn accounts(&self) -> Result<AccountManager, Fault> {
        Ok(AccountManager::new(self.gate.clone())?.by(self.actor.clone()))
    }
}

/// Returns true if a command changes records that other nodes may have in their caches.
fn concerns_nodes(noun: &str, verb: &str) -> bool {
    match noun {
        "keys" => matches!(verb, "update" | "pause" | "resume" | "revoke" | "unrevoke" | "rotate" | "erase"),
        "accounts" => !matches!(verb, "create" | "show"),
        _ => false,
    }
}

async fn keys(verb: &str, arguments: &mut Arguments, operator: &Operator) -> Result<Answer, Fault> {
    let manager = &operator.keys()?;
    match verb {
        "issue" => return issue(arguments, manager).await,
        "list" => return list(arguments, manager).await,
        "rotate" => return rotate(arguments, manager).await,
        "import" => return import::run(arguments, manager).await,
        _ => {}
    }
    let id: KeyId = read("id", &arguments.word("the key's id")?)?;
    let with_issued = verb == "revoke" && arguments.flag("with-issued");
    if verb != "update" {
        arguments.end()?;
    }
    let key = match verb {
        "show" => manager.get(id).await?,
        "pause" => manager.pause(id).await?,
        "resume" => manager.resume(id).await?,
        "revoke" if with_issued => {
            let revoked = manager.revoke_with_issued(id).await?;
            revoked.iter().filter(|one| !one.announced).for_each(|_| operator.store.failed.add());
            return Ok(Answer::Revoked(revoked.into_iter().map(|one| manager.view(one.key)).collect()));
        }
        "revoke" => {
            let revoked = manager.revoke(id).await?;
            if !revoked.announced {
                operator.store.failed.add();
            }
            revoked.key
        }
        "unrevoke" => manager.undo_revocation(id).await?,
        "update" => update(id, arguments, manager).await?,
        "erase" => {
            manager.erase(id).await?;
            return Ok(Answer::Erased(id.to_string()));
        }
        other => return Err(Usage(format!("unknown command `keys {other}`")).into()),
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
    new.quotas = arguments.option("quotas").map_or(Ok(None), |text| limits::quotas(&text))?;
    new.in_flight = arguments.option("in-flight").map_or(Ok(None), |text| limits::in_flight(&text))?;
    new.budgets = arguments.option("budgets").map_or(Ok(None), |text| limits::budgets(&text))?;
    new.caps = arguments.option("caps").map_or(Ok(None), |text| limits::caps(&text))?;
    arguments.end()?;
    let issued = manager.issue(new).await?;
    Ok(Answer::Secret(manager.view(issued.key), issued.secret))
}

async fn list(arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    let mut asked = ListKeys::default();
    asked.account = arguments.option("account").map(Into::into);
    asked.environment = arguments.option("environment").map(Into::into);
    asked.status = arguments.read("status")?;
    asked.issued_by = arguments.read("issued-by")?;
    asked.cursor = arguments.read("cursor")?;
    asked.limit = arguments.limit()?.unwrap_or(asked.limit);
    arguments.end()?;
    Ok(Answer::Keys(manager.list(&asked).await?))
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
    change.quotas = arguments.option("quotas").map(|text| limits::quotas(&text)).transpose()?;
    change.in_flight = arguments.option("in-flight").map(|text| limits::in_flight(&text)).transpose()?;
    change.budgets = arguments.option("budgets").map(|text| limits::budgets(&text)).transpose()?;
    change.caps = arguments.option("caps").map(|text| limits::caps(&text)).transpose()?;
    arguments.end()?;
    if change == KeyChange::default() {
        return Err(Usage("`keys update` requires an option with a change".into()).into());
    }
    Ok(manager.update(id, &change).await?)
}

/// Parses a list, or the word that removes the restriction.
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

pub(crate) fn network(text: &str) -> Result<ipnet::IpNet, Usage> {
    tollgate::key::parse_network(text).map_err(|error| Usage(problem_with("--allow", &error)))
}
