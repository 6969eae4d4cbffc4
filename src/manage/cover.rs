//! Comparison of quotas and limits by what they admit.

use crate::account::{InFlightLimits, ParamLimit, ParamLimits, QuotaPolicy, QuotaScope, Quotas};

/// Returns true if all requests that comply with the windows of `asked` also comply with every window of `held`.
pub(super) fn quotas(held: &Quotas, asked: &Quotas) -> bool {
    held.policies().all(|held| asked.policies().any(|asked| keeps(held, asked)))
}

/// Returns true if requests that comply with `asked` always comply with `held`. A quota that counts more requests
/// together admits fewer.
fn keeps(held: &QuotaPolicy, asked: &QuotaPolicy) -> bool {
    let counted = counts_as_much(held.counts(), asked.counts());
    // A request takes at least one unit of a quota that does not count requests.
    let counted = counted && (held.counts_requests() || !asked.counts_requests());
    let (most, window) = (u128::from(held.quota()), held.window().as_nanos());
    let (quota, every) = (u128::from(asked.quota()), asked.window().as_nanos());
    let (capacity, burst) = (u128::from(held.capacity()), u128::from(asked.capacity()));
    // Compare the requests that `asked` admits in any period of the length `window`. In such a period, one strict
    // window of `asked` may directly follow another, and a bucket may be full at the start and refill. For two buckets,
    // compare the size and the rate separately.
    let kept = match (held.is_strict(), asked.is_strict()) {
        (true, true) => quota * window.div_ceil(every) <= most,
        (true, false) => burst * every + quota * window <= most * every,
        (false, _) => burst <= capacity && quota * window <= most * every,
    };
    counted && kept
}

/// Returns true if requests in flight that comply with the limits of `asked` also comply with every limit of `held`.
pub(super) fn in_flight(held: &InFlightLimits, asked: &InFlightLimits) -> bool {
    held.all().iter().all(|held| {
        asked
            .all()
            .iter()
            .any(|asked| counts_as_much(held.counts(), asked.counts()) && asked.most() <= held.most())
    })
}

/// Returns true if `asked` counts at least the requests together that `held` does.
fn counts_as_much(held: &QuotaScope, asked: &QuotaScope) -> bool {
    match (held, asked) {
        // One key can send requests from several networks.
        (QuotaScope::Key, QuotaScope::Network(_)) => false,
        (QuotaScope::Key, _) => true,
        (held, asked) => held == asked,
    }
}

/// Returns true if parameters that comply with `asked` always comply with `held`. If one parameter has two limits, the
/// first applies.
pub(super) fn caps(held: &ParamLimits, asked: &ParamLimits) -> bool {
    held.iter().all(|(parameter, _)| match (first(held, parameter), first(asked, parameter)) {
        (_, Some(ParamLimit::Forbidden)) | (None, _) => true,
        (Some(ParamLimit::AtMost(most)), Some(ParamLimit::AtMost(asked))) => asked <= most,
        (Some(_), _) => false,
    })
}

fn first(caps: &ParamLimits, parameter: &str) -> Option<ParamLimit> {
    caps.iter().find_map(|(name, cap)| (name == parameter).then_some(cap))
}
