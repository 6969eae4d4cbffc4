//! Run-time state that a back end attaches to a record.
//!
//! Records are values: a store reads and writes them. A gate, a limiter or a credit ledger also needs state that exists
//! only in this process, such as a key's windows or an account's balance. The back end owns that state. It attaches a
//! pointer to the state to the record, so that the next request for the same record needs no look-up.
//!
//! # Example
//!
//! A custom limiter that counts requests per key:
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use tollgate::state::StateOwner;
//! use tollgate::key::KeyHasher;
//! use tollgate::{Account, KeyId, KeyRecord};
//!
//! let owner = StateOwner::new();
//! let account = Arc::new(Account::new("acme", "pro"));
//! let record = KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"acme_secret"), account);
//! for _ in 0..2 {
//!     match record.state().get::<AtomicU64>(owner) {
//!         Some(count) => _ = count.fetch_add(1, Ordering::Relaxed),
//!         // A limiter looks the count up in a map of its own here, by the key's id.
//!         None => record.state().attach(owner, Arc::new(AtomicU64::new(1))),
//!     }
//! }
//! assert_eq!(record.state().get::<AtomicU64>(owner).map(|count| count.load(Ordering::Relaxed)), Some(2));
//! ```

use std::any::Any;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The identity of a back end that attaches state. Each instance of a back end creates its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateOwner(u64);

impl StateOwner {
    /// Creates an owner that differs from every other in this process.
    #[expect(clippy::new_without_default, reason = "two owners are never equal")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The pointers that back ends have attached to one record, account or group of quotas.
///
/// # Contract
///
/// - Four owners can attach state. State that a fifth owner attaches is dropped, so a back end must also be able to
///   find its state by the record's id.
/// - An owner attaches once. A second attachment changes nothing.
/// - Attached state is not part of the record's value. A clone starts empty, and two records that differ only in
///   attached state are equal. A store must not write it.
#[derive(Default)]
pub struct AttachedState {
    first: [Place; 1],
    /// Places for a record that several owners use.
    more: OnceLock<Box<[Place; 3]>>,
}

type Place = OnceLock<(StateOwner, State)>;

type State = Arc<dyn Any + Send + Sync>;

impl AttachedState {
    pub(crate) const fn new() -> Self {
        Self { first: [OnceLock::new()], more: OnceLock::new() }
    }

    /// Returns the state that `owner` has attached.
    #[inline]
    pub fn get<T: Any>(&self, owner: StateOwner) -> Option<&T> {
        self.find(owner)?.downcast_ref()
    }

    /// Returns a shared pointer to the state that `owner` has attached.
    #[inline]
    pub fn share<T: Any + Send + Sync>(&self, owner: StateOwner) -> Option<Arc<T>> {
        Arc::clone(self.find(owner)?).downcast().ok()
    }

    /// Attaches `state`, if a place is free and `owner` has attached nothing yet.
    pub fn attach<T: Any + Send + Sync>(&self, owner: StateOwner, state: Arc<T>) {
        let attached = (owner, state as State);
        if let Some(attached) = attach_in(&self.first, attached) {
            attach_in(&**self.more.get_or_init(Box::default), attached);
        }
    }

    #[inline]
    fn find(&self, owner: StateOwner) -> Option<&State> {
        match find_in(&self.first, owner) {
            Some(state) => Some(state),
            None => self.find_more(owner),
        }
    }

    #[cold]
    fn find_more(&self, owner: StateOwner) -> Option<&State> {
        self.more.get().and_then(|more| find_in(&**more, owner))
    }

    /// Prefetches the attached state into the processor's cache.
    #[inline]
    pub(crate) fn prefetch(&self) {
        for (_, state) in self.first.iter().map_while(OnceLock::get) {
            black_box(Arc::strong_count(state));
        }
    }
}

/// Attaches state at the first free place. Returns it if no place is free.
fn attach_in(places: &[Place], mut attached: (StateOwner, State)) -> Option<(StateOwner, State)> {
    let owner = attached.0;
    for place in places {
        match place.set(attached) {
            Ok(()) => return None,
            Err(refused) => attached = refused,
        }
        if place.get().is_some_and(|(holder, _)| *holder == owner) {
            return None;
        }
    }
    Some(attached)
}

#[inline]
fn find_in(places: &[Place], owner: StateOwner) -> Option<&State> {
    places.iter().map_while(OnceLock::get).find(|(holder, _)| *holder == owner).map(|(_, state)| state)
}

impl Clone for AttachedState {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl PartialEq for AttachedState {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for AttachedState {}

impl fmt::Debug for AttachedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.first.iter().chain(self.more.get().into_iter().flat_map(|more| more.iter()));
        let attached = places.filter(|place| place.get().is_some()).count();
        write!(f, "AttachedState({attached})")
    }
}
