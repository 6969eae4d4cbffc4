//! The types of the configuration file's members.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::amount::Currency;
use crate::config::alert::{AlertConfig, WebhookConfig};
use crate::config::attempts::{AnonymousConfig, AttemptsConfig};
use crate::config::back_ends::BackEndsConfig;
use crate::config::plan::{PlanConfig, QuotaConfig};
use crate::config::rule::{RuleConfig, ScopeConfig};
use crate::config::text::{Network, Never, OneOf, Span, Text, Written};
use crate::config::{CostConfig, ShadowConfig, UsageConfig, secret::Reference};
use crate::denial::DenialKind;
use crate::error::ConfigError;
use crate::gate::Check;
use crate::key::{Alphabet, KeyId, Length};

/// A configuration, in the form of the file. The builder's method or the type for each member describes it further.
/// [`Config::read`] reads a configuration. A caller may change members; [`Config::builder`] checks them again.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The places in a request where a key may be. The first source that is present decides.
    pub sources: Vec<SourceConfig>,
    /// The handling of a request that presents keys in two sources.
    pub on_conflict: OnConflict,
    /// The handling of CORS preflights.
    pub preflights: Preflights,
    /// The formats of keys.
    pub formats: Vec<FormatConfig>,
    /// The environments that are served. Defaults to `live` alone.
    pub environments: Vec<String>,
    /// The hashing of keys.
    pub hash: HashConfig,
    /// The order of the checks.
    pub order: Vec<Text<Check>>,
    /// The checks that are made in shadow: they are judged and told, and refuse nothing.
    pub shadow: ShadowConfig,
    /// The requirements of requests that no rule matches. They are also the defaults of absent members of rules.
    pub default: DefaultConfig,
    /// The rules.
    pub rules: Vec<RuleConfig>,
    /// The quotas that rules, plans, accounts and keys may name.
    pub quotas: BTreeMap<String, QuotaConfig>,
    /// The maximum number of requests in flight of all keys together. Defaults to no limit.
    pub in_flight: Option<u32>,
    /// The currencies that a rule may cost although no plan grants them. `credits` is always one.
    pub currencies: Vec<Text<Currency>>,
    /// The plans, by name.
    pub plans: BTreeMap<String, PlanConfig>,
    /// The agreements, by name.
    pub agreements: BTreeMap<String, AgreementConfig>,
    /// The demo keys: keys that are public.
    pub demo: Vec<DemoConfig>,
    /// The thresholds of alerts.
    pub alerts: Vec<AlertConfig>,
    /// The URLs that alerts are sent to.
    pub webhooks: Vec<WebhookConfig>,
    /// The settings of key management.
    pub management: ManagementConfig,
    /// The settings of usage. Without this table, no usage is counted unless the service sets a usage store.
    pub usage: Option<UsageConfig>,
    /// The plan of requests without a key. Without this table, such requests are served at public rules alone.
    pub anonymous: Option<AnonymousConfig>,
    /// The limit on requests without a valid key. Without this table, there is no limit.
    pub attempts: Option<AttemptsConfig>,
    /// The handling of keys that came without encryption.
    pub insecure: InsecureConfig,
    /// The policies for the back ends: time limits, circuits, and the answers while they fail.
    pub back_ends: BackEndsConfig,
    /// The proxies that are trusted to report the client's address.
    pub proxies: ProxyConfig,
    /// The settings of request ids.
    pub request_id: RequestIdConfig,
    /// The format of denials.
    pub presentation: ErrorFormatConfig,
    /// The status and texts of each kind of denial.
    pub errors: BTreeMap<Text<DenialKind>, ErrorTextConfig>,
    /// True if responses have `RateLimit` headers.
    pub limit_headers: bool,
    /// The headers of the cost and of the balance.
    pub credit_headers: CreditHeadersConfig,
    /// True if the headers that are key sources are removed from the request before the handler sees it.
    pub strip_headers: bool,
    /// True if the handler gets no principal.
    pub no_principal: bool,

    /// The text that was read. Errors that are found after parsing name its lines.
    #[serde(skip)]
    pub(super) text: FileText,
    #[serde(skip)]
    pub(super) file: String,
}

/// The text of the file. Its `Debug` output omits it, because URLs in it may contain tokens.
#[derive(Clone, Default)]
pub(super) struct FileText(pub(super) String);

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The handling of a request that presents keys in two sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The first source decides.
    #[default]
    First,
    /// The request is denied.
    Reject,
}

/// The handling of CORS preflights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preflights {
    /// Preflights need no key.
    #[default]
    Pass,
    /// Preflights need a key, as any request does.
    Refuse,
}

/// A place in a request where a key may be: exactly one of `header`, `authorization` and `query`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// The name of a header whose whole value is the key.
    pub header: Option<String>,
    /// A scheme of the `Authorization` header.
    pub authorization: Option<String>,
    /// True if the scheme is compared as a literal string, followed by exactly one space.
    pub literal: bool,
    /// The name of a query parameter.
    pub query: Option<String>,
}

/// The format of a key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatConfig {
    /// The prefix of the key. Defaults to an empty prefix.
    #[serde(default)]
    pub prefix: String,
    /// The number of characters after the prefix: `32`, or `"10..=256"`.
    pub body: Body,
    /// The characters that may follow the prefix.
    #[serde(default)]
    pub alphabet: Option<Text<Alphabet>>,
    /// True if the last six characters are a checksum.
    #[serde(default)]
    pub checksum: bool,
    /// The length of the start: the number of a key's first characters that may be shown.
    #[serde(default)]
    pub start: Option<usize>,
    /// True if new keys may have this format. `false` is for keys that are only accepted; these may be shorter.
    #[serde(default)]
    pub issue: Option<bool>,
    /// The environment of keys of this format. It must be one that is served. Defaults to `live`.
    #[serde(default)]
    pub environment: Option<String>,
}

/// The number of characters after a key's prefix: a number, or a range.
pub type Body = OneOf<usize, Range, Never>;

/// A range of lengths that includes both ends.
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
            .ok_or_else(|| ConfigError::new(text, "invalid range of lengths", "write it as in `10..=256`"))
    }
}

/// The hashing of keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HashConfig {
    /// The reference to the pepper: `env:NAME` or `file:PATH`. Without a pepper, keys are hashed by plain SHA-256.
    pub pepper: Option<Text<Reference>>,
    /// The hashing of keys that were hashed before, or elsewhere.
    pub older: Vec<OlderHash>,
}

/// The hashing of keys that were hashed before, or elsewhere: with another pepper, or by a plain scheme.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OlderHash {
    /// The reference to the pepper: `env:NAME` or `file:PATH`.
    pub pepper: Option<Text<Reference>>,
    /// A plain scheme: `sha256` or `sha512`.
    pub scheme: Option<String>,
}

/// The requirements of requests that no rule matches, and the defaults of rules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultConfig {
    /// True if requests that no rule matches are denied, whatever the key. `true` is recommended for every service that
    /// has rules.
    pub deny: bool,
    /// The cost of a request.
    pub cost: Option<CostConfig>,
    /// The currency of the cost.
    pub currency: Option<Text<Currency>>,
    /// The scopes that a restricted key needs.
    pub scope: Option<ScopeConfig>,
    /// The lowest plan that is admitted.
    pub min_plan: Option<String>,
    /// The plans that are admitted regardless of their rank.
    pub open_to: Option<Vec<String>>,
    /// The plans that are not admitted.
    pub closed_to: Option<Vec<String>>,
    /// The agreements that the account must have signed.
    pub agreements: Option<Vec<String>>,
    /// True if the account needs an active subscription.
    pub subscription: Option<bool>,
}

/// An agreement that accounts sign.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgreementConfig {
    /// The URL at which the agreement is signed.
    pub url: Option<String>,
}

/// A demo key: a key that is public and need not have one of the formats.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoConfig {
    /// The key itself.
    pub key: String,
    /// The id of the key.
    pub id: Text<KeyId>,
    /// The id of the key's account.
    pub account: String,
    /// The plan of the account.
    pub plan: String,
    /// The name of the key. Defaults to `demo`.
    #[serde(default = "demo")]
    pub name: String,
    /// The environment of the key. Defaults to `live`.
    #[serde(default = "live")]
    pub environment: String,
}

fn demo() -> String {
    "demo".into()
}

fn live() -> String {
    "live".into()
}

/// The settings of key management.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManagementConfig {
    /// The path under which the gate answers requests for key management. No rule may be under it. Without a path, the
    /// gate answers no such requests.
    pub path: Option<String>,
    /// The scope that lets a key with restricted scopes manage keys, as in `keys:manage`. Without it, no such key can.
    pub scope: Option<String>,
    /// True if a list of keys over HTTP names the key that issued each key, as `issuedBy`. Defaults to `false`.
    pub list_issuers: bool,
    /// The time within which the body of a request must have been read. Defaults to `10s`.
    pub body_time: Option<Text<Span>>,
    /// The feature that a plan must include for a caller to choose the expiry of its keys. At least one plan must
    /// include it.
    pub expiry_feature: Option<String>,
    /// The shortest time between two recorded uses of a key.
    pub note_uses: Option<Text<Span>>,
    /// The time within which the operator may take back a revocation. Without it, a revocation is final.
    pub undo_revocation: Option<Text<Span>>,
}

/// The proxies that are trusted to report the client's address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// The networks of the trusted proxies.
    pub trusted: Vec<Text<Network>>,
    /// The header in which the proxies report the address. Defaults to `X-Forwarded-For`.
    pub header: Option<String>,
    /// `false` if connections have no peer address, as over a Unix socket. Then no client's address is known. Defaults to
    /// `true`.
    pub peer: Option<bool>,
}

/// The handling of keys that came without encryption.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InsecureConfig {
    /// True if they are denied.
    pub refuse: bool,
}

/// The settings of request ids.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestIdConfig {
    /// The header of the request id.
    pub header: Option<String>,
    /// The prefix of new ids.
    pub prefix: Option<String>,
    /// True if the service's own responses have the id too.
    pub every_answer: bool,
}

/// The headers of responses in which a request's cost and the account's balance are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreditHeadersConfig {
    /// The header of the cost.
    pub cost: Option<String>,
    /// The header of the balance.
    pub balance: Option<String>,
}

/// The format of denials.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorFormatConfig {
    /// The JSON template of a denial's body. Without a template, the body is problem details.
    pub template: Option<String>,
    /// The realm in the challenge of a 401.
    pub realm: Option<String>,
    /// The longest time in `Retry-After`.
    pub longest_wait: Option<Text<Span>>,
    /// True if problem details have the problem types of draft-ietf-httpapi-ratelimit-headers-11.
    pub problem_types: bool,
}

/// The status and texts of a kind of denial.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorTextConfig {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The error code.
    pub code: Option<String>,
    /// The type URI.
    pub r#type: Option<String>,
    /// The title.
    pub title: Option<String>,
    /// The message, or the `detail` of problem details.
    pub message: Option<String>,
    /// Further members of the body.
    pub members: BTreeMap<String, String>,
}
