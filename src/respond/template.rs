//! JSON templates, which are compiled for each denial kind into text with gaps.

use serde_json::Value;

use crate::denial::DenialKind;
use crate::respond::error_text::{Resolved, waits};
use crate::words;

/// A value that is known only when a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    RequestId,
    Timestamp,
    Instance,
    RetryAfter,
    Policy,
    Weight,
    Capacity,
    RequiredScope,
    RequiredPlan,
    Agreement,
    AgreementUrl,
    Parameter,
    Cap,
    Balance,
    Cost,
    Currency,
    Left,
    Resets,
    Member,
    Problem,
    MaxKeys,
    MaxInFlight,
    ViolatedPolicies,
}

/// The variables and the names of their placeholders.
const VARIABLES: [(&str, Variable); 23] = [
    ("request_id", Variable::RequestId),
    ("timestamp", Variable::Timestamp),
    ("instance", Variable::Instance),
    ("retry_after", Variable::RetryAfter),
    ("policy", Variable::Policy),
    ("weight", Variable::Weight),
    ("capacity", Variable::Capacity),
    ("required_scope", Variable::RequiredScope),
    ("required_plan", Variable::RequiredPlan),
    ("agreement", Variable::Agreement),
    ("agreement_url", Variable::AgreementUrl),
    ("parameter", Variable::Parameter),
    ("cap", Variable::Cap),
    ("balance", Variable::Balance),
    ("cost", Variable::Cost),
    ("currency", Variable::Currency),
    ("left", Variable::Left),
    ("resets", Variable::Resets),
    ("member", Variable::Member),
    ("problem", Variable::Problem),
    ("max_keys", Variable::MaxKeys),
    ("max_in_flight", Variable::MaxInFlight),
    ("violated_policies", Variable::ViolatedPolicies),
];

/// The placeholders whose values come from the kind's wording.
const WORDED: [&str; 6] = ["status", "code", "type", "title", "message", "detail"];

/// Returns the names of all placeholders but those of further members.
pub(crate) fn placeholders<'w>() -> impl Iterator<Item = &'w str> + Clone {
    WORDED.into_iter().chain(VARIABLES.into_iter().map(|(name, _)| name))
}

impl Variable {
    /// Returns the variable with this name, and true if denials of the kind have a value for it.
    fn named(name: &str, kind: DenialKind) -> Option<(Self, bool)> {
        let (_, variable) = VARIABLES.into_iter().find(|(known, _)| *known == name)?;
        Some((variable, variable.is_known_of(kind)))
    }

    /// Returns true if denials of the kind have a value for the variable.
    fn is_known_of(self, kind: DenialKind) -> bool {
        use DenialKind as Kind;
        match self {
            Self::RequestId | Self::Timestamp | Self::Instance => true,
            Self::RetryAfter => waits(kind),
            Self::Policy => matches!(kind, Kind::RateLimited | Kind::WeightTooLarge),
            Self::ViolatedPolicies => kind == Kind::RateLimited,
            Self::Weight | Self::Capacity => kind == Kind::WeightTooLarge,
            Self::RequiredScope => kind == Kind::ScopeRequired,
            Self::RequiredPlan => kind == Kind::PlanRequired,
            Self::Agreement | Self::AgreementUrl => kind == Kind::AgreementRequired,
            Self::Parameter => {
                matches!(kind, Kind::ParameterForbidden | Kind::ParameterAboveCap | Kind::ParameterUnreadable)
            }
            Self::Cap => kind == Kind::ParameterAboveCap,
            Self::Member => matches!(kind, Kind::InvalidMember | Kind::TooWide),
            Self::Problem => kind == Kind::InvalidMember,
            Self::MaxKeys => kind == Kind::KeyLimitReached,
            Self::MaxInFlight => kind == Kind::InFlightLimited,
            Self::Balance => kind == Kind::CreditsExhausted,
            Self::Cost | Self::Currency => matches!(kind, Kind::CreditsExhausted | Kind::BudgetExceeded),
            Self::Left | Self::Resets => kind == Kind::BudgetExceeded,
        }
    }

    /// Returns true if the variable is a list of texts, which is an array in JSON.
    pub(super) fn is_list(self) -> bool {
        self == Self::ViolatedPolicies
    }

    /// Returns true if the variable is a number, which stays a number in JSON.
    pub(super) fn is_number(self) -> bool {
        matches!(
            self,
            Self::RetryAfter
                | Self::Weight
                | Self::Capacity
                | Self::Cap
                | Self::Balance
                | Self::Cost
                | Self::Left
                | Self::MaxKeys
                | Self::MaxInFlight
        )
    }
}

/// Returns true if a further member of a denial may have this name. The names that every denial has are taken.
pub(super) fn may_name_a_member(name: &str) -> bool {
    let taken =
        ["status", "code", "type", "title", "message", "detail", "instance", "request_id", "timestamp"];
    !name.is_empty() && !name.contains(['{', '}']) && !taken.contains(&name)
}

/// A part of a compiled template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Literal JSON.
    Text(String),
    /// A variable that is a whole JSON value.
    Whole(Variable),
    /// A variable within a JSON string.
    Within(Variable),
}

/// A placeholder that cannot be filled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlaceholderError {
    pub(super) text: String,
    pub(super) problem: String,
    pub(super) expected: String,
}

/// A compiler of one template for one kind.
pub(super) struct Compiler<'a> {
    pub(super) kind: DenialKind,
    pub(super) error_text: &'a Resolved,
    /// The names of further members of all kinds. A name that is known here and that this kind lacks is absent, not
    /// unknown.
    pub(super) known: &'a [String],
    pieces: Vec<Piece>,
}

enum Filling<'a> {
    Fixed(&'a str),
    Number(u16),
    Variable(Variable),
    Absent,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(kind: DenialKind, error_text: &'a Resolved, known: &'a [String]) -> Self {
        Self { kind, error_text, known, pieces: Vec::new() }
    }

    pub(super) fn compile(mut self, template: &Value) -> Result<Vec<Piece>, PlaceholderError> {
        self.value(template)?;
        Ok(self.pieces)
    }

    fn value(&mut self, value: &Value) -> Result<(), PlaceholderError> {
        match value {
            Value::Object(members) => {
                self.text("{");
                let mut first = true;
                for (name, value) in members {
                    if self.is_absent(value)? {
                        continue;
                    }
                    let comma = if std::mem::take(&mut first) { "" } else { "," };
                    self.text(&format!("{comma}{}:", Value::from(name.as_str())));
                    self.value(value)?;
                }
                self.text("}");
            }
            Value::Array(items) => {
                self.text("[");
                for (place, item) in items.iter().enumerate() {
                    self.text(if place == 0 { "" } else { "," });
                    self.value(item)?;
                }
                self.text("]");
            }
            Value::String(text) => match self.whole(text, "")? {
                Some(Filling::Number(number)) => self.text(&number.to_string()),
                Some(Filling::Variable(variable)) if variable.is_number() || variable.is_list() => {
                    self.pieces.push(Piece::Whole(variable));
                }
                _ => {
                    self.text("\"");
                    self.string(text, "", 0)?;
                    self.text("\"");
                }
            },
            plain => self.text(&plain.to_string()),
        }
        Ok(())
    }

    /// Compiles a string that may contain placeholders. The value of a placeholder may contain placeholders too. A
    /// further member's value does not refer to that member again: there, its name means the variable of the same name.
    /// `within` is the name of the placeholder whose value `text` is.
    fn string(&mut self, text: &str, within: &str, depth: usize) -> Result<(), PlaceholderError> {
        for part in parts(text)? {
            match part {
                Part::Text(text) => self.text(&escaped(text)),
                Part::Brace(brace) => self.text(brace),
                Part::Name(name) => match self.filling(name, text, within)? {
                    Filling::Fixed(fixed) if depth < 2 => self.string(fixed, name, depth + 1)?,
                    Filling::Number(number) => self.text(&number.to_string()),
                    Filling::Variable(variable) => self.pieces.push(Piece::Within(variable)),
                    Filling::Fixed(_) | Filling::Absent => {
                        let problem =
                            format!("a denial of the kind `{}` has no `{{{name}}}`", self.kind.name());
                        let expected = format!("use one of its placeholders: {}", self.has(name));
                        return Err(PlaceholderError { text: text.to_owned(), problem, expected });
                    }
                },
            }
        }
        Ok(())
    }

    /// Returns the value of a string that is one placeholder and nothing else. If the placeholder names a further
    /// member that is itself one placeholder, the result has that placeholder's type, and is absent if that is absent.
    fn whole(&self, text: &str, within: &str) -> Result<Option<Filling<'a>>, PlaceholderError> {
        let parts = parts(text)?;
        let [Part::Name(name)] = parts.as_slice() else { return Ok(None) };
        if within.is_empty()
            && let Some(value) = self.member(name)
            && let Some(filling) = self.whole(value, name)?
        {
            return Ok(Some(filling));
        }
        self.filling(name, text, within).map(Some)
    }

    fn member(&self, name: &str) -> Option<&'a str> {
        self.error_text.members.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_absent(&self, value: &Value) -> Result<bool, PlaceholderError> {
        let Value::String(text) = value else { return Ok(false) };
        Ok(matches!(self.whole(text, "")?, Some(Filling::Absent)))
    }

    fn filling(&self, name: &str, text: &str, within: &str) -> Result<Filling<'a>, PlaceholderError> {
        let error_text = self.error_text;
        let optional = |value: &'a Option<String>| value.as_deref().map_or(Filling::Absent, Filling::Fixed);
        Ok(match name {
            "status" => Filling::Number(error_text.status.as_u16()),
            "code" => Filling::Fixed(&error_text.code),
            "type" => optional(&error_text.type_uri),
            "title" => Filling::Fixed(&error_text.title),
            "message" | "detail" => Filling::Fixed(&error_text.message),
            _ => match (self.member(name).filter(|_| name != within), Variable::named(name, self.kind)) {
                (Some(value), _) => Filling::Fixed(value),
                (None, Some((variable, true))) => Filling::Variable(variable),
                (None, Some((_, false))) => Filling::Absent,
                (None, None) if self.known.iter().any(|known| known == name) => Filling::Absent,
                (None, None) => {
                    let problem = format!("unknown placeholder `{{{name}}}`");
                    let known = placeholders().chain(self.known.iter().map(String::as_str));
                    let expected =
                        format!("{}, or `{{{{` and `}}}}` for a literal brace", words::one_of(name, known));
                    return Err(PlaceholderError { text: text.to_owned(), problem, expected });
                }
            },
        })
    }

    /// Returns the placeholders that denials of this kind have, except one.
    fn has(&self, without: &str) -> String {
        let own = self.error_text.members.iter().map(|(name, _)| name.as_str());
        let variables = VARIABLES.into_iter().filter(|(_, variable)| variable.is_known_of(self.kind));
        let names = WORDED.into_iter().chain(own).chain(variables.map(|(name, _)| name));
        let names: Vec<_> =
            names.filter(|name| *name != without).map(|name| format!("`{{{name}}}`")).collect();
        names.join(", ")
    }

    fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }
}

enum Part<'t> {
    Text(&'t str),
    Brace(&'static str),
    Name(&'t str),
}

/// Splits a text at its placeholders, `{name}`. `{{` and `}}` are braces.
fn parts(text: &str) -> Result<Vec<Part<'_>>, PlaceholderError> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(place) = rest.find(['{', '}']) {
        if place > 0 {
            parts.push(Part::Text(&rest[..place]));
        }
        rest = &rest[place..];
        if let Some(behind) = rest.strip_prefix("{{") {
            parts.push(Part::Brace("{"));
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("}}") {
            parts.push(Part::Brace("}"));
            rest = behind;
        } else {
            let name = rest.strip_prefix('{').and_then(|name| name.split_once('}'));
            let Some((name, behind)) = name.filter(|(name, _)| !name.contains('{')) else {
                let (problem, expected) = ("unmatched brace", "write `{{` or `}}` for a literal brace");
                return Err(PlaceholderError {
                    text: text.to_owned(),
                    problem: problem.to_owned(),
                    expected: expected.to_owned(),
                });
            };
            parts.push(Part::Name(name));
            rest = behind;
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// Returns the text in its escaped form within a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}
