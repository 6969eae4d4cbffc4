//! A key issues, changes and rotates nothing that is wider than itself, by the authority's word and not a cache's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod management;

use std::sync::Arc;
use std::time::Duration;

use management::{DAY, Fault, Stage};
use tollgate::{
    AccountStatus, Actor, Caps, KeyChange, KeyId, KeyManager, KeyRecord, ManageError, NewKey, PathPattern,
    Timestamp,
};

type Narrow = fn(&mut NewKey, Timestamp);

fn paths(patterns: &[&str]) -> Vec<PathPattern> {
    patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

/// A key of ada's that may read quotes, below `/v1`, from one network, for ten days; and a manager in its name.
async fn issuer(stage: &Stage) -> Result<(Arc<KeyRecord>, KeyManager), Fault> {
    let mut key = NewKey::new("ada", "the issuer");
    key.scopes = Some(vec!["quotes:read".into()]);
    key.paths = Some(paths(&["/v1/*", "/health"]));
    key.allowlist = Some(vec![tollgate::parse_network("192.0.2.0/24")?]);
    key.expires_at = Some(stage.gate.clock().now().wall().saturating_add(10 * DAY));
    let key = stage.manager.issue(key).await?.key;
    let manager = stage.manager.clone().for_account("ada").by(Actor::key(key.id));
    Ok((key, manager))
}

#[tokio::test]
async fn a_new_key_is_the_issuers_or_narrower() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (issuer, manager) = issuer(&stage).await?;
    let table: [(Narrow, Option<&str>); 17] = [
        (|_, _| (), None),
        (|key, _| key.scopes = Some(Vec::new()), None),
        (|key, _| key.scopes = Some(vec!["quotes:read".into()]), None),
        (|key, _| key.scopes = Some(vec!["quotes:read".into(), "news:read".into()]), Some("scopes")),
        (|key, _| key.paths = Some(paths(&["/v1/quotes", "/v1/candles/*", "/health"])), None),
        (|key, _| key.paths = Some(paths(&["/v1"])), Some("paths")),
        (|key, _| key.paths = Some(paths(&["/*"])), Some("paths")),
        (|key, _| key.paths = Some(paths(&["/v1/quotes", "/health/*"])), Some("paths")),
        (|key, _| key.allowlist = Some(vec!["192.0.2.128/25".parse().unwrap()]), None),
        (|key, _| key.allowlist = Some(Vec::new()), None),
        (|key, _| key.allowlist = Some(vec!["192.0.0.0/16".parse().unwrap()]), Some("allowlist")),
        (|key, _| key.allowlist = Some(vec!["2001:db8::/32".parse().unwrap()]), Some("allowlist")),
        (|key, now| key.expires_at = Some(now.saturating_add(10 * DAY)), None),
        (|key, now| key.expires_at = Some(now.saturating_add(11 * DAY)), Some("expiresAt")),
        (|key, _| key.environment = Some("test".into()), Some("environment")),
        (|key, _| key.quotas = Some(Vec::new()), Some("quotas")),
        (|key, _| key.caps = Some(Caps::default()), Some("caps")),
    ];
    for (row, (narrow, wide)) in table.into_iter().enumerate() {
        let mut key = NewKey::new("ada", "a key");
        narrow(&mut key, stage.gate.clock().now().wall());
        let asked = key.clone();
        match (manager.issue(key).await, wide) {
            (Ok(new), None) => {
                let key = new.key;
                assert_eq!(key.scopes, asked.scopes.or(issuer.scopes.clone()), "row {row}");
                assert_eq!(key.paths, asked.paths.or(issuer.paths.clone()), "row {row}");
                assert_eq!(key.allowlist, asked.allowlist.or(issuer.allowlist.clone()), "row {row}");
                assert_eq!(key.expires_at, asked.expires_at.or(issuer.expires_at), "row {row}");
            }
            (Err(ManageError::TooWide { member }), Some(wide)) => assert_eq!(member, wide, "row {row}"),
            (other, _) => panic!("row {row}: {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_ends_before_the_plans_default_shortens_it() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let issuer = stage.issue("cyd").await?.key;
    stage.clock.advance(DAY);
    let manager = stage.manager.clone().by(Actor::key(issuer.id));
    assert_eq!(manager.issue(NewKey::new("cyd", "a key")).await?.key.expires_at, issuer.expires_at);
    Ok(())
}

#[tokio::test]
async fn a_change_gives_no_more_than_the_issuer_has_and_leaves_the_rest() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (issuer, manager) = issuer(&stage).await?;
    let wide = stage.issue("ada").await?.key;
    let rename = KeyChange { name: Some("renamed".into()), ..KeyChange::default() };
    for refused in [
        manager.update(wide.id, &rename).await.map(drop),
        manager.pause(wide.id).await.map(drop),
        manager.resume(wide.id).await.map(drop),
        manager.revoke(wide.id).await.map(drop),
        manager.erase(wide.id).await,
    ] {
        assert!(matches!(refused, Err(ManageError::TooWide { member: "scopes" })), "{refused:?}");
    }
    assert_eq!(manager.get(wide.id).await?, wide, "what is wider is not its to change");
    let narrow = manager.issue(NewKey::new("ada", "a key")).await?.key;
    let renamed = manager.update(narrow.id, &rename).await?;
    assert_eq!((&renamed.scopes, renamed.expires_at), (&issuer.scopes, issuer.expires_at));
    let later = stage.gate.clock().now().wall().saturating_add(11 * DAY);
    let refused = [
        (KeyChange { scopes: Some(Some(vec!["news:read".into()])), ..KeyChange::default() }, "scopes"),
        (KeyChange { paths: Some(Some(paths(&["/*"]))), ..KeyChange::default() }, "paths"),
        (
            KeyChange { allowlist: Some(Some(vec!["0.0.0.0/0".parse()?])), ..KeyChange::default() },
            "allowlist",
        ),
        (KeyChange { expires_at: Some(Some(later)), ..KeyChange::default() }, "expiresAt"),
    ];
    for (change, wide_in) in refused {
        let error = manager.update(narrow.id, &change).await.unwrap_err();
        assert!(matches!(error, ManageError::TooWide { member } if member == wide_in), "{error}");
    }
    assert_eq!(manager.get(narrow.id).await?, renamed);
    let free = KeyChange { scopes: Some(None), allowlist: Some(None), ..KeyChange::default() };
    let own = manager.update(issuer.id, &free).await?;
    assert_eq!((&own.scopes, &own.allowlist), (&issuer.scopes, &issuer.allowlist), "it does not free itself");
    Ok(())
}

#[tokio::test]
async fn a_key_rotates_itself_and_what_is_narrower() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (issuer, manager) = issuer(&stage).await?;
    let (wide, narrow) =
        (stage.issue("ada").await?.key, manager.issue(NewKey::new("ada", "a key")).await?.key);
    let refused = manager.rotate(wide.id, DAY).await;
    assert!(matches!(refused, Err(ManageError::TooWide { member: "scopes" })), "{refused:?}");
    assert_eq!(manager.get(wide.id).await?, wide);
    manager.rotate(narrow.id, DAY).await?;
    manager.rotate(issuer.id, DAY).await?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_may_not_be_used_asks_for_nothing_even_if_it_is_still_cached() -> Result<(), Fault> {
    let stage = Stage::set()?;
    for how in ["revoked", "paused", "expired", "erased", "suspended"] {
        let target = stage.issue("ada").await?.key;
        let (cached, manager) = issuer(&stage).await?;
        match how {
            "revoked" => drop(stage.manager.revoke(cached.id).await?),
            "paused" => drop(stage.manager.pause(cached.id).await?),
            "expired" => stage.clock.advance(10 * DAY),
            "erased" => stage.manager.erase(cached.id).await?,
            _ => drop(stage.store.change_account("ada", |ada| ada.status = AccountStatus::Suspended)),
        }
        let keys = stage.store.len();
        let results = [
            manager.issue(NewKey::new("ada", "a key")).await.map(drop),
            manager.update(target.id, &KeyChange::default()).await.map(drop),
            manager.rotate(target.id, Duration::ZERO).await.map(drop),
            manager.pause(target.id).await.map(drop),
            manager.revoke(target.id).await.map(drop),
            manager.erase(target.id).await,
        ];
        let refused = results.iter().all(|result| matches!(result, Err(ManageError::Issuer)));
        assert!(refused, "{how}: {results:?}");
        assert_eq!(stage.store.len(), keys);
    }
    Ok(())
}

#[tokio::test]
async fn a_key_issues_for_its_own_account_and_only_if_its_plan_says_so() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (ada, dan) = (stage.issue("ada").await?.key, stage.issue("dan").await?.key);
    let by = |id: KeyId| stage.manager.clone().by(Actor::key(id));
    assert!(matches!(by(ada.id).issue(NewKey::new("bob", "x")).await, Err(ManageError::NotFound("account"))));
    assert!(matches!(by(dan.id).issue(NewKey::new("dan", "x")).await, Err(ManageError::NotInPlan(_))));
    assert!(matches!(by(dan.id).rotate(dan.id, DAY).await, Err(ManageError::NotInPlan(_))));
    Ok(())
}
