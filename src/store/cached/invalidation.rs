//! Announcements of changes between nodes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::future::StoreFuture;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::store::cached::state::CacheState;

/// A change that the other nodes must receive. It invalidates everything that was read of its subject before. It
/// contains no secret of a key, and only a quarter of a hash.
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
    /// An account was changed or erased, and with it all its keys.
    Account(AccountId),
    /// A key now has a hash that begins with these bytes: the key was inserted, or has a new secret. A node that has
    /// cached this hash as unknown is wrong.
    Hash([u8; 8]),
    /// Any record may have changed.
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
                    .map_err(|_| unknown_change(text))
            }
            None if text == "everything" => Ok(Self::Everything),
            _ => Err(unknown_change(text)),
        }
    }
}

fn unknown_change(text: &str) -> ConfigError {
    ConfigError::new(text, "invalid invalidation message", "write `key`, `account`, `hash` or `everything`")
}

/// A channel between the nodes of a fleet, on which a [`CachedStore`](crate::store::CachedStore) announces its changes
/// to the others.
///
/// # Contract
///
/// - **Acknowledged.** [`announce`](InvalidationBus::announce) completes when the channel has accepted the change. An
///   `Err` means that other nodes may miss the change; the caller that made the change gets this result.
/// - **No gaps.** [`listen`](InvalidationBus::listen) calls [`InvalidationSink::open`] when it will receive every change that is
///   announced from then on. It ends as soon as it may have missed a change. The store then serves cached records for a
///   shorter time until the channel is open again, and then reads them again. A channel that can lose messages silently
///   counts them.
/// - **Any order, any number.** A change that is received twice, or by the node that made it, costs one read.
/// - **Lifetime.** The store listens again when listening ends, also after a panic. It drops the future when it is
///   dropped itself.
///
/// # Example
///
/// A channel between stores of one process:
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::broadcast;
/// use tollgate::store::{InvalidationBus, Change, InvalidationSink};
/// use tollgate::{StoreError, StoreFuture};
///
/// #[derive(Debug)]
/// struct Local(broadcast::Sender<Change>);
///
/// impl InvalidationBus for Local {
///     fn announce(&self, change: &Change) -> StoreFuture<()> {
///         StoreFuture::from(self.0.send(change.clone()).map(drop).map_err(StoreError::unavailable))
///     }
///
///     fn listen(&self, sink: InvalidationSink) -> StoreFuture<()> {
///         let mut channel = self.0.subscribe();
///         StoreFuture::boxed(async move {
///             sink.open();
///             loop {
///                 sink.invalidate(&channel.recv().await.map_err(StoreError::unavailable)?);
///             }
///         })
///     }
/// }
/// ```
pub trait InvalidationBus: fmt::Debug + Send + Sync + 'static {
    /// Announces a change to the other nodes.
    fn announce(&self, change: &Change) -> StoreFuture<()>;

    /// Listens for changes until one may have been missed.
    fn listen(&self, sink: InvalidationSink) -> StoreFuture<()>;
}

impl<T: InvalidationBus + ?Sized> InvalidationBus for Arc<T> {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        (**self).announce(change)
    }

    fn listen(&self, sink: InvalidationSink) -> StoreFuture<()> {
        (**self).listen(sink)
    }
}

/// The receiver of announced changes for a [`CachedStore`](crate::store::CachedStore).
pub struct InvalidationSink(pub(super) Arc<CacheState>);

impl InvalidationSink {
    /// Records that every change that is announced from now on will be received.
    pub fn open(&self) {
        self.0.connect();
    }

    /// Receives a change.
    pub fn invalidate(&self, change: &Change) {
        self.0.announcements.received(change, self.0.ticks());
        self.0.invalidate(change);
    }
}

impl fmt::Debug for InvalidationSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ear(..)")
    }
}
