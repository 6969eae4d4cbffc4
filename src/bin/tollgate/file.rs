//! A store in memory that is saved to a JSON file between two commands. The file has hashes, never secrets.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate::account::QuotaRef;
use tollgate::clock::Timestamp;
use tollgate::key::{KeyHash, PreviousSecret};
use tollgate::store::{KeyAdmin, KeyQuery};
use tollgate::{Account, KeyRecord, MemoryStore};

use crate::Fault;
use crate::limits::{self, ParamLimitLines, QuotaLine};
use crate::print::{hex, texts, unhex};

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    accounts: Vec<AccountLine>,
    keys: Vec<KeyLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountLine {
    id: String,
    plan: String,
    status: String,
    subscription: Option<String>,
    agreements: Vec<String>,
    version: u64,
    quotas: Option<Vec<QuotaLine>>,
    caps: Option<ParamLimitLines>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    id: String,
    account: String,
    hash: String,
    retiring: Option<(String, i64)>,
    version: u64,
    start: String,
    name: String,
    status: String,
    environment: String,
    created_at: Option<i64>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
    scopes: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    allowlist: Option<Vec<String>>,
    issued_by: Option<String>,
    quotas: Option<Vec<QuotaLine>>,
    caps: Option<ParamLimitLines>,
    metadata: BTreeMap<String, String>,
}

/// Loads a store from a file. Returns an empty store if the file does not exist.
pub(crate) fn load(path: &Path) -> Result<MemoryStore, Fault> {
    let store = MemoryStore::new();
    let contents: Contents = match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| format!("{}: this is no store of keys: {error}", path.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Contents::default(),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    for line in &contents.accounts {
        store.put_account(line.account()?);
    }
    for line in &contents.keys {
        let account =
            store.account(&line.account).ok_or_else(|| format!("key {} has no account", line.id))?;
        store.put_key(line.record(account)?);
    }
    Ok(store)
}

/// Writes a store to its file. It writes a new file beside it, which only its owner can read, and then renames that.
pub(crate) async fn save(path: &Path, store: &MemoryStore) -> Result<(), Fault> {
    let records = store.list(&KeyQuery::first(usize::MAX)).await?;
    let contents = Contents {
        accounts: store.accounts().iter().map(|account| AccountLine::of(account)).collect(),
        keys: records.iter().map(|record| KeyLine::of(record)).collect(),
    };
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = create(&beside)?;
    let written = serde_json::to_vec_pretty(&contents).map_err(Fault::from).and_then(|text| {
        file.write_all(&text)?;
        file.sync_all()?;
        Ok(fs::rename(&beside, path)?)
    });
    written.inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// Locks the file. Waits until no other command uses it.
pub(crate) fn lock(path: &Path) -> Result<File, Fault> {
    let beside = path.with_extension("lock");
    let refuse = |error: std::io::Error| -> Fault { format!("{}: {error}", beside.display()).into() };
    let file = OpenOptions::new().create(true).append(true).open(&beside).map_err(refuse)?;
    file.lock().map_err(refuse)?;
    Ok(file)
}

fn create(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

impl AccountLine {
    fn of(account: &Account) -> Self {
        let subscription = account.subscription.map(|subscription| subscription.name().to_owned());
        Self {
            id: account.id.to_string(),
            plan: account.plan.to_string(),
            status: account.status.name().into(),
            subscription,
            agreements: account.agreements.iter().map(ToString::to_string).collect(),
            version: account.version,
            quotas: account.quotas.as_ref().map(|own| own.iter().map(QuotaLine::of).collect()),
            caps: account.caps.as_ref().map(limits::cap_lines),
        }
    }

    fn account(&self) -> Result<Account, Fault> {
        let mut account = Account::new(self.id.as_str(), self.plan.as_str());
        account.status = self.status.parse().map_err(|error| format!("account {}: {error}", self.id))?;
        let subscription = self.subscription.as_deref().map(str::parse).transpose();
        account.subscription = subscription.map_err(|error| format!("account {}: {error}", self.id))?;
        account.agreements = self.agreements.iter().map(|name| name.as_str().into()).collect();
        account.version = self.version;
        account.quotas = quotas(self.quotas.as_ref())?;
        account.caps = self.caps.as_ref().map(limits::caps_of);
        Ok(account)
    }
}

fn each<T, E: Into<Fault>>(
    list: Option<&Vec<String>>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<Vec<T>>, Fault> {
    list.map(|list| list.iter().map(|text| read(text).map_err(Into::into)).collect()).transpose()
}

fn quotas(lines: Option<&Vec<QuotaLine>>) -> Result<Option<Vec<QuotaRef>>, Fault> {
    lines.map(|lines| lines.iter().map(QuotaLine::quota).collect()).transpose()
}

impl KeyLine {
    fn of(record: &KeyRecord) -> Self {
        let millis = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
        Self {
            id: record.id.to_string(),
            account: record.account.id.to_string(),
            hash: hex(&record.hash),
            retiring: record.retiring.map(|old| (hex(&old.hash), old.until.as_millis())),
            version: record.version,
            start: record.start.clone(),
            name: record.name.clone(),
            status: record.status.name().into(),
            environment: record.environment.to_string(),
            created_at: millis(record.created_at),
            expires_at: millis(record.expires_at),
            revoked_at: millis(record.revoked_at),
            last_used_at: millis(record.last_used_at),
            scopes: texts(record.scopes.as_ref()),
            paths: record.paths.as_ref().map(|paths| paths.iter().map(|path| path.as_str().into()).collect()),
            allowlist: texts(record.allowlist.as_ref()),
            issued_by: record.issued_by.map(|issuer| issuer.to_string()),
            quotas: record.quotas.as_ref().map(|own| own.iter().map(QuotaLine::of).collect()),
            caps: record.caps.as_ref().map(limits::cap_lines),
            metadata: record.metadata.clone(),
        }
    }

    fn record(&self, account: Arc<Account>) -> Result<KeyRecord, Fault> {
        let hash = |text: &str| unhex(text).map(KeyHash::from_bytes).ok_or("a hash cannot be read");
        let moment = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let mut record = KeyRecord::new(self.id.parse()?, hash(&self.hash)?, account);
        if let Some((old, until)) = &self.retiring {
            record.retiring =
                Some(PreviousSecret { hash: hash(old)?, until: Timestamp::from_millis(*until) });
        }
        record.version = self.version;
        record.start.clone_from(&self.start);
        record.name.clone_from(&self.name);
        record.status = self.status.parse().map_err(|error| format!("key {}: {error}", self.id))?;
        record.environment = self.environment.as_str().into();
        record.created_at = moment(self.created_at);
        record.expires_at = moment(self.expires_at);
        record.revoked_at = moment(self.revoked_at);
        record.last_used_at = moment(self.last_used_at);
        record.scopes = each(self.scopes.as_ref(), |text| Ok::<_, Fault>(text.into()))?;
        record.paths = each(self.paths.as_ref(), str::parse)?;
        record.allowlist = each(self.allowlist.as_ref(), tollgate::key::parse_network)?;
        record.issued_by = self.issued_by.as_deref().map(str::parse).transpose()?;
        record.quotas = quotas(self.quotas.as_ref())?;
        record.caps = self.caps.as_ref().map(limits::caps_of);
        record.metadata.clone_from(&self.metadata);
        Ok(record)
    }
}
