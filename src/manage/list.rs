//! Reading and listing of keys.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, KeyStatus};
use crate::manage::{KeyManager, ManageError};
use crate::name::{AccountId, Environment};
use crate::store::KeyQuery;

/// A query for a page of keys. A listed key fulfils all the conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListKeys {
    /// Lists only the keys of this account.
    pub account: Option<AccountId>,
    /// Lists only the keys with this status.
    pub status: Option<KeyStatus>,
    /// Lists only the keys of this environment.
    pub environment: Option<Environment>,
    /// Lists only the keys that the key with this id issued.
    pub issued_by: Option<KeyId>,
    /// The end of the previous page: its [`KeyPage::next`].
    pub cursor: Option<KeyId>,
    /// The maximum number of keys on a page: 1 to 1,000.
    pub limit: usize,
}

impl Default for ListKeys {
    fn default() -> Self {
        Self { account: None, status: None, environment: None, issued_by: None, cursor: None, limit: 100 }
    }
}

/// A page of keys.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// The keys, ordered by id.
    pub keys: Vec<KeyView>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<KeyId>,
}

/// The members of a key that may be shown, without its secret and its hash. The serialised form omits `record`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyView {
    /// The key's id.
    pub id: KeyId,
    /// The name that the owner gave to the key.
    pub name: String,
    /// The first characters of the key.
    pub start: String,
    /// The account that owns the key.
    pub account: AccountId,
    /// True if the key may be used now: it is active and has not expired.
    pub is_active: bool,
    /// The lifecycle status of the key.
    pub status: KeyStatus,
    /// The environment that the key belongs to.
    pub environment: Environment,
    /// The id of the key that issued it; `None` for a key that no key issued.
    pub issued_by: Option<KeyId>,
    /// The time at which the key was created.
    pub created_at: Option<Timestamp>,
    /// The time from which the key may not be used.
    pub expires_at: Option<Timestamp>,
    /// The time at which the key was last used, including recorded uses that are not yet written back.
    pub last_used_at: Option<Timestamp>,
    /// The record that this view was made from, for members that the view omits.
    pub record: Arc<KeyRecord>,
}

/// Serialises the members that the key management endpoints show, and `account`, `status` and `environment`. Times are
/// text, as in `2026-04-30T12:00:00.000Z`. `issuedBy` is `null` for a key that no key issued.
impl Serialize for KeyView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let moment = |moment: Option<Timestamp>| moment.map(Timestamp::to_millis_text);
        let mut members = serializer.serialize_struct("KeyView", 11)?;
        members.serialize_field("id", &self.id.to_string())?;
        members.serialize_field("name", &self.name)?;
        members.serialize_field("keyPrefix", &self.start)?;
        members.serialize_field("account", self.account.as_str())?;
        members.serialize_field("isActive", &self.is_active)?;
        members.serialize_field("status", self.status.name())?;
        members.serialize_field("environment", self.environment.as_str())?;
        members.serialize_field("issuedBy", &self.issued_by.map(|issuer| issuer.to_string()))?;
        members.serialize_field("createdAt", &moment(self.created_at))?;
        members.serialize_field("expiresAt", &moment(self.expires_at))?;
        members.serialize_field("lastUsedAt", &moment(self.last_used_at))?;
        members.end()
    }
}

/// Serialises the page in the format of the key management endpoints: `data`, and `nextCursor` if there is a next page.
impl Serialize for KeyPage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("KeyPage", 2)?;
        members.serialize_field("data", &self.keys)?;
        match self.next {
            Some(next) => members.serialize_field("nextCursor", &next.to_string())?,
            None => members.skip_field("nextCursor")?,
        }
        members.end()
    }
}

impl KeyManager {
    /// Returns a key as the authority stores it.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is unknown or belongs to another account, or if the store fails.
    pub async fn get(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        let bounds = self.bounds().await?;
        let record = self.managed(id).await?;
        bounds.must_own(&record)?;
        Ok(record)
    }

    /// Returns a key that this manager may manage, as the authority stores it.
    pub(super) async fn managed(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        let record = self.store.get(id).await?.ok_or(ManageError::NotFound("key"))?;
        self.must_manage(&record)?;
        Ok(record)
    }

    /// Rejects a key of another account as not found, if this manager is for one account.
    pub(super) fn must_manage(&self, record: &KeyRecord) -> Result<(), ManageError> {
        let another = self.scope.as_ref().is_some_and(|scope| *scope != record.account.id);
        if another { Err(ManageError::NotFound("key")) } else { Ok(()) }
    }

    /// Lists keys, page by page.
    ///
    /// # Errors
    ///
    /// Returns an error if the limit is not 1 to 1,000, if the cursor is not the id of a key, or if the store fails.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn all(manager: &tollgate::KeyManager) -> Result<(), tollgate::manage::ManageError> {
    /// use tollgate::manage::ListKeys;
    ///
    /// let mut asked = ListKeys::default();
    /// loop {
    ///     let page = manager.list(&asked).await?;
    ///     page.keys.iter().for_each(|key| println!("{} {}", key.start, key.name));
    ///     asked.cursor = page.next;
    ///     if asked.cursor.is_none() {
    ///         return Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn list(&self, asked: &ListKeys) -> Result<KeyPage, ManageError> {
        if !(1..=1_000).contains(&asked.limit) {
            return Err(ManageError::invalid("limit", "must be from 1 to 1000"));
        }
        let bounds = self.bounds().await?;
        let own = bounds.issuer().map(|issuer| &issuer.account.id);
        let scope = self.scope.as_ref().or(own);
        if let Some(cursor) = asked.cursor {
            let place = self.managed(cursor).await.and_then(|record| bounds.must_own(&record));
            place.map_err(|error| match error {
                ManageError::NotFound(_) => ManageError::invalid("cursor", "is not the cursor of a page"),
                error => error,
            })?;
        }
        if let (Some(scope), Some(account)) = (scope, &asked.account)
            && scope != account
        {
            return Ok(KeyPage { keys: Vec::new(), next: None });
        }
        let mut query = KeyQuery::first(asked.limit + 1);
        query.account = scope.or(asked.account.as_ref()).cloned();
        query.status = asked.status;
        query.environment.clone_from(&asked.environment);
        query.issued_by = asked.issued_by;
        query.after = asked.cursor;
        let mut records = self.store.list(&query).await?;
        let more = records.len() > asked.limit;
        records.truncate(asked.limit);
        let next = records.last().filter(|_| more).map(|record| record.id);
        Ok(KeyPage { keys: records.into_iter().map(|record| self.view(record)).collect(), next })
    }

    /// Returns the members of a key that may be shown.
    pub fn view(&self, record: Arc<KeyRecord>) -> KeyView {
        let expired = record.has_expired(self.now());
        KeyView {
            id: record.id,
            name: record.name.clone(),
            start: record.start.clone(),
            account: record.account.id.clone(),
            is_active: record.status == KeyStatus::Active && !expired,
            status: record.status,
            environment: record.environment.clone(),
            issued_by: record.issued_by,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at.max(self.context.gate.0.uses.of(record.id)),
            record,
        }
    }
}
