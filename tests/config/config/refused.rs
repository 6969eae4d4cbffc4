//! Errors that the builder shares with the file's reader, and settings that both accept.

use std::time::Duration;

use tollgate::account::Lifetime;
use tollgate::gate::TrustedProxies;
use tollgate::key::{KeyHasher, Length};
use tollgate::{Config, ConfigError, Gate, GateBuilder, KeyFormat, Rule};

use crate::config::fixture::HEAD;
use crate::config::{head, plan};

/// The member and the value that a builder's fault names, found by `check` alone as the file's reader does.
fn fault(change: impl FnOnce(GateBuilder) -> GateBuilder) -> (String, String) {
    let error = change(head(Gate::builder()).unwrap()).check().unwrap_err();
    assert!(!error.problem().is_empty() && !error.expected().is_empty());
    (error.member().to_owned(), error.value().to_owned())
}

fn named(member: &str, value: &str) -> (String, String) {
    (member.to_owned(), value.to_owned())
}

fn read(toml: &str) -> Result<Config, ConfigError> {
    Config::from_toml(&format!("{HEAD}{toml}"), "acme.toml")
}

#[test]
fn builder_refuses_networks_without_match() {
    for (text, told) in [("10.0.0.5/8", "10.0.0.5/8"), ("::ffff:0:0/96", "::ffff:0.0.0.0/96")] {
        let networks = ["192.0.2.0/24", text].map(|network| network.parse().unwrap());
        let found = fault(|builder| builder.trusted_proxies(TrustedProxies::new(networks)));
        assert_eq!(found, named("proxies.trusted[1]", told));
    }
}

#[test]
fn builder_refuses_conflicting_lifetimes() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let rows = [
        (Lifetime { longest: hours(0), ..Lifetime::default() }, "longest", "0s"),
        (Lifetime { default: hours(0), ..Lifetime::default() }, "default", "0s"),
        (Lifetime { shortest: hours(36), longest: hours(1), ..Lifetime::default() }, "shortest", "36h"),
        (Lifetime { shortest: hours(48), default: hours(1), ..Lifetime::default() }, "shortest", "2days"),
        (Lifetime { default: hours(2), longest: hours(1), ..Lifetime::default() }, "default", "2h"),
    ];
    for (lifetime, member, value) in rows {
        let found = fault(|builder| builder.plan(plan("pro", |plan| plan.lifetime = lifetime)));
        assert_eq!(found, named(&format!("plans.pro.key_lifetime.{member}"), value));
    }
    let rising = Lifetime { shortest: hours(0), default: hours(1), longest: hours(1) };
    head(Gate::builder()).unwrap().plan(plan("pro", |plan| plan.lifetime = rising)).check().unwrap();
}

#[test]
fn builder_compares_formats_and_hashes() {
    let format = |environment: &str| {
        KeyFormat::new("acme_", Length::exactly(8))
            .unwrap()
            .accepted_only()
            .with_environment(environment.into())
    };
    let found = fault(|builder| builder.format(format("test")));
    assert_eq!(found, named("formats[1].environment", "test"));
    let found = fault(|builder| builder.environment("live").environment("test").format(format("test")));
    assert_eq!(found, named("formats[1]", "acme_"));
    let found = fault(|builder| builder.environment("live").environment("live"));
    assert_eq!(found, named("environments[1]", "live"));
    let found = fault(|builder| builder.older_hasher(KeyHasher::sha256()));
    assert_eq!(found, named("hash.older[0]", "sha256"));
}

#[test]
fn narrower_format_must_come_first() {
    let toml = |formats: &str| {
        format!("sources = [{{ query = 'k' }}]\nenvironments = ['live', 'test']\nformats = [{formats}]")
    };
    let accepted = [
        "{ prefix = 'acme_', body = 32 }, { body = '10..=256', alphabet = 'visible' }",
        // Keys for tests are issued by the second alone.
        "{ body = '10..=256', alphabet = 'visible' }, { prefix = 'test_', body = 32, environment = 'test' }",
        // The first is too short to issue keys when it leaves a choice.
        "{ body = '1..=200', alphabet = '01', issue = false }, { prefix = '01', body = 130, alphabet = '01' }",
        "{ prefix = 'a_', body = 32, checksum = true }, { prefix = 'a_', body = 32 }",
        "{ prefix = 'acme_', body = 32 }, { prefix = 'acme_live_', body = 27 }",
        "{ prefix = 'a', body = '8..=16', issue = false }, { prefix = 'ab', body = '8..=16', issue = false }",
    ];
    for formats in accepted {
        Config::from_toml(&toml(formats), "acme.toml").unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn overlong_path_is_refused_and_shortened() {
    let path = |length: usize| format!("GET /{}", "a".repeat(length - 1));
    Rule::new(&path(65_534)).unwrap();
    let error = Rule::new(&path(65_535)).unwrap_err();
    assert!(error.value().starts_with("GET /aaa") && error.value().len() < 80, "{}", error.value());
    assert!(error.problem().contains("too long"), "{error}");
}

#[test]
fn demo_key_longer_than_a_key_is_refused() {
    let demo = |length: usize| {
        let key = "d".repeat(length);
        read(&format!(
            "plans.p = {{}}\n[[demo]]\nid = '00000000-0000-4000-8000-000000000001'\naccount = 'd'\nplan = 'p'\nkey = '{key}'"
        ))
    };
    demo(512).unwrap();
    let error = demo(513).unwrap_err();
    assert_eq!((error.line(), error.member()), (Some(8), "demo[0].key"));
    assert!(error.value().len() < 80 && error.expected().contains("512"), "{error}");
}

#[test]
fn builder_refuses_an_unnamed_agreement() {
    let mut rule = Rule::new("/a").unwrap();
    rule.agreements = vec!["terms".into(), "".into()];
    assert_eq!(fault(|builder| builder.rule(rule)), named("rules[0].agreements", ""));
}

#[test]
fn management_is_checked_before_back_ends() {
    let found = fault(|builder| builder.management("/a/{b}"));
    assert_eq!(found, named("management.path", "/a/{b}"));
    let rule = || Rule::new("GET /keys/me").unwrap();
    let found = fault(|builder| builder.management("/keys").rule(rule()));
    assert_eq!(found, named("rules[0].route", "GET /keys/me"));
    let found = fault(|builder| builder.expiry_feature("key_expiration"));
    assert_eq!(found, named("management.expiry_feature", "key_expiration"));
}

#[test]
fn apparent_conflicts_are_accepted() {
    let taken = [
        // Beside what is managed, not under it; and wider than it.
        "management.path = '/keys'\nrules = [{ route = ['/keys2', 'GET /{*rest}', '/a/keys'], cost = 1 }]",
        // To ask how a thing may be asked for.
        "rules = [{ route = 'OPTIONS /{*rest}', public = true }]",
        "rules = [{ route = ['/{a}', 'GET /v1/*', '/{a}/b/*'], public = true }]",
        "rules = [{ route = ['/a*', '/{a}/*', '/b^|', '/keys/{id}'], cost = 1 }]",
        // Closed unless a rule opens it.
        "plans.a = {}\ndefault = { closed_to = ['a'] }\nrules = [{ route = '/a', closed_to = [] }]",
        "plans.a = {}\nplans.b = {}\nrules = [{ route = '/a', closed_to = ['a'] }]",
        // The word of nobody is taken: the header is a header like any.
        "request_id.header = 'X-Forwarded-For'",
        "errors.rate_limited.status = 403\nerrors.unavailable.status = 429\nerrors.forbidden.status = 401",
        "plans.a = { caps = { x-api-key = 3 } }",
        "agreements.terms = {}",
    ];
    for toml in taken {
        read(toml).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The URL of a webhook may contain a token.
#[test]
#[cfg(feature = "webhooks")]
fn configuration_shows_no_token_of_a_url() {
    let file = std::env::temp_dir().join(format!("tollgate-config-secret-{}", std::process::id()));
    std::fs::write(&file, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD8V5F6vDZ0qE=").unwrap();
    let text = format!(
        "{HEAD}[[alerts]]\nwhen = {{ revoked = true }}\n[[webhooks]]\nurl = 'https://a.example/?token=s3cret'\nsecret = 'file:{}'",
        file.display()
    );
    let config = Config::from_toml(&text, "gate.toml").unwrap();
    let shown = format!("{config:?}");
    std::fs::remove_file(file).unwrap();
    assert!(!shown.contains("s3cret"), "{shown}");
}
