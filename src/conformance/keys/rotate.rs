//! Checks of rotated keys. The new and the previous secret are valid; older secrets are not.

use std::time::Duration;

use super::{Store, change, key, put};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Verdict, same};
use crate::key::{KeyHash, KeyRecord, PreviousSecret};
use crate::store::Replaced;

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_rotated_key_is_found_by_both_secrets,
        a_retired_secret_finds_nothing,
        a_secret_of_two_rotations_ago_finds_nothing,
        a_change_to_a_hash_that_is_retiring_elsewhere_is_refused,
        a_key_that_is_put_in_with_two_secrets_is_found_by_both,
    ]
}

/// Gives a key a new secret, and returns its hash.
async fn rotate(store: &Store, record: &KeyRecord) -> Result<KeyHash, crate::conformance::suite::Fault> {
    let hash = fresh::hash();
    change(store, record.id, |record| {
        let until = fresh::now().saturating_add(Duration::from_hours(1));
        record.retiring = Some(PreviousSecret { hash: record.hash, until });
        record.hash = hash;
    })
    .await?;
    Ok(hash)
}

async fn a_rotated_key_is_found_by_both_secrets(store: Store) -> Verdict {
    let record = key(&store).await?;
    let new = rotate(&store, &record).await?;
    for (which, hash) in [("the new secret", new), ("the old one", record.hash)] {
        let found = store.find(&hash).await?;
        let hashes = found.map(|found| (found.id, found.hash, found.retiring.map(|old| old.hash)));
        same(which, hashes, Some((record.id, new, Some(record.hash))))?;
    }
    Ok(())
}

async fn a_retired_secret_finds_nothing(store: Store) -> Verdict {
    let record = key(&store).await?;
    let new = rotate(&store, &record).await?;
    store.find(&record.hash).await?;
    change(&store, record.id, |record| record.retiring = None).await?;
    same("the secret that retired", store.find(&record.hash).await?, None)?;
    same("the one in force", store.find(&new).await?.map(|found| found.id), Some(record.id))
}

async fn a_secret_of_two_rotations_ago_finds_nothing(store: Store) -> Verdict {
    let record = key(&store).await?;
    store.find(&record.hash).await?;
    let second = rotate(&store, &record).await?;
    let third = rotate(&store, &record).await?;
    same("the first secret", store.find(&record.hash).await?, None)?;
    for hash in [second, third] {
        same("a later secret", store.find(&hash).await?.map(|found| found.id), Some(record.id))?;
    }
    Ok(())
}

async fn a_change_to_a_hash_that_is_retiring_elsewhere_is_refused(store: Store) -> Verdict {
    let (one, mut other) = (key(&store).await?, key(&store).await?);
    rotate(&store, &one).await?;
    other.hash = one.hash;
    same("a change to a hash that is retiring", store.replace(&other).await?, Replaced::Taken)?;
    same("the key of the hash", store.find(&one.hash).await?.map(|found| found.id), Some(one.id))
}

async fn a_key_that_is_put_in_with_two_secrets_is_found_by_both(store: Store) -> Verdict {
    let mut record = fresh::key(&super::account(&store).await?);
    let old =
        PreviousSecret { hash: fresh::hash(), until: fresh::now().saturating_add(Duration::from_hours(1)) };
    record.retiring = Some(old);
    let record = put(&store, record).await?;
    for hash in [record.hash, old.hash] {
        same("the key", store.find(&hash).await?.as_deref(), Some(&record))?;
    }
    Ok(())
}
