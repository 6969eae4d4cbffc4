//! Queries for audit entries, and their answers.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::audit::{Action, Actor, AuditEntry, AuditId};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::key::KeyId;
use crate::name::AccountId;

/// A query for a page of audit entries, newest first. A listed entry fulfils all the conditions.
///
/// # Example
///
/// ```
/// use tollgate::audit::{Action, AuditQuery};
///
/// let mut query = AuditQuery::default();
/// query.account = Some("ada".into());
/// query.action = Some(Action::Revoked);
/// query.from = Some("2026-04-01T00:00:00Z".parse()?);
/// query.check()?;
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditQuery {
    /// Lists only the changes of this account and its keys.
    pub account: Option<AccountId>,
    /// Lists only the changes of this key.
    pub key: Option<KeyId>,
    /// Lists only the changes by this actor. The actor's address is not compared.
    pub actor: Option<Actor>,
    /// Lists only the changes of this kind.
    pub action: Option<Action>,
    /// Lists only the changes at this time or later.
    pub from: Option<Timestamp>,
    /// Lists only the changes before this time.
    pub to: Option<Timestamp>,
    /// The end of the previous page: its [`AuditPage::next`].
    pub cursor: Option<AuditId>,
    /// The maximum number of entries on a page: 1 to 1,000.
    pub limit: usize,
}

impl Default for AuditQuery {
    fn default() -> Self {
        let (account, key, actor, action) = (None, None, None, None);
        Self { account, key, actor, action, from: None, to: None, cursor: None, limit: 100 }
    }
}

impl AuditQuery {
    /// Checks the values. A store need not check them: it answers an empty range with an empty page.
    ///
    /// # Errors
    ///
    /// Returns an error that names the member if the limit is not 1 to 1,000, or if the range ends before it begins.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=1_000).contains(&self.limit) {
            let value = self.limit.to_string();
            let error = ConfigError::new(value, "invalid number of entries", "write a number from 1 to 1000");
            return Err(error.in_member("limit"));
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => {
                let problem = format!("the range ends before it begins at {from}");
                Err(ConfigError::new(to.to_string(), problem, "write a later time").in_member("to"))
            }
            _ => Ok(()),
        }
    }

    /// Returns true if the query selects this entry.
    pub fn admits(&self, entry: &AuditEntry) -> bool {
        let event = &entry.event;
        let actor = || self.actor.as_ref().map(Actor::label);
        self.account.as_ref().is_none_or(|account| event.account.as_ref() == Some(account))
            && self.key.is_none_or(|key| event.key == Some(key))
            && actor().is_none_or(|actor| event.actor.label() == actor)
            && self.action.is_none_or(|action| event.action == action)
            && self.floor().is_none_or(|floor| entry.id >= floor)
            && self.ceiling().is_none_or(|ceiling| entry.id < ceiling)
    }

    /// Returns the lowest id that the query selects.
    pub(super) fn floor(&self) -> Option<AuditId> {
        self.from.map(AuditId::lower_bound)
    }

    /// Returns the lowest id above the ids that the query selects.
    pub(super) fn ceiling(&self) -> Option<AuditId> {
        let to = self.to.map(AuditId::lower_bound);
        self.cursor.map_or(to, |cursor| Some(to.map_or(cursor, |to| to.min(cursor))))
    }
}

/// A page of audit entries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The entries, the newest first.
    pub entries: Vec<AuditEntry>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<AuditId>,
}

impl AuditPage {
    /// Creates the page of a query. `entries` are the first entries that it selects, newest first: one more than the
    /// query's limit if there are as many.
    pub fn new(query: &AuditQuery, mut entries: Vec<AuditEntry>) -> Self {
        let more = entries.len() > query.limit;
        entries.truncate(query.limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.id);
        Self { entries, next }
    }
}

/// Serialises the page in the format of the key management endpoints: `data`, and `nextCursor` if there is a next page.
impl Serialize for AuditPage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("AuditPage", 2)?;
        members.serialize_field("data", &self.entries)?;
        match self.next {
            Some(next) => members.serialize_field("nextCursor", &next.to_string())?,
            None => members.skip_field("nextCursor")?,
        }
        members.end()
    }
}
