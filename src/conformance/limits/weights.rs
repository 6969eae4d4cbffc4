//! Checks of requests that take more than one unit.

use std::sync::Arc;
use std::time::Duration;

use super::{DAY, HOUR, Limiter, MINUTE, TestKey, policy};
use crate::account::{QuotaPolicy, QuotaScope, Quotas};
use crate::conformance::fresh::{RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::limit::LimitDecision;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_request_takes_its_weight,
        a_refused_weight_takes_nothing,
        a_weight_is_taken_from_all_windows_or_none,
        a_weight_may_take_a_whole_window,
        a_weight_above_the_capacity_takes_it_all,
        a_quota_of_requests_counts_one,
        a_strict_window_takes_the_weight,
        racing_weights_take_what_there_is,
        a_wait_is_that_of_the_weight needs InjectedTime,
        a_strict_wait_is_that_of_the_weight needs InjectedTime,
        changed_quotas_take_the_weight needs InjectedTime,
    ]
}

async fn a_request_takes_its_weight(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(10, DAY)])?;
    let heavy = caller.weighing(3);
    for left in [7, 4, 1] {
        let LimitDecision::Within(window_status) = heavy.draw().await? else {
            return Err(Fault::new(format!("the draw of 3 that leaves {left} of 10 is refused")));
        };
        same("what is left", (window_status.policy, window_status.remaining), (0, left))?;
    }
    same("how many of 2 are admitted, of 1 unit each", caller.admitted(2).await?, 1)
}

async fn a_refused_weight_takes_nothing(limiter: Limiter) -> Verdict {
    for strict in [false, true] {
        let policy = policy(5, DAY, QuotaScope::Key)?;
        let policy = if strict { policy.in_any_window() } else { policy };
        let caller = TestKey::with(limiter.clone(), vec![policy]);
        same("how many of 2 are admitted, of 3 units each", caller.weighing(3).admitted(2).await?, 1)?;
        let LimitDecision::Exceeded { window_status, .. } = caller.weighing(3).draw().await? else {
            return Err(Fault::new("3 of 2 units are admitted"));
        };
        same("what is left of 5", window_status.remaining, 2)?;
        same("how many of 2 are admitted, of 2 units each", caller.weighing(2).admitted(2).await?, 1)?;
    }
    Ok(())
}

async fn a_weight_is_taken_from_all_windows_or_none(limiter: Limiter) -> Verdict {
    for (windows, expected) in [([(14, HOUR), (7, DAY)], vec![8, 1]), ([(7, HOUR), (14, DAY)], vec![1, 8])] {
        let caller = TestKey::new(limiter.clone(), &windows)?;
        same("how many of 3 are admitted, of 3 units each", caller.weighing(3).admitted(3).await?, 2)?;
        same("what each window has left", caller.left().await?, expected)?;
    }
    Ok(())
}

async fn a_weight_may_take_a_whole_window(limiter: Limiter) -> Verdict {
    let bursting = policy(50, DAY, QuotaScope::Key)?.with_burst(4);
    let bursting = bursting.map_err(|error| Fault::new(error.to_string()))?;
    for policy in [policy(4, DAY, QuotaScope::Key)?, bursting] {
        let caller = TestKey::with(limiter.clone(), vec![policy]);
        same("how many of 2 are admitted, of 4 units each", caller.weighing(4).admitted(2).await?, 1)?;
        same("how many of 1 are admitted, of 1 unit", caller.admitted(1).await?, 0)?;
    }
    let most = TestKey::new(limiter, &[(u32::MAX, DAY * 366)])?;
    same("how many of 2 are admitted of the largest weight", most.weighing(u32::MAX).admitted(2).await?, 1)
}

async fn a_weight_above_the_capacity_takes_it_all(limiter: Limiter) -> Verdict {
    for strict in [false, true] {
        let policy = policy(5, DAY, QuotaScope::Key)?;
        let policy = if strict { policy.in_any_window() } else { policy };
        let caller = TestKey::with(limiter.clone(), vec![policy]);
        same("how many of 2 are admitted, of 9 units each", caller.weighing(9).admitted(2).await?, 1)?;
        same("what is left of 5", caller.left().await?, vec![0])?;
        let other = caller.other(&caller.key.account);
        same("how many of 1 are admitted, of 1 unit", other.admitted(1).await?, 1)?;
        same("how many of 1 are admitted then, of 9 units", other.weighing(9).admitted(1).await?, 0)?;
        same("what is left of 5", other.left().await?, vec![4])?;
    }
    Ok(())
}

async fn a_quota_of_requests_counts_one(limiter: Limiter) -> Verdict {
    let with_unit =
        |policy: QuotaPolicy, unit| policy.with_unit(unit).map_err(|error| Fault::new(error.to_string()));
    for strict in [false, true] {
        let requests = with_unit(policy(5, HOUR, QuotaScope::Key)?, "requests")?;
        let requests = if strict { requests.in_any_window() } else { requests };
        let tokens = with_unit(policy(100, DAY, QuotaScope::Key)?, "tokens")?;
        let caller = TestKey::with(limiter.clone(), vec![requests, tokens]);
        same("how many of 2 are admitted, of 40 units each", caller.weighing(40).admitted(2).await?, 2)?;
        same("what is left of 5 requests and of 100 tokens", caller.left().await?, vec![3, 20])?;
        same("how many of 5 are admitted, of 1 unit each", caller.admitted(5).await?, 3)?;
    }
    Ok(())
}

async fn a_strict_window_takes_the_weight(limiter: Limiter) -> Verdict {
    for quota in [10, 100] {
        let strict = policy(quota, DAY, QuotaScope::Key)?.in_any_window();
        let caller = TestKey::with(limiter.clone(), vec![strict]);
        same(
            "how many of 3 are admitted, of 4 tenths each",
            caller.weighing(quota / 10 * 4).admitted(3).await?,
            2,
        )?;
        same("what is left", caller.left().await?, vec![quota / 10 * 2])?;
        same(
            "how many of 2 are admitted, of 2 tenths each",
            caller.weighing(quota / 10 * 2).admitted(2).await?,
            1,
        )?;
    }
    Ok(())
}

async fn racing_weights_take_what_there_is(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(11, DAY)])?;
    let heavy = caller.weighing(3);
    let draws = (0..RACERS).map(|_| {
        let heavy = heavy.clone();
        move || heavy.draw()
    });
    let answers = race(draws).await?;
    let admitted = answers.iter().filter(|answer| matches!(answer, LimitDecision::Within(_))).count();
    same("how many of 16 are admitted, of 3 units each, with 11 per day", admitted, 3)?;
    same("what is left", caller.left().await?, vec![2])
}

const NANOSECOND: Duration = Duration::from_nanos(1);

async fn a_wait_is_that_of_the_weight(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(6, MINUTE)])?;
    same("how many of 6 are admitted", caller.admitted(6).await?, 6)?;
    let heavy = caller.weighing(4);
    let LimitDecision::Exceeded { retry_after, .. } = heavy.draw().await? else {
        return Err(Fault::new("4 of 0 units are admitted"));
    };
    same("the wait for 4 of 6 units", retry_after, Duration::from_secs(40))?;
    let early = heavy.after(retry_after.saturating_sub(NANOSECOND));
    same("how many are admitted a nanosecond early", early.admitted(1).await?, 0)?;
    let later = heavy.after(retry_after);
    same("how many of 2 are admitted after the announced wait", later.admitted(2).await?, 1)?;
    same(
        "how many of 2 are admitted 10 s later, of 1 unit each",
        caller.after(MINUTE * 5 / 6).admitted(2).await?,
        1,
    )
}

async fn a_strict_wait_is_that_of_the_weight(limiter: Limiter) -> Verdict {
    let strict = policy(6, MINUTE, QuotaScope::Key)?.in_any_window();
    let caller = TestKey::with(limiter, vec![strict]);
    same("how many of 3 are admitted", caller.admitted(3).await?, 3)?;
    let later = caller.after(MINUTE / 3);
    same("how many of 1 are admitted after 20 s, of 2 units", later.weighing(2).admitted(1).await?, 1)?;
    for (weight, expected) in [(2, MINUTE * 2 / 3), (4, MINUTE * 2 / 3), (5, MINUTE)] {
        let LimitDecision::Exceeded { retry_after, window_status } = later.weighing(weight).draw().await?
        else {
            return Err(Fault::new(format!("{weight} of 1 unit are admitted")));
        };
        same(&format!("the wait for {weight} units"), retry_after, expected)?;
        same("what is left", (window_status.remaining, window_status.next()), (1, MINUTE * 2 / 3))?;
    }
    let after = later.weighing(4).after(MINUTE * 2 / 3);
    same("how many of 2 are admitted after the announced wait", after.admitted(2).await?, 1)
}

/// Two keys of one account count the account, each with its own quota.
async fn changed_quotas_take_the_weight(limiter: Limiter) -> Verdict {
    let on = |quota| Ok::<_, Fault>(Arc::new(Quotas::new([policy(quota, HOUR, QuotaScope::Account)?])));
    let large = TestKey { quotas: on(60)?, ..TestKey::new(limiter, &[])? };
    let small = TestKey { quotas: on(12)?, ..large.clone() };
    same("how many of 2 are admitted, of 8 units of 60 each", large.weighing(8).admitted(2).await?, 2)?;
    let LimitDecision::Exceeded { retry_after, .. } = small.weighing(4).draw().await? else {
        return Err(Fault::new("4 units are admitted after 16 of 12"));
    };
    // The 16 units are refilled at one in a minute, until no more than 8 are taken.
    same("the wait for 4 of 12 units", retry_after, MINUTE * 8)?;
    same("how many of 2 are admitted then", small.weighing(4).after(retry_after).admitted(2).await?, 1)?;
    holds("none is left", small.after(retry_after).left().await? == [0])
}
