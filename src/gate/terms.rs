//! What a key's plan, with whatever the key and its account have of their own, comes to.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Caps, ConfigError, KeyRecord, OwnQuota, Plan, PlanName, QuotaPolicy, Quotas, SlotOwner};

/// What holds for a key: its plan, its quotas and its caps.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    pub(crate) quotas: Quotas,
    pub(crate) caps: Caps,
}

/// All plans of a gate, resolved.
#[derive(Debug)]
pub(crate) struct Plans {
    owner: SlotOwner,
    terms: HashMap<PlanName, Arc<Terms>>,
    quotas: HashMap<String, QuotaPolicy>,
}

/// What a record names and the configuration does not know.
#[derive(Debug, Clone)]
pub(crate) enum Unknown {
    Plan(PlanName),
    Quota(String),
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plan(name) => write!(f, "the account names the plan `{name}`, which is not configured"),
            Self::Quota(name) => write!(f, "the record names the quota `{name}`, which is not configured"),
        }
    }
}

impl Plans {
    pub(crate) fn new(
        plans: &HashMap<PlanName, Plan>,
        quotas: HashMap<String, QuotaPolicy>,
    ) -> Result<Self, ConfigError> {
        let mut all = Self { owner: SlotOwner::new(), terms: HashMap::new(), quotas };
        for (name, plan) in plans {
            let quotas = all.resolve(&plan.quotas).map_err(|unknown| {
                let member = format!("plans.{name}.quotas");
                ConfigError::new("", unknown.to_string(), "define it under `[quotas]`, or spell it out")
                    .in_member(member)
            })?;
            let terms = Terms { plan: Arc::new(plan.clone()), quotas, caps: plan.caps.clone() };
            all.terms.insert(name.clone(), Arc::new(terms));
        }
        Ok(all)
    }

    /// What holds for a key: by the pointer that its record keeps, or worked out and kept there.
    pub(crate) fn terms_of(&self, record: &KeyRecord) -> Result<Arc<Terms>, Unknown> {
        let account = &record.account;
        let plan = self.terms.get(&account.plan).ok_or_else(|| Unknown::Plan(account.plan.clone()))?;
        let quotas = record.quotas.as_ref().or(account.quotas.as_ref());
        let caps = record.caps.as_ref().or(account.caps.as_ref());
        let terms = if quotas.is_none() && caps.is_none() {
            Arc::clone(plan)
        } else {
            let quotas = quotas.unwrap_or(&plan.plan.quotas);
            let caps = caps.unwrap_or(&plan.caps).clone();
            Arc::new(Terms { plan: Arc::clone(&plan.plan), quotas: self.resolve(quotas)?, caps })
        };
        record.terms.fill(self.owner, Arc::clone(&terms));
        Ok(terms)
    }

    /// The terms that a record points to, if they are this gate's.
    pub(crate) fn kept<'r>(&self, record: &'r KeyRecord) -> Option<&'r Terms> {
        record.terms.get(self.owner)
    }

    /// The same, to be shared.
    pub(crate) fn share_kept(&self, record: &KeyRecord) -> Option<Arc<Terms>> {
        record.terms.share(self.owner)
    }

    /// The terms of the first plan that has quotas, by name.
    #[cfg(feature = "openapi")]
    pub(crate) fn some_quotas(&self) -> Option<Arc<Terms>> {
        let mut terms: Vec<_> = self.terms.values().filter(|terms| !terms.quotas.is_empty()).collect();
        terms.sort_unstable_by_key(|terms| &terms.plan.name);
        terms.first().map(|terms| Arc::clone(terms))
    }

    pub(crate) fn resolve(&self, own: &[OwnQuota]) -> Result<Quotas, Unknown> {
        let policy = |quota: &OwnQuota| match quota {
            OwnQuota::Policy(policy) => Ok(policy.clone()),
            OwnQuota::Named(name) => {
                self.quotas.get(name).cloned().ok_or_else(|| Unknown::Quota(name.clone()))
            }
        };
        own.iter().map(policy).collect::<Result<Vec<_>, _>>().map(Quotas::new)
    }
}
