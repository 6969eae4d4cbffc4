//! Key management over HTTP, as `QuantConomy`'s file mounts it: bad input, other people's keys, and what an answer bears.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bodies;
mod callers;
mod fixture;
mod usage;

use fixture::{KEYS, Stage};

#[tokio::test]
async fn invalid_body_is_400_and_names_the_member() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    let long = format!(r#"{{"name": "{}"}}"#, "x".repeat(10_000));
    let rows: &[(&str, &str)] = &[
        ("", "body"),
        ("[]", "body"),
        ("{", "body"),
        (r#"{"name": "x"} {}"#, "body"),
        ("{}", "name"),
        (r#"{"name": ""}"#, "name"),
        (r#"{"name": 7}"#, "name"),
        (r#"{"name": null}"#, "name"),
        (r#"{"name": "a\u0007b"}"#, "name"),
        (&long, "name"),
        (r#"{"name": "x", "name": "y"}"#, "name"),
        (r#"{"name": "x", "accountId": "bob"}"#, "accountId"),
        (r#"{"name": "x", "isActive": true}"#, "isActive"),
        (r#"{"name": "x", "credits": 1e9}"#, "credits"),
        (r#"{"name": "x", "keyPrefix": "mtk_"}"#, "keyPrefix"),
        (r#"{"name": "x", "scopes": "all"}"#, "scopes"),
        (r#"{"name": "x", "scopes": ["nobody:knows"]}"#, "scopes"),
        (r#"{"name": "x", "paths": ["v1"]}"#, "paths"),
        (r#"{"name": "x", "allowIps": ["10.0.0.5/8"]}"#, "allowIps"),
        (r#"{"name": "x", "metadata": {"a": 1}}"#, "metadata"),
        (r#"{"name": "x", "metadata": {"a": "1", "a": "2"}}"#, "metadata"),
        (r#"{"name": "x", "environment": "moon"}"#, "environment"),
    ];
    for (body, member) in rows {
        let answer = stage.send(&key, &format!("POST {KEYS}"), (*body).to_owned()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert_eq!(answer.json["error"]["code"], "BAD_REQUEST", "{body}");
        assert!(answer.text.contains(&format!("`{member}`")), "{body}: {}", answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let list = stage.send(&key, &format!("GET {KEYS}"), "").await;
    assert_eq!(list.json["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn expiry_needs_a_zone_and_the_future() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    let rows = [
        (r#""2026-04-30T12:00:00Z""#, 400),
        (r#""2020-01-01T00:00:00Z""#, 400),
        (r#""2099-12-31T23:59:60Z""#, 400),
        (r#""2099-12-31T23:59:59""#, 400),
        (r#""2099-12-31""#, 400),
        (r#""2099-12-31T23:59:59+24:00""#, 400),
        (r#""2099-12-31T23:59:59Z[UTC]""#, 400),
        ("null", 400),
        ("4102444799", 400),
        (r#""2099-12-31T23:59:59+14:00""#, 201),
        (r#""9999-12-31T23:59:59Z""#, 201),
        (r#""2099-12-31T23:59:59.000Z""#, 201),
    ];
    for (expiry, status) in rows {
        let body = format!(r#"{{"name": "x", "expiresAt": {expiry}}}"#);
        let answer = stage.send(&key, &format!("POST {KEYS}"), body).await;
        assert_eq!(answer.status, status, "{expiry}: {}", answer.text);
    }
    // The plan does not include it, and it is not dropped in silence.
    let (starter, _) = stage.key("eve").await;
    let body = r#"{"name": "x", "expiresAt": "2099-12-31T23:59:59Z"}"#;
    let answer = stage.send(&starter, &format!("POST {KEYS}"), body).await;
    assert_eq!((answer.status, &answer.json["error"]["code"]), (403, &"FORBIDDEN".into()));
}

#[tokio::test]
async fn secret_is_in_one_uncached_answer() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    let made = stage.send(&key, &format!("POST {KEYS}"), r#"{"name": "bot"}"#).await;
    let (secret, id) =
        (made.json["data"]["apiKey"].as_str().unwrap(), made.json["data"]["id"].as_str().unwrap());
    assert_eq!((made.status, &made.headers["cache-control"]), (201, &"no-store".parse().unwrap()));
    assert!(made.headers.contains_key("x-request-id"));
    for route in [format!("GET {KEYS}"), format!("GET {KEYS}/{id}"), format!("GET {KEYS}/me")] {
        let answer = stage.send(&key, &route, "").await;
        assert_eq!(
            (answer.status, &answer.headers["cache-control"]),
            (200, &"no-store".parse().unwrap()),
            "{route}"
        );
        assert!(!answer.text.contains(&secret[12..]), "{route}");
    }
}

#[tokio::test]
async fn key_of_another_account_is_404() {
    let stage = Stage::new();
    let ((ada, _), (bob, id)) = (stage.key("ada").await, stage.key("bob").await);
    let missing = "00000000-0000-4000-8000-00000000ffff";
    for (method, rest, body) in
        [("GET", "", ""), ("DELETE", "", ""), ("PATCH", "", r#"{"name": "x"}"#), ("POST", "/rotate", "")]
    {
        let theirs = stage.send(&ada, &format!("{method} {KEYS}/{id}{rest}"), body).await;
        let nobodys = stage.send(&ada, &format!("{method} {KEYS}/{missing}{rest}"), body).await;
        assert_eq!((theirs.status, &theirs.text), (404, &nobodys.text), "{method}");
        assert_eq!(theirs.json["error"]["code"], "NOT_FOUND");
    }
    assert_eq!(stage.send(&bob, "GET /api/v1/entries", "").await.status, 200);
    assert_eq!(stage.send(&ada, &format!("GET {KEYS}/no-uuid"), "").await.status, 400);
    assert_eq!(stage.send(&ada, &format!("GET {KEYS}?cursor=no-uuid"), "").await.status, 400);
    assert_eq!(stage.send(&ada, &format!("PUT {KEYS}/{missing}"), "").await.status, 405);
    assert_eq!(stage.send(&ada, &format!("GET {KEYS}/a/b/c"), "").await.status, 404);
}

#[tokio::test]
async fn key_may_revoke_itself() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    assert_eq!(stage.send(&key, &format!("DELETE {KEYS}/{id}"), "").await.status, 204);
    assert_eq!(stage.send(&key, "GET /api/v1/entries", "").await.status, 401);
}

#[tokio::test]
async fn demo_key_cannot_manage_keys() {
    let stage = Stage::new();
    for route in ["POST", "GET", "HEAD"]
        .map(|method| format!("{method} {KEYS}"))
        .into_iter()
        .chain([format!("POST {KEYS}/"), format!("DELETE {KEYS}/00000000-0000-4000-8000-000000000001")])
    {
        assert_eq!(stage.send("mtk_demo", &route, r#"{"name": "x"}"#).await.status, 403, "{route}");
    }
    // What is left for it is told to any key.
    let me = stage.send("mtk_demo", &format!("GET {KEYS}/me"), "").await;
    assert_eq!((me.status, &me.json["data"]["plan"]), (200, &"demo".into()), "{}", me.text);
}

#[tokio::test]
async fn restricted_key_issues_no_wider_key() {
    let stage = Stage::new();
    let (ada, wide) = stage.key("ada").await;
    let body = r#"{"name": "narrow", "paths": ["/api/v1/account/*", "/api/v1/account/api-keys"]}"#;
    let narrow = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let narrow = narrow.json["data"]["apiKey"].as_str().unwrap().to_owned();
    let child = stage.send(&narrow, &format!("POST {KEYS}"), r#"{"name": "child"}"#).await;
    assert_eq!(
        (child.status, &child.json["data"]["paths"]),
        (201, &serde_json::json!(["/api/v1/account/*", "/api/v1/account/api-keys"]))
    );
    let wider =
        stage.send(&narrow, &format!("POST {KEYS}"), r#"{"name": "x", "paths": ["/api/v1/entries"]}"#).await;
    assert_eq!(wider.status, 403, "{}", wider.text);
    let rotated = stage.send(&narrow, &format!("POST {KEYS}/{wide}/rotate"), "").await;
    assert_eq!(rotated.status, 403, "{}", rotated.text);
}

#[tokio::test]
async fn rotation_keeps_id_and_old_secret() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let rotated = stage.send(&key, &format!("POST {KEYS}/{id}/rotate"), r#"{"overlapSeconds": 60}"#).await;
    let fresh = rotated.json["data"]["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(rotated.json["data"]["id"], id.as_str());
    for secret in [&key, &fresh] {
        assert_eq!(stage.send(secret, "GET /api/v1/entries", "").await.status, 200);
    }
    stage.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(stage.send(&key, "GET /api/v1/entries", "").await.status, 401);
    assert_eq!(stage.send(&fresh, "GET /api/v1/entries", "").await.status, 200);
}

#[tokio::test]
async fn management_is_free_and_shows_limits() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    assert_eq!(stage.send(&key, "GET /api/v1/sec/filings", "").await.status, 200);
    let before = stage.ledger.balance("ada");
    let me = stage.send(&key, &format!("GET {KEYS}/me"), "").await;
    assert_eq!((me.status, &me.json["data"]["credits"]), (200, &99_995.into()), "{}", me.text);
    // Its own request drew from the window: management is rate limited like any other route.
    assert_eq!(me.json["data"]["windows"][0]["remaining"], 1_198);
    assert_eq!(me.json["data"]["lastUsedAt"], "2026-04-30T12:00:00.000Z");
    assert_eq!(stage.ledger.balance("ada"), before);
    let large = format!(r#"{{"name": "x", "metadata": {{"a": "{}"}}}}"#, "x".repeat(70_000));
    assert_eq!(stage.send(&key, &format!("POST {KEYS}"), large).await.status, 413);
}

#[tokio::test]
async fn a_list_goes_page_by_page() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    for number in 0..4 {
        stage.send(&key, &format!("POST {KEYS}"), format!(r#"{{"name": "key {number}"}}"#)).await;
    }
    let (mut names, mut route) = (Vec::new(), format!("GET {KEYS}?limit=2"));
    loop {
        let page = stage.send(&key, &route, "").await;
        names.extend(
            page.json["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.json["nextCursor"].as_str() else { break };
        route = format!("GET {KEYS}?limit=2&cursor={next}");
    }
    names.sort();
    assert_eq!(names, ["first", "key 0", "key 1", "key 2", "key 3"]);
    for limit in ["0", "1001", "x", ""] {
        assert_eq!(stage.send(&key, &format!("GET {KEYS}?limit={limit}"), "").await.status, 400, "{limit}");
    }
}

#[tokio::test]
async fn router_mounts_management_behind_the_gate() {
    use axum::Router;
    use http::Request;
    use http_body_util::{BodyExt, Empty};
    use tollgate::TollgateLayer;
    use tollgate::adapter::KeyService;
    use tower::ServiceExt;

    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    let gate = stage.gate.clone();
    let service = KeyService::new(gate.clone(), "/my/keys").unwrap();
    let routes = Router::new()
        .route_service("/my/keys", service.clone())
        .route_service("/my/keys/{*rest}", service.clone());
    let request = |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        request.body(Empty::<bytes::Bytes>::new()).unwrap()
    };
    let app = TollgateLayer::new(gate).around(routes);
    for (path, status) in
        [("/my/keys", 200), ("/my/keys/me", 200), ("/my/keys/a/b/c", 404), ("/my/other", 404)]
    {
        let answer = app.clone().oneshot(request(path).map(axum::body::Body::new)).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    // Without a gate in front nobody is known to have asked.
    let nobody = service.oneshot(request("/my/keys")).await.unwrap();
    assert_eq!(nobody.status().as_u16(), 401);
    assert!(!nobody.into_body().collect().await.unwrap().to_bytes().is_empty());
}

/// A machine that has no randomness to give, or only so many times.
#[derive(Debug)]
struct RunsDry(std::sync::atomic::AtomicUsize);

impl tollgate::key::Randomness for RunsDry {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), tollgate::key::RandomnessError> {
        use std::sync::atomic::Ordering::Relaxed;

        let left = self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| tollgate::key::RandomnessError::new("the source is dry"))?;
        tollgate::key::OsRandomness.fill(bytes)
    }
}

#[tokio::test]
async fn failed_randomness_is_503_without_a_key() {
    // One key is made while there is some.
    let stage = Stage::with(|builder| builder.randomness(RunsDry(1.into())));
    let (key, id) = stage.key("ada").await;
    for route in [format!("POST {KEYS}"), format!("POST {KEYS}/{id}/rotate")] {
        let body = if route.ends_with("rotate") { "" } else { r#"{"name": "x"}"# };
        let answer = stage.send(&key, &route, body).await;
        assert_eq!(answer.status, 503, "{route}: {}", answer.text);
        assert!(!answer.text.contains("apiKey"), "{}", answer.text);
    }
    let list = stage.send(&key, &format!("GET {KEYS}"), "").await;
    assert_eq!((list.status, list.json["data"].as_array().unwrap().len()), (200, 1));
    assert!(list.json["data"][0]["id"] == id.as_str(), "{}", list.text);
}
