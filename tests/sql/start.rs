//! Opening a database: its tables, their versions, and what goes wrong.

use tollgate::{Account, AccountAdmin, Database, DatabaseOptions, KeyAdmin, OpenError, SqlStore};

use crate::place::{Place, both};

both!(
    eight_nodes_that_start_at_once_make_the_tables_once,
    a_newer_schema_is_refused_and_left_alone,
    a_step_that_fails_leaves_nothing,
    reopening_finds_what_was_written,
);

async fn eight_nodes_that_start_at_once_make_the_tables_once(place: Place) {
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let url = place.url.clone();
            tokio::spawn(async move { Database::connect(&url).await })
        })
        .collect();
    for node in nodes {
        let database = node.await.unwrap().unwrap();
        database.close().await;
    }
    assert_eq!(place.say("SELECT version FROM tollgate_schema ORDER BY version").await, "1\n2\n3");
}

async fn a_newer_schema_is_refused_and_left_alone(place: Place) {
    place.open().await.close().await;
    place.say("INSERT INTO tollgate_schema VALUES (1000)").await;
    let error = Database::connect(&place.url).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 1000, known: 3, .. }), "{error}");
    assert!(error.to_string().contains("use a newer tollgate"), "{error}");
    assert_eq!(place.say("SELECT count(*) FROM tollgate_schema").await, "4");
}

async fn a_step_that_fails_leaves_nothing(place: Place) {
    place.say("CREATE TABLE tollgate_balances (mine INTEGER)").await;
    let error = Database::connect(&place.url).await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("tollgate_balances"), "{error}");
    place.say("DROP TABLE tollgate_balances").await;
    place.open().await.close().await;
    assert_eq!(place.say("SELECT count(*) FROM tollgate_schema").await, "3");
}

async fn reopening_finds_what_was_written(place: Place) {
    let first = SqlStore::new(&place.open().await);
    assert!(first.create_account(&Account::new("acme", "pro")).await.unwrap());
    first.database().close().await;
    assert!(first.account_of(&"acme".into()).await.is_err(), "a closed database says nothing");
    let second = SqlStore::new(&place.open().await);
    assert_eq!(*second.account_of(&"acme".into()).await.unwrap().unwrap(), Account::new("acme", "pro"));
}

#[tokio::test]
async fn what_names_no_database_is_told_without_its_password() {
    for url in [
        "",
        "keys.db",
        "mysql://me:s3cret@host/db",
        "postgres://me:s3cret@host:port/db",
        "sqlite::memory:",
        "sqlite:",
    ] {
        let error = DatabaseOptions::new(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
    let options = DatabaseOptions::new("postgres://me:s3cret@127.0.0.1:1/db").unwrap();
    assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
    assert!(format!("{options:?}").contains("postgres://127.0.0.1:1/db"), "{options:?}");
    let options = options.with_acquire_timeout(std::time::Duration::from_millis(50));
    let error = options.open().await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }));
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    let error = Database::connect("sqlite:/no/such/folder/keys.db").await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder/keys.db"), "{error}");
}
