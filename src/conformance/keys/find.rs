//! Checks of key look-ups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Store, account, change, key, put};
use crate::account::{ParamLimit, QuotaPolicy, QuotaRef};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::key::{KeyHash, KeyRecord, KeyStatus, PreviousSecret};
use crate::store::KeyStore;

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_hash_that_nobody_has_is_absent,
        a_key_is_found_by_its_hash,
        all_bytes_of_a_hash_are_compared,
        a_record_comes_back_as_it_was_put_in,
        no_restriction_and_an_empty_list_are_two_things,
        names_come_back_to_the_letter,
        a_paused_key_is_found,
        a_revoked_key_is_found,
        an_expired_key_is_found,
        times_come_back_to_the_millisecond,
        what_is_found_now_is_what_there_is,
        a_record_at_hand_is_the_one_that_is_found,
    ]
}

pub(super) async fn every(store: Arc<dyn KeyStore>, records: Vec<KeyRecord>) -> Verdict {
    holds("there is a key to look for", !records.is_empty())?;
    for record in &records {
        for hash in [Some(record.hash), record.retiring.map(|old| old.hash)].into_iter().flatten() {
            let found = store.find(&hash).await?.map(|found| found.id);
            same("the key that is found by this hash", found, Some(record.id))?;
        }
    }
    same("a hash that nobody has", store.find(&fresh::hash()).await?, None)
}

pub(super) async fn near_misses(store: Arc<dyn KeyStore>, records: Vec<KeyRecord>) -> Verdict {
    for record in &records {
        for place in 0..32 {
            let mut near = *record.hash.as_bytes();
            near[place] ^= 1;
            let found = store.find(&KeyHash::from_bytes(near)).await?;
            same("a hash that differs in one bit", found, None)?;
        }
    }
    Ok(())
}

async fn a_hash_that_nobody_has_is_absent(store: Store) -> Verdict {
    let _another = key(&store).await?;
    same("a hash that nobody has", store.find(&fresh::hash()).await?, None)
}

async fn a_key_is_found_by_its_hash(store: Store) -> Verdict {
    let (one, other) = (key(&store).await?, key(&store).await?);
    same("the key of the one hash", found(&store, &one.hash).await?.id, one.id)?;
    same("the key of the other", found(&store, &other.hash).await?.id, other.id)
}

async fn all_bytes_of_a_hash_are_compared(store: Store) -> Verdict {
    let record = key(&store).await?;
    near_misses(store, vec![record]).await
}

async fn a_record_comes_back_as_it_was_put_in(store: Store) -> Verdict {
    let record = put(&store, full(&store).await?).await?;
    same("the record that is found", found(&store, &record.hash).await?, record.clone())?;
    same("the record that is got", super::stored(&store, record.id).await?, record)
}

/// Stores a record with a value in every member.
async fn full(store: &Store) -> Result<KeyRecord, Fault> {
    let (mut record, now) = (fresh::key(&account(store).await?), fresh::now());
    let wrong = |error: crate::error::ConfigError| Fault::new(error.to_string());
    record.retiring =
        Some(PreviousSecret { hash: fresh::hash(), until: now.saturating_add(Duration::from_hours(1)) });
    record.version = 7;
    record.start = "acme_live_0123".into();
    record.name = "My Trading Bot".into();
    record.environment = "test".into();
    record.created_at = Some(now);
    record.expires_at = Some(now.saturating_add(Duration::from_hours(720)));
    record.last_used_at = Some(now);
    record.scopes = Some(vec!["quotes:read".into(), "orders".into()]);
    record.paths = Some(vec!["/v1/candles/*".parse().map_err(wrong)?, "/v1/trades".parse().map_err(wrong)?]);
    let networks = ["192.0.2.0/24", "2001:db8::/32"].iter().filter_map(|network| network.parse().ok());
    record.allowlist = Some(networks.collect());
    let daily = QuotaPolicy::new(1_000, Duration::from_hours(24)).map_err(wrong)?;
    record.quotas = Some(vec![
        QuotaRef::Policy(daily.with_name("daily").map_err(wrong)?),
        "bulk".parse().map_err(wrong)?,
    ]);
    record.caps = Some(
        [("limit".to_owned(), ParamLimit::AtMost(3)), ("cursor".to_owned(), ParamLimit::Forbidden)].into(),
    );
    record.metadata = BTreeMap::from([("team".to_owned(), "desk 7".to_owned())]);
    Ok(record)
}

async fn no_restriction_and_an_empty_list_are_two_things(store: Store) -> Verdict {
    let account = account(&store).await?;
    let open = put(&store, fresh::key(&account)).await?;
    let mut closed = fresh::key(&account);
    closed.scopes = Some(Vec::new());
    closed.paths = Some(Vec::new());
    closed.allowlist = Some(Vec::new());
    closed.quotas = Some(Vec::new());
    closed.caps = Some(crate::account::ParamLimits::default());
    let closed = put(&store, closed).await?;
    same("a record without restrictions", found(&store, &open.hash).await?, open)?;
    same("a record with empty lists", found(&store, &closed.hash).await?, closed)
}

async fn names_come_back_to_the_letter(store: Store) -> Verdict {
    let mut record = fresh::key(&account(&store).await?);
    let odd = "O'Neil \"\\ %_; -- \u{1F511} \u{e9}e\u{301} \t\n {}[]: ";
    record.name = odd.into();
    record.metadata = BTreeMap::from([(odd.to_owned(), odd.to_owned()), (String::new(), String::new())]);
    let record = put(&store, record).await?;
    same("a record with odd names", found(&store, &record.hash).await?, record)
}

async fn a_paused_key_is_found(store: Store) -> Verdict {
    let record = key(&store).await?;
    change(&store, record.id, |record| record.status = KeyStatus::Paused).await?;
    same("its status", found(&store, &record.hash).await?.status, KeyStatus::Paused)
}

async fn a_revoked_key_is_found(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    change(&store, record.id, |record| {
        record.status = KeyStatus::Revoked;
        record.revoked_at = Some(now);
    })
    .await?;
    let found = found(&store, &record.hash).await?;
    same("its status, and since when", (found.status, found.revoked_at), (KeyStatus::Revoked, Some(now)))
}

async fn an_expired_key_is_found(store: Store) -> Verdict {
    let (mut record, now) = (fresh::key(&account(&store).await?), fresh::now());
    record.expires_at = Some(now);
    let record = put(&store, record).await?;
    same("its end", found(&store, &record.hash).await?.expires_at, Some(now))
}

async fn times_come_back_to_the_millisecond(store: Store) -> Verdict {
    for millis in [-1, 0, 1_777_550_400_001, 253_402_300_799_999] {
        let mut record = fresh::key(&account(&store).await?);
        record.created_at = Some(crate::clock::Timestamp::from_millis(millis));
        let record = put(&store, record).await?;
        same("when it was made", found(&store, &record.hash).await?.created_at, record.created_at)?;
    }
    Ok(())
}

async fn what_is_found_now_is_what_there_is(store: Store) -> Verdict {
    let (mut record, until) = (fresh::key(&account(&store).await?), fresh::now());
    let old = fresh::hash();
    record.retiring =
        Some(PreviousSecret { hash: old, until: until.saturating_add(Duration::from_hours(1)) });
    for hash in [record.hash, old] {
        // An earlier look-up may fill a cache, even with the result that there is no key.
        same("before it is put in", (store.find(&hash).await?, store.find_now(&hash).await?), (None, None))?;
    }
    let record = put(&store, record).await?;
    for hash in [record.hash, old] {
        let now = store.find_now(&hash).await?;
        same("once it is put in", now.as_deref(), Some(&record))?;
        same("as it is found in passing", store.find(&hash).await?, now)?;
    }
    change(&store, record.id, |record| record.retiring = None).await?;
    let now = store.find_now(&record.hash).await?;
    same("its version, once it is changed", now.map(|record| record.version), Some(record.version + 1))?;
    same("by a secret that it has no more", store.find_now(&old).await?, None)?;
    store.erase(record.id).await?;
    same("once it is erased", store.find_now(&record.hash).await?, None)
}

async fn a_record_at_hand_is_the_one_that_is_found(store: Store) -> Verdict {
    let record = key(&store).await?;
    same("a hash that nobody has", store.find_cached(&fresh::hash()), None)?;
    for status in [KeyStatus::Active, KeyStatus::Paused] {
        change(&store, record.id, |record| record.status = status).await?;
        let found = store.find(&record.hash).await?;
        // A store need not have a record at hand.
        let at_hand = store.find_cached(&record.hash).or_else(|| found.clone());
        same("the record at hand", at_hand, found)?;
    }
    store.erase(record.id).await?;
    same("once it is erased", store.find_cached(&record.hash), None)
}

async fn found(store: &Store, hash: &KeyHash) -> Result<KeyRecord, Fault> {
    let record = store.find(hash).await?.ok_or_else(|| Fault::new("a key that was put in is not found"))?;
    Ok(KeyRecord::clone(&record))
}
