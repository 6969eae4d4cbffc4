//! The challenges in `WWW-Authenticate` of denials: RFC 9110, section 11.6.1, and for Bearer keys RFC 6750, section 3.

use http::{HeaderValue, StatusCode};

use crate::denial::DenialKind;
use crate::error::ConfigError;
use crate::key::KeySource;
use crate::name::Scope;
use crate::rule::CompiledRule;
use crate::rule::ScopeRule;

/// The challenges of a gate: one per scheme of its sources, in their order.
#[derive(Debug)]
pub(super) struct Challenges(Vec<Challenge>);

/// The challenge of one scheme. It has two variants with an error, for Bearer keys only: one for a key that is not
/// valid, and one for a key that lacks a scope.
#[derive(Debug)]
struct Challenge {
    plain: HeaderValue,
    bad_token: HeaderValue,
    lacks_scope: HeaderValue,
    bearer: bool,
}

impl Challenges {
    pub(super) fn new(sources: &[KeySource], realm: Option<&str>) -> Result<Self, ConfigError> {
        let mut challenges: Vec<Challenge> = Vec::new();
        for source in sources {
            let scheme = source.challenge_scheme();
            let plain = challenge(scheme, realm, None)?;
            if !challenges.iter().any(|known| known.plain == plain) {
                challenges.push(Challenge {
                    plain,
                    bad_token: challenge(scheme, realm, Some("invalid_token"))?,
                    lacks_scope: challenge(scheme, realm, Some("insufficient_scope"))?,
                    bearer: source.is_bearer(),
                });
            }
        }
        Ok(Self(challenges))
    }

    /// Returns the challenges of a denial with this status.
    pub(super) fn of(&self, status: StatusCode) -> Vec<HeaderValue> {
        let asked = self.0.iter().filter(|_| status == StatusCode::UNAUTHORIZED);
        asked.map(|challenge| challenge.plain.clone()).collect()
    }

    /// Returns the challenges of a denied Bearer key, if they contain an error code.
    pub(super) fn of_bearer(&self, kind: DenialKind, status: StatusCode) -> Option<Vec<HeaderValue>> {
        if !self.0.iter().any(|challenge| challenge.bearer) {
            return None;
        }
        match status {
            StatusCode::UNAUTHORIZED if is_bad_token(kind) => {
                let of = |all: &Challenge| if all.bearer { all.bad_token.clone() } else { all.plain.clone() };
                Some(self.0.iter().map(of).collect())
            }
            StatusCode::FORBIDDEN if kind == DenialKind::ScopeRequired => {
                let bearer = self.0.iter().find(|challenge| challenge.bearer);
                Some(bearer.map(|challenge| challenge.lacks_scope.clone()).into_iter().collect())
            }
            _ => None,
        }
    }
}

fn challenge(scheme: &str, realm: Option<&str>, error: Option<&str>) -> Result<HeaderValue, ConfigError> {
    let parameters = [("realm", realm), ("error", error)];
    let parameters =
        parameters.into_iter().filter_map(|(name, value)| Some(format!("{name}=\"{}\"", value?)));
    let text = format!("{scheme} {}", parameters.collect::<Vec<_>>().join(", "));
    HeaderValue::try_from(text.trim_end()).map_err(|_| {
        ConfigError::new(
            &text,
            "the challenge is not a valid header value",
            "write a realm of printable ASCII",
        )
        .in_member("presentation.realm")
    })
}

/// Returns true if a key was sent and is not valid. A client that sends no key gets no error code (RFC 6750, section
/// 3.1). If a client sends two keys, neither was checked.
fn is_bad_token(kind: DenialKind) -> bool {
    use DenialKind::{AddressNotAllowed, Expired, InvalidFormat, Paused, Revoked, Unknown};
    matches!(kind, InvalidFormat | Unknown | Revoked | Expired | Paused | AddressNotAllowed)
}

/// Returns the scopes that would admit a key. If one of several is enough, returns only the first.
pub(super) fn sufficient_scopes(compiled: &CompiledRule) -> &[Scope] {
    match &compiled.rule.scopes {
        ScopeRule::Unnamed | ScopeRule::Everyone => &[],
        ScopeRule::AnyOf(named) => named.get(..1).unwrap_or_default(),
        ScopeRule::AllOf(named) => named.as_slice(),
    }
}
