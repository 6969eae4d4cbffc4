//! The write side of a key store.

use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord, KeyStatus};
use crate::name::{AccountId, Environment};
use crate::store::KeyStore;

/// A key to be put in, and the room that there is for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InsertKey {
    /// The key. Its account must exist; it is taken as the store has it.
    pub record: KeyRecord,
    /// How many active keys the account may hold with it; `None` for any number.
    pub max_active: Option<u32>,
    /// The time by which expiry is judged.
    pub now: Timestamp,
}

impl InsertKey {
    /// A key to be put in, for which there is room without bound.
    pub fn new(record: KeyRecord, now: Timestamp) -> Self {
        Self { record, max_active: None, now }
    }

    /// Room for so many active keys of the account, this one counted.
    #[must_use]
    pub fn with_max_active(mut self, most: Option<u32>) -> Self {
        self.max_active = most;
        self
    }
}

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a key that was not put in does not work"]
pub enum Inserted {
    /// The key is in.
    Done,
    /// The account holds as many active keys as it may.
    Full,
    /// There is a key of this id or of this hash.
    Taken,
    /// There is no such account.
    NoAccount,
}

/// What became of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a change that was not made has no effect"]
pub enum Replaced {
    /// It was made, and whoever keeps what was read before was told: a cache without a channel to other nodes takes itself to
    /// be alone.
    Done,
    /// It was made, but other nodes could not be told: they see it within the bound on staleness of their caches.
    Unannounced,
    /// Somebody else made a change first: read again, and decide again.
    Stale,
    /// It is not there.
    Gone,
    /// There is another key of this hash.
    Taken,
}

#[cfg(feature = "fleet")]
impl Replaced {
    /// The same, where the other nodes were told of it, or could not be.
    pub(super) fn announced(self, announced: bool) -> Self {
        if self == Self::Done && !announced { Self::Unannounced } else { self }
    }
}

/// Which keys to list. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyQuery {
    /// Keys of this account alone.
    pub account: Option<AccountId>,
    /// Keys of this status alone.
    pub status: Option<KeyStatus>,
    /// Keys of this environment alone.
    pub environment: Option<Environment>,
    /// Keys that the key of this id issued.
    pub issued_by: Option<KeyId>,
    /// Keys whose id is behind this one.
    pub after: Option<KeyId>,
    /// At most so many.
    pub limit: usize,
}

impl KeyQuery {
    /// The first `limit` keys, by id.
    pub fn first(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether a record meets the conditions.
    pub fn admits(&self, record: &KeyRecord) -> bool {
        self.account.as_ref().is_none_or(|account| *account == record.account.id)
            && self.status.is_none_or(|status| status == record.status)
            && self.environment.as_ref().is_none_or(|environment| *environment == record.environment)
            && self.issued_by.is_none_or(|issuer| record.issued_by == Some(issuer))
            && self.after.is_none_or(|after| record.id > after)
    }
}

/// Puts keys in, changes and removes them: the authority, never a cache.
///
/// # Contract
///
/// - **Atomic.** [`insert`](KeyAdmin::insert) counts and inserts in one step: of any number of concurrent calls those
///   succeed that there is room for. [`replace`](KeyAdmin::replace) compares the version and writes in one step, and
///   counts the version up by one.
/// - **Seen at once.** What a call has done is seen by every `find` of the same store that begins after it returned. Other
///   processes may lag behind by what the store documents.
/// - **Both secrets.** [`find`](KeyStore::find) finds a rotated key by its hash and, while there is one, by the hash that is
///   retiring; by an older one no more.
/// - **Of one account.** A key is shown with its account as the store has it: neither [`insert`](KeyAdmin::insert) nor
///   [`replace`](KeyAdmin::replace) changes the account by the copy that its record bears, nor moves a key to another.
/// - **May lag:** [`touch`](KeyAdmin::touch) alone. Uses may be lost in a crash, and never go backwards, not even by a
///   `replace` with a record that was read before them. A use is no change: the version stays.
/// - **Secret:** hashes are listed to nobody but the caller of these methods.
pub trait KeyAdmin: KeyStore {
    /// Puts a key in.
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted>;

    /// Finds the key with this hash, as [`find`](KeyStore::find) does, and never from a cache: what the authority has now, also
    /// where a cache stands before it.
    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>>;

    /// The key of this id.
    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>>;

    /// The account of this id.
    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>>;

    /// Puts a changed record in place of the one whose version it bears.
    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced>;

    /// The keys that a query asks for, by id.
    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>>;

    /// Notes when keys were used: the later time stays.
    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()>;

    /// Removes a key for good; says whether it was there.
    fn erase(&self, id: KeyId) -> StoreFuture<bool>;

    /// Removes for good the keys that have been dead since before a moment; says how many.
    fn sweep(&self, before: Timestamp) -> StoreFuture<u64>;
}

/// Creates, changes and removes accounts. What is said of [`KeyAdmin`] holds here too: a changed account shows on all its
/// keys at once.
pub trait AccountAdmin: KeyAdmin {
    /// Puts a new account in; says whether its id was free.
    fn create_account(&self, account: &Account) -> StoreFuture<bool>;

    /// Puts a changed account in place of the one whose version it bears.
    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced>;

    /// Removes an account with all its keys for good; says whether it was there.
    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool>;
}
