//! From what the file says to a builder.

use crate::config::model::{Body, OnConflict, Preflights};
use crate::config::{Config, FormatConfig, OlderHash, SourceConfig, errors};
use crate::{
    ConfigError, GateBuilder, KeyFormat, KeyHasher, KeySource, Length, RequestIds, Rule, TrustedProxies,
};

pub(super) fn builder(config: &Config) -> Result<GateBuilder, ConfigError> {
    let mut builder = crate::Gate::builder()
        .hasher(hasher(config)?)
        .order(config.order.iter().map(|check| check.0))
        .trusted_proxies(proxies(config)?)
        .request_ids(request_ids(config)?)
        .presentation(errors::presentation(config)?);
    for (place, source) in config.sources.iter().enumerate() {
        builder =
            builder.source(source.source().map_err(|error| error.in_member(format!("sources[{place}]")))?);
    }
    for (place, format) in config.formats.iter().enumerate() {
        builder =
            builder.format(format.format().map_err(|error| error.in_member(format!("formats[{place}]")))?);
    }
    for environment in &config.environments {
        builder = builder.environment(environment.as_str());
    }
    for demo in &config.demo {
        if !config.plans.contains_key(&demo.plan) {
            let expected = "define the plan under `[plans]`";
            return Err(ConfigError::new(&demo.plan, "the demo key's plan is not defined", expected)
                .in_member("demo.plan"));
        }
        builder = builder.literal(demo.key.as_str());
    }
    builder = with_rules(with_plans(builder, config)?, config)?;
    builder = with_management(builder, config)?;
    Ok(with_switches(builder, config))
}

fn with_plans(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    for (name, quota) in &config.quotas {
        builder = builder.quota(name.as_str(), quota.policy(name)?);
    }
    for (name, plan) in &config.plans {
        builder = builder.plan(plan.plan(name).map_err(|error| error.in_member(format!("plans.{name}")))?);
    }
    Ok(builder)
}

fn with_rules(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    let mut otherwise = Rule::otherwise();
    config.default.apply(&mut otherwise).map_err(|error| error.in_member("default"))?;
    builder = builder.otherwise(otherwise);
    for (place, rule) in config.rules.iter().enumerate() {
        let rules =
            rule.rules(&config.default).map_err(|error| error.in_member(format!("rules[{place}]")))?;
        for rule in rules {
            if let Some(unknown) =
                rule.agreements.iter().find(|name| !config.agreements.contains_key(name.as_str()))
            {
                return Err(undefined(unknown.as_str()));
            }
            builder = builder.rule(rule);
        }
    }
    let named = config.default.agreements.iter().flatten();
    match named.into_iter().find(|name| !config.agreements.contains_key(*name)) {
        Some(unknown) => Err(undefined(unknown)),
        None => Ok(builder),
    }
}

fn undefined(agreement: &str) -> ConfigError {
    let expected = "define it under `[agreements]`";
    ConfigError::new(agreement, "the agreement is not defined", expected).in_member("agreements")
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
    if config.strip_headers {
        builder = builder.strip_headers();
    }
    if config.no_principal {
        builder = builder.without_principal();
    }
    builder
}

/// How keys were hashed before.
fn older_hashers(config: &Config) -> Result<Vec<KeyHasher>, ConfigError> {
    let hasher = |older: &OlderHash| match (&older.pepper, older.scheme.as_deref()) {
        (Some(reference), None) => KeyHasher::hmac_sha256(&reference.0.resolve()?),
        (None, Some("sha256")) => Ok(KeyHasher::sha256()),
        (None, Some("sha512")) => Ok(KeyHasher::sha512()),
        (_, scheme) => {
            let expected = "write a `pepper`, or the `scheme` `sha256` or `sha512`";
            Err(ConfigError::new(scheme.unwrap_or_default(), "keys are not hashed so", expected))
        }
    };
    config
        .hash
        .older
        .iter()
        .map(hasher)
        .collect::<Result<_, _>>()
        .map_err(|error: ConfigError| error.in_member("hash.older"))
}

fn with_management(mut builder: GateBuilder, config: &Config) -> Result<GateBuilder, ConfigError> {
    for hasher in older_hashers(config)? {
        builder = builder.older_hasher(hasher);
    }
    let settings = &config.management;
    if let Some(resolution) = &settings.note_uses {
        builder = builder.note_uses(resolution.0.0);
    }
    if let Some(feature) = &settings.expiry_feature {
        builder = builder.expiry_feature(feature.as_str());
    }
    #[cfg(feature = "keygen")]
    if let Some(path) = &settings.path {
        builder = builder.management(path.as_str());
    }
    #[cfg(not(feature = "keygen"))]
    if let Some(path) = &settings.path {
        let problem = "keys cannot be managed without the feature `keygen`";
        return Err(ConfigError::new(path, problem, "turn the feature on, or leave this out")
            .in_member("management.path"));
    }
    Ok(builder)
}

pub(super) fn hasher(config: &Config) -> Result<KeyHasher, ConfigError> {
    match &config.hash.pepper {
        None => Ok(KeyHasher::sha256()),
        Some(reference) => reference
            .0
            .resolve()
            .and_then(|pepper| KeyHasher::hmac_sha256(&pepper))
            .map_err(|error| error.in_member("hash.pepper")),
    }
}

fn proxies(config: &Config) -> Result<TrustedProxies, ConfigError> {
    let proxies = TrustedProxies::new(config.proxies.trusted.iter().map(|network| network.0.0));
    match &config.proxies.header {
        None => Ok(proxies),
        Some(header) => proxies.reading(header),
    }
}

fn request_ids(config: &Config) -> Result<RequestIds, ConfigError> {
    let settings = &config.request_id;
    let mut ids = RequestIds::default();
    if let Some(header) = &settings.header {
        ids = ids.with_header(header)?;
    }
    if let Some(prefix) = &settings.prefix {
        ids = ids.with_prefix(prefix).map_err(|error| error.in_member("request_id.prefix"))?;
    }
    Ok(if settings.every_answer { ids.in_every_answer() } else { ids })
}

impl SourceConfig {
    fn source(&self) -> Result<KeySource, ConfigError> {
        match (&self.header, &self.authorization, &self.query) {
            (Some(header), None, None) if !self.literal => KeySource::header(header),
            (None, Some(scheme), None) if self.literal => KeySource::authorization_literal(scheme),
            (None, Some(scheme), None) => KeySource::authorization(scheme),
            (None, None, Some(parameter)) if !self.literal => KeySource::query(parameter),
            _ => {
                let problem = "a source is one of three, and only a scheme can be literal";
                Err(ConfigError::new("", problem, "write one of `header`, `authorization` and `query`"))
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
