//! Many changes at the same time: the cap holds, no change is lost, one secret is current.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;
use crate::yielding;

use std::sync::{Arc, Barrier};
use std::time::Duration;

use management::{DAY, Fault, Stage};
use tokio::task::JoinSet;
use tollgate::key::KeyStatus;
use tollgate::manage::{Issued, KeyChange, ListKeys, ManageError};
use tollgate::{Account, KeyId, KeyManager, KeyRecord, NewKey};

const PARALLEL: usize = 20;

/// On a thread of its own: how many keys of an account it created, round by round.
fn creator(manager: &KeyManager, rounds: usize, start: &Barrier) -> Vec<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let create = |round: usize| {
        start.wait();
        let created = runtime.block_on(manager.issue(NewKey::new(format!("free {round}"), "a key")));
        match created {
            Ok(_) => true,
            Err(ManageError::KeyLimitReached { most: 2 }) => false,
            Err(error) => panic!("{error}"),
        }
    };
    (0..rounds).map(create).collect()
}

#[tokio::test]
async fn parallel_creates_at_the_cap_make_one() -> Result<(), Fault> {
    const ROUNDS: usize = 1_000;
    let stage = Stage::set()?;
    for round in 0..ROUNDS {
        stage.store.put_account(Account::new(format!("free {round}"), "free"));
        stage.issue(&format!("free {round}")).await?;
    }
    let (start, manager) = (Arc::new(Barrier::new(PARALLEL)), stage.manager.clone());
    let creators: Vec<_> = (0..PARALLEL)
        .map(|_| {
            let (start, manager) = (Arc::clone(&start), manager.clone());
            std::thread::spawn(move || creator(&manager, ROUNDS, &start))
        })
        .collect();
    let mut created = vec![0; ROUNDS];
    for thread in creators {
        for (round, made) in thread.join().map_err(|_| "a creator panicked")?.into_iter().enumerate() {
            created[round] += usize::from(made);
        }
    }
    assert!(created.iter().all(|&made| made == 1), "{created:?}");
    assert_eq!(stage.store.len(), 2 * ROUNDS);
    Ok(())
}

#[tokio::test]
async fn cap_holds_between_read_and_write() -> Result<(), Fault> {
    let stage = yielding::stage()?;
    let manager = stage.manager.clone();
    stage.issue("bob").await?;
    let mut creates = JoinSet::new();
    for _ in 0..PARALLEL {
        let manager = manager.clone();
        creates.spawn(async move { manager.issue(NewKey::new("bob", "a key")).await });
    }
    let done = creates.join_all().await;
    assert_eq!(done.iter().filter(|created| created.is_ok()).count(), 1);
    let held = manager.list(&ListKeys::default()).await?;
    assert_eq!(held.keys.len(), 2);
    Ok(())
}

fn changes() -> [KeyChange; 5] {
    let none = KeyChange::default;
    [
        KeyChange { name: Some("renamed".into()), ..none() },
        KeyChange { scopes: Some(Some(vec!["quotes:read".into()])), ..none() },
        KeyChange { paths: Some(Some(Vec::new())), ..none() },
        KeyChange { allowlist: Some(Some(Vec::new())), ..none() },
        KeyChange { metadata: Some([("a".to_owned(), "b".to_owned())].into()), ..none() },
    ]
}

async fn change_at_once(manager: &KeyManager, id: KeyId) -> Result<(), Fault> {
    let mut tasks = JoinSet::new();
    for change in changes() {
        let manager = manager.clone();
        tasks.spawn(async move { manager.update(id, &change).await.map(drop) });
    }
    let (pausing, rotating) = (manager.clone(), manager.clone());
    tasks.spawn(async move { pausing.pause(id).await.map(drop) });
    tasks.spawn(async move { rotating.rotate(id, DAY).await.map(drop) });
    tasks.join_all().await.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_the_same_time_lose_nothing() -> Result<(), Fault> {
    let stage = yielding::stage()?;
    let manager = stage.manager.clone();
    for round in 0..200 {
        let before = stage.issue("ada").await?.key;
        change_at_once(&manager, before.id).await?;
        let after = stage.manager.get(before.id).await?;
        assert_eq!(after.version, before.version + 7, "round {round}");
        let mut expected = KeyRecord::clone(&before);
        (expected.version, expected.status, expected.name) = (7, KeyStatus::Paused, "renamed".into());
        expected.scopes = Some(vec!["quotes:read".into()]);
        (expected.paths, expected.allowlist) = (Some(Vec::new()), Some(Vec::new()));
        expected.metadata = [("a".to_owned(), "b".to_owned())].into();
        (expected.hash, expected.start) = (after.hash, after.start.clone());
        expected.retiring = after.retiring.filter(|old| old.hash == before.hash);
        assert_eq!(*after, expected, "round {round}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_rotations_leave_one_secret() -> Result<(), Fault> {
    let stage = yielding::stage()?;
    let manager = stage.manager.clone();
    for (overlap, valid) in [(DAY, 2), (Duration::ZERO, 1)] {
        for round in 0..50 {
            let first = stage.issue("ada").await?;
            let id = first.key.id;
            let mut rotations = JoinSet::new();
            for _ in 0..8 {
                let manager = manager.clone();
                rotations.spawn(async move { manager.rotate(id, overlap).await });
            }
            let mut secrets: Vec<Issued> =
                rotations.join_all().await.into_iter().collect::<Result<_, _>>()?;
            secrets.push(first);
            let (mut admitted, mut current) = (0, 0);
            let stored = stage.manager.get(id).await?;
            for issued in secrets {
                let secret = issued.secret.expose_secret();
                let hash = stage.gate.hasher().hash(secret.as_bytes());
                current += usize::from(stored.hash == hash);
                admitted += usize::from(stage.refusal(secret).await.is_none());
            }
            assert_eq!((current, admitted), (1, valid), "round {round}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revocation_wins_over_concurrent_changes() -> Result<(), Fault> {
    let stage = yielding::stage()?;
    let manager = stage.manager.clone();
    for _ in 0..100 {
        let issued = stage.issue("ada").await?;
        let id = issued.key.id;
        let (rotating, resuming, revoking) = (manager.clone(), manager.clone(), manager.clone());
        let (rotated, _, revoked) = tokio::join!(
            tokio::spawn(async move { rotating.rotate(id, DAY).await }),
            tokio::spawn(async move { resuming.resume(id).await }),
            tokio::spawn(async move { revoking.revoke(id).await }),
        );
        revoked??;
        assert_eq!(stage.manager.get(id).await?.status, KeyStatus::Revoked);
        let new = rotated?.ok();
        for issued in new.into_iter().chain([issued]) {
            assert!(stage.refusal(issued.secret.expose_secret()).await.is_some());
        }
    }
    Ok(())
}
