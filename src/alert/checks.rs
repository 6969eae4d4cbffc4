//! The rules of alerts, resolved for each plan.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::account::{Allowance, Grant, Plan};
use crate::alert::{AlertCondition, AlertRule, BalanceThreshold, Share};
use crate::clock::Timestamp;
use crate::name::PlanName;

/// The period of a crossing that happens once, or that has none.
pub(super) const ONCE: i64 = 0;

/// The shortest period of alerts about a window, in milliseconds: an hour.
const SHORTEST: i64 = 3_600_000;

/// The checks of events about accounts on one plan. Each names its rule by index.
#[derive(Debug, Default)]
pub(super) struct PlanChecks {
    pub(super) balances: Vec<BalanceCheck>,
    /// The times within which a key expires, in milliseconds.
    pub(super) expiries: Vec<(usize, i64)>,
    pub(super) quotas: Vec<(usize, Share)>,
    pub(super) allowance: Allowance,
}

#[derive(Debug)]
pub(super) struct BalanceCheck {
    pub(super) rule: usize,
    /// The lowest balance that is not below the threshold.
    pub(super) least: u64,
    grant: Option<Grant>,
    /// The end of the grant's period, as it was last computed.
    period: AtomicI64,
}

impl BalanceCheck {
    fn new(rule: usize, threshold: BalanceThreshold, allowance: &Allowance) -> Option<Self> {
        let grant = if let Allowance::Grant(grant) = allowance { Some(grant.clone()) } else { None };
        let least = match threshold {
            BalanceThreshold::Credits(credits) => credits.get(),
            BalanceThreshold::Share(share) => share.of(grant.as_ref()?.amount().get()),
        };
        Some(Self { rule, least, grant, period: AtomicI64::new(i64::MIN) })
    }

    /// Returns the number of the grant's period: its end. For a period of a fixed length, it is counted from 1970, since
    /// the time of an account's last grant is not known.
    pub(super) fn period(&self, now: Timestamp) -> i64 {
        let Some(grant) = &self.grant else { return ONCE };
        let period = self.period.load(Ordering::Relaxed);
        if now.as_millis() < period {
            return period;
        }
        let end = match grant.every() {
            Some(length) => (now.as_millis().div_euclid(length) + 1).saturating_mul(length),
            None => grant.next_after(now).as_millis(),
        };
        self.period.store(end, Ordering::Relaxed);
        end
    }
}

impl PlanChecks {
    /// Resolves the rules for each plan.
    pub(super) fn by_plan<'p>(
        rules: &[AlertRule],
        plans: impl IntoIterator<Item = &'p Plan>,
    ) -> HashMap<PlanName, Self> {
        plans.into_iter().map(|plan| (plan.name.clone(), Self::of(rules, plan))).collect()
    }

    fn of(rules: &[AlertRule], plan: &Plan) -> Self {
        let mut checks = Self { allowance: plan.credits.clone(), ..Self::default() };
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.is_for(&plan.name)) {
            match rule.condition {
                AlertCondition::BalanceBelow(threshold) => {
                    checks.balances.extend(BalanceCheck::new(index, threshold, &plan.credits));
                }
                AlertCondition::ExpiresWithin(time) => checks.expiries.push((index, millis(time))),
                AlertCondition::QuotaAbove(share) => checks.quotas.push((index, share)),
                AlertCondition::Revoked | AlertCondition::Leaked | AlertCondition::BackEndFailing => {}
            }
        }
        checks
    }
}

/// Returns the number of a window's period, counted from 1970.
pub(super) fn window_period(length: Duration, now: Timestamp) -> i64 {
    now.as_millis().div_euclid(millis(length).max(SHORTEST))
}

/// Returns the number of the hour. A back end that fails for longer is told again, if the node that told it is gone.
pub(super) fn hour(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(SHORTEST)
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
