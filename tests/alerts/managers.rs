//! Alerts and the managers of accounts, keys and credits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;
use tollgate::alert::{Alert, AlertId, AlertKind, AlertStore, Crossing, Delivery, MemoryAlertStore};
use tollgate::audit::{AuditEvent, AuditSink};
use tollgate::clock::Timestamp;
use tollgate::manage::ManageError;
use tollgate::name::AccountId;
use tollgate::{Account, AccountManager, Clock, CreditManager, Credits, StoreError, StoreFuture};

use crate::delivery::Calls;
use crate::stage::{DAY, Node};

const BALANCE: &str = "[[alerts]]\nwhen = { balance_below = '20%' }\n";

/// An alert store with a fault.
#[derive(Debug)]
struct Faulty(MemoryAlertStore, Fault);

#[derive(Debug)]
enum Fault {
    PanicsInRelease,
    HangsInRelease,
    /// Only the first call fails.
    FailsToErase(AtomicBool),
}

impl AlertStore for Faulty {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        self.0.claim(crossing, alert, sinks)
    }
    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        match self.1 {
            Fault::PanicsInRelease => panic!("an alert store is broken"),
            Fault::HangsInRelease => StoreFuture::boxed(std::future::pending()),
            Fault::FailsToErase(_) => self.0.release(crossing),
        }
    }
    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        self.0.claimed(kind, since, limit)
    }
    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64> {
        self.0.forward(from, sinks, now)
    }
    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        self.0.take_due(sinks, now, lease, limit)
    }
    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()> {
        self.0.retry(alert, sink, due)
    }
    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        self.0.finish(alert, sink)
    }
    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64> {
        self.0.forget(before, sinks)
    }
    fn erase(&self, account: &AccountId) -> StoreFuture<bool> {
        match &self.1 {
            Fault::FailsToErase(has_failed) if !has_failed.swap(true, Ordering::SeqCst) => {
                StoreFuture::failed(StoreError::timed_out())
            }
            _ => self.0.erase(account),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Audited(Arc<Mutex<Vec<String>>>);

impl AuditSink for Audited {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap().push(format!("{:?}", event.action));
    }
}

#[tokio::test(start_paused = true)]
async fn top_up_is_audited_while_the_alert_store_fails() {
    for fault in [Fault::PanicsInRelease, Fault::HangsInRelease] {
        let name = format!("{fault:?}");
        let audited = Audited::default();
        let node = Node::with(BALANCE, |builder| {
            builder.alert_store(Faulty(MemoryAlertStore::new(), fault)).audit(audited.clone())
        });
        let _ = node.key("ada").await;
        let credits = CreditManager::new(node.gate.clone()).unwrap();
        let (account, id) = ("ada".into(), "one".parse().unwrap());
        let done = credits.top_up(&account, Credits::new(500), &id);
        let done = timeout(Duration::from_mins(10), done).await;
        assert!(matches!(done, Ok(Ok(_))), "{name}: {done:?}");
        assert_eq!(*audited.0.lock().unwrap(), ["Issued", "CreditsAdjusted"], "{name}");
        assert_eq!(node.gate.alerts().unwrap().waiting(), 1, "{name}");
    }
}

/// Nothing of an erased account stays stored but its audit entries.
#[tokio::test]
async fn erased_account_leaves_no_alert() {
    let store = Arc::new(MemoryAlertStore::new());
    let alerts = "[[alerts]]\nwhen = { quota_above = '50%' }\n[[alerts]]\nwhen = { balance_below = 90 }\n\
                  [plans.shared]\nquotas = ['10 per day']\n";
    let gone = Calls("gone", |_: &Delivery| StoreFuture::failed(StoreError::unavailable("down")));
    let node = Node::with(alerts, |builder| builder.alert_store(Arc::clone(&store)).alert_sink(gone));
    let pro = node.key("ada").await;
    node.request(&pro, 50).await;
    node.store.put_account(Account::new("ann", "shared"));
    let key = node.key("ann").await;
    for _ in 0..7 {
        node.request(&key, 0).await;
    }
    node.flush().await;
    let accounts = AccountManager::new(node.gate.clone()).unwrap();
    accounts.erase(&"ada".into()).await.unwrap();
    accounts.erase(&"ann".into()).await.unwrap();
    let start = Timestamp::from_millis(0);
    let mut left = Vec::new();
    for kind in [AlertKind::BalanceBelow, AlertKind::QuotaAbove] {
        left.extend(
            store.claimed(kind, start, 10).await.unwrap().into_iter().map(|(crossing, _)| crossing.subject),
        );
    }
    let later = node.clock.now().wall().saturating_add(DAY);
    let due = store.take_due(&["gone".to_owned()], later, DAY, 10).await.unwrap();
    let due: Vec<_> = due.into_iter().map(|one| one.alert.account).collect();
    assert!(left.is_empty() && due.is_empty(), "crossings {left:?}, deliveries {due:?}");
}

#[tokio::test]
async fn second_erasure_completes_the_first() {
    let revoked = "[[alerts]]\nwhen = { revoked = true }\n";
    let gone = Calls("gone", |_: &Delivery| StoreFuture::failed(StoreError::unavailable("down")));
    let node = Node::with(revoked, |builder| {
        builder
            .alert_store(Faulty(MemoryAlertStore::new(), Fault::FailsToErase(AtomicBool::new(false))))
            .alert_sink(gone)
    });
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
    let accounts = AccountManager::new(node.gate.clone()).unwrap();
    assert!(matches!(accounts.erase(&"ada".into()).await, Err(ManageError::Store(_))));
    accounts.erase(&"ada".into()).await.unwrap();
    assert!(matches!(accounts.erase(&"ada".into()).await, Err(ManageError::NotFound(_))));
}
