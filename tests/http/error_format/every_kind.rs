//! Every kind of refusal, in the words of each of the five providers.

use std::collections::BTreeSet;
use std::path::Path;

use http::Request;
use tollgate::account::AccountStatus;
use tollgate::config::Config;
use tollgate::key::KeyStatus;
use tollgate::{Credits, DenialKind, RequestView};

use crate::fixture::{Answer, Stage};

/// Rules, plans and sources on which every kind of refusal can come about.
const GROUND: &str = r#"
sources = [{ header = "X-API-Key" }, { authorization = "Bearer" }]
formats = [{ prefix = "acme_", body = 8, issue = false }]
proxies = { trusted = ["10.0.0.0/8"] }
agreements.opra = { url = "https://acme.example/opra" }
attempts = { quota = "40 per minute" }
[[rules]]
route = "/paid"
subscription = true
[[rules]]
route = "/signed"
agreements = ["opra"]
[[rules]]
route = "/higher"
min_plan = "pro"
[[rules]]
route = "/scoped"
scope = { any = ["quotes:read", "quotes:all"] }
[[rules]]
route = "/held"
in_flight = 1
[[rules]]
route = "/dear"
cost = 7
[[rules]]
route = "/heavy"
weight = { parameter = "years", default = 1, most = 20 }
[[rules]]
route = "/budgeted"
cost = 2
[plans.free]
rank = 1
budget = { amount = 7, every = "1h" }
quotas = ["5 per minute"]
caps = { limit = 3, cursor = "forbidden" }
[plans.pro]
rank = 2
"#;

fn seed(stage: &Stage) {
    stage.put("acme_good0000", "free", |_, _| {});
    stage.put("acme_revo0000", "free", |_, key| key.status = KeyStatus::Revoked);
    stage.put("acme_expi0000", "free", |_, key| {
        key.expires_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
    });
    stage.put("acme_paus0000", "free", |_, key| key.status = KeyStatus::Paused);
    stage.put("acme_addr0000", "free", |_, key| key.allowlist = Some(vec![]));
    stage.put("acme_susp0000", "free", |account, _| account.status = AccountStatus::Suspended);
    stage.put("acme_dele0000", "free", |account, _| account.status = AccountStatus::Deleted);
    stage.put("acme_path0000", "free", |_, key| key.paths = Some(vec![]));
    stage.put("acme_scop0000", "free", |_, key| key.scopes = Some(vec![]));
    stage.put("acme_poor0000", "free", |_, _| {});
    stage.put("acme_busy0000", "free", |_, _| {});
    stage.put("acme_held0000", "free", |_, _| {});
    stage.put("acme_lost0000", "gold", |_, _| {});
    stage.put("acme_rich0000", "free", |_, _| {});
    stage.ledger.set_balance("account of acme_rich0000", Credits::new(99), stage.gate.clock().now().wall());
    stage.ledger.set_balance("account of acme_poor0000", Credits::new(3), stage.gate.clock().now().wall());
}

/// A request, the kind of refusal that it meets, and the status that the kind has by default.
const REQUESTS: &[(&str, &str, u16)] = &[
    ("GET /a", "missing", 401),
    ("GET /a; authorization: Basic eDp5", "malformed", 401),
    ("GET /a; x-api-key: acme_good0000; x-api-key: acme_good0000", "duplicate", 401),
    ("GET /a; x-api-key: acme_", "invalid_format", 401),
    ("GET /a; x-api-key: acme_none0000", "unknown", 401),
    ("GET /a; x-api-key: acme_revo0000", "revoked", 401),
    ("GET /a; x-api-key: acme_expi0000", "expired", 401),
    ("GET /a; x-api-key: acme_paus0000", "paused", 401),
    ("GET /a; x-api-key: acme_addr0000; peer 192.0.2.1", "address_not_allowed", 401),
    ("GET /a; x-api-key: acme_susp0000", "account_suspended", 403),
    ("GET /a; x-api-key: acme_dele0000", "account_deleted", 403),
    ("GET /paid; x-api-key: acme_good0000", "subscription_required", 403),
    ("GET /signed; x-api-key: acme_good0000", "agreement_required", 403),
    ("GET /higher; x-api-key: acme_good0000", "plan_required", 403),
    ("GET /a; x-api-key: acme_path0000", "not_granted", 403),
    ("GET /a//b; x-api-key: acme_good0000", "route_denied", 403),
    ("GET /scoped; x-api-key: acme_scop0000", "scope_required", 403),
    ("GET /dear; x-api-key: acme_poor0000", "credits_exhausted", 402),
    ("OPTIONS *", "bad_request", 400),
    ("GET /a?cursor=1; x-api-key: acme_poor0000", "parameter_forbidden", 400),
    ("GET /a?limit=4; x-api-key: acme_poor0000", "parameter_above_cap", 400),
    ("GET /a?limit=x; x-api-key: acme_poor0000", "parameter_unreadable", 400),
    ("GET /heavy?years=6; x-api-key: acme_poor0000", "weight_too_large", 400),
    ("TRACE /a; x-api-key: acme_good0000", "method_not_allowed", 405),
    ("POST /a; x-api-key: acme_good0000; peer 10.0.0.1; early-data: 1", "too_early", 425),
    ("GET /a; x-api-key: acme_good0000; store down", "unavailable", 503),
    ("GET /a; x-api-key: acme_lost0000", "misconfigured", 500),
];

/// A sixth request in a minute: what comes before is served.
const BUSY: &str = "GET /a; x-api-key: acme_busy0000";

/// A forty-first request without a key in a minute.
const GUESSES: &str = "GET /a; peer 198.51.100.9";

/// A provider's words on the common ground; problem details in this crate's own words without one.
fn stage(provider: Option<&str>) -> Stage {
    stage_of(provider, false)
}

fn stage_of(provider: Option<&str>, refuses_insecure: bool) -> Stage {
    let mut config = Config::from_toml(GROUND, "ground.toml").unwrap();
    config.insecure.refuse = refuses_insecure;
    if let Some(provider) = provider {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/providers/{provider}.toml"));
        let theirs = Config::read(path).unwrap();
        (config.presentation, config.errors, config.request_id) =
            (theirs.presentation, theirs.errors, theirs.request_id);
    }
    let stage = Stage::of(config.builder().unwrap()).unwrap();
    seed(&stage);
    stage
}

const PROVIDERS: [Option<&str>; 6] =
    [None, Some("backquant"), Some("kwery"), Some("quantconomy"), Some("quantdata"), Some("vectrade")];

async fn refusals(provider: Option<&str>) -> Vec<(&'static str, u16, Answer)> {
    let (stage, mut answers) = (&stage(provider), Vec::new());
    for (line, kind, status) in REQUESTS {
        answers.push((*kind, *status, stage.play(&[line]).await.remove(0)));
    }
    let busy = stage.play(&[BUSY; 6]).await.pop().unwrap();
    answers.push(("rate_limited", 429, busy));
    let guesses = stage.play(&[GUESSES; 41]).await.pop().unwrap();
    answers.push(("too_many_attempts", 429, guesses));
    let request = Request::get("/held").header("x-api-key", "acme_held0000").body(()).unwrap();
    let held = stage.gate.admit(&RequestView::of(&request)).await.unwrap();
    let beyond = stage.play(&["GET /held; x-api-key: acme_held0000"]).await.remove(0);
    answers.push(("in_flight_limited", 429, beyond));
    let budgeted =
        stage.play(&["GET /dear; x-api-key: acme_rich0000", "GET /budgeted; x-api-key: acme_rich0000"]);
    answers.push(("budget_exceeded", 429, budgeted.await.pop().unwrap()));
    let insecure = stage_of(provider, true).play(&["GET /a; x-api-key: acme_good0000"]).await.remove(0);
    answers.push(("insecure_channel", 403, insecure));
    drop(held);
    answers
}

/// The kinds that only key management refuses with: its own tests cover them.
const OF_MANAGEMENT: [&str; 9] = [
    "feature_required",
    "too_wide",
    "not_found",
    "conflict",
    "key_limit_reached",
    "invalid_member",
    "body_too_large",
    "body_timeout",
    "unsupported_media_type",
];

#[test]
fn requests_cover_every_denial_kind() {
    let met: BTreeSet<_> = REQUESTS
        .iter()
        .map(|(_, kind, _)| *kind)
        .chain([
            "rate_limited",
            "in_flight_limited",
            "too_many_attempts",
            "insecure_channel",
            "budget_exceeded",
        ])
        .chain(OF_MANAGEMENT)
        .collect();
    let left: Vec<_> =
        DenialKind::ALL.iter().map(|kind| kind.name()).filter(|kind| !met.contains(kind)).collect();
    assert_eq!(left, ["unauthorized", "forbidden", "internal"]);
}

#[tokio::test]
async fn every_refusal_is_json_with_its_headers() {
    for provider in PROVIDERS {
        for (kind, status, answer) in refusals(provider).await {
            let name = format!("{provider:?} {kind}: {answer:?}");
            assert_eq!(
                (answer.kind(), answer.status, answer.seen.is_some()),
                (Some(kind), status, false),
                "{name}"
            );
            let body = answer.json();
            assert!(body.is_object() && !unfilled(&body), "{name}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
            assert_eq!(answer.header("x-request-id"), Some("r1"), "{name}");
            assert_eq!(
                answer.header("content-length"),
                Some(answer.body.len().to_string().as_str()),
                "{name}"
            );
            let media_type = answer.header("content-type").unwrap();
            let problem = matches!(provider, None | Some("quantdata"));
            assert_eq!(
                media_type,
                if problem { "application/problem+json" } else { "application/json" },
                "{name}"
            );
            if problem {
                assert_eq!(body["status"], status, "{name}");
                assert_eq!(
                    body["instance"].as_str().map(|path| path.starts_with(['/', '*'])),
                    Some(true),
                    "{name}"
                );
            }
            assert_eq!(
                answer.headers.get_all("www-authenticate").iter().count(),
                if status == 401 { 2 } else { 0 }
            );
            assert_eq!(answer.header("retry-after").is_some(), matches!(status, 429 | 503), "{name}");
            assert_eq!(answer.header("allow").is_some(), status == 405, "{name}");
            assert!(!answer.body.contains("acme_"), "{name}");
        }
    }
}

/// RFC 9457, sections 3.1.3 and 4.2.1: without a type a problem says no more than its status does, and its details the rest.
#[tokio::test]
async fn untyped_problem_has_the_status_title() {
    let refusals = refusals(None).await;
    let (mut details, mut codes) = (BTreeSet::new(), BTreeSet::new());
    for (kind, status, answer) in &refusals {
        let body = answer.json();
        let phrase = http::StatusCode::from_u16(*status).unwrap().canonical_reason().unwrap();
        assert_eq!((body.get("type"), &body["title"]), (None, &phrase.into()), "{kind}");
        codes.insert(body["code"].as_str().unwrap().to_owned());
        if *status != 401 {
            details.insert(body["detail"].as_str().unwrap().to_owned());
        }
    }
    // A key from a wrong address is an unknown one to those who ask.
    assert_eq!(codes.len(), refusals.len() - 1, "{codes:?}");
    let others = refusals.iter().filter(|(_, status, _)| *status != 401).count();
    assert_eq!(details.len(), others, "{details:?}");
}

/// Returns true if a text in it still has a placeholder.
fn unfilled(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains(['{', '}']),
        serde_json::Value::Array(items) => items.iter().any(unfilled),
        serde_json::Value::Object(members) => members.values().any(unfilled),
        _ => false,
    }
}

#[tokio::test]
async fn address_denial_equals_unknown_key() {
    for provider in PROVIDERS {
        let answers = stage(provider)
            .play(&[
                "GET /a; x-api-key: acme_none0000; peer 192.0.2.1",
                "GET /a; x-api-key: acme_addr0000; peer 192.0.2.1",
            ])
            .await;
        assert_eq!(
            (&answers[0].headers, &answers[0].body),
            (&answers[1].headers, &answers[1].body),
            "{provider:?}"
        );
    }
}

#[tokio::test]
async fn head_refusal_equals_get_without_body() {
    for provider in PROVIDERS {
        let stage = stage(provider);
        for (line, kind, _) in REQUESTS.iter().filter(|(line, ..)| line.starts_with("GET ")) {
            let answers = stage.play(&[line, &line.replacen("GET", "HEAD", 1)]).await;
            assert_eq!(answers[0].kind(), Some(*kind));
            assert_eq!(
                (answers[0].status, &answers[0].headers),
                (answers[1].status, &answers[1].headers),
                "{line}"
            );
            assert_eq!((answers[1].body.as_str(), answers[1].kind()), ("", Some(*kind)), "{line}");
        }
    }
}
