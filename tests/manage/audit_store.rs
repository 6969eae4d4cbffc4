//! Audit events in a store: written before a call returns, kept while the store does not answer, and never a secret.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use tollgate::audit::{
    Action, Actor, AuditEntry, AuditEvent, AuditPage, AuditQuery, AuditSink, AuditStore, MemoryAuditStore,
    StoredAudit,
};
use tollgate::clock::Timestamp;
use tollgate::{Account, AccountManager, KeyManager, NewKey, StoreError, StoreFuture};

use crate::management::{Fault, Stage};

/// An audit store that answers only after other tasks ran, and that may be down.
#[derive(Debug, Clone, Default)]
struct Remote(Arc<State>);

#[derive(Debug, Default)]
struct State {
    inner: MemoryAuditStore,
    is_down: AtomicBool,
    /// An account whose entries it rejects.
    rejects: Mutex<Option<&'static str>>,
}

impl Remote {
    fn down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::Relaxed);
    }
}

impl AuditStore for Remote {
    fn append(&self, entries: &[AuditEntry]) -> StoreFuture<()> {
        let (remote, entries) = (Arc::clone(&self.0), entries.to_vec());
        StoreFuture::boxed(async move {
            tokio::task::yield_now().await;
            if remote.is_down.load(Ordering::Relaxed) {
                return Err(StoreError::timed_out());
            }
            let rejected = remote.rejects.lock().unwrap().map(Into::into);
            if rejected.is_some() && entries.iter().any(|entry| entry.event.account == rejected) {
                return Err(StoreError::rejected("an invalid entry"));
            }
            remote.inner.append(&entries).await
        })
    }

    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage> {
        self.0.inner.query(query)
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        self.0.inner.forget(before)
    }
}

/// Returns a stage whose gate writes its audit events to the store.
fn stage(most: usize) -> Result<(Stage, Remote, StoredAudit), Fault> {
    let remote = Remote::default();
    let audit = StoredAudit::bounded(remote.clone(), most);
    let stage = Stage::set_with(|builder, _| builder.audit(audit.clone()))?;
    Ok((stage, remote, audit))
}

async fn entries(store: &impl AuditStore) -> Result<Vec<AuditEntry>, Fault> {
    Ok(store.query(&AuditQuery::default()).await?.entries)
}

/// The actions of all entries, the oldest first.
async fn actions(store: &impl AuditStore) -> Result<Vec<Action>, Fault> {
    Ok(entries(store).await?.iter().rev().map(|entry| entry.event.action).collect())
}

#[tokio::test]
async fn change_is_stored_when_its_call_returns() -> Result<(), Fault> {
    let (stage, remote, audit) = stage(10)?;
    let alice = Actor::operator("alice").at("203.0.113.9".parse()?);
    let manager = KeyManager::new(stage.gate.clone())?.by(alice.clone());
    let accounts = AccountManager::new(stage.gate.clone())?.by(Actor::user("user-17"));
    let issued = manager.issue(NewKey::new("ada", "a key")).await?;
    assert_eq!(actions(&remote).await?, [Action::Issued]);
    let rotated = manager.rotate(issued.key.id, Duration::ZERO).await?;
    manager.revoke(issued.key.id).await?;
    accounts.suspend(&"bob".into()).await?;
    let expected = [Action::Issued, Action::Rotated, Action::Revoked, Action::AccountChanged];
    assert_eq!(actions(&remote).await?, expected, "the clock stands still, and the order is kept");
    assert_eq!((audit.waiting(), audit.lost()), (0, 0));

    let mut query = AuditQuery::default();
    query.key = Some(issued.key.id);
    query.actor = Some(Actor::operator("alice"));
    let page = remote.query(&query).await?;
    assert_eq!(page.entries.len(), 3);
    assert!(page.entries.iter().all(|entry| entry.event.actor == alice));
    let text = serde_json::to_string(&page)?;
    assert!(text.contains(r#""action":"rotated""#) && text.contains(r#""address":"203.0.113.9""#), "{text}");
    for secret in [issued.secret.expose_secret(), rotated.secret.expose_secret()] {
        assert!(!text.contains(&secret[12..]), "a secret is in the store");
    }
    Ok(())
}

#[tokio::test]
async fn entries_wait_while_the_store_is_down() -> Result<(), Fault> {
    let (stage, remote, audit) = stage(10)?;
    let manager = KeyManager::new(stage.gate.clone())?;
    remote.down(true);
    let issued = manager.issue(NewKey::new("ada", "a key")).await?;
    manager.pause(issued.key.id).await?;
    assert_eq!((entries(&remote).await?.len(), audit.waiting()), (0, 2));
    assert!(audit.flush().await.is_err());
    remote.down(false);
    manager.resume(issued.key.id).await?;
    assert_eq!(actions(&remote).await?, [Action::Issued, Action::Paused, Action::Resumed]);
    remote.down(true);
    manager.revoke(issued.key.id).await?;
    remote.down(false);
    audit.flush().await?;
    assert_eq!(actions(&remote).await?.last(), Some(&Action::Revoked));
    assert_eq!((audit.waiting(), audit.lost()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn entry_of_a_cancelled_call_is_stored() -> Result<(), Fault> {
    let (stage, remote, _) = stage(10)?;
    let manager = KeyManager::new(stage.gate.clone())?;
    let mut call = Box::pin(manager.issue(NewKey::new("ada", "a key")));
    // The change is made in the first poll, and the append waits.
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(call);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(actions(&remote).await?, [Action::Issued]);
    Ok(())
}

#[tokio::test]
async fn oldest_waiting_entry_is_lost_and_counted() -> Result<(), Fault> {
    let (stage, remote, audit) = stage(2)?;
    let accounts = AccountManager::new(stage.gate.clone())?;
    remote.down(true);
    for name in ["one", "two", "three"] {
        accounts.create(Account::new(name, "pro")).await?;
    }
    assert_eq!((audit.waiting(), audit.lost()), (2, 1));
    remote.down(false);
    audit.flush().await?;
    let stored: Vec<_> =
        entries(&remote).await?.into_iter().filter_map(|entry| entry.event.account).collect();
    assert_eq!(stored, ["three".into(), "two".into()]);
    Ok(())
}

#[tokio::test]
async fn rejected_entry_does_not_block_others() -> Result<(), Fault> {
    let (stage, remote, audit) = stage(10)?;
    let accounts = AccountManager::new(stage.gate.clone())?;
    *remote.0.rejects.lock().unwrap() = Some("two");
    remote.down(true);
    for name in ["one", "two"] {
        accounts.create(Account::new(name, "pro")).await?;
    }
    remote.down(false);
    accounts.create(Account::new("three", "pro")).await?;
    let stored: Vec<_> =
        entries(&remote).await?.into_iter().filter_map(|entry| entry.event.account).collect();
    assert_eq!(stored, ["three".into(), "one".into()]);
    assert_eq!((audit.waiting(), audit.lost()), (0, 1));
    Ok(())
}

#[tokio::test]
async fn concurrent_changes_are_stored_once() -> Result<(), Fault> {
    let (stage, remote, audit) = stage(1_000)?;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..300 {
        let accounts = AccountManager::new(stage.gate.clone())?;
        calls.spawn(async move {
            accounts.create(Account::new(format!("account-{number}"), "pro")).await.is_ok()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|made| made));
    let mut query = AuditQuery::default();
    query.limit = 1_000;
    assert_eq!(remote.query(&query).await?.entries.len(), 300);
    assert_eq!(audit.waiting(), 0);
    Ok(())
}

/// A pair of sinks: each has every event, and the failure of one is no obstacle to the other.
#[tokio::test]
async fn pair_of_sinks_passes_events_to_both() -> Result<(), Fault> {
    let (down, up) = (Remote::default(), Remote::default());
    down.down(true);
    let pair = (StoredAudit::new(down.clone()), StoredAudit::new(up.clone()));
    pair.record(&AuditEvent::new(Timestamp::from_millis(7), Action::Swept, Actor::default()));
    assert!(pair.flush().await.is_err());
    assert_eq!((entries(&down).await?.len(), entries(&up).await?.len()), (0, 1));
    Ok(())
}

#[test]
fn queries_out_of_bounds_name_the_member() {
    let mut query = AuditQuery::default();
    assert!(query.check().is_ok());
    for limit in [0, 1_001] {
        query.limit = limit;
        assert_eq!(query.check().unwrap_err().member(), "limit");
    }
    query.limit = 1_000;
    query.from = Some("2026-05-01T00:00:00Z".parse().unwrap());
    query.to = Some("2026-04-30T00:00:00Z".parse().unwrap());
    let error = query.check().unwrap_err();
    assert_eq!((error.member(), error.value()), ("to", "2026-04-30T00:00:00Z"));
    query.to = query.from;
    assert!(query.check().is_ok(), "an empty range");
}

/// An audit store that answers later, and rejects everything.
#[derive(Debug, Default)]
struct Rejecting(MemoryAuditStore);

impl AuditStore for Rejecting {
    fn append(&self, _: &[AuditEntry]) -> StoreFuture<()> {
        StoreFuture::boxed(async {
            tokio::task::yield_now().await;
            Err(StoreError::rejected("an invalid entry"))
        })
    }

    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage> {
        self.0.query(query)
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        self.0.forget(before)
    }
}

#[tokio::test]
async fn rejected_audit_entry_is_lost_once() {
    let audit = StoredAudit::new(Rejecting::default());
    audit.record(&AuditEvent::new(Timestamp::from_millis(7), Action::Swept, Actor::default()));
    let _ = tokio::join!(audit.flush(), audit.flush());
    assert_eq!((audit.waiting(), audit.lost()), (0, 1));
}

/// The clock of the process was set back by a millisecond between two changes.
#[tokio::test]
async fn entries_of_a_millisecond_keep_their_order() {
    for _ in 0..64 {
        let store = Arc::new(MemoryAuditStore::new());
        let audit = StoredAudit::new(Arc::clone(&store));
        for (at, action) in [(5, Action::Issued), (4, Action::Swept), (5, Action::Revoked)] {
            audit.record(&AuditEvent::new(Timestamp::from_millis(at), action, Actor::default()));
        }
        audit.flush().await.unwrap();
        let page = store.query(&AuditQuery::default()).await.unwrap();
        let actions: Vec<_> = page.entries.iter().map(|entry| entry.event.action).collect();
        assert_eq!(actions, [Action::Revoked, Action::Issued, Action::Swept]);
    }
}
