//! Usage in a database: beside an erasure, at the largest numbers, and the ids of old batches.
#![cfg(all(feature = "memory", feature = "fleet"))]

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tollgate::clock::Timestamp;
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{
    BATCH_IDS_KEPT, BatchId, SqlUsage, TopOrder, TopQuery, UsageBatch, UsageCounts, UsageFilter, UsageQuery,
    UsageRange, UsageRetention, UsageRow, UsageStep, UsageStore, Written,
};
use tollgate::{Credits, KeyId};

use crate::database::{Place, both};

both!(largest_units_of_two_keys_are_read, largest_units_of_one_key_are_added, ids_of_old_batches_are_removed);

const NOON: &str = "2026-04-30T12:00:00Z";

fn batch(number: u64, key: u8, minute: u64, units: u64) -> UsageBatch {
    let time = NOON.parse::<Timestamp>().unwrap().saturating_add(Duration::from_mins(minute));
    let mut counts = UsageCounts::of_request(time, 1);
    counts.units = units;
    let key = Some((KeyId::from_bytes([key; 16]), "ada".into()));
    let row = UsageRow::new(key, "GET /one", DecisionOutcome::Admitted, time, counts);
    UsageBatch::new(BatchId { node: [7; 16], number }, vec![row])
}

fn range(step: UsageStep) -> UsageRange {
    let noon: Timestamp = NOON.parse().unwrap();
    UsageRange::new(step, noon, noon.saturating_add(Duration::from_hours(1))).unwrap()
}

async fn requests(usage: &SqlUsage, step: UsageStep) -> u64 {
    let parts = usage.read(&UsageQuery::new(UsageFilter::account("ada"), range(step))).await.unwrap();
    parts.iter().map(|part| part.counts.requests).sum()
}

/// Each key has the largest number of units that a row may have.
async fn largest_units_of_two_keys_are_read(place: Place) {
    let usage = SqlUsage::new(&place.open().await);
    for key in [1, 2] {
        let batch = batch(key.into(), key, 0, Credits::MAX.get());
        assert_eq!(usage.write(&batch).await.unwrap(), Written::Added);
    }
    let top = TopQuery::new(UsageFilter::all(), range(UsageStep::Day), TopOrder::Requests, 10);
    assert_eq!(usage.top(&top).await.unwrap().len(), 2);
    assert_eq!(requests(&usage, UsageStep::Day).await, 2);
}

/// Waits until this number of transactions wait for a lock.
async fn waiting(place: &Place, number: &str) {
    let begun = Instant::now();
    let locked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while place.say(locked).await != number {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", place.say(locked).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A batch of another node is being written while the account is erased. It is added whole, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_beside_an_erasure_is_added_whole() {
    let Some(place) = Place::postgres() else { return };
    let usage = SqlUsage::new(&place.open().await);
    assert_eq!(usage.write(&batch(1, 1, 0, 0)).await.unwrap(), Written::Added);
    let mut lock = PgConnection::connect(&place.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE tollgate_usage_hours").execute(&mut lock).await.unwrap();
    let (writer, eraser) = (usage.clone(), usage.clone());
    let writing = tokio::spawn(async move { writer.write(&batch(2, 1, 1, 0)).await });
    waiting(&place, "1").await;
    let erasing = tokio::spawn(async move { eraser.erase_account(&"ada".into()).await });
    waiting(&place, "2").await;
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    assert_eq!(writing.await.unwrap().unwrap(), Written::Added);
    assert!(erasing.await.unwrap().unwrap());
    let mut orphans = Vec::new();
    for step in ["minutes", "hours", "days", "months"] {
        let count = format!(
            "SELECT count(*) FROM tollgate_usage_{step} WHERE series NOT IN (SELECT id FROM tollgate_usage_series)"
        );
        orphans.push(place.say(&count).await);
    }
    // A new account has the id, or another node writes what it counted before.
    assert_eq!(usage.write(&batch(3, 1, 2, 0)).await.unwrap(), Written::Added);
    let (minutes, months) = (requests(&usage, UsageStep::Minute).await, {
        let april = "2026-04-01T00:00:00Z".parse().unwrap();
        let month = UsageRange::new(UsageStep::Month, april, NOON.parse().unwrap()).unwrap();
        let parts = usage.read(&UsageQuery::new(UsageFilter::account("ada"), month)).await.unwrap();
        parts.iter().map(|part| part.counts.requests).sum::<u64>()
    });
    assert_eq!(minutes, months, "the months are the sums of the minutes");
    assert_eq!(orphans, ["0", "0", "0", "0"]);
}

/// The second batch makes the sum too large.
async fn largest_units_of_one_key_are_added(place: Place) {
    let usage = SqlUsage::new(&place.open().await);
    for number in 1..=2 {
        let batch = batch(number, 1, 0, Credits::MAX.get());
        assert_eq!(usage.write(&batch).await.unwrap(), Written::Added);
    }
    let parts =
        usage.read(&UsageQuery::new(UsageFilter::account("ada"), range(UsageStep::Hour))).await.unwrap();
    let counts: Vec<_> = parts.iter().map(|part| (part.counts.requests, part.counts.units)).collect();
    assert_eq!(counts, [(2, Credits::MAX.get())]);
}

async fn ids_of_old_batches_are_removed(place: Place) {
    let usage = SqlUsage::new(&place.open().await);
    for number in 1..=2 {
        assert_eq!(usage.write(&batch(number, 1, 0, 0)).await.unwrap(), Written::Added);
    }
    let old = i64::try_from(BATCH_IDS_KEPT.as_millis()).unwrap() + 1_000;
    let _ = place.say(&format!("UPDATE tollgate_usage_batches SET at = at - {old} WHERE number = 1")).await;
    let _ = usage.prune(&UsageRetention::default(), NOON.parse().unwrap()).await.unwrap();
    assert_eq!(place.say("SELECT number FROM tollgate_usage_batches").await, "2");
    assert_eq!(usage.write(&batch(2, 1, 0, 0)).await.unwrap(), Written::Repeated);
}
