//! The permissions of callers at the endpoints: by the secret that is sent, as the authority has it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tollgate::audit::{AuditEvent, AuditSink};

use crate::management_http::fixture::{KEYS, Stage};

#[tokio::test]
async fn expiring_secret_issues_nothing_longer() {
    let stage = Stage::new();
    let (old, id) = stage.key("ada").await;
    let rotated = stage.send(&old, &format!("POST {KEYS}/{id}/rotate"), r#"{"overlapSeconds": 3600}"#).await;
    let fresh = rotated.json["data"]["apiKey"].as_str().unwrap().to_owned();
    // Who had the key rotated may have had a reason: the old secret does not take the key over.
    let again = stage.send(&old, &format!("POST {KEYS}/{id}/rotate"), "").await;
    assert_eq!(again.status, 403, "{}", again.text);
    let child = stage.send(&old, &format!("POST {KEYS}"), r#"{"name": "child"}"#).await;
    assert_eq!((child.status, &child.json["data"]["expiresAt"]), (201, &json!("2026-04-30T13:00:00.000Z")));
    let late = r#"{"name": "late", "expiresAt": "2026-05-01T00:00:00Z"}"#;
    assert_eq!(stage.send(&old, &format!("POST {KEYS}"), late).await.status, 403);
    let child = stage.send(&fresh, &format!("POST {KEYS}"), r#"{"name": "child"}"#).await;
    assert_eq!((child.status, &child.json["data"]["expiresAt"]), (201, &json!(null)));
    assert_eq!(stage.send(&fresh, &format!("POST {KEYS}/{id}/rotate"), "").await.status, 200);
}

#[cfg(feature = "fleet")]
#[tokio::test]
async fn rotated_cached_secret_cannot_manage() {
    let stage = Stage::behind_a_cache();
    let (old, id) = stage.key("ada").await;
    assert_eq!(stage.send(&old, &format!("GET {KEYS}"), "").await.status, 200);
    // Another node rotates the key; this one has not heard of it.
    stage.manager.rotate(id.parse().unwrap(), Duration::ZERO).await.unwrap();
    assert_eq!(stage.send(&old, "GET /api/v1/entries", "").await.status, 200, "the cache still knows it");
    for (route, body) in [
        (format!("POST {KEYS}"), r#"{"name": "x"}"#),
        (format!("POST {KEYS}/{id}/rotate"), ""),
        (format!("PATCH {KEYS}/{id}"), r#"{"name": "x"}"#),
        (format!("DELETE {KEYS}/{id}"), ""),
        (format!("GET {KEYS}"), ""),
        (format!("GET {KEYS}/{id}"), ""),
        (format!("GET {KEYS}/me"), ""),
    ] {
        let answer = stage.send(&old, &route, body).await;
        assert_eq!(answer.status, 401, "{route}: {}", answer.text);
    }
}

#[tokio::test]
async fn restricted_key_changes_no_wider_key() {
    let stage = Stage::new();
    let (ada, wide) = stage.key("ada").await;
    let body = r#"{"name": "narrow", "paths": ["/api/v1/account/*", "/api/v1/account/api-keys"], "expiresAt": "2026-05-01T00:00:00Z"}"#;
    let narrow = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let (secret, id) =
        (narrow.json["data"]["apiKey"].as_str().unwrap(), narrow.json["data"]["id"].as_str().unwrap());
    for (route, body) in [
        (format!("PATCH {KEYS}/{wide}"), r#"{"allowIps": ["192.0.2.0/24"]}"#),
        (format!("DELETE {KEYS}/{wide}"), ""),
    ] {
        let answer = stage.send(secret, &route, body).await;
        assert_eq!(answer.status, 403, "{route}: {}", answer.text);
        assert!(answer.text.contains("`paths`"), "{}", answer.text);
    }
    assert_eq!(stage.send(&ada, "GET /api/v1/entries", "").await.status, 200);
    assert_eq!(stage.send(secret, &format!("PATCH {KEYS}/{id}"), r#"{"name": "mine"}"#).await.status, 200);
    assert_eq!(stage.send(secret, &format!("DELETE {KEYS}/{id}"), "").await.status, 204);
}

#[tokio::test]
async fn expiring_key_can_revoke_its_predecessor() {
    let stage = Stage::new();
    let (ada, old) = stage.key("ada").await;
    let body = r#"{"name": "next", "expiresAt": "2026-12-31T23:59:59Z"}"#;
    let next = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let next = next.json["data"]["apiKey"].as_str().unwrap();
    assert_eq!(stage.send(next, &format!("DELETE {KEYS}/{old}"), "").await.status, 204);
}

#[tokio::test]
async fn wider_network_is_named_as_sent() {
    let stage = Stage::new();
    let (ada, _) = stage.key("ada").await;
    let body = r#"{"name": "narrow", "allowIps": ["203.0.113.0/24"]}"#;
    let narrow = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let narrow = narrow.json["data"]["apiKey"].as_str().unwrap();
    let wide = r#"{"name": "wide", "allowIps": ["0.0.0.0/0"]}"#;
    let answer = stage.send(narrow, &format!("POST {KEYS}"), wide).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("`allowIps`"), "{}", answer.text);
}

#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<AuditEvent>>>);

impl AuditSink for Told {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test]
async fn every_http_change_is_audited_with_actor() {
    let told = Told::default();
    let stage = Stage::with(|builder| builder.audit(told.clone()));
    let (key, id) = stage.key("ada").await;
    stage.send(&key, &format!("POST {KEYS}"), r#"{"name": "x"}"#).await;
    stage.send(&key, &format!("PATCH {KEYS}/{id}"), r#"{"name": "y"}"#).await;
    let rotated = stage.send(&key, &format!("POST {KEYS}/{id}/rotate"), "").await;
    let fresh = rotated.json["data"]["apiKey"].as_str().unwrap();
    stage.send(fresh, &format!("DELETE {KEYS}/{id}"), "").await;
    let told = told.0.lock().unwrap();
    let actions: Vec<_> = told.iter().map(|event| event.action.name()).collect();
    assert_eq!(actions, ["issued", "issued", "updated", "rotated", "revoked"]);
    assert_eq!(told[0].actor.key_id(), None, "the first was the operator's");
    for event in &told[1..] {
        assert_eq!(event.actor.key_id().map(|key| key.to_string()).as_deref(), Some(&*id), "{event:?}");
        assert_eq!(event.actor.address(), Some(IpAddr::from([203, 0, 113, 9])), "{event:?}");
        assert_eq!(event.account.as_ref().map(tollgate::name::AccountId::as_str), Some("ada"), "{event:?}");
    }
    let text = format!("{told:?}");
    assert!(!text.contains(&key[8..]) && !text.contains(&fresh[8..]), "nothing of a secret is told");
}

/// The scopes or the paths that a key is restricted to, if it is.
type Named<'a> = Option<&'a [&'a str]>;

/// A key of ada's with these restrictions: its secret and its id.
async fn restricted(stage: &Stage, scopes: Named<'_>, paths: Named<'_>) -> (String, String) {
    let mut key = tollgate::NewKey::new("ada", "restricted");
    key.scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).into()).collect());
    key.paths = paths.map(|paths| paths.iter().map(|path| path.parse().unwrap()).collect());
    let issued = stage.manager.issue(key).await.unwrap();
    (issued.secret.expose_secret().to_owned(), issued.key.id.to_string())
}

#[tokio::test]
async fn restricted_key_manages_by_grant_alone() {
    let stage = Stage::with(|builder| {
        let mut rule = tollgate::Rule::new("GET /quotes").unwrap();
        rule.scopes = tollgate::rule::ScopeRule::AnyOf(vec!["a".into()]);
        builder.rule(rule).management_scope("keys:manage")
    });
    let (_, other) = stage.key("ada").await;
    let below = format!("{KEYS}/*");
    let rows: [(Named<'_>, Named<'_>, u16); 6] = [
        (Some(&["a"]), None, 403),
        (Some(&[]), None, 403),
        (Some(&["a", "keys:manage"]), None, 200),
        (None, Some(&["/quotes"]), 403),
        (None, Some(&[KEYS, &below]), 200),
        (Some(&["a"]), Some(&[KEYS, &below]), 403),
    ];
    for (scopes, paths, status) in rows {
        let (secret, id) = restricted(&stage, scopes, paths).await;
        let list = stage.send(&secret, &format!("GET {KEYS}"), "").await;
        assert_eq!(list.status, status, "{scopes:?} {paths:?}: {}", list.text);
        let made = stage.send(&secret, &format!("POST {KEYS}"), r#"{"name": "child"}"#).await;
        assert_eq!(made.status, if status == 200 { 201 } else { 403 }, "{scopes:?} {paths:?}: {}", made.text);
        let wider = stage.send(&secret, &format!("DELETE {KEYS}/{other}"), "").await;
        assert_eq!(wider.status, 403, "{scopes:?} {paths:?}: {}", wider.text);
        // What is left for it is told to any key.
        let me = stage.send(&secret, &format!("GET {KEYS}/me"), "").await;
        assert_eq!(
            (me.status, &me.json["data"]["id"]),
            (200, &json!(id)),
            "{scopes:?} {paths:?}: {}",
            me.text
        );
    }
}

#[tokio::test]
async fn unconfigured_scope_grants_nothing() {
    let stage = Stage::with(|builder| {
        let mut rule = tollgate::Rule::new("GET /quotes").unwrap();
        rule.scopes = tollgate::rule::ScopeRule::AnyOf(vec!["keys:manage".into()]);
        builder.rule(rule)
    });
    let (secret, id) = restricted(&stage, Some(&["keys:manage"]), None).await;
    for route in [format!("GET {KEYS}"), format!("POST {KEYS}"), format!("DELETE {KEYS}/{id}")] {
        assert_eq!(stage.send(&secret, &route, "").await.status, 403, "{route}");
    }
}

#[tokio::test]
async fn leaked_key_is_revoked_with_its_children() {
    let stage = Stage::with(tollgate::GateBuilder::list_issuers);
    let ((owner, _), (leaked, id)) = (stage.key("ada").await, stage.key("ada").await);
    let child = stage.send(&leaked, &format!("POST {KEYS}"), r#"{"name": "child"}"#).await;
    let (child, child_id) = (
        child.json["data"]["apiKey"].as_str().unwrap().to_owned(),
        child.json["data"]["id"].as_str().unwrap().to_owned(),
    );
    let made = stage.send(&owner, &format!("GET {KEYS}?issuedBy={id}"), "").await;
    let listed = made.json["data"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["id"], &listed[0]["issuedBy"]), (1, &json!(child_id), &json!(id)));
    for query in ["withIssued=yes", "withIssued=", "withissued=true", "withIssued=true&withIssued=true"] {
        let answer = stage.send(&owner, &format!("DELETE {KEYS}/{id}?{query}"), "").await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
    }
    let body = stage.send(&owner, &format!("DELETE {KEYS}/{id}"), r#"{"withIssued": true}"#).await;
    assert_eq!(body.status, 400, "{}", body.text);
    let revoked = stage.send(&owner, &format!("DELETE {KEYS}/{id}?withIssued=true"), "").await;
    let told = json!({ "revoked": [id, child_id], "announced": true });
    assert_eq!((revoked.status, &revoked.json["data"]), (200, &told), "{}", revoked.text);
    for secret in [&leaked, &child] {
        assert_eq!(stage.send(secret, "GET /api/v1/entries", "").await.status, 401);
    }
    assert_eq!(stage.send(&owner, "GET /api/v1/entries", "").await.status, 200);
}

/// A store that cannot tell the other nodes.
#[cfg(feature = "fleet")]
#[derive(Debug)]
struct NobodyHears;

#[cfg(feature = "fleet")]
impl tollgate::store::InvalidationBus for NobodyHears {
    fn announce(&self, _: &tollgate::store::Change) -> tollgate::StoreFuture<()> {
        tollgate::StoreFuture::failed(tollgate::StoreError::unavailable("the channel is down"))
    }

    fn listen(&self, _: tollgate::store::InvalidationSink) -> tollgate::StoreFuture<()> {
        tollgate::StoreFuture::boxed(std::future::pending())
    }
}

#[cfg(feature = "fleet")]
#[tokio::test]
async fn unannounced_revocation_is_202() {
    let stage = Stage::behind(|cached| cached.invalidation_bus(NobodyHears));
    let ((owner, _), (_, id)) = (stage.key("ada").await, stage.key("ada").await);
    let answer = stage.send(&owner, &format!("DELETE {KEYS}/{id}"), "").await;
    let told = json!({ "revoked": [id], "announced": false });
    assert_eq!((answer.status, &answer.json["data"]), (202, &told), "{}", answer.text);
    let again = stage.send(&owner, &format!("DELETE {KEYS}/{id}?withIssued=true"), "").await;
    assert_eq!((again.status, &again.json["data"]), (202, &told), "{}", again.text);
}

#[tokio::test]
async fn request_without_effect_is_not_a_success() {
    let stage = Stage::new();
    let (ada, id) = stage.key("ada").await;
    let empty = stage.send(&ada, &format!("PATCH {KEYS}/{id}"), "{}").await;
    assert_eq!(empty.status, 400, "{}", empty.text);
    assert!(empty.text.contains("`body`"), "{}", empty.text);
    let list = stage.send(&ada, &format!("GET {KEYS}?environment="), "").await;
    assert_eq!(list.status, 400, "{}", list.text);
    let body = format!(
        r#"{{"name": "narrow", "paths": ["{KEYS}/*", "{KEYS}"], "allowIps": ["203.0.113.0/24"],
            "expiresAt": "2026-05-01T00:00:00Z"}}"#
    );
    let narrow = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let (secret, own) =
        (narrow.json["data"]["apiKey"].as_str().unwrap(), narrow.json["data"]["id"].as_str().unwrap());
    let child = stage.send(secret, &format!("POST {KEYS}"), r#"{"name": "child"}"#).await;
    let child = child.json["data"]["id"].as_str().unwrap();
    for member in ["paths", "allowIps", "expiresAt"] {
        for target in [own, child] {
            let body = format!(r#"{{"{member}": null}}"#);
            let answer = stage.send(secret, &format!("PATCH {KEYS}/{target}"), body).await;
            assert_eq!(answer.status, 403, "{member}: {}", answer.text);
            assert!(answer.text.contains(&format!("`{member}`")), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn flood_does_not_block_a_revocation() {
    let shared = || {
        let policy = tollgate::account::QuotaPolicy::new(5, Duration::from_mins(1)).unwrap();
        vec![tollgate::account::QuotaRef::Policy(policy.counting(tollgate::account::QuotaScope::Account))]
    };
    let stage = Stage::new();
    let mut ids = Vec::new();
    for name in ["owner", "leaked", "other"] {
        let mut key = tollgate::NewKey::new("ada", name);
        key.quotas = Some(shared());
        let issued = stage.manager.issue(key).await.unwrap();
        ids.push((issued.secret.expose_secret().to_owned(), issued.key.id.to_string()));
    }
    let [(owner, _), (leaked, id), (_, other)] = &ids[..] else { panic!("{ids:?}") };
    while stage.send(leaked, "GET /api/v1/entries", "").await.status != 429 {}
    // It floods with revocations as well, of a key that is not there.
    let missing = "00000000-0000-4000-8000-00000000ffff";
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(stage.send(leaked, &format!("DELETE {KEYS}/{missing}"), "").await.status);
    }
    assert_eq!(answers.iter().filter(|status| **status == 404).count(), 10, "{answers:?}");
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
    // Nor does its own id help where nothing is revoked.
    for rest in ["/x/", "/x/y/", "//", "/rotate/"] {
        let route = format!("DELETE {KEYS}{rest}{id}");
        assert_eq!(stage.send(leaked, &route, "").await.status, 429, "{route}");
    }
    for behind in
        ["?x=1", "?withIssued=maybe", "?withIssued=true&x=1", "?withIssued=true&withIssued=true", "/"]
    {
        let route = format!("DELETE {KEYS}/{id}{behind}");
        assert_eq!(stage.send(leaked, &route, "").await.status, 429, "{route}");
    }
    for route in [format!("GET {KEYS}"), format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}")] {
        assert_eq!(stage.send(owner, &route, "").await.status, 429, "{route}");
    }
    assert_eq!(stage.send(owner, &format!("DELETE {KEYS}/{other}"), "").await.status, 204);
    // Also by itself.
    assert_eq!(stage.send(leaked, &format!("DELETE {KEYS}/{id}?withIssued=true"), "").await.status, 200);
    assert_eq!(stage.send(leaked, "GET /api/v1/entries", "").await.status, 401);
}
