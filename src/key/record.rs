//! The stored record of a key, and its parts.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;

use crate::account::{Account, FirstGate, KeyBudget, ParamLimits, QuotaRef};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::intern::Interner;
use crate::key::{KeyHash, KeyId};
use crate::name::{Environment, Scope};
use crate::state::AttachedState;
use crate::words;

/// The lifecycle status of a key. Expiry is not part of it.
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
    /// The key may be used.
    #[default]
    Active,
    /// The key may not be used until it is resumed.
    Paused,
    /// The key may not be used any more. Only the operator can change that, where the gate allows it: see
    /// [`KeyManager::undo_revocation`](crate::KeyManager::undo_revocation).
    Revoked,
}

impl KeyStatus {
    /// All statuses.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Paused, Self::Revoked];

    /// Returns the status's name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
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
        let unknown = || ConfigError::new(text, "unknown key status", words::one_of(text, names));
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
    }
}

/// A path that a restricted key may call: an exact path, or a pattern that ends in `/*` and covers all paths below it.
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
    /// Returns true if the pattern covers this path. Paths are compared byte for byte.
    pub fn covers(&self, path: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(above) => path.strip_prefix(above).is_some_and(|below| !below.is_empty()),
            None => path == &*self.0,
        }
    }

    /// Returns true if this pattern covers every path that a rule's pattern matches. A placeholder of a rule's pattern
    /// never matches an empty text.
    fn covers_all_of(&self, pattern: &str) -> bool {
        match pattern.find(['{', '}']) {
            None => self.covers(pattern),
            Some(gap) => self.0.strip_suffix('*').is_some_and(|above| pattern[..gap].starts_with(above)),
        }
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPattern {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stem = text.strip_suffix("/*").unwrap_or(text);
        if !text.starts_with('/') || stem.contains(['*', '?', '#']) {
            let problem = "no request path can match this";
            return Err(ConfigError::new(
                text,
                problem,
                "write a path as in `/v1/candles` or `/v1/candles/*`",
            ));
        }
        Ok(Self(text.into()))
    }
}

/// The previous secret of a rotated key, which remains valid for an overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PreviousSecret {
    /// The hash of the previous secret.
    pub hash: KeyHash,
    /// The time from which the previous secret is no longer valid.
    pub until: Timestamp,
}

/// A stored API key: its hash, account, status and limits. A [`KeyStore`](crate::store::KeyStore) finds it by the key's
/// hash.
///
/// A record is a value: to change a key or its account, a back end replaces the old record with a new one. Gates and
/// back ends attach [run-time state](Self::state) to a record that they have used, such as its plan and the rules that
/// it has passed. A changed record must start without this state. A clone does, as does a record that a [`MemoryStore`]
/// takes in, and a record whose fields of [`KeyDetails`] were borrowed mutably. A back end of your own changes a clone,
/// and never a used record in place, as with [`Arc::make_mut`].
///
/// [`MemoryStore`]: crate::store::MemoryStore
///
/// `None` and an empty list differ in every field. `scopes: None` is a key without restriction, and an empty list
/// grants nothing. `allowlist: None` allows any address, and an empty list allows no address.
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
// The fields that every request reads come first, next to each other in memory.
#[repr(C)]
pub struct KeyRecord {
    /// The hash of the key's secret.
    pub hash: KeyHash,
    /// The time from which the key may not be used; `None` for no expiry.
    pub expires_at: Option<Timestamp>,
    /// The account that owns the key, as of the time at which the record was read.
    pub account: Arc<Account>,
    /// The lifecycle status of the key.
    pub status: KeyStatus,
    /// True for the record that stands for all requests without a key.
    pub(crate) anonymous: bool,
    pub(crate) first_gate: FirstGate,
    /// The networks from which the key may be used; `None` for all.
    pub allowlist: Option<Vec<IpNet>>,
    pub(crate) state: AttachedState,
    /// The key's id, the same through every rotation.
    pub id: KeyId,
    pub(crate) details: Arc<KeyDetails>,
    /// The environment that the key belongs to.
    pub environment: Environment,
    /// The number of changes to the record. A store rejects a change that was made to an older version.
    pub version: u64,
    /// The first characters of the key, which may be shown.
    pub start: String,
    /// The name that the owner gave to the key.
    pub name: String,
    /// The time at which the key was created.
    pub created_at: Option<Timestamp>,
    /// The time at which the key was last used, as of the last time that uses were written back.
    pub last_used_at: Option<Timestamp>,
}

/// The fields of a [`KeyRecord`] that few requests read and that most keys of a service have in common. They are read and
/// written as fields of the record, which dereferences to them. Records share equal details where their store can tell:
/// a million keys with the same scopes store the scopes once.
///
/// # Example
///
/// ```
/// # use std::sync::Arc;
/// # use tollgate::key::KeyHasher;
/// # use tollgate::{Account, KeyId, KeyRecord};
/// # let account = Arc::new(Account::new("acme", "pro"));
/// # let mut record = KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"acme_secret"), account);
/// record.scopes = Some(vec!["candles:read".into()]);
/// assert!(record.is_restricted());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct KeyDetails {
    /// The scopes that the key grants; `None` for everything.
    pub scopes: Option<Vec<Scope>>,
    /// The paths that the key may call; `None` for all.
    pub paths: Option<Vec<PathPattern>>,
    /// The quotas that replace those of the account and the plan; an empty list is no limit.
    pub quotas: Option<Vec<QuotaRef>>,
    /// The maximum number of the key's requests in flight, which replaces the plan's limit.
    pub in_flight: Option<u32>,
    /// The budgets that replace those of the plan; an empty list is no budget.
    pub budgets: Option<Vec<KeyBudget>>,
    /// The limits on parameters that replace those of the account and the plan.
    pub caps: Option<ParamLimits>,
    /// The secret that the key had before its last rotation.
    pub retiring: Option<PreviousSecret>,
    /// The id of the key that issued this one; `None` for a key that no key issued. It never changes.
    pub issued_by: Option<KeyId>,
    /// The time at which the key was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Additional data that the service stores with the key.
    pub metadata: BTreeMap<String, String>,
}

impl Deref for KeyRecord {
    type Target = KeyDetails;

    fn deref(&self) -> &KeyDetails {
        &self.details
    }
}

impl DerefMut for KeyRecord {
    /// Returns the details for a change. The record loses its run-time state.
    fn deref_mut(&mut self) -> &mut KeyDetails {
        self.reset_state();
        Arc::make_mut(&mut self.details)
    }
}

impl KeyRecord {
    /// Creates an active key of the environment `live`, without restrictions.
    pub fn new(id: KeyId, hash: KeyHash, account: Arc<Account>) -> Self {
        static UNRESTRICTED: LazyLock<Arc<KeyDetails>> = LazyLock::new(Arc::default);
        Self {
            hash,
            expires_at: None,
            account,
            status: KeyStatus::Active,
            anonymous: false,
            first_gate: FirstGate::new(),
            allowlist: None,
            state: AttachedState::new(),
            id,
            details: Arc::clone(&UNRESTRICTED),
            environment: Environment::live(),
            version: 0,
            start: String::new(),
            name: String::new(),
            created_at: None,
            last_used_at: None,
        }
    }

    /// Replaces the details by equal ones that other records share. Details that are likely the only ones of their kind
    /// are left as they are.
    pub(crate) fn share_details(&mut self, interner: &mut Interner<KeyDetails>) {
        if self.metadata.is_empty() && self.retiring.is_none() && self.revoked_at.is_none() {
            interner.share(&mut self.details);
        }
    }

    /// Removes the run-time state, because it may belong to an earlier value of the record.
    pub(crate) fn reset_state(&mut self) {
        (self.first_gate, self.state) = (FirstGate::new(), AttachedState::new());
    }

    /// Starts to load the memory that the checks read, all of it at once. Without it, each check waits for a cache miss of
    /// its own (`benches/stack`, 10,000 keys, of hand-written: 0.58 with it, 0.70 without).
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.state.prefetch();
        self.account.state().prefetch();
        black_box(self.allowlist.as_ref().and_then(|networks| networks.first()).copied());
    }

    /// Returns the run-time state that gates and back ends have attached to the record.
    #[inline]
    pub fn state(&self) -> &AttachedState {
        &self.state
    }

    /// Returns true if the key is restricted to scopes or paths.
    pub fn is_restricted(&self) -> bool {
        self.scopes.is_some() || self.paths.is_some()
    }

    /// Returns true if the key's paths cover every path that a rule's pattern matches.
    pub(crate) fn covers_all_of(&self, pattern: &str) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|path| path.covers_all_of(pattern)))
    }

    /// Returns true if this is the hash of the key's secret or of its previous secret.
    #[inline]
    pub fn has_hash(&self, hash: &KeyHash) -> bool {
        self.hash == *hash || self.is_retiring(hash)
    }

    /// Returns true if this is the hash of the previous secret, and not of the current one.
    #[inline]
    pub fn is_retiring(&self, hash: &KeyHash) -> bool {
        self.hash != *hash && self.retiring.is_some_and(|old| old.hash == *hash)
    }

    /// Returns true if the key counts as active under a plan's limit on keys: it is neither revoked nor expired. A
    /// paused key counts, because it can be resumed.
    pub fn counts_as_active(&self, now: Timestamp) -> bool {
        self.status != KeyStatus::Revoked && !self.has_expired(now)
    }

    /// Returns the earlier of `revoked_at` and an expiry that has passed: the time from which the key can never be used
    /// again. Returns `None` if there is neither.
    pub fn dead_since(&self, now: Timestamp) -> Option<Timestamp> {
        let expired = self.expires_at.filter(|_| self.has_expired(now));
        self.revoked_at.into_iter().chain(expired).min()
    }

    /// Returns true if the key has expired. It has expired from the instant `expires_at` on.
    #[inline]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}
