//! Several gates over one alert store.

use std::sync::Arc;
use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::alert::{Alert, AlertKind, AlertStore, Crossing, MemoryAlertStore};
use tollgate::clock::Timestamp;
use tollgate::credit::{Adjusted, Adjustment, AdjustmentKind, CreditAdmin};
use tollgate::gate::Outcome;
use tollgate::{Clock, Config, Credits, KeyManager};

use crate::stage::Node;
use crate::thresholds::{spend, top_up};

const BALANCE: &str = "[[alerts]]\nwhen = { balance_below = '20%' }\n";

/// Another process over the same store has no sink of its own, as the command `tollgate`: a sink of the service's code is
/// told of a revocation by it.
#[tokio::test]
async fn revocation_by_a_tool_reaches_the_sink() {
    let store = Arc::new(MemoryAlertStore::new());
    let alerts = "[[alerts]]\nwhen = { revoked = true }\n";
    let node = Node::with(alerts, |builder| builder.alert_store(Arc::clone(&store)));
    let key = node.key("ada").await;
    node.request(&key, 0).await;
    node.flush().await;
    let config = format!("{}{alerts}", crate::stage::CONFIG);
    let command = Config::from_toml(&config, "gate.toml").unwrap().builder().unwrap();
    let command = command.clock(node.clock.clone()).store(Arc::clone(&node.store)).alert_store(store);
    let command = command.ledger(Arc::clone(&node.ledger)).alerts_delivered_elsewhere().build().unwrap();
    KeyManager::new(command.clone()).unwrap().revoke(key.id).await.unwrap();
    command.alerts().unwrap().flush().await.unwrap();
    node.clock.advance(Duration::from_mins(2));
    assert_eq!(node.told().await.len(), 1);
}

/// A node that has decided on no request yet.
#[tokio::test]
async fn idle_node_delivers_alerts() {
    let store = Arc::new(MemoryAlertStore::new());
    let alert = Alert::new(AlertKind::Revoked, "2026-04-10T11:00:00Z".parse().unwrap());
    let crossing = Crossing::new(AlertKind::Revoked, "ada", "", 0);
    assert!(store.claim(&crossing, &alert, &["*".to_owned()]).await.unwrap());
    let node = Node::with("[[alerts]]\nwhen = { revoked = true }\n", |builder| builder.alert_store(store));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.sink.take().len(), 1);
}

/// Another node sees the balance rise and fall between two of its readings of crossings.
#[tokio::test]
async fn other_node_tells_again_after_a_top_up() {
    let store = Arc::new(MemoryAlertStore::new());
    let one = Node::with(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
    let other = one.other(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
    let key = one.key("ada").await;
    other.request(&key, 0).await;
    other.flush().await;
    one.request(&key, 90).await;
    assert_eq!(one.told_with(&other).await.len(), 1);
    one.clock.advance(Duration::from_secs(15));
    top_up(&one, "ada", 500, "one").await;
    for _ in 0..5 {
        spend(&other, &key, &[1]).await;
        other.flush().await;
    }
    spend(&other, &key, &[500]).await;
    assert_eq!(one.told_with(&other).await.len(), 1);
}

/// The balance rises without a manager. The other node sees this and releases the crossing. Minutes later, the node that
/// told of it is the first to see that the balance is low.
#[tokio::test]
async fn released_crossing_is_claimed_again() {
    let account = "ada".into();
    let store = Arc::new(MemoryAlertStore::new());
    let one = Node::with(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
    let other = one.other(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
    let key = one.key("ada").await;
    one.request(&key, 90).await;
    assert_eq!(one.told_with(&other).await.len(), 1);
    let (id, now) = ("one".parse().unwrap(), one.clock.now().wall());
    let grant = one.gate.plan("pro").unwrap().credits.clone();
    let kind = AdjustmentKind::TopUp(Credits::new(500));
    let adjustment = Adjustment::new(id, &account, kind, &grant, now);
    assert!(matches!(one.ledger.adjust(&adjustment).await.unwrap(), Adjusted::Done { .. }));
    for _ in 0..4 {
        one.clock.advance(Duration::from_mins(1));
        other.request(&key, 120).await;
        other.flush().await;
    }
    let claimed = store.claimed(AlertKind::BalanceBelow, Timestamp::from_millis(0), 10).await.unwrap();
    assert!(claimed.is_empty(), "the other node released the crossing");
    for _ in 0..10 {
        one.clock.advance(Duration::from_mins(1));
        one.flush().await;
    }
    // The balance was 30.
    one.request(&key, 15).await;
    assert_eq!(one.told_with(&other).await.len(), 1);
}

/// The request whose balance was low took ten minutes: the other node learns of the crossing nevertheless, and so tells
/// again after a top-up.
#[tokio::test]
async fn crossing_of_a_long_request_is_learnt() {
    for minutes in [0, 10] {
        let store = Arc::new(MemoryAlertStore::new());
        let one = Node::with(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
        let other = one.other(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
        let key = one.key("ada").await;
        let stream = one.open(&key, 90).await.unwrap();
        for _ in 0..minutes {
            one.clock.advance(Duration::from_mins(1));
            other.flush().await;
        }
        stream.finish(Outcome::Served).await.unwrap();
        assert_eq!(one.told_with(&other).await.len(), 1);
        top_up(&one, "ada", 500, "one").await;
        for _ in 0..4 {
            one.clock.advance(Duration::from_mins(1));
            other.flush().await;
            other.request(&key, 120).await;
            other.flush().await;
        }
        other.request(&key, 15).await;
        assert_eq!(other.told_with(&one).await.len(), 1, "{minutes} minutes");
    }
}

async fn raise(node: &Node, id: &str, amount: u64) {
    let (account, now) = ("ada".into(), node.clock.now().wall());
    let grant: Allowance = node.gate.plan("pro").unwrap().credits.clone();
    let kind = AdjustmentKind::TopUp(Credits::new(amount));
    let adjustment = Adjustment::new(id.parse().unwrap(), &account, kind, &grant, now);
    let adjusted = node.ledger.adjust(&adjustment).await.unwrap();
    assert!(matches!(adjusted, Adjusted::Done { .. }), "{adjusted:?}");
}

/// The ledger contradicted this node before another node claimed the crossing.
#[tokio::test]
async fn refuted_node_releases_what_another_claimed() {
    for refuted in [false, true] {
        let store = Arc::new(MemoryAlertStore::new());
        let one = Node::with(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
        let other = one.other(BALANCE, |builder| builder.alert_store(Arc::clone(&store)));
        let key = one.key("ada").await;
        if refuted {
            let low = other.open(&key, 90).await.unwrap();
            raise(&one, "one", 50).await;
            low.finish(Outcome::Served).await.unwrap();
            assert!(one.told_with(&other).await.is_empty());
        } else {
            other.request(&key, 40).await;
        }
        // The balance is 60.
        one.clock.advance(Duration::from_mins(1));
        one.request(&key, 50).await;
        assert_eq!(one.told_with(&other).await.len(), 1);
        for _ in 0..3 {
            one.clock.advance(Duration::from_mins(1));
            assert!(one.told_with(&other).await.is_empty());
        }
        raise(&one, "two", 500).await;
        for _ in 0..3 {
            other.request(&key, 1).await;
            other.flush().await;
            one.clock.advance(Duration::from_mins(1));
        }
        other.request(&key, 500).await;
        let mut told = one.told_with(&other).await.len();
        for _ in 0..3 {
            one.clock.advance(Duration::from_mins(2));
            other.request(&key, 1).await;
            told += one.told_with(&other).await.len();
        }
        assert_eq!(told, 1, "refuted before: {refuted}");
    }
}
