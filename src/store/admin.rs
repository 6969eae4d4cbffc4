//! The write side of a key store.

use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord, KeyStatus};
use crate::name::{AccountId, Environment};
use crate::store::KeyStore;

/// A request to insert a key, with the account's limit on active keys.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InsertKey {
    /// The record to insert. Its account must exist; the store uses its own version of the account.
    pub record: KeyRecord,
    /// The maximum number of active keys of the account, including this one; `None` for no maximum.
    pub max_active: Option<u32>,
    /// The time at which expiry is checked.
    pub now: Timestamp,
}

impl InsertKey {
    /// Creates a request without a maximum of active keys.
    pub fn new(record: KeyRecord, now: Timestamp) -> Self {
        Self { record, max_active: None, now }
    }

    /// Sets the maximum number of active keys of the account, including this one.
    #[must_use]
    pub fn with_max_active(mut self, most: Option<u32>) -> Self {
        self.max_active = most;
        self
    }
}

/// The outcome of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a key that was not put in does not work"]
pub enum Inserted {
    /// The key was inserted.
    Done,
    /// The account already has the maximum number of active keys.
    Full,
    /// Another key has this id or one of the hashes.
    Taken,
    /// There is no such account.
    NoAccount,
}

/// The outcome of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a change that was not made has no effect"]
pub enum Replaced {
    /// The change was made, and every cache that may have an older record was informed. A cache without announcements
    /// assumes that it is the only node.
    Done,
    /// The change was made, but the other nodes could not be informed. They see it within the bound on staleness of
    /// their caches.
    Unannounced,
    /// Another change was made first. Read the record again, and decide again.
    Stale,
    /// There is no such key or account.
    Gone,
    /// Another key has one of the hashes.
    Taken,
}

impl Replaced {
    /// Returns the outcome with `Unannounced` in place of `Done` if the other nodes could not be informed.
    pub(super) fn announced(self, announced: bool) -> Self {
        if self == Self::Done && !announced { Self::Unannounced } else { self }
    }
}

/// A filter for listing keys. A key must meet all conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyQuery {
    /// Selects only keys of this account.
    pub account: Option<AccountId>,
    /// Selects only keys with this status.
    pub status: Option<KeyStatus>,
    /// Selects only keys of this environment.
    pub environment: Option<Environment>,
    /// Selects only keys that the key with this id issued.
    pub issued_by: Option<KeyId>,
    /// Selects only keys whose id is greater than this one.
    pub after: Option<KeyId>,
    /// The maximum number of keys to return.
    pub limit: usize,
}

impl KeyQuery {
    /// Creates a query for the first `limit` keys, in order of id.
    pub fn first(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Returns true if a record meets the conditions.
    pub fn admits(&self, record: &KeyRecord) -> bool {
        self.account.as_ref().is_none_or(|account| *account == record.account.id)
            && self.status.is_none_or(|status| status == record.status)
            && self.environment.as_ref().is_none_or(|environment| *environment == record.environment)
            && self.issued_by.is_none_or(|issuer| record.issued_by == Some(issuer))
            && self.after.is_none_or(|after| record.id > after)
    }
}

/// Inserts, changes and removes keys. The implementation is the authority, or passes every call to it; a cache never
/// answers.
///
/// # Contract
///
/// - **Atomic.** [`insert`](KeyAdmin::insert) counts and inserts in one step: concurrent calls never exceed the
///   maximum. [`replace`](KeyAdmin::replace) compares the version and writes in one step, and increments the version by
///   one.
/// - **Visible at once.** Every `find` of the same store that begins after a call returned sees its change. Other
///   processes may see it later, within a bound that the store documents.
/// - **Both secrets.** [`find`](KeyStore::find) finds a rotated key by its hash and, while there is one, by the
///   retiring hash. It does not find the key by an older hash.
/// - **One account.** A record is returned with its account as the store has it. [`insert`](KeyAdmin::insert) and
///   [`replace`](KeyAdmin::replace) do not write the account that is attached to the record, and do not move a key to
///   another account.
/// - **May lag:** only [`touch`](KeyAdmin::touch). Times of use may be lost in a crash. They never go backwards, not
///   even by a `replace` with a record that was read before them. A use does not change the version.
/// - **Secret:** hashes are returned only to the caller of these methods.
pub trait KeyAdmin: KeyStore {
    /// Inserts a key.
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted>;

    /// Returns the key with this hash, as [`find`](KeyStore::find) does, but always from the authority. A cache in
    /// front of the authority does not answer.
    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>>;

    /// Returns the key with this id.
    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>>;

    /// Returns the account with this id.
    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>>;

    /// Replaces the record that has the same id and version.
    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced>;

    /// Returns the keys that a query selects, in order of id.
    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>>;

    /// Records when keys were last used. The latest time is kept.
    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()>;

    /// Deletes a key permanently. Returns true if it existed.
    fn erase(&self, id: KeyId) -> StoreFuture<bool>;

    /// Deletes the keys that were revoked or had expired before a time, permanently. Returns their number.
    fn sweep(&self, before: Timestamp) -> StoreFuture<u64>;
}

/// Creates, changes and removes accounts. The contract of [`KeyAdmin`] applies here too. A changed account appears on
/// all its keys at once.
pub trait AccountAdmin: KeyAdmin {
    /// Creates an account. Returns true if its id was free.
    fn create_account(&self, account: &Account) -> StoreFuture<bool>;

    /// Replaces the account that has the same id and version.
    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced>;

    /// Deletes an account with all its keys permanently. Returns true if it existed.
    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool>;
}
