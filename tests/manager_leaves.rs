//! A change whose caller has left is made all the same, and told of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod management;
#[path = "management/yielding.rs"]
mod yielding;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use management::{Fault, Stage};
use tollgate::{Action, KeyManager, KeyStatus, NewKey};
use yielding::Yielding;

/// Polls so often, and leaves.
fn leave_after(polls: usize, work: impl Future) {
    let mut work = std::pin::pin!(work);
    for _ in 0..polls {
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
    }
}

#[tokio::test]
async fn what_is_changed_is_told_of_whenever_its_caller_leaves() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let store = Yielding(Arc::clone(&stage.store));
    let manager = KeyManager::new(stage.gate.clone(), store).with_audit(stage.audit.clone());
    let mut left_midway = false;
    for polls in 1..=8 {
        let key = stage.manager.issue(NewKey::new("ada", "a key")).await?.key;
        let other = stage.manager.issue(NewKey::new("ada", "another")).await?.key;
        stage.audit.take();
        leave_after(polls, manager.revoke(key.id));
        leave_after(polls, manager.rotate(other.id, Duration::ZERO));
        // What goes on by itself is done within a few turns.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let revoked = stage.store.key(key.id).unwrap().status == KeyStatus::Revoked;
        let rotated = stage.store.key(other.id).unwrap().hash != other.hash;
        let told = stage.audit.actions();
        assert_eq!(told.contains(&Action::Revoked), revoked, "after {polls} polls");
        assert_eq!(told.contains(&Action::Rotated), rotated, "after {polls} polls");
        left_midway |= revoked && !rotated;
    }
    assert!(left_midway, "some left while their change was on its way");
    Ok(())
}
