//! The rules of alerts, resolved for each plan.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};
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
    /// The moments in milliseconds, with the same end of the grant's period, for which it was last computed.
    period: RwLock<Range<i64>>,
}

impl BalanceCheck {
    fn new(rule: usize, threshold: BalanceThreshold, allowance: &Allowance) -> Option<Self> {
        let grant = if let Allowance::Grant(grant) = allowance { Some(grant.clone()) } else { None };
        let least = match threshold {
            BalanceThreshold::Credits(credits) => credits.get(),
            BalanceThreshold::Share(share) => share.of(grant.as_ref()?.amount().get()),
        };
        Some(Self { rule, least, grant, period: RwLock::default() })
    }

    /// Returns the number of the grant's period: its end. For a period of a fixed length, it is counted from 1970, since
    /// the time of an account's last grant is not known.
    pub(super) fn period(&self, now: Timestamp) -> i64 {
        let Some(grant) = &self.grant else { return ONCE };
        let now = now.as_millis();
        if let Some(length) = grant.every() {
            return (now.div_euclid(length) + 1).saturating_mul(length);
        }
        let computed = self.period.read().unwrap_or_else(PoisonError::into_inner).clone();
        if computed.contains(&now) {
            return computed.end;
        }
        let end = grant.next_after(Timestamp::from_millis(now)).as_millis();
        let start = if computed.end == end { now.min(computed.start) } else { now };
        *self.period.write().unwrap_or_else(PoisonError::into_inner) = start..end;
        end
    }

    /// Returns the number that identifies the grant's period, or 0 without a grant.
    pub(super) fn grant_code(&self) -> i64 {
        self.grant.as_ref().map_or(0, Grant::code)
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
