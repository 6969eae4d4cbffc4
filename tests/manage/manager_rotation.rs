//! Rotation under load: who switches during the overlap sees no refusal, who does not is refused from its end on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Request;
use management::{DAY, Fault, Stage, refusal};
use tokio::task::JoinHandle;
use tollgate::account::{Allowance, Grant, GrantPeriod};
use tollgate::gate::Outcome;
use tollgate::rule::Cost;
use tollgate::{Account, Credits, DenialKind, Gate, Plan, RequestView, Rule};

const STEP: Duration = Duration::from_millis(1);

/// A client that uses whatever secret it was given last, without a pause, until it is told to stop.
async fn client(gate: Gate, secret: Arc<RwLock<String>>, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) {
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        while !stop.load(Ordering::SeqCst) {
            // Held until the answer is there: the operator hands a new secret over between two requests.
            let secret = secret.read().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(runtime.block_on(refusal(&gate, &secret)), None);
            drop(secret);
            served.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// Waits until the clients have been served a few times more.
async fn served_more(served: &AtomicUsize, clients: &[JoinHandle<()>]) {
    let enough = served.load(Ordering::SeqCst) + 6;
    while served.load(Ordering::SeqCst) < enough {
        assert!(!clients.iter().any(JoinHandle::is_finished), "a client was refused");
        tokio::task::yield_now().await;
    }
}

/// Moves time on by milliseconds, and says at which of them the secret was refused first.
async fn refused_after(stage: &Stage, secret: &str, at_most: u32) -> Option<u32> {
    for millis in 0..=at_most {
        match stage.refusal(secret).await {
            None => stage.clock.advance(STEP),
            Some(kind) => {
                assert_eq!(kind, DenialKind::Revoked);
                return Some(millis);
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_secret_works_until_the_overlap_ends() -> Result<(), Fault> {
    const OVERLAP: u32 = 50;
    let stage = Stage::set()?;
    let issued = stage.issue("ada").await?;
    let mut old = issued.secret.expose_secret().to_owned();
    let (secret, stop) = (Arc::new(RwLock::new(old.clone())), Arc::new(AtomicBool::new(false)));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..3)
        .map(|_| tokio::spawn(client(stage.gate.clone(), secret.clone(), stop.clone(), served.clone())))
        .collect();
    for _ in 0..40 {
        let rotated = stage.manager.rotate(issued.key.id, OVERLAP * STEP).await?;
        let new = rotated.secret.expose_secret().to_owned();
        served_more(&served, &clients).await;
        assert_eq!(refused_after(&stage, &old, OVERLAP / 2).await, None);
        secret.write().unwrap_or_else(PoisonError::into_inner).clone_from(&new);
        served_more(&served, &clients).await;
        // As many milliseconds again: the old secret is good up to the last one, and not at the end.
        let left = OVERLAP - OVERLAP / 2 - 1;
        assert_eq!(refused_after(&stage, &old, OVERLAP).await, Some(left));
        assert_eq!(stage.refusal(&new).await, None);
        old = new;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_or_two_secrets_are_valid() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let first = stage.issue("ada").await?;
    let id = first.key.id;
    let mut secrets = vec![first.secret];
    for overlap in [10, 10, 0, 10, 1, 10] {
        secrets.push(stage.manager.rotate(id, overlap * STEP).await?.secret);
        for millis in 0..3 {
            let mut valid = Vec::new();
            for (place, secret) in secrets.iter().enumerate() {
                if stage.refusal(secret.expose_secret()).await.is_none() {
                    valid.push(place);
                }
            }
            let newest = secrets.len() - 1;
            let expected = if millis < overlap { vec![newest - 1, newest] } else { vec![newest] };
            assert_eq!(valid, expected, "overlap {overlap}, after {millis} ms");
            stage.clock.advance(STEP);
        }
    }
    Ok(())
}

#[tokio::test]
async fn revocation_ends_both_secrets() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let old = stage.issue("ada").await?;
    let new = stage.manager.rotate(old.key.id, DAY).await?;
    let (old_secret, new_secret) = (old.secret.expose_secret(), new.secret.expose_secret());
    stage.manager.pause(old.key.id).await?;
    for secret in [&old_secret, &new_secret] {
        assert_eq!(stage.refusal(secret).await, Some(DenialKind::Paused));
    }
    stage.manager.resume(old.key.id).await?;
    stage.manager.revoke(old.key.id).await?;
    for secret in [&old_secret, &new_secret] {
        assert!(stage.refusal(secret).await.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn overlap_ends_with_the_key() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let old = stage.issue("cyd").await?;
    let new = stage.manager.rotate(old.key.id, Duration::MAX).await?;
    let (old_secret, new_secret) = (old.secret.expose_secret(), new.secret.expose_secret());
    assert_eq!((new.key.id, new.key.expires_at), (old.key.id, old.key.expires_at));
    stage.clock.advance((7 * DAY).saturating_sub(STEP));
    assert_eq!(stage.refusal(old_secret).await, None);
    stage.clock.advance(STEP);
    for secret in [&old_secret, &new_secret] {
        assert_eq!(stage.refusal(secret).await, Some(DenialKind::Expired));
    }
    Ok(())
}

/// Returns the gate's denial of a key, for a request that costs a credit.
async fn pay(stage: &Stage, secret: &str) -> Option<DenialKind> {
    let request = Request::get("/paid").header("X-API-Key", secret).body(()).unwrap();
    match stage.gate.admit(&RequestView::of(&request)).await {
        Ok(admission) => {
            admission.finish(Outcome::Served).await.unwrap();
            None
        }
        Err(denial) => Some(denial.kind()),
    }
}

#[tokio::test]
async fn rotation_keeps_limits_credits_and_id() -> Result<(), Fault> {
    let (mut limited, mut paying) = (Plan::new("limited"), Plan::new("paying"));
    limited.quotas.push("5 per hour".parse()?);
    paying.credits = Allowance::Grant(Grant::new(Credits::new(5), GrantPeriod::every(DAY)?));
    let mut rule = Rule::new("GET /paid")?;
    rule.cost = Cost::Fixed(Credits::new(1));
    let stage = Stage::set_with(|builder, _| builder.plan(limited).plan(paying).rule(rule))?;
    stage.store.put_account(Account::new("eve", "limited"));
    stage.store.put_account(Account::new("fay", "paying"));
    let table = [("eve", DenialKind::RateLimited), ("fay", DenialKind::CreditsExhausted)];
    for (account, exhausted) in table {
        let old = stage.issue(account).await?;
        let old_secret = old.secret.expose_secret();
        let ask = async |secret: &str| match exhausted {
            DenialKind::RateLimited => stage.refusal(secret).await,
            _ => pay(&stage, secret).await,
        };
        for _ in 0..3 {
            assert_eq!(ask(old_secret).await, None);
        }
        let new = stage.manager.rotate(old.key.id, DAY).await?;
        let new_secret = new.secret.expose_secret();
        assert_eq!(new.key.id, old.key.id);
        assert_eq!(ask(new_secret).await, None);
        assert_eq!(ask(old_secret).await, None);
        for secret in [&old_secret, &new_secret] {
            assert_eq!(ask(secret).await, Some(exhausted), "{account}");
        }
    }
    Ok(())
}
