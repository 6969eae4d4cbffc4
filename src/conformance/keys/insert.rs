//! Checks of inserting keys.

use std::sync::Arc;
use std::time::Duration;

use super::{Store, account, change_account, insert, key, put, stored};
use crate::account::AccountStatus;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Verdict, same};
use crate::key::{KeyRecord, KeyStatus, PreviousSecret};
use crate::store::{InsertKey, Inserted, KeyQuery};

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_key_of_a_taken_id_is_refused,
        a_key_of_a_taken_hash_is_refused,
        a_key_whose_hash_is_retiring_elsewhere_is_refused,
        a_key_whose_retiring_hash_is_taken_is_refused,
        a_key_of_no_account_is_refused,
        a_refused_key_leaves_nothing,
        the_account_is_taken_as_the_store_has_it,
        a_full_account_takes_no_more,
        a_cap_of_none_takes_nothing,
        without_a_cap_there_is_always_room,
        a_revoked_key_leaves_its_place,
        an_expired_key_leaves_its_place,
        a_paused_key_keeps_its_place,
        keys_of_another_account_take_no_place,
        racing_keys_get_the_places_that_there_are,
        racing_keys_of_one_hash_are_put_in_once,
        racing_keys_of_one_id_are_put_in_once,
    ]
}

async fn a_key_of_a_taken_id_is_refused(store: Store) -> Verdict {
    let there = key(&store).await?;
    let mut other = fresh::key(&there.account);
    other.id = there.id;
    same("the same id again", insert(&store, &other, None).await?, Inserted::Taken)?;
    same("the key that was there", stored(&store, there.id).await?, there)
}

async fn a_key_of_a_taken_hash_is_refused(store: Store) -> Verdict {
    let there = key(&store).await?;
    let mut other = fresh::key(&account(&store).await?);
    other.hash = there.hash;
    same("the same hash again", insert(&store, &other, None).await?, Inserted::Taken)?;
    same("the key of the hash", store.find(&there.hash).await?.map(|found| found.id), Some(there.id))
}

async fn a_key_whose_hash_is_retiring_elsewhere_is_refused(store: Store) -> Verdict {
    let there = put(&store, retiring(fresh::key(&account(&store).await?))).await?;
    let mut other = fresh::key(&there.account);
    other.hash = there.retiring.map_or(other.hash, |old| old.hash);
    same("a hash that is retiring", insert(&store, &other, None).await?, Inserted::Taken)
}

async fn a_key_whose_retiring_hash_is_taken_is_refused(store: Store) -> Verdict {
    let there = key(&store).await?;
    let mut other = retiring(fresh::key(&there.account));
    other.retiring = other.retiring.map(|old| PreviousSecret { hash: there.hash, ..old });
    same("a hash that is another's", insert(&store, &other, None).await?, Inserted::Taken)?;
    same("the key of the hash", store.find(&there.hash).await?.map(|found| found.id), Some(there.id))
}

fn retiring(mut record: KeyRecord) -> KeyRecord {
    let until = fresh::now().saturating_add(Duration::from_hours(1));
    record.retiring = Some(PreviousSecret { hash: fresh::hash(), until });
    record
}

async fn a_key_of_no_account_is_refused(store: Store) -> Verdict {
    let record = fresh::key(&Arc::new(fresh::account()));
    same("a key of an unknown account", insert(&store, &record, None).await?, Inserted::NoAccount)?;
    same("the account", store.account_of(&record.account.id).await?, None)
}

async fn a_refused_key_leaves_nothing(store: Store) -> Verdict {
    let there = key(&store).await?;
    let unknown = fresh::key(&Arc::new(fresh::account()));
    let full = fresh::key(&there.account);
    let mut taken = retiring(fresh::key(&there.account));
    taken.hash = there.hash;
    same("an unknown account", insert(&store, &unknown, None).await?, Inserted::NoAccount)?;
    same("a full account", insert(&store, &full, Some(1)).await?, Inserted::Full)?;
    same("a taken hash", insert(&store, &taken, None).await?, Inserted::Taken)?;
    let hash = taken.retiring.map_or(taken.hash, |old| old.hash);
    for (id, hash) in [(unknown.id, unknown.hash), (full.id, full.hash), (taken.id, hash)] {
        same("a refused key", (store.get(id).await?, store.find(&hash).await?), (None, None))?;
    }
    Ok(())
}

async fn the_account_is_taken_as_the_store_has_it(store: Store) -> Verdict {
    let before = account(&store).await?;
    change_account(&store, &before, |account| account.status = AccountStatus::Suspended).await?;
    let record = put(&store, fresh::key(&before)).await?;
    let found = store.find(&record.hash).await?.map(|found| found.account.status);
    same("the status of its account", found, Some(AccountStatus::Suspended))
}

async fn a_full_account_takes_no_more(store: Store) -> Verdict {
    let account = account(&store).await?;
    for (held, expected) in [(0, Inserted::Done), (1, Inserted::Done), (2, Inserted::Full)] {
        let inserted = insert(&store, &fresh::key(&account), Some(2)).await?;
        same(&format!("room for two, {held} held"), inserted, expected)?;
    }
    Ok(())
}

async fn a_cap_of_none_takes_nothing(store: Store) -> Verdict {
    let record = fresh::key(&account(&store).await?);
    same("room for no key", insert(&store, &record, Some(0)).await?, Inserted::Full)
}

async fn without_a_cap_there_is_always_room(store: Store) -> Verdict {
    let account = account(&store).await?;
    for _ in 0..20 {
        put(&store, fresh::key(&account)).await?;
    }
    Ok(())
}

async fn a_revoked_key_leaves_its_place(store: Store) -> Verdict {
    let mut revoked = fresh::key(&account(&store).await?);
    revoked.status = KeyStatus::Revoked;
    revoked.revoked_at = Some(fresh::now());
    let revoked = put(&store, revoked).await?;
    same("room for one", insert(&store, &fresh::key(&revoked.account), Some(1)).await?, Inserted::Done)
}

async fn an_expired_key_leaves_its_place(store: Store) -> Verdict {
    let (mut short, now) = (fresh::key(&account(&store).await?), fresh::now());
    short.expires_at = Some(now.saturating_add(Duration::from_mins(1)));
    let short = put(&store, short).await?;
    let at = |after: Duration| {
        let insert = InsertKey::new(fresh::key(&short.account), now.saturating_add(after));
        store.insert(&insert.with_max_active(Some(1)))
    };
    same("a millisecond before its end", at(Duration::from_millis(59_999)).await?, Inserted::Full)?;
    same("at its end", at(Duration::from_mins(1)).await?, Inserted::Done)
}

async fn a_paused_key_keeps_its_place(store: Store) -> Verdict {
    let mut paused = fresh::key(&account(&store).await?);
    paused.status = KeyStatus::Paused;
    let paused = put(&store, paused).await?;
    same("room for one", insert(&store, &fresh::key(&paused.account), Some(1)).await?, Inserted::Full)
}

async fn keys_of_another_account_take_no_place(store: Store) -> Verdict {
    let (_other, account) = (key(&store).await?, account(&store).await?);
    same("room for one", insert(&store, &fresh::key(&account), Some(1)).await?, Inserted::Done)
}

async fn racing_keys_get_the_places_that_there_are(store: Store) -> Verdict {
    let account = account(&store).await?;
    let records = (0..RACERS).map(|_| fresh::key(&account));
    let answers = race(records.map(|record| inserting(&store, record, Some(5)))).await?;
    same("how many of 16 were put in, with room for 5", count(&answers, Inserted::Done), 5)?;
    same("how many were refused", count(&answers, Inserted::Full), RACERS - 5)?;
    let listed = store.list(&KeyQuery { account: Some(account.id.clone()), ..KeyQuery::first(99) }).await?;
    same("how many the account holds", listed.len(), 5)
}

async fn racing_keys_of_one_hash_are_put_in_once(store: Store) -> Verdict {
    let (account, hash) = (account(&store).await?, fresh::hash());
    let records = (0..RACERS).map(|_| KeyRecord { hash, ..fresh::key(&account) });
    let answers = race(records.map(|record| inserting(&store, record, None))).await?;
    same("how many were put in", count(&answers, Inserted::Done), 1)?;
    same("how many were refused", count(&answers, Inserted::Taken), RACERS - 1)
}

async fn racing_keys_of_one_id_are_put_in_once(store: Store) -> Verdict {
    let (account, id) = (account(&store).await?, crate::key::KeyId::generate());
    let records = (0..RACERS).map(|_| KeyRecord { id, ..fresh::key(&account) });
    let answers = race(records.map(|record| inserting(&store, record, None))).await?;
    same("how many were put in", count(&answers, Inserted::Done), 1)?;
    same("how many were refused", count(&answers, Inserted::Taken), RACERS - 1)
}

fn inserting(
    store: &Store,
    record: KeyRecord,
    max_active: Option<u32>,
) -> impl FnOnce() -> crate::future::StoreFuture<Inserted> + Send + use<> {
    let store = Arc::clone(store);
    move || insert(&store, &record, max_active)
}

fn count(answers: &[Inserted], which: Inserted) -> usize {
    answers.iter().filter(|answer| **answer == which).count()
}
