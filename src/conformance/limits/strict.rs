//! Checks of strict windows: no period as long as the window sees more than the quota.

use std::time::Duration;

use super::time::exhaust;
use super::{DAY, HOUR, Limiter, MINUTE, TestKey};
use crate::account::{QuotaPolicy, QuotaScope};
use crate::conformance::fresh::{RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::limit::LimitDecision;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_strict_window_admits_its_quota_and_no_more,
        racing_draws_take_what_a_strict_window_has,
        what_another_window_refuses_no_strict_window_counts,
        a_strict_window_counts_for_itself,
        places_come_back_a_window_after_they_were_taken needs InjectedTime,
        any_time_of_a_windows_length_sees_no_more_than_the_quota needs InjectedTime,
        a_strict_window_is_full_again_after_its_reset needs InjectedTime,
        what_is_counted_together_comes_back_with_the_last_of_it needs InjectedTime,
        a_strict_window_admits_again_after_the_wait without InjectedTime,
    ]
}

fn strict(quota: u32, window: Duration) -> Result<QuotaPolicy, Fault> {
    Ok(super::policy(quota, window, QuotaScope::Key)?.in_any_window())
}

fn caller(limiter: Limiter, quota: u32, window: Duration) -> Result<TestKey, Fault> {
    Ok(TestKey::with(limiter, vec![strict(quota, window)?]))
}

async fn a_strict_window_admits_its_quota_and_no_more(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 5, DAY)?;
    same("what an unused key has left", caller.left().await?, vec![5])?;
    for left in (0..5).rev() {
        let LimitDecision::Within(window_status) = caller.draw().await? else {
            return Err(Fault::new(format!("the draw that leaves {left} of 5 is refused")));
        };
        same("what is left", window_status.remaining, left)?;
    }
    same("how many of 3 more are admitted", caller.admitted(3).await?, 0)?;
    same("what is left", caller.left().await?, vec![0])
}

async fn racing_draws_take_what_a_strict_window_has(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 5, DAY)?;
    let draws = (0..RACERS).map(|_| {
        let caller = caller.clone();
        move || caller.draw()
    });
    let answers = race(draws).await?;
    let admitted = answers.iter().filter(|answer| matches!(answer, LimitDecision::Within(_))).count();
    same("how many of 16 are admitted, with 5 in any day", admitted, 5)
}

async fn what_another_window_refuses_no_strict_window_counts(limiter: Limiter) -> Verdict {
    let policies = vec![super::policy(2, HOUR, QuotaScope::Key)?, strict(5, DAY)?];
    let caller = TestKey::with(limiter.clone(), policies);
    same("how many of 4 are admitted, with 2 per hour", caller.admitted(4).await?, 2)?;
    same("what each window has left", caller.left().await?, vec![0, 3])?;
    let policies = vec![strict(2, HOUR)?, super::policy(5, DAY, QuotaScope::Key)?];
    let caller = TestKey::with(limiter, policies);
    same("how many of 4 are admitted, with 2 in any hour", caller.admitted(4).await?, 2)?;
    same("what each window has left", caller.left().await?, vec![0, 3])
}

async fn a_strict_window_counts_for_itself(limiter: Limiter) -> Verdict {
    // The same key uses a policy of each kind in turn. Neither policy can read the state that the other has stored.
    let caller = caller(limiter, 2, DAY)?;
    same("how many of 3 are admitted, with 2 in any day", caller.admitted(3).await?, 2)?;
    let bucket = TestKey::with(caller.limiter.clone(), vec![super::policy(2, DAY, QuotaScope::Key)?]);
    let bucket = TestKey { key: caller.key.clone(), ..bucket };
    same("how many of 3 are admitted, with 2 per day", bucket.admitted(3).await?, 2)?;
    same("how many of 1 are admitted, with 2 in any day", caller.admitted(1).await?, 0)
}

async fn places_come_back_a_window_after_they_were_taken(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 2, MINUTE)?;
    let later =
        |seconds: u64, early: u64| caller.after(Duration::from_nanos(seconds * 1_000_000_000 - early));
    same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
    same("how many of 2 are admitted after 50 s", later(50, 0).admitted(2).await?, 1)?;
    let LimitDecision::Exceeded { retry_after, .. } = later(55, 0).draw().await? else {
        return Err(Fault::new("a third of 2 in any minute is admitted"));
    };
    same("the wait after 55 s", retry_after, Duration::from_secs(5))?;
    same("how many of 1 are admitted a nanosecond early", later(60, 1).admitted(1).await?, 0)?;
    same("how many of 2 are admitted after 60 s", later(60, 0).admitted(2).await?, 1)?;
    same("how many of 2 are admitted after 110 s", later(110, 0).admitted(2).await?, 1)
}

async fn any_time_of_a_windows_length_sees_no_more_than_the_quota(limiter: Limiter) -> Verdict {
    let (caller, mut admitted) = (caller(limiter, 30, MINUTE)?, Vec::new());
    // Bursts of ten, at times that do not align with any stretch of the window.
    for second in (0..300).step_by(7) {
        let burst = caller.after(Duration::from_secs(second)).admitted(10).await?;
        admitted.extend(std::iter::repeat_n(second, burst));
        let lately = admitted.iter().filter(|at| **at + 60 > second).count();
        if lately > 30 {
            return Err(Fault::new(format!("{lately} in the minute up to second {second}, with 30 in any")));
        }
    }
    // Thirty requests take at most 17 sixteenths of a minute, and a burst comes only every seven seconds.
    holds(&format!("{} were admitted in 5 minutes", admitted.len()), admitted.len() >= 120)
}

async fn a_strict_window_is_full_again_after_its_reset(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 6, MINUTE)?;
    same("how many of 4 are admitted", caller.admitted(4).await?, 4)?;
    let later = caller.after(Duration::from_secs(20));
    same("how many of 1 are admitted after 20 s", later.admitted(1).await?, 1)?;
    let resets: Vec<Duration> = later.peek().await?.iter().map(|window| window.reset).collect();
    same("in what time the window is full", resets, vec![MINUTE])?;
    same("what is left after 60 s", caller.after(MINUTE).left().await?, vec![5])?;
    same("what is left after 80 s", later.after(MINUTE).left().await?, vec![6])
}

async fn what_is_counted_together_comes_back_with_the_last_of_it(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 32, Duration::from_secs(16))?;
    same("how many of 40 are admitted", caller.admitted(40).await?, 32)?;
    let LimitDecision::Exceeded { retry_after, .. } = caller.draw().await? else {
        return Err(Fault::new("a 33rd of 32 is admitted"));
    };
    same("the wait", retry_after, Duration::from_secs(16))?;
    let later = caller.after(retry_after);
    same("what is left then", later.left().await?, vec![32])?;
    same("how many of 40 are admitted then", later.admitted(40).await?, 32)
}

async fn a_strict_window_admits_again_after_the_wait(limiter: Limiter) -> Verdict {
    let window = Duration::from_secs(1);
    let caller = caller(limiter, 5, window)?;
    let wait = exhaust(&caller).await?;
    holds(&format!("the wait {wait:?} is no longer than the window"), wait <= window)?;
    // The limiter's own clock may differ slightly from ours.
    tokio::time::sleep(wait + Duration::from_millis(2)).await;
    same("whether one is admitted after the wait", caller.admitted(1).await?, 1)
}
