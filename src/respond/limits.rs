//! The optional `RateLimit` headers of a response.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};

use crate::account::WindowStatus;
use crate::account::{QuotaOrigin, QuotaPolicy, QuotaScope, Quotas};
use crate::respond::AnswerHeaders;

/// Adds `RateLimit-Policy` and `RateLimit` for all windows (draft-ietf-httpapi-ratelimit-headers-11). If the limiter
/// reports no other window, `RateLimit` contains only the window with the least left. A policy that counts more than
/// the key, or that belongs to a rule, has a partition key, `pk`, in both fields. Both fields are lists: values that the
/// service adds for its own limits are kept. `retry_after` is the wait of a refused request.
///
/// A policy that does not count requests has its unit, `qu`. If the gate `weighs` requests, this includes each policy
/// without a unit, so that the field is the same on all routes.
///
/// `t` is the time until more quota is available. A full window has no `t`. A `Retry-After` that the response already has
/// must not be earlier than a `t`, so that a window with a later `t` has none.
pub(crate) fn limit_headers(
    headers: &mut impl AnswerHeaders,
    quotas: &Quotas,
    least: &WindowStatus,
    retry_after: Option<Duration>,
    weighs: bool,
) {
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    const STANDING: HeaderName = HeaderName::from_static("ratelimit");
    let mut text = String::new();
    for (policy, origin) in quotas.policies().zip(quotas.origins()) {
        // Rounded up, because a shorter window would promise more than the quota.
        let (quota, window) = (policy.quota(), seconds(policy.window()));
        match unit(policy, weighs) {
            Some(unit) => item(&mut text, policy, origin, format_args!("q={quota};w={window};qu=\"{unit}\"")),
            None => item(&mut text, policy, origin, format_args!("q={quota};w={window}")),
        }
    }
    insert(headers, POLICY, &text);
    let promised = promised(headers);
    let mut text = String::new();
    for window_status in if least.all.is_empty() { std::slice::from_ref(least) } else { &least.all } {
        let place = window_status.policy;
        let (Some(policy), Some(origin)) = (quotas.policies().nth(place), quotas.origin_of(place)) else {
            continue;
        };
        let decides = retry_after.filter(|_| window_status.policy == least.policy);
        let more = seconds(decides.unwrap_or_else(|| window_status.next()));
        let left = window_status.remaining;
        if more == 0 || promised.is_some_and(|promised| more > promised) {
            item(&mut text, policy, origin, format_args!("r={left}"));
        } else {
            item(&mut text, policy, origin, format_args!("r={left};t={more}"));
        }
    }
    insert(headers, STANDING, &text);
}

/// Returns the seconds that the response's `Retry-After` names, if there is one. A date is read as zero.
fn promised(headers: &impl AnswerHeaders) -> Option<u64> {
    let mut promised = None;
    headers.any(&RETRY_AFTER, |value| {
        let seconds = std::str::from_utf8(value).ok().and_then(|seconds| seconds.parse().ok());
        promised = Some(seconds.unwrap_or(0));
        false
    });
    promised
}

/// Appends a policy's name and parameters to a list.
fn item(text: &mut String, policy: &QuotaPolicy, origin: &QuotaOrigin, parameters: fmt::Arguments<'_>) {
    let comma = if text.is_empty() { "" } else { ", " };
    // Writing to a string cannot fail.
    let _ = write!(text, "{comma}\"{}\";{parameters}", policy.name());
    let owner = Some(scope_text(policy.counts())).filter(|_| *policy.counts() != QuotaScope::Key);
    let origin = match origin {
        QuotaOrigin::Plan => None,
        QuotaOrigin::Anonymous => Some("anonymous".into()),
        QuotaOrigin::Rule(route) => Some(format!("rule:{route}").into()),
        QuotaOrigin::Shared(name) => Some(format!("shared:{name}").into()),
    };
    let parts: Vec<Cow<'_, str>> = owner.into_iter().chain(origin).collect();
    if !parts.is_empty() {
        partition(text, &parts.join(" "));
    }
}

/// Returns the owner whose requests a quota counts, in the form of the configuration.
pub(super) fn scope_text(counts: &QuotaScope) -> Cow<'static, str> {
    match counts {
        QuotaScope::Key => "key".into(),
        QuotaScope::Account => "account".into(),
        QuotaScope::Network(_) => "network".into(),
        QuotaScope::Pool(name) => format!("pool:{}", name.as_str()).into(),
    }
}

/// Returns the unit of a quota, if it may be another than requests: the configured one, or units of the weight if a gate
/// `weighs` requests.
pub(super) fn unit(policy: &QuotaPolicy, weighs: bool) -> Option<&str> {
    let unit = policy.unit().or(weighs.then_some("units"));
    unit.filter(|_| !policy.counts_requests())
}

/// Returns whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Appends a partition key, which distinguishes policies of the same name. It is a byte sequence (RFC 9651, section
/// 3.3.5).
fn partition(text: &mut String, name: &str) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.push_str(";pk=:");
    for three in name.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
            text.push(if place > three.len() { '=' } else { digit });
        }
    }
    text.push(':');
}

fn insert(headers: &mut impl AnswerHeaders, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.add(name, value);
    }
}
