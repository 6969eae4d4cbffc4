//! Several nodes and restarts with a store in a database.

use std::time::Duration;

use tollgate::alert::{Alert, AlertKind, AlertStore, Crossing, SqlAlertStore};
use tollgate::clock::Timestamp;
use tollgate::credit::AdjustmentId;
use tollgate::sql::Database;
use tollgate::{CreditManager, Credits, StoreError};

use crate::database::{Place, both};
use crate::stage::Node;

const BALANCE: &str = "[[alerts]]\nwhen = { balance_below = '20%' }\n";

both!(
    crossing_is_told_once_by_all_nodes,
    restarted_node_tells_nothing_twice,
    alert_of_a_dead_node_is_delivered,
    crossings_are_claimed_once,
    due_deliveries_are_leased,
    old_crossings_are_forgotten,
);

fn node(database: &Database) -> Node {
    Node::with(BALANCE, |builder| builder.alert_store(SqlAlertStore::new(database)))
}

async fn top_up(node: &Node, id: &str) {
    let id: AdjustmentId = id.parse().unwrap();
    let credits = CreditManager::new(node.gate.clone()).unwrap();
    credits.top_up(&"ada".into(), Credits::new(50), &id).await.unwrap();
}

async fn crossing_is_told_once_by_all_nodes(place: Place) {
    let one = node(&place.open().await);
    let other_database = place.open().await;
    let other = one.other(BALANCE, |builder| builder.alert_store(SqlAlertStore::new(&other_database)));
    let key = one.key("ada").await;
    one.request(&key, 90).await;
    other.request(&key, 1).await;
    let told = one.told_with(&other).await;
    assert_eq!(told.len(), 1, "{told:?}");

    // The other node is the first to see the new balance, and later the first to see that it is low again.
    top_up(&one, "one").await;
    one.clock.advance(Duration::from_secs(30));
    other.flush().await;
    other.request(&key, 1).await;
    other.flush().await;
    one.clock.advance(Duration::from_secs(30));
    one.flush().await;
    other.request(&key, 50).await;
    assert_eq!(other.told_with(&one).await.len(), 1);
    one.request(&key, 1).await;
    assert!(one.told_with(&other).await.is_empty());
}

async fn restarted_node_tells_nothing_twice(place: Place) {
    let database = place.open().await;
    let first = node(&database);
    let key = first.key("ada").await;
    first.request(&key, 90).await;
    assert_eq!(first.told().await.len(), 1);
    let second = first.other(BALANCE, |builder| builder.alert_store(SqlAlertStore::new(&database)));
    first.end().await;
    second.request(&key, 1).await;
    assert!(second.told().await.is_empty());

    // The balance rises while no node runs.
    top_up(&second, "one").await;
    let third = second.other(BALANCE, |builder| builder.alert_store(SqlAlertStore::new(&database)));
    second.end().await;
    third.flush().await;
    third.request(&key, 1).await;
    third.flush().await;
    third.request(&key, 50).await;
    assert_eq!(third.told().await.len(), 1);
}

async fn alert_of_a_dead_node_is_delivered(place: Place) {
    let database = place.open().await;
    let first = node(&database);
    first.sink.fail(Some(StoreError::unavailable("down")));
    let key = first.key("ada").await;
    first.request(&key, 90).await;
    first.flush().await;
    let failed = first.sink.take_failed();
    assert_eq!(failed.len(), 1);
    let second = first.other(BALANCE, |builder| builder.alert_store(SqlAlertStore::new(&database)));
    first.end().await;
    second.clock.advance(Duration::from_mins(1));
    let told = second.told().await;
    assert_eq!(told, [failed[0].alert.clone()], "the same alert, with its id");
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn crossing(subject: &str, period: i64) -> Crossing {
    Crossing::new(AlertKind::BalanceBelow, subject, "20%", period)
}

fn alert(millis: i64) -> Alert {
    Alert::new(AlertKind::BalanceBelow, at(millis))
}

const SINKS: [&str; 2] = ["one", "two"];

fn sinks() -> Vec<String> {
    SINKS.map(str::to_owned).to_vec()
}

async fn crossings_are_claimed_once(place: Place) {
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(SqlAlertStore::new(&place.open().await));
    }
    let mut claims = tokio::task::JoinSet::new();
    for node in nodes.iter().cycle().take(32) {
        let node = node.clone();
        claims.spawn(async move { node.claim(&crossing("ada", 7), &alert(1_000), &sinks()).await.unwrap() });
    }
    assert_eq!(claims.join_all().await.into_iter().filter(|claimed| *claimed).count(), 1);
    let store = &nodes[0];
    assert_eq!(store.take_due(&sinks(), at(2_000), Duration::from_mins(1), 100).await.unwrap().len(), 2);
    assert!(!store.claim(&crossing("ada", 6), &alert(1), &sinks()).await.unwrap(), "an earlier period");
    assert!(store.claim(&crossing("ada", 8), &alert(1), &sinks()).await.unwrap(), "a later period");
    assert!(store.claim(&crossing("bob", 7), &alert(2), &sinks()).await.unwrap(), "another subject");
    assert!(!store.release(&crossing("ada", 7)).await.unwrap(), "the period that is told is later");
    assert!(store.release(&crossing("ada", 8)).await.unwrap());
    assert!(!store.release(&crossing("ada", 8)).await.unwrap());
    assert!(store.claim(&crossing("ada", 8), &alert(3), &sinks()).await.unwrap());
    let claimed = store.claimed(AlertKind::BalanceBelow, at(2), 10).await.unwrap();
    assert_eq!(claimed, [(crossing("bob", 7), at(2)), (crossing("ada", 8), at(3))]);
    assert_eq!(store.claimed(AlertKind::BalanceBelow, at(2), 1).await.unwrap().len(), 1);
    assert!(store.claimed(AlertKind::Revoked, at(0), 10).await.unwrap().is_empty());
}

async fn due_deliveries_are_leased(place: Place) {
    let store = SqlAlertStore::new(&place.open().await);
    let other = SqlAlertStore::new(&place.open().await);
    for number in 0..20 {
        assert!(store.claim(&crossing(&number.to_string(), 1), &alert(number), &sinks()).await.unwrap());
    }
    let lease = Duration::from_mins(1);
    let one = ["one".to_owned()];
    let (mine, others) =
        tokio::join!(store.take_due(&one, at(1_000), lease, 15), other.take_due(&one, at(1_000), lease, 15));
    let (mine, others) = (mine.unwrap(), others.unwrap());
    let mut ids: Vec<_> = mine.iter().chain(&others).map(|delivery| delivery.alert.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), mine.len() + others.len(), "no delivery is taken twice");
    let rest = store.take_due(&one, at(1_000), lease, 100).await.unwrap();
    assert_eq!(ids.len() + rest.len(), 20);
    assert!(mine.iter().chain(&rest).all(|delivery| (delivery.attempt, delivery.now) == (1, at(1_000))));
    assert!(store.take_due(&one, at(60_999), lease, 100).await.unwrap().is_empty());
    store.finish(mine[0].alert.id, "one").await.unwrap();
    store.retry(mine[1].alert.id, "one", at(70_000)).await.unwrap();
    let again = store.take_due(&one, at(61_000), lease, 100).await.unwrap();
    assert_eq!(again.len(), 18);
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
    assert_eq!(store.take_due(&one, at(70_000), lease, 100).await.unwrap().len(), 1);
    assert_eq!(store.take_due(&["two".to_owned()], at(70_000), lease, 100).await.unwrap().len(), 20);
    assert!(store.take_due(&["three".to_owned()], at(70_000), lease, 100).await.unwrap().is_empty());
    assert!(store.take_due(&[], at(70_000), lease, 100).await.unwrap().is_empty());
}

async fn old_crossings_are_forgotten(place: Place) {
    let store = SqlAlertStore::new(&place.open().await);
    for (subject, time) in [("ada", 1), ("bob", 2)] {
        assert!(store.claim(&crossing(subject, 1), &alert(time), &[]).await.unwrap());
    }
    assert_eq!(store.forget(at(2), &[]).await.unwrap(), 1);
    assert!(store.claim(&crossing("ada", 1), &alert(3), &[]).await.unwrap());
    assert!(!store.claim(&crossing("bob", 1), &alert(3), &[]).await.unwrap());
}
