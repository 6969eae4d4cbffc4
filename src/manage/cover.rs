//! Comparison of quotas and caps by what they let through.

use crate::account::{Cap, Caps, Counts, QuotaPolicy, Quotas};

/// Whether every window of `held` is kept by whoever keeps the windows of `asked`.
pub(super) fn quotas(held: &Quotas, asked: &Quotas) -> bool {
    held.policies().all(|held| asked.policies().any(|asked| keeps(held, asked)))
}

/// Whether whoever keeps to `asked` keeps to `held`. A quota that counts more requests together lets fewer through.
fn keeps(held: &QuotaPolicy, asked: &QuotaPolicy) -> bool {
    let counted = held.counts() == asked.counts() || *held.counts() == Counts::Key;
    let (most, window) = (u128::from(held.quota()), held.window().as_nanos());
    let (quota, every) = (u128::from(asked.quota()), asked.window().as_nanos());
    // What `asked` lets through in any time of the length `window`, for which a window of `asked` that is strict may be
    // laid beside another, and a bucket may be full at the beginning and refill. Of two buckets, the size and the rate are
    // compared apart.
    let kept = match (held.is_strict(), asked.is_strict()) {
        (true, true) => quota * window.div_ceil(every) <= most,
        (true, false) => quota * (every + window) <= most * every,
        (false, _) => quota <= most && quota * window <= most * every,
    };
    counted && kept
}

/// Whether every cap of `held` is kept by whoever keeps the caps of `asked`. Of two caps of one parameter the first holds.
pub(super) fn caps(held: &Caps, asked: &Caps) -> bool {
    held.iter().all(|(parameter, _)| match (first(held, parameter), first(asked, parameter)) {
        (_, Some(Cap::Forbidden)) | (None, _) => true,
        (Some(Cap::AtMost(most)), Some(Cap::AtMost(asked))) => asked <= most,
        (Some(_), _) => false,
    })
}

fn first(caps: &Caps, parameter: &str) -> Option<Cap> {
    caps.iter().find_map(|(name, cap)| (name == parameter).then_some(cap))
}
