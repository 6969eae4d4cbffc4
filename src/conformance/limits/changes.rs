//! Checks of windows whose quota changes, as when an account changes its plan.

use super::{DAY, HOUR, Limiter, TestKey};
use crate::account::Quotas;
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::limit::LimitDecision;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_raised_quota_helps_at_once,
        a_lowered_quota_counts_what_was_used,
        going_between_quotas_gives_nothing,
        going_between_quotas_loses_nothing,
        a_raised_strict_quota_helps_at_once,
        a_lowered_quota_waits_no_longer_than_its_window needs InjectedTime,
        a_changed_quota_admits_when_it_was_told needs InjectedTime,
        a_higher_quota_refills_no_lower_one needs InjectedTime,
        many_quotas_refill_no_lower_one needs InjectedTime,
    ]
}

async fn a_raised_quota_helps_at_once(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(10, DAY)])?;
    same("how many of 12 are admitted, with 10 per day", caller.admitted(12).await?, 10)?;
    let raised = caller.on(&[(20, DAY)])?;
    same("what is left of 20 per day", raised.left().await?, vec![10])?;
    same("how many of 12 are admitted then", raised.admitted(12).await?, 10)
}

async fn a_lowered_quota_counts_what_was_used(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(20, DAY)])?;
    same("how many of 15 are admitted, with 20 per day", caller.admitted(15).await?, 15)?;
    let lowered = caller.on(&[(16, DAY)])?;
    same("what is left of 16 per day", lowered.left().await?, vec![1])?;
    same("how many of 3 are admitted then", lowered.admitted(3).await?, 1)?;
    let lowest = caller.on(&[(10, DAY)])?;
    same("what is left of 10 per day", lowest.left().await?, vec![0])?;
    same("how many of 3 are admitted then", lowest.admitted(3).await?, 0)
}

async fn going_between_quotas_gives_nothing(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(20, DAY)])?;
    let quotas = [caller.on(&[(10, DAY)])?, caller.on(&[(20, DAY)])?, caller.on(&[(5, DAY)])?];
    let mut admitted = 0;
    for place in 0..60 {
        admitted += quotas[place % 3].admitted(1).await?;
    }
    same("how many are admitted, with 20, 10 and 5 per day in turn", admitted, 20)
}

async fn going_between_quotas_loses_nothing(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(7, DAY)])?;
    let quotas = [caller.on(&[(11, DAY)])?, caller];
    let mut admitted = 0;
    for place in 0..24 {
        admitted += quotas[place % 2].admitted(1).await?;
    }
    same("how many are admitted, with 11 and 7 per day in turn", admitted, 11)
}

async fn a_raised_strict_quota_helps_at_once(limiter: Limiter) -> Verdict {
    let strict = |caller: &TestKey| {
        let policies = caller.quotas.policies().map(|policy| policy.clone().in_any_window());
        TestKey { quotas: Quotas::new(policies).into(), ..caller.clone() }
    };
    let caller = strict(&TestKey::new(limiter, &[(10, DAY)])?);
    same("how many of 12 are admitted, with 10 in any day", caller.admitted(12).await?, 10)?;
    let raised = strict(&caller.on(&[(20, DAY)])?);
    same("how many of 12 are admitted, with 20 in any day", raised.admitted(12).await?, 10)
}

async fn a_lowered_quota_waits_no_longer_than_its_window(limiter: Limiter) -> Verdict {
    let caller = TestKey::new(limiter, &[(50, HOUR)])?;
    same("how many of 50 are admitted, with 50 per hour", caller.admitted(50).await?, 50)?;
    let lowered = caller.on(&[(1, HOUR)])?;
    let LimitDecision::Exceeded { retry_after, .. } = lowered.draw().await? else {
        return Err(Fault::new("one more is admitted, with 1 per hour"));
    };
    holds(&format!("the wait {retry_after:?} is no longer than an hour"), retry_after <= HOUR)
}

async fn a_changed_quota_admits_when_it_was_told(limiter: Limiter) -> Verdict {
    for (before, after) in [(20, 6), (7, 3)] {
        let caller = TestKey::new(limiter.clone(), &[(before, HOUR)])?;
        same("how many are admitted", caller.admitted(before as usize).await?, before as usize)?;
        let changed = caller.on(&[(after, HOUR)])?;
        let LimitDecision::Exceeded { retry_after, .. } = changed.draw().await? else {
            return Err(Fault::new("a lowered quota admits more"));
        };
        let early = changed.after(retry_after.saturating_sub(std::time::Duration::from_nanos(1)));
        same("how many are admitted a nanosecond early", early.admitted(1).await?, 0)?;
        same(
            "how many are admitted after the announced wait",
            changed.after(retry_after).admitted(2).await?,
            1,
        )?;
    }
    Ok(())
}

/// Both quotas are in use: two keys of an account count the account, each with its own quota.
async fn a_higher_quota_refills_no_lower_one(limiter: Limiter) -> Verdict {
    let low = TestKey::new(limiter, &[(10, HOUR)])?;
    let high = low.on(&[(1_000, HOUR)])?;
    let mut admitted = low.admitted(20).await?;
    for step in 1..=60 {
        let after = std::time::Duration::from_mins(step);
        same("how many are admitted with 1000 per hour", high.after(after).admitted(1).await?, 1)?;
        admitted += low.after(after).admitted(20).await?;
    }
    holds(&format!("{admitted} are admitted within an hour, with 10 per hour"), admitted < 20)
}

async fn many_quotas_refill_no_lower_one(limiter: Limiter) -> Verdict {
    let low = TestKey::new(limiter, &[(10, HOUR)])?;
    let mut admitted = low.admitted(20).await?;
    for step in 1..=60 {
        let after = std::time::Duration::from_mins(step.into());
        for quota in [1_000 + step, 2_000 + step] {
            low.on(&[(quota, HOUR)])?.after(after).admitted(1).await?;
        }
        admitted += low.after(after).admitted(20).await?;
    }
    holds(&format!("{admitted} are admitted within an hour, with 10 per hour"), admitted < 20)
}
