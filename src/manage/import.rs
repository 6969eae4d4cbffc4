//! Keys that were made elsewhere.

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

/// The most characters that are shown of a key of no format that is known: prefixes of keys are about as long.
const LONGEST_START: usize = 12;

/// A key that was made elsewhere: its hash is known, its secret is not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForeignKey {
    /// Its id; a new one, if nothing is said.
    pub id: Option<KeyId>,
    /// The hash of its secret, under one of the gate's schemes ([`KeyHash::from_bytes`], [`KeyHash::from_sha512`]).
    pub hash: KeyHash,
    /// Who holds it.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// Its first characters, which may be shown: as many as the format shows whose prefix they begin with, at most 12 where no
    /// format has such a prefix.
    pub start: String,
    /// Where it belongs.
    pub environment: Environment,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// From when on it may not be used. It is taken as it is: a plan's lifetimes are not asked, and it may lie in the past,
    /// so that what has expired elsewhere is known here as expired.
    pub expires_at: Option<Timestamp>,
    /// What it may be used for; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths it may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The networks it may be used from; `None` for all.
    pub allowlist: Option<Vec<IpNet>>,
    /// Whatever else the service keeps with it.
    pub metadata: BTreeMap<String, String>,
}

impl ForeignKey {
    /// A key of the environment `live`, without restriction.
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

/// What became of an import.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// The keys that were put in.
    pub imported: Vec<KeyId>,
    /// Those that were not: by their place among what was handed in, counted from 0, and why.
    pub refused: Vec<(usize, ManageError)>,
}

impl KeyManager {
    /// Puts a key in that was made elsewhere. It is the operator's to do: no cap is asked, and an expiry may lie in the past.
    ///
    /// # Errors
    ///
    /// A manager in the name of a key; an unknown or deleted account, a start that shows more of the secret than its format does, another value that will not
    /// do, an environment that the gate does not serve, an id or a hash that is there already (as a secret on its way out,
    /// too), a store that fails.
    pub async fn import(&self, key: ForeignKey) -> Result<KeyId, ManageError> {
        if self.desk.actor.key_id().is_some() {
            return Err(ManageError::Misconfigured("only the operator's manager imports keys".into()));
        }
        limits::name(&key.name)?;
        limits::metadata(&key.metadata)?;
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
            Inserted::Taken => Err(ManageError::invalid("hash", "is there already, or the id is")),
            Inserted::NoAccount | Inserted::Full => Err(ManageError::NotFound("account")),
        }
    }

    fn check_foreign(&self, key: &ForeignKey) -> Result<(), ManageError> {
        if !self.desk.gate.0.serves(&key.environment) {
            let problem = format!("`{}` is none that the gate serves", key.environment);
            return Err(ManageError::invalid("environment", problem));
        }
        self.check_start(key)
    }

    /// Holds what is shown of a key to what is shown of those that are made here: whoever reads a list learns no more of its
    /// secret.
    fn check_start(&self, key: &ForeignKey) -> Result<(), ManageError> {
        let formats = self.desk.gate.formats().iter();
        let fitting = formats.filter(|format| key.start.starts_with(format.prefix()));
        // The longest prefix says most of what the key is; of two formats that have it, the key may be of either.
        let closest = fitting.max_by_key(|format| (format.prefix().len(), Reverse(format.start_length())));
        let most = closest.map_or(LONGEST_START, KeyFormat::start_length);
        let whole =
            self.desk.gate.hashers().iter().any(|hasher| hasher.hash(key.start.as_bytes()) == key.hash);
        if whole || key.start.len() > most || !key.start.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = format!("must be at most {most} visible ASCII characters, and not the secret");
            return Err(ManageError::invalid("start", problem));
        }
        Ok(())
    }

    /// Puts in as many keys as an iterator yields, one by one, and reports which were refused. It ends early where the store
    /// fails: that key and all behind it are not in the report.
    ///
    /// # Errors
    ///
    /// A store that fails, with what was done until then.
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
