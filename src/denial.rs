//! Why a request was refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::account::Quotas;
use crate::account::{Breach, BreachKind, Standing, Terms, Unknown};
use crate::amount::Credits;
use crate::error::StoreError;
use crate::key::{KeyId, KeyRecord, KeySource};
use crate::rule::Ruled;

use crate::name::{AccountId, Agreement, PlanName};
use crate::rule::Rule;

/// Declares the kinds with their names in a configuration, their parents and their defaults, in one table.
macro_rules! denial_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $parent:expr;)+) => {
        /// The kinds of refusal.
        ///
        /// Each has a parent, so that a configuration says once what is the same for many: what is not said of a kind is
        /// what is said of its parent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DenialKind {
            $($(#[$doc])* $kind,)+
        }

        impl DenialKind {
            /// All kinds; parents stand before their children.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The kind's name in a configuration, in a log and in a metric.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// The kind that answers for what is not said of this one.
            pub const fn parent(self) -> Option<Self> {
                match self { $(Self::$kind => $parent,)+ }
            }

            /// The HTTP status that answers it where the configuration gives it no other.
            pub fn status(self) -> http::StatusCode {
                default_status(self)
            }
        }
    };
}

denial_kinds! {
    /// The request did not show a key that is good. 401.
    Unauthorized = "unauthorized", None;
    /// There is no key.
    Missing = "missing", Some(Self::Unauthorized);
    /// There is a credential, and no key in it.
    Malformed = "malformed", Some(Self::Missing);
    /// There are two keys where one is allowed.
    Duplicate = "duplicate", Some(Self::Unauthorized);
    /// The key does not have the shape of a key.
    InvalidFormat = "invalid_format", Some(Self::Unauthorized);
    /// There is no such key.
    Unknown = "unknown", Some(Self::Unauthorized);
    /// The key was revoked.
    Revoked = "revoked", Some(Self::Unauthorized);
    /// The key has expired.
    Expired = "expired", Some(Self::Revoked);
    /// The key is paused.
    Paused = "paused", Some(Self::Revoked);
    /// The key may not be used from this address: reads as unknown, so that nothing is learnt of the key.
    AddressNotAllowed = "address_not_allowed", Some(Self::Unknown);
    /// The key is good, and this is not for it. 403.
    Forbidden = "forbidden", None;
    /// The account is suspended.
    AccountSuspended = "account_suspended", Some(Self::Forbidden);
    /// The account was deleted.
    AccountDeleted = "account_deleted", Some(Self::AccountSuspended);
    /// The account has no active subscription.
    SubscriptionRequired = "subscription_required", Some(Self::Forbidden);
    /// The account has not signed an agreement.
    AgreementRequired = "agreement_required", Some(Self::Forbidden);
    /// The route is for higher plans, or closed to this one.
    PlanRequired = "plan_required", Some(Self::Forbidden);
    /// No key is let in here: no rule matches the request where that is [denied](crate::gate::GateBuilder::deny_unmatched), or its
    /// path is one that routers read [differently](crate::rule::Rule#paths-that-routers-read-differently). Refused by [`Check::Scopes`](crate::gate::Check::Scopes).
    RouteDenied = "route_denied", Some(Self::Forbidden);
    /// The key is restricted, and nothing lets it in here.
    NotGranted = "not_granted", Some(Self::Forbidden);
    /// The key lacks a scope.
    ScopeRequired = "scope_required", Some(Self::NotGranted);
    /// The plan does not include what is asked for. 403.
    FeatureRequired = "feature_required", Some(Self::PlanRequired);
    /// A key cannot issue a wider key than itself. 403.
    TooWide = "too_wide", Some(Self::Forbidden);
    /// There is no such thing, or it is another's. 404.
    NotFound = "not_found", None;
    /// What is asked for does not fit what is there. 409.
    Conflict = "conflict", None;
    /// The account holds as many active keys as its plan allows. 409.
    KeyLimitReached = "key_limit_reached", Some(Self::Conflict);
    /// The balance is smaller than the cost. 402.
    CreditsExhausted = "credits_exhausted", None;
    /// A quota is exceeded. 429.
    RateLimited = "rate_limited", None;
    /// The request cannot be read. 400.
    BadRequest = "bad_request", None;
    /// A query parameter that the plan does not allow. 400.
    ParameterForbidden = "parameter_forbidden", Some(Self::BadRequest);
    /// A query parameter above what the plan or the cost allows. 400.
    ParameterAboveCap = "parameter_above_cap", Some(Self::BadRequest);
    /// A query parameter that must be one plain number, and is not. 400.
    ParameterUnreadable = "parameter_unreadable", Some(Self::BadRequest);
    /// A member of a request's body, or a parameter, that will not do. 400.
    InvalidMember = "invalid_member", Some(Self::BadRequest);
    /// The body is too large. 413.
    BodyTooLarge = "body_too_large", Some(Self::BadRequest);
    /// The body did not come in time. 408.
    BodyTimeout = "body_timeout", Some(Self::BadRequest);
    /// A method that is never served. 405.
    MethodNotAllowed = "method_not_allowed", Some(Self::BadRequest);
    /// The request came as early data and could be a replay (RFC 8470). 425.
    TooEarly = "too_early", Some(Self::BadRequest);
    /// A back end could not decide. 503.
    Unavailable = "unavailable", None;
    /// The operator's data contradicts the configuration. 500.
    Misconfigured = "misconfigured", None;
    /// A back end, or a closure that the gate calls, panicked. 500.
    Internal = "internal", Some(Self::Misconfigured);
}

/// What there is to say of a refusal beyond its kind.
#[derive(Debug, Clone, Default)]
pub(crate) enum Cause {
    #[default]
    None,
    Wait {
        retry_after: Duration,
        standing: Standing,
        terms: Arc<Terms>,
    },
    Scopes(Arc<Ruled>),
    Plan(Arc<Ruled>),
    Agreement(Agreement),
    Parameter(Breach),
    #[cfg_attr(
        not(any(feature = "keygen", feature = "openapi")),
        expect(dead_code, reason = "said of key management alone")
    )]
    Member {
        member: String,
        problem: String,
    },
    #[cfg_attr(
        not(any(feature = "keygen", feature = "openapi")),
        expect(dead_code, reason = "said of key management alone")
    )]
    MaxKeys(u32),
    /// What may be done here, as `Allow` says it.
    Allowed(&'static str),
    Balance {
        balance: Credits,
        cost: Credits,
    },
    Store(StoreError),
    /// The caller's own deadline came before the decision.
    Deadline,
    Operator(Problem),
}

/// What the operator has to put right, put into words when the log asks for it.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    Unknown(Unknown),
    NoKeyYet,
    #[cfg(feature = "keygen")]
    Managed(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.fmt(f),
            #[cfg(feature = "keygen")]
            Self::Managed(problem) => f.write_str(problem),
            Self::NoKeyYet => f.write_str("a check was made before the key was found"),
        }
    }
}

/// A refusal: its kind, and what there is to say of it. It holds nothing of the key's secret.
///
/// # Example
///
/// ```
/// use tollgate::{Denial, DenialKind};
///
/// let denial = Denial::of(DenialKind::Revoked);
/// assert_eq!(denial.kind().parent(), Some(DenialKind::Unauthorized));
/// assert_eq!(denial.to_string(), "the request was refused: revoked");
/// ```
#[derive(Clone)]
pub struct Denial {
    kind: DenialKind,
    pub(crate) cause: Cause,
    record: Option<Arc<KeyRecord>>,
    rule: Option<Arc<Ruled>>,
    /// Whether the key, if there was one, stood in a Bearer credential: its challenge says what is wrong with it.
    pub(crate) bearer: bool,
}

impl Denial {
    /// A refusal of this kind, with nothing more to say.
    pub fn of(kind: DenialKind) -> Self {
        Self::because(kind, Cause::None)
    }

    pub(crate) fn because(kind: DenialKind, cause: Cause) -> Self {
        Self { kind, cause, record: None, rule: None, bearer: false }
    }

    pub(crate) fn store(error: StoreError) -> Self {
        let kind = if error.is_panic() { DenialKind::Internal } else { DenialKind::Unavailable };
        Self::because(kind, Cause::Store(error))
    }

    /// A refusal because code that the gate calls panicked.
    pub(crate) fn panicked() -> Self {
        Self::store(StoreError::panicked())
    }

    /// A refusal that comes too late for its caller.
    pub(crate) fn late() -> Self {
        Self::because(DenialKind::Unavailable, Cause::Deadline)
    }

    /// A method that is not there, and those that are, where that is known.
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
    pub(crate) fn of_key(mut self, record: &Arc<KeyRecord>) -> Self {
        self.record = Some(Arc::clone(record));
        self
    }

    /// Says of the same key and rule as another refusal, whose place it takes.
    #[must_use]
    pub(crate) fn in_place_of(self, other: &Self) -> Self {
        Self { record: other.record.clone(), rule: other.rule.clone(), ..self }
    }

    /// Says which rule the request was judged by.
    #[must_use]
    pub(crate) fn by_rule(mut self, rule: &Arc<Ruled>) -> Self {
        self.rule = Some(Arc::clone(rule));
        self
    }

    /// Says where the key stood, if there was one.
    #[must_use]
    pub(crate) fn in_source(mut self, source: Option<&KeySource>) -> Self {
        self.bearer = source.is_some_and(KeySource::is_bearer);
        self
    }

    /// The kind.
    pub fn kind(&self) -> DenialKind {
        self.kind
    }

    /// The id of the key, where one was found.
    pub fn key(&self) -> Option<KeyId> {
        self.record.as_ref().map(|record| record.id)
    }

    /// The account that holds the key, where a key was found.
    pub fn account(&self) -> Option<&AccountId> {
        self.record.as_ref().map(|record| &record.account.id)
    }

    /// The plan of that account.
    pub fn plan(&self) -> Option<&PlanName> {
        self.record.as_ref().map(|record| &record.account.plan)
    }

    /// The rule that the request was judged by; `None` where no rule matches it, and where it was refused before one was
    /// looked for.
    pub fn rule(&self) -> Option<&Rule> {
        self.rule.as_ref().map(|ruled| &ruled.rule).filter(|rule| !rule.pattern().is_empty())
    }

    /// In what time the request would be admitted, where that is known: the windows of a rate limit.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Cause::Wait { retry_after, .. } = &self.cause { Some(*retry_after) } else { None }
    }

    /// The quotas in force, and how the exceeded one stands.
    pub(crate) fn windows(&self) -> Option<(&Quotas, &Standing)> {
        if let Cause::Wait { terms, standing, .. } = &self.cause {
            Some((&terms.quotas, standing))
        } else {
            None
        }
    }

    /// What kept a back end from deciding.
    pub fn store_error(&self) -> Option<&StoreError> {
        if let Cause::Store(error) = &self.cause { Some(error) } else { None }
    }

    /// What the operator has to put right: for the log, never for the client.
    pub fn operator_problem(&self) -> Option<String> {
        if let Cause::Operator(problem) = &self.cause { Some(problem.to_string()) } else { None }
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denial")
            .field("kind", &self.kind)
            .field("cause", &self.cause)
            .field("key", &self.key())
            .field("account", &self.account())
            .field("plan", &self.plan())
            .field("rule", &self.rule().map(Rule::route))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request was refused: {}", self.kind.name())
    }
}

impl std::error::Error for Denial {}

/// The status of a kind to which no wording gives one.
pub(crate) fn default_status(kind: DenialKind) -> StatusCode {
    ancestry(kind)
        .find_map(|kind| match kind {
            DenialKind::Unauthorized => Some(StatusCode::UNAUTHORIZED),
            DenialKind::Forbidden => Some(StatusCode::FORBIDDEN),
            DenialKind::NotFound => Some(StatusCode::NOT_FOUND),
            DenialKind::Conflict => Some(StatusCode::CONFLICT),
            DenialKind::BodyTooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
            DenialKind::BodyTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            DenialKind::CreditsExhausted => Some(StatusCode::PAYMENT_REQUIRED),
            DenialKind::RateLimited => Some(StatusCode::TOO_MANY_REQUESTS),
            DenialKind::MethodNotAllowed => Some(StatusCode::METHOD_NOT_ALLOWED),
            DenialKind::TooEarly => Some(StatusCode::TOO_EARLY),
            DenialKind::BadRequest => Some(StatusCode::BAD_REQUEST),
            DenialKind::Unavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
            _ => None,
        })
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The kind, its parent, and so on.
pub(crate) fn ancestry(kind: DenialKind) -> impl Iterator<Item = DenialKind> {
    std::iter::successors(Some(kind), |kind| kind.parent())
}

/// Writes a refusal to the log. A fault of the operator is an error, a back end that could not decide is a warning, and the
/// rest is at debug level.
#[cfg(feature = "tracing")]
pub(crate) fn log(denial: &Denial) {
    let kind = denial.kind().name();
    let key = denial.key().map(tracing::field::display);
    match denial.kind() {
        DenialKind::Misconfigured => {
            tracing::error!(
                kind,
                key,
                rule = denial.rule().map(crate::rule::Rule::route),
                problem = denial.operator_problem(),
                "a record contradicts the configuration"
            );
        }
        DenialKind::Internal => tracing::error!(kind, key, "a request could not be judged"),
        DenialKind::Unavailable => {
            let error = denial.store_error().map(tracing::field::debug);
            tracing::warn!(
                kind,
                key,
                rule = denial.rule().map(crate::rule::Rule::route),
                error,
                "a back end could not decide"
            );
        }
        _ => {
            tracing::debug!(
                kind,
                key,
                rule = denial.rule().map(crate::rule::Rule::route),
                "a request was refused"
            );
        }
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn log(_: &Denial) {}
