//! Whether the gate's configuration knows what an account names.

use crate::account::{Caps, OwnQuota};
use crate::error::ConfigError;
use crate::gate::Gate;
use crate::manage::ManageError;
use crate::name::{Agreement, PlanName};

impl Gate {
    pub(super) fn check_plan(&self, plan: &PlanName) -> Result<(), ManageError> {
        match self.plan(plan.as_str()) {
            Some(_) => Ok(()),
            None => Err(ManageError::invalid("plan", format!("names `{plan}`, which is not configured"))),
        }
    }

    /// Refuses quotas of a key's or an account's own that are not configured, share a name, or can never be reached.
    pub(super) fn check_quotas(&self, quotas: &[OwnQuota]) -> Result<(), ManageError> {
        let refused = |problem| ManageError::invalid("quotas", format!("will not do: {problem}"));
        self.0.check_quotas(quotas).map_err(refused)
    }

    /// Refuses caps of a key's or an account's own that a plan could not have.
    pub(super) fn check_caps(&self, caps: Option<&Caps>) -> Result<(), ManageError> {
        let refused = |error: ConfigError| {
            ManageError::invalid("caps", format!("will not do: {}; {}", error.problem(), error.expected()))
        };
        caps.map_or(Ok(()), |caps| self.0.check_caps(caps).map_err(refused))
    }

    /// An agreement that no rule asks for is a slip, unless no rule asks for any: they are then somebody else's matter.
    pub(super) fn check_agreement(&self, agreement: &Agreement) -> Result<(), ManageError> {
        let known = self.0.known_agreements();
        if known.is_empty() || known.contains(agreement) {
            return Ok(());
        }
        Err(ManageError::invalid("agreements", format!("names `{agreement}`, which no rule knows")))
    }
}
