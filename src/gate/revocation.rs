//! Revocations where a window has no room left: whoever floods with one key keeps nobody from revoking it by another.

use crate::clock::Now;
use crate::gate::Core;
use crate::key::KeyId;
use crate::request::RequestView;
use crate::rule::{Purpose, Ruled};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How many revocations a key may ask for at once where its windows have no room.
const AT_ONCE: u64 = 10;

/// The nanoseconds in which it may ask for one more.
const ONE_MORE: u64 = 1_000_000_000;

/// The most keys that are counted. A gate of which more keys than that ask for revocations in ten seconds counts no further.
const MOST: usize = 65_536;

/// The revocations that keys have asked for beyond their windows, on this node.
#[derive(Debug, Default)]
pub(super) struct Revocations(Mutex<HashMap<KeyId, u64>>);

impl Revocations {
    /// Takes a place for a key, if there is one: of a bucket of [`AT_ONCE`], which refills by one in [`ONE_MORE`].
    fn take(&self, key: KeyId, now: u64) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST {
            keys.retain(|_, full_at| *full_at > now);
        }
        let full_at = keys.get(&key).copied().unwrap_or_default().max(now).saturating_add(ONE_MORE);
        let admitted = full_at <= now.saturating_add(AT_ONCE * ONE_MORE);
        if admitted && (keys.len() < MOST || keys.contains_key(&key)) {
            keys.insert(key, full_at);
        }
        admitted
    }
}

/// Whether a request revokes a key, and passes though a window has no room: the key that asks always revokes itself, since that
/// is its last request; another as often as it may, whatever others have drawn from a window that it shares.
#[cold]
pub(super) fn passes(core: &Core, ruled: &Ruled, view: &RequestView<'_>, key: KeyId, now: Now) -> bool {
    let own = || view.path().rsplit('/').next().is_some_and(|id| id.parse() == Ok(key));
    ruled.rule.purpose == Purpose::Revocation && (own() || core.revocations.take(key, now.ticks()))
}
