//! Issuing, listing, rotating and revoking keys; accounts and credits by hand; what is left for a key.

mod accounts;
mod bounds;
mod change;
mod cover;
mod credits;
mod desk;
mod error;
mod import;
mod issue;
mod known;
mod leak;
mod limits;
mod list;
mod service;
mod standing;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use accounts::AccountManager;
pub use change::{KeyChange, Revoked, Rotated};
pub use credits::{CreditManager, EntryPage, ListEntries};
pub use error::ManageError;
pub use import::{ForeignKey, ImportReport};
pub use issue::{Issued, NewKey};
pub use list::{KeyPage, KeyView, ListKeys};
pub(crate) use service::Endpoints;
pub use standing::{KeyStanding, WindowStanding};

use crate::audit::{Actor, AuditSink};
use crate::clock::Timestamp;
use crate::gate::{Gate, Principal};
use crate::key::KeyHash;
use crate::manage::desk::Desk;
use crate::name::AccountId;
use crate::store::KeyAdmin;

/// Manages the keys of a gate: it knows the gate's formats, plans and rules, and writes to the authority, never to a cache.
///
/// Cloning it is cheap. What it does is told to an [`AuditSink`], with the [`Actor`] that [`by`](KeyManager::by) names.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tollgate::manage::ManageError;
/// use tollgate::{Account, Config, KeyManager, MemoryStore, NewKey};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = r#"
///     sources = [{ header = "X-API-Key" }]
///     formats = [{ prefix = "acme_", body = 32 }]
///     [plans.free]
///     max_keys = 1
/// "#;
/// let store = Arc::new(MemoryStore::new());
/// store.put_account(Account::new("ada", "free"));
/// let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(Arc::clone(&store)).build()?;
/// let manager = KeyManager::new(gate, store);
///
/// let issued = manager.issue(NewKey::new("ada", "My Trading Bot")).await?;
/// println!("shown once: {}", issued.secret.reveal());
/// let full = manager.issue(NewKey::new("ada", "another")).await;
/// assert!(matches!(full, Err(ManageError::KeyLimitReached { most: 1 })));
/// manager.revoke(issued.key.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyManager {
    desk: Desk,
    store: Arc<dyn KeyAdmin>,
    /// Whose keys alone are managed.
    scope: Option<AccountId>,
    /// What the secret hashes to that the key which asks has shown; empty where that is not known.
    shown: Vec<KeyHash>,
}

impl KeyManager {
    /// Manages the keys of this gate in the store that is their authority.
    pub fn new(gate: Gate, store: impl KeyAdmin) -> Self {
        Self::over(gate, Arc::new(store))
    }

    pub(crate) fn over(gate: Gate, store: Arc<dyn KeyAdmin>) -> Self {
        Self::at(Desk::new(gate), store)
    }

    fn at(desk: Desk, store: Arc<dyn KeyAdmin>) -> Self {
        Self { desk, store, scope: None, shown: Vec::new() }
    }

    /// Tells what is done to another sink than the log.
    #[must_use]
    pub fn with_audit(mut self, audit: impl AuditSink) -> Self {
        self.desk.audit = Arc::new(audit);
        self
    }

    /// The same manager, in the name of an actor. What is asked for in the name of a key is the key's own or narrower, and
    /// refused where the authority says that the key may not be used. A key that is restricted to scopes manages keys only if
    /// it holds the gate's [`management_scope`](crate::gate::GateBuilder::management_scope), one that is restricted to paths only if
    /// they cover where the gate mounts the management of keys, and a key that everybody knows manages none.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.desk.actor = actor;
        self.shown.clear();
        self
    }

    /// The same manager, for whom a gate has let in from this address: in the name of its key, by the secret that was shown,
    /// for the keys of its account alone. A secret that the authority no longer knows manages nothing, whatever a cache
    /// still says of it, and one on its way out gives nothing that outlasts it.
    #[must_use]
    pub fn for_caller(self, caller: &Principal, from: Option<IpAddr>) -> Self {
        let actor = Actor::key(caller.key());
        let actor = from.into_iter().fold(actor, Actor::at);
        let mut manager = self.by(actor).for_account(caller.account().id.clone());
        manager.shown = caller.presented().collect();
        manager
    }

    /// The same manager, for the keys of one account alone: another's key is not found, like a missing one.
    #[must_use]
    pub fn for_account(mut self, account: impl Into<AccountId>) -> Self {
        self.scope = Some(account.into());
        self
    }

    /// The gate whose keys are managed.
    pub fn gate(&self) -> &Gate {
        &self.desk.gate
    }

    /// Writes the uses that are noted back to the store: to be called from time to time, and at shutdown.
    ///
    /// # Errors
    ///
    /// A store that fails; the uses are kept for the next time.
    pub async fn flush_uses(&self) -> Result<(), ManageError> {
        let pending = self.desk.gate.0.uses.pending();
        if !pending.is_empty() {
            // They stay noted until they are written: a list shows them, and who gives up waiting loses none.
            self.store.touch(&pending).await?;
            self.desk.gate.0.uses.written(&pending);
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.desk.now()
    }
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager")
            .field("store", &self.store)
            .field("actor", &self.desk.actor)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
