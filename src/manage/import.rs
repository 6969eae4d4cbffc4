//! Import of keys that another system created.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::account::AccountStatus;
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::key::{KeyFormat, KeyHash, KeyId, KeyRecord, PathPattern};
use crate::manage::{KeyManager, ManageError, limits};
use crate::name::{AccountId, Environment, Scope};
use crate::store::{InsertKey, Inserted};

/// The maximum length of the start of a key that has no known format. Prefixes of keys have about this length.
const LONGEST_START: usize = 12;

/// A key that another system created: its hash is known, but its secret is not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForeignKey {
    /// The id of the key. Defaults to a new id.
    pub id: Option<KeyId>,
    /// The hash of its secret, under one of the gate's schemes ([`KeyHash::from_bytes`], [`KeyHash::from_sha512`]).
    pub hash: KeyHash,
    /// The account that is to own the key.
    pub account: AccountId,
    /// The name of the key.
    pub name: String,
    /// The first characters of the key, which may be shown. The maximum length is that of the format whose prefix they
    /// begin with. It is 12 if no format has such a prefix.
    pub start: String,
    /// The environment that the key belongs to.
    pub environment: Environment,
    /// The time at which the key was created. Defaults to the time of the import.
    pub created_at: Option<Timestamp>,
    /// The time from which the key may not be used. It is not checked against the plan's lifetimes. It may be in the
    /// past, so that a key that expired elsewhere is imported as expired.
    pub expires_at: Option<Timestamp>,
    /// The scopes that the key grants; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths that the key may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The networks from which the key may be used; `None` for all.
    pub allowlist: Option<Vec<IpNet>>,
    /// Additional data that the service stores with the key.
    pub metadata: BTreeMap<String, String>,
}

impl ForeignKey {
    /// Creates a key of the environment `live`, without restrictions.
    pub fn new(account: impl Into<AccountId>, name: impl Into<String>, hash: KeyHash) -> Self {
        Self {
            id: None,
            hash,
            account: account.into(),
            name: name.into(),
            start: String::new(),
            environment: Environment::live(),
            created_at: None,
            expires_at: None,
            scopes: None,
            paths: None,
            allowlist: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// The result of an import.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// The ids of the imported keys.
    pub imported: Vec<KeyId>,
    /// The rejected keys: the position in the input, counted from 0, and the reason.
    pub refused: Vec<(usize, ManageError)>,
}

impl KeyManager {
    /// Imports a key that another system created. Only the operator may do this: no limit on active keys is checked,
    /// and an expiry may be in the past.
    ///
    /// # Errors
    ///
    /// Returns an error if the manager acts in the name of a key, if the account is unknown or deleted, if the start
    /// shows more of the secret than its format does, if another value is invalid, if the gate does not serve the
    /// environment, if the id or the hash exists already (a retiring secret counts too), or if the store fails.
    pub async fn import(&self, key: ForeignKey) -> Result<KeyId, ManageError> {
        if self.context.actor.key_id().is_some() {
            return Err(ManageError::Misconfigured("importing keys requires the operator's manager".into()));
        }
        self.check_texts(Some(&key.name), Some(&key.metadata))?;
        limits::list("paths", key.paths.as_deref())?;
        limits::allowlist(key.allowlist.as_deref())?;
        self.check_scopes(key.scopes.as_deref())?;
        self.check_foreign(&key)?;
        if self.scope.as_ref().is_some_and(|scope| *scope != key.account) {
            return Err(ManageError::NotFound("account"));
        }
        let account = self.store.account_of(&key.account).await?.ok_or(ManageError::NotFound("account"))?;
        if account.status == AccountStatus::Deleted {
            return Err(ManageError::AccountDeleted);
        }
        let id = key.id.unwrap_or_else(KeyId::generate);
        let mut record = KeyRecord::new(id, key.hash, account);
        record.name = key.name;
        record.start = key.start;
        record.environment = key.environment;
        record.created_at = key.created_at.or(Some(self.now()));
        record.expires_at = key.expires_at;
        record.scopes = key.scopes;
        record.paths = key.paths;
        record.allowlist = key.allowlist;
        record.metadata = key.metadata;
        match self.insert(&InsertKey::new(record, self.now()), Action::Imported).await? {
            Inserted::Done => Ok(id),
            Inserted::Taken => Err(ManageError::invalid("hash", "already exists, or the id does")),
            Inserted::NoAccount | Inserted::Full => Err(ManageError::NotFound("account")),
        }
    }

    fn check_foreign(&self, key: &ForeignKey) -> Result<(), ManageError> {
        if !self.context.gate.core().serves(&key.environment) {
            let problem = format!("is `{}`, which is not configured", key.environment);
            return Err(ManageError::invalid("environment", problem));
        }
        self.check_start(key)
    }

    /// Applies the limit on the shown start of issued keys to imported keys, so that a list reveals no more of their
    /// secrets.
    fn check_start(&self, key: &ForeignKey) -> Result<(), ManageError> {
        let core = self.context.gate.core();
        let fitting = core.formats().iter().filter(|format| key.start.starts_with(format.prefix()));
        // The longest prefix identifies the key best. If two formats share it, the key may be of either, so the shorter
        // start applies.
        let closest = fitting.max_by_key(|format| (format.prefix().len(), Reverse(format.start_length())));
        let most = closest.map_or(LONGEST_START, KeyFormat::start_length);
        let whole = core.hashers().iter().any(|hasher| hasher.hash(key.start.as_bytes()) == key.hash);
        if whole || key.start.len() > most || !key.start.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = format!("must be at most {most} visible ASCII characters, and not the secret");
            return Err(ManageError::invalid("start", problem));
        }
        Ok(())
    }

    /// Imports the keys of an iterator one by one and reports the rejected ones. It stops early if the store fails: the
    /// key that failed and all that follow are not in the report.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails, together with the report up to then.
    pub async fn import_all(
        &self,
        keys: impl IntoIterator<Item = ForeignKey>,
    ) -> Result<ImportReport, (ImportReport, ManageError)> {
        let mut report = ImportReport::default();
        for (place, key) in keys.into_iter().enumerate() {
            match self.import(key).await {
                Ok(id) => report.imported.push(id),
                Err(error @ ManageError::Store(_)) => return Err((report, error)),
                Err(error) => report.refused.push((place, error)),
            }
        }
        Ok(report)
    }
}
