//! The terms of a key: those of its plan, with the overrides of the key and its account.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::account::{Plan, QuotaPolicy, QuotaRef, Quotas};
use crate::account::{ResolvedTerms, Terms, TermsError};
use crate::error::ConfigError;
use crate::key::KeyRecord;
use crate::name::PlanName;
use crate::state::StateOwner;

/// The plans of a gate, with their quotas resolved.
#[derive(Debug)]
pub(crate) struct Plans {
    owner: StateOwner,
    terms: HashMap<PlanName, Arc<Terms>>,
    quotas: HashMap<String, QuotaPolicy>,
}

impl Plans {
    pub(crate) fn new(
        plans: &HashMap<PlanName, Plan>,
        quotas: HashMap<String, QuotaPolicy>,
    ) -> Result<Self, ConfigError> {
        let mut all = Self { owner: StateOwner::new(), terms: HashMap::new(), quotas };
        for (name, plan) in plans {
            let quotas = all.resolve(&plan.quotas).map_err(|unknown| {
                let member = format!("plans.{name}.quotas");
                ConfigError::new(
                    "",
                    unknown.to_string(),
                    "define it under `[quotas]`, or write the quota itself",
                )
                .in_member(member)
            })?;
            let terms = Terms { plan: Arc::new(plan.clone()), quotas, caps: plan.caps.clone() };
            all.terms.insert(name.clone(), Arc::new(terms));
        }
        Ok(all)
    }

    /// Returns the names of the plans.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.keys().map(PlanName::as_str)
    }

    /// Resolves the terms of a key.
    pub(crate) fn terms_of(&self, record: &KeyRecord) -> Result<Arc<Terms>, TermsError> {
        let account = &record.account;
        let plan = self.terms.get(&account.plan).ok_or_else(|| TermsError::Plan(account.plan.clone()))?;
        let quotas = record.quotas.as_ref().or(account.quotas.as_ref());
        let caps = record.caps.as_ref().or(account.caps.as_ref());
        if quotas.is_none() && caps.is_none() {
            return Ok(Arc::clone(plan));
        }
        let quotas = quotas.unwrap_or(&plan.plan.quotas);
        let caps = caps.unwrap_or(&plan.caps).clone();
        Ok(Arc::new(Terms { plan: Arc::clone(&plan.plan), quotas: self.resolve(quotas)?, caps }))
    }

    /// Stores the terms of a record on the record. If there is no place for them, returns the terms, for this request
    /// only.
    pub(super) fn keep(&self, record: &KeyRecord) -> Result<Option<Arc<Terms>>, TermsError> {
        let terms = self.terms_of(record)?;
        let resolved = ResolvedTerms::new(self.owner, Arc::clone(&terms), record.last_used_at);
        if let Err(resolved) = record.first_gate.set(resolved)
            && record.first_gate.get(self.owner).is_none()
        {
            record.state().attach(self.owner, Arc::new(resolved));
        }
        Ok(if self.kept(record).is_some() { None } else { Some(terms) })
    }

    /// Returns the terms stored on a record, if they belong to this gate.
    #[inline]
    pub(crate) fn kept<'r>(&self, record: &'r KeyRecord) -> Option<&'r ResolvedTerms> {
        record.first_gate.get(self.owner).or_else(|| record.state().get(self.owner))
    }

    /// Returns the terms of the first plan, by name, that has quotas.
    pub(crate) fn some_quotas(&self) -> Option<Arc<Terms>> {
        let mut terms: Vec<_> = self.terms.values().filter(|terms| !terms.quotas.is_empty()).collect();
        terms.sort_unstable_by_key(|terms| &terms.plan.name);
        terms.first().map(|terms| Arc::clone(terms))
    }

    pub(crate) fn resolve(&self, own: &[QuotaRef]) -> Result<Quotas, TermsError> {
        let policy = |quota: &QuotaRef| match quota {
            QuotaRef::Policy(policy) => Ok(policy.clone()),
            QuotaRef::Named(name) => {
                self.quotas.get(name).cloned().ok_or_else(|| TermsError::Quota(name.clone()))
            }
        };
        let policies = own.iter().map(policy).collect::<Result<Vec<_>, _>>()?;
        let mut known = HashSet::new();
        match policies.iter().find(|policy| !known.insert((policy.name(), policy.counts()))) {
            Some(twice) => Err(TermsError::Twice(twice.name().to_owned())),
            None => Ok(Quotas::new(policies)),
        }
    }
}
