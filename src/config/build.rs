//! Conversion of a [`Config`] into a [`GateBuilder`].

use crate::account::InFlightLimit;
use crate::config::model::{Body, OnConflict, Preflights};
use crate::config::{
    Config, FormatConfig, ManagementConfig, OlderHash, Routes, SourceConfig, alert, demo, errors,
};
use crate::error::ConfigError;
use crate::gate::{GateBuilder, TrustedProxies};
use crate::key::{KeyFormat, KeyHasher, KeySource, Length};
use crate::name::Environment;
use crate::respond::{CreditHeaders, RequestIds};
use crate::rule::Rule;
use crate::words;

pub(super) fn builder(config: &Config) -> Result<GateBuilder, ConfigError> {
    let mut builder = crate::gate::Gate::builder()
        .hasher(hasher(config)?)
        .order(config.order.iter().map(|check| check.0))
        .shadow(config.shadow.checks()?)
        .trusted_proxies(proxies(config)?)
        .request_ids(request_ids(config)?)
        .credit_headers(credit_headers(config)?)
        .error_format(errors::error_format(config)?);
    for (place, source) in config.sources.iter().enumerate() {
        builder =
            builder.source(source.source().map_err(|error| error.in_member(format!("sources[{place}]")))?);
    }
    for (place, format) in config.formats.iter().enumerate() {
        builder =
            builder.format(format.format().map_err(|error| error.in_member(format!("formats[{place}]")))?);
    }
    environments_of_formats(config)?;
    for environment in &config.environments {
        builder = builder.environment(environment.as_str());
    }
    demo::check(config)?;
    for demo in &config.demo {
        builder = builder.literal(demo.key.as_str());
    }
    builder = with_rules(with_plans(builder, config)?, config)?;
    builder = with_management(builder, config)?;
    if let Some(anonymous) = &config.anonymous {
        builder = anonymous.apply(builder)?;
    }
    if let Some(attempts) = &config.attempts {
        builder = builder.attempts(attempts.limit().map_err(|error| error.in_member("attempts"))?);
    }
    if let Some(usage) = &config.usage {
        builder = usage.apply(builder);
    }
    builder = config.back_ends.apply(builder)?;
    builder = alert::with_alerts(builder, config)?;
    Ok(with_switches(builder, config))
}

/// Returns an error if a format has no environment, and the default is not one that the gate serves.
fn environments_of_formats(config: &Config) -> Result<(), ConfigError> {
    let live = Environment::live();
    let Some(served) = config.environments.first().filter(|served| !served.is_empty()) else { return Ok(()) };
    if config.environments.iter().any(|served| served == live.as_str()) {
        return Ok(());
    }
    match config.formats.iter().position(|format| format.environment.is_none()) {
        None => Ok(()),
        Some(place) => {
            let problem = format!(
                "the format has no `environment`; the default is `{}`, which `environments` does not list",
                live.as_str()
            );
            let expected = format!("write for example `environment = {served:?}`");
            Err(ConfigError::new("", problem, expected).in_member(format!("formats[{place}]")))
        }
    }
}

fn with_plans(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    for (name, quota) in &config.quotas {
        builder = builder.quota(name.as_str(), quota.policy(name)?);
    }
    if let Some(most) = config.in_flight {
        let limit = InFlightLimit::new(most).map_err(|error| error.in_member("in_flight"))?;
        builder = builder.in_flight(limit);
    }
    for currency in &config.currencies {
        builder = builder.currency(currency.0.clone());
    }
    for (name, plan) in &config.plans {
        builder = builder.plan(plan.plan(name).map_err(|error| error.in_member(format!("plans.{name}")))?);
    }
    Ok(builder)
}

fn with_rules(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    let within = |error: ConfigError| error.in_member("default");
    let mut otherwise = Rule::otherwise();
    config.default.apply(&mut otherwise).and_then(|()| signable(&otherwise, config)).map_err(within)?;
    builder = builder.otherwise(otherwise);
    if config.default.deny {
        builder = builder.deny_unmatched();
    }
    for (place, rule) in config.rules.iter().enumerate() {
        let within = |error: ConfigError| error.in_member(format!("rules[{place}]"));
        for rule in rule.rules(config).map_err(within)? {
            signable(&rule, config).map_err(within)?;
            builder = builder.rule(rule);
        }
    }
    Ok(builder)
}

/// Returns an error if a rule requires an agreement that is not defined under `[agreements]`.
fn signable(rule: &Rule, config: &Config) -> Result<(), ConfigError> {
    match rule.agreements.iter().find(|name| !config.agreements.contains_key(name.as_str())) {
        None => Ok(()),
        Some(unknown) => {
            let meant = words::meant(unknown.as_str(), config.agreements.keys().map(String::as_str));
            let expected = format!("{meant}define it under `[agreements]`");
            let problem = "the agreement is not defined";
            Err(ConfigError::new(unknown.as_str(), problem, expected).in_member("agreements"))
        }
    }
}

/// Renames the members in a builder's error to their names in the file. The builder numbers rules by route, but one
/// rule of the file may name several routes.
pub(super) fn in_terms_of_the_file(config: &Config, error: ConfigError) -> ConfigError {
    let Some((member, route)) = of_the_file(config, error.member()) else { return error };
    let fault = ConfigError::new(route.unwrap_or(error.value()), error.problem(), error.expected());
    let fault = fault.in_member(member);
    match error.other() {
        Some(other) => fault.beside(of_the_file(config, other).map_or(other.to_owned(), |(other, _)| other)),
        None => fault,
    }
}

/// Returns a rule's member with the index that the rule has in the file. If the member is a route, also returns the
/// route as the file writes it.
fn of_the_file<'c>(config: &'c Config, member: &str) -> Option<(String, Option<&'c str>)> {
    let (counted, member) = member.strip_prefix("rules[")?.split_once(']')?;
    let mut routes = config.rules.iter().enumerate().flat_map(|(place, rule)| {
        rule.routes().iter().enumerate().map(move |(nth, route)| (place, rule, nth, route))
    });
    let (place, rule, nth, route) = routes.nth(counted.parse().ok()?)?;
    let (nth, route) = match (member, &rule.route) {
        (".route", Routes::Many(_)) => (format!("[{nth}]"), Some(route.as_str())),
        (".route", Routes::One(_)) => (String::new(), Some(route.as_str())),
        _ => (String::new(), None),
    };
    Some((format!("rules[{place}]{member}{nth}"), route))
}

fn with_switches(mut builder: GateBuilder, config: &Config) -> GateBuilder {
    if config.on_conflict == OnConflict::Reject {
        builder = builder.refuse_conflicts();
    }
    if config.preflights == Preflights::Refuse {
        builder = builder.refuse_preflights();
    }
    if config.limit_headers {
        builder = builder.limit_headers();
    }
    if config.insecure.refuse {
        builder = builder.refuse_insecure();
    }
    if config.strip_headers {
        builder = builder.strip_headers();
    }
    if config.no_principal {
        builder = builder.without_principal();
    }
    builder
}

/// Returns the hashers under `hash.older`, for keys that were hashed before or elsewhere.
fn older_hashers(config: &Config) -> Result<Vec<KeyHasher>, ConfigError> {
    let within =
        |(place, older)| older_hasher(older).map_err(|error| error.in_member(format!("hash.older[{place}]")));
    config.hash.older.iter().enumerate().map(within).collect()
}

fn older_hasher(older: &OlderHash) -> Result<KeyHasher, ConfigError> {
    let scheme = older.scheme.as_deref();
    // A text that is long enough for a pepper may be a pepper in the wrong place.
    let shown = scheme.filter(|scheme| scheme.len() < 16).unwrap_or_default();
    match (&older.pepper, scheme) {
        (Some(reference), None) => KeyHasher::hmac_sha256(&reference.0.resolve()?),
        (None, Some("sha256")) => Ok(KeyHasher::sha256()),
        (None, Some("sha512")) => Ok(KeyHasher::sha512()),
        (Some(_), Some(_)) => {
            let problem = "`scheme` and `pepper` cannot be combined: a pepper determines the scheme";
            Err(ConfigError::new(shown, problem, "leave one of them out").in_member("scheme"))
        }
        (None, _) => {
            let meant = words::meant(shown, ["sha256", "sha512"]);
            let expected = format!("{meant}write a `pepper`, or the `scheme` `sha256` or `sha512`");
            let error = ConfigError::new(shown, "unknown hash scheme", expected);
            Err(if scheme.is_some() { error.in_member("scheme") } else { error })
        }
    }
}

fn with_management(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    for hasher in older_hashers(config)? {
        builder = builder.older_hasher(hasher);
    }
    let settings = &config.management;
    if let Some(within) = &settings.undo_revocation {
        builder = builder.undo_revocation(within.0.0);
    }
    if let Some(resolution) = &settings.note_uses {
        builder = builder.note_uses(resolution.0.0);
    }
    Ok(with_endpoints(builder, settings))
}

fn with_endpoints(builder: GateBuilder, settings: &ManagementConfig) -> GateBuilder {
    let (path, feature) = (settings.path.as_ref(), settings.expiry_feature.as_ref());
    let scope = settings.scope.as_ref();
    let builder = feature.into_iter().fold(builder, GateBuilder::expiry_feature);
    let builder = path.into_iter().fold(builder, GateBuilder::management);
    let builder = scope.into_iter().fold(builder, |builder, scope| builder.management_scope(scope.as_str()));
    let time = settings.body_time.as_ref().map(|time| time.0.0);
    let builder = time.into_iter().fold(builder, GateBuilder::management_body_time);
    if settings.list_issuers { builder.list_issuers() } else { builder }
}

pub(super) fn hasher(config: &Config) -> Result<KeyHasher, ConfigError> {
    let Some(reference) = &config.hash.pepper else { return Ok(KeyHasher::sha256()) };
    let pepper = reference.0.resolve().and_then(|pepper| {
        // The error names the reference, because its value would be the pepper.
        let name =
            |error: ConfigError| ConfigError::new(reference.0.to_string(), error.problem(), error.expected());
        KeyHasher::hmac_sha256(&pepper).map_err(name)
    });
    pepper.map_err(|error| error.in_member("hash.pepper"))
}

fn proxies(config: &Config) -> Result<TrustedProxies, ConfigError> {
    let settings = &config.proxies;
    let mut proxies = TrustedProxies::new(settings.trusted.iter().map(|network| network.0.0));
    if settings.peer == Some(false) {
        proxies = proxies.without_peers();
    }
    let Some(header) = &settings.header else { return Ok(proxies) };
    let proxies = proxies.reading(header).map_err(|error| error.in_member("proxies"))?;
    if settings.trusted.is_empty() {
        let problem = "the header is never read, because no proxy is trusted";
        let expected = "name the proxies' networks in `trusted`, or leave the header out";
        return Err(ConfigError::new(header, problem, expected).in_member("proxies.header"));
    }
    Ok(proxies)
}

fn credit_headers(config: &Config) -> Result<CreditHeaders, ConfigError> {
    let within = |error: ConfigError| error.in_member("credit_headers");
    let mut headers = CreditHeaders::default();
    if let Some(name) = &config.credit_headers.cost {
        headers = headers.with_cost(name).map_err(within)?;
    }
    if let Some(name) = &config.credit_headers.balance {
        headers = headers.with_balance(name).map_err(within)?;
    }
    Ok(headers)
}

fn request_ids(config: &Config) -> Result<RequestIds, ConfigError> {
    let settings = &config.request_id;
    let within = |error: ConfigError| error.in_member("request_id");
    let mut ids = RequestIds::default();
    if let Some(header) = &settings.header {
        ids = ids.with_header(header).map_err(within)?;
    }
    if let Some(prefix) = &settings.prefix {
        ids = ids.with_prefix(prefix).map_err(within)?;
    }
    Ok(if settings.every_answer { ids.in_every_answer() } else { ids })
}

impl SourceConfig {
    fn source(&self) -> Result<KeySource, ConfigError> {
        let problem = "a source must name exactly one place";
        let expected =
            "write one of `header`, `authorization` and `query`, and use a separate table for each source";
        match (&self.header, &self.authorization, &self.query) {
            (None, Some(scheme), None) if self.literal => KeySource::authorization_literal(scheme),
            (None, Some(scheme), None) => KeySource::authorization(scheme),
            (Some(_), None, None) | (None, None, Some(_)) if self.literal => {
                let problem = "`literal` is only valid with `authorization`";
                Err(ConfigError::new("true", problem, "leave `literal` out").in_member("literal"))
            }
            (Some(header), None, None) => KeySource::header(header),
            (None, None, Some(parameter)) => KeySource::query(parameter),
            (None, None, None) => {
                Err(ConfigError::new("{}", "the source has no place to read a key from", expected))
            }
            (_, _, Some(parameter)) => Err(ConfigError::new(parameter, problem, expected).in_member("query")),
            (_, Some(scheme), _) => {
                Err(ConfigError::new(scheme, problem, expected).in_member("authorization"))
            }
        }
    }
}

impl FormatConfig {
    fn format(&self) -> Result<KeyFormat, ConfigError> {
        let body = match self.body {
            Body::Number(characters) => Length::exactly(characters),
            Body::Text(range) => range.0,
            Body::Table(never) => match never {},
        };
        let mut format = KeyFormat::new(self.prefix.as_str(), body)?;
        if let Some(alphabet) = &self.alphabet {
            format = format.with_alphabet(alphabet.0.clone());
        }
        if self.issue == Some(false) {
            format = format.accepted_only();
        }
        if self.checksum {
            format = format.with_checksum()?;
        }
        if let Some(start) = self.start {
            format = format.with_start(start)?;
        }
        if let Some(environment) = &self.environment {
            format = format.with_environment(environment.as_str().into());
        }
        Ok(format)
    }
}
