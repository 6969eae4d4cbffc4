//! Checks of retention and of erased accounts.

use std::time::Duration;

use super::{DAY, MINUTE, Store, TestKey, batch, range, requests};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::usage::{UsageFilter, UsageQuery, UsageRetention, UsageStep, Written};

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        each_step_has_its_own_retention,
        months_are_kept,
        recent_batches_stay_known,
        an_erased_account_has_no_usage,
        an_account_without_usage_is_not_erased,
    ]
}

/// A retention that leaves the usage of all other checks alone.
fn keep() -> UsageRetention {
    UsageRetention { minutes: 1_000 * DAY, hours: 2_000 * DAY, days: 3_000 * DAY }
}

/// Returns the number of requests by each step of the day that was this many days ago.
async fn kept(key: &TestKey, ago: u32, step: UsageStep) -> Result<Vec<u64>, Fault> {
    let day = UsageStep::Day.start_of(fresh::now().saturating_sub(ago * DAY));
    let query = UsageQuery::new(UsageFilter::key(key.key), range(day, step, DAY)?);
    Ok(requests(&key.store.read(&query).await?))
}

/// Writes a request to each of the days that were this many days ago.
async fn write(store: Store, days_ago: &[u32]) -> Result<TestKey, Fault> {
    let mut key = TestKey::new(store);
    for ago in days_ago {
        key.day = UsageStep::Day.start_of(fresh::now().saturating_sub(*ago * DAY));
        key.write(vec![key.admitted(MINUTE, 1)]).await?;
    }
    Ok(key)
}

async fn each_step_has_its_own_retention(store: Store) -> Verdict {
    let key = write(store, &[900, 1_500, 2_500, 3_500]).await?;
    key.store.prune(&keep(), fresh::now()).await?;
    let lengths =
        [(UsageStep::Minute, [1, 0, 0, 0]), (UsageStep::Hour, [1, 1, 0, 0]), (UsageStep::Day, [1, 1, 1, 0])];
    for (step, expected) in lengths {
        for (ago, expected) in [900, 1_500, 2_500, 3_500].into_iter().zip(expected) {
            let what = format!("the number of {step}s of {ago} days ago");
            same(&what, kept(&key, ago, step).await?.len(), expected)?;
        }
    }
    Ok(())
}

async fn months_are_kept(store: Store) -> Verdict {
    let key = write(store, &[9_000]).await?;
    key.store.prune(&keep(), fresh::now()).await?;
    same("the month", kept(&key, 9_000, UsageStep::Month).await?, vec![1])
}

async fn recent_batches_stay_known(store: Store) -> Verdict {
    let mut key = TestKey::new(store);
    key.day = fresh::now();
    let batch = batch(vec![key.admitted(Duration::ZERO, 1)]);
    let _ = key.store.write(&batch).await?;
    key.store.prune(&keep(), fresh::now()).await?;
    same("the batch written again", key.store.write(&batch).await?, Written::Repeated)
}

async fn an_erased_account_has_no_usage(store: Store) -> Verdict {
    let (erased, other) = (TestKey::new(store.clone()), TestKey::new(store));
    erased.write(vec![erased.admitted(MINUTE, 1), other.admitted(MINUTE, 2)]).await?;
    same("the account is erased", erased.store.erase_account(&erased.account).await?, true)?;
    for step in UsageStep::ALL {
        same("the usage of the erased account", erased.requests(*step).await?, vec![])?;
        same("the usage of another account", other.requests(*step).await?, vec![2])?;
    }
    erased.write(vec![erased.admitted(MINUTE, 5)]).await?;
    same("usage after the removal", erased.requests(UsageStep::Month).await?, vec![5])
}

async fn an_account_without_usage_is_not_erased(store: Store) -> Verdict {
    let key = TestKey::new(store);
    same("the answer", key.store.erase_account(&key.account).await?, false)
}
