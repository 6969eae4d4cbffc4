//! Checks of quotas with a burst: the capacity of the bucket differs from the quota.

use std::time::Duration;

use super::time::exhaust;
use super::{DAY, HOUR, Limiter, MINUTE, TestKey};
use crate::account::{QuotaPolicy, QuotaScope};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_burst_is_admitted_at_once_and_no_more,
        a_burst_above_the_quota_is_admitted_at_once,
        a_large_burst_fills_no_small_bucket,
        a_burst_refills_at_the_pace_of_the_quota needs InjectedTime,
        a_bucket_holds_no_more_than_its_burst needs InjectedTime,
    ]
}

fn with_burst(quota: u32, window: Duration, burst: u32) -> Result<QuotaPolicy, Fault> {
    let policy = super::policy(quota, window, QuotaScope::Key)?;
    policy.with_burst(burst).map_err(|error| Fault::new(error.to_string()))
}

fn caller(limiter: Limiter, quota: u32, window: Duration, burst: u32) -> Result<TestKey, Fault> {
    Ok(TestKey::with(limiter, vec![with_burst(quota, window, burst)?]))
}

async fn a_burst_is_admitted_at_once_and_no_more(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 24, DAY, 3)?;
    same("what an unused key has left", caller.left().await?, vec![3])?;
    same("how many of 8 are admitted, with a burst of 3", caller.admitted(8).await?, 3)?;
    same("what is left", caller.left().await?, vec![0])
}

async fn a_burst_above_the_quota_is_admitted_at_once(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 2, DAY, 7)?;
    same("how many of 9 are admitted, with a burst of 7", caller.admitted(9).await?, 7)?;
    let wait = exhaust(&caller).await?;
    holds(&format!("the wait {wait:?} is about twelve hours"), wait <= HOUR * 12 && wait + HOUR > HOUR * 12)
}

/// Two keys of one account count the account. Their quotas differ only in the burst.
async fn a_large_burst_fills_no_small_bucket(limiter: Limiter) -> Verdict {
    let large = caller(limiter, 2, DAY, 40)?;
    let small = TestKey { quotas: caller(large.limiter.clone(), 2, DAY, 3)?.quotas, ..large.clone() };
    same("how many of 20 are admitted, with a burst of 40", large.admitted(20).await?, 20)?;
    same("how many are admitted then, with a burst of 3", small.admitted(1).await?, 0)?;
    same("what is left of the burst of 40", large.left().await?, vec![20])?;
    same("how many of 30 are admitted then", large.admitted(30).await?, 20)
}

async fn a_burst_refills_at_the_pace_of_the_quota(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 60, HOUR, 4)?;
    same("the wait", exhaust(&caller).await?, MINUTE)?;
    same("how many are admitted after three minutes", caller.after(MINUTE * 3).admitted(9).await?, 3)
}

async fn a_bucket_holds_no_more_than_its_burst(limiter: Limiter) -> Verdict {
    let caller = caller(limiter, 60, HOUR, 4)?;
    same("how many of 9 are admitted", caller.admitted(9).await?, 4)?;
    same("how many of 9 are admitted after a day", caller.after(DAY).admitted(9).await?, 4)
}
