//! The texts and statuses of denials, by kind.

use std::collections::HashMap;

use http::StatusCode;

use crate::denial::DenialKind;
use crate::denial::{ancestry, default_status};
use crate::error::ConfigError;
use crate::respond::template::may_name_a_member;

/// The texts and the status of denials of one kind. A field that is `None` takes the value of the kind's parent, and
/// finally this crate's default.
///
/// `message` and the members may contain placeholders: see [`ErrorFormat`](crate::respond::ErrorFormat).
///
/// # Example
///
/// ```
/// use tollgate::respond::ErrorText;
///
/// let error_text = ErrorText { code: Some("UNAUTHORIZED".into()), ..ErrorText::default() };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorText {
    /// The HTTP status.
    pub status: Option<StatusCode>,
    /// The error's code, for programs.
    pub code: Option<String>,
    /// The error's type: a URI in a problem (RFC 9457, section 3.1.1).
    pub type_uri: Option<String>,
    /// The error's title.
    pub title: Option<String>,
    /// The error's description, for people: `detail` in a problem.
    pub message: Option<String>,
    /// The names and values of further members.
    pub members: Vec<(String, String)>,
}

impl ErrorText {
    /// Returns an error if denials of the kind cannot have these values. It names the member, its value, the problem
    /// and the remedy.
    pub(super) fn check(&self, kind: DenialKind) -> Result<(), ConfigError> {
        let refuse = |value: &str, problem: &str, expected: &str, member: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(member))
        };
        let status = self.status.map(|status| status.as_u16());
        match status {
            Some(status @ 429) if !waits(kind) => {
                let problem = "status 429 requires a time to retry, which denials of this kind do not have";
                return refuse(&status.to_string(), problem, "write another status, as in 403", "status");
            }
            Some(status @ (407 | 426)) => {
                let problem = "this status requires a header that denials do not have";
                return refuse(&status.to_string(), problem, "write another status, as in 403", "status");
            }
            _ => {}
        }
        if self.code.as_deref() == Some("") {
            return refuse("", "the code is empty", "write one, or leave it out", "code");
        }
        match self.members.iter().find(|(name, _)| !may_name_a_member(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let problem = "invalid name of a further member";
                refuse(name, problem, "write another name, without braces", &format!("members.{name}"))
            }
        }
    }

    /// Returns the name of the member that has this text.
    pub(super) fn member_with(&self, text: &str) -> Option<String> {
        let own = [
            ("code", &self.code),
            ("type", &self.type_uri),
            ("title", &self.title),
            ("message", &self.message),
        ];
        let own =
            own.into_iter().find(|(_, said)| said.as_deref() == Some(text)).map(|(name, _)| name.to_owned());
        let further =
            || self.members.iter().find(|(_, said)| said == text).map(|(name, _)| format!("members.{name}"));
        own.or_else(further)
    }
}

/// The wording of one kind, with all defaults filled in.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) status: StatusCode,
    pub(super) code: String,
    /// True if a problem contains the code. A problem with a type is identified by that type, and contains the code
    /// only if the configuration sets one.
    pub(super) is_told_by_code: bool,
    pub(super) type_uri: Option<String>,
    pub(super) title: String,
    pub(super) message: String,
    pub(super) members: Vec<(String, String)>,
}

impl Resolved {
    /// Sets the problem type of draft-ietf-httpapi-ratelimit-headers-11, if the kind has one and the configuration sets no
    /// type.
    pub(super) fn set_problem_type(&mut self, kind: DenialKind) {
        let name = match kind {
            DenialKind::RateLimited | DenialKind::InFlightLimited
                if self.status == StatusCode::SERVICE_UNAVAILABLE =>
            {
                "temporary-reduced-capacity"
            }
            DenialKind::RateLimited | DenialKind::InFlightLimited => "quota-exceeded",
            DenialKind::TooManyAttempts => "abnormal-usage-detected",
            _ => return,
        };
        if self.type_uri.is_none() {
            self.type_uri = Some(format!("https://iana.org/assignments/http-problem-types#{name}"));
            let has_policies = kind == DenialKind::RateLimited;
            if has_policies && !self.members.iter().any(|(known, _)| known == VIOLATED_POLICIES) {
                self.members.push((VIOLATED_POLICIES.to_owned(), "{violated_policies}".to_owned()));
            }
        }
    }
}

/// The extension member of these problem types.
const VIOLATED_POLICIES: &str = "violated-policies";

/// Returns the wording of a kind. A problem without a type takes its title from the status, unless the configuration
/// sets a title.
pub(super) fn resolve(kind: DenialKind, given: &HashMap<DenialKind, ErrorText>, problem: bool) -> Resolved {
    let said = |member: fn(&ErrorText) -> &Option<String>| {
        ancestry(kind).find_map(|kind| given.get(&kind).and_then(|error_text| member(error_text).clone()))
    };
    let default = ancestry(kind).find_map(spoken).unwrap_or(("", ""));
    let status =
        ancestry(kind).find_map(|kind| given.get(&kind)?.status).unwrap_or_else(|| default_status(kind));
    let mut members: Vec<(String, String)> = Vec::new();
    for (name, value) in
        ancestry(kind).filter_map(|kind| given.get(&kind)).flat_map(|error_text| &error_text.members)
    {
        if !members.iter().any(|(known, _)| known == name) {
            members.push((name.clone(), value.clone()));
        }
    }
    let type_uri = said(|error_text| &error_text.type_uri);
    let code = said(|error_text| &error_text.code);
    let title = if problem && type_uri.is_none() { phrase(status).unwrap_or(default.0) } else { default.0 };
    Resolved {
        status,
        is_told_by_code: type_uri.is_none() || code.is_some(),
        code: code.unwrap_or_else(|| default_code(kind)),
        type_uri,
        title: said(|error_text| &error_text.title).unwrap_or_else(|| title.to_owned()),
        message: said(|error_text| &error_text.message).unwrap_or_else(|| default.1.to_owned()),
        members,
    }
}

/// Returns the default code of a kind. A key that may not be used from an address must look like an unknown key.
fn default_code(kind: DenialKind) -> String {
    let kind = if kind == DenialKind::AddressNotAllowed { DenialKind::Unknown } else { kind };
    kind.name().to_owned()
}

/// Returns true if denials of the kind state when to retry.
pub(super) fn waits(kind: DenialKind) -> bool {
    use DenialKind as Kind;
    matches!(
        kind,
        Kind::BudgetExceeded
            | Kind::RateLimited
            | Kind::InFlightLimited
            | Kind::TooManyAttempts
            | Kind::Unavailable
    )
}

/// Returns the phrase of a status according to RFC 9110.
fn phrase(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Some("Content Too Large"),
        status => status.canonical_reason(),
    }
}

/// Returns the title and message of a kind, if it has its own.
fn spoken(kind: DenialKind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        // All kinds below this one share its text, so that somebody who guesses keys learns nothing from the
        // difference.
        DenialKind::Unauthorized => ("Unauthorized", "The API key is missing or not valid."),
        DenialKind::Forbidden => ("Forbidden", "The API key does not allow this request."),
        DenialKind::AccountSuspended => ("Account Suspended", "The account is suspended."),
        DenialKind::AccountDeleted => ("Account Deleted", "The account was deleted."),
        DenialKind::SubscriptionRequired => ("Subscription Required", "An active subscription is required."),
        DenialKind::AgreementRequired => {
            ("Agreement Required", "The account must sign an agreement first: {agreement}.")
        }
        DenialKind::PlanRequired => ("Plan Required", "The plan does not include this request."),
        DenialKind::InsecureChannel => (
            "Insecure Channel",
            "The API key was sent without encryption. Use HTTPS, and replace the key: others may have read it.",
        ),
        DenialKind::RouteDenied => ("Forbidden", "No API key can access this path."),
        DenialKind::NotGranted => {
            ("Permission Required", "The API key does not have permission for this request.")
        }
        DenialKind::ScopeRequired => ("Permission Required", "The API key lacks the scope {required_scope}."),
        DenialKind::CreditsExhausted => {
            ("Credits Exhausted", "The request costs {cost} {currency}, and the balance is {balance}.")
        }
        DenialKind::BudgetExceeded => (
            "Budget Exceeded",
            "The request costs {cost} {currency}, and the budget of the API key has {left} left until {resets}.",
        ),
        DenialKind::FeatureRequired => ("Plan Required", "The plan does not include this feature."),
        DenialKind::TooWide => {
            ("Forbidden", "A key cannot issue or change a key with wider access than its own: `{member}`.")
        }
        DenialKind::NotFound => ("Not Found", "The resource does not exist."),
        DenialKind::Conflict => {
            ("Conflict", "The key is revoked or has expired, or was changed concurrently.")
        }
        DenialKind::KeyLimitReached => {
            ("Key Limit Reached", "The limit of the plan, {max_keys} active keys, is reached.")
        }
        DenialKind::InvalidMember => ("Invalid Member", "`{member}` {problem}."),
        DenialKind::BodyTooLarge => ("Content Too Large", "The request body is too large."),
        DenialKind::BodyTimeout => ("Request Timeout", "The request body was not received in time."),
        DenialKind::UnsupportedMediaType => {
            ("Unsupported Media Type", "The request body must have the `Content-Type` `application/json`.")
        }
        DenialKind::RateLimited => {
            ("Too Many Requests", "The rate limit is exceeded. Retry in {retry_after} s.")
        }
        DenialKind::InFlightLimited => (
            "Too Many Requests",
            "Too many requests are in flight: at most {max_in_flight} are allowed at once.",
        ),
        DenialKind::TooManyAttempts => (
            "Too Many Requests",
            "Too many requests without a valid API key were sent from this network. Retry in {retry_after} s.",
        ),
        DenialKind::BadRequest => ("Bad Request", "The request is malformed."),
        DenialKind::ParameterForbidden => {
            ("Parameter Not Allowed", "The parameter `{parameter}` is not allowed.")
        }
        DenialKind::ParameterAboveCap => {
            ("Parameter Too Large", "The parameter `{parameter}` must be at most {cap}.")
        }
        DenialKind::WeightTooLarge => (
            "Request Too Heavy",
            "The request takes {weight} units of the quota `{policy}`, which can hold {capacity}.",
        ),
        DenialKind::ParameterUnreadable => (
            "Invalid Parameter",
            "The parameter `{parameter}` must be given once, as a whole number that is not below the minimum.",
        ),
        DenialKind::MethodNotAllowed => ("Method Not Allowed", "The request method is not allowed."),
        DenialKind::TooEarly => ("Too Early", "The request could be a replay. Send it again."),
        DenialKind::Unavailable => {
            ("Service Unavailable", "The request could not be checked. Retry in {retry_after} s.")
        }
        DenialKind::Internal => ("Internal Server Error", "The request could not be checked."),
        DenialKind::Misconfigured => {
            ("Internal Server Error", "The service is not configured for this API key.")
        }
        _ => return None,
    })
}
