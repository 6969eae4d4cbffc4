//! Who may do what through the endpoints: by the secret that is shown, as the authority has it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tollgate::{AuditEvent, AuditSink};

use crate::stage::{KEYS, Stage};

#[tokio::test]
async fn a_secret_on_its_way_out_gives_nothing_that_outlasts_it() {
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
async fn a_secret_that_is_cached_and_rotated_away_manages_nothing() {
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
async fn case_166_a_restricted_key_changes_and_ends_no_wider_one() {
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
async fn a_key_that_expires_revokes_the_one_that_it_replaces() {
    let stage = Stage::new();
    let (ada, old) = stage.key("ada").await;
    let body = r#"{"name": "next", "expiresAt": "2026-12-31T23:59:59Z"}"#;
    let next = stage.send(&ada, &format!("POST {KEYS}"), body).await;
    let next = next.json["data"]["apiKey"].as_str().unwrap();
    assert_eq!(stage.send(next, &format!("DELETE {KEYS}/{old}"), "").await.status, 204);
}

#[tokio::test]
async fn a_key_that_is_wider_than_its_caller_in_its_networks_is_named_as_it_was_sent() {
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
async fn every_change_through_the_endpoints_is_told_with_who_made_it_and_from_where() {
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
        assert_eq!(event.account.as_ref().map(tollgate::AccountId::as_str), Some("ada"), "{event:?}");
    }
    let text = format!("{told:?}");
    assert!(!text.contains(&key[8..]) && !text.contains(&fresh[8..]), "nothing of a secret is told");
}
