//! The usage of keys over HTTP: who may read it, and which queries are rejected.

use serde_json::json;
use tollgate::GateBuilder;
use tollgate::usage::UsageOptions;

use crate::management_http::fixture::{KEYS, Stage};

fn counted(builder: GateBuilder) -> GateBuilder {
    let mut options = UsageOptions::default();
    options.flush = None;
    builder.usage_options(options)
}

#[tokio::test]
async fn usage_of_own_and_other_keys_is_read() {
    let stage = Stage::with(counted);
    let ((ada, id), (second, other), (bob, _)) =
        (stage.key("ada").await, stage.key("ada").await, stage.key("bob").await);
    for _ in 0..3 {
        assert_eq!(stage.send(&ada, "GET /api/v1/sec/filings", "").await.status, 200);
    }
    stage.gate.usage().unwrap().flush().await.unwrap();
    let mine = stage.send(&ada, &format!("GET {KEYS}/me/usage"), "").await;
    let expected = json!({ "data": {
        "step": "hour", "from": "2026-04-29T13:00:00Z", "to": "2026-04-30T13:00:00Z",
        "points": [{
            "start": "2026-04-30T12:00:00Z", "requests": 3, "admitted": 3, "abandoned": 0, "refused": {},
            "credits": 15, "units": 0, "bytes": 0, "lastSeen": "2026-04-30T12:00:00Z",
        }],
        "key": id,
    }});
    assert_eq!((mine.status, &mine.json), (200, &expected));
    assert_eq!(mine.headers["cache-control"], "no-store");
    // Another key of the account, and the account's key by its id.
    let query = "from=2026-04-30T10:00:00%2B02:00&to=2026-05-01T00:00:00Z&step=day";
    let theirs = stage.send(&second, &format!("GET {KEYS}/{id}/usage?{query}"), "").await;
    assert_eq!(theirs.json["data"]["points"][0]["start"], "2026-04-30T00:00:00Z");
    let none = stage.send(&ada, &format!("GET {KEYS}/{other}/usage"), "").await;
    assert_eq!((none.status, &none.json["data"]["points"]), (200, &json!([])));
    let csv = stage.send(&ada, &format!("GET {KEYS}/me/usage?format=csv&step=month"), "").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let line = "2026-04-01T00:00:00Z,3,3,0,0,15,0,0,2026-04-30T12:00:00Z";
    assert_eq!(csv.text.lines().nth(1), Some(line));
    // A key of another account is not found.
    let foreign = stage.send(&bob, &format!("GET {KEYS}/{id}/usage"), "").await;
    assert_eq!(foreign.status, 404, "{}", foreign.text);
    assert!(!foreign.text.contains("points"));
    assert_eq!(stage.send(&ada, &format!("POST {KEYS}/me/usage"), "").await.status, 405);
}

#[tokio::test]
async fn restricted_key_reads_only_its_own_usage() {
    let stage = Stage::with(counted);
    let (ada, id) = stage.key("ada").await;
    let body = r#"{"name": "narrow", "paths": ["/api/v1/entries"], "expiresAt": "2026-05-01T00:00:00Z"}"#;
    let narrow = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let secret = narrow.json["data"]["apiKey"].as_str().unwrap();
    assert_eq!(stage.send(secret, &format!("GET {KEYS}/me/usage"), "").await.status, 200);
    assert_eq!(stage.send(secret, &format!("GET {KEYS}/{id}/usage"), "").await.status, 403);
}

#[tokio::test]
async fn invalid_query_is_400_and_names_the_member() {
    let stage = Stage::with(counted);
    let (key, id) = stage.key("ada").await;
    let rows = [
        ("from=2026-04-30T12:00:00", "from"),
        ("from=2026-04-30", "from"),
        ("to=yesterday", "to"),
        ("to=", "to"),
        ("to=2026-04-30T12:00:00Z&to=2026-04-30T12:00:00Z", "to"),
        ("from=2026-04-30T12:00:00Z&to=2026-04-30T12:00:00Z", "to"),
        ("from=2026-04-30T12:00:00Z&to=2026-04-29T12:00:00Z", "to"),
        ("from=2026-05-30T12:00:00Z", "to"),
        ("step=week", "step"),
        ("step=Hour", "step"),
        ("step=minute&from=2026-04-01T00:00:00Z", "step"),
        ("step=month&from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", "step"),
        ("format=xml", "format"),
        ("account=bob", "account"),
        ("From=2026-04-30T12:00:00Z", "From"),
    ];
    for (query, member) in rows {
        for path in ["me", &id] {
            let answer = stage.send(&key, &format!("GET {KEYS}/{path}/usage?{query}"), "").await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text);
            assert!(answer.text.contains(&format!("`{member}`")), "{query}: {}", answer.text);
        }
    }
    let answer = stage.send(&key, &format!("GET {KEYS}/no-uuid/usage"), "").await;
    assert!(answer.status == 400 && answer.text.contains("`id`"), "{}", answer.text);
    // 10,000 minutes are allowed.
    let range = "step=minute&from=2026-04-20T00:00:00Z&to=2026-04-26T22:40:00Z";
    assert_eq!(stage.send(&key, &format!("GET {KEYS}/me/usage?{range}"), "").await.status, 200);
}

#[tokio::test]
async fn gate_without_usage_has_no_such_endpoint() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    for path in ["me", &id] {
        for method in ["GET", "POST"] {
            let answer = stage.send(&key, &format!("{method} {KEYS}/{path}/usage"), "").await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
        }
    }
}
