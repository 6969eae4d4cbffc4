//! A key issues, changes and rotates nothing that is wider than itself, by the authority's word and not a cache's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::concurrent_writer;
use crate::management;

use std::sync::Arc;
use std::time::Duration;

use management::{DAY, Fault, Stage};
use tollgate::account::{
    AccountStatus, InFlightLimit, ParamLimit, ParamLimits, QuotaPolicy, QuotaRef, QuotaScope,
};
use tollgate::audit::Actor;
use tollgate::clock::Timestamp;
use tollgate::key::{KeyStatus, PathPattern};
use tollgate::manage::{ForeignKey, KeyChange, ListKeys, ManageError};
use tollgate::{Account, KeyId, KeyManager, KeyRecord, MemoryStore, NewKey, Plan};

type Narrow = fn(&mut NewKey, Timestamp);

fn paths(patterns: &[&str]) -> Vec<PathPattern> {
    patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

/// A key of ada's that may read quotes and manage keys, below `/v1`, from one network, for ten days; and a manager in its name.
async fn issuer(stage: &Stage) -> Result<(Arc<KeyRecord>, KeyManager), Fault> {
    let mut key = NewKey::new("ada", "the issuer");
    key.scopes = Some(vec!["quotes:read".into(), "keys:manage".into()]);
    key.paths = Some(paths(&["/v1/*", "/health"]));
    key.allowlist = Some(vec![tollgate::key::parse_network("192.0.2.0/24")?]);
    key.expires_at = Some(stage.gate.clock().now().wall().saturating_add(10 * DAY));
    let key = stage.manager.issue(key).await?.key;
    let manager = stage.manager.clone().for_account("ada").by(Actor::key(key.id));
    Ok((key, manager))
}

#[tokio::test]
async fn new_key_is_within_its_issuer() -> Result<(), Fault> {
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
        (|key, _| key.caps = Some(ParamLimits::default()), Some("caps")),
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
async fn issuer_expiry_shortens_the_plan_default() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let issuer = stage.issue("cyd").await?.key;
    stage.clock.advance(DAY);
    let manager = stage.manager.clone().by(Actor::key(issuer.id));
    assert_eq!(manager.issue(NewKey::new("cyd", "a key")).await?.key.expires_at, issuer.expires_at);
    Ok(())
}

#[tokio::test]
async fn change_stays_within_the_issuer() -> Result<(), Fault> {
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
    for id in [issuer.id, narrow.id] {
        let error = manager.update(id, &free).await.unwrap_err();
        assert!(matches!(error, ManageError::TooWide { member: "scopes" }), "{error}");
    }
    assert_eq!(*manager.get(issuer.id).await?, *issuer, "it does not free itself");
    Ok(())
}

#[tokio::test]
async fn key_rotates_itself_and_narrower_keys() -> Result<(), Fault> {
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
async fn inactive_cached_key_cannot_manage() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let rename = KeyChange { name: Some("renamed".into()), ..KeyChange::default() };
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
            manager.update(target.id, &rename).await.map(drop),
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
async fn key_issues_for_own_account_if_allowed() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (ada, dan) = (stage.issue("ada").await?.key, stage.issue("dan").await?.key);
    let by = |id: KeyId| stage.manager.clone().by(Actor::key(id));
    assert!(matches!(by(ada.id).issue(NewKey::new("bob", "x")).await, Err(ManageError::NotFound("account"))));
    assert!(matches!(by(dan.id).issue(NewKey::new("dan", "x")).await, Err(ManageError::NotInPlan(_))));
    assert!(matches!(by(dan.id).rotate(dan.id, DAY).await, Err(ManageError::NotInPlan(_))));
    Ok(())
}

#[tokio::test]
async fn restricted_key_manages_by_grant_alone() -> Result<(), Fault> {
    let stage = Stage::set_with(|builder, _| builder.management("/account/keys"))?;
    let rows: [(&[&str], &[&str], bool); 9] = [
        (&["quotes:read"], &[], false),
        (&["-"], &[], false),
        (&["keys:manage"], &[], true),
        (&["quotes:read", "keys:manage"], &[], true),
        (&[], &["/quotes"], false),
        (&[], &["/account/keys"], true),
        (&[], &["/account/keys/*"], true),
        (&["keys:manage"], &["/quotes"], false),
        (&["quotes:read"], &["/account/*"], false),
    ];
    for (scopes, patterns, granted) in rows {
        let mut key = NewKey::new("ada", "restricted");
        let named =
            |scopes: &[&str]| scopes.iter().filter(|one| **one != "-").map(|one| (*one).into()).collect();
        key.scopes = (!scopes.is_empty()).then(|| named(scopes));
        key.paths = (!patterns.is_empty()).then(|| paths(patterns));
        let restricted = stage.manager.issue(key).await?.key;
        let manager = stage.manager.clone().by(Actor::key(restricted.id));
        let results = [
            manager.list(&ListKeys::default()).await.map(drop),
            manager.get(restricted.id).await.map(drop),
            manager.issue(NewKey::new("ada", "child")).await.map(drop),
            manager.revoke(restricted.id).await.map(drop),
        ];
        for (place, result) in results.iter().enumerate() {
            let refused = matches!(result, Err(ManageError::NotGranted));
            assert!(
                if granted { result.is_ok() } else { refused },
                "{scopes:?} {patterns:?} {place}: {result:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn demo_key_cannot_manage_keys() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let hash = stage.gate.hasher().hash(b"acme_demo");
    let demo = KeyRecord::new(KeyId::generate(), hash, stage.store.account("ada").unwrap());
    stage.store.put_key(demo.clone());
    let manager = stage.manager.clone().by(Actor::key(demo.id));
    for refused in [
        manager.issue(NewKey::new("ada", "child")).await.map(drop),
        manager.revoke(demo.id).await.map(drop),
        manager.rotate(demo.id, DAY).await.map(drop),
        manager.list(&ListKeys::default()).await.map(drop),
    ] {
        assert!(matches!(refused, Err(ManageError::NotGranted)), "{refused:?}");
    }
    // Nor does another key of its account end it for all.
    let other = stage.manager.clone().by(Actor::key(stage.issue("ada").await?.key.id));
    assert!(matches!(other.revoke(demo.id).await, Err(ManageError::NotGranted)));
    stage.manager.revoke(demo.id).await?;
    Ok(())
}

#[tokio::test]
async fn key_without_scope_stays_in_its_account() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let (ada, bob) = (stage.issue("ada").await?.key, stage.issue("bob").await?.key);
    let manager = stage.manager.clone().by(Actor::key(ada.id));
    let rename = KeyChange { name: Some("renamed".into()), ..KeyChange::default() };
    for refused in [
        manager.get(bob.id).await.map(drop),
        manager.update(bob.id, &rename).await.map(drop),
        manager.pause(bob.id).await.map(drop),
        manager.rotate(bob.id, DAY).await.map(drop),
        manager.revoke(bob.id).await.map(drop),
        manager.revoke_with_issued(bob.id).await.map(drop),
        manager.erase(bob.id).await,
    ] {
        assert!(matches!(refused, Err(ManageError::NotFound("key"))), "{refused:?}");
    }
    let listed = manager.list(&ListKeys::default()).await?.keys;
    assert!(listed.iter().all(|key| key.account == ada.account.id), "{listed:?}");
    let foreign = ForeignKey::new("ada", "foreign", stage.gate.hasher().hash(b"foreign"));
    assert!(matches!(manager.import(foreign).await, Err(ManageError::Misconfigured(_))));
    Ok(())
}

#[tokio::test]
async fn revocation_includes_issued_keys() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let by = |id: KeyId| stage.manager.clone().by(Actor::key(id));
    let leaked = stage.issue("ada").await?.key;
    assert_eq!(leaked.issued_by, None);
    let other = stage.issue("ada").await?.key;
    let (mut family, mut issuer) = (vec![leaked.id], leaked.id);
    for _ in 0..3 {
        let child = by(issuer).issue(NewKey::new("ada", "child")).await?.key;
        assert_eq!(stage.manager.get(child.id).await?.issued_by, Some(issuer));
        let mut asked = ListKeys::default();
        asked.issued_by = Some(issuer);
        let page = stage.manager.list(&asked).await?;
        let listed: Vec<_> = page.keys.iter().map(|key| (key.id, key.issued_by)).collect();
        assert_eq!(listed, [(child.id, Some(issuer))]);
        family.push(child.id);
        issuer = child.id;
    }
    // One in between that is revoked already still leads to what it issued.
    stage.manager.revoke(family[1]).await?;
    let revoked = stage.manager.revoke_with_issued(leaked.id).await?;
    let ended: Vec<_> = revoked.iter().map(|revoked| revoked.key.id).collect();
    assert_eq!(ended, [family[0], family[2], family[3]]);
    for id in family {
        assert_eq!(stage.manager.get(id).await?.status, KeyStatus::Revoked);
    }
    assert_eq!(stage.manager.get(other.id).await?.status, KeyStatus::Active);
    Ok(())
}

#[tokio::test]
async fn key_issued_during_revocation_is_revoked() -> Result<(), Fault> {
    let (stage, writer) = concurrent_writer::stage(|builder, _| builder)?;
    let parent = stage.issue("ada").await?.key.id;
    // The issuer has just been found active; whoever revokes it lists what it has issued before the new key is in.
    let revoke = move |store: &MemoryStore| {
        let mut record = KeyRecord::clone(&store.key(parent).unwrap());
        (record.status, record.version) = (KeyStatus::Revoked, record.version + 1);
        store.put_key(record);
    };
    writer.change_after(1, revoke);
    let issued = stage.manager.clone().by(Actor::key(parent)).issue(NewKey::new("ada", "late")).await;
    assert!(matches!(issued, Err(ManageError::Issuer)), "{issued:?}");
    let mut asked = ListKeys::default();
    asked.issued_by = Some(parent);
    let late = stage.manager.list(&asked).await?.keys;
    let late: Vec<_> = late.iter().map(|key| (key.name.as_str(), key.status)).collect();
    assert_eq!(late, [("late", KeyStatus::Revoked)]);
    Ok(())
}

/// Quotas or caps of the issuer and of another key, and whether the issuer may have the other's secret.
type Terms = (Option<&'static [&'static str]>, Option<&'static [&'static str]>, bool);

#[tokio::test]
async fn quotas_are_compared_by_what_they_admit() -> Result<(), Fault> {
    let mut pro = Plan::new("pro");
    pro.quotas = vec!["60 per minute".parse()?];
    let account = QuotaPolicy::new(60, Duration::from_mins(1))?.counting(QuotaScope::Account);
    let network = account.clone().counting(QuotaScope::Network(tollgate::account::NetworkCut::default()));
    let stage = Stage::set_with(|builder, store| {
        store.put_account(Account::new("eve", "metered"));
        pro.name = "metered".into();
        let burst = |text: &str, burst| text.parse::<QuotaPolicy>().unwrap().with_burst(burst).unwrap();
        builder
            .plan(pro)
            .quota("slow", "30 per minute".parse().unwrap())
            .quota("shared", account)
            .quota("network", network)
            .quota("small", burst("60 per minute", 10))
            .quota("large", burst("60 per minute", 61))
            .quota("even", burst("50 per minute", 10))
    })?;
    let rows: [Terms; 26] = [
        (None, None, true),
        (None, Some(&[]), false),
        (None, Some(&["60 per minute"]), true),
        (None, Some(&["61 per minute"]), false),
        (None, Some(&["1 per second"]), true),
        (None, Some(&["2 per second"]), false),
        (None, Some(&["60 in any minute"]), true),
        (None, Some(&["slow"]), true),
        (None, Some(&["shared"]), true),
        (None, Some(&["1000 per day", "60 per minute"]), true),
        (None, Some(&["1000 per hour"]), false),
        (Some(&[]), None, true),
        (Some(&["slow"]), None, false),
        (Some(&["slow"]), Some(&["30 per minute"]), true),
        (Some(&["shared"]), None, false),
        (Some(&["60 in any minute"]), Some(&["60 per minute"]), false),
        (Some(&["60 in any minute"]), Some(&["30 per minute"]), true),
        (None, Some(&["small"]), true),
        (None, Some(&["large"]), false),
        (Some(&["small"]), Some(&["60 per minute"]), false),
        (Some(&["large"]), Some(&["60 per minute"]), true),
        (Some(&["60 in any minute"]), Some(&["even"]), true),
        (Some(&["60 in any minute"]), Some(&["small"]), false),
        (None, Some(&["network"]), false),
        (Some(&["network"]), Some(&["60 per minute"]), false),
        (Some(&["network"]), Some(&["network"]), true),
    ];
    let own = |quotas: &[&str]| -> Vec<QuotaRef> {
        let named = |text: &&str| text.parse().map_or(QuotaRef::Named((*text).to_owned()), QuotaRef::Policy);
        quotas.iter().map(named).collect()
    };
    for (issuers, others, covered) in rows {
        let mut ids = Vec::new();
        for quotas in [issuers, others] {
            let mut key = NewKey::new("eve", "a key");
            key.quotas = quotas.map(own);
            ids.push(stage.manager.issue(key).await?.key.id);
        }
        let manager = stage.manager.clone().by(Actor::key(ids[0]));
        let rotated = manager.rotate(ids[1], Duration::ZERO).await;
        let wide = matches!(rotated, Err(ManageError::TooWide { member: "quotas" }));
        assert!(if covered { rotated.is_ok() } else { wide }, "{issuers:?} {others:?}: {rotated:?}");
    }
    Ok(())
}

#[tokio::test]
async fn caps_are_compared_by_what_they_allow() -> Result<(), Fault> {
    let mut capped = Plan::new("capped");
    capped.caps =
        [("limit".to_owned(), ParamLimit::AtMost(10)), ("cursor".to_owned(), ParamLimit::Forbidden)].into();
    let stage = Stage::set_with(|builder, store| {
        store.put_account(Account::new("eve", "capped"));
        builder.plan(capped)
    })?;
    let cursor = ("cursor", ParamLimit::Forbidden);
    let rows: [(&[(&str, ParamLimit)], bool); 6] = [
        (&[], false),
        (&[("limit", ParamLimit::AtMost(10)), cursor], true),
        (&[cursor, ("limit", ParamLimit::AtMost(3))], true),
        (&[("limit", ParamLimit::Forbidden), cursor, ("page", ParamLimit::Forbidden)], true),
        (&[("limit", ParamLimit::AtMost(11)), cursor], false),
        (&[("limit", ParamLimit::AtMost(3)), ("cursor", ParamLimit::AtMost(1))], false),
    ];
    let issuer = stage.issue("eve").await?.key;
    let manager = stage.manager.clone().by(Actor::key(issuer.id));
    for (caps, covered) in rows {
        let mut key = NewKey::new("eve", "a key");
        key.caps = Some(caps.iter().map(|(name, cap)| ((*name).to_owned(), *cap)).into());
        let sibling = stage.manager.issue(key.clone()).await?.key;
        for result in [manager.rotate(sibling.id, DAY).await.map(drop), manager.issue(key).await.map(drop)] {
            let wide = matches!(result, Err(ManageError::TooWide { member: "caps" }));
            assert!(if covered { result.is_ok() } else { wide }, "{caps:?}: {result:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_key_widens_itself_or_a_sibling() -> Result<(), Fault> {
    let mut metered = Plan::new("metered");
    metered.quotas = vec!["60 per minute".parse()?];
    metered.in_flight = Some(InFlightLimit::new(8)?);
    metered.caps = [("limit".to_owned(), ParamLimit::AtMost(10))].into();
    let stage = Stage::set_with(|builder, store| {
        store.put_account(Account::new("eve", "metered"));
        builder.plan(metered)
    })?;
    let quotas = |quotas: Option<&[&str]>| {
        let own = quotas.map(|own| own.iter().map(|text| text.parse().unwrap()).collect());
        KeyChange { quotas: Some(own), ..KeyChange::default() }
    };
    let caps = |most: Option<u64>| {
        let own = most.map(|most| [("limit".to_owned(), ParamLimit::AtMost(most))].into());
        KeyChange { caps: Some(own), ..KeyChange::default() }
    };
    let in_flight = |most| KeyChange { in_flight: Some(most), ..KeyChange::default() };
    let none = || KeyChange { caps: Some(Some(ParamLimits::default())), ..KeyChange::default() };
    // What the caller and its sibling have of their own, the change, and the member in which it is too wide.
    let by_plan = (None, None);
    let own: (Option<&[&str]>, Option<u64>) = (Some(&["30 per minute"]), Some(5));
    let rows = [
        (by_plan, quotas(Some(&["30 per minute"])), None),
        (by_plan, quotas(Some(&["1 per second"])), None),
        (by_plan, quotas(Some(&["61 per minute"])), Some("quotas")),
        (by_plan, quotas(Some(&["60 per hour", "2 per second"])), None),
        (by_plan, quotas(Some(&["2 per second"])), Some("quotas")),
        (by_plan, quotas(Some(&[])), Some("quotas")),
        (by_plan, quotas(None), None),
        (by_plan, caps(Some(3)), None),
        (by_plan, caps(Some(11)), Some("caps")),
        (by_plan, none(), Some("caps")),
        (by_plan, in_flight(Some(8)), None),
        (by_plan, in_flight(Some(9)), Some("inFlight")),
        (by_plan, in_flight(None), None),
        (own, in_flight(Some(5)), None),
        (own, in_flight(Some(6)), Some("inFlight")),
        (own, in_flight(None), Some("inFlight")),
        (own, quotas(Some(&["20 per minute"])), None),
        (own, quotas(Some(&["31 per minute"])), Some("quotas")),
        (own, quotas(None), Some("quotas")),
        (own, caps(Some(5)), None),
        (own, caps(Some(6)), Some("caps")),
        (own, caps(None), Some("caps")),
    ];
    for ((own_quotas, own_cap), change, wide) in rows {
        let mut key = NewKey::new("eve", "a key");
        key.quotas = quotas(own_quotas).quotas.flatten();
        key.caps = caps(own_cap).caps.flatten();
        key.in_flight = own_cap.map(|_| 5);
        let caller = stage.manager.issue(key.clone()).await?.key;
        let sibling = stage.manager.issue(key).await?.key;
        let manager = stage.manager.clone().by(Actor::key(caller.id));
        // The caller comes last: it is narrowed with what it changes of itself.
        for key in [sibling, caller] {
            let changed = manager.update(key.id, &change).await;
            match (changed, wide) {
                (Ok(changed), None) => {
                    let expected = change.quotas.clone().unwrap_or(key.quotas.clone());
                    assert_eq!(changed.quotas, expected, "{change:?}");
                    assert_eq!(changed.caps, change.caps.clone().unwrap_or(key.caps.clone()), "{change:?}");
                }
                (Err(ManageError::TooWide { member }), Some(wide)) => {
                    assert_eq!(member, wide, "{change:?}");
                    assert_eq!(*stage.manager.get(key.id).await?, *key, "{change:?}");
                }
                (changed, _) => panic!("{own_quotas:?} {change:?}: {changed:?}"),
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_narrowing_is_kept() -> Result<(), Fault> {
    let set = KeyChange::default;
    let quotas = |text: &str| Some(Some(vec![text.parse().unwrap()]));
    let asked = [
        KeyChange { scopes: Some(Some(vec!["quotes:read".into(), "keys:manage".into()])), ..set() },
        KeyChange { quotas: quotas("60 per minute"), ..set() },
    ];
    for change in asked {
        let (stage, writer) = concurrent_writer::stage(|builder, _| builder)?;
        let key = stage.issue("ada").await?.key;
        // Between the look at the key that asks and the reading before the write, the operator narrows it.
        let id = key.id;
        let narrow = move |store: &MemoryStore| {
            let mut record = KeyRecord::clone(&store.key(id).unwrap());
            record.scopes = Some(vec!["keys:manage".into()]);
            record.quotas = quotas("5 per minute").flatten();
            record.version += 1;
            store.put_key(record);
        };
        writer.change_after(1, narrow);
        let changed = stage.manager.clone().by(Actor::key(id)).update(id, &change).await;
        assert!(matches!(changed, Err(ManageError::TooWide { .. })), "{changed:?}");
        assert_eq!(stage.manager.get(id).await?.version, key.version + 1);
    }
    Ok(())
}

#[tokio::test]
async fn two_half_networks_cover_the_network() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let networks =
        |texts: &[&str]| -> Vec<ipnet::IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let (mut halves, mut whole) = (NewKey::new("ada", "halves"), NewKey::new("ada", "whole"));
    halves.allowlist = Some(networks(&["10.0.0.0/9", "10.128.0.0/9"]));
    whole.allowlist = Some(networks(&["10.0.0.0/8"]));
    let (halves, whole) = (stage.manager.issue(halves).await?.key, stage.manager.issue(whole).await?.key);
    stage.manager.clone().by(Actor::key(halves.id)).rotate(whole.id, DAY).await?;
    Ok(())
}
