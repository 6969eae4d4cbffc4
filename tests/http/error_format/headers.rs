//! Waits, challenges and the ids of requests.

use std::time::Duration;

use tollgate::account::{QuotaPolicy, QuotaRef};
use tollgate::key::Length;
use tollgate::respond::{ErrorFormat, RequestIds};
use tollgate::{GateBuilder, KeyFormat, KeySource, Plan};

use crate::fixture::{Answer, Stage};

fn gate(error_format: ErrorFormat, sources: &[KeySource]) -> GateBuilder {
    let builder = tollgate::Gate::builder().error_format(error_format);
    let builder = builder.format(KeyFormat::new("acme_", Length::exactly(8)).unwrap().accepted_only());
    sources.iter().cloned().fold(builder, GateBuilder::source)
}

fn header() -> KeySource {
    KeySource::header("X-API-Key").unwrap()
}

async fn refused(builder: GateBuilder) -> Answer {
    Stage::of(builder).unwrap().play(&["GET /a"]).await.remove(0)
}

fn challenges(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn one_challenge_per_scheme_and_line() {
    let (bearer, query) = (KeySource::authorization("Bearer").unwrap(), KeySource::query("key").unwrap());
    let other = KeySource::header("X-Other").unwrap();
    let realm = || ErrorFormat::problem().realm("Acme, API").unwrap();
    let rows = [
        (vec![header()], vec!["ApiKey realm=\"Acme, API\""]),
        (vec![header(), other, query.clone()], vec!["ApiKey realm=\"Acme, API\""]),
        (vec![bearer.clone(), query], vec!["Bearer realm=\"Acme, API\"", "ApiKey realm=\"Acme, API\""]),
        (vec![header(), bearer.clone()], vec!["ApiKey realm=\"Acme, API\"", "Bearer realm=\"Acme, API\""]),
    ];
    for (sources, expected) in rows {
        assert_eq!(challenges(&refused(gate(realm(), &sources)).await), expected);
    }
    assert_eq!(
        challenges(&refused(gate(ErrorFormat::problem(), &[header(), bearer])).await),
        ["ApiKey", "Bearer"]
    );
}

#[tokio::test]
async fn headers_follow_the_configured_status() {
    let toml = "sources = [{ header = 'X-API-Key' }]\nformats = [{ prefix = 'acme_', body = 8, issue = false }]\n\
        plans.free = { quotas = ['1 per minute'] }\n\
        errors = { missing.status = 405, unknown.status = 503, rate_limited.status = 401 }";
    let stage = Stage::of_file(toml).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    let known = "GET /a; x-api-key: acme_free0000";
    let answers = stage.play(&["GET /a", "GET /a; x-api-key: acme_none0000", known, known]).await;
    let demanded = |answer: &Answer| {
        let is_there = |name| answer.headers.contains_key(name);
        (answer.status, is_there("allow"), is_there("www-authenticate"))
    };
    let told: Vec<_> = answers.iter().map(demanded).collect();
    assert_eq!(told, [(405, true, false), (503, false, false), (200, false, false), (401, false, true)]);
}

/// Returns the told wait after as many requests as the quota admits, and after some more time.
async fn wait(quota: &str, longest: Option<Duration>, after: &str) -> String {
    let policy: QuotaPolicy = quota.parse().unwrap();
    let mut plan = Plan::new("free");
    plan.quotas.push(QuotaRef::Policy(policy.clone()));
    let error_format = ErrorFormat::json(r#"{ "wait": "{retry_after}" }"#).unwrap();
    let error_format =
        longest.map_or(error_format.clone(), |longest| error_format.longest_wait(longest).unwrap());
    let stage = Stage::of(gate(error_format, &[header()]).plan(plan)).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    let ask = "GET /a; x-api-key: acme_free0000";
    for _ in 0..policy.quota() {
        assert_eq!(stage.play(&[ask]).await[0].status, 200);
    }
    let answer = stage.play(&[after, ask]).await.remove(0);
    let wait = answer.header("retry-after").unwrap().to_owned();
    assert_eq!(answer.json()["wait"].to_string(), wait, "the body names the same number");
    wait
}

#[tokio::test]
async fn wait_is_whole_seconds_rounded_up() {
    let day = Some(Duration::from_hours(30 * 24));
    let rows = [
        ("10 per second", None, "+0s", "1"),
        ("1 per 90s", None, "+0s", "90"),
        ("1 per 90s", None, "+0.001s", "90"),
        ("1 per 90s", None, "+1s", "89"),
        ("1 per 90s", None, "+89.999s", "1"),
        ("1 per 90s", Some(Duration::from_mins(1)), "+0s", "60"),
        ("1 per 90s", Some(Duration::from_millis(59_500)), "+0s", "60"),
        ("1 per 90s", Some(Duration::from_mins(1)), "+31s", "59"),
        ("1 per week", None, "+0s", "86400"),
        ("1 per week", day, "+0s", "604800"),
    ];
    for (quota, longest, after, expected) in rows {
        assert_eq!(wait(quota, longest, after).await, expected, "{quota}, {longest:?}, {after}");
    }
}

#[tokio::test]
async fn only_short_plain_request_ids_are_kept() {
    let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
    let rows = [
        ("abc-DEF_123", true),
        ("0", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("a b", false),
        ("a.b", false),
        ("a/b", false),
        ("a\"b", false),
        ("a\u{e9}", false),
        ("<script>", false),
        ("{code}", false),
    ];
    for every_answer in [false, true] {
        let ids = RequestIds::default().with_prefix("acme-").unwrap();
        let ids = if every_answer { ids.in_every_answer() } else { ids };
        let template = ErrorFormat::json(r#"{ "id": "{request_id}" }"#).unwrap();
        let stage = Stage::of(gate(template, &[header()]).request_ids(ids)).unwrap();
        for (sent, taken) in rows {
            let answer = stage.play(&[&format!("GET /a; x-request-id: {sent}")]).await.remove(0);
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id == sent, taken, "{sent}: {id}");
            assert_eq!(answer.json()["id"], id, "body and header name the same");
            assert!(taken || id.strip_prefix("acme-").is_some_and(|rest| rest.len() == 26), "{id}");
        }
        let twice = stage.play(&["GET /a; x-request-id: one; x-request-id: one"]).await.remove(0);
        assert!(twice.header("x-request-id").unwrap().starts_with("acme-"));
    }
}

#[tokio::test]
async fn new_ids_are_unlike_each_other() {
    let stage = Stage::of_file("request_id.prefix = ''").unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1_000 {
        let answer = stage.play(&["GET /a; x-request-id: -; x-request-id: -"]).await.remove(0);
        assert!(seen.insert(answer.header("x-request-id").unwrap().to_owned()));
    }
}

#[test]
fn request_id_header_may_not_be_reserved() {
    for header in ["Cache-Control", "www-authenticate", "Retry-After", "Content-Type", "no header"] {
        assert!(RequestIds::default().with_header(header).is_err(), "{header}");
    }
    assert!(RequestIds::default().with_header("X-Trace").is_ok());
}
