//! A change whose caller has left is made all the same, and told of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;
use crate::yielding;

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use management::Fault;
use tollgate::account::AccountStatus;
use tollgate::audit::Action;
use tollgate::key::{KeyHash, KeyStatus};
use tollgate::manage::ForeignKey;
use tollgate::{Account, AccountManager, KeyStore, NewKey};

/// Polls so often, and leaves.
fn leave_after(polls: u8, work: impl Future) {
    let mut work = std::pin::pin!(work);
    for _ in 0..polls {
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
    }
}

/// Lets background tasks finish within a few turns.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn change_is_announced_if_its_caller_leaves() -> Result<(), Fault> {
    let stage = yielding::stage()?;
    let manager = stage.manager.clone();
    let mut left_midway = false;
    for polls in 1..=8 {
        let key = stage.manager.issue(NewKey::new("ada", "a key")).await?.key;
        let other = stage.manager.issue(NewKey::new("ada", "another")).await?.key;
        let hash = KeyHash::from_bytes([polls; 32]);
        stage.audit.take();
        leave_after(polls, manager.revoke(key.id));
        leave_after(polls, manager.rotate(other.id, Duration::ZERO));
        leave_after(polls, manager.import(ForeignKey::new("ada", "from elsewhere", hash)));
        settle().await;
        let revoked = stage.store.key(key.id).unwrap().status == KeyStatus::Revoked;
        let rotated = stage.store.key(other.id).unwrap().hash != other.hash;
        let imported = stage.store.find(&hash).await?.is_some();
        let told = stage.audit.actions();
        assert_eq!(told.contains(&Action::Imported), imported, "after {polls} polls");
        assert_eq!(told.contains(&Action::Revoked), revoked, "after {polls} polls");
        assert_eq!(told.contains(&Action::Rotated), rotated, "after {polls} polls");
        left_midway |= revoked && !rotated;
    }
    assert!(left_midway, "some left while their change was on its way");
    Ok(())
}

#[tokio::test]
async fn account_change_outlives_its_caller() -> Result<(), Fault> {
    let stage = yielding::stage()?;
    let accounts = AccountManager::new(stage.gate.clone())?.with_audit(stage.audit.clone());
    let mut changes = 0;
    for polls in 1..=8 {
        let (old, new) = (format!("old-{polls}"), format!("new-{polls}"));
        stage.store.put_account(Account::new(old.as_str(), "pro"));
        stage.audit.take();
        leave_after(polls, accounts.suspend(&old.as_str().into()));
        leave_after(polls, accounts.create(Account::new(new.as_str(), "pro")));
        settle().await;
        let suspended = stage.store.account(&old).unwrap().status == AccountStatus::Suspended;
        let created = stage.store.account(&new).is_some();
        let told = stage.audit.actions();
        assert_eq!(told.contains(&Action::AccountChanged), suspended, "after {polls} polls");
        assert_eq!(told.contains(&Action::AccountCreated), created, "after {polls} polls");
        stage.audit.take();
        leave_after(polls, accounts.erase(&old.as_str().into()));
        settle().await;
        let erased = stage.store.account(&old).is_none();
        assert_eq!(stage.audit.actions().contains(&Action::AccountErased), erased, "after {polls} polls");
        changes += usize::from(suspended) + usize::from(created) + usize::from(erased);
    }
    assert!((3..24).contains(&changes), "some left before their change, and some behind it: {changes}");
    Ok(())
}
