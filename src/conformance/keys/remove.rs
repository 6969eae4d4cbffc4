//! Checks of permanent removal: of one key, or of all dead keys.

use std::sync::Arc;
use std::time::Duration;

use super::{Store, account, insert, key, put, stored};
use crate::clock::Timestamp;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::key::{KeyRecord, KeyStatus, PreviousSecret};
use crate::store::{Inserted, KeyQuery};

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        an_erased_key_is_gone,
        an_erased_key_leaves_its_place,
        an_erased_key_takes_no_other_with_it,
        a_key_is_erased_once,
        a_sweep_removes_what_is_dead,
        a_sweep_says_how_many_it_removed,
        a_sweep_keeps_what_is_alive,
        a_sweep_keeps_what_died_at_the_moment_or_later,
        a_sweep_before_all_time_removes_nothing,
    ]
}

async fn an_erased_key_is_gone(store: Store) -> Verdict {
    let mut record = fresh::key(&account(&store).await?);
    let old =
        PreviousSecret { hash: fresh::hash(), until: fresh::now().saturating_add(Duration::from_hours(1)) };
    record.retiring = Some(old);
    let record = put(&store, record).await?;
    store.find(&record.hash).await?;
    same("that it was there", store.erase(record.id).await?, true)?;
    same("that it was there again", store.erase(record.id).await?, false)?;
    is_gone(&store, &record).await?;
    same("what its old secret finds", store.find(&old.hash).await?, None)
}

async fn is_gone(store: &Store, record: &KeyRecord) -> Verdict {
    same("what its id gets", store.get(record.id).await?, None)?;
    same("what its hash finds", store.find(&record.hash).await?, None)?;
    let query = KeyQuery { account: Some(record.account.id.clone()), ..KeyQuery::first(99) };
    let listed = store.list(&query).await?;
    holds("it is not listed", listed.iter().all(|listed| listed.id != record.id))
}

async fn an_erased_key_leaves_its_place(store: Store) -> Verdict {
    let record = key(&store).await?;
    same("that it was there", store.erase(record.id).await?, true)?;
    same("room for one", insert(&store, &fresh::key(&record.account), Some(1)).await?, Inserted::Done)?;
    // The id and the hash of the key can also be used again.
    same("the same key again", insert(&store, &record, None).await?, Inserted::Done)
}

async fn an_erased_key_takes_no_other_with_it(store: Store) -> Verdict {
    let record = key(&store).await?;
    let other = put(&store, fresh::key(&record.account)).await?;
    same("that it was there", store.erase(record.id).await?, true)?;
    same("another key of the account", stored(&store, other.id).await?, other)
}

async fn a_key_is_erased_once(store: Store) -> Verdict {
    let record = key(&store).await?;
    let erase = || {
        let (store, id) = (Arc::clone(&store), record.id);
        move || store.erase(id)
    };
    let answers = race((0..RACERS).map(|_| erase())).await?;
    same("how often it was there", answers.into_iter().filter(|was_there| *was_there).count(), 1)
}

/// Returns a time so long ago that a sweep up to it removes only the keys of these checks.
fn long_ago() -> Timestamp {
    Timestamp::from_millis(86_400_000)
}

fn later(millis: u64) -> Timestamp {
    long_ago().saturating_add(Duration::from_millis(millis))
}

/// Inserts a key that was revoked and a key that expired.
async fn two_that_died(store: &Store, at: Timestamp) -> Result<[KeyRecord; 2], Fault> {
    let account = account(store).await?;
    let (mut revoked, mut expired) = (fresh::key(&account), fresh::key(&account));
    (revoked.status, revoked.revoked_at) = (KeyStatus::Revoked, Some(at));
    expired.expires_at = Some(at);
    Ok([put(store, revoked).await?, put(store, expired).await?])
}

async fn a_sweep_removes_what_is_dead(store: Store) -> Verdict {
    let dead = two_that_died(&store, long_ago()).await?;
    store.sweep(later(1)).await?;
    for record in &dead {
        is_gone(&store, record).await?;
    }
    Ok(())
}

async fn a_sweep_says_how_many_it_removed(store: Store) -> Verdict {
    let mut swept = Vec::new();
    for _ in 0..5 {
        two_that_died(&store, long_ago()).await?;
        swept.push(store.sweep(later(1)).await?);
        if swept.last().is_some_and(|swept| *swept >= 2) {
            return Ok(());
        }
        // Another suite on the same store may have swept in between, so try again.
    }
    Err(Fault::new(format!("two keys had ended at each sweep; the sweeps returned {swept:?}")))
}

async fn a_sweep_keeps_what_is_alive(store: Store) -> Verdict {
    let account = account(&store).await?;
    let (mut paused, mut old, mut ending) =
        (fresh::key(&account), fresh::key(&account), fresh::key(&account));
    paused.status = KeyStatus::Paused;
    (old.created_at, old.last_used_at) = (Some(long_ago()), Some(long_ago()));
    ending.expires_at = Some(fresh::now());
    let kept = [put(&store, paused).await?, put(&store, old).await?, put(&store, ending).await?];
    store.sweep(later(1)).await?;
    for record in kept {
        same("a key that is alive", stored(&store, record.id).await?, record)?;
    }
    Ok(())
}

async fn a_sweep_keeps_what_died_at_the_moment_or_later(store: Store) -> Verdict {
    // These times are later than those of the other sweeps.
    let moments = [later(10), later(11)];
    for moment in moments {
        let dead = two_that_died(&store, moment).await?;
        store.sweep(later(10)).await?;
        for record in dead {
            same("a key that died too late", stored(&store, record.id).await?, record.clone())?;
            same("that it was there", store.erase(record.id).await?, true)?;
        }
    }
    Ok(())
}

async fn a_sweep_before_all_time_removes_nothing(store: Store) -> Verdict {
    let dead = two_that_died(&store, later(20)).await?;
    same("how many", store.sweep(Timestamp::from_millis(0)).await?, 0)?;
    for record in dead {
        same("a key that died later", stored(&store, record.id).await?.id, record.id)?;
        store.erase(record.id).await?;
    }
    Ok(())
}
