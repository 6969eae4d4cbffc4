//! What a key's plan, with whatever the key and its account have of their own, comes to.

use std::sync::Arc;

use crate::account::{Caps, Plan, Quotas};
use crate::name::PlanName;

/// What holds for a key: its plan, its quotas and its caps.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    pub(crate) quotas: Quotas,
    pub(crate) caps: Caps,
}

/// What a record names and the configuration does not know, or a record that contradicts itself.
#[derive(Debug, Clone)]
pub(crate) enum Unknown {
    Plan(PlanName),
    Quota(String),
    /// Two quotas of a record count the same under this name.
    Twice(String),
}

impl std::fmt::Display for Unknown {
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
