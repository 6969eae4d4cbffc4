//! What is known of a key.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::account::OwnQuota;
use crate::account::{Account, Caps};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::key::{KeyHash, KeyId};
use crate::name::{Environment, Scope};
use crate::state::AttachedState;
use crate::words;

/// The lifecycle status of a key. Its expiry is not part of it.
///
/// # Example
///
/// ```
/// use tollgate::key::KeyStatus;
///
/// assert_eq!(KeyStatus::Paused.to_string(), "paused");
/// assert_eq!("revoked".parse(), Ok(KeyStatus::Revoked));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyStatus {
    /// It may.
    #[default]
    Active,
    /// It may not, until it is resumed.
    Paused,
    /// It may not, ever again.
    Revoked,
}

impl KeyStatus {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Paused, Self::Revoked];

    /// Its name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyStatus {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.iter().map(|one| one.name());
        let unknown = || ConfigError::new(text, "a key has no such status", words::one_of(text, names));
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
    }
}

/// A path that a restricted key may call: exact, or ending in `/*` for all that lies below.
///
/// # Example
///
/// ```
/// use tollgate::key::PathPattern;
///
/// let below: PathPattern = "/v1/candles/*".parse()?;
/// assert!(below.covers("/v1/candles/BTC") && !below.covers("/v1/candles") && !below.covers("/v1/candles/"));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Arc<str>);

impl PathPattern {
    /// Whether the pattern covers this path, byte for byte.
    pub fn covers(&self, path: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(above) => path.strip_prefix(above).is_some_and(|below| !below.is_empty()),
            None => path == &*self.0,
        }
    }

    /// Whether it covers every path that a rule's pattern matches. A gap of such a pattern is never empty.
    fn covers_all_of(&self, pattern: &str) -> bool {
        match pattern.find(['{', '}']) {
            None => self.covers(pattern),
            Some(gap) => self.0.strip_suffix('*').is_some_and(|above| pattern[..gap].starts_with(above)),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPattern {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stem = text.strip_suffix("/*").unwrap_or(text);
        if !text.starts_with('/') || stem.contains(['*', '?', '#']) {
            let problem = "no path of a request can match this";
            return Err(ConfigError::new(
                text,
                problem,
                "write a path as in `/v1/candles` or `/v1/candles/*`",
            ));
        }
        Ok(Self(text.into()))
    }
}

/// The secret that a rotated key had before, valid for an overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retiring {
    /// The hash of the old secret.
    pub hash: KeyHash,
    /// From when on it is no longer valid.
    pub until: Timestamp,
}

/// All that is known of a key: what a [`KeyStore`](crate::store::KeyStore) finds by the key's hash.
///
/// A record is a value: whoever changes a key or its account puts a new record in the old one's place. `None` and an
/// empty list are two things throughout: `scopes: None` is a key without restriction, an empty list grants nothing;
/// `allowlist: None` is any address, an empty list no address.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tollgate::key::{KeyHasher, KeyStatus};
/// use tollgate::{Account, KeyId, KeyRecord};
///
/// let account = Arc::new(Account::new("acme", "pro"));
/// let hash = KeyHasher::sha256().hash(b"acme_secret");
/// let record = KeyRecord::new(KeyId::from_bytes([7; 16]), hash, account);
/// assert_eq!(record.status, KeyStatus::Active);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
// What every request looks at comes first, side by side in memory.
#[repr(C)]
pub struct KeyRecord {
    /// The hash of its secret.
    pub hash: KeyHash,
    /// Whether it may be used.
    pub status: KeyStatus,
    /// From when on it may not be used.
    pub expires_at: Option<Timestamp>,
    /// Who holds it, as of when the record was read.
    pub account: Arc<Account>,
    pub(crate) state: AttachedState,
    /// The networks it may be used from; `None` for all.
    pub allowlist: Option<Vec<IpNet>>,
    /// The secret that it had before its last rotation.
    pub retiring: Option<Retiring>,
    /// The key's id, the same through every rotation.
    pub id: KeyId,
    /// Where it belongs.
    pub environment: Environment,
    /// Counts the changes: a store refuses one that was made to an older version.
    pub version: u64,
    /// Its first characters, which may be shown.
    pub start: String,
    /// What its owner calls it.
    pub name: String,
    /// The id of the key that issued it; `None` for a key that no key issued. It never changes.
    pub issued_by: Option<KeyId>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, as of the last time that uses were written back.
    pub last_used_at: Option<Timestamp>,
    /// What it may be used for; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths it may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// Quotas in place of its account's and its plan's; an empty list is no limit.
    pub quotas: Option<Vec<OwnQuota>>,
    /// Caps in place of its account's and its plan's.
    pub caps: Option<Caps>,
    /// Whatever else the service keeps with it.
    pub metadata: BTreeMap<String, String>,
}

impl KeyRecord {
    /// An active key of the environment `live`, without restriction.
    pub fn new(id: KeyId, hash: KeyHash, account: Arc<Account>) -> Self {
        Self {
            id,
            hash,
            retiring: None,
            version: 0,
            start: String::new(),
            name: String::new(),
            account,
            status: KeyStatus::Active,
            environment: Environment::live(),
            issued_by: None,
            created_at: None,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            scopes: None,
            paths: None,
            allowlist: None,
            quotas: None,
            caps: None,
            metadata: BTreeMap::new(),
            state: AttachedState::new(),
        }
    }

    /// Begins to fetch what the checks will look at, all at once. Of a key that was not used for a while nothing is in the
    /// processor's cache, and each would be waited for in its turn.
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.state.prefetch();
        self.account.state().prefetch();
        black_box(self.allowlist.as_ref().and_then(|networks| networks.first()).copied());
    }

    /// The run-time state that gates and back ends have attached to the record.
    #[inline]
    pub fn state(&self) -> &AttachedState {
        &self.state
    }

    /// Whether the key is restricted to scopes or paths.
    pub fn is_restricted(&self) -> bool {
        self.scopes.is_some() || self.paths.is_some()
    }

    /// Whether its paths cover every path that a rule's pattern matches.
    pub(crate) fn covers_all_of(&self, pattern: &str) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|path| path.covers_all_of(pattern)))
    }

    /// Whether this is the hash of its secret, or of the one that it had before.
    #[inline]
    pub fn has_hash(&self, hash: &KeyHash) -> bool {
        self.hash == *hash || self.is_retiring(hash)
    }

    /// Whether this is the hash of the secret that it had before.
    #[inline]
    pub fn is_retiring(&self, hash: &KeyHash) -> bool {
        self.retiring.is_some_and(|old| old.hash == *hash)
    }

    /// Whether it counts as active, under a plan's cap: neither revoked nor expired. A paused key counts, since it can be
    /// resumed.
    pub fn counts_as_active(&self, now: Timestamp) -> bool {
        self.status != KeyStatus::Revoked && !self.has_expired(now)
    }

    /// Since when the key is of no use to anybody: it was revoked, or has expired.
    pub fn dead_since(&self, now: Timestamp) -> Option<Timestamp> {
        let expired = self.expires_at.filter(|_| self.has_expired(now));
        self.revoked_at.into_iter().chain(expired).min()
    }

    /// Whether the key has expired: it has from the instant `expires_at` on.
    #[inline]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}
