//! Bodies and queries that are meant to hurt.

use std::time::Duration;

use tokio::time::timeout;
use tollgate::KeySource;

use crate::management_http::fixture::{KEYS, Stage};

#[tokio::test]
async fn nested_objects_are_refused() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    for (member, open, close) in
        [("metadata", r#"{"":"#, "}"), ("metadata", "[", "]"), ("scopes", r#"[{"":"#, "}]")]
    {
        // The last is the deepest that a body has room for.
        for depth in [2, 100, 65_000 / (open.len() + close.len())] {
            let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for (route, rest) in
                [("POST", ""), ("PATCH", &*format!("/{id}")), ("POST", &*format!("/{id}/rotate"))]
            {
                let body = format!(r#"{{"{member}": {value}}}"#);
                let answer = stage.send(&key, &format!("{route} {KEYS}{rest}"), body).await;
                assert_eq!(answer.status, 400, "{route} {depth}: {}", answer.text);
                assert!(answer.text.len() < 500, "{}", answer.text);
            }
        }
    }
    let body = r#"{"name": "x", "metadata": {"a": {"b": "c"}}}"#;
    let answer = stage.send(&key, &format!("POST {KEYS}"), body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("`metadata`"), "{}", answer.text);
}

/// Other members of a record cannot be set from outside.
#[tokio::test]
async fn unknown_members_are_refused_unchanged() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let mine = format!("GET {KEYS}/{id}");
    let before = stage.send(&key, &mine, "").await.text;
    let members =
        ["accountId", "account", "isActive", "status", "keyPrefix", "apiKey", "hash", "id", "credits"];
    for member in members.into_iter().chain(["plan", "quotas", "caps", "createdAt", "lastUsedAt", "version"])
    {
        let body = format!(r#"{{"name": "x", "{member}": "bob"}}"#);
        for route in
            [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}"), format!("POST {KEYS}/{id}/rotate")]
        {
            let answer = stage.send(&key, &route, body.clone()).await;
            assert_eq!(answer.status, 400, "{route} {member}: {}", answer.text);
        }
    }
    assert_eq!(stage.send(&key, &mine, "").await.text, before);
    let list = stage.send(&key, &format!("GET {KEYS}"), "").await;
    assert_eq!(list.json["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn body_that_is_no_object_says_what_is_due() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let object = r#"a JSON object, as in `{\"name\": \"backend\"}`"#;
    let rows = [
        ("", "is empty"),
        ("", object),
        ("[1]", object),
        ("\"backend\"", object),
        ("5", object),
        ("{", "is not valid JSON: see line 1, column 1"),
        ("{\"name\": 1,\n x}", "is not valid JSON: see line 2, column 2"),
    ];
    for (body, told) in rows {
        for route in [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}")] {
            let answer = stage.send(&key, &route, body).await;
            assert_eq!(answer.status, 400, "{route} {body}: {}", answer.text);
            assert!(
                answer.text.contains("`body`") && answer.text.contains(told),
                "{route} {body}: {}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn long_member_name_is_not_repeated() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    let long = "n".repeat(20_000);
    for body in [format!(r#"{{"{long}": 1, "{long}": 2}}"#), format!(r#"{{"name": "x", "{long}": 1}}"#)] {
        let answer = stage.send(&key, &format!("POST {KEYS}"), body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text.len() < 500, "{} bytes", answer.text.len());
    }
}

#[tokio::test]
async fn restriction_lists_are_bounded_and_unique() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    let many: Vec<_> = (0..101).map(|number| format!(r#""/v1/{number}""#)).collect();
    let networks: Vec<_> = (0..101).map(|number| format!(r#""192.0.2.{number}""#)).collect();
    let rows = [
        ("paths", format!("[{}]", many.join(","))),
        ("paths", r#"["/v1/a", "/v1/a"]"#.to_owned()),
        ("allowIps", format!("[{}]", networks.join(","))),
        ("allowIps", r#"["192.0.2.0/24", "192.0.2.0/24"]"#.to_owned()),
    ];
    for (member, list) in rows {
        let answer = stage
            .send(&key, &format!("POST {KEYS}"), format!(r#"{{"name": "x", "{member}": {list}}}"#))
            .await;
        assert_eq!(answer.status, 400, "{member}: {}", answer.text);
        assert!(answer.text.contains(&format!("`{member}`")), "{}", answer.text);
    }
}

#[tokio::test]
async fn deceptive_names_are_refused() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    for name in [
        r"\u200b",
        r"a\u202eb",
        r"\ufeff",
        r"a\u2066b",
        r"\u00ad",
        r" \t",
        r"\u2028",
        r"\u3164",
        r"\u2800",
        r"\u115f",
        r"a\ufe0f",
    ] {
        let answer = stage.send(&key, &format!("POST {KEYS}"), format!(r#"{{"name": "{name}"}}"#)).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text);
    }
    for name in ["Ünïcödé", "鍵", "🗝"] {
        let answer = stage.send(&key, &format!("POST {KEYS}"), format!(r#"{{"name": "{name}"}}"#)).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text);
    }
}

#[tokio::test]
async fn key_as_a_name_is_neither_stored_nor_shown() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    for route in [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}")] {
        for body in
            [format!(r#"{{"name": "{key}"}}"#), format!(r#"{{"name": "a", "metadata": {{"b": "{key}"}}}}"#)]
        {
            let answer = stage.send(&key, &route, body).await;
            assert_eq!(answer.status, 400, "{route}: {}", answer.text);
            assert!(
                answer.text.contains("must not contain a key") && !answer.text.contains(&key),
                "{}",
                answer.text
            );
        }
    }
    let list = stage.send(&key, &format!("GET {KEYS}"), "").await;
    assert_eq!((list.json["data"].as_array().map(Vec::len), list.text.contains(&key)), (Some(1), false));
}

#[test]
fn body_is_read_where_there_are_no_timers() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let stage = Stage::new();
        let (key, _) = stage.key("ada").await;
        let route = format!("POST {KEYS}");
        let mut answer = std::pin::pin!(stage.send_body(&key, &route, Stalled));
        // Without timers it waits for as long as it takes.
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(answer.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
    });
}

#[tokio::test]
async fn ambiguous_list_query_is_refused() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let strange = "ffffffff-ffff-4fff-8fff-ffffffffffff";
    let queries = [
        "limit=1&limit=2",
        "limit=%2B5",
        "limit=-1",
        "limit=1e2",
        "limit=99999999999999999999",
        "cursor=no-uuid",
        &format!("cursor={strange}"),
        "status=dead",
        "environment=%00",
        &format!("cursor={id}&cursor={id}"),
    ];
    for query in queries {
        let answer = stage.send(&key, &format!("GET {KEYS}?{query}"), "").await;
        let member = query.split('=').next().unwrap();
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert!(answer.text.contains(&format!("`{member}`")), "{query}: {}", answer.text);
    }
    for query in ["", "limit=5", &format!("cursor={id}")] {
        assert_eq!(stage.send(&key, &format!("GET {KEYS}?{query}"), "").await.status, 200, "{query}");
    }
    let (_, bobs) = stage.key("bob").await;
    let answer = stage.send(&key, &format!("GET {KEYS}?cursor={bobs}"), "").await;
    assert_eq!(answer.status, 400, "another account's key is no place in this one's list");
}

#[tokio::test]
async fn unknown_list_parameter_is_refused() {
    let stage = Stage::with(|builder| builder.source(KeySource::query("api-key").unwrap()));
    let (key, _) = stage.key("ada").await;
    let rows = [
        ("stauts=revoked", "`stauts`", "did you mean `status`?"),
        ("limit=5&page=2", "`page`", "write one of: `limit`, `cursor`, `status`, `environment`, `issuedBy`"),
        ("%ff=1", "`\u{fffd}`", "is unknown"),
    ];
    for (query, member, problem) in rows {
        let answer = stage.send(&key, &format!("GET {KEYS}?{query}"), "").await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert!(answer.text.contains(member) && answer.text.contains(problem), "{query}: {}", answer.text);
    }
    let long = stage.send(&key, &format!("GET {KEYS}?{}=1", "n".repeat(5_000)), "").await;
    assert!(long.status == 400 && long.text.len() < 500, "{} bytes", long.text.len());
    // The key itself is a parameter if a source reads it from the query.
    let answer = stage.send(&key, &format!("GET {KEYS}?api-key=x"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn unknown_member_is_answered_with_the_nearest() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let rows = [
        (format!("POST {KEYS}"), r#"{"name": "x", "scope": ["a"]}"#, "did you mean `scopes`?"),
        (format!("PATCH {KEYS}/{id}"), r#"{"allowlist": []}"#, "`allowIps`"),
        (format!("POST {KEYS}/{id}/rotate"), r#"{"overlap": 5}"#, "write one of: `overlapSeconds`"),
    ];
    for (route, body, problem) in rows {
        let answer = stage.send(&key, &route, body).await;
        assert_eq!(answer.status, 400, "{route}: {}", answer.text);
        assert!(answer.text.contains(problem), "{route}: {}", answer.text);
    }
}

#[tokio::test]
async fn unbounded_list_is_complete() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    for number in 0..120 {
        let made = stage.send(&key, &format!("POST {KEYS}"), format!(r#"{{"name": "key {number}"}}"#)).await;
        let id = made.json["data"]["id"].as_str().unwrap();
        assert_eq!(stage.send(&key, &format!("DELETE {KEYS}/{id}"), "").await.status, 204);
        // Its rate limit is not what is asked after.
        stage.clock.advance(std::time::Duration::from_secs(1));
    }
    let list = stage.send(&key, &format!("GET {KEYS}"), "").await;
    assert_eq!(list.json["data"].as_array().unwrap().len(), 121);
    let members: Vec<_> = list.json.as_object().unwrap().keys().collect();
    assert_eq!(members, ["data"]);
}

#[tokio::test]
async fn unrepresentable_timestamps_are_400() {
    let stage = Stage::new();
    let (key, _) = stage.key("ada").await;
    for moment in ["9999-12-31T23:59:59-14:00", "2099-12-31T23:59:60Z", "2099-06-30T23:59:60Z"] {
        let body = format!(r#"{{"name": "x", "expiresAt": "{moment}"}}"#);
        let answer = stage.send(&key, &format!("POST {KEYS}"), body).await;
        assert_eq!(answer.status, 400, "{moment}: {}", answer.text);
    }
}

/// A time above every time limit of a body.
const LONG: Duration = Duration::from_mins(1);

/// A body that never ends and never comes.
struct Stalled;

impl http_body::Body for Stalled {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let stage = Stage::with(|builder| builder.management_body_time(Duration::from_secs(3)));
    let (key, id) = stage.key("ada").await;
    for route in [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}"), format!("POST {KEYS}/{id}/rotate")] {
        let begun = tokio::time::Instant::now();
        let answer = timeout(LONG, stage.send_body(&key, &route, Stalled)).await.unwrap();
        assert_eq!((answer.status, begun.elapsed().as_secs()), (408, 3), "{route}: {}", answer.text);
        assert_eq!(answer.json["error"]["code"], "BAD_REQUEST", "{}", answer.text);
    }
    let default = Stage::new();
    let (key, _) = default.key("ada").await;
    let begun = tokio::time::Instant::now();
    let answer = timeout(LONG, default.send_body(&key, &format!("POST {KEYS}"), Stalled)).await;
    assert_eq!(answer.unwrap().status, 408);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn errors_are_short_and_hide_the_key() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let (other, _) = stage.key("ada").await;
    let long = "n".repeat(60_000);
    for sent in
        [&other, &format!("Bearer {other}"), &format!("{long}{other}"), &other[..20].to_owned(), &long]
    {
        let rows = [
            format!(r#""{sent}""#),
            format!(r#"{{"{sent}": 1}}"#),
            format!(r#"{{"name": "x", "{sent}": 1}}"#),
            format!(r#"{{"name": "x", "scopes": ["{sent}"]}}"#),
            format!(r#"{{"name": "x", "paths": ["{sent}"]}}"#),
            format!(r#"{{"name": "x", "allowIps": ["{sent}"]}}"#),
            format!(r#"{{"name": "x", "expiresAt": "{sent}"}}"#),
            format!(r#"{{"name": "x", "environment": "{sent}"}}"#),
            format!(r#"{{"name": "x", "metadata": "{sent}"}}"#),
        ];
        for (row, body) in rows.iter().enumerate() {
            for route in [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}")] {
                let answer = stage.send(&key, &route, body.clone()).await;
                assert_eq!(answer.status, 400, "{route} {row}");
                assert!(answer.text.len() < 500, "{route} {row}: {} bytes", answer.text.len());
                assert!(!answer.text.contains(&other[..16]), "{route} {row}: {}", answer.text);
            }
        }
    }
}
