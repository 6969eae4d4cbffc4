//! The effective terms of a key: its plan, combined with the key's and the account's own limits.

use std::sync::Arc;

use crate::account::{ParamLimits, Plan, Quotas};
use crate::name::PlanName;

/// The effective plan, quotas and limits on parameters of a key.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    pub(crate) quotas: Quotas,
    pub(crate) caps: ParamLimits,
}

/// A name in a record that the configuration does not define, or a contradiction within a record.
#[derive(Debug, Clone)]
pub(crate) enum TermsError {
    Plan(PlanName),
    Quota(String),
    /// Two quotas of a record have this name and count the same owner.
    Twice(String),
}

impl std::fmt::Display for TermsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plan(name) => write!(f, "the account names the plan `{name}`, which is not configured"),
            Self::Quota(name) => write!(f, "the record names the quota `{name}`, which is not configured"),
            Self::Twice(name) => {
                write!(
                    f,
                    "two quotas have the name `{name}` and count the same; keep the smaller one, or name them apart"
                )
            }
        }
    }
}
