//! Checks of changes to keys. A change applies only to the version that was read.

use std::sync::Arc;
use std::time::Duration;

use super::{Store, account, change, change_account, key, put, stored};
use crate::account::AccountStatus;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::key::KeyStatus;
use crate::store::Replaced;

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        an_unknown_id_gets_nothing,
        a_change_is_seen_at_once,
        a_change_counts_the_version_up_by_one,
        a_change_to_an_older_version_is_stale,
        a_change_to_a_later_version_is_stale,
        a_change_to_no_key_is_told,
        a_change_to_another_keys_hash_is_refused,
        racing_changes_to_one_version_are_made_once,
        a_change_to_a_key_leaves_its_account,
        a_change_to_a_key_leaves_later_uses,
        a_revocation_is_seen_by_every_look_up_that_follows,
        the_write_side_is_offered,
    ]
}

async fn an_unknown_id_gets_nothing(store: Store) -> Verdict {
    let _another = key(&store).await?;
    same("an unknown id", store.get(crate::key::KeyId::generate()).await?, None)
}

async fn a_change_is_seen_at_once(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    // An earlier look-up may fill a cache.
    store.find(&record.hash).await?;
    change(&store, record.id, |record| {
        record.name = "renamed".into();
        record.scopes = Some(vec!["quotes:read".into()]);
        record.expires_at = Some(now.saturating_add(Duration::from_hours(1)));
    })
    .await?;
    let got = stored(&store, record.id).await?;
    same("the name that is got", got.name.as_str(), "renamed")?;
    same("the scopes that are got", got.scopes.as_ref().map(Vec::len), Some(1))?;
    same("what is found", store.find(&record.hash).await?.as_deref(), Some(&got))
}

async fn a_change_counts_the_version_up_by_one(store: Store) -> Verdict {
    let mut record = fresh::key(&account(&store).await?);
    record.version = 7;
    let record = put(&store, record).await?;
    for version in 8..11 {
        change(&store, record.id, |record| record.name.push('x')).await?;
        same("the version", stored(&store, record.id).await?.version, version)?;
    }
    Ok(())
}

async fn a_change_to_an_older_version_is_stale(store: Store) -> Verdict {
    let mut read = key(&store).await?;
    change(&store, read.id, |record| record.status = KeyStatus::Revoked).await?;
    let there = stored(&store, read.id).await?;
    read.name = "late".into();
    same("a change to what was read before", store.replace(&read).await?, Replaced::Stale)?;
    same("the key", stored(&store, read.id).await?, there)
}

async fn a_change_to_a_later_version_is_stale(store: Store) -> Verdict {
    let there = key(&store).await?;
    let mut ahead = there.clone();
    ahead.version += 1;
    same("a change to what nobody has read", store.replace(&ahead).await?, Replaced::Stale)?;
    same("the key", stored(&store, there.id).await?, there)
}

async fn a_change_to_no_key_is_told(store: Store) -> Verdict {
    let record = fresh::key(&account(&store).await?);
    same("a change to no key", store.replace(&record).await?, Replaced::Gone)?;
    same("the key", (store.get(record.id).await?, store.find(&record.hash).await?), (None, None))
}

async fn a_change_to_another_keys_hash_is_refused(store: Store) -> Verdict {
    let (one, other) = (key(&store).await?, key(&store).await?);
    let mut changed = one.clone();
    changed.hash = other.hash;
    same("a change to another's hash", store.replace(&changed).await?, Replaced::Taken)?;
    same("the key", stored(&store, one.id).await?, one)?;
    same("the key of the hash", store.find(&other.hash).await?.map(|found| found.id), Some(other.id))
}

async fn racing_changes_to_one_version_are_made_once(store: Store) -> Verdict {
    let record = key(&store).await?;
    let changes = (0..RACERS).map(|racer| {
        let (store, mut record) = (Arc::clone(&store), record.clone());
        record.name = format!("racer {racer}");
        move || store.replace(&record)
    });
    let answers = race(changes).await?;
    let made: Vec<usize> = (0..RACERS).filter(|racer| answers[*racer] == Replaced::Done).collect();
    let stale = answers.iter().filter(|answer| **answer == Replaced::Stale).count();
    same("how many were made, and how many were stale", (made.len(), stale), (1, RACERS - 1))?;
    let there = stored(&store, record.id).await?;
    same("the version", there.version, record.version + 1)?;
    same("whose change it was", there.name, format!("racer {}", made[0]))
}

async fn a_change_to_a_key_leaves_its_account(store: Store) -> Verdict {
    let record = key(&store).await?;
    change_account(&store, &record.account, |account| account.status = AccountStatus::Suspended).await?;
    let mut renamed = record.clone();
    renamed.name = "renamed".into();
    same("a change with an old account", store.replace(&renamed).await?, Replaced::Done)?;
    let found = store.find(&record.hash).await?.map(|found| found.account.status);
    same("the status of its account", found, Some(AccountStatus::Suspended))
}

async fn a_change_to_a_key_leaves_later_uses(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    store.touch(&[(record.id, now)]).await?;
    let mut renamed = record.clone();
    renamed.name = "renamed".into();
    same("a change to what was read before a use", store.replace(&renamed).await?, Replaced::Done)?;
    same("when it was used", stored(&store, record.id).await?.last_used_at, Some(now))
}

async fn a_revocation_is_seen_by_every_look_up_that_follows(store: Store) -> Verdict {
    let record = key(&store).await?;
    let find = |hash| {
        let store = Arc::clone(&store);
        move || store.find(&hash)
    };
    // A look-up that runs during the revocation may return either state. A later look-up must return the revoked key.
    let mut revoked = record.clone();
    revoked.status = KeyStatus::Revoked;
    let revoke = {
        let store = Arc::clone(&store);
        move || store.replace(&revoked)
    };
    let (_before, replaced) =
        tokio::join!(race((0..RACERS).map(|_| find(record.hash)).collect::<Vec<_>>()), race([revoke]));
    same("the revocation", replaced?, vec![Replaced::Done])?;
    let after = race((0..RACERS).map(|_| find(record.hash)).collect::<Vec<_>>()).await?;
    let is_revoked = |found: &Option<Arc<crate::key::KeyRecord>>| {
        found.as_ref().is_some_and(|found| found.status == KeyStatus::Revoked)
    };
    let later = store.find(&record.hash).await?;
    holds("all that follow find it revoked", after.iter().chain([&later]).all(is_revoked))
}

async fn the_write_side_is_offered(store: Store) -> Verdict {
    let mut record = key(&store).await?;
    // An earlier look-up may fill a cache.
    store.find(&record.hash).await?;
    let admin = Arc::clone(&store).admin();
    let admin = admin.ok_or_else(|| Fault::new("`KeyStore::admin` returns no write side"))?;
    record.status = KeyStatus::Paused;
    same("a change through the write side", admin.replace(&record).await?, Replaced::Done)?;
    let found = store.find(&record.hash).await?.map(|found| found.status);
    same("the status that is found", found, Some(KeyStatus::Paused))
}
