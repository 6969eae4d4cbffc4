//! Any sequence of operations leaves lists, look-ups and the cap as a naive model has them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;
use crate::model;

use std::time::Duration;

use management::{Fault, Stage};
use model::{Dead, Model, Secret};
use proptest::prelude::*;
use tollgate::manage::{KeyChange, ListKeys, ManageError};
use tollgate::{KeyId, NewKey};

const ACCOUNTS: [&str; 2] = ["ada", "bob"];

/// An operation; keys are named by their place among all that were ever issued.
#[derive(Debug, Clone)]
enum Step {
    Issue { account: usize, lives: Option<u64> },
    Pause(usize),
    Resume(usize),
    Revoke(usize),
    Rotate { key: usize, overlap: u64 },
    Rename(usize),
    Expire { key: usize, lives: Option<u64> },
    Leak(usize),
    Erase(usize),
    Sweep(u64),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (key, millis) = (|| 0..12_usize, || 0..2_000_u64);
    prop_oneof![
        4 => (0..2_usize, proptest::option::of(millis()))
            .prop_map(|(account, lives)| Step::Issue { account, lives }),
        2 => key().prop_map(Step::Pause),
        2 => key().prop_map(Step::Resume),
        1 => key().prop_map(Step::Revoke),
        3 => (key(), 0..1_000_u64).prop_map(|(key, overlap)| Step::Rotate { key, overlap }),
        1 => key().prop_map(Step::Rename),
        2 => (key(), proptest::option::of(millis())).prop_map(|(key, lives)| Step::Expire { key, lives }),
        1 => (0..24_usize).prop_map(Step::Leak),
        1 => key().prop_map(Step::Erase),
        1 => millis().prop_map(Step::Sweep),
        4 => millis().prop_map(Step::Advance),
    ]
}

/// Returns the outcome of an operation, as far as the model predicts it.
fn foreseen<T>(done: Result<T, ManageError>) -> Result<Option<T>, Dead> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(ManageError::Dead) => Err(Dead),
        Err(
            ManageError::NotFound(_) | ManageError::NotInPlan(_) | ManageError::KeyLimitReached { most: 2 },
        ) => Ok(None),
        Err(ManageError::Invalid { member, .. }) if member == "expiresAt" => Ok(None),
        Err(error) => panic!("{error}"),
    }
}

async fn play(stage: &Stage, model: &mut Model, step: &Step) {
    let manager = &stage.manager;
    let unknown = KeyId::from_bytes([0; 16]);
    let id = |model: &Model, key: usize| model.keys.get(key).map_or(unknown, |key| key.id);
    match *step {
        Step::Issue { account, lives } => {
            let mut new = NewKey::new(ACCOUNTS[account], "a key");
            new.expires_at = lives.map(|lives| model.now.saturating_add(Duration::from_millis(lives)));
            let expires_at = new.expires_at;
            let issued = foreseen(manager.issue(new).await).unwrap_or_else(|_| panic!("a new key is dead"));
            let secret = issued.map(|issued| (issued.key.id, issued.secret.expose_secret().to_owned()));
            assert_eq!(secret.is_some(), model.may_issue(ACCOUNTS[account], expires_at));
            if let Some((id, secret)) = secret {
                model.issue(ACCOUNTS[account], id, secret, expires_at);
            }
        }
        Step::Pause(key) => {
            let paused = foreseen(manager.pause(id(model, key)).await).map(|done| done.is_some());
            assert_eq!(paused, model.pause(key, true));
        }
        Step::Resume(key) => {
            let resumed = foreseen(manager.resume(id(model, key)).await).map(|done| done.is_some());
            assert_eq!(resumed, model.pause(key, false));
        }
        Step::Revoke(key) => {
            let revoked = foreseen(manager.revoke(id(model, key)).await).map(|done| done.is_some());
            assert_eq!(revoked, Ok(model.revoke(key)));
        }
        Step::Rotate { key, overlap } => {
            let overlap = Duration::from_millis(overlap);
            let rotated = foreseen(manager.rotate(id(model, key), overlap).await);
            let secret = rotated.map(|done| done.map(|done| done.secret.expose_secret().to_owned()));
            assert_eq!(secret.as_ref().map(Option::is_some).map_err(|dead| *dead), model.alive(key));
            if let Ok(Some(secret)) = secret {
                model.rotate(key, secret, overlap);
            }
        }
        Step::Rename(key) => {
            let change = KeyChange { name: Some(format!("renamed {key}")), ..KeyChange::default() };
            let renamed = foreseen(manager.update(id(model, key), &change).await).map(|done| done.is_some());
            assert_eq!(renamed, model.rename(key));
        }
        Step::Expire { key, lives } => {
            let end = lives.map(|lives| model.now.saturating_add(Duration::from_millis(lives)));
            let change = KeyChange { expires_at: Some(end), ..KeyChange::default() };
            let changed = foreseen(manager.update(id(model, key), &change).await).map(|done| done.is_some());
            assert_eq!(changed, model.expire(key, end));
        }
        Step::Leak(secret) => {
            let Some(Secret { text: secret, .. }) = model.secrets.get(secret).cloned() else { return };
            assert_eq!(manager.report_leak(&secret).await.unwrap(), model.leak(&secret));
        }
        Step::Erase(key) => {
            assert_eq!(foreseen(manager.erase(id(model, key)).await).map(|done| done.is_some()), {
                Ok(model.erase(key))
            });
        }
        Step::Sweep(dead_for) => {
            let swept = manager.sweep(Duration::from_millis(dead_for)).await.unwrap();
            assert_eq!(swept, model.sweep(dead_for));
        }
        Step::Advance(millis) => {
            stage.clock.advance(Duration::from_millis(millis));
            model.now = model.now.saturating_add(Duration::from_millis(millis));
        }
    }
}

/// Checks that lists, look-ups and the gate agree with the model.
async fn compare(stage: &Stage, model: &Model) {
    for account in [None, Some("ada"), Some("bob")] {
        let mut asked = ListKeys::default();
        (asked.account, asked.limit) = (account.map(Into::into), 1_000);
        let listed = stage.manager.list(&asked).await.unwrap();
        let shown = listed.keys.iter();
        let shown: Vec<_> =
            shown.map(|key| (key.id, key.name.clone(), key.status, key.is_active, key.expires_at)).collect();
        assert_eq!(shown, model.listed(account));
    }
    for Secret { text: secret, .. } in &model.secrets {
        assert_eq!(stage.refusal(secret).await, model.refusal(secret), "{secret}");
    }
}

fn run(steps: &[Step]) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let stage = Stage::set()?;
    let mut model = Model::starting_at(stage.gate.clock().now().wall());
    runtime.block_on(async {
        for step in steps {
            play(&stage, &mut model, step).await;
            compare(&stage, &model).await;
        }
    });
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_operation_sequence_matches_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        run(&steps).unwrap();
    }
}
