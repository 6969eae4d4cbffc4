//! Checks of corrections: a draw whose weight is known only later.

use std::time::Duration;

use super::{DAY, HOUR, Limiter, MINUTE, TestKey, policy};
use crate::account::{QuotaPolicy, QuotaScope};
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::limit::LimitDecision;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_correction_gives_back_what_was_not_used,
        a_correction_takes_what_was_used_beyond,
        a_correction_reaches_every_window,
        a_correction_leaves_requests_counted,
        a_correction_may_owe needs InjectedTime,
        a_correction_owes_no_more_than_the_capacity needs InjectedTime,
        refilled_units_are_not_given_back needs InjectedTime,
        a_strict_correction_frees_the_oldest_places needs InjectedTime,
        a_late_strict_correction_frees_nothing needs InjectedTime,
    ]
}

fn strict(quota: u32, window: Duration) -> Result<QuotaPolicy, Fault> {
    Ok(policy(quota, window, QuotaScope::Key)?.in_any_window())
}

/// The same quota as a bucket and as a strict window.
fn callers(limiter: &Limiter, quota: u32, window: Duration) -> Result<[TestKey; 2], Fault> {
    let bucket = TestKey::with(limiter.clone(), vec![policy(quota, window, QuotaScope::Key)?]);
    Ok([bucket, TestKey::with(limiter.clone(), vec![strict(quota, window)?])])
}

async fn a_correction_gives_back_what_was_not_used(limiter: Limiter) -> Verdict {
    for caller in callers(&limiter, 10, DAY)? {
        let heavy = caller.weighing(6);
        same("how many of 2 are admitted, of 6 units each", heavy.admitted(2).await?, 1)?;
        heavy.correct(2, Duration::ZERO).await?;
        same("what is left of 10 after a request that used 2", caller.left().await?, vec![8])?;
        same("how many of 2 are admitted, of 6 units each", heavy.admitted(2).await?, 1)?;
        heavy.correct(0, Duration::ZERO).await?;
        same("what is left of 8 after a request that used nothing", caller.left().await?, vec![8])?;
    }
    Ok(())
}

async fn a_correction_takes_what_was_used_beyond(limiter: Limiter) -> Verdict {
    for caller in callers(&limiter, 10, DAY)? {
        same("how many of 1 are admitted, of 2 units", caller.weighing(2).admitted(1).await?, 1)?;
        caller.weighing(2).correct(7, Duration::ZERO).await?;
        same("what is left of 10 after a request that used 7", caller.left().await?, vec![3])?;
        caller.weighing(2).correct(6, Duration::ZERO).await?;
        same("what is left of 3 after 4 more", caller.left().await?, vec![0])?;
        same("how many of 1 are admitted", caller.admitted(1).await?, 0)?;
    }
    Ok(())
}

async fn a_correction_reaches_every_window(limiter: Limiter) -> Verdict {
    let policies =
        [policy(9, HOUR, QuotaScope::Key)?, strict(20, DAY)?, policy(12, DAY, QuotaScope::Account)?];
    let caller = TestKey::with(limiter, policies.to_vec());
    same("how many of 1 are admitted, of 5 units", caller.weighing(5).admitted(1).await?, 1)?;
    caller.weighing(5).correct(1, Duration::ZERO).await?;
    same("what each window has left", caller.left().await?, vec![8, 19, 11])?;
    caller.weighing(1).correct(4, Duration::ZERO).await?;
    same("what each window has left", caller.left().await?, vec![5, 16, 8])
}

async fn a_correction_leaves_requests_counted(limiter: Limiter) -> Verdict {
    let requests = policy(5, HOUR, QuotaScope::Key)?.with_unit("requests");
    let requests = requests.map_err(|error| Fault::new(error.to_string()))?;
    let caller = TestKey::with(limiter, vec![requests, policy(9, DAY, QuotaScope::Key)?]);
    same("how many of 1 are admitted, of 4 units", caller.weighing(4).admitted(1).await?, 1)?;
    for (actual, left) in [(0, 9), (8, 5)] {
        caller.weighing(4).correct(actual, Duration::ZERO).await?;
        same("what is left of 5 requests and of 9 units", caller.left().await?, vec![4, left])?;
    }
    Ok(())
}

async fn wait_of(caller: &TestKey) -> Result<Duration, Fault> {
    match caller.draw().await? {
        LimitDecision::Exceeded { retry_after, .. } => Ok(retry_after),
        LimitDecision::Within(_) => Err(Fault::new("a request is admitted by a window that owes units")),
    }
}

async fn a_correction_may_owe(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(6, MINUTE)])?;
    same("how many of 1 are admitted, of 6 units", caller.weighing(6).admitted(1).await?, 1)?;
    caller.weighing(6).correct(9, Duration::ZERO).await?;
    same("the wait for 1 unit, of which 3 are owed", wait_of(&caller).await?, Duration::from_secs(40))?;
    same("what is left after the wait", caller.after(Duration::from_secs(40)).left().await?, vec![1])
}

async fn a_correction_owes_no_more_than_the_capacity(limiter: Limiter) -> Verdict {
    for caller in callers(&limiter, 6, MINUTE)? {
        same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
        for _ in 0..3 {
            caller.weighing(1).correct(u32::MAX, Duration::ZERO).await?;
        }
        let is_strict = caller.quotas.policies().all(QuotaPolicy::is_strict);
        let wait = if is_strict { MINUTE } else { MINUTE + MINUTE / 6 };
        same("the wait for 1 unit, of which the capacity is owed", wait_of(&caller).await?, wait)?;
        same("what is left after two windows", caller.after(MINUTE * 2).left().await?, vec![6])?;
    }
    Ok(())
}

async fn refilled_units_are_not_given_back(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(6, MINUTE)])?;
    let whole = caller.weighing(6);
    same("how many of 1 are admitted, of 6 units", whole.admitted(1).await?, 1)?;
    let half = MINUTE / 2;
    whole.after(half).correct(0, half).await?;
    same("what is left after half a minute", caller.after(half).left().await?, vec![6])?;
    // The window is full again when another request takes all of it.
    let later = whole.after(HOUR);
    same("how many of 1 are admitted an hour later", later.admitted(1).await?, 1)?;
    let end = later.after(MINUTE);
    same("how many of 1 are admitted a minute later", end.admitted(1).await?, 1)?;
    end.correct(0, MINUTE).await?;
    same("what is left after the first request used nothing", end.left().await?, vec![0])
}

async fn a_strict_correction_frees_the_oldest_places(limiter: Limiter) -> Verdict {
    let caller = TestKey::with(limiter, vec![strict(6, MINUTE)?]);
    same("how many of 2 are admitted", caller.admitted(2).await?, 2)?;
    let later = caller.after(MINUTE / 2);
    same("how many of 1 are admitted after 30 s, of 4 units", later.weighing(4).admitted(1).await?, 1)?;
    later.weighing(4).correct(1, Duration::ZERO).await?;
    same("what is left of 6 after 2 and 1", later.left().await?, vec![3])?;
    // The two oldest places and one of the later ones were given back.
    same("what is left after a minute", caller.after(MINUTE).left().await?, vec![3])?;
    same("what is left after 90 s", later.after(MINUTE).left().await?, vec![6])
}

async fn a_late_strict_correction_frees_nothing(limiter: Limiter) -> Verdict {
    let caller = TestKey::with(limiter, vec![strict(6, MINUTE)?]);
    same("how many of 1 are admitted, of 4 units", caller.weighing(4).admitted(1).await?, 1)?;
    let later = caller.after(MINUTE);
    same("how many of 1 are admitted a minute later, of 6 units", later.weighing(6).admitted(1).await?, 1)?;
    later.weighing(4).correct(0, MINUTE).await?;
    same("what is left", later.left().await?, vec![0])
}
