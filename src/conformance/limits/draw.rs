//! Checks of draws from the windows of one key.

use super::{DAY, HOUR, Limiter, TestKey};
use crate::conformance::fresh::{RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::limit::LimitDecision;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_quota_admits_so_many_and_no_more,
        what_is_left_counts_down,
        the_window_with_the_least_left_is_named,
        the_window_that_takes_longest_is_named,
        a_refused_draw_takes_from_no_window,
        peeking_takes_nothing,
        an_unused_key_has_full_windows,
        standings_come_in_the_order_of_the_policies,
        racing_draws_take_what_there_is,
        racing_draws_take_from_all_windows_or_none,
        another_copy_of_a_record_meets_the_same_windows,
        the_widest_quotas_are_counted,
    ]
}

async fn a_quota_admits_so_many_and_no_more(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(5, DAY)])?;
    same("how many of 8 are admitted, with 5 per day", caller.admitted(8).await?, 5)
}

async fn what_is_left_counts_down(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(3, DAY)])?;
    for left in [2, 1, 0] {
        let LimitDecision::Within(window_status) = caller.draw().await? else {
            return Err(Fault::new(format!("the draw that leaves {left} of 3 is refused")));
        };
        same("what is left", (window_status.policy, window_status.remaining), (0, left))?;
    }
    let LimitDecision::Exceeded { window_status, .. } = caller.draw().await? else {
        return Err(Fault::new("a fourth draw of 3 is admitted"));
    };
    same("what is left", (window_status.policy, window_status.remaining), (0, 0))
}

async fn the_window_with_the_least_left_is_named(limiter: Limiter) -> Verdict {
    for (windows, expected) in [([(9, HOUR), (4, DAY)], (1, 3)), ([(4, HOUR), (9, DAY)], (0, 3))] {
        let quota = TestKey::new(limiter.clone(), &windows)?.draw().await?;
        let named = if let LimitDecision::Within(window_status) = quota {
            Some((window_status.policy, window_status.remaining))
        } else {
            None
        };
        same("the window, and what it has left", named, Some(expected))?;
    }
    Ok(())
}

async fn the_window_that_takes_longest_is_named(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(1, HOUR), (1, DAY)])?;
    same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
    let LimitDecision::Exceeded { retry_after, window_status } = caller.draw().await? else {
        return Err(Fault::new("a second draw of 1 per hour is admitted"));
    };
    same("the window", window_status.policy, 1)?;
    holds(&format!("the wait {retry_after:?} is about a day"), retry_after <= DAY && retry_after + HOUR > DAY)
}

async fn a_refused_draw_takes_from_no_window(limiter: Limiter) -> Verdict {
    for windows in [[(2, HOUR), (5, DAY)], [(5, HOUR), (2, DAY)]] {
        let caller = TestKey::new(limiter.clone(), &windows)?;
        same("how many of 9 are admitted", caller.admitted(9).await?, 2)?;
        let expected = windows.iter().map(|(quota, _)| quota - 2).collect();
        same("what each window has left", caller.left().await?, expected)?;
    }
    Ok(())
}

async fn peeking_takes_nothing(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(3, DAY)])?;
    for expected in [3, 2] {
        for _ in 0..4 {
            same("what is left", caller.left().await?, vec![expected])?;
        }
        same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
    }
    same("how many of 3 are admitted, of 1", caller.admitted(3).await?, 1)
}

async fn an_unused_key_has_full_windows(limiter: Limiter) -> Verdict {
    let window_statuses = TestKey::new(limiter, &[(3, HOUR), (9, DAY)])?.peek().await?;
    let found: Vec<_> =
        window_statuses.iter().map(|window| (window.policy, window.remaining, window.reset)).collect();
    same("the windows", found, vec![(0, 3, std::time::Duration::ZERO), (1, 9, std::time::Duration::ZERO)])
}

async fn standings_come_in_the_order_of_the_policies(limiter: Limiter) -> Verdict {
    // The windows differ in their quotas. The order is the shortest window first.
    let caller = TestKey::new(limiter, &[(7, DAY), (5, HOUR)])?;
    same("how many of 2 are admitted", caller.admitted(2).await?, 2)?;
    same("what each window has left", caller.left().await?, vec![3, 5])
}

async fn racing_draws_take_what_there_is(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(5, DAY)])?;
    same("how many of 16 are admitted, with 5 per day", racing(&caller).await?, 5)
}

async fn racing_draws_take_from_all_windows_or_none(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(9, HOUR), (5, DAY)])?;
    same("how many of 16 are admitted, with 9 per hour and 5 per day", racing(&caller).await?, 5)?;
    same("what each window has left", caller.left().await?, vec![4, 0])
}

async fn racing(caller: &TestKey) -> Result<usize, Fault> {
    let draws = (0..RACERS).map(|_| {
        let caller = caller.clone();
        move || caller.draw()
    });
    let answers = race(draws).await?;
    Ok(answers.iter().filter(|answer| matches!(answer, LimitDecision::Within(_))).count())
}

async fn another_copy_of_a_record_meets_the_same_windows(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(5, DAY)])?;
    same("how many of 3 are admitted", caller.admitted(3).await?, 3)?;
    // A record that was read again has none of the state that a limiter may attach to it.
    let copy = TestKey { key: crate::key::KeyRecord::clone(&caller.key).into(), ..caller };
    same("how many of 3 are admitted by a copy, of 2", copy.admitted(3).await?, 2)
}

async fn the_widest_quotas_are_counted(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter.clone(), &[(1, DAY * 366)])?;
    same("how many of 2 are admitted, with 1 in 366 days", caller.admitted(2).await?, 1)?;
    let most = TestKey::new(limiter, &[(u32::MAX, DAY * 366)])?;
    same("how many of 2 are admitted, with the largest quota", most.admitted(2).await?, 2)?;
    let left = most.left().await?;
    holds(&format!("it has all but two left: {left:?}"), left.iter().all(|left| *left >= u32::MAX - 2))
}
