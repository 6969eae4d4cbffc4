//! The terms of a key: those of its plan, with the overrides of the key and its account.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::{Plan, QuotaPolicy, QuotaRef, Quotas};
use crate::account::{Terms, TermsError};
use crate::error::ConfigError;
use crate::key::KeyRecord;
use crate::name::PlanName;
use crate::state::StateOwner;

/// The terms and the cleared rules of a record at a gate. They are stored on the record.
#[derive(Debug)]
pub(crate) struct ResolvedTerms {
    pub(crate) terms: Arc<Terms>,
    pub(super) passed_rules: PassedRules,
}

/// The rules that a record has passed before. Neither the record nor the rule changes, so the checks that depend only
/// on them need not be repeated. Only the first 256 rules are tracked. The checks of other rules are made every time.
#[derive(Debug, Default)]
pub(super) struct PassedRules([AtomicU64; 4]);

impl PassedRules {
    pub(super) fn contains(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|rules| rules.load(Ordering::Relaxed) >> (rule % 64) & 1 == 1)
    }

    pub(super) fn add(&self, rule: usize) {
        if let Some(rules) = self.0.get(rule / 64) {
            rules.fetch_or(1 << (rule % 64), Ordering::Relaxed);
        }
    }
}

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
                ConfigError::new("", unknown.to_string(), "define it under `[quotas]`, or spell it out")
                    .in_member(member)
            })?;
            let terms = Terms { plan: Arc::new(plan.clone()), quotas, caps: plan.caps.clone() };
            all.terms.insert(name.clone(), Arc::new(terms));
        }
        Ok(all)
    }

    /// Returns the names of the plans.
    #[cfg(feature = "testing")]
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

    /// Stores the terms of a record on the record. If another gate has already stored its own there, returns the terms,
    /// for this request only.
    pub(super) fn keep(&self, record: &KeyRecord) -> Result<Option<Arc<Terms>>, TermsError> {
        let terms = self.terms_of(record)?;
        let pass = ResolvedTerms { terms: Arc::clone(&terms), passed_rules: PassedRules::default() };
        record.state().attach(self.owner, Arc::new(pass));
        Ok(if self.kept(record).is_some() { None } else { Some(terms) })
    }

    /// Returns the terms stored on a record, if they belong to this gate.
    #[inline]
    pub(crate) fn kept<'r>(&self, record: &'r KeyRecord) -> Option<&'r ResolvedTerms> {
        record.state().get(self.owner)
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
