//! Revocations for keys whose windows are exhausted. A client that floods with one key cannot prevent its revocation by
//! another key.

use crate::clock::Now;
use crate::gate::Core;
use crate::key::KeyId;
use crate::request::RequestView;
use crate::rule::{CompiledRule, Purpose};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The number of revocations that a key may make at once while its windows are exhausted.
const AT_ONCE: u64 = 10;

/// The time in nanoseconds after which it may make one more.
const ONE_MORE: u64 = 1_000_000_000;

/// The maximum number of counted keys. If more keys ask for revocations within ten seconds, the rest are not counted.
const MOST: usize = 65_536;

/// The revocations that keys have made beyond their windows, on this node.
#[derive(Debug, Default)]
pub(super) struct Revocations(Mutex<HashMap<KeyId, u64>>);

impl Revocations {
    /// Counts one revocation of a key and returns true if it is admitted. Each key has a bucket of [`AT_ONCE`], which
    /// refills by one in each [`ONE_MORE`].
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

/// Returns true if a request revokes a key and is admitted although a window is exhausted. A key can always revoke
/// itself, because that is its last request. It can revoke other keys within its own bucket, whatever others have drawn
/// from a shared window.
#[cold]
pub(super) fn passes(
    core: &Core,
    compiled: &CompiledRule,
    view: &RequestView<'_>,
    key: KeyId,
    now: Now,
) -> bool {
    let own = || view.path().rsplit('/').next().is_some_and(|id| id.parse() == Ok(key));
    compiled.rule.purpose == Purpose::Revocation && (own() || core.revocations.take(key, now.ticks()))
}
