//! Revocations for keys whose windows are exhausted. A client that floods with one key cannot prevent its revocation by
//! another key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use crate::clock::Now;
use crate::gate::Core;
use crate::key::KeyId;
use crate::request::{HeaderCount, RequestView};
use crate::rule::{CompiledRule, Purpose};

/// The number of revocations that a key may make at once while its windows are exhausted.
const AT_ONCE: u64 = 10;

/// The time in nanoseconds after which it may make one more.
const ONE_MORE: u64 = 1_000_000_000;

/// The maximum number of counted keys. If more keys request revocations within ten seconds, the rest are not counted.
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
/// from a shared window. A request that the key management rejects without a revocation is not admitted.
#[cold]
pub(super) fn passes(
    core: &Core,
    compiled: &CompiledRule,
    view: &RequestView<'_>,
    key: KeyId,
    now: Now,
) -> bool {
    if compiled.rule.purpose != Purpose::Revocation || announces_body(view) {
        return false;
    }
    let query = view.query().unwrap_or_default();
    let mounted = core.mounted.as_ref();
    let revoked = mounted.and_then(|mounted| mounted.revoked(view.path(), query, &core.sources));
    revoked.is_some_and(|revoked| revoked == key || core.revocations.take(key, now.ticks()))
}

/// Returns true if the header section of a request announces a body. A revocation has none.
fn announces_body(view: &RequestView<'_>) -> bool {
    let length = view.field(&CONTENT_LENGTH);
    !matches!(length, HeaderCount::Never | HeaderCount::Once(b"0"))
        || !matches!(view.field(&TRANSFER_ENCODING), HeaderCount::Never)
}
