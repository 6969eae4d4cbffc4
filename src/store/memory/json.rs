//! The text of a whole store, for a command that keeps it in a file.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::MemoryStore;
use crate::error::StoreError;
use crate::store::encoding;

/// The accounts and keys, each in the text format of the SQL stores.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    accounts: Vec<Box<RawValue>>,
    keys: Vec<Box<RawValue>>,
}

/// The member of a key's text that names its account.
#[derive(Deserialize)]
struct Owned {
    account: String,
}

impl MemoryStore {
    /// Returns all accounts and keys as JSON, with the hashes of the secrets. [`from_json`](Self::from_json) reads it.
    ///
    /// The format is private to this crate.
    ///
    /// # Errors
    ///
    /// Returns an error if a record cannot be written as JSON.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::{Account, MemoryStore};
    ///
    /// let store = MemoryStore::new();
    /// store.put_account(Account::new("acme", "pro"));
    /// let copy = MemoryStore::from_json(&store.to_json()?)?;
    /// assert_eq!(copy.account("acme").unwrap().plan.as_str(), "pro");
    /// # Ok::<(), tollgate::StoreError>(())
    /// ```
    pub fn to_json(&self) -> Result<String, StoreError> {
        let index = self.index();
        let mut accounts: Vec<_> = index.accounts.values().map(|(account, _)| account).collect();
        accounts.sort_by(|one, other| one.id.cmp(&other.id));
        let raw = |text: String| RawValue::from_string(text).map_err(StoreError::corrupt);
        let contents = Contents {
            accounts: accounts
                .into_iter()
                .map(|account| raw(encoding::encode_account(account)))
                .collect::<Result<_, _>>()?,
            keys: index.keys.values().map(|key| raw(encoding::encode_key(key))).collect::<Result<_, _>>()?,
        };
        serde_json::to_string_pretty(&contents).map_err(StoreError::corrupt)
    }

    /// Reads a store from the text that [`to_json`](Self::to_json) returned.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is of another format or version, or if a key has no account.
    pub fn from_json(text: &str) -> Result<Self, StoreError> {
        let contents: Contents = serde_json::from_str(text).map_err(StoreError::corrupt)?;
        let store = Self::new();
        for account in &contents.accounts {
            store.put_account(encoding::decode_account(account.get())?);
        }
        for key in &contents.keys {
            let owned: Owned = serde_json::from_str(key.get()).map_err(StoreError::corrupt)?;
            let account = store.account(&owned.account);
            let account = account.ok_or_else(|| StoreError::corrupt("a key has no account"))?;
            store.put_key(encoding::decode_key(key.get(), account)?);
        }
        Ok(store)
    }
}
