//! Checks of the owner that a window counts: a key, an account or a pool.

use std::sync::Arc;

use super::{DAY, HOUR, Limiter, TestKey, policy};
use crate::account::{QuotaPolicy, QuotaScope};
use crate::conformance::fresh::{self, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::limit::LimitDecision;
use crate::name::PoolName;

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        two_keys_share_no_window,
        keys_of_an_account_share_its_window,
        two_accounts_share_no_window,
        keys_of_a_pool_share_its_window,
        two_pools_share_no_window,
        a_refusal_by_one_owners_window_takes_from_no_other,
        standings_of_several_owners_come_in_order,
        racing_keys_of_an_account_take_what_it_has,
        draws_from_windows_of_several_owners_do_not_block_each_other,
    ]
}

fn pool() -> QuotaScope {
    QuotaScope::Pool(PoolName::from(fresh::name()))
}

fn caller(limiter: &Limiter, policies: &[(u32, &QuotaScope)]) -> Result<TestKey, Fault> {
    let policies = policies.iter().map(|(quota, counts)| policy(*quota, DAY, (*counts).clone()));
    Ok(TestKey::with(limiter.clone(), policies.collect::<Result<Vec<QuotaPolicy>, _>>()?))
}

async fn two_keys_share_no_window(limiter: Limiter) -> Verdict {
    let one = caller(&limiter, &[(2, &QuotaScope::Key)])?;
    let other = one.other(&one.key.account);
    same("how many of 3 the one is admitted", one.admitted(3).await?, 2)?;
    same("how many of 3 the other is admitted", other.admitted(3).await?, 2)
}

async fn keys_of_an_account_share_its_window(limiter: Limiter) -> Verdict {
    let one = caller(&limiter, &[(3, &QuotaScope::Account)])?;
    let other = one.other(&one.key.account);
    same("how many of 2 the one is admitted, of 3", one.admitted(2).await?, 2)?;
    same("how many of 2 the other is admitted, of 1", other.admitted(2).await?, 1)
}

async fn two_accounts_share_no_window(limiter: Limiter) -> Verdict {
    let one = caller(&limiter, &[(2, &QuotaScope::Account)])?;
    let other = one.other(&Arc::new(fresh::account()));
    same("how many of 3 the one is admitted", one.admitted(3).await?, 2)?;
    same("how many of 3 the other is admitted", other.admitted(3).await?, 2)
}

async fn keys_of_a_pool_share_its_window(limiter: Limiter) -> Verdict {
    let pool = pool();
    let one = caller(&limiter, &[(3, &pool)])?;
    // Another account, with its own quotas that name the same pool.
    let other = caller(&limiter, &[(3, &pool)])?;
    same("how many of 2 the one is admitted, of 3", one.admitted(2).await?, 2)?;
    same("how many of 2 the other is admitted, of 1", other.admitted(2).await?, 1)
}

async fn two_pools_share_no_window(limiter: Limiter) -> Verdict {
    let one = caller(&limiter, &[(2, &pool())])?;
    let other = caller(&limiter, &[(2, &pool())])?;
    same("how many of 3 the one is admitted", one.admitted(3).await?, 2)?;
    same("how many of 3 the other is admitted", other.admitted(3).await?, 2)
}

async fn a_refusal_by_one_owners_window_takes_from_no_other(limiter: Limiter) -> Verdict {
    let pool = pool();
    for (quotas, expected) in
        [([2, 5, 9], vec![0, 3, 7]), ([9, 2, 5], vec![7, 0, 3]), ([5, 9, 2], vec![3, 7, 0])]
    {
        let owners = [&QuotaScope::Key, &QuotaScope::Account, &pool];
        let fresh_pool = self::pool();
        let owners = [owners[0], owners[1], &fresh_pool];
        let policies: Vec<_> = quotas.into_iter().zip(owners).collect();
        let caller = caller(&limiter, &policies)?;
        same("how many of 9 are admitted", caller.admitted(9).await?, 2)?;
        same("what the key, the account and the pool have left", caller.left().await?, expected)?;
    }
    Ok(())
}

async fn standings_of_several_owners_come_in_order(limiter: Limiter) -> Verdict {
    let pool = pool();
    let policies = vec![
        policy(9, HOUR, pool.clone())?,
        policy(7, DAY, QuotaScope::Key)?,
        policy(5, HOUR, QuotaScope::Account)?,
        policy(6, HOUR, QuotaScope::Key)?,
    ];
    let caller = TestKey::with(limiter, policies);
    let expected: Vec<u32> = caller.quotas.policies().map(QuotaPolicy::quota).collect();
    same("what each window has left, in the order of the policies", caller.left().await?, expected.clone())?;
    same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
    let expected = expected.iter().map(|quota| quota - 1).collect();
    same("what each window has left after a draw", caller.left().await?, expected)
}

async fn racing_keys_of_an_account_take_what_it_has(limiter: Limiter) -> Verdict {
    let one = caller(&limiter, &[(6, &QuotaScope::Key), (8, &QuotaScope::Account)])?;
    let callers = [one.clone(), one.other(&one.key.account)];
    let draws = (0..16).map(|racer: usize| {
        let caller = callers[racer % 2].clone();
        move || caller.draw()
    });
    let answers = race(draws).await?;
    let admitted = answers.iter().filter(|answer| matches!(answer, LimitDecision::Within(_))).count();
    same("how many of 16 are admitted, with 8 for the account", admitted, 8)?;
    let left = [callers[0].left().await?, callers[1].left().await?];
    let of_keys = left[0][0] + left[1][0];
    same("what both keys have left, of 6 each", of_keys, 4)
}

async fn draws_from_windows_of_several_owners_do_not_block_each_other(limiter: Limiter) -> Verdict {
    let (one_pool, other_pool) = (pool(), pool());
    let one = caller(&limiter, &[(99, &QuotaScope::Account), (99, &one_pool), (99, &other_pool)])?;
    let other = caller(&limiter, &[(99, &other_pool), (99, &QuotaScope::Account), (99, &one_pool)])?;
    let draws = (0..16).map(|racer: usize| {
        let caller = if racer.is_multiple_of(2) { one.clone() } else { other.clone() };
        move || caller.draw()
    });
    let answers = race(draws).await?;
    holds("all are admitted", answers.iter().all(|answer| matches!(answer, LimitDecision::Within(_))))
}
