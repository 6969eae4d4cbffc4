//! The terms of a key: those of its plan, with the overrides of the key and its account.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::account::{
    AppliedQuotas, ExceededQuotas, LimitIndex, QuotaChoice, ResolvedTerms, Terms, TermsError,
};
use crate::account::{Plan, QuotaGroup, QuotaOrigin, QuotaPolicy, QuotaRef, Quotas};
use crate::error::ConfigError;
use crate::key::KeyRecord;
use crate::name::PlanName;
use crate::rule::{Rule, RuleSet};
use crate::state::StateOwner;

/// The plans of a gate, with their quotas resolved.
#[derive(Debug)]
pub(crate) struct Plans {
    owner: StateOwner,
    terms: HashMap<PlanName, Arc<Terms>>,
    quotas: HashMap<String, QuotaPolicy>,
    /// The quotas of each rule that has quotas of its own, if the rule is public.
    public: Box<[Option<Arc<Quotas>>]>,
}

impl Plans {
    pub(crate) fn new(
        plans: &HashMap<PlanName, Plan>,
        quotas: HashMap<String, QuotaPolicy>,
        rules: &RuleSet,
    ) -> Result<Self, ConfigError> {
        let mut all =
            Self { owner: StateOwner::new(), terms: HashMap::new(), quotas, public: Box::default() };
        let mut groups = RuleGroups::default();
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
            let of_rules = rules.limited().map(|rule| all.of_rule(rule, Some(plan), &mut groups));
            let of_rules = of_rules.collect::<Result<_, _>>()?;
            let terms = Terms::new(Arc::new(plan.clone()), quotas, plan.caps.clone(), of_rules);
            all.terms.insert(name.clone(), Arc::new(terms));
        }
        let public = rules.limited().map(|rule| {
            let quotas = rule.public.then(|| all.of_rule(rule, None, &mut groups).map(Arc::new));
            quotas.transpose()
        });
        all.public = public.collect::<Result<_, _>>()?;
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
        Ok(Arc::new(plan.with_own(self.resolve(quotas)?, caps)))
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

    /// Returns the quotas of a public rule.
    pub(super) fn public_quotas(&self, rule: LimitIndex) -> Option<&Arc<Quotas>> {
        self.public.get(rule.0 as usize)?.as_ref()
    }

    /// Returns the quotas of a public rule, or those of the first plan, by name, that has quotas for a rule.
    pub(crate) fn some_quotas(&self, rule: Option<LimitIndex>) -> Option<ExceededQuotas> {
        if let Some(quotas) = rule.and_then(|rule| self.public_quotas(rule)) {
            return Some(ExceededQuotas::Public(Arc::clone(quotas)));
        }
        let choice = rule.map_or(QuotaChoice::Key, QuotaChoice::KeyAndRule);
        let is_limited = |terms: &&Arc<Terms>| !terms.quotas_at(choice).is_empty();
        let mut terms: Vec<_> = self.terms.values().filter(is_limited).collect();
        terms.sort_unstable_by_key(|terms| &terms.plan.name);
        let applied = |terms: &&Arc<Terms>| AppliedQuotas { terms: Arc::clone(terms), choice };
        terms.first().map(applied).map(ExceededQuotas::OfKey)
    }

    /// The identity of the gate that these plans belong to.
    pub(crate) fn owner(&self) -> StateOwner {
        self.owner
    }

    /// Returns the quotas that a rule has for keys on a plan, or without a plan.
    fn of_rule(
        &self,
        rule: &Rule,
        plan: Option<&Plan>,
        groups: &mut RuleGroups,
    ) -> Result<Quotas, ConfigError> {
        let unknown = |member: String| {
            move |unknown: TermsError| {
                let expected = "define it under `[quotas]`, or write the quota itself";
                ConfigError::new("", unknown.to_string(), expected).in_member(member)
            }
        };
        let own = rule.quotas.iter().map(|quota| Ok((quota, self.policy(quota)?)));
        let member = format!("rules of the route `{}`", rule.route());
        let mut merged = own.collect::<Result<Vec<_>, _>>().map_err(unknown(member))?;
        if let Some(plan) = plan
            && let Some((route, terms)) = rule.terms_of(plan)
        {
            for quota in &terms.quotas {
                let member = format!("plans.{}.rules.{route}.quotas", plan.name);
                let policy = self.policy(quota).map_err(unknown(member))?;
                merged.retain(|(_, own)| !own.has_window_of(&policy));
                merged.push((quota, policy));
            }
        }
        let mut by_origin: BTreeMap<QuotaOrigin, Vec<QuotaPolicy>> = BTreeMap::new();
        for (quota, policy) in merged {
            let origin = match quota {
                QuotaRef::Policy(_) => QuotaOrigin::Rule(rule.limit_label()),
                QuotaRef::Named(name) => QuotaOrigin::Shared(name.as_str().into()),
            };
            by_origin.entry(origin).or_default().push(policy);
        }
        Ok(Quotas::of_groups(
            by_origin.into_iter().flat_map(|(origin, policies)| groups.of(origin, policies)),
        ))
    }

    fn policy(&self, quota: &QuotaRef) -> Result<QuotaPolicy, TermsError> {
        match quota {
            QuotaRef::Policy(policy) => Ok(policy.clone()),
            QuotaRef::Named(name) => {
                self.quotas.get(name).cloned().ok_or_else(|| TermsError::Quota(name.clone()))
            }
        }
    }

    pub(crate) fn resolve(&self, own: &[QuotaRef]) -> Result<Quotas, TermsError> {
        let policies = own.iter().map(|quota| self.policy(quota)).collect::<Result<Vec<_>, _>>()?;
        let mut known: Vec<&QuotaPolicy> = Vec::new();
        for policy in &policies {
            if known.iter().any(|other| other.has_window_of(policy)) {
                return Err(TermsError::Twice(policy.name().to_owned()));
            }
            known.push(policy);
        }
        Ok(Quotas::new(policies))
    }
}

/// The groups of the quotas of rules. Rules and plans with equal quotas of one origin share their groups, so that a
/// request at one rule changes no window that a request at another rule uses.
#[derive(Default)]
struct RuleGroups(HashMap<(QuotaOrigin, Vec<QuotaPolicy>), Vec<QuotaGroup>>);

impl RuleGroups {
    fn of(&mut self, origin: QuotaOrigin, policies: Vec<QuotaPolicy>) -> Vec<QuotaGroup> {
        let make = |(origin, policies): &(QuotaOrigin, Vec<QuotaPolicy>)| {
            QuotaGroup::of(origin, policies.iter().cloned())
        };
        let place = (origin, policies);
        let groups = make(&place);
        self.0.entry(place).or_insert(groups).clone()
    }
}
