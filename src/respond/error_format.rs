//! The format of denial responses, as data.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use crate::denial::DenialKind;
use crate::denial::ancestry;
use crate::error::ConfigError;
use crate::key::KeySource;
use crate::name::Agreement;
use crate::respond::ErrorText;
use crate::respond::challenge::Challenges;
use crate::respond::error_template::{ErrorTemplate, ErrorTemplates};
use crate::respond::error_text::{Resolved, resolve};
use crate::respond::template::{Compiler, PlaceholderError};
use crate::respond::unique;

/// The format of denial responses: a JSON template, the texts for each [`DenialKind`], and the challenge of a 401.
///
/// A template is JSON whose strings may contain placeholders:
///
/// - `{status}`, `{code}`, `{type}`, `{title}`, `{message}` (or `{detail}`) and the names of further members take their
///   values from the [`ErrorText`] of the kind.
/// - `{request_id}`, `{timestamp}` (UTC, whole seconds) and `{instance}` (the path, see
///   [`DenialContext::instance`](crate::respond::DenialContext::instance)) are values of the request.
/// - `{retry_after}`, `{policy}` and `{violated_policies}` are values of a rate limit.
/// - `{weight}`, `{policy}` and `{capacity}` are values of a request that takes more units than a quota can hold.
/// - `{required_scope}`, `{required_plan}`, `{agreement}` and `{agreement_url}`, `{parameter}` and `{cap}`, `{balance}`
///   and `{cost}` are values of the denials that they describe. `{currency}` is that of the cost.
/// - `{left}` and `{resets}` are values of a budget.
/// - `{max_in_flight}` is the limit on requests in flight.
/// - `{member}`, `{problem}` and `{max_keys}` are values of key management.
///
/// A string that is one placeholder and nothing else takes the type of its value: numbers stay numbers, and
/// `{violated_policies}` is an array of names. A member whose placeholder has no value for a kind is omitted. `{{` and
/// `}}` are written as braces.
///
/// # Example
///
/// ```
/// use tollgate::respond::{ErrorFormat, ErrorText};
/// use tollgate::DenialKind;
///
/// let flat = ErrorFormat::json(r#"{"error": "{code}", "message": "{message}", "retry_after": "{retry_after}"}"#)?
///     .error_text(DenialKind::Unauthorized, ErrorText { code: Some("invalid_api_key".into()), ..ErrorText::default() });
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ErrorFormat {
    template: Option<Value>,
    error_texts: HashMap<DenialKind, ErrorText>,
    agreement_urls: HashMap<Agreement, String>,
    realm: Option<String>,
    longest_wait: Duration,
    problem_types: bool,
}

impl ErrorFormat {
    /// Returns the format of problem details (RFC 9457), with the kind's further members as extension members.
    ///
    /// Programs distinguish problems by the extension member `code`. Its value comes from the [`ErrorText`], or else it
    /// is the name of the kind. If a [`ErrorText`] gives a type and no code, the type identifies the problem, and there
    /// is no `code`.
    ///
    /// If no [`ErrorText`] gives a type or a title, the title is the phrase of the status (section 4.2.1), and the detail
    /// contains the rest. All kinds of 401 have the same texts and differ only by their code, unless they have wordings
    /// of their own.
    ///
    /// The member `status` is the status of the gate's response. A layer around the gate that rewrites statuses does
    /// not change the member: set the status in the [`ErrorText`] instead.
    pub fn problem() -> Self {
        let (error_texts, agreement_urls) = (HashMap::new(), HashMap::new());
        Self {
            template: None,
            error_texts,
            agreement_urls,
            realm: None,
            longest_wait: Duration::from_hours(24),
            problem_types: false,
        }
    }

    /// Creates a format from a JSON template.
    ///
    /// # Errors
    ///
    /// Returns an error if the template is not JSON, or if an object has a member twice.
    pub fn json(template: &str) -> Result<Self, ConfigError> {
        let value = serde_json::from_str(template).map_err(|error| {
            let expected = "write a JSON value, as in `{\"error\": \"{code}\"}`";
            let line = template.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            ConfigError::new(line, format!("the template is not valid JSON: {error}"), expected)
                .in_member("template")
        })?;
        if let Some(name) = unique::repeated(template) {
            let (problem, expected) = ("duplicate member in an object", "write each member once");
            return Err(ConfigError::new(name, problem, expected).in_member("template"));
        }
        Ok(Self { template: Some(value), ..Self::problem() })
    }

    /// Sets the texts of denials of a kind and of all kinds below it.
    #[must_use]
    pub fn error_text(mut self, kind: DenialKind, error_text: ErrorText) -> Self {
        self.error_texts.insert(kind, error_text);
        self
    }

    /// Sets the URL at which an agreement is signed.
    #[must_use]
    pub fn agreement_url(mut self, agreement: impl Into<Agreement>, url: impl Into<String>) -> Self {
        self.agreement_urls.insert(agreement.into(), url.into());
        self
    }

    /// Sets the realm that the challenge of a 401 names (RFC 9110, section 11.5).
    ///
    /// # Errors
    ///
    /// Returns an error if the realm is empty, or contains `"`, `\` or a character that is not printable ASCII.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if realm.is_empty() || !realm.bytes().all(plain) {
            let expected = "write printable ASCII without quotes and backslashes, as in `Acme API`";
            return Err(ConfigError::new(realm, "this cannot be a realm", expected).in_member("realm"));
        }
        self.realm = Some(realm.to_owned());
        Ok(self)
    }

    /// Sets the longest time that `Retry-After` names. Defaults to one day.
    ///
    /// # Errors
    ///
    /// Returns an error if the time is less than a second.
    pub fn longest_wait(mut self, wait: Duration) -> Result<Self, ConfigError> {
        if wait < Duration::from_secs(1) {
            let problem = "`Retry-After` counts whole seconds, from 1";
            return Err(ConfigError::new(format!("{wait:?}"), problem, "write at least `1s`")
                .in_member("longest_wait"));
        }
        self.longest_wait = wait;
        Ok(self)
    }

    /// Adds the problem types of draft-ietf-httpapi-ratelimit-headers-11 to problem details. A denial of a kind in the table
    /// has that `type`, unless its [`ErrorText`] gives another, and the member `violated-policies`: the names of the exceeded
    /// quotas. The member `code` stays. The types begin with `https://iana.org/assignments/http-problem-types#`.
    ///
    /// | kind | type |
    /// |---|---|
    /// | `rate_limited` | `quota-exceeded` |
    /// | `rate_limited` with the status 503 | `temporary-reduced-capacity` |
    /// | `too_many_attempts`, without the member | `abnormal-usage-detected` |
    ///
    /// Without [limit headers](crate::GateBuilder::limit_headers), only the quota with the longest wait is listed.
    ///
    /// # Errors
    ///
    /// Returns an error for a JSON template, which contains only what it says.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::respond::ErrorFormat;
    ///
    /// let format = ErrorFormat::problem().with_problem_types()?;
    /// assert!(ErrorFormat::json(r#"{"error": "{code}"}"#)?.with_problem_types().is_err());
    /// # drop(format);
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn with_problem_types(mut self) -> Result<Self, ConfigError> {
        if self.template.is_some() {
            let problem = "problem types belong to problem details, and there is a `template`";
            let expected = "leave one of them out, or write the `type` under `[errors.rate_limited]`";
            return Err(ConfigError::new("true", problem, expected).in_member("problem_types"));
        }
        self.problem_types = true;
        Ok(self)
    }

    /// Returns the same texts with another JSON template.
    pub(super) fn in_shape(&self, template: Value) -> Self {
        Self { template: Some(template), ..self.clone() }
    }

    /// Returns the realm, or `other` if there is none.
    pub(super) fn realm_or<'a>(&'a self, other: &'a str) -> &'a str {
        self.realm.as_deref().unwrap_or(other)
    }

    /// Compiles the response of each kind.
    pub(crate) fn compile(
        &self,
        sources: &[KeySource],
        request_id: &HeaderName,
    ) -> Result<ErrorTemplates, ConfigError> {
        let known: Vec<String> = self
            .error_texts
            .values()
            .flat_map(|error_text| error_text.members.iter().map(|(name, _)| name.clone()))
            .collect();
        self.check_wordings()?;
        let challenges = Challenges::new(sources, self.realm.as_deref())?;
        let error_template = |kind: &DenialKind| {
            let mut error_text = resolve(*kind, &self.error_texts, self.template.is_none());
            if self.problem_types {
                error_text.set_problem_type(*kind);
            }
            let template = self.template.clone().unwrap_or_else(|| problem_template(&error_text));
            let pieces = Compiler::new(*kind, &error_text, &known)
                .compile(&template)
                .map_err(|fault| self.unfillable(*kind, fault))?;
            let media_type =
                if self.template.is_some() { "application/json" } else { "application/problem+json" };
            Ok(ErrorTemplate::new(*kind, error_text.status, media_type, &challenges, request_id, pieces))
        };
        let by_kind = DenialKind::ALL.iter().map(error_template).collect::<Result<_, ConfigError>>()?;
        Ok(ErrorTemplates {
            by_kind,
            agreement_urls: self.agreement_urls.clone(),
            longest_wait: self.longest_wait,
        })
    }

    fn check_wordings(&self) -> Result<(), ConfigError> {
        let mut error_texts: Vec<_> = self.error_texts.iter().collect();
        error_texts.sort_unstable_by_key(|(kind, _)| **kind as usize);
        for (kind, error_text) in error_texts {
            error_text.check(*kind).map_err(|error| error.in_member(format!("errors.{}", kind.name())))?;
        }
        Ok(())
    }

    /// Returns the error for a text that cannot be filled. It names the text's place: the wording of the kind or of an
    /// ancestor, or else the template.
    fn unfillable(&self, kind: DenialKind, fault: PlaceholderError) -> ConfigError {
        let said = ancestry(kind).find_map(|kind| {
            let member = self.error_texts.get(&kind)?.member_with(&fault.text)?;
            Some(format!("errors.{}.{member}", kind.name()))
        });
        let member = said.unwrap_or_else(|| "presentation.template".to_owned());
        ConfigError::new(fault.text, fault.problem, fault.expected).in_member(member)
    }
}

/// Returns a template with the members of a problem (RFC 9457, section 3) and the further members of the kind.
fn problem_template(error_text: &Resolved) -> Value {
    let code = error_text.is_told_by_code.then_some("code");
    let names = ["type", "title", "status"].into_iter().chain(code).chain(["detail", "instance"]);
    let names = names.chain(error_text.members.iter().map(|(name, _)| name.as_str()));
    Value::Object(names.map(|name| (name.to_owned(), Value::from(format!("{{{name}}}")))).collect())
}
