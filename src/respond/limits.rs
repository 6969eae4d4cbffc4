//! The optional `RateLimit` headers of a response.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};

use crate::account::{InFlightLimit, Limits, QuotaOrigin, QuotaPolicy, QuotaScope, WindowStatus};
use crate::respond::AnswerHeaders;

/// The limits that the headers of a response report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportedLimits<'l> {
    limits: &'l Limits,
    /// The window with the least left. `None` if the request has not drawn.
    pub(crate) least: Option<&'l WindowStatus>,
    /// True if the gate's rules have weights.
    weighs: bool,
    /// The limit on requests in flight that denies the request.
    full: Option<&'l InFlightLimit>,
    /// The wait of a denied request.
    retry_after: Option<Duration>,
}

impl<'l> ReportedLimits<'l> {
    pub(crate) fn new(limits: &'l Limits, least: Option<&'l WindowStatus>, weighs: bool) -> Self {
        Self { limits, least, weighs, full: None, retry_after: None }
    }

    /// Adds the limit on requests in flight that denies the request, and its wait.
    pub(crate) fn of_denial(self, full: Option<&'l InFlightLimit>, retry_after: Option<Duration>) -> Self {
        Self { full, retry_after, ..self }
    }
}

/// Adds `RateLimit-Policy` and `RateLimit` for all windows (draft-ietf-httpapi-ratelimit-headers-11). If the limiter
/// reports no other window, `RateLimit` contains only the window with the least left. A policy that counts more than
/// the key, or that belongs to a rule, has a partition key, `pk`, in both fields. Both fields are lists: values that the
/// service adds for its own limits are kept.
///
/// A policy that does not count requests has its unit, `qu`. If the gate weighs requests, this includes each policy
/// without a unit, so that the field is the same on all routes. Limits on requests in flight have the unit
/// `concurrent-requests` and no window. They are in `RateLimit` only if they deny the request.
///
/// `t` is the time until more quota is available. A full window has no `t`. A `Retry-After` that the response already has
/// must not be earlier than a `t`, so that a window with a later `t` has none.
pub(crate) fn limit_headers(headers: &mut impl AnswerHeaders, reported: &ReportedLimits<'_>) {
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    const STANDING: HeaderName = HeaderName::from_static("ratelimit");
    let ReportedLimits { limits: Limits { quotas, in_flight, .. }, least, weighs, full, retry_after } =
        *reported;
    let (mut policies, mut standing) = (String::new(), String::new());
    for (policy, origin) in quotas.policies().zip(quotas.origins()).filter(|_| least.is_some()) {
        // Rounded up, because a shorter window would promise more than the quota.
        let (quota, window) = (policy.quota(), seconds(policy.window()));
        let part = Part::of(policy, origin);
        match unit(policy, weighs) {
            Some(unit) => part.push(&mut policies, format_args!("q={quota};w={window};qu=\"{unit}\"")),
            None => part.push(&mut policies, format_args!("q={quota};w={window}")),
        }
    }
    let promised = promised(headers);
    let all = least.map_or(&[][..], |least| match &*least.all {
        [] => std::slice::from_ref(least),
        all => all,
    });
    for window_status in all {
        let place = window_status.policy;
        let (Some(policy), Some(origin)) = (quotas.policies().nth(place), quotas.origin_of(place)) else {
            continue;
        };
        let decides = retry_after.filter(|_| least.is_some_and(|least| place == least.policy));
        // A heavy request may have to wait longer than until there is more quota.
        let more = seconds(decides.map_or(window_status.next(), |wait| wait.min(window_status.next())));
        let (left, part) = (window_status.remaining, Part::of(policy, origin));
        if more == 0 || promised.is_some_and(|promised| more > promised) {
            part.push(&mut standing, format_args!("r={left}"));
        } else {
            part.push(&mut standing, format_args!("r={left};t={more}"));
        }
    }
    let is_told = |limit: &&InFlightLimit| !matches!(limit.origin(), QuotaOrigin::Shadow(_));
    for limit in in_flight.all().iter().filter(is_told) {
        let (part, most) = (Part::of_in_flight(limit), limit.most());
        part.push(&mut policies, format_args!("q={most};qu=\"{CONCURRENT_REQUESTS}\""));
        if full == Some(limit) {
            part.push(&mut standing, format_args!("r=0"));
        }
    }
    add(headers, POLICY, &policies);
    add(headers, STANDING, &standing);
}

/// The unit of limits on requests in flight.
pub(super) const CONCURRENT_REQUESTS: &str = "concurrent-requests";

/// The name of limits on requests in flight.
pub(super) const IN_FLIGHT: &str = "in_flight";

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

/// The name of a limit, with what distinguishes limits of the same name.
struct Part<'l> {
    name: &'l str,
    /// The owner, if it is not the key.
    owner: Option<Cow<'static, str>>,
    origin: &'l QuotaOrigin,
}

impl<'l> Part<'l> {
    fn of(policy: &'l QuotaPolicy, origin: &'l QuotaOrigin) -> Self {
        let owner = Some(scope_text(policy.counts())).filter(|_| *policy.counts() != QuotaScope::Key);
        Self { name: policy.name(), owner, origin }
    }

    fn of_in_flight(limit: &'l InFlightLimit) -> Self {
        let owner = Some(in_flight_scope_text(limit)).filter(|_| *limit.counts() != QuotaScope::Key);
        Self { name: IN_FLIGHT, owner, origin: limit.origin() }
    }

    /// Appends the limit and its parameters to a list.
    fn push(&self, text: &mut String, parameters: fmt::Arguments<'_>) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}\"{}\";{parameters}", self.name);
        let origin = match self.origin {
            // Windows in shadow are not told.
            QuotaOrigin::Plan | QuotaOrigin::Shadow(_) => None,
            QuotaOrigin::Anonymous => Some("anonymous".into()),
            QuotaOrigin::Rule(route) => Some(format!("rule:{route}").into()),
            QuotaOrigin::Shared(name) => Some(format!("shared:{name}").into()),
        };
        let parts: Vec<Cow<'_, str>> = self.owner.clone().into_iter().chain(origin).collect();
        if !parts.is_empty() {
            partition(text, &parts.join(" "));
        }
    }
}

/// Returns the owner whose requests a limit on requests in flight counts: `all` for that on all requests of a gate.
pub(super) fn in_flight_scope_text(limit: &InFlightLimit) -> Cow<'static, str> {
    if limit.is_total() { "all".into() } else { scope_text(limit.counts()) }
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

fn add(headers: &mut impl AnswerHeaders, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text)
        && !text.is_empty()
    {
        headers.add(name, value);
    }
}
