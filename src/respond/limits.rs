//! `RateLimit` headers, for those who want them.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};

use crate::account::Standing;
use crate::respond::AnswerHeaders;
use crate::{QuotaPolicy, Quotas};

/// Adds `RateLimit-Policy` with all windows and `RateLimit` with the one that has the least left
/// (draft-ietf-httpapi-ratelimit-headers-10).
pub(crate) fn limit_headers(headers: &mut impl AnswerHeaders, quotas: &Quotas, standing: &Standing) {
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    const STANDING: HeaderName = HeaderName::from_static("ratelimit");
    let mut text = String::new();
    for policy in quotas.policies() {
        let comma = if text.is_empty() { "" } else { ", " };
        let window = policy.window().as_secs().max(1);
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}\"{}\";q={};w={window}", policy.name(), policy.quota());
    }
    insert(headers, POLICY, &text);
    let name = quotas.policies().nth(standing.policy).map_or("", QuotaPolicy::name);
    let reset = standing.reset.as_secs() + u64::from(standing.reset.subsec_nanos() > 0);
    insert(headers, STANDING, &format!("\"{name}\";r={};t={reset}", standing.remaining));
}

fn insert(headers: &mut impl AnswerHeaders, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.set(name, value);
    }
}
