//! What is said of keys and accounts: to people, or as JSON.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate::{
    Account, AccountStatus, IssuedKey, KeyHash, KeyId, KeyPage, KeyRecord, KeyStatus, KeyView, ManageError,
    PathPattern,
};

use crate::Fault;

/// What came of a command.
pub(crate) enum Answer {
    /// A key that was made, or has a new secret.
    Secret(KeyView, IssuedKey),
    /// A key.
    Key(KeyView),
    /// A page of keys.
    Keys(KeyPage),
    /// A key that is gone.
    Erased(KeyId),
    /// An account.
    Account(Arc<Account>),
    /// What an account has to spend.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    Balance(tollgate::AccountId, tollgate::Balance),
    /// A page of entries.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    Entries(tollgate::EntryPage),
    /// The accounts whose balances are not what their entries come to.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    Checked(Vec<tollgate::Disagreement>),
}

impl Answer {
    /// Whether it says that something is wrong with what is kept.
    pub(crate) fn is_alarming(&self) -> bool {
        match self {
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Checked(found) => !found.is_empty(),
            _ => false,
        }
    }

    /// Says it: the secret on standard output alone, and all else, to people, on standard error.
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{:#}", self.document());
            return;
        }
        match self {
            Self::Secret(key, secret) => {
                eprintln!("{}\nthe secret, shown this once:", key_line(key));
                println!("{}", secret.reveal());
            }
            Self::Key(key) => eprintln!("{}", key_line(key)),
            Self::Keys(page) => {
                page.keys.iter().for_each(|key| eprintln!("{}", key_line(key)));
                if let Some(next) = page.next {
                    eprintln!("more: --cursor {next}");
                }
            }
            Self::Erased(id) => eprintln!("{id} is erased"),
            Self::Account(account) => {
                let (id, plan) = (account.id.as_str().escape_debug(), account.plan.as_str().escape_debug());
                eprintln!("{id}  plan {plan}  {}", account_status(account.status));
            }
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Balance(account, balance) => eprintln!("{}  {balance}", account.as_str().escape_debug()),
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Entries(page) => {
                page.entries.iter().for_each(|entry| eprintln!("{}", crate::credits::entry_line(entry)));
                if let Some(next) = page.next {
                    eprintln!("more: --cursor {next}");
                }
            }
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Checked(found) if found.is_empty() => {
                eprintln!("every balance is what its entries come to");
            }
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Checked(found) => {
                for wrong in found {
                    eprintln!("{}", crate::credits::check_line(wrong));
                }
            }
        }
    }

    fn document(&self) -> Value {
        match self {
            Self::Secret(key, secret) => json!({ "key": key_json(key), "apiKey": secret.reveal() }),
            Self::Key(key) => key_json(key),
            Self::Keys(page) => {
                let keys: Vec<Value> = page.keys.iter().map(key_json).collect();
                json!({ "keys": keys, "next": page.next.map(|next| next.to_string()) })
            }
            Self::Erased(id) => json!({ "erased": id.to_string() }),
            Self::Account(account) => json!({
                "id": account.id.as_str(),
                "plan": account.plan.as_str(),
                "status": account_status(account.status),
            }),
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Balance(account, balance) => json!({
                "account": account.as_str(),
                "balance": balance.credits().map(tollgate::Credits::get),
                "unlimited": *balance == tollgate::Balance::Unlimited,
            }),
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Entries(page) => crate::credits::entries_json(page),
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Checked(found) => crate::credits::check_json(found),
        }
    }
}

/// The name of an account's status.
pub(crate) fn account_status(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended => "suspended",
        AccountStatus::Deleted => "deleted",
    }
}

/// The name of a status.
pub(crate) fn status_name(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Paused => "paused",
        KeyStatus::Revoked => "revoked",
    }
}

/// A hash, in hexadecimal digits.
pub(crate) fn hex(hash: &KeyHash) -> String {
    hash.as_bytes().iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

/// The 32 bytes that hexadecimal digits say.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Names, as texts.
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
        "status": status_name(key.status),
        "environment": key.environment.to_string(),
        "createdAt": key.created_at.map(|moment| moment.to_string()),
        "expiresAt": key.expires_at.map(|moment| moment.to_string()),
        "lastUsedAt": key.last_used_at.map(|moment| moment.to_string()),
        "oldSecretUntil": record.retiring.map(|old| old.until.to_string()),
        "scopes": texts(record.scopes.as_ref()),
        "paths": record.paths.as_ref().map(paths),
        "allowlist": texts(record.allowlist.as_ref()),
        "metadata": record.metadata,
    })
}

/// A line for people. What an owner wrote is escaped: it reaches a terminal.
fn key_line(key: &KeyView) -> String {
    let end = key.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string());
    let (status, name) = (status_name(key.status), key.name.escape_debug());
    format!(
        "{}  {}…  {status}  {}  expires {end}  {}  {name}",
        key.id, key.start, key.environment, key.account
    )
}

/// Why nothing was done.
pub(crate) fn refused(fault: &Fault, json: bool) {
    if json {
        let member = match fault.downcast_ref::<ManageError>() {
            Some(ManageError::Invalid { member, .. }) => Some(member.as_str()),
            _ => None,
        };
        println!("{:#}", json!({ "error": fault.to_string(), "member": member }));
    } else {
        eprintln!("error: {fault}");
    }
}
