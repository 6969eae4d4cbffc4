//! How refusals look, as data.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use crate::denial::DenialKind;
use crate::denial::ancestry;
use crate::error::ConfigError;
use crate::key::KeySource;
use crate::name::Agreement;
use crate::respond::Wording;
use crate::respond::challenge::Challenges;
use crate::respond::face::{Face, Faces};
use crate::respond::template::{Compiler, Unfillable};
use crate::respond::unique;
use crate::respond::wording::{Resolved, resolve};

/// How refusals look: a JSON template, what is said of each [`DenialKind`], and the challenge of a 401.
///
/// A template is JSON whose strings may hold placeholders: `{status}`, `{code}`, `{type}`, `{title}`, `{message}` (or
/// `{detail}`) and the names of further members, as the [`Wording`] of the kind says; `{request_id}`, `{timestamp}` (UTC,
/// whole seconds) and `{instance}` (the path, see [`Occasion::instance`](crate::respond::Occasion::instance)), of the request; `{retry_after}` and `{policy}` of a rate limit,
/// `{required_scope}`, `{required_plan}`, `{agreement}` and `{agreement_url}`, `{parameter}` and `{cap}`, `{balance}` and
/// `{cost}`; `{member}`, `{problem}` and `{max_keys}` of key management. A string that is one placeholder and nothing else takes its value's type: numbers stay numbers; a member whose placeholder has
/// no value for a kind is left out. `{{` and `}}` stand for braces.
///
/// # Example
///
/// ```
/// use tollgate::respond::{Presentation, Wording};
/// use tollgate::DenialKind;
///
/// let flat = Presentation::json(r#"{"error": "{code}", "message": "{message}", "retry_after": "{retry_after}"}"#)?
///     .wording(DenialKind::Unauthorized, Wording { code: Some("invalid_api_key".into()), ..Wording::default() });
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Presentation {
    template: Option<Value>,
    wordings: HashMap<DenialKind, Wording>,
    agreement_urls: HashMap<Agreement, String>,
    realm: Option<String>,
    longest_wait: Duration,
}

impl Presentation {
    /// Problem details (RFC 9457), with the kind's further members as extension members.
    ///
    /// Programs tell problems apart by the extension member `code`: the [`Wording`]'s, or else the name of the kind. A problem
    /// to which a [`Wording`] gives a type and no code is told by its type, and has no `code`. The title of a problem to which
    /// no [`Wording`] gives a type or a title is the phrase of its status (section 4.2.1), and its detail says the rest. All
    /// kinds of 401 say the same unless they are given wordings of their own, and differ by their code alone.
    ///
    /// The member `status` is the status that the gate answers. A layer around the gate that rewrites statuses leaves it as
    /// it is: give the [`Wording`] the status instead.
    pub fn problem() -> Self {
        let (wordings, agreement_urls) = (HashMap::new(), HashMap::new());
        Self { template: None, wordings, agreement_urls, realm: None, longest_wait: Duration::from_hours(24) }
    }

    /// JSON of one's own.
    ///
    /// # Errors
    ///
    /// What is no JSON, and an object that has a member twice.
    pub fn json(template: &str) -> Result<Self, ConfigError> {
        let value = serde_json::from_str(template).map_err(|error| {
            let expected = "write a JSON value, as in `{\"error\": \"{code}\"}`";
            let line = template.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            ConfigError::new(line, format!("the template is no JSON: {error}"), expected)
                .in_member("template")
        })?;
        if let Some(name) = unique::repeated(template) {
            let (problem, expected) = ("an object has this member twice", "write each member once");
            return Err(ConfigError::new(name, problem, expected).in_member("template"));
        }
        Ok(Self { template: Some(value), ..Self::problem() })
    }

    /// What is said of refusals of a kind, and of those whose ancestor it is.
    #[must_use]
    pub fn wording(mut self, kind: DenialKind, wording: Wording) -> Self {
        self.wordings.insert(kind, wording);
        self
    }

    /// Where an agreement is signed.
    #[must_use]
    pub fn agreement_url(mut self, agreement: impl Into<Agreement>, url: impl Into<String>) -> Self {
        self.agreement_urls.insert(agreement.into(), url.into());
        self
    }

    /// The realm that the challenge of a 401 names (RFC 9110, section 11.5).
    ///
    /// # Errors
    ///
    /// An empty realm, or one that is not printable ASCII without `"` and `\`.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if realm.is_empty() || !realm.bytes().all(plain) {
            let expected = "write printable ASCII without quotes and backslashes, as in `Acme API`";
            return Err(ConfigError::new(realm, "this cannot be a realm", expected).in_member("realm"));
        }
        self.realm = Some(realm.to_owned());
        Ok(self)
    }

    /// The longest time that `Retry-After` names: a day, if nothing is said.
    ///
    /// # Errors
    ///
    /// Less than a second.
    pub fn longest_wait(mut self, wait: Duration) -> Result<Self, ConfigError> {
        if wait < Duration::from_secs(1) {
            let problem = "`Retry-After` counts whole seconds, from 1";
            return Err(ConfigError::new(format!("{wait:?}"), problem, "write at least `1s`")
                .in_member("longest_wait"));
        }
        self.longest_wait = wait;
        Ok(self)
    }

    /// What this one says, in another JSON shape.
    #[cfg(feature = "tonic")]
    pub(super) fn in_shape(&self, template: Value) -> Self {
        Self { template: Some(template), ..self.clone() }
    }

    /// The realm, or else this.
    #[cfg(feature = "tonic")]
    pub(super) fn realm_or<'a>(&'a self, other: &'a str) -> &'a str {
        self.realm.as_deref().unwrap_or(other)
    }

    /// Compiles what is said of each kind.
    pub(crate) fn compile(
        &self,
        sources: &[KeySource],
        request_id: &HeaderName,
    ) -> Result<Faces, ConfigError> {
        let known: Vec<String> = self
            .wordings
            .values()
            .flat_map(|wording| wording.members.iter().map(|(name, _)| name.clone()))
            .collect();
        self.check_wordings()?;
        let challenges = Challenges::new(sources, self.realm.as_deref())?;
        let face = |kind: &DenialKind| {
            let wording = resolve(*kind, &self.wordings, self.template.is_none());
            let template = self.template.clone().unwrap_or_else(|| problem_template(&wording));
            let pieces = Compiler::new(*kind, &wording, &known)
                .compile(&template)
                .map_err(|fault| self.unfillable(*kind, fault))?;
            let media_type =
                if self.template.is_some() { "application/json" } else { "application/problem+json" };
            Ok(Face::new(*kind, wording.status, media_type, &challenges, request_id, pieces))
        };
        let by_kind = DenialKind::ALL.iter().map(face).collect::<Result<_, ConfigError>>()?;
        Ok(Faces { by_kind, agreement_urls: self.agreement_urls.clone(), longest_wait: self.longest_wait })
    }

    fn check_wordings(&self) -> Result<(), ConfigError> {
        let mut wordings: Vec<_> = self.wordings.iter().collect();
        wordings.sort_unstable_by_key(|(kind, _)| **kind as usize);
        for (kind, wording) in wordings {
            wording.check(*kind).map_err(|error| error.in_member(format!("errors.{}", kind.name())))?;
        }
        Ok(())
    }

    /// Says where the text stands that cannot be filled: in what is said of the kind or of an ancestor, or else in the
    /// template.
    fn unfillable(&self, kind: DenialKind, fault: Unfillable) -> ConfigError {
        let said = ancestry(kind).find_map(|kind| {
            let member = self.wordings.get(&kind)?.member_with(&fault.text)?;
            Some(format!("errors.{}.{member}", kind.name()))
        });
        let member = said.unwrap_or_else(|| "presentation.template".to_owned());
        ConfigError::new(fault.text, fault.problem, fault.expected).in_member(member)
    }
}

/// The members of a problem (RFC 9457, section 3), and what the kind adds to them.
fn problem_template(wording: &Resolved) -> Value {
    let code = wording.is_told_by_code.then_some("code");
    let names = ["type", "title", "status"].into_iter().chain(code).chain(["detail", "instance"]);
    let names = names.chain(wording.members.iter().map(|(name, _)| name.as_str()));
    Value::Object(names.map(|name| (name.to_owned(), Value::from(format!("{{{name}}}")))).collect())
}
