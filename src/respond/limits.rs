//! `RateLimit` headers, for those who want them.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};

use crate::account::Standing;
use crate::account::{Counts, QuotaPolicy, Quotas};
use crate::respond::AnswerHeaders;

/// Adds `RateLimit-Policy` and `RateLimit` with all windows (draft-ietf-httpapi-ratelimit-headers-10). `RateLimit` has the
/// window with the least left alone, where the limiter tells no other. What counts more than the key names it as the
/// partition key, `pk`, in base64: `account` or `pool`. Both are lists: what the service says of its own limits stays.
pub(crate) fn limit_headers(headers: &mut impl AnswerHeaders, quotas: &Quotas, standing: &Standing) {
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    const STANDING: HeaderName = HeaderName::from_static("ratelimit");
    let mut text = String::new();
    for policy in quotas.policies() {
        let comma = if text.is_empty() { "" } else { ", " };
        let window = policy.window().as_secs().max(1);
        // Writing to a string does not fail.
        let _ =
            write!(text, "{comma}\"{}\";q={};w={window}{}", policy.name(), policy.quota(), part_of(policy));
    }
    insert(headers, POLICY, &text);
    let mut text = String::new();
    let least = std::slice::from_ref(standing);
    for standing in if standing.all.is_empty() { least } else { &standing.all } {
        let comma = if text.is_empty() { "" } else { ", " };
        let policy = quotas.policies().nth(standing.policy);
        let (name, part) = policy.map_or(("", ""), |policy| (policy.name(), part_of(policy)));
        let reset = standing.reset.as_secs() + u64::from(standing.reset.subsec_nanos() > 0);
        let _ = write!(text, "{comma}\"{name}\";r={};t={reset}{part}", standing.remaining);
    }
    insert(headers, STANDING, &text);
}

/// Whom a policy counts, as the parameter that tells it from one of the same name.
fn part_of(policy: &QuotaPolicy) -> &'static str {
    match policy.counts() {
        Counts::Key => "",
        Counts::Account => ";pk=:YWNjb3VudA==:",
        Counts::Pool(_) => ";pk=:cG9vbA==:",
    }
}

fn insert(headers: &mut impl AnswerHeaders, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.add(name, value);
    }
}
