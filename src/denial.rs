//! Denials: the kinds of denial, their causes, and their log events.
//!
//! A gate returns a denial for each request that it does not admit. The kind is for programs: it selects the response
//! and names a metric.
//!
//! # Example
//!
//! A gate that counts its denials by kind:
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use http::{Request, StatusCode};
//! use tollgate::key::Length;
//! use tollgate::{DenialKind, Gate, KeyFormat, KeySource, RequestView};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let counts: Arc<Mutex<HashMap<DenialKind, u64>>> = Arc::default();
//! let counted = Arc::clone(&counts);
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .on_denial(move |denial| *counted.lock().unwrap().entry(denial.kind()).or_default() += 1)
//!     .build()?;
//!
//! let request = Request::get("/v1/candles").header("X-API-Key", "acme_tooshort").body(())?;
//! let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
//! assert_eq!(denial.kind(), DenialKind::InvalidFormat);
//! assert_eq!(denial.kind().parent(), Some(DenialKind::Unauthorized));
//! assert_eq!(denial.kind().status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(counts.lock().unwrap()[&DenialKind::InvalidFormat], 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`DenialKind`]: the reason. Most kinds have a parent, which supplies the status and the texts that a configuration
//!   does not set for the kind.
//! - [`Denial`]: the kind, and the key, the account, the rule and the back end's error as far as they are known.
//!
//! The module [`respond`](crate::respond) makes a response from a denial.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::account::{Breach, BreachKind, ExceededQuotas, InFlightLimit, Limits, TermsError, WindowStatus};
use crate::account::{QuotaPolicy, Quotas};
use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::key::{KeyId, KeyRecord, KeySource};
use crate::rule::CompiledRule;

use crate::name::{AccountId, Agreement, PlanName};
use crate::rule::Rule;
use crate::spare::{self, Spare};
use crate::trace;

/// Declares the kinds with their configuration names, parents and default statuses, in one table.
macro_rules! denial_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $parent:expr;)+) => {
        /// The kinds of denial.
        ///
        /// Most kinds have a parent, so that a configuration can set common values once. A value that is not set for a
        /// kind is taken from its parent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DenialKind {
            $($(#[$doc])* $kind,)+
        }

        impl DenialKind {
            /// All kinds. Parents precede their children.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The name of the kind in a configuration, in a log and in a metric.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// The kind that supplies the values that are not set for this one.
            pub const fn parent(self) -> Option<Self> {
                match self { $(Self::$kind => $parent,)+ }
            }

            /// The default HTTP status of the kind, for a configuration that sets no other.
            pub fn status(self) -> http::StatusCode {
                default_status(self)
            }
        }
    };
}

denial_kinds! {
    /// A request without a valid key. 401.
    Unauthorized = "unauthorized", None;
    /// A request without a key.
    Missing = "missing", Some(Self::Unauthorized);
    /// A credential that contains no key.
    Malformed = "malformed", Some(Self::Missing);
    /// Two keys where one is allowed.
    Duplicate = "duplicate", Some(Self::Unauthorized);
    /// A key that matches no format.
    InvalidFormat = "invalid_format", Some(Self::Unauthorized);
    /// A key that is not in the store.
    Unknown = "unknown", Some(Self::Unauthorized);
    /// A key that was revoked.
    Revoked = "revoked", Some(Self::Unauthorized);
    /// A key that has expired.
    Expired = "expired", Some(Self::Revoked);
    /// A key that is paused.
    Paused = "paused", Some(Self::Revoked);
    /// A key that must not be used from this address. By default the response is that of an unknown key, so that it
    /// reveals nothing about the key.
    AddressNotAllowed = "address_not_allowed", Some(Self::Unknown);
    /// A valid key that does not permit the request. 403.
    Forbidden = "forbidden", None;
    /// A key that came over a channel without encryption, where the gate refuses that. The denial precedes the look-up, so it
    /// reveals nothing about the key.
    InsecureChannel = "insecure_channel", Some(Self::Forbidden);
    /// An account that is suspended.
    AccountSuspended = "account_suspended", Some(Self::Forbidden);
    /// An account that was deleted.
    AccountDeleted = "account_deleted", Some(Self::AccountSuspended);
    /// An account without an active subscription.
    SubscriptionRequired = "subscription_required", Some(Self::Forbidden);
    /// An account that has not signed a required agreement.
    AgreementRequired = "agreement_required", Some(Self::Forbidden);
    /// A route that requires a higher plan, or that is closed to this one.
    PlanRequired = "plan_required", Some(Self::Forbidden);
    /// A route that admits no key. Either no rule matches the request and unmatched requests are
    /// [denied](crate::gate::GateBuilder::deny_unmatched), or routers read the path
    /// [differently](crate::rule::Rule#paths-that-routers-read-differently). This kind is returned by
    /// [`Check::Scopes`](crate::gate::Check::Scopes).
    RouteDenied = "route_denied", Some(Self::Forbidden);
    /// A restricted key to which nothing grants this route.
    NotGranted = "not_granted", Some(Self::Forbidden);
    /// A key that lacks a required scope.
    ScopeRequired = "scope_required", Some(Self::NotGranted);
    /// A plan that does not include the requested feature. 403.
    FeatureRequired = "feature_required", Some(Self::PlanRequired);
    /// A key that would issue a key with wider permissions than its own. 403.
    TooWide = "too_wide", Some(Self::Forbidden);
    /// A resource that does not exist or belongs to another account. 404.
    NotFound = "not_found", None;
    /// A request that conflicts with the current state. 409.
    Conflict = "conflict", None;
    /// An account that has reached its plan's maximum number of active keys. 409.
    KeyLimitReached = "key_limit_reached", Some(Self::Conflict);
    /// A balance smaller than the cost. 402.
    CreditsExhausted = "credits_exhausted", None;
    /// A cost above what is left of the key's budget in this period. 429.
    BudgetExceeded = "budget_exceeded", None;
    /// An exceeded quota. 429.
    RateLimited = "rate_limited", None;
    /// A request beyond a limit on requests in flight. 429.
    InFlightLimited = "in_flight_limited", None;
    /// A request without a valid key, from a network that has sent too many of them. 429.
    TooManyAttempts = "too_many_attempts", None;
    /// A request that cannot be parsed. 400.
    BadRequest = "bad_request", None;
    /// A query parameter that the plan does not allow. 400.
    ParameterForbidden = "parameter_forbidden", Some(Self::BadRequest);
    /// A query parameter above what the plan or the cost allows. 400.
    ParameterAboveCap = "parameter_above_cap", Some(Self::BadRequest);
    /// A request that takes more units of a quota than it can ever hold. 400.
    WeightTooLarge = "weight_too_large", Some(Self::BadRequest);
    /// A query parameter that must be a single plain number and is not. 400.
    ParameterUnreadable = "parameter_unreadable", Some(Self::BadRequest);
    /// A body member or a parameter that is invalid. 400.
    InvalidMember = "invalid_member", Some(Self::BadRequest);
    /// A body that is too large. 413.
    BodyTooLarge = "body_too_large", Some(Self::BadRequest);
    /// A body that did not arrive in time. 408.
    BodyTimeout = "body_timeout", Some(Self::BadRequest);
    /// A body whose `Content-Type` is another than the one that is read. 415.
    UnsupportedMediaType = "unsupported_media_type", Some(Self::BadRequest);
    /// A method that is never served. 405.
    MethodNotAllowed = "method_not_allowed", Some(Self::BadRequest);
    /// A request in early data, which could be a replay (RFC 8470). 425.
    TooEarly = "too_early", Some(Self::BadRequest);
    /// A back end that could not decide. 503.
    Unavailable = "unavailable", None;
    /// Operator data that contradicts the configuration. 500.
    Misconfigured = "misconfigured", None;
    /// A panic in a back end or in a closure that the gate calls. 500.
    Internal = "internal", Some(Self::Misconfigured);
}

/// The details of a denial beyond its kind.
#[derive(Debug, Clone, Default)]
pub(crate) enum Cause {
    #[default]
    None,
    Wait {
        retry_after: Duration,
        window_status: WindowStatus,
        quotas: ExceededQuotas,
        weight: NonZeroU32,
    },
    /// The weight of a request, which is above the capacity of one of the quotas.
    Weight {
        weight: NonZeroU32,
        quotas: ExceededQuotas,
    },
    /// The time after which the client's network may try again.
    Attempts(Duration),
    /// The limit on requests in flight that has no free slot.
    InFlight(InFlightLimit),
    Scopes(Arc<CompiledRule>),
    Plan(Arc<CompiledRule>),
    Agreement(Agreement),
    Parameter(Breach),
    Member {
        member: String,
        problem: String,
    },
    MaxKeys(u32),
    /// The methods that the path supports, in the form of an `Allow` header.
    Allowed(&'static str),
    Balance {
        balance: Credits,
        cost: Credits,
        currency: Currency,
    },
    /// The budget of the key, which does not cover the cost.
    Budget {
        left: Credits,
        cost: Credits,
        currency: Currency,
        /// The start of the next period, and the time until then.
        resets: Timestamp,
        wait: Duration,
    },
    Store(StoreError),
    /// A caller's deadline that passed before the decision.
    Deadline,
    Operator(Problem),
}

/// A problem that the operator must correct. Its text is made only when the log needs it.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    Unknown(TermsError),
    NoKeyYet,
    AddressUnknown,
    Managed(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.fmt(f),
            Self::Managed(problem) => f.write_str(problem),
            Self::NoKeyYet => f.write_str("a check was made before the key was found"),
            Self::AddressUnknown => f.write_str(
                "a quota counts networks, and the client's address is unknown: the server must provide the peer's \
                 address, as axum's `ConnectInfo` or as a `Peer`, and a trusted proxy must report the client's address",
            ),
        }
    }
}

/// A denial: its kind and its details. It contains no part of the key's secret.
///
/// # Example
///
/// ```
/// use tollgate::{Denial, DenialKind};
///
/// let denial = Denial::of(DenialKind::Revoked);
/// assert_eq!(denial.kind().parent(), Some(DenialKind::Unauthorized));
/// assert_eq!(denial.to_string(), "the request was denied: revoked");
/// ```
// The parts are boxed, so that the result of a decision is a pointer: it is returned for each admitted request too. `None`
// only while the denial is dropped.
#[derive(Clone)]
pub struct Denial(Option<Box<Parts>>);

#[derive(Clone)]
struct Parts {
    kind: DenialKind,
    cause: Cause,
    record: Option<Arc<KeyRecord>>,
    rule: Option<Arc<CompiledRule>>,
    /// True if the key was in a Bearer credential. Its challenge then contains the reason for the denial.
    bearer: bool,
}

impl Parts {
    const fn new(kind: DenialKind, cause: Cause) -> Self {
        Self { kind, cause, record: None, rule: None, bearer: false }
    }
}

static NO_PARTS: Parts = Parts::new(DenialKind::Internal, Cause::None);

thread_local! {
    #[allow(clippy::vec_box, reason = "the boxes themselves are reused")]
    static SPARE: Spare<Parts> = const { RefCell::new(Vec::new()) };
}

impl Denial {
    /// Creates a denial of this kind, without details.
    pub fn of(kind: DenialKind) -> Self {
        Self::because(kind, Cause::None)
    }

    pub(crate) fn because(kind: DenialKind, cause: Cause) -> Self {
        Self(Some(spare::boxed(&SPARE, Parts::new(kind, cause))))
    }

    fn parts(&self) -> &Parts {
        self.0.as_deref().unwrap_or(&NO_PARTS)
    }

    pub(crate) fn cause(&self) -> &Cause {
        &self.parts().cause
    }

    /// Returns true if the key was in a Bearer credential.
    pub(crate) fn is_of_bearer(&self) -> bool {
        self.parts().bearer
    }

    pub(crate) fn store(error: StoreError) -> Self {
        let kind = if error.is_panic() { DenialKind::Internal } else { DenialKind::Unavailable };
        Self::because(kind, Cause::Store(error))
    }

    /// Creates the denial for a panic in code that the gate calls.
    pub(crate) fn panicked() -> Self {
        Self::store(StoreError::panicked())
    }

    /// Creates the denial for a decision that missed its caller's deadline.
    pub(crate) fn late() -> Self {
        Self::because(DenialKind::Unavailable, Cause::Deadline)
    }

    /// Creates the denial for a method that is not supported, with the supported methods if they are known.
    pub(crate) fn method(allowed: Option<&'static str>) -> Self {
        Self::because(DenialKind::MethodNotAllowed, allowed.map_or(Cause::None, Cause::Allowed))
    }

    pub(crate) fn operator(problem: Problem) -> Self {
        Self::because(DenialKind::Misconfigured, Cause::Operator(problem))
    }

    pub(crate) fn parameter(breach: Breach) -> Self {
        let kind = match breach.problem {
            BreachKind::Forbidden => DenialKind::ParameterForbidden,
            BreachKind::Above(_) => DenialKind::ParameterAboveCap,
            BreachKind::Unreadable | BreachKind::Repeated => DenialKind::ParameterUnreadable,
        };
        Self::because(kind, Cause::Parameter(breach))
    }

    #[must_use]
    pub(crate) fn of_key(self, record: &Arc<KeyRecord>) -> Self {
        self.with(|parts| parts.record = Some(Arc::clone(record)))
    }

    /// Copies the key and the rule of another denial, which this one replaces.
    #[must_use]
    pub(crate) fn in_place_of(self, other: &Self) -> Self {
        let other = other.parts();
        self.with(|parts| (parts.record, parts.rule) = (other.record.clone(), other.rule.clone()))
    }

    /// Sets the rule that applied to the request.
    #[must_use]
    pub(crate) fn by_rule(self, rule: &Arc<CompiledRule>) -> Self {
        self.with(|parts| parts.rule = Some(Arc::clone(rule)))
    }

    /// Sets the source of the key, if there was a key.
    #[must_use]
    pub(crate) fn in_source(self, source: Option<&KeySource>) -> Self {
        self.with(|parts| parts.bearer = source.is_some_and(KeySource::is_bearer))
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        if let Some(parts) = &mut self.0 {
            change(parts);
        }
        self
    }

    /// The kind of the denial.
    pub fn kind(&self) -> DenialKind {
        self.parts().kind
    }

    /// The id of the key, if a key was found.
    pub fn key(&self) -> Option<KeyId> {
        self.keyed_record().map(|record| record.id)
    }

    /// The account that owns the key, if a key was found.
    pub fn account(&self) -> Option<&AccountId> {
        self.keyed_record().map(|record| &record.account.id)
    }

    /// The record of the key, if a key was found. `None` for a request without a key.
    fn keyed_record(&self) -> Option<&Arc<KeyRecord>> {
        self.parts().record.as_ref().filter(|record| !record.anonymous)
    }

    /// The record of the key, if a key was found, or that of all requests without a key.
    pub(crate) fn record(&self) -> Option<&Arc<KeyRecord>> {
        self.parts().record.as_ref()
    }

    /// The balance that is smaller than the cost.
    pub(crate) fn balance(&self) -> Option<Credits> {
        if let Cause::Balance { balance, .. } = self.cause() { Some(*balance) } else { None }
    }

    /// The plan of that account, if a key was found, or the plan of requests without a key.
    pub fn plan(&self) -> Option<&PlanName> {
        self.parts().record.as_ref().map(|record| &record.account.plan)
    }

    /// The rule that applied to the request. `None` if no rule matches, or if the request was denied before the search
    /// for a rule.
    pub fn rule(&self) -> Option<&Rule> {
        self.parts().rule.as_ref().map(|compiled| &compiled.rule).filter(|rule| !rule.pattern().is_empty())
    }

    /// The rule that applied to the request, with its compiled values.
    pub(crate) fn compiled_rule(&self) -> Option<&Arc<CompiledRule>> {
        self.parts().rule.as_ref()
    }

    /// The time after which a rate limit would admit the request, or after which the client may try a key again, if it is
    /// known. A request beyond a limit on requests in flight may be tried again after a second, and one beyond a budget in
    /// the next period.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.cause() {
            Cause::Wait { retry_after: wait, .. } | Cause::Attempts(wait) | Cause::Budget { wait, .. } => {
                Some(*wait)
            }
            Cause::InFlight(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The quotas in force and the status of the exceeded one.
    pub(crate) fn windows(&self) -> Option<(&Quotas, &WindowStatus)> {
        self.exceeded().map(|(limits, window_status)| (&limits.quotas, window_status))
    }

    /// The limits in force and the status of the exceeded window.
    pub(crate) fn exceeded(&self) -> Option<(&Limits, &WindowStatus)> {
        if let Cause::Wait { quotas, window_status, .. } = self.cause() {
            Some((quotas.limits(), window_status))
        } else {
            None
        }
    }

    /// The limit on requests in flight that denies the request.
    pub(crate) fn full(&self) -> Option<&InFlightLimit> {
        if let Cause::InFlight(limit) = self.cause() { Some(limit) } else { None }
    }

    /// The quotas that deny the request: all without enough units left, or only the one that decides if the limiter
    /// reports no other.
    pub(crate) fn violated(&self) -> impl Iterator<Item = &QuotaPolicy> {
        let exceeded = match self.cause() {
            Cause::Wait { quotas, window_status, weight, .. } => {
                Some((quotas.quotas(), window_status, *weight))
            }
            _ => None,
        };
        exceeded.into_iter().flat_map(|(quotas, decides, weight)| {
            let lacks = move |place, policy: &QuotaPolicy| {
                let mut all = decides.all.iter();
                all.any(|window| window.policy == place && window.remaining < policy.units_of(weight))
            };
            let policies = quotas.policies().enumerate();
            let violated =
                policies.filter(move |(place, policy)| *place == decides.policy || lacks(*place, policy));
            violated.map(|(_, policy)| policy)
        })
    }

    /// The error that kept a back end from deciding.
    pub fn store_error(&self) -> Option<&StoreError> {
        if let Cause::Store(error) = self.cause() { Some(error) } else { None }
    }

    /// The problem that the operator must correct. It is for the log, never for the client.
    pub fn operator_problem(&self) -> Option<String> {
        if let Cause::Operator(problem) = self.cause() { Some(problem.to_string()) } else { None }
    }
}

impl Drop for Denial {
    fn drop(&mut self) {
        if let Some(mut parts) = self.0.take() {
            // The key's record is released now.
            *parts = Parts::new(DenialKind::Internal, Cause::None);
            spare::keep(&SPARE, parts);
        }
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denial")
            .field("kind", &self.kind())
            .field("cause", self.cause())
            .field("key", &self.key())
            .field("account", &self.account())
            .field("plan", &self.plan())
            .field("rule", &self.rule().map(Rule::route))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request was denied: {}", self.kind().name())
    }
}

impl std::error::Error for Denial {}

impl From<StoreError> for Denial {
    /// Creates the denial of a request that a back end could not decide.
    fn from(error: StoreError) -> Self {
        Self::store(error)
    }
}

/// Returns the default status of a kind.
pub(crate) fn default_status(kind: DenialKind) -> StatusCode {
    ancestry(kind)
        .find_map(|kind| match kind {
            DenialKind::Unauthorized => Some(StatusCode::UNAUTHORIZED),
            DenialKind::Forbidden => Some(StatusCode::FORBIDDEN),
            DenialKind::NotFound => Some(StatusCode::NOT_FOUND),
            DenialKind::Conflict => Some(StatusCode::CONFLICT),
            DenialKind::BodyTooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
            DenialKind::BodyTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            DenialKind::UnsupportedMediaType => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            DenialKind::CreditsExhausted => Some(StatusCode::PAYMENT_REQUIRED),
            DenialKind::BudgetExceeded
            | DenialKind::RateLimited
            | DenialKind::InFlightLimited
            | DenialKind::TooManyAttempts => Some(StatusCode::TOO_MANY_REQUESTS),
            DenialKind::MethodNotAllowed => Some(StatusCode::METHOD_NOT_ALLOWED),
            DenialKind::TooEarly => Some(StatusCode::TOO_EARLY),
            DenialKind::BadRequest => Some(StatusCode::BAD_REQUEST),
            DenialKind::Unavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
            _ => None,
        })
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns the kind, its parent, that kind's parent, and so on.
pub(crate) fn ancestry(kind: DenialKind) -> impl Iterator<Item = DenialKind> {
    std::iter::successors(Some(kind), |kind| kind.parent())
}

/// Writes a denial to the log. An operator's fault and a panic are errors, a back end that could not decide is a
/// warning, and other denials are at debug level.
pub(crate) fn log(denial: &Denial) {
    let kind = denial.kind().name();
    match denial.kind() {
        DenialKind::Misconfigured => trace::event!(
            error,
            kind,
            key = denial.key().map(tracing::field::display),
            rule = denial.rule().map(crate::rule::Rule::route),
            problem = denial.operator_problem(),
            "a request cannot be decided under the configuration"
        ),
        DenialKind::Internal => trace::event!(
            error,
            kind,
            key = denial.key().map(tracing::field::display),
            "a request could not be checked"
        ),
        DenialKind::Unavailable => trace::event!(
            warn,
            kind,
            key = denial.key().map(tracing::field::display),
            rule = denial.rule().map(crate::rule::Rule::route),
            error = denial.store_error().map(tracing::field::debug),
            "a back end failed"
        ),
        _ => trace::event!(
            debug,
            kind,
            key = denial.key().map(tracing::field::display),
            rule = denial.rule().map(crate::rule::Rule::route),
            "a request was denied"
        ),
    }
}
