//! Checks of quotas of several origins: those of a plan and those of rules.

use std::sync::Arc;

use super::{DAY, HOUR, Limiter, TestKey, policy};
use crate::account::{QuotaOrigin, QuotaScope, Quotas};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, same};

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        a_plan_and_a_rule_share_no_window,
        two_rules_share_no_window,
        rules_share_the_windows_of_a_shared_quota,
        a_draw_takes_from_all_origins_or_from_none,
        standings_of_several_origins_come_in_order,
        changed_quotas_of_a_rule_keep_their_window,
    ]
}

/// Quotas per day of one key, each with its origin.
fn quotas(windows: &[(QuotaOrigin, u32)]) -> Result<Arc<Quotas>, Fault> {
    let mut quotas = Quotas::default();
    for (origin, quota) in windows {
        quotas = quotas.beside(origin.clone(), [policy(*quota, DAY, QuotaScope::Key)?]);
    }
    Ok(Arc::new(quotas))
}

fn caller(limiter: Limiter, windows: &[(QuotaOrigin, u32)]) -> Result<TestKey, Fault> {
    Ok(TestKey { quotas: quotas(windows)?, ..TestKey::new(limiter, &[])? })
}

fn rule() -> QuotaOrigin {
    QuotaOrigin::Rule(format!("GET /{}/{{name}}:{{*rest}}", fresh::name()).into())
}

fn shared() -> QuotaOrigin {
    QuotaOrigin::Shared(fresh::name().into())
}

async fn a_plan_and_a_rule_share_no_window(limiter: Limiter) -> Verdict {
    let plan = caller(limiter, &[(QuotaOrigin::Plan, 3)])?;
    let both = TestKey { quotas: quotas(&[(QuotaOrigin::Plan, 3), (rule(), 2)])?, ..plan.clone() };
    same("how many of 3 are admitted at the rule, with 2 per day", both.admitted(3).await?, 2)?;
    same("how many of 3 are admitted elsewhere, with 1 of 3 left", plan.admitted(3).await?, 1)?;
    let anonymous = TestKey { quotas: quotas(&[(QuotaOrigin::Anonymous, 2)])?, ..plan };
    same("how many of 3 are admitted under the anonymous plan", anonymous.admitted(3).await?, 2)
}

async fn two_rules_share_no_window(limiter: Limiter) -> Verdict {
    for origin in [rule, shared] {
        let one = caller(limiter.clone(), &[(origin(), 2)])?;
        let other = TestKey { quotas: quotas(&[(origin(), 2)])?, ..one.clone() };
        same("how many of 3 are admitted at the one", one.admitted(3).await?, 2)?;
        same("how many of 3 are admitted at the other", other.admitted(3).await?, 2)?;
        same("how many of 3 are admitted at the one then", one.admitted(3).await?, 0)?;
    }
    Ok(())
}

async fn rules_share_the_windows_of_a_shared_quota(limiter: Limiter) -> Verdict {
    let (first, second, shared) = (rule(), rule(), shared());
    let one = caller(limiter, &[(QuotaOrigin::Plan, 9), (first, 9), (shared.clone(), 3)])?;
    let quotas = quotas(&[(QuotaOrigin::Plan, 9), (second, 9), (shared, 3)])?;
    let other = TestKey { quotas, ..one.clone() };
    same("how many of 2 are admitted at the one, with 3 per day", one.admitted(2).await?, 2)?;
    same("how many of 2 are admitted at the other", other.admitted(2).await?, 1)
}

async fn a_draw_takes_from_all_origins_or_from_none(limiter: Limiter) -> Verdict {
    let (rule, shared) = (rule(), shared());
    for (plan, of_rule, of_shared) in [(2, 5, 5), (5, 2, 5), (5, 5, 2)] {
        let windows = [(QuotaOrigin::Plan, plan), (rule.clone(), of_rule), (shared.clone(), of_shared)];
        let caller = caller(limiter.clone(), &windows)?;
        same("how many of 9 are admitted", caller.admitted(9).await?, 2)?;
        same("what each window has left", caller.left().await?, vec![plan - 2, of_rule - 2, of_shared - 2])?;
    }
    Ok(())
}

async fn standings_of_several_origins_come_in_order(limiter: Limiter) -> Verdict {
    let account = policy(8, DAY, QuotaScope::Account)?;
    let own = [policy(6, DAY, QuotaScope::Key)?, policy(7, HOUR, QuotaScope::Key)?];
    let quotas = Quotas::new([account.clone(), policy(5, DAY, QuotaScope::Key)?]);
    let quotas = quotas.beside(rule(), own).beside(shared(), [policy(9, DAY, QuotaScope::Account)?]);
    let caller = TestKey { quotas: Arc::new(quotas), ..TestKey::new(limiter, &[])? };
    same("how many of 1 are admitted", caller.admitted(1).await?, 1)?;
    same("what each window has left", caller.left().await?, vec![4, 6, 5, 7, 8])
}

async fn changed_quotas_of_a_rule_keep_their_window(limiter: Limiter) -> Verdict {
    let rule = rule();
    let caller = caller(limiter, &[(QuotaOrigin::Plan, 50), (rule.clone(), 10)])?;
    same("how many of 8 are admitted, with 10 per day", caller.admitted(8).await?, 8)?;
    let raised = TestKey { quotas: quotas(&[(QuotaOrigin::Plan, 50), (rule, 20)])?, ..caller };
    same("what each window has left", raised.left().await?, vec![42, 12])
}
