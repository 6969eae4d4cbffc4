//! Audit events, and the entries that a store keeps of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::amount::random;
use crate::audit::{Action, Actor};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::key::KeyId;
use crate::name::AccountId;

/// A change that was made. It contains no part of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The time of the change.
    pub at: Timestamp,
    /// The kind of the change.
    pub action: Action,
    /// The key that was changed.
    pub key: Option<KeyId>,
    /// The account that was changed, or that owns the key.
    pub account: Option<AccountId>,
    /// The author of the change.
    pub actor: Actor,
    /// A description of the change, such as `plan pro`.
    pub detail: Option<String>,
}

impl AuditEvent {
    /// Creates an event of a change by this actor, without a key, an account and a detail.
    pub fn new(at: Timestamp, action: Action, actor: Actor) -> Self {
        Self { at, action, key: None, account: None, actor, detail: None }
    }
}

/// The id of an audit entry: a UUID of version 8. Ids sort by the time of their events, and ids of one process and
/// millisecond by the order of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(Uuid);

impl AuditId {
    /// Creates a unique id for an event at this time. `sequence` orders the events of a process within a millisecond.
    pub fn new(at: Timestamp, sequence: u32) -> Self {
        let mut bytes = Self::start_of(at);
        let tail = (u64::from(sequence & 0xf_ffff) << 42) | (random() >> 22);
        bytes[6..8].copy_from_slice(&u16::try_from(sequence >> 20).unwrap_or_default().to_be_bytes());
        bytes[8..].copy_from_slice(&tail.to_be_bytes());
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Creates the id with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns a lower bound on the ids of events at this time or later, and an upper bound on the ids of earlier ones.
    /// A store that has its entries in order of their ids finds the entries of a time with it.
    pub fn lower_bound(at: Timestamp) -> Self {
        Self::from_bytes(Self::start_of(at))
    }

    /// Returns the milliseconds since 1970 in six bytes. An earlier time counts as 1970.
    fn start_of(at: Timestamp) -> [u8; 16] {
        const LAST: u64 = (1 << 48) - 1;
        let millis = u64::try_from(at.as_millis()).unwrap_or_default().min(LAST);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes
    }
}

impl FromStr for AuditId {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|error| {
            let problem = format!("failed to read the id of an audit entry since {error}");
            ConfigError::new(text, problem, "write the id of an entry, as a page of entries shows it")
        })
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An audit event in a store.
///
/// The serialised form has the members `id`, `at`, `action`, `key`, `account`, `actor` and `detail`. A time is text, as
/// in `2026-04-30T12:00:00.000Z`. The actor is an object with the members `operator`, `user`, `key` and `address`. A
/// member without a value is `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "EntryText", try_from = "EntryText")]
pub struct AuditEntry {
    /// The id of the entry.
    pub id: AuditId,
    /// The event.
    pub event: AuditEvent,
}

impl AuditEntry {
    /// Creates an entry with a new id. `sequence` orders the entries of a process within a millisecond.
    pub fn new(event: AuditEvent, sequence: u32) -> Self {
        Self { id: AuditId::new(event.at, sequence), event }
    }
}

/// The serialised form of an entry.
#[derive(Debug, Serialize, Deserialize)]
struct EntryText {
    id: String,
    at: String,
    action: String,
    key: Option<String>,
    account: Option<String>,
    actor: ActorText,
    detail: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ActorText {
    operator: Option<String>,
    user: Option<String>,
    key: Option<String>,
    address: Option<String>,
}

impl From<AuditEntry> for EntryText {
    fn from(AuditEntry { id, event }: AuditEntry) -> Self {
        let actor = &event.actor;
        let actor = ActorText {
            operator: actor.name().map(str::to_owned),
            user: actor.user_id().map(str::to_owned),
            key: actor.key_id().map(|key| key.to_string()),
            address: actor.address().map(|address| address.to_string()),
        };
        Self {
            id: id.to_string(),
            at: event.at.to_millis_text(),
            action: event.action.name().to_owned(),
            key: event.key.map(|key| key.to_string()),
            account: event.account.map(|account| account.to_string()),
            actor,
            detail: event.detail,
        }
    }
}

impl TryFrom<EntryText> for AuditEntry {
    type Error = ConfigError;

    fn try_from(text: EntryText) -> Result<Self, Self::Error> {
        let key = |text: Option<String>| text.map(|text| text.parse::<KeyId>()).transpose();
        let actor = match (text.actor.operator, text.actor.user, key(text.actor.key)?) {
            (_, _, Some(key)) => Actor::key(key),
            (_, Some(user), None) => Actor::user(&user),
            (Some(name), None, None) => Actor::operator(&name),
            (None, None, None) => Actor::default(),
        };
        let address = text.actor.address.map(|address| {
            let invalid = |_| ConfigError::new(&address, "invalid address", "expected an IP address");
            address.parse().map_err(invalid)
        });
        let event = AuditEvent {
            at: text.at.parse()?,
            action: text.action.parse()?,
            key: key(text.key)?,
            account: text.account.map(AccountId::from),
            actor: address.transpose()?.into_iter().fold(actor, Actor::at),
            detail: text.detail,
        };
        Ok(Self { id: text.id.parse()?, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: i64, actor: Actor) -> AuditEvent {
        AuditEvent {
            at: Timestamp::from_millis(at),
            action: Action::AccountChanged,
            key: Some(KeyId::generate()),
            account: Some("ada".into()),
            actor,
            detail: Some("plan pro".into()),
        }
    }

    #[test]
    fn ids_sort_by_time_and_sequence() {
        let id = |at, sequence| AuditId::new(Timestamp::from_millis(at), sequence);
        let ids = [id(7, 0), id(7, 1), id(7, 0xf_ffff), id(7, 0x10_0000), id(7, u32::MAX), id(8, 0)];
        assert!(ids.is_sorted(), "{ids:?}");
        let bound = AuditId::lower_bound(Timestamp::from_millis(8));
        assert!(ids[4] < bound && bound <= ids[5]);
        assert!(id(-1, 0) < id(1, 0));
        assert_ne!(id(7, 0), id(7, 0));
    }

    #[test]
    fn entries_are_read_as_written() -> Result<(), Box<dyn std::error::Error>> {
        let address = "2001:db8::1".parse()?;
        let actors = [
            Actor::default(),
            Actor::operator("alice").at(address),
            Actor::user("user-17"),
            Actor::key(KeyId::generate()).at(address),
        ];
        for actor in actors {
            let entry = AuditEntry::new(event(1_764_499_360_007, actor), 3);
            let text = serde_json::to_string(&entry)?;
            assert_eq!(serde_json::from_str::<AuditEntry>(&text)?, entry, "{text}");
        }
        Ok(())
    }
}
