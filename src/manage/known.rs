//! Whether the gate's configuration knows what an account names.

use crate::manage::ManageError;
use crate::{Agreement, Gate, OwnQuota, PlanName};

impl Gate {
    pub(super) fn check_plan(&self, plan: &PlanName) -> Result<(), ManageError> {
        match self.plan(plan.as_str()) {
            Some(_) => Ok(()),
            None => Err(ManageError::invalid("plan", format!("names `{plan}`, which is not configured"))),
        }
    }

    pub(super) fn check_quotas(&self, quotas: &[OwnQuota]) -> Result<(), ManageError> {
        let unknown = self.0.plans.resolve(quotas).err();
        unknown
            .map_or(Ok(()), |unknown| Err(ManageError::invalid("quotas", format!("will not do: {unknown}"))))
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
