//! Sources, environments, and what is on or off.

use std::time::Duration;

use tollgate::gate::{Check, TrustedProxies};
use tollgate::key::{Alphabet, KeyHasher, Length};
use tollgate::respond::{ErrorFormat, RequestIds};
use tollgate::{Config, Gate, KeyFormat, KeySource, Plan};

use crate::config::fixture::{HEAD, Stage, both, kinds, statuses};
use crate::config::head;

const SOURCES: &str = r#"
sources = [{ header = "X-API-Key" }, { authorization = "Bearer" }, { query = "api-key" }]
formats = [{ prefix = "acme_", body = 8, issue = false }]
plans.free = {}
"#;

fn sources(builder: tollgate::GateBuilder) -> Result<tollgate::GateBuilder, tollgate::ConfigError> {
    let builder =
        head(builder)?.source(KeySource::authorization("Bearer")?).source(KeySource::query("api-key")?);
    Ok(builder.plan(Plan::new("free")))
}

fn one_free_key(stage: &Stage) {
    stage.put("acme_free0000", "free", |_, _| {});
}

#[tokio::test]
async fn the_first_source_that_is_present_decides() {
    let script = [
        "GET /a; x-api-key: acme_free0000",
        "GET /a; authorization: bearer acme_free0000",
        "GET /a?b=1&api-key=acme_free0000&c=2",
        "GET /a?api-key=acme_free0000; x-api-key: acme_none0000",
        "GET /a?api-key=acme_none0000; authorization: Bearer acme_free0000",
        "GET /a?api-key=acme_free0000; authorization: Basic eDp5",
        "GET /a",
    ];
    let answers = both(SOURCES, sources, one_free_key, &script).await;
    assert_eq!(kinds(&answers), ["served", "served", "served", "unknown", "served", "served", "missing"]);
    assert_eq!(answers[2].seen.as_ref().unwrap().uri, "/a?b=1&c=2");
    assert_eq!(
        answers[4].seen.as_ref().unwrap().uri,
        "/a",
        "the key leaves the query where another decided too"
    );
}

#[tokio::test]
async fn keys_in_two_sources_are_refused_if_set() {
    let script = ["GET /a?api-key=acme_free0000; x-api-key: acme_free0000", "GET /a?api-key=acme_free0000"];
    let toml = format!("on_conflict = \"reject\"\n{SOURCES}");
    let answers =
        both(&toml, |builder| Ok(sources(builder)?.refuse_conflicts()), one_free_key, &script).await;
    assert_eq!(kinds(&answers), ["duplicate", "served"]);
}

#[tokio::test]
async fn literal_scheme_is_case_sensitive() {
    let toml = "sources = [{ authorization = 'Bearer', literal = true }]\nformats = [{ prefix = 'acme_', body = 8, issue = false }]\nplans.free = {}";
    let literal = |builder: tollgate::GateBuilder| {
        let format = KeyFormat::new("acme_", Length::exactly(8))?.accepted_only();
        Ok(builder.source(KeySource::authorization_literal("Bearer")?).format(format).plan(Plan::new("free")))
    };
    let script =
        ["GET /a; authorization: Bearer acme_free0000", "GET /a; authorization: bearer acme_free0000"];
    assert_eq!(statuses(&both(toml, literal, one_free_key, &script).await), [200, 401]);
}

#[tokio::test]
async fn preflights_pass_or_need_a_key_as_set() {
    let script = ["OPTIONS /a; origin: https://a.example; access-control-request-method: GET", "OPTIONS /a"];
    assert_eq!(statuses(&both("", head, |_| {}, &script).await), [200, 401]);
    let answers =
        both("preflights = 'refuse'", |builder| Ok(head(builder)?.refuse_preflights()), |_| {}, &script)
            .await;
    assert_eq!(statuses(&answers), [401, 401]);
}

#[tokio::test]
async fn foreign_environment_reads_as_unknown() {
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |_, _| {});
        stage.put("acme_test0000", "free", |_, key| key.environment = "test".into());
    };
    let script = [
        "GET /a; x-api-key: acme_test0000",
        "GET /a; x-api-key: acme_none0000",
        "GET /a; x-api-key: acme_free0000",
    ];
    let free = |builder| Ok(head(builder)?.plan(Plan::new("free")));
    let answers = both("plans.free = {}", free, seed, &script).await;
    assert_eq!(kinds(&answers), ["unknown", "unknown", "served"]);
    assert_eq!(answers[0], answers[1], "nothing tells the two apart, for client or operator");

    let toml = "sources = [{ header = 'X-API-Key' }]\nenvironments = ['test']\nplans.free = {}\n\
        formats = [{ prefix = 'acme_', body = 8, issue = false, environment = 'test' }]";
    let test = |builder: tollgate::GateBuilder| {
        let format =
            KeyFormat::new("acme_", Length::exactly(8))?.accepted_only().with_environment("test".into());
        let builder = builder.source(KeySource::header("X-API-Key")?).format(format);
        Ok(builder.plan(Plan::new("free")).environment("test"))
    };
    let answers = both(toml, test, seed, &script).await;
    assert_eq!(
        kinds(&answers),
        ["served", "unknown", "unknown"],
        "`live` is served only where it is named too"
    );
}

#[tokio::test]
async fn formats_are_read_from_the_file() {
    let toml = r#"
        sources = [{ header = "X-API-Key" }]
        environments = ["live", "test"]
        [[formats]]
        prefix = "live_"
        body = "10..=12"
        issue = false
        alphabet = "hex"
        start = 8
        [[formats]]
        prefix = "test_"
        body = 38
        checksum = true
        environment = "test"
    "#;
    let gate = Config::from_toml(toml, "acme.toml").unwrap().builder().unwrap().build().unwrap();
    let live = KeyFormat::new("live_", Length::between(10, 12))
        .unwrap()
        .with_alphabet(Alphabet::hex())
        .accepted_only();
    let test = KeyFormat::new("test_", Length::exactly(38)).unwrap().with_checksum().unwrap();
    assert_eq!(gate.formats(), [live.with_start(8).unwrap(), test.with_environment("test".into())]);
}

#[tokio::test]
async fn configured_order_selects_the_denial() {
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |account, key| {
            account.status = tollgate::account::AccountStatus::Suspended;
            key.status = tollgate::key::KeyStatus::Revoked;
        });
    };
    let script = ["GET /a; x-api-key: acme_free0000"];
    let free = |builder| Ok(head(builder)?.plan(Plan::new("free")));
    assert_eq!(kinds(&both("plans.free = {}", free, seed, &script).await), ["revoked"]);
    let toml = "order = ['format', 'look_up', 'account_status']\nplans.free = {}";
    let ordered = |builder| Ok(free(builder)?.order([Check::Format, Check::LookUp, Check::AccountStatus]));
    assert_eq!(kinds(&both(toml, ordered, seed, &script).await), ["account_suspended"]);
}

#[tokio::test]
async fn only_named_proxies_are_trusted() {
    let seed = |stage: &Stage| {
        stage.put("acme_free0000", "free", |_, key| {
            key.allowlist = Some(vec!["192.0.2.0/24".parse().unwrap()]);
        });
    };
    let script = [
        "GET /a; x-api-key: acme_free0000; peer 192.0.2.7",
        "GET /a; x-api-key: acme_free0000; peer 10.1.1.1; x-real-ip: 192.0.2.7",
        "GET /a; x-api-key: acme_free0000; peer 10.1.1.1; x-forwarded-for: 192.0.2.7",
        "GET /a; x-api-key: acme_free0000; peer 11.1.1.1; x-real-ip: 192.0.2.7",
        "GET /a; x-api-key: acme_free0000",
    ];
    let toml = "[plans.free]\n[proxies]\ntrusted = ['10.0.0.0/8']\nheader = 'X-Real-IP'";
    let proxied = |builder| {
        let proxies =
            TrustedProxies::new([tollgate::key::parse_network("10.0.0.0/8")?]).reading("X-Real-IP")?;
        Ok(head(builder)?.plan(Plan::new("free")).trusted_proxies(proxies))
    };
    let refused = "address_not_allowed";
    assert_eq!(
        kinds(&both(toml, proxied, seed, &script).await),
        ["served", "served", refused, refused, refused]
    );
}

#[tokio::test]
async fn request_ids_follow_the_file() {
    let toml = "request_id = { header = 'X-Trace', prefix = 'tr-', every_answer = true }\nplans.free = {}";
    let traced = |builder| {
        let ids = RequestIds::default().with_header("X-Trace")?.with_prefix("tr-")?.in_every_answer();
        Ok(head(builder)?.plan(Plan::new("free")).request_ids(ids))
    };
    let script = ["GET /a; x-api-key: acme_free0000; x-trace: mine", "GET /a; x-trace: mine"];
    let answers = both(toml, traced, one_free_key, &script).await;
    assert!(answers.iter().all(|answer| answer.header("x-trace") == Some("mine")));
    assert_eq!(answers[0].seen.as_ref().unwrap().headers["x-trace"], "mine");

    for stage in [Stage::of_file(toml).unwrap(), Stage::of(traced(Gate::builder()).unwrap()).unwrap()] {
        let answers = stage.play(&["GET /a"]).await;
        assert!(answers[0].header("x-trace").unwrap().starts_with("tr-"));
    }
}

#[tokio::test]
async fn key_headers_are_marked_or_stripped() {
    let script = ["GET /a; x-api-key: acme_free0000"];
    let free = |builder| Ok(head(builder)?.plan(Plan::new("free")));
    let answers = both("plans.free = {}", free, one_free_key, &script).await;
    assert!(answers[0].seen.as_ref().unwrap().headers["x-api-key"].is_sensitive());
    let toml = "strip_headers = true\nplans.free = {}";
    let answers = both(toml, |builder| Ok(free(builder)?.strip_headers()), one_free_key, &script).await;
    assert!(!answers[0].seen.as_ref().unwrap().headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn handler_gets_principal_unless_disabled() {
    let script = ["GET /a; x-api-key: acme_free0000"];
    let free = |builder| Ok(head(builder)?.plan(Plan::new("free")));
    let answers = both("plans.free = {}", free, one_free_key, &script).await;
    assert_eq!(answers[0].seen.as_ref().unwrap().account.as_deref(), Some("account of acme_free0000"));
    let toml = "no_principal = true\nplans.free = {}";
    let answers = both(toml, |builder| Ok(free(builder)?.without_principal()), one_free_key, &script).await;
    assert_eq!(answers[0].seen.as_ref().unwrap().account, None);
}

#[tokio::test]
async fn longest_wait_follows_the_file() {
    let toml = "plans.free = { quotas = ['1 per hour'] }\npresentation = { longest_wait = '90s' }";
    let waiting = |builder| {
        let free = crate::config::plan("free", |plan| plan.quotas.push("1 per hour".parse().unwrap()));
        let error_format = ErrorFormat::problem().longest_wait(Duration::from_secs(90))?;
        Ok(head(builder)?.plan(free).error_format(error_format))
    };
    let script = ["GET /a; x-api-key: acme_free0000", "GET /a; x-api-key: acme_free0000"];
    let answers = both(toml, waiting, one_free_key, &script).await;
    assert_eq!((answers[1].status, answers[1].header("retry-after")), (429, Some("90")));
}

#[tokio::test]
async fn problem_types_follow_the_file() {
    let toml = "plans.free = { quotas = ['1 per hour'] }\npresentation = { problem_types = true }";
    let typed = |builder| {
        let free = crate::config::plan("free", |plan| plan.quotas.push("1 per hour".parse().unwrap()));
        Ok(head(builder)?.plan(free).error_format(ErrorFormat::problem().with_problem_types()?))
    };
    let script = ["GET /a; x-api-key: acme_free0000", "GET /a; x-api-key: acme_free0000"];
    let answers = both(toml, typed, one_free_key, &script).await;
    assert_eq!(answers[1].json()["violated-policies"], serde_json::json!(["hour"]));
}

#[test]
fn peppers_come_from_environment_or_file() {
    // A test cannot set a variable of its own process without `unsafe`: cargo sets this one for it.
    let (name, value) = ("CARGO_PKG_DESCRIPTION", env!("CARGO_PKG_DESCRIPTION"));
    let path = std::env::temp_dir().join(format!("tollgate-config-{}", std::process::id()));
    let hash = |reference: &str| {
        let toml = format!("{HEAD}hash.pepper = '{reference}'");
        let gate = Config::from_toml(&toml, "acme.toml").unwrap().builder().unwrap().build().unwrap();
        gate.hasher().hash(b"acme_free0000")
    };
    let peppered = |pepper: &[u8]| KeyHasher::hmac_sha256(pepper).unwrap().hash(b"acme_free0000");
    assert_eq!(hash(&format!("env:{name}")), peppered(value.as_bytes()));
    for (written, pepper) in [
        (&b"sixteen bytes or more\n"[..], &b"sixteen bytes or more"[..]),
        (b"sixteen bytes or more\r\n", b"sixteen bytes or more"),
        (b"sixteen bytes or more", b"sixteen bytes or more"),
        (b"sixteen bytes or more\n\n", b"sixteen bytes or more\n"),
        (b" \xff\x00 no text at all \n", b" \xff\x00 no text at all "),
    ] {
        std::fs::write(&path, written).unwrap();
        assert_eq!(hash(&format!("file:{}", path.display())), peppered(pepper));
    }
    std::fs::remove_file(path).unwrap();
}
