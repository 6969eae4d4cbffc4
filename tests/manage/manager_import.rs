//! Keys that were made elsewhere, keys found in the open, and lists.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;

use std::collections::BTreeSet;

use management::{DAY, Fault, Stage};
use tollgate::account::AccountStatus;
use tollgate::audit::Action;
use tollgate::key::{KeyHash, KeyHasher, KeyStatus, Length};
use tollgate::manage::{ForeignKey, ListKeys};
use tollgate::{Account, DenialKind, KeyFormat, KeyId, KeyRecord};

const SECRET: &str = "acme_live_aaaaaaaabbbbbbbbccccccccdddddddd";

fn foreign(secret: &str, change: impl FnOnce(&mut ForeignKey)) -> ForeignKey {
    let mut key = ForeignKey::new("ada", "from elsewhere", KeyHasher::sha256().hash(secret.as_bytes()));
    change(&mut key);
    key
}

#[tokio::test]
async fn imported_key_works() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let id = KeyId::from_bytes([7; 16]);
    let key = foreign(SECRET, |key| {
        key.id = Some(id);
        key.start = "acme_live_aaaa".into();
        key.allowlist = Some(Vec::new());
        key.metadata.insert("origin".into(), "elsewhere".into());
        key.created_at = "2020-01-01T00:00:00Z".parse().ok();
    });
    assert_eq!(stage.manager.import(key).await?, id);
    let stored = stage.manager.get(id).await?;
    assert_eq!((stored.start.as_str(), &stored.allowlist), ("acme_live_aaaa", &Some(Vec::new())));
    assert_eq!(stored.created_at, "2020-01-01T00:00:00Z".parse().ok());
    assert_eq!(stored.metadata["origin"], "elsewhere");
    assert_eq!(stage.refusal(SECRET).await, Some(DenialKind::AddressNotAllowed));
    Ok(())
}

#[tokio::test]
async fn import_reports_refusals_with_reasons() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let issued = stage.issue("ada").await?;
    let (old, id) = (issued.key.hash, issued.key.id);
    stage.manager.rotate(id, DAY).await?;
    let mut gone = Account::new("gus", "pro");
    gone.status = AccountStatus::Deleted;
    stage.store.put_account(gone);
    let other = |n: u8| KeyHash::from_bytes([n; 32]);
    let keys = [
        foreign(SECRET, |_| ()),
        foreign(SECRET, |_| ()),
        foreign("", |key| (key.hash, key.id) = (other(2), Some(id))),
        foreign("", |key| key.hash = old),
        foreign("", |key| (key.hash, key.name) = (other(3), "a\nb".into())),
        foreign("", |key| (key.hash, key.account) = (other(4), "eve".into())),
        foreign("", |key| (key.hash, key.environment) = (other(5), "staging".into())),
        foreign("", |key| (key.hash, key.scopes) = (other(6), Some(vec!["quotes:wirte".into()]))),
        foreign("acme_live_short", |key| key.start = "acme_live_short".into()),
        foreign("", |key| (key.hash, key.start) = (other(8), "x".repeat(33))),
        foreign("", |key| (key.hash, key.allowlist) = (other(9), Some(vec!["10.0.0.5/8".parse().unwrap()]))),
        foreign("", |key| (key.hash, key.account) = (other(10), "gus".into())),
        foreign("", |key| key.hash = other(11)),
        foreign("", |key| (key.hash, key.paths) = (other(12), Some(vec!["/a".parse().unwrap(); 2]))),
    ];
    let report = stage.manager.import_all(keys).await.map_err(|(_, error)| error)?;
    let expected = [
        (1, "`hash` already exists"),
        (2, "`hash` already exists, or the id does"),
        (3, "`hash` already exists"),
        (4, "`name`"),
        (5, "the account does not exist"),
        (6, "`environment`"),
        (7, "`scopes`"),
        (8, "`start`"),
        (9, "`start`"),
        (10, "`allowlist`"),
        (11, "the account is deleted"),
        (13, "`paths`"),
    ];
    assert_eq!(report.imported.len(), 2);
    assert_eq!(report.refused.len(), expected.len());
    for ((place, error), (expected_place, problem)) in report.refused.iter().zip(expected) {
        assert_eq!(*place, expected_place);
        assert!(error.to_string().contains(problem), "{place}: {error}");
    }
    Ok(())
}

/// The stored start of a key that was made elsewhere shows no more of it than the start of a key that was made here.
#[tokio::test]
async fn imported_start_is_bounded_by_the_format() -> Result<(), Fault> {
    let stage = Stage::set_with(|builder, _| {
        let wide =
            KeyFormat::new("acme_live_x_", Length::exactly(40)).and_then(|format| format.with_start(32));
        builder.format(wide.unwrap())
    })?;
    let long = "acme_live_x_0123456789abcdefghijk";
    let table = [
        ("", true),
        ("acme_live_", true),
        ("acme_live_aaaa", true),
        ("acme_live_aaaab", false),
        ("acme_test_aaaa", true),
        ("acme_test_aaaab", false),
        // The longest prefix decides, and it shows more.
        (&long[..32], true),
        (long, false),
        // Of no format that the gate knows, or of a prefix cut short.
        ("old-0123abcd", true),
        ("old-0123abcde", false),
        ("acme_liv", true),
        ("two words", false),
        ("n\u{e4}h", false),
    ];
    for (number, (start, accepted)) in (0..).zip(table) {
        let mut key = foreign("", |key| key.hash = KeyHasher::sha256().hash(&[number]));
        key.start = start.into();
        let imported = stage.manager.import(key).await;
        assert_eq!(imported.is_ok(), accepted, "{start}: {imported:?}");
        if let Err(error) = imported {
            let said = error.to_string();
            assert!(said.starts_with("`start` must be at most") && !said.contains(start), "{start}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn expired_key_is_imported_and_refused() -> Result<(), Fault> {
    let stage = Stage::set()?;
    stage.manager.import(foreign(SECRET, |key| key.expires_at = "2020-01-01T00:00:00Z".parse().ok())).await?;
    assert_eq!(stage.refusal(SECRET).await, Some(DenialKind::Expired));
    Ok(())
}

#[tokio::test]
async fn leaked_key_is_revoked_without_disclosure() -> Result<(), Fault> {
    let stage = Stage::set_with(|builder, _| {
        // A format that the demo key has, too.
        let any = tollgate::KeyFormat::new("acme_", tollgate::key::Length::between(1, 64));
        builder.format(any.unwrap().with_alphabet("visible".parse().unwrap()))
    })?;
    let demo = Account::new("dan", "demo").into();
    let hash = stage.gate.hasher().hash(b"acme_demo");
    stage.store.put_key(KeyRecord::new(KeyId::from_bytes([1; 16]), hash, demo));
    let (kept, leaked) = (stage.issue("ada").await?, stage.issue("ada").await?);
    let (overlapping, over) = (stage.issue("ada").await?, stage.issue("ada").await?);
    stage.manager.rotate(overlapping.key.id, 2 * DAY).await?;
    let renewed = stage.manager.rotate(over.key.id, DAY).await?;
    stage.clock.advance(DAY);
    stage.audit.take();
    let (kept, renewed) = (kept.secret.expose_secret(), renewed.secret.expose_secret());
    let (secret, overlaps, outlived) =
        (leaked.secret.expose_secret(), overlapping.secret.expose_secret(), over.secret.expose_secret());
    let table: [(&str, _, _); 8] = [
        (secret, Some(leaked.key.id), vec![Action::Leaked]),
        (secret, Some(leaked.key.id), vec![]),
        (overlaps, Some(overlapping.key.id), vec![Action::Leaked]),
        (outlived, None, vec![]),
        ("acme_demo", None, vec![]),
        (SECRET, None, vec![]),
        ("", None, vec![]),
        ("no key at all", None, vec![]),
    ];
    for (reported, found, told) in table {
        assert_eq!(stage.manager.report_leak(reported).await?, found, "{reported}");
        assert_eq!(stage.audit.actions(), told, "{reported}");
    }
    let bob = stage.manager.clone().for_account("bob");
    assert_eq!(bob.report_leak(kept).await?, None);
    for good in [kept, renewed, "acme_demo"] {
        assert_eq!(stage.refusal(good).await, None);
    }
    assert_eq!(stage.refusal(secret).await, Some(DenialKind::Revoked));
    Ok(())
}

#[tokio::test]
async fn list_shows_each_key_once_and_filters() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let mut all = BTreeSet::new();
    for n in 0..25_u8 {
        let mut key = tollgate::NewKey::new("ada", format!("key {n}"));
        key.environment = Some(if n < 5 { "test".into() } else { "live".into() });
        let id = stage.manager.issue(key).await?.key.id;
        all.insert(id);
        match n {
            5..10 => drop(stage.manager.pause(id).await?),
            10..15 => drop(stage.manager.revoke(id).await?),
            _ => {}
        }
    }
    let of_bob = stage.issue("bob").await?.key.id;
    let asked = |change: fn(&mut ListKeys)| {
        let mut asked = ListKeys::default();
        change(&mut asked);
        asked
    };
    let table = [
        (asked(|_| ()), 26),
        (asked(|asked| asked.account = Some("ada".into())), 25),
        (asked(|asked| asked.status = Some(KeyStatus::Active)), 16),
        (asked(|asked| asked.status = Some(KeyStatus::Paused)), 5),
        (asked(|asked| asked.status = Some(KeyStatus::Revoked)), 5),
        (asked(|asked| asked.environment = Some("test".into())), 5),
        (asked(|asked| asked.account = Some("eve".into())), 0),
    ];
    for (mut asked, count) in table {
        for limit in [1, 7, 25, 26, 1_000] {
            (asked.limit, asked.cursor) = (limit, None);
            let mut seen = Vec::new();
            loop {
                let page = stage.manager.list(&asked).await?;
                assert!(page.keys.len() <= limit);
                seen.extend(page.keys.iter().map(|key| key.id));
                asked.cursor = page.next;
                if asked.cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen.len(), count, "{asked:?}");
            assert!(seen.is_sorted() && seen.iter().all(|id| all.contains(id) || *id == of_bob));
        }
    }
    for limit in [0, 1_001] {
        let mut asked = ListKeys::default();
        asked.limit = limit;
        assert!(stage.manager.list(&asked).await.unwrap_err().to_string().contains("`limit`"));
    }
    Ok(())
}
