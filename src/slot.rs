//! A place on a record where a back end keeps a pointer to its own state.

use std::any::Any;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Says whose state a [`Slot`] holds; every back end that uses slots makes one for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotOwner(u64);

impl SlotOwner {
    /// An owner unlike any other in this process.
    #[expect(clippy::new_without_default, reason = "two owners are never equal")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A place on a [`KeyRecord`](crate::KeyRecord), an [`Account`](crate::Account) or a pool where a back end keeps
/// a pointer to the state that it owns elsewhere, and so saves a look-up on every request.
///
/// The first owner to fill a slot keeps it; another finds it taken and looks its state up. A slot is never part of
/// the record's value: a clone starts empty, and two records that differ only in slots are equal.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{Slot, SlotOwner};
///
/// let (slot, mine, other) = (Slot::new(), SlotOwner::new(), SlotOwner::new());
/// slot.fill(mine, Arc::new(7_u32));
/// assert_eq!(slot.get::<u32>(mine), Some(&7));
/// assert_eq!(slot.get::<u32>(other), None);
/// ```
#[derive(Default)]
pub struct Slot(OnceLock<(SlotOwner, Kept)>);

type State = Arc<dyn Any + Send + Sync>;

/// Declares what is kept: mostly state of this crate's own, whose type is told by a match, where that of another is asked
/// by a call.
macro_rules! kept {
    ($($(#[$when:meta])? $kind:ident($state:ty),)+) => {
        enum Kept {
            $($(#[$when])? $kind(Arc<$state>),)+
            Other(State),
        }

        impl Kept {
            fn of(state: State) -> Self {
                $(
                    $(#[$when])?
                    let state = match state.downcast() {
                        Ok(state) => return Self::$kind(state),
                        Err(other) => other,
                    };
                )+
                Self::Other(state)
            }

            #[inline]
            fn get<T: Any>(&self) -> Option<&T> {
                match self {
                    $($(#[$when])? Self::$kind(state) => (&**state as &dyn Any).downcast_ref(),)+
                    Self::Other(state) => state.downcast_ref(),
                }
            }

            fn share(&self) -> State {
                match self {
                    $($(#[$when])? Self::$kind(state) => Arc::clone(state) as _,)+
                    Self::Other(state) => Arc::clone(state),
                }
            }

            #[inline]
            fn fetch(&self) -> usize {
                match self {
                    $($(#[$when])? Self::$kind(state) => Arc::strong_count(state),)+
                    Self::Other(state) => Arc::strong_count(state),
                }
            }
        }
    };
}

kept! {
    Pass(crate::gate::Pass),
    #[cfg(feature = "memory")] Bucket(crate::limit::Bucket),
    #[cfg(feature = "memory")] Purse(crate::ledger::Purse),
    #[cfg(feature = "fleet")] Leased(crate::ledger::LeasedPurse),
    #[cfg(feature = "fleet")] Shares(crate::Quotas),
}

impl Slot {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// What `owner` keeps here.
    #[inline]
    pub fn get<T: Any>(&self, owner: SlotOwner) -> Option<&T> {
        let (holder, kept) = self.0.get()?;
        if *holder == owner { kept.get() } else { None }
    }

    /// Begins to fetch what is kept here.
    #[inline]
    pub(crate) fn fetch(&self) {
        black_box(self.0.get().map(|(_, kept)| kept.fetch()));
    }

    /// What `owner` keeps here, to be shared.
    pub fn share<T: Any + Send + Sync>(&self, owner: SlotOwner) -> Option<Arc<T>> {
        let (holder, kept) = self.0.get()?;
        if *holder == owner { kept.share().downcast().ok() } else { None }
    }

    /// Whether an owner keeps something here.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.get().is_some()
    }

    /// Keeps a pointer to `state`, unless the slot is taken.
    pub fn fill<T: Any + Send + Sync>(&self, owner: SlotOwner, state: Arc<T>) {
        // A slot that is taken stays taken: its state is found by look-up then.
        let _ = self.0.set((owner, Kept::of(state)));
    }
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Slot {}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Slot(filled)" } else { "Slot(empty)" })
    }
}
