//! The operations of a manager, and their errors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;
use crate::support::faulty_back_ends::{Later, ReadOnly};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use management::{DAY, Fault, Stage};
use tollgate::account::{AccountStatus, ParamLimit, ParamLimits, QuotaRef};
use tollgate::audit::{Action, Actor};
use tollgate::key::{KeyHash, KeyHasher, KeyStatus};
use tollgate::manage::{ForeignKey, KeyChange, ListKeys, ManageError};
use tollgate::{
    Account, AccountManager, CreditManager, KeyId, KeyManager, ManualClock, MemoryLedger, MemoryStore, NewKey,
};

/// Returns the text of the error, which must be there.
fn said<T: std::fmt::Debug>(result: Result<T, ManageError>) -> String {
    result.unwrap_err().to_string()
}

fn new(account: &str, change: impl FnOnce(&mut NewKey)) -> NewKey {
    let mut key = NewKey::new(account, "a key");
    change(&mut key);
    key
}

#[tokio::test]
async fn key_in_a_name_or_in_metadata_is_refused() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let issued = stage.issue("ada").await?;
    let (id, secret) = (issued.key.id, issued.secret.expose_secret().to_owned());
    let retired = "acme_test_aaaaaaaabbbbbbbbccccccccdddddddd";
    let within = [format!("bot ({secret}), old"), format!("key:{secret}\u{e9}"), format!("{secret}0")];
    let texts = [secret.clone(), retired.to_owned()].into_iter().chain(within);
    for text in texts {
        let entry = BTreeMap::from([("note".to_owned(), text.clone())]);
        let name = BTreeMap::from([(text.clone(), "note".to_owned())]);
        let named = KeyChange { name: Some(text.clone()), ..KeyChange::default() };
        let noted = KeyChange { metadata: Some(entry.clone()), ..KeyChange::default() };
        let mut foreign = ForeignKey::new("ada", text.clone(), KeyHash::from_bytes([9; 32]));
        let imported = [stage.manager.import(foreign.clone()).await, {
            (foreign.name, foreign.metadata) = ("old".to_owned(), entry.clone());
            stage.manager.import(foreign).await
        }];
        let [by_name, by_entry] = imported.map(said);
        let told = [
            ("name", said(stage.manager.issue(new("ada", |key| key.name.clone_from(&text))).await)),
            ("metadata", said(stage.manager.issue(new("ada", |key| key.metadata = entry)).await)),
            ("metadata", said(stage.manager.issue(new("ada", |key| key.metadata = name)).await)),
            ("name", said(stage.manager.update(id, &named).await)),
            ("metadata", said(stage.manager.update(id, &noted).await)),
            ("name", by_name),
            ("metadata", by_entry),
        ];
        for (member, told) in told {
            assert!(told.contains(&format!("`{member}` must not contain a key")), "{text}: {told}");
            assert!(!told.contains(&secret[..15]) && !told.contains(&retired[..15]), "{told}");
        }
    }
    // Less than a key is none, and a literal is none.
    for text in [&secret[..20], "acme_demo", "acme_live_ keys"] {
        let named = KeyChange { name: Some(text.to_owned()), ..KeyChange::default() };
        assert_eq!(stage.manager.update(id, &named).await?.name, text);
    }
    Ok(())
}

#[tokio::test]
async fn invalid_new_key_is_not_stored() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let now = stage.gate.clock().now().wall();
    let many = |count: usize| (0..count).map(|n| (n.to_string(), String::new())).collect::<BTreeMap<_, _>>();
    let one = |name: &str, value: String| BTreeMap::from([(name.to_owned(), value)]);
    let table = [
        (new("ada", |key| key.name = String::new()), "`name` must not be empty"),
        (new("ada", |key| key.name = " \u{a0} ".into()), "`name` must not be empty"),
        (new("ada", |key| key.name = "x".repeat(10_240)), "`name` must have at most 200"),
        (new("ada", |key| key.name = "a\r\nb".into()), "`name` must not contain control"),
        (new("ada", |key| key.name = "a\0b".into()), "`name` must not contain control"),
        (new("ada", |key| key.name = "a\u{9b}b".into()), "`name` must not contain control"),
        (
            new("ada", |key| key.scopes = Some(vec!["quotes:wirte".into()])),
            "`scopes` contains `quotes:wirte`",
        ),
        (new("ada", |key| key.metadata = many(33)), "`metadata` must have at most 32"),
        (new("ada", |key| key.metadata = one("", "x".into())), "`metadata`"),
        (new("ada", |key| key.metadata = one("a", "x".repeat(501))), "`metadata`"),
        (new("ada", |key| key.metadata = one(&"a".repeat(501), String::new())), "`metadata`"),
        (
            new("ada", |key| key.environment = Some("staging".into())),
            "`environment` is `staging`, for which no format issues keys",
        ),
        (new("ada", |key| key.allowlist = Some(vec!["10.0.0.5/8".parse().unwrap()])), "`allowlist`"),
        (new("ada", |key| key.allowlist = Some(vec!["::ffff:10.0.0.0/104".parse().unwrap()])), "`allowlist`"),
        (new("ada", |key| key.quotas = Some(vec![QuotaRef::Named("burst".into())])), "`quotas`"),
        (
            new("ada", |key| {
                key.quotas = Some(["4 per minute", "10 per minute"].map(|text| text.parse().unwrap()).into());
            }),
            "two quotas have the name `minute`",
        ),
        (
            new("ada", |key| key.quotas = Some(own(&["60 per minute", "100 per second"]))),
            "the quota `second`, of 100 requests, can never be reached: `minute`, of 60,",
        ),
        (
            new("ada", |key| key.caps = Some([("limit", 3), ("limit", 4)].map(cap).into())),
            "duplicate cap of the parameter `limit`",
        ),
        (new("ada", |key| key.caps = Some([("", 3)].map(cap).into())), "`caps` is invalid"),
        (new("ada", |key| key.expires_at = Some(now)), "`expiresAt` must be in the future"),
        (
            new("bob", |key| key.expires_at = Some(now.saturating_add(DAY))),
            "the plan does not include a custom expiry",
        ),
        (new("cyd", |key| key.expires_at = Some(now.saturating_add(DAY / 2))), "`expiresAt` is earlier"),
        (new("cyd", |key| key.expires_at = Some(now.saturating_add(31 * DAY))), "`expiresAt` is later"),
        (new("eve", |_| ()), "the account does not exist"),
    ];
    for (key, expected) in table {
        let error = said(stage.manager.issue(key.clone()).await);
        assert!(error.contains(expected), "{key:?}: {error}");
    }
    assert!(stage.store.is_empty() && stage.audit.take().is_empty());
    Ok(())
}

fn own(quotas: &[&str]) -> Vec<QuotaRef> {
    quotas.iter().map(|text| text.parse().unwrap()).collect()
}

fn cap((parameter, most): (&str, u64)) -> (String, ParamLimit) {
    (parameter.to_owned(), ParamLimit::AtMost(most))
}

#[tokio::test]
async fn quotas_and_caps_are_changed_after_issue() -> Result<(), Fault> {
    let stage = Stage::set_with(|builder, _| builder.quota("slow", "1 per minute".parse().unwrap()))?;
    let id = stage.issue("ada").await?.key.id;
    let quotas = |quotas| KeyChange { quotas: Some(quotas), ..KeyChange::default() };
    let caps = |caps| KeyChange { caps: Some(caps), ..KeyChange::default() };
    let given = stage.manager.update(id, &quotas(Some(own(&["slow", "20 per hour"])))).await?;
    assert_eq!((&given.quotas, &given.caps), (&Some(own(&["slow", "20 per hour"])), &None));
    let limit = ParamLimits::from([("limit", 3)].map(cap));
    let given = stage.manager.update(id, &caps(Some(limit.clone()))).await?;
    assert_eq!((&given.quotas, &given.caps), (&Some(own(&["slow", "20 per hour"])), &Some(limit)));
    let refused = [
        (quotas(Some(own(&["burst"]))), "the quota `burst`, which is not configured"),
        (quotas(Some(own(&["4 per minute", "10 per minute"]))), "two quotas have the name `minute`"),
        (quotas(Some(own(&["60 per minute", "100 per second"]))), "can never be reached"),
        (caps(Some([("limit", 3), ("limit", 4)].map(cap).into())), "duplicate cap of the parameter `limit`"),
        (caps(Some([("a&b", 3)].map(cap).into())), "invalid name of a query parameter"),
    ];
    for (change, expected) in refused {
        let error = said(stage.manager.update(id, &change).await);
        assert!(error.contains(expected), "{change:?}: {error}");
        assert_eq!(stage.manager.get(id).await?, given);
    }
    assert_eq!(stage.manager.update(id, &quotas(Some(Vec::new()))).await?.quotas, Some(Vec::new()));
    stage.manager.update(id, &quotas(None)).await?;
    let cleared = stage.manager.update(id, &caps(None)).await?;
    assert_eq!((&cleared.quotas, &cleared.caps), (&None, &None));
    Ok(())
}

#[tokio::test]
async fn new_key_has_the_requested_fields() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let mut key = NewKey::new("ada", "x".repeat(200));
    key.scopes = Some(vec!["quotes:read".into()]);
    key.paths = Some(vec!["/quotes".parse()?]);
    key.allowlist = Some(vec![tollgate::key::parse_network("192.0.2.0/24")?]);
    key.metadata = (0..32).map(|n| (n.to_string(), "x".repeat(500))).collect();
    key.environment = Some("test".into());
    let issued = stage.manager.issue(key.clone()).await?;
    let stored = stage.manager.get(issued.key.id).await?;
    assert_eq!(stored, issued.key);
    let shown = format!("{stored:?}{issued:?}");
    let secret = issued.secret.expose_secret();
    assert!(secret.starts_with("acme_test_") && stored.start.starts_with("acme_test_"));
    assert_eq!((&stored.scopes, &stored.paths, &stored.allowlist), (&key.scopes, &key.paths, &key.allowlist));
    assert_eq!(stored.metadata, key.metadata);
    assert_eq!(stored.hash, KeyHasher::sha256().hash(secret.as_bytes()));
    assert!(!shown.contains(secret));
    Ok(())
}

#[tokio::test]
async fn plan_sets_the_key_lifetime() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let now = stage.gate.clock().now().wall();
    let after = |days: u32| Some(now.saturating_add(days * DAY));
    assert_eq!(stage.issue("ada").await?.key.expires_at, None);
    let key = stage.issue("cyd").await?.key;
    assert_eq!(key.expires_at, after(7));
    stage.clock.advance(6 * DAY);
    let expiry = |end| KeyChange { expires_at: Some(end), ..KeyChange::default() };
    let table = [
        (after(30), None),
        (after(31), Some("`expiresAt` is later than the plan allows")),
        (after(6), Some("`expiresAt` must be in the future")),
        (None, Some("`expiresAt` cannot be removed")),
    ];
    for (end, refused) in table {
        let changed = stage.manager.update(key.id, &expiry(end)).await;
        match refused {
            None => assert_eq!(changed?.expires_at, end),
            Some(problem) => assert!(said(changed).contains(problem), "{end:?}"),
        }
    }
    // A key of a plan without a longest lifetime may lose its expiry.
    let mut eternal = NewKey::new("ada", "a key");
    eternal.expires_at = after(9);
    let eternal = stage.manager.issue(eternal).await?.key;
    assert_eq!(stage.manager.update(eternal.id, &expiry(None)).await?.expires_at, None);
    Ok(())
}

#[tokio::test]
async fn dead_key_is_not_changed() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let now = stage.gate.clock().now().wall();
    let revoked = stage.issue("ada").await?.key.id;
    let mut brief = NewKey::new("ada", "a key");
    brief.expires_at = Some(now.saturating_add(DAY));
    let expired = stage.manager.issue(brief).await?.key.id;
    stage.manager.revoke(revoked).await?;
    stage.clock.advance(DAY);
    stage.audit.take();
    let longer = KeyChange { expires_at: Some(Some(now.saturating_add(9 * DAY))), ..KeyChange::default() };
    for id in [revoked, expired] {
        let before = stage.manager.get(id).await?;
        let manager = &stage.manager;
        let refused = [
            said(manager.update(id, &longer).await),
            said(manager.pause(id).await),
            said(manager.resume(id).await),
            said(manager.rotate(id, DAY).await),
        ];
        assert!(refused.iter().all(|error| error.contains("revoked or has expired")), "{refused:?}");
        assert_eq!(manager.get(id).await?, before);
    }
    assert!(stage.audit.take().is_empty());
    Ok(())
}

#[tokio::test]
async fn another_accounts_key_is_missing() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (theirs, missing) = (stage.issue("bob").await?.key.id, KeyId::generate());
    let ada = stage.manager.clone().for_account("ada");
    stage.audit.take();
    for id in [theirs, missing] {
        let refused = [
            said(ada.get(id).await),
            said(ada.update(id, &KeyChange::default()).await),
            said(ada.pause(id).await),
            said(ada.resume(id).await),
            said(ada.rotate(id, Duration::ZERO).await),
            said(ada.revoke(id).await),
            said(ada.erase(id).await),
        ];
        assert!(refused.iter().all(|error| error == "the key does not exist"), "{refused:?}");
    }
    assert_eq!(said(ada.issue(NewKey::new("bob", "mine")).await), "the account does not exist");
    let foreign = ForeignKey::new("bob", "mine", KeyHash::from_bytes([7; 32]));
    assert_eq!(said(ada.import(foreign).await), "the account does not exist");
    assert!(said(ada.sweep(Duration::ZERO).await).contains("operator"));
    let mut asked = ListKeys::default();
    assert!(ada.list(&asked).await?.keys.is_empty());
    asked.account = Some("bob".into());
    assert!(ada.list(&asked).await?.keys.is_empty());
    assert!(stage.audit.take().is_empty());
    assert_eq!(stage.manager.get(theirs).await?.status, KeyStatus::Active);
    Ok(())
}

#[tokio::test]
async fn cap_ignores_revoked_and_erased_keys() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (first, second) = (stage.issue("bob").await?.key.id, stage.issue("bob").await?.key.id);
    let full = || async { matches!(stage.issue("bob").await, Err(ManageError::KeyLimitReached { most: 2 })) };
    assert!(full().await);
    stage.manager.pause(first).await?;
    assert!(full().await, "a paused key keeps its place");
    stage.manager.rotate(second, DAY).await?;
    assert!(full().await, "a rotated key is one key");
    stage.manager.revoke(first).await?;
    assert!(said(stage.manager.resume(first).await).contains("revoked"));
    let third = stage.issue("bob").await?.key.id;
    assert!(full().await);
    stage.manager.erase(third).await?;
    stage.issue("bob").await?;
    assert!(full().await);
    Ok(())
}

#[tokio::test]
async fn unknown_plan_is_an_operator_error() -> Result<(), Fault> {
    let stage = Stage::set()?;
    stage.store.change_account("ada", |ada| ada.status = AccountStatus::Deleted);
    assert_eq!(said(stage.issue("ada").await), "the account does not exist");
    stage.store.put_account(Account::new("eve", "gone"));
    assert!(matches!(stage.issue("eve").await, Err(ManageError::Misconfigured(_))));
    Ok(())
}

#[tokio::test]
async fn audit_names_actor_action_key_and_address() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let actor = Actor::operator("alice").at("203.0.113.9".parse()?);
    let manager = stage.manager.clone().by(actor.clone());
    let issued = manager.issue(NewKey::new("ada", "a key")).await?;
    let id = issued.key.id;
    let renamed = KeyChange { name: Some("renamed".into()), ..KeyChange::default() };
    // What changes nothing is not told.
    for _ in 0..2 {
        assert_eq!(manager.update(id, &renamed).await?, manager.get(id).await?);
        manager.pause(id).await?;
    }
    manager.resume(id).await?;
    let rotated = manager.rotate(id, DAY).await?.secret;
    assert_eq!(manager.report_leak(rotated.expose_secret()).await?, Some(id));
    manager.revoke(id).await?;
    manager.erase(id).await?;
    let other = manager.import(ForeignKey::new("ada", "a key", KeyHash::from_bytes([7; 32]))).await?;
    manager.revoke(other).await?;
    manager.revoke(other).await?;
    stage.clock.advance(DAY);
    assert_eq!(manager.sweep(Duration::ZERO).await?, 1);
    assert_eq!(manager.sweep(Duration::ZERO).await?, 0);
    let told = stage.audit.take();
    let expected = [
        (Action::Issued, Some(id)),
        (Action::Updated, Some(id)),
        (Action::Paused, Some(id)),
        (Action::Resumed, Some(id)),
        (Action::Rotated, Some(id)),
        (Action::Leaked, Some(id)),
        (Action::Erased, Some(id)),
        (Action::Imported, Some(other)),
        (Action::Revoked, Some(other)),
        (Action::Swept, None),
    ];
    assert_eq!(told.iter().map(|event| (event.action, event.key)).collect::<Vec<_>>(), expected);
    assert!(told.iter().all(|event| event.actor == actor));
    assert!(told.iter().all(|event| event.account == event.key.map(|_| "ada".into())));
    let told = format!("{told:?}");
    assert!([issued.secret, rotated].iter().all(|secret| !told.contains(secret.expose_secret())));
    Ok(())
}

#[tokio::test]
async fn a_shown_key_is_serialised_as_served() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let issued = stage.manager.issue(new("ada", |_| ())).await?;
    let (secret, issued_id) = (issued.secret.expose_secret(), issued.key.id);
    let shown = serde_json::to_value(stage.manager.view(issued.key))?;
    let members: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let served = ["id", "name", "keyPrefix", "account", "isActive", "status", "environment"];
    assert_eq!(members[..7], served);
    assert_eq!(members[7..], ["issuedBy", "createdAt", "expiresAt", "lastUsedAt"]);
    assert!(shown["issuedBy"].is_null());
    let by = KeyId::from_bytes([7; 16]);
    let mut record = (*stage.manager.get(issued_id).await?).clone();
    record.issued_by = Some(by);
    let by_a_key = serde_json::to_value(stage.manager.view(record.into()))?;
    assert_eq!(by_a_key["issuedBy"], by.to_string());
    assert_eq!((&shown["status"], &shown["account"]), (&"active".into(), &"ada".into()));
    assert!(shown["createdAt"].as_str().unwrap().ends_with('Z'), "{shown}");
    assert!(!shown.to_string().contains(secret));

    stage.manager.issue(new("ada", |_| ())).await?;
    let mut asked = ListKeys::default();
    asked.limit = 1;
    let page = serde_json::to_value(stage.manager.list(&asked).await?)?;
    assert_eq!(page["data"][0]["id"], page["nextCursor"]);
    asked.cursor = page["nextCursor"].as_str().map(str::parse).transpose()?;
    let last = serde_json::to_value(stage.manager.list(&asked).await?)?;
    assert_eq!((last["data"].as_array().unwrap().len(), last.get("nextCursor")), (1, None));
    Ok(())
}

#[test]
fn statuses_parse_as_written() {
    for status in KeyStatus::ALL {
        assert_eq!(status.to_string().parse(), Ok(*status));
    }
    for status in AccountStatus::ALL {
        assert_eq!(status.to_string().parse(), Ok(*status));
    }
    let error = "actve".parse::<KeyStatus>().unwrap_err();
    assert!(error.expected().starts_with("did you mean `active`?"), "{error}");
}

#[tokio::test]
async fn a_signed_in_user_is_an_actor() -> Result<(), Fault> {
    let stage = Stage::set()?;
    stage.manager.clone().by(Actor::user("user-17")).issue(new("ada", |_| ())).await?;
    let actor = stage.audit.take().remove(0).actor;
    assert_eq!((actor.user_id(), actor.name(), actor.key_id()), (Some("user-17"), None, None));
    Ok(())
}

#[tokio::test]
async fn manager_error_becomes_a_refusal() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let request = http::Request::get("/account/keys/1").body(())?;
    let view = tollgate::RequestView::of(&request);
    let rows = [
        (ManageError::NotFound("key"), 404, "not_found"),
        (ManageError::KeyLimitReached { most: 3 }, 409, "key_limit_reached"),
        (ManageError::NotInPlan("an expiry"), 403, "feature_required"),
        (ManageError::Dead, 409, "conflict"),
        (ManageError::Misconfigured("no plan".into()), 500, "misconfigured"),
    ];
    for (error, status, kind) in rows {
        let denial = tollgate::Denial::from(error);
        assert_eq!((denial.kind().name(), denial.kind().status().as_u16()), (kind, status));
        let response = stage.gate.response(&view, &denial);
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{kind}");
    }
    Ok(())
}

#[test]
fn managers_require_a_write_side() -> Result<(), Fault> {
    let builder = || management::builder(&ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap()));
    let read_only = builder()?.store(ReadOnly(MemoryStore::new())).build()?;
    let ledger = Later(Arc::new(MemoryLedger::new()));
    let no_balances = builder()?.store(MemoryStore::new()).ledger(ledger).build()?;
    let table = [
        ("keys", KeyManager::new(read_only.clone()).err(), "store", "KeyStore::admin"),
        ("accounts", AccountManager::new(read_only.clone()).err(), "store", "KeyStore::admin"),
        ("accounts of credits", CreditManager::new(read_only).err(), "store", "KeyStore::admin"),
        ("credits", CreditManager::new(no_balances.clone()).err(), "ledger", "CreditLedger::admin"),
    ];
    for (name, error, member, remedy) in table {
        let error = error.ok_or(name)?;
        assert_eq!(error.member(), member, "{name}");
        assert!(error.problem().contains("that can be written"), "{name}: {error}");
        assert!(error.expected().contains(remedy), "{name}: {error}");
    }
    assert!(KeyManager::new(no_balances).is_ok());
    Ok(())
}
