//! Responses to denied gRPC calls: a gRPC status for each denial kind, without a body.

mod details;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::account::QuotaPolicy;
use crate::denial::Cause;
use crate::denial::default_status;
use crate::denial::{Denial, DenialKind};
use crate::error::ConfigError;
use crate::key::KeySource;
use crate::respond::error_template::ErrorTemplates;
use crate::respond::grpc::details::{Details, Reason, Violation};
use crate::respond::limits::{CONCURRENT_REQUESTS, IN_FLIGHT, in_flight_scope_text, scope_text, unit};
use crate::respond::{DenialContext, ErrorFormat, Protocol, ResponseForDenial};

/// The wait of a call whose denial names no wait of its own.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// The unit of quotas that have no other.
const REQUESTS: &str = "requests";

/// The variables of a denial that its error details repeat beside code and message, if the kind has them.
const METADATA: [&str; 17] = [
    "request_id",
    "policy",
    "weight",
    "capacity",
    "required_scope",
    "required_plan",
    "agreement",
    "agreement_url",
    "parameter",
    "cap",
    "balance",
    "cost",
    "currency",
    "left",
    "resets",
    "max_keys",
    "max_in_flight",
];

/// A responder for gRPC calls, which writes the presentation's texts as gRPC statuses.
#[derive(Debug)]
pub(crate) struct Calls {
    /// The templates of this crate for gRPC, filled with the presentation's texts.
    error_templates: ErrorTemplates,
    domain: String,
}

impl Calls {
    pub(crate) fn new(
        error_format: &ErrorFormat,
        sources: &[KeySource],
        request_id: &HeaderName,
    ) -> Result<Self, ConfigError> {
        let metadata = METADATA.map(|name| (name.to_owned(), Value::from(format!("{{{name}}}"))));
        let template = json!({ "code": "{code}", "message": "{message}", "metadata": Value::Object(metadata.into_iter().collect()) });
        let domain = error_format.realm_or("tollgate").to_owned();
        Ok(Self { error_templates: error_format.in_shape(template).compile(sources, request_id)?, domain })
    }

    pub(crate) fn respond<'a>(
        &'a self,
        protocol: Protocol,
        denial: &'a Denial,
        context: &DenialContext<'_>,
    ) -> Response<Bytes> {
        // The template is filled as JSON, so parsing the result returns the values that were filled in.
        let filled: Value =
            serde_json::from_slice(self.error_templates.respond(denial, context).body()).unwrap_or_default();
        let text = |member: &str| filled.get(member).and_then(Value::as_str).unwrap_or_default();
        let pushback = self.pushback(denial);
        let reason = Reason { code: text("code"), domain: &self.domain, metadata: filled.get("metadata") };
        let wait = pushback.and_then(|pushback| u64::try_from(pushback).ok()).map(Duration::from_millis);
        let code = code(denial, self.error_templates.by_kind[denial.kind() as usize].status);
        let weighs = denial.rule().is_some_and(|rule| !rule.weight.is_one());
        let violation = |policy: &'a QuotaPolicy| Violation {
            subject: scope_text(policy.counts()),
            api_service: &self.domain,
            metric: unit(policy, weighs).unwrap_or(REQUESTS),
            id: policy.name(),
            quota: policy.quota(),
        };
        let full = denial.full().map(|limit| Violation {
            subject: in_flight_scope_text(limit),
            api_service: &self.domain,
            metric: CONCURRENT_REQUESTS,
            id: IN_FLIGHT,
            quota: limit.most(),
        });
        let violations = denial.violated().map(violation).chain(full).collect();
        let details =
            Details { code: code as i32, message: text("message"), reason, violations, wait }.encode();

        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(pushback) = pushback {
            headers.insert(HeaderName::from_static("grpc-retry-pushback-ms"), pushback.into());
        }
        let metadata = MetadataMap::from_headers(headers);
        let refused = Status::with_details_and_metadata(code, text("message"), details, metadata);
        let mut response = refused.into_http();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(protocol.media_type()));
        response
    }

    /// Returns the number of milliseconds after which the call may be made again (gRFC A6). It is negative if a retry
    /// would not help.
    fn pushback(&self, denial: &Denial) -> Option<i64> {
        let exact = match denial.kind() {
            DenialKind::CreditsExhausted => return Some(-1),
            DenialKind::Unavailable if !matches!(denial.cause(), Cause::Deadline) => SHORTEST_WAIT,
            DenialKind::BudgetExceeded
            | DenialKind::RateLimited
            | DenialKind::InFlightLimited
            | DenialKind::TooManyAttempts => denial.retry_after().unwrap_or(SHORTEST_WAIT),
            _ => return None,
        };
        let exact = exact.min(self.error_templates.longest_wait);
        i64::try_from(exact.as_nanos().div_ceil(1_000_000).max(1)).ok()
    }
}

/// Returns the gRPC code of a denial. It is the code of the denial's kind. If a configuration gives another HTTP status
/// to a kind of `unauthorized`, `forbidden` or `bad_request`, it is the code of that status. Exhausted and unavailable
/// kinds keep their code, because a client must know if it may retry.
fn code(denial: &Denial, configured: StatusCode) -> Code {
    if matches!(denial.cause(), Cause::Deadline) {
        return Code::DeadlineExceeded;
    }
    let by_kind = of_kind(denial.kind());
    let follows = matches!(by_kind, Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument);
    if follows && configured != default_status(denial.kind()) {
        of_status(configured).unwrap_or(by_kind)
    } else {
        by_kind
    }
}

fn of_status(status: StatusCode) -> Option<Code> {
    Some(match status.as_u16() {
        400 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        402 | 429 => Code::ResourceExhausted,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        409 => Code::Aborted,
        503 => Code::Unavailable,
        500.. => Code::Internal,
        _ => return None,
    })
}

fn of_kind(kind: DenialKind) -> Code {
    let lineage = std::iter::successors(Some(kind), |kind| kind.parent());
    let known = lineage.map(|kind| match kind {
        DenialKind::Unauthorized => Code::Unauthenticated,
        DenialKind::Forbidden => Code::PermissionDenied,
        DenialKind::NotFound => Code::NotFound,
        DenialKind::KeyLimitReached
        | DenialKind::CreditsExhausted
        | DenialKind::BudgetExceeded
        | DenialKind::RateLimited
        | DenialKind::InFlightLimited
        | DenialKind::TooManyAttempts => Code::ResourceExhausted,
        DenialKind::Conflict => Code::Aborted,
        DenialKind::MethodNotAllowed => Code::Unimplemented,
        DenialKind::BadRequest => Code::InvalidArgument,
        DenialKind::TooEarly | DenialKind::Unavailable => Code::Unavailable,
        DenialKind::Misconfigured => Code::Internal,
        _ => Code::Ok,
    });
    known.into_iter().find(|code| *code != Code::Ok).unwrap_or(Code::Internal)
}
