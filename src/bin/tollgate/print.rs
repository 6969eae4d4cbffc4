//! The output for keys and accounts: as text or as JSON.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate::key::{IssuedKey, PathPattern};
use tollgate::manage::{KeyPage, KeyView};
use tollgate::{Account, KeyId, KeyRecord};

use crate::import::Report;
use crate::{accounts, limits, say};

/// The output of a command.
pub(crate) enum Answer {
    /// A new or rotated key, with its secret.
    Secret(KeyView, IssuedKey),
    /// A key.
    Key(KeyView),
    /// Keys that one command revoked.
    Revoked(Vec<KeyView>),
    /// A page of keys.
    Keys(KeyPage),
    /// A key or an account that was erased.
    Erased(String),
    /// An account.
    Account(Arc<Account>),
    /// The result of an import from a file.
    Imported(Report),
    /// The balance of an account.
    Balance(tollgate::name::AccountId, tollgate::credit::Balance),
    /// The buckets of an account.
    Buckets(Vec<tollgate::credit::Bucket>),
    /// A page of balance entries.
    Entries(tollgate::manage::EntryPage),
    /// The accounts whose balances differ from the sums of their entries.
    Checked(Vec<tollgate::credit::Disagreement>),
    /// A page of audit entries.
    Audit(tollgate::audit::AuditPage),
    /// The number of audit entries that were removed.
    Forgotten(u64),
    /// Usage over time, and true if it is printed as CSV.
    Usage(tollgate::usage::UsageReport, bool),
    /// The keys with the most usage, and true if they are printed as CSV.
    Top(tollgate::usage::TopReport, bool),
}

impl Answer {
    /// Returns true if the output reports a problem with stored data, or something that was not done.
    pub(crate) fn is_alarming(&self) -> bool {
        match self {
            Self::Imported(report) => !report.is_whole(),
            Self::Checked(found) => !found.is_empty(),
            _ => false,
        }
    }

    /// Returns the id of the key whose secret the output contains. The secret is shown only this once.
    pub(crate) fn secret_of(&self) -> Option<KeyId> {
        match self {
            Self::Secret(key, _) => Some(key.id),
            _ => None,
        }
    }

    /// Prints the output. As text, a secret goes to standard output and everything else to standard error. Returns an
    /// error if standard output cannot be written.
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        if json {
            return say::out(format_args!("{:#}", self.document()));
        }
        match self {
            Self::Usage(report, true) => return say::out(report.to_csv().trim_end()),
            Self::Top(report, true) => return say::out(report.to_csv().trim_end()),
            _ => self.lines().iter().for_each(say::err),
        }
        match self {
            Self::Secret(_, secret) => say::out(secret.expose_secret()),
            _ => Ok(()),
        }
    }

    /// Returns the output as lines of text.
    fn lines(&self) -> Vec<String> {
        let page = |mut lines: Vec<String>, next: Option<String>| {
            lines.extend(next.map(|next| format!("more: --cursor {next}")));
            lines
        };
        match self {
            Self::Secret(key, _) => vec![key_line(key), "the secret (it is not shown again):".to_owned()],
            Self::Key(key) => vec![key_line(key)],
            Self::Revoked(keys) => keys.iter().map(key_line).collect(),
            Self::Keys(keys) => {
                page(keys.keys.iter().map(key_line).collect(), keys.next.map(|next| next.to_string()))
            }
            Self::Erased(id) => vec![format!("{} is erased", id.escape_debug())],
            Self::Account(account) => vec![accounts::line(account)],
            Self::Imported(report) => report.lines(),
            Self::Balance(account, balance) => {
                vec![format!("{}  {balance}", account.as_str().escape_debug())]
            }
            Self::Buckets(buckets) => buckets.iter().map(crate::credits::bucket_line).collect(),
            Self::Entries(entries) => {
                let lines = entries.entries.iter().map(crate::credits::entry_line).collect();
                page(lines, entries.next.map(|next| next.to_string()))
            }
            Self::Checked(found) if found.is_empty() => {
                vec!["every balance equals the sum of its entries".to_owned()]
            }
            Self::Checked(found) => found.iter().map(crate::credits::check_line).collect(),
            Self::Forgotten(1) => vec!["1 entry is removed".to_owned()],
            Self::Forgotten(number) => vec![format!("{number} entries are removed")],
            Self::Usage(report, _) => crate::usage::chart(report),
            Self::Top(report, _) => crate::usage::top_lines(report),
            Self::Audit(audit) => {
                let lines = audit.entries.iter().map(crate::audit::entry_line).collect();
                page(lines, audit.next.map(|next| next.to_string()))
            }
        }
    }

    fn document(&self) -> Value {
        match self {
            Self::Secret(key, secret) => json!({ "key": key_json(key), "apiKey": secret.expose_secret() }),
            Self::Key(key) => key_json(key),
            Self::Revoked(keys) => json!({ "revoked": keys.iter().map(key_json).collect::<Vec<_>>() }),
            Self::Keys(page) => {
                let keys: Vec<Value> = page.keys.iter().map(key_json).collect();
                json!({ "keys": keys, "next": page.next.map(|next| next.to_string()) })
            }
            Self::Erased(id) => json!({ "erased": id }),
            Self::Account(account) => accounts::json(account),
            Self::Imported(report) => report.json(),
            Self::Balance(account, balance) => json!({
                "account": account.as_str(),
                "balance": balance_json(*balance),
                "unlimited": *balance == tollgate::credit::Balance::Unlimited,
            }),
            Self::Buckets(buckets) => crate::credits::buckets_json(buckets),
            Self::Entries(page) => crate::credits::entries_json(page),
            Self::Checked(found) => crate::credits::check_json(found),
            Self::Usage(report, _) => report.to_json(),
            Self::Top(report, _) => report.to_json(),
            Self::Audit(page) => crate::audit::page_json(page),
            Self::Forgotten(number) => json!({ "removed": number }),
        }
    }
}

/// Parses hexadecimal digits. Returns `None` if the text does not have exactly `2 * LENGTH` of them.
pub(crate) fn unhex<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    if text.len() != 2 * LENGTH || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Returns names as strings.
pub(crate) fn texts<T: ToString>(list: Option<&Vec<T>>) -> Option<Vec<String>> {
    list.map(|list| list.iter().map(ToString::to_string).collect())
}

fn key_json(key: &KeyView) -> Value {
    let record: &KeyRecord = &key.record;
    let paths = |paths: &Vec<PathPattern>| -> Vec<String> {
        paths.iter().map(|path| path.as_str().to_owned()).collect()
    };
    json!({
        "id": key.id.to_string(),
        "name": key.name,
        "keyPrefix": key.start,
        "account": key.account.to_string(),
        "isActive": key.is_active,
        "status": key.status.name(),
        "environment": key.environment.to_string(),
        "createdAt": key.created_at.map(|moment| moment.to_string()),
        "expiresAt": key.expires_at.map(|moment| moment.to_string()),
        "lastUsedAt": key.last_used_at.map(|moment| moment.to_string()),
        "oldSecretUntil": record.retiring.map(|old| old.until.to_string()),
        "scopes": texts(record.scopes.as_ref()),
        "paths": record.paths.as_ref().map(paths),
        "allowIps": texts(record.allowlist.as_ref()),
        "issuedBy": key.issued_by.map(|issuer| issuer.to_string()),
        "quotas": limits::quotas_json(record.quotas.as_ref()),
        "inFlight": record.in_flight,
        "budgets": texts(record.budgets.as_ref()),
        "caps": limits::caps_json(record.caps.as_ref()),
        "metadata": record.metadata,
    })
}

/// Returns a line of text for a key. Text from an owner is escaped, because the line is printed to a terminal.
fn key_line(key: &KeyView) -> String {
    let end = key.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string());
    let (status, name) = (key.status.name(), key.name.escape_debug());
    let issuer = key.issued_by.map(|issuer| format!("  issued by {issuer}")).unwrap_or_default();
    let own = limits::words(key.record.quotas.as_ref(), key.record.caps.as_ref());
    let in_flight = key.record.in_flight.map(|most| format!("  in flight {most}")).unwrap_or_default();
    let budgets = texts(key.record.budgets.as_ref()).map(|all| match all.as_slice() {
        [] => "  budgets none".to_owned(),
        all => format!("  budgets {}", all.join(", ")),
    });
    let budgets = budgets.unwrap_or_default();
    format!(
        "{}  {}…  {status}  {}  expires {end}  {}{issuer}{own}{in_flight}{budgets}  {name}",
        key.id, key.start, key.environment, key.account
    )
}

/// Returns a balance as a number, which is negative for a debt. Null if there is no limit.
pub(crate) fn balance_json(balance: tollgate::credit::Balance) -> Value {
    match balance {
        tollgate::credit::Balance::Owed(debt) => json!(-debt.get().cast_signed()),
        balance => json!(balance.credits().map(tollgate::Credits::get)),
    }
}
