//! Uses noted by nodes at the same time: none waits for one that waits for it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tollgate::KeyId;
use tollgate::clock::Timestamp;
use tollgate::store::{KeyAdmin, SqlStore};

use crate::database::Place;
use crate::sql::store::{insert, later, record, store};

/// So many keys that PostgreSQL reads the table as it lies, not by its index.
const KEYS: u8 = 128;

/// A store whose rows lie in the opposite order of their ids.
async fn backwards(place: &Place) -> SqlStore {
    let store = store(place, &["ada"]).await;
    for number in (1..=KEYS).rev() {
        let _ = insert(&store, &record(number, "ada")).await;
    }
    place.say("ANALYZE tollgate_keys").await;
    store
}

fn uses(seconds: i64) -> Vec<(KeyId, Timestamp)> {
    (1..=KEYS).map(|number| (record(number, "ada").id, later(seconds))).collect()
}

async fn lock(connection: &mut PgConnection, number: u8) -> Result<(), sqlx::Error> {
    let id = u128::from_be_bytes(*record(number, "ada").id.as_bytes());
    let words = format!("SELECT 1 FROM tollgate_keys WHERE id = '\\x{id:032x}' FOR UPDATE");
    sqlx::raw_sql(AssertSqlSafe(words)).execute(connection).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_locked_in_id_order() {
    let Some(place) = Place::postgres() else { return };
    let store = backwards(&place).await;
    let mut other = PgConnection::connect(&place.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SET LOCAL lock_timeout = 5000").execute(&mut other).await.unwrap();
    lock(&mut other, 1).await.unwrap();
    let touching = tokio::spawn(store.touch(&uses(5)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!touching.is_finished(), "it waits for the first");
    // It holds nothing behind the first, and so nobody waits for it.
    lock(&mut other, KEYS).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    touching.await.unwrap().unwrap();
    assert_eq!(store.get(record(9, "ada").id).await.unwrap().unwrap().last_used_at, Some(later(5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_write_orders_do_not_deadlock() {
    let Some(place) = Place::postgres() else { return };
    let one = backwards(&place).await;
    let other = SqlStore::new(&place.open().await);
    let touch = |store: SqlStore, turned: bool| async move {
        for round in 10..110 {
            let mut uses = uses(round);
            if turned {
                uses.reverse();
            }
            store.touch(&uses).await.unwrap();
        }
    };
    let (one, other) = (tokio::spawn(touch(one, false)), tokio::spawn(touch(other, true)));
    one.await.unwrap();
    other.await.unwrap();
}
