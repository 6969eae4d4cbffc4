//! Checks of windows over time.

use std::time::Duration;

use super::{DAY, HOUR, Limiter, MINUTE, TestKey};
use crate::clock::Now;
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::limit::LimitDecision;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_refused_request_is_told_about_how_long_to_wait,
        wall_time_moves_no_window,
        a_refused_request_is_admitted_when_it_was_told_and_not_before needs InjectedTime,
        the_wait_is_that_of_all_windows needs InjectedTime,
        a_window_refills_evenly needs InjectedTime,
        a_window_holds_no_more_than_its_quota needs InjectedTime,
        a_window_is_full_again_after_its_reset needs InjectedTime,
        more_is_left_when_it_was_told needs InjectedTime,
        idle_windows_of_an_account_come_back_full needs InjectedTime,
        a_refused_request_is_admitted_after_the_wait without InjectedTime,
        a_window_refills_as_time_goes_by without InjectedTime,
    ]
}

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Draws until a draw is refused. Returns the time to wait.
pub(super) async fn exhaust(caller: &TestKey) -> Result<Duration, Fault> {
    for _ in 0..100 {
        if let LimitDecision::Exceeded { retry_after, .. } = caller.draw().await? {
            return Ok(retry_after);
        }
    }
    Err(Fault::new("a hundred draws are admitted of a small quota"))
}

async fn is_admitted(caller: &TestKey) -> Result<bool, Fault> {
    Ok(matches!(caller.draw().await?, LimitDecision::Within(_)))
}

async fn a_refused_request_is_told_about_how_long_to_wait(limiter: Limiter) -> Verdict {
    let wait = exhaust(&TestKey::new(limiter, &[(4, DAY)])?).await?;
    holds(&format!("the wait {wait:?} is about six hours"), wait <= HOUR * 6 && wait + MINUTE * 2 > HOUR * 6)
}

async fn wall_time_moves_no_window(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(2, DAY)])?;
    same("how many of 3 are admitted", caller.admitted(3).await?, 2)?;
    for wall in [0, caller.now.wall().as_millis() * 2] {
        let stepped = Now::new(crate::clock::Timestamp::from_millis(wall), caller.now.elapsed());
        let caller = TestKey { now: stepped, ..caller.clone() };
        same("whether a request is admitted after wall time stepped", is_admitted(&caller).await?, false)?;
    }
    Ok(())
}

async fn a_refused_request_is_admitted_when_it_was_told_and_not_before(limiter: Limiter) -> Verdict {
    for windows in [[(3, MINUTE)], [(7, HOUR)], [(1, DAY)]] {
        let caller = TestKey::new(limiter.clone(), &windows)?;
        let wait = exhaust(&caller).await?;
        same(
            "a nanosecond early",
            is_admitted(&caller.after(wait.saturating_sub(NANOSECOND))).await?,
            false,
        )?;
        same("after the announced wait", is_admitted(&caller.after(wait)).await?, true)?;
        same("at once after that", is_admitted(&caller.after(wait)).await?, false)?;
    }
    Ok(())
}

async fn the_wait_is_that_of_all_windows(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(2, MINUTE), (3, HOUR)])?;
    let first = exhaust(&caller).await?;
    same("the wait for the minute", first, MINUTE / 2)?;
    let later = caller.after(first);
    same("whether the third is admitted", is_admitted(&later).await?, true)?;
    let second = exhaust(&later).await?;
    same("the wait for the hour", second, Duration::from_secs(1_170))?;
    same("a nanosecond early", is_admitted(&later.after(second.saturating_sub(NANOSECOND))).await?, false)?;
    same("after the announced wait", is_admitted(&later.after(second)).await?, true)
}

async fn a_window_refills_evenly(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(6, MINUTE)])?;
    exhaust(&caller).await?;
    for (seconds, left) in [(9, 0), (10, 1), (35, 3), (59, 5), (60, 6)] {
        let later = caller.after(Duration::from_secs(seconds));
        same(&format!("what is left after {seconds} s"), later.left().await?, vec![left])?;
    }
    Ok(())
}

async fn a_window_holds_no_more_than_its_quota(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(6, MINUTE)])?;
    same("how many of 2 are admitted", caller.admitted(2).await?, 2)?;
    let much_later = caller.after(HOUR);
    same("what is left an hour later", much_later.left().await?, vec![6])?;
    same("how many of 9 are admitted an hour later", much_later.admitted(9).await?, 6)
}

async fn a_window_is_full_again_after_its_reset(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(6, MINUTE), (60, HOUR)])?;
    same("how many of 4 are admitted", caller.admitted(4).await?, 4)?;
    let resets: Vec<Duration> = caller.peek().await?.iter().map(|window| window.reset).collect();
    same("in what time each window is full", resets, vec![Duration::from_secs(40), MINUTE * 4])?;
    let later = caller.after(MINUTE * 4);
    same("what is left then", later.left().await?, vec![6, 60])
}

async fn more_is_left_when_it_was_told(limiter: Limiter) -> Verdict {
    let policies = [
        super::policy(6, MINUTE, crate::account::QuotaScope::Key)?,
        super::policy(4, HOUR, crate::account::QuotaScope::Key)?.in_any_window(),
    ];
    let caller = TestKey::with(limiter, policies.to_vec());
    same("how many of 2 are admitted", caller.admitted(2).await?, 2)?;
    let later = caller.after(MINUTE / 4);
    same("how many of 2 are admitted later", later.admitted(2).await?, 2)?;
    for window in later.peek().await? {
        holds(
            &format!("{:?} is not after {:?}", window.next(), window.reset),
            window.next() <= window.reset,
        )?;
        let left = later.after(window.next()).left().await?;
        let more = left.get(window.policy).is_some_and(|left| *left > window.remaining);
        holds(&format!("{left:?} is left after {:?}, more than {}", window.next(), window.remaining), more)?;
    }
    Ok(())
}

async fn idle_windows_of_an_account_come_back_full(limiter: Limiter) -> Verdict {
    let shared = super::policy(3, MINUTE, crate::account::QuotaScope::Account)?;
    let caller = TestKey::with(limiter, vec![shared]);
    for minutes in [0, 10, 20] {
        let later = caller.after(MINUTE * minutes).other(&caller.key.account);
        same("how many of 5 are admitted", later.admitted(5).await?, 3)?;
    }
    Ok(())
}

async fn a_refused_request_is_admitted_after_the_wait(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(5, Duration::from_secs(1))])?;
    let wait = exhaust(&caller).await?;
    holds(&format!("the wait {wait:?} is no longer than a refill"), wait <= Duration::from_millis(200))?;
    // The limiter's own clock may differ slightly from ours.
    tokio::time::sleep(wait + Duration::from_millis(2)).await;
    same("after the wait", is_admitted(&caller).await?, true)
}

async fn a_window_refills_as_time_goes_by(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(20, Duration::from_secs(2))])?;
    let start = std::time::Instant::now();
    exhaust(&caller).await?;
    let mut admitted = 20;
    while start.elapsed() < Duration::from_millis(500) {
        admitted += caller.admitted(1).await?;
    }
    // One cell is refilled every 100 ms. The draws before the first refusal took some of the time.
    let most = 20 + start.elapsed().as_millis() / 100 + 1;
    holds(&format!("{admitted} were admitted in half a second, at most {most}"), admitted as u128 <= most)?;
    holds(&format!("{admitted} were admitted, some of them refilled"), admitted >= 23)
}
