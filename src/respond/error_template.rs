//! The compiled response of each denial kind, and its filling.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use smallvec::SmallVec;

use crate::account::{BreachKind, QuotaPolicy};
use crate::amount::Currency;
use crate::denial::Cause;
use crate::denial::{Denial, DenialKind};
use crate::name::Agreement;
use crate::respond::challenge::{Challenges, sufficient_scopes};
use crate::respond::error_text::waits;
use crate::respond::template::{Piece, Variable};
use crate::respond::{DenialContext, ResponseForDenial};

/// The number of seconds after which a request that could not be checked may be sent again.
const UNAVAILABLE_WAIT: u64 = 1;

/// The methods that the gate itself never denies. The gate cannot know which of them the service behind it has.
const NEVER_REFUSED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The compiled response of one kind. The parts that are the same in every response are built once.
#[derive(Debug)]
pub(super) struct ErrorTemplate {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    /// The headers of a denial of a Bearer key, if their challenge contains an error code.
    of_bearer: Option<HeaderMap>,
    pieces: Vec<Piece>,
}

impl ErrorTemplate {
    pub(super) fn new(
        kind: DenialKind,
        status: StatusCode,
        media_type: &'static str,
        challenges: &Challenges,
        request_id: &HeaderName,
        pieces: Vec<Piece>,
    ) -> Self {
        let waits = waits(kind);
        let mut headers = HeaderMap::with_capacity(8);
        // A clone of a header map has no spare room, so the headers that vary are inserted here and only overwritten
        // later.
        for varying in
            [Some(request_id), Some(&CONTENT_LENGTH), waits.then_some(&RETRY_AFTER)].into_iter().flatten()
        {
            headers.insert(varying, HeaderValue::from_static(""));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static(NEVER_REFUSED));
        }
        let challenging = |with: Vec<HeaderValue>| {
            let mut headers = headers.clone();
            for challenge in with {
                headers.append(WWW_AUTHENTICATE, challenge);
            }
            headers
        };
        let of_bearer = challenges.of_bearer(kind, status).map(challenging);
        Self { status, headers: challenging(challenges.of(status)), of_bearer, pieces }
    }

    /// Returns the headers of a denial's response, before their values are filled in.
    fn headers(&self, denial: &Denial) -> &HeaderMap {
        self.of_bearer.as_ref().filter(|_| denial.is_of_bearer()).unwrap_or(&self.headers)
    }
}

/// The compiled responses of all kinds.
#[derive(Debug)]
pub(crate) struct ErrorTemplates {
    /// The responses, indexed by the kind's place in [`DenialKind::ALL`].
    pub(super) by_kind: Vec<ErrorTemplate>,
    pub(super) agreement_urls: HashMap<Agreement, String>,
    pub(super) longest_wait: Duration,
}

impl ResponseForDenial for ErrorTemplates {
    fn respond(&self, denial: &Denial, context: &DenialContext<'_>) -> Response<Bytes> {
        let error_template = &self.by_kind[denial.kind() as usize];
        let mut buffer = ResponseBuffer::default();
        let wait = self.wait(denial);
        for piece in &error_template.pieces {
            match piece {
                Piece::Text(text) => buffer.push(text),
                Piece::Whole(Variable::ViolatedPolicies) => {
                    buffer.push("[");
                    buffer.push_list(denial.violated(), "\"", ",");
                    buffer.push("]");
                }
                Piece::Whole(variable) | Piece::Within(variable) => {
                    self.fill(*variable, denial, context, wait, &mut buffer);
                }
            }
        }
        let body = buffer.mark(0);
        let length = buffer.write_number(body.len() as u64);
        let retry_after = buffer.write_number(wait);
        let id = buffer.write(context.request_id().as_bytes());
        let headers = error_template.headers(denial);
        let lacking = buffer.write_lacking(error_template, denial);
        let buffer = buffer.into_bytes();

        let mut response = Response::new(buffer.slice(body));
        *response.status_mut() = error_template.status;
        *response.headers_mut() = headers.clone();
        // The headers that vary are already present. Iterating over a few headers costs less than hashing their names.
        for (name, value) in response.headers_mut().iter_mut() {
            let text = match name {
                &CONTENT_LENGTH => length.clone(),
                &RETRY_AFTER => retry_after.clone(),
                &WWW_AUTHENTICATE if !lacking.is_empty() => lacking.clone(),
                &ALLOW => {
                    if let Cause::Allowed(methods) = *denial.cause() {
                        *value = HeaderValue::from_static(methods);
                    }
                    continue;
                }
                name if name == context.request_id_header() => id.clone(),
                _ => continue,
            };
            if let Ok(filled) = HeaderValue::from_maybe_shared(buffer.slice(text)) {
                *value = filled;
            }
        }
        response
    }
}

impl ErrorTemplates {
    /// Returns the whole seconds to wait: rounded up, at least 1, and at most the configured maximum.
    fn wait(&self, denial: &Denial) -> u64 {
        let exact = denial
            .retry_after()
            .map_or(Duration::from_secs(UNAVAILABLE_WAIT), |wait| wait.min(self.longest_wait));
        (exact.as_secs() + u64::from(exact.subsec_nanos() > 0)).max(1)
    }

    fn fill(
        &self,
        variable: Variable,
        denial: &Denial,
        context: &DenialContext<'_>,
        wait: u64,
        buffer: &mut ResponseBuffer,
    ) {
        match (variable, denial.cause()) {
            (Variable::RequestId, _) => buffer.push_bytes(context.request_id().as_bytes()),
            (Variable::Instance, _) => buffer.push_escaped(&context.instance()),
            (Variable::RetryAfter, _) => buffer.push_number(wait),
            (Variable::Timestamp, _) => {
                let second = context.now().as_millis().div_euclid(1_000).saturating_mul(1_000);
                buffer.push_shown(crate::clock::Timestamp::from_millis(second));
            }
            (Variable::Policy, Cause::Wait { quotas, window_status, .. }) => {
                let policy = quotas.quotas().policies().nth(window_status.policy);
                buffer.push_escaped(policy.map_or("", QuotaPolicy::name));
            }
            (Variable::Policy, Cause::Weight { quotas, .. }) => {
                buffer.push_escaped(quotas.quotas().smallest().map_or("", QuotaPolicy::name));
            }
            (Variable::Weight, Cause::Weight { weight, .. }) => buffer.push_shown(weight),
            (Variable::Capacity, Cause::Weight { quotas, .. }) => {
                buffer.push_shown(quotas.quotas().capacity());
            }
            (Variable::ViolatedPolicies, _) => buffer.push_list(denial.violated(), "", ", "),
            (Variable::RequiredScope, Cause::Scopes(compiled)) => {
                buffer.push_escaped(compiled.required_scope.as_deref().unwrap_or_default());
            }
            (Variable::RequiredPlan, Cause::Plan(compiled)) => {
                buffer
                    .push_escaped(compiled.rule.min_plan.as_ref().map_or("", crate::name::PlanName::as_str));
            }
            (Variable::Agreement, Cause::Agreement(agreement)) => buffer.push_escaped(agreement.as_str()),
            (Variable::AgreementUrl, Cause::Agreement(agreement)) => {
                buffer.push_escaped(self.agreement_urls.get(agreement).map_or("", String::as_str));
            }
            (Variable::Parameter, Cause::Parameter(breach)) => buffer.push_escaped(&breach.parameter),
            (Variable::Cap, Cause::Parameter(breach)) => {
                let BreachKind::Above(cap) = breach.problem else { return };
                buffer.push_shown(cap);
            }
            (Variable::Member, Cause::Member { member, .. }) => buffer.push_escaped(member),
            (Variable::Problem, Cause::Member { problem, .. }) => buffer.push_escaped(problem),
            (Variable::MaxKeys, Cause::MaxKeys(most)) => buffer.push_shown(most),
            (Variable::MaxInFlight, Cause::InFlight(limit)) => buffer.push_shown(limit.most()),
            (Variable::Balance, Cause::Balance { balance, .. }) => buffer.push_shown(balance),
            (Variable::Cost, Cause::Balance { cost, .. } | Cause::Budget { cost, .. }) => {
                buffer.push_shown(cost);
            }
            (Variable::Currency, Cause::Balance { currency, .. } | Cause::Budget { currency, .. }) => {
                buffer.push(currency.as_str());
            }
            (Variable::Currency, _) => buffer.push(Currency::CREDITS.as_str()),
            (Variable::Left, Cause::Budget { left, .. }) => buffer.push_shown(left),
            (Variable::Resets, Cause::Budget { resets, .. }) => buffer.push_shown(resets),
            // A denial that was constructed by hand may lack values of its kind. A missing number is zero, and a
            // missing text is empty.
            _ if variable.is_number() => buffer.push("0"),
            _ => {}
        }
    }
}

/// The buffer of one response, in one allocation. The body and the header values are slices of it.
#[derive(Default)]
struct ResponseBuffer(SmallVec<[u8; 512]>);

impl ResponseBuffer {
    fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    fn push_bytes(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn push_shown(&mut self, value: impl std::fmt::Display) {
        // Writing to a vector does not fail.
        let _ = write!(self, "{value}");
    }

    /// Appends a text from outside, escaped for a JSON string.
    fn push_escaped(&mut self, text: &str) {
        if !text.bytes().any(|byte| matches!(byte, b'"' | b'\\' | ..=0x1f | 0x7f)) {
            return self.push(text);
        }
        for character in text.chars() {
            match character {
                '"' | '\\' => self.push_shown(format_args!("\\{character}")),
                '\0'..='\x1f' | '\x7f' => self.push_shown(format_args!("\\u{:04x}", u32::from(character))),
                plain => self.push(plain.encode_utf8(&mut [0; 4])),
            }
        }
    }

    /// Appends the names of quotas between quotes, and with commas between two.
    fn push_list<'p>(&mut self, policies: impl Iterator<Item = &'p QuotaPolicy>, quote: &str, comma: &str) {
        for (place, policy) in policies.enumerate() {
            self.push(if place == 0 { "" } else { comma });
            self.push(quote);
            self.push_escaped(policy.name());
            self.push(quote);
        }
    }

    /// Returns the range from a place to the end of the buffer.
    fn mark(&self, from: usize) -> Range<usize> {
        from..self.0.len()
    }

    fn push_number(&mut self, mut number: u64) {
        let (mut digits, mut first) = ([b'0'; 20], 20);
        while number > 0 || first == digits.len() {
            first -= 1;
            digits[first] += (number % 10) as u8;
            number /= 10;
        }
        self.0.extend_from_slice(&digits[first..]);
    }

    fn write(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.0.len();
        self.push_bytes(text);
        self.mark(from)
    }

    fn write_number(&mut self, number: u64) -> Range<usize> {
        let from = self.0.len();
        self.push_number(number);
        self.mark(from)
    }

    /// Appends the challenge of a Bearer key that lacks a scope, with the scopes that are sufficient. Appends nothing
    /// if there are none.
    fn write_lacking(&mut self, error_template: &ErrorTemplate, denial: &Denial) -> Range<usize> {
        let from = self.0.len();
        if error_template.status == StatusCode::FORBIDDEN
            && let Cause::Scopes(compiled) = denial.cause()
            && let Some(challenge) = error_template.headers(denial).get(WWW_AUTHENTICATE)
            && let [first, others @ ..] = sufficient_scopes(compiled)
        {
            self.0.extend_from_slice(challenge.as_bytes());
            self.push(", scope=\"");
            self.push(first.as_str());
            for scope in others {
                self.push_shown(format_args!(" {}", scope.as_str()));
            }
            self.push("\"");
        }
        self.mark(from)
    }

    fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

impl Write for ResponseBuffer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text);
        Ok(())
    }
}
