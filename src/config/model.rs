//! What the file says, as it says it.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use crate::config::plan::{PlanConfig, QuotaConfig};
use crate::config::rule::{RuleConfig, ScopeConfig};
use crate::config::text::{Network, Never, OneOf, Span, Text, Written};
use crate::config::{CostConfig, secret::Reference};
use crate::denial::DenialKind;
use crate::error::ConfigError;
use crate::gate::Check;
use crate::key::{Alphabet, KeyId, Length};

/// A configuration, as the file says it: every member is described at the builder's method or the type that it stands
/// for. Read one with [`Config::read`]; members may be changed before [`Config::builder`] checks them again.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Where a key may stand, the first that is present deciding.
    pub sources: Vec<SourceConfig>,
    /// Whether a request that shows a key in two sources is refused.
    pub on_conflict: OnConflict,
    /// What becomes of CORS preflights.
    pub preflights: Preflights,
    /// The shapes of keys.
    pub formats: Vec<FormatConfig>,
    /// The environments that are served; `live`, if none is named.
    pub environments: Vec<String>,
    /// How keys are hashed.
    pub hash: HashConfig,
    /// The order of the checks.
    pub order: Vec<Text<Check>>,
    /// What holds where no rule matches, and what rules say that they do not say themselves.
    pub default: DefaultConfig,
    /// The rules.
    pub rules: Vec<RuleConfig>,
    /// Quotas that plans, accounts and keys may name.
    pub quotas: BTreeMap<String, QuotaConfig>,
    /// The plans, by name.
    pub plans: BTreeMap<String, PlanConfig>,
    /// Agreements, by name.
    pub agreements: BTreeMap<String, AgreementConfig>,
    /// Keys that everybody knows.
    pub demo: Vec<DemoConfig>,
    /// How keys are managed.
    pub management: ManagementConfig,
    /// Whose word on the client's address is taken.
    pub proxies: ProxyConfig,
    /// How requests are named.
    pub request_id: RequestIdConfig,
    /// How refusals look.
    pub presentation: PresentationConfig,
    /// What is said of each kind of refusal.
    pub errors: BTreeMap<Text<DenialKind>, WordingConfig>,
    /// Whether answers bear `RateLimit` headers.
    pub limit_headers: bool,
    /// Whether the handler is kept from seeing the headers that keys stand in.
    pub strip_headers: bool,
    /// Whether the handler is told nothing of who was let in.
    pub no_principal: bool,

    /// The text that was read: errors that are found later name its lines.
    #[serde(skip)]
    pub(super) text: String,
    #[serde(skip)]
    pub(super) file: String,
}

/// What becomes of a request that shows keys in two sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The first source decides.
    #[default]
    First,
    /// It is refused.
    Reject,
}

/// What becomes of CORS preflights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preflights {
    /// They need no key.
    #[default]
    Pass,
    /// They need one, like any request.
    Refuse,
}

/// A place where a key may stand: one of `header`, `authorization` and `query`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// A header that holds the key alone.
    pub header: Option<String>,
    /// A scheme of the `Authorization` header.
    pub authorization: Option<String>,
    /// Whether the scheme is compared as a literal string, with one space behind it.
    pub literal: bool,
    /// A query parameter.
    pub query: Option<String>,
}

/// The shape of a key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatConfig {
    /// What stands in front; nothing, if nothing is said.
    #[serde(default)]
    pub prefix: String,
    /// How many characters follow: `32`, or `"10..=256"`.
    pub body: Body,
    /// Which characters.
    #[serde(default)]
    pub alphabet: Option<Text<Alphabet>>,
    /// Whether the last six are a checksum.
    #[serde(default)]
    pub checksum: bool,
    /// How many of a key's first characters are shown.
    #[serde(default)]
    pub start: Option<usize>,
    /// Whether new keys have this shape; `false` for keys that are only accepted, which may be shorter.
    #[serde(default)]
    pub issue: Option<bool>,
    /// The environment of keys of this shape, one of those that are served; `live`, if nothing is said.
    #[serde(default)]
    pub environment: Option<String>,
}

/// How many characters follow a key's prefix: a number, or a range.
pub type Body = OneOf<usize, Range, Never>;

/// A range of lengths, its ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(pub Length);

impl Written for Range {
    const HOW: &'static str = "a range as in `\"10..=256\"`";
}

impl FromStr for Range {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ends =
            text.split_once("..=").and_then(|(least, most)| Some((least.parse().ok()?, most.parse().ok()?)));
        ends.map(|(least, most)| Self(Length::between(least, most)))
            .ok_or_else(|| ConfigError::new(text, "this is no range of lengths", "write it as in `10..=256`"))
    }
}

/// How keys are hashed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HashConfig {
    /// Where the pepper is: `env:NAME` or `file:PATH`; plain SHA-256 without one.
    pub pepper: Option<Text<Reference>>,
    /// How keys were hashed before, or elsewhere.
    pub older: Vec<OlderHash>,
}

/// How keys were hashed before, or elsewhere: under another pepper, or by a plain scheme.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OlderHash {
    /// Where the pepper is.
    pub pepper: Option<Text<Reference>>,
    /// A plain scheme: `sha256` or `sha512`.
    pub scheme: Option<String>,
}

/// What holds where no rule matches, and for rules that do not say otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultConfig {
    /// Whether requests that no rule matches are refused, whatever the key: recommended for every service that has rules.
    pub deny: bool,
    /// What a request costs.
    pub cost: Option<CostConfig>,
    /// Which restricted keys are let in.
    pub scope: Option<ScopeConfig>,
    /// The lowest plan.
    pub min_plan: Option<String>,
    /// Plans that are let in whatever their rank.
    pub open_to: Option<Vec<String>>,
    /// Plans that are not let in.
    pub closed_to: Option<Vec<String>>,
    /// What must have been signed.
    pub agreements: Option<Vec<String>>,
    /// Whether a subscription is asked for.
    pub subscription: Option<bool>,
}

/// An agreement.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgreementConfig {
    /// Where it is signed.
    pub url: Option<String>,
}

/// A key that everybody knows, exempt from the formats.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoConfig {
    /// The key itself.
    pub key: String,
    /// Its id.
    pub id: Text<KeyId>,
    /// Its account.
    pub account: String,
    /// Its account's plan.
    pub plan: String,
    /// What it is called.
    #[serde(default = "demo")]
    pub name: String,
    /// Where it belongs.
    #[serde(default = "live")]
    pub environment: String,
}

fn demo() -> String {
    "demo".into()
}

fn live() -> String {
    "live".into()
}

/// How keys are managed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManagementConfig {
    /// The path under which the gate answers requests for key management, where no rule may stand; nowhere, if nothing is
    /// said.
    pub path: Option<String>,
    /// The scope that lets a key manage keys whose scopes are restricted, as in `keys:manage`. If nothing is said, none does.
    pub scope: Option<String>,
    /// Whether a list of keys over HTTP tells which key issued each, as `issuedBy`; it does not, if nothing is said.
    pub list_issuers: bool,
    /// The time in which a request's body must have been read; `10s`, if nothing is said.
    pub body_time: Option<Text<Span>>,
    /// The feature that a plan must include for an expiry of one's own: at least one does.
    pub expiry_feature: Option<String>,
    /// How often a key's uses are noted at most.
    pub note_uses: Option<Text<Span>>,
}

/// Whose word on the client's address is taken.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// The networks of the trusted proxies.
    pub trusted: Vec<Text<Network>>,
    /// The header that they write; `X-Forwarded-For`, if nothing is said.
    pub header: Option<String>,
}

/// How requests are named.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestIdConfig {
    /// The header.
    pub header: Option<String>,
    /// What stands in front of new ids.
    pub prefix: Option<String>,
    /// Whether the service's answers bear the id too.
    pub every_answer: bool,
}

/// How refusals look.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PresentationConfig {
    /// A JSON template; problem details without one.
    pub template: Option<String>,
    /// The realm of a 401's challenge.
    pub realm: Option<String>,
    /// The longest time that `Retry-After` names.
    pub longest_wait: Option<Text<Span>>,
}

/// What a refusal says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordingConfig {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The code.
    pub code: Option<String>,
    /// The type.
    pub r#type: Option<String>,
    /// The title.
    pub title: Option<String>,
    /// The message, or a problem's detail.
    pub message: Option<String>,
    /// Further members.
    pub members: BTreeMap<String, String>,
}
