//! Changes told from node to node.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::future::StoreFuture;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::store::cached::front::Front;

/// A change that the other nodes must hear of: what was read of its subject before is void. It names no key's secret, and of a
/// hash a quarter.
///
/// As text it is `key <id>`, `account <id>`, `hash <the quarter in hexadecimal>` or `everything`.
///
/// # Example
///
/// ```
/// use tollgate::name::AccountId;
/// use tollgate::store::Change;
///
/// let change = Change::Account(AccountId::from("acme"));
/// assert_eq!(change.to_string(), "account acme");
/// assert_eq!("account acme".parse(), Ok(change));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key was changed or erased.
    Key(KeyId),
    /// An account was, and so were all its keys.
    Account(AccountId),
    /// A key has a hash, which begins with these bytes, and had not: it was put in, or has another secret. Who remembers that
    /// there is no such key is wrong.
    Hash([u8; 8]),
    /// Anything may have been.
    Everything,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key {id}"),
            Self::Account(id) => write!(f, "account {id}"),
            Self::Hash(start) => write!(f, "hash {:016x}", u64::from_be_bytes(*start)),
            Self::Everything => f.write_str("everything"),
        }
    }
}

impl FromStr for Change {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(' ') {
            Some(("key", id)) => id.parse().map(Self::Key),
            Some(("account", id)) => Ok(Self::Account(id.into())),
            Some(("hash", start))
                if start.len() == 16 && start.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                u64::from_str_radix(start, 16)
                    .map(|start| Self::Hash(start.to_be_bytes()))
                    .map_err(|_| untold(text))
            }
            None if text == "everything" => Ok(Self::Everything),
            _ => Err(untold(text)),
        }
    }
}

fn untold(text: &str) -> ConfigError {
    ConfigError::new(text, "this tells of no change", "write `key`, `account`, `hash` or `everything`")
}

/// A channel between the nodes of a fleet, on which a [`CachedStore`](crate::store::CachedStore) tells the others what it has
/// changed.
///
/// # Contract
///
/// - **Told is told.** [`announce`](Announcements::announce) is done when the channel has the change; an `Err` says that
///   other nodes may not hear of it, and the one who asked for the change is told so.
/// - **No gaps.** [`listen`](Announcements::listen) calls [`Ear::open`] when every change that is announced from then on
///   will be heard, and ends as soon as one may have been missed: the store reads less from its cache until the channel is
///   open again, and then checks what it has. A channel that can lose messages without noticing counts them.
/// - **Any order, any number.** A change that is heard twice, or by the node that made it, costs one reading.
/// - **Lives with the store.** The store begins to listen again when listening ends, also by a panic, and drops the future
///   when it is dropped itself.
///
/// # Example
///
/// A channel between stores of one process:
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::broadcast;
/// use tollgate::store::{Announcements, Change, Ear};
/// use tollgate::{StoreError, StoreFuture};
///
/// #[derive(Debug)]
/// struct Local(broadcast::Sender<Change>);
///
/// impl Announcements for Local {
///     fn announce(&self, change: &Change) -> StoreFuture<()> {
///         StoreFuture::from(self.0.send(change.clone()).map(drop).map_err(StoreError::unavailable))
///     }
///
///     fn listen(&self, ear: Ear) -> StoreFuture<()> {
///         let mut channel = self.0.subscribe();
///         StoreFuture::boxed(async move {
///             ear.open();
///             loop {
///                 ear.hear(&channel.recv().await.map_err(StoreError::unavailable)?);
///             }
///         })
///     }
/// }
/// ```
pub trait Announcements: fmt::Debug + Send + Sync + 'static {
    /// Tells the other nodes of a change.
    fn announce(&self, change: &Change) -> StoreFuture<()>;

    /// Listens until a change may have been missed.
    fn listen(&self, ear: Ear) -> StoreFuture<()>;
}

impl<T: Announcements + ?Sized> Announcements for Arc<T> {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        (**self).announce(change)
    }

    fn listen(&self, ear: Ear) -> StoreFuture<()> {
        (**self).listen(ear)
    }
}

/// Where a [`CachedStore`](crate::store::CachedStore) hears of changes.
pub struct Ear(pub(super) Arc<Front>);

impl Ear {
    /// Every change that is announced from now on will be heard.
    pub fn open(&self) {
        self.0.hear();
    }

    /// Something has changed.
    pub fn hear(&self, change: &Change) {
        self.0.void(change);
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ear(..)")
    }
}
