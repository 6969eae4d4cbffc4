//! The `providers` example as a process of its own, over real sockets.

#![allow(clippy::expect_used, reason = "a test ends where it fails")]

use crate::services;

use std::net::TcpStream;
use std::process::{Command, Output};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use services::providers::{example, start};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/kwery.json");
const KWERY: [&str; 6] = ["--only", "kwery", "--listen", "127.0.0.1:0", "--data", DATA];

const GOOD: &str = "kwery_live_plPaXOnWD6unwY0ah4ueYDepa8L16mVq";
const REVOKED: &str = "kwery_live_Wh6ctDgufSg8hhsmM36dcYeA8qgwQDg0";
const PAUSED: &str = "kwery_live_fEMxRtMom6rsaD1RMx91dCXwhPiWuHxh";
const SUSPENDED: &str = "kwery_live_3YojElQssTAbBhTr9x6nforaBIj5lbJL";
const ALLOWLISTED: &str = "kwery_live_qeM0Supko1w5aAnBcEPy8JmaE8WXzqB8";
const BROKE: &str = "kwery_live_NecXfZ36EheH7s0rIXHNBnv9B9BO4gxf";
const CANDLES_ONLY: &str = "kwery_live_7Zq9ly5PnnDusgZf2mDRbgek5pIGB4WJ";
const SLOW: &str = "kwery_live_x1wAkSytzY5URVqe7YwRKE4lVDAofz5L";

#[test]
fn refusals_match_the_provider_documents() {
    let kwery = start(&KWERY);
    let refusals = [
        ("no key", "/v1/candles", None, 401, "invalid_api_key"),
        ("too short", "/v1/candles", Some("kwery"), 401, "invalid_api_key"),
        ("revoked", "/v1/candles", Some(REVOKED), 401, "api_key_revoked"),
        ("paused", "/v1/candles", Some(PAUSED), 401, "api_key_paused"),
        ("suspended", "/v1/candles", Some(SUSPENDED), 403, "account_suspended"),
        ("another network", "/v1/candles", Some(ALLOWLISTED), 401, "invalid_api_key"),
        ("no credits", "/v1/candles", Some(BROKE), 402, "credits_exhausted"),
        ("another path", "/v1/trades", Some(CANDLES_ONLY), 403, "plan_required"),
        ("no key, no such path", "/v1/nowhere", None, 401, "invalid_api_key"),
    ];
    for (name, path, key, status, code) in refusals {
        let answer = kwery.get(path, key.map(|key| ("X-API-Key", key)).as_slice());
        let body = answer.json();
        assert_eq!((answer.status, &body["error"]), (status, &json!(code)), "{name}: {body}");
        let members: Vec<_> = body.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["error", "message"], "{name}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{name}");
    }
    assert_eq!(kwery.with_key("/v1/nowhere", GOOD).status, 404);
}

#[test]
fn a_rate_limit_says_when_to_come_back() {
    let kwery = start(&KWERY);
    // Two a second and five a minute: however slow this machine is, the sixth is one too many.
    let mut answers = (0..6).map(|_| kwery.with_key("/v1/candles", SLOW));
    let refused = answers.find(|answer| answer.status != 200).expect("one of them is refused");
    assert_eq!((refused.status, &refused.json()["error"]), (429, &json!("rate_limit_exceeded")));
    let wait = refused.json()["retry_after"].as_u64().expect("a whole number");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.header("retry-after"), Some(wait.to_string().as_str()));
}

#[test]
fn handler_does_not_see_the_query_key() {
    let kwery = start(&KWERY);
    let answer = kwery.get(&format!("/v1/candles?symbol=ETH&api-key={GOOD}&limit=3"), &[]);
    let body = answer.json();
    assert_eq!((answer.status, body["candles"].as_array().map(Vec::len)), (200, Some(3)));
    assert_eq!(body["meta"]["request"], "/v1/candles?symbol=ETH&limit=3");
    assert!(!answer.body.contains(GOOD));
    let next = body["meta"]["next"].as_str().expect("there is another page");
    let behind = kwery.with_key(&format!("/v1/candles?symbol=ETH&limit=3&cursor={next}"), GOOD).json();
    assert!(behind["candles"][0]["time"].as_u64() < body["candles"][2]["time"].as_u64(), "{behind}");
}

#[test]
fn failure_refunds_the_credits() {
    let kwery = start(&KWERY);
    let left = || kwery.with_key("/v1/trades?limit=1", GOOD).json()["meta"]["credits_left"].as_u64();
    assert_eq!(left(), Some(998));
    assert_eq!(kwery.with_key("/v1/trades?fail=500", GOOD).status, 500);
    assert_eq!(left(), Some(996));
}

#[test]
fn forwarded_address_needs_a_trusted_proxy() {
    let forwarded = [("X-API-Key", ALLOWLISTED), ("X-Forwarded-For", "192.0.2.7")];
    let kwery = start(&KWERY);
    assert_eq!(kwery.get("/v1/candles", &forwarded).status, 401);
    let behind =
        start(&[KWERY.as_slice(), &["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy=127.0.0.1"]].concat());
    assert_eq!(behind.get("/v1/candles", &forwarded).status, 200);
    let elsewhere = [("X-API-Key", ALLOWLISTED), ("X-Forwarded-For", "198.51.100.7")];
    assert_eq!(behind.get("/v1/candles", &elsewhere).status, 401);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let kwery = start(&KWERY);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Empty<Bytes>>();
    let request =
        http::Request::get(format!("http://{}/v1/candles", kwery.address)).header("x-api-key", GOOD);
    let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(serde_json::from_slice::<Value>(&body).unwrap()["candles"].is_array());
}

#[test]
fn invalid_arguments_exit_with_code_2() {
    let refused: [(&[&str], &str); 13] = [
        (&["--lissen"], "--lissen"),
        (&["kwery"], "unknown option `kwery`"),
        (&["--help=yes"], "unknown option `--help=yes`"),
        (&["--only"], "--only needs a value"),
        (&["--only", "acme"], "backquant, quantconomy, vectrade, quantdata, kwery"),
        (&["--only", "kwery", "--only", "kwery"], "--only is repeated"),
        (&["--listen", "127.0.0.1:0"], "--only"),
        (&["--only", "kwery", "--listen", "here"], "127.0.0.1:8080"),
        (&["--trusted-proxy", "10.0.0.5/8"], "write `10.0.0.0/8`"),
        (&["--trusted-proxy", "home"], "192.0.2.0/24"),
        (&["--data", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
        (&["--only", "vectrade", "--data", DATA], "is for kwery, but --only names vectrade"),
        (&["--data", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "failed to read"),
    ];
    for (words, message) in refused {
        let Output { status, stdout, stderr } = example().args(words).output().expect("the example runs");
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{words:?}: {stderr}");
        assert!(stdout.is_empty() && stderr.contains(message), "{words:?}: {stderr}");
    }
    let help = example().arg("--help").output().expect("the example runs");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--trusted-proxy CIDR"));
}

#[test]
fn occupied_address_is_reported() {
    let kwery = start(&KWERY);
    let output =
        example().args(["--only", "vectrade", "--listen", &kwery.address]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&kwery.address));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_cleanly() {
    for signal in ["-INT", "-TERM"] {
        let mut kwery = start(&KWERY);
        // A client that stays connected does not hold it up.
        let _idle = TcpStream::connect(&kwery.address).expect("the example listens");
        let sent = Command::new("kill").args([signal, &kwery.child.id().to_string()]).status();
        assert!(sent.expect("there is a `kill`").success());
        assert_eq!(kwery.child.wait().expect("it ends").code(), Some(0), "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn printed_curl_lines_work_as_printed() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED printed_curl_lines_work_as_printed: THERE IS NO `curl` ON THE PATH");
        return;
    }
    for name in ["backquant", "quantconomy", "vectrade", "quantdata", "kwery"] {
        let provider = start(&["--only", name, "--listen", "127.0.0.1:0"]);
        let mut shown = 0;
        for (note, line) in provider.guide.iter().zip(provider.guide.iter().skip(1)) {
            let Some(wanted) = note.trim().strip_prefix("# ").filter(|_| line.trim().starts_with("curl "))
            else {
                continue;
            };
            let (wanted, _) = wanted.split_once(": ").expect("a note says the status first");
            assert_eq!(statuses(line), wanted, "{name}: {line}");
            shown += 1;
        }
        assert!(shown >= 5, "{name} shows {shown} requests");
    }
    let kwery = start(&KWERY);
    let line = kwery.guide.last().expect("there is one for a data file too");
    assert_eq!(statuses(line), "200", "{line}");
}

/// The statuses that a line of shell gets, with spaces between.
fn statuses(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().expect("there is a shell");
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    let heads = answers.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    heads.filter_map(|head| head.split(' ').next()).collect::<Vec<_>>().join(" ")
}
