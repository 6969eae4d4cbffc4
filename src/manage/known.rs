//! Checks of names in an account against the gate's configuration.

use crate::account::{ParamLimits, QuotaRef};
use crate::error::ConfigError;
use crate::gate::Gate;
use crate::manage::ManageError;
use crate::name::{Agreement, PlanName};
use crate::words;

impl Gate {
    pub(super) fn check_plan(&self, plan: &PlanName) -> Result<(), ManageError> {
        if self.plan(plan.as_str()).is_some() {
            return Ok(());
        }
        let core = self.core();
        let mut known: Vec<&str> = core.plans.names().collect();
        known.sort_unstable();
        let expected = words::one_of(plan.as_str(), known.iter().copied());
        let problem = format!("is `{plan}`, which is not configured; {expected}");
        Err(ManageError::invalid("plan", problem))
    }

    /// Rejects quotas of a key or an account that are not configured, that share a name, or that can never be reached.
    pub(super) fn check_quotas(&self, quotas: &[QuotaRef]) -> Result<(), ManageError> {
        let refused = |problem| ManageError::invalid("quotas", format!("is invalid: {problem}"));
        self.core().check_quotas(quotas).map_err(refused)
    }

    /// Rejects limits on parameters of a key or an account that a plan could not have.
    pub(super) fn check_caps(&self, caps: Option<&ParamLimits>) -> Result<(), ManageError> {
        let refused = |error: ConfigError| {
            ManageError::invalid("caps", format!("is invalid: {}; {}", error.problem(), error.expected()))
        };
        caps.map_or(Ok(()), |caps| self.core().check_caps(caps).map_err(refused))
    }

    /// Rejects an agreement that no rule requires, as a probable mistake. If no rule requires any agreement, another
    /// service may use them, so that every name is accepted.
    pub(super) fn check_agreement(&self, agreement: &Agreement) -> Result<(), ManageError> {
        let core = self.core();
        let known = core.known_agreements();
        if known.is_empty() || known.contains(agreement) {
            return Ok(());
        }
        Err(ManageError::invalid("agreements", format!("contains `{agreement}`, which no rule requires")))
    }
}
