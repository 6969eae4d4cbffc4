//! The terms of a key: those of its plan, with the overrides of the key and its account.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::account::{
    AppliedQuotas, ExceededQuotas, LimitIndex, Limits, QuotaChoice, ResolvedTerms, ShadowChecks,
    ShadowedParts, Terms, TermsError, TermsPlace,
};
use crate::account::{InFlightLimit, InFlightLimits};
use crate::account::{Plan, QuotaGroup, QuotaOrigin, QuotaPolicy, QuotaRef, QuotaScope, Quotas};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::gate::Check;
use crate::gate::anonymous::AnonymousTier;
use crate::key::KeyRecord;
use crate::limit::RateLimiter;
use crate::name::{Environment, PlanName};
use crate::rule::{Rule, RuleSet};
use crate::state::StateOwner;

/// The plans of a configuration, with their quotas resolved.
#[derive(Debug)]
pub(crate) struct Plans {
    owner: StateOwner,
    version: u32,
    /// The terms of the plans, by their names.
    terms: Box<[Arc<Terms>]>,
    /// The indices of the plans in `terms`.
    indices: HashMap<PlanName, u32>,
    quotas: HashMap<String, QuotaPolicy>,
    /// The limit on all requests in flight together.
    in_flight: Option<InFlightLimit>,
    /// The checks that the gate makes in shadow.
    shadow: ShadowChecks,
    /// The limits of each rule that has limits of its own, if the rule is public.
    public: Box<[Option<Arc<Limits>>]>,
    /// The record that stands for all requests without a key, if they are served. Its terms are stored on it.
    anonymous: Option<Arc<KeyRecord>>,
    /// The groups of quotas of the plans and the rules.
    groups: Groups,
}

/// The identity of a gate, and the version of its configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) owner: StateOwner,
    pub(super) version: u32,
}

/// The limits of a gate that are of no plan and no rule.
#[derive(Debug)]
pub(super) struct GateLimits {
    /// The quotas with names.
    pub(super) quotas: HashMap<String, QuotaPolicy>,
    pub(super) in_flight: Option<InFlightLimit>,
    pub(super) shadow: ShadowChecks,
}

impl Identity {
    /// The identity of a new gate.
    pub(super) fn first() -> Self {
        Self { owner: StateOwner::new(), version: 1 }
    }
}

impl Plans {
    /// Resolves the quotas of plans. Quotas that are equal to those of the plans `before` share their windows with them.
    pub(super) fn new(
        identity: Identity,
        before: Option<&Self>,
        plans: &HashMap<PlanName, Plan>,
        own: GateLimits,
        rules: &RuleSet,
        anonymous: Option<(&AnonymousTier, Environment)>,
    ) -> Result<Self, ConfigError> {
        let Identity { owner, version } = identity;
        let GateLimits { quotas, in_flight, shadow } = own;
        let mut all = Self {
            owner,
            version,
            terms: Box::default(),
            indices: HashMap::new(),
            quotas,
            in_flight,
            shadow,
            public: Box::default(),
            anonymous: None,
            groups: Groups::default(),
        };
        let mut groups = Groups::after(before.map(|before| &before.groups));
        let mut by_name: Vec<_> = plans.iter().collect();
        by_name.sort_unstable_by_key(|(name, _)| *name);
        let mut terms_by_name = Vec::with_capacity(plans.len());
        for (name, plan) in by_name {
            let quotas = all.resolve_in(&plan.quotas, &mut groups).map_err(|unknown| {
                let member = format!("plans.{name}.quotas");
                ConfigError::new(
                    "",
                    unknown.to_string(),
                    "define it under `[quotas]`, or write the quota itself",
                )
                .in_member(member)
            })?;
            let in_flight = all.in_flight_beside(plan.in_flight.clone());
            let own = Limits::new(quotas, in_flight, parts_in_shadow(all.shadow.with(plan.shadow)));
            let of_rules = all.of_rules(rules, plan, None, &mut groups)?;
            let terms = Terms::new(Arc::new(plan.clone()), own, plan.caps.clone(), of_rules);
            // The index of terms that are not those of a plan is never reached: memory ends before.
            let index = u32::try_from(terms_by_name.len()).unwrap_or(u32::MAX - 1);
            all.indices.insert(name.clone(), index);
            terms_by_name.push(Arc::new(terms));
        }
        all.terms = terms_by_name.into();
        let public = rules.limited().map(|rule| {
            if !rule.public {
                return Ok(None);
            }
            let in_flight = InFlightLimits::new(in_flight_of(rule));
            let quotas = all.of_rule(rule, None, None, &mut groups)?;
            Ok(Some(Arc::new(Limits::new(quotas, in_flight, parts_in_shadow(all.shadow.with(rule.shadow))))))
        });
        all.public = public.collect::<Result<_, _>>()?;
        if let Some((tier, environment)) = anonymous
            && let Some(plan) = plans.get(&tier.plan)
        {
            let record = tier.record(environment);
            let terms = all.of_tier(tier, plan, rules, &mut groups)?;
            // A use of this record is never recorded.
            let never = Timestamp::from_millis(i64::MAX);
            let resolved = ResolvedTerms::new(all.owner, Some(never));
            resolved.set_own(version, Arc::new(terms));
            let _ = record.first_gate.set(resolved);
            all.anonymous = Some(record);
        }
        groups.before.clear();
        all.groups = groups;
        Ok(all)
    }

    /// Returns the names of the plans.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.indices.keys().map(PlanName::as_str)
    }

    /// Returns the terms of the plan that an account names, and their index.
    fn of_plan(&self, name: &PlanName) -> Result<(u32, &Arc<Terms>), TermsError> {
        let index = self.indices.get(name).copied();
        let terms = index.and_then(|index| Some((index, self.terms.get(index as usize)?)));
        terms.ok_or_else(|| TermsError::Plan(name.clone()))
    }

    /// Resolves the terms of a key.
    pub(crate) fn terms_of(&self, record: &KeyRecord) -> Result<Arc<Terms>, TermsError> {
        let account = &record.account;
        let (_, plan) = self.of_plan(&account.plan)?;
        let quotas = record.quotas.as_ref().or(account.quotas.as_ref());
        let caps = record.caps.as_ref().or(account.caps.as_ref());
        if quotas.is_none() && caps.is_none() && record.in_flight.is_none() && record.budgets.is_none() {
            return Ok(Arc::clone(plan));
        }
        let quotas = self.resolve(quotas.unwrap_or(&plan.plan.quotas))?;
        let caps = caps.unwrap_or(&plan.caps).clone();
        // The managers of keys reject zero.
        let in_flight = record.in_flight.and_then(|most| InFlightLimit::new(most).ok());
        let in_flight = self.in_flight_beside(in_flight.or_else(|| plan.plan.in_flight.clone()));
        let parts = parts_in_shadow(self.shadow.with(plan.plan.shadow));
        let own = Limits::new(quotas, in_flight, parts);
        Ok(Arc::new(plan.with_own(own, caps, record.budgets.clone())))
    }

    /// Stores the terms of a record on the record, and returns their place. If they cannot be stored there, they are for this
    /// request only.
    pub(super) fn keep(&self, record: &KeyRecord) -> Result<TermsPlace, TermsError> {
        let resolved = self.resolved(record);
        if let Some(own) = resolved.and_then(|resolved| resolved.later_own(self.version)) {
            return Ok(TermsPlace::Own(own));
        }
        let terms = self.terms_of(record)?;
        let (index, plan) = self.of_plan(&record.account.plan)?;
        let is_own = !Arc::ptr_eq(&terms, plan);
        if let Some(resolved) = resolved.or_else(|| self.attach(record)) {
            if is_own {
                resolved.set_own(self.version, Arc::clone(&terms));
            } else {
                resolved.set_plan(self.version, index);
            }
        }
        Ok(match self.kept(record) {
            Some(place) => place,
            None if is_own => TermsPlace::Own(terms),
            None => TermsPlace::OfPlan(index),
        })
    }

    /// Attaches the state of this gate to a record, and returns it if there was a place for it.
    fn attach<'r>(&self, record: &'r KeyRecord) -> Option<&'r ResolvedTerms> {
        let resolved = ResolvedTerms::new(self.owner, record.last_used_at);
        if let Err(resolved) = record.first_gate.set(resolved)
            && record.first_gate.get(self.owner).is_none()
        {
            record.state().attach(self.owner, Arc::new(resolved));
        }
        self.resolved(record)
    }

    /// Returns the state that this gate keeps on a record.
    #[inline]
    pub(crate) fn resolved<'r>(&self, record: &'r KeyRecord) -> Option<&'r ResolvedTerms> {
        record.first_gate.get(self.owner).or_else(|| record.state().get(self.owner))
    }

    /// Returns the place of the terms of a record, if they were resolved under this configuration.
    #[inline]
    pub(crate) fn kept(&self, record: &KeyRecord) -> Option<TermsPlace> {
        self.resolved(record)?.place(self.version)
    }

    /// Returns the terms of a record in their place.
    #[inline]
    pub(crate) fn at<'a>(&'a self, place: &'a TermsPlace, record: &'a KeyRecord) -> Option<&'a Arc<Terms>> {
        match place {
            TermsPlace::OfPlan(index) => self.terms.get(*index as usize),
            TermsPlace::OnRecord => self.resolved(record)?.first_own(self.version),
            TermsPlace::Own(terms) => Some(terms),
        }
    }

    /// The version of the configuration.
    #[inline]
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Returns the record that stands for all requests without a key, if they are served.
    pub(super) fn anonymous(&self) -> Option<&Arc<KeyRecord>> {
        self.anonymous.as_ref()
    }

    /// Returns the terms of requests without a key.
    fn of_tier(
        &self,
        tier: &AnonymousTier,
        plan: &Plan,
        rules: &RuleSet,
        groups: &mut Groups,
    ) -> Result<Terms, ConfigError> {
        // The names were resolved for the plan itself.
        let policies = plan.quotas.iter().filter_map(|quota| self.policy(quota).ok());
        let policies: Vec<_> = policies.map(|policy| tier.counted(policy)).collect();
        distinct(&policies, tier, "the plan")?;
        let is_pool = |counts: &QuotaScope| matches!(counts, QuotaScope::Pool(_));
        let (pools, others) = policies.into_iter().partition::<Vec<_>, _>(|policy| is_pool(policy.counts()));
        let (pools, mut shadowed) = split(pools, &QuotaOrigin::Plan);
        let (others, more) = split(others, &QuotaOrigin::Anonymous);
        shadowed.extend(more);
        let quotas = Quotas::new(pools).beside(QuotaOrigin::Anonymous, others);
        let quotas = Quotas::of_groups(quotas.groups().iter().cloned().chain(shadowed));
        let in_flight = plan.in_flight.clone().map(|limit| {
            let is_shared = is_pool(limit.counts());
            let limit = if is_shared { limit } else { limit.of(QuotaOrigin::Anonymous) };
            tier.counted_in_flight(limit)
        });
        let parts = parts_in_shadow(self.shadow.with(plan.shadow));
        let own = Limits::new(quotas, self.in_flight_beside(in_flight), parts);
        let of_rules = self.of_rules(rules, plan, Some(tier), groups)?;
        Ok(Terms::new(Arc::new(plan.clone()), own, plan.caps.clone(), of_rules))
    }

    /// Returns the limits that each rule with limits of its own has for keys on a plan, and then those of a rule without
    /// limits.
    fn of_rules(
        &self,
        rules: &RuleSet,
        plan: &Plan,
        tier: Option<&AnonymousTier>,
        groups: &mut Groups,
    ) -> Result<Arc<[Limits]>, ConfigError> {
        let of_rule = |rule: &Rule| {
            let in_flight = in_flight_of(rule).map(|limit| match tier {
                Some(tier) => tier.counted_in_flight(limit),
                None => limit,
            });
            let quotas = self.of_rule(rule, Some(plan), tier, groups)?;
            let parts = parts_in_shadow(self.shadow.with(rule.shadow).with(plan.shadow));
            Ok(Limits::new(quotas, self.in_flight_beside(in_flight), parts))
        };
        let parts = parts_in_shadow(self.shadow.with(plan.shadow));
        let no_rule = Limits::new(Quotas::default(), self.in_flight_beside(None), parts);
        rules.limited().map(of_rule).chain([Ok(no_rule)]).collect()
    }

    /// Returns the limits of a public rule.
    pub(super) fn public_limits(&self, rule: LimitIndex) -> Option<&Arc<Limits>> {
        self.public.get(rule.0 as usize)?.as_ref()
    }

    /// Returns the quotas of a public rule, or those of the first plan, by name, that has quotas for a rule.
    pub(crate) fn some_quotas(&self, rule: Option<LimitIndex>) -> Option<ExceededQuotas> {
        if let Some(limits) = rule.and_then(|rule| self.public_limits(rule)) {
            let quotas = || ExceededQuotas::Public(Arc::clone(limits));
            return (!limits.quotas.is_empty()).then(quotas);
        }
        let choice = rule.map_or(QuotaChoice::Key, QuotaChoice::KeyAndRule);
        let mut terms = self.terms.iter();
        let limited = terms.find(|terms| !terms.quotas_at(choice).is_empty());
        limited.map(|terms| ExceededQuotas::OfKey(AppliedQuotas { terms: Arc::clone(terms), choice }))
    }

    /// Returns the lowest limit on requests in flight of a public rule, or of the first plan, by name, that has limits for a
    /// rule.
    pub(crate) fn some_in_flight(&self, rule: Option<LimitIndex>) -> Option<&InFlightLimit> {
        if let Some(limits) = rule.and_then(|rule| self.public_limits(rule)) {
            return limits.in_flight.lowest();
        }
        let choice = rule.map_or(QuotaChoice::Key, QuotaChoice::KeyAndRule);
        self.terms.iter().find_map(|terms| terms.limits_at(choice).in_flight.lowest())
    }

    /// Checks that the limiter can take from all owners of each request in one call.
    pub(super) fn check(&self, rules: &RuleSet, limiter: &dyn RateLimiter) -> Result<(), ConfigError> {
        let refuse = |member: String, of: &str, value: &str| {
            let problem =
                format!("the {of} of one request count owners that the limiter cannot count in one call");
            let expected = "count the same owner, or put a hash tag into the prefix of the Redis cluster, as in `{acme}`";
            Err(ConfigError::new(value, problem, expected).in_member(member))
        };
        let check = |own: &Limits, of_rule: &Limits, member: &dyn Fn() -> String, value: &str| {
            let quotas = own.quotas.groups().iter().chain(of_rule.quotas.groups());
            let in_flight = own.in_flight.all().iter().chain(of_rule.in_flight.all());
            if !limiter.counts_together(&quotas.map(QuotaGroup::counts).collect::<Vec<_>>()) {
                return refuse(member(), "quotas", value);
            }
            let shadows = own.shadow.iter().chain(&of_rule.shadow).flat_map(|shadow| shadow.groups());
            if !limiter.counts_together(&shadows.map(QuotaGroup::counts).collect::<Vec<_>>()) {
                return refuse(member(), "quotas in shadow", value);
            }
            if !limiter.counts_together(&in_flight.map(InFlightLimit::counts).collect::<Vec<_>>()) {
                return refuse(member(), "limits on requests in flight", value);
            }
            Ok(())
        };
        let (routes, none) = (rules.limited().map(|rule| rule.route().clone()), Limits::default());
        let of_anonymous = self.anonymous().and_then(|record| self.resolved(record)?.first_own(self.version));
        let all_terms: Vec<_> = self.terms.iter().chain(of_anonymous).collect();
        for terms in &all_terms {
            let member = || format!("plans.{}", terms.plan.name);
            check(&terms.own, &none, &member, "")?;
        }
        for (index, route) in (0..).map(LimitIndex).zip(routes) {
            for terms in &all_terms {
                let member = || format!("plans.{}", terms.plan.name);
                check(&terms.own, terms.limits_at(QuotaChoice::Rule(index)), &member, &route)?;
            }
            if let Some(public) = self.public_limits(index) {
                check(public, &none, &|| "rules".to_owned(), &route)?;
            }
        }
        Ok(())
    }

    /// Returns a limit on requests in flight together with that on all requests.
    fn in_flight_beside(&self, limit: Option<InFlightLimit>) -> InFlightLimits {
        InFlightLimits::new(limit.into_iter().chain(self.in_flight.clone()))
    }

    /// The identity of the gate that these plans belong to.
    pub(crate) fn owner(&self) -> StateOwner {
        self.owner
    }

    /// Returns the quotas that a rule has for keys on a plan, for requests without a key, or without a plan.
    fn of_rule(
        &self,
        rule: &Rule,
        plan: Option<&Plan>,
        tier: Option<&AnonymousTier>,
        groups: &mut Groups,
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
            let policy = tier.map_or(policy.clone(), |tier| tier.counted(policy));
            by_origin.entry(origin).or_default().push(policy);
        }
        if let Some(tier) = tier.filter(|_| rule.anonymous) {
            let owner = format!("the rule `{}`", rule.route());
            by_origin.values().try_for_each(|policies| distinct(policies, tier, &owner))?;
        }
        Ok(Quotas::of_groups(
            by_origin.into_iter().flat_map(|(origin, policies)| groups.of(origin, policies)),
        ))
    }

    /// Returns the quota of this name.
    #[cfg(feature = "openapi")]
    pub(crate) fn named_quota(&self, name: &str) -> Option<&QuotaPolicy> {
        self.quotas.get(name)
    }

    fn policy(&self, quota: &QuotaRef) -> Result<QuotaPolicy, TermsError> {
        match quota {
            QuotaRef::Policy(policy) => Ok(policy.clone()),
            QuotaRef::Named(name) => {
                self.quotas.get(name).cloned().ok_or_else(|| TermsError::Quota(name.clone()))
            }
        }
    }

    /// Resolves the quotas of a key or an account.
    pub(crate) fn resolve(&self, own: &[QuotaRef]) -> Result<Quotas, TermsError> {
        let (enforced, shadowed) = split(self.policies(own)?, &QuotaOrigin::Plan);
        let groups = Quotas::new(enforced);
        Ok(if shadowed.is_empty() {
            groups
        } else {
            Quotas::of_groups(groups.groups().iter().cloned().chain(shadowed))
        })
    }

    /// Resolves the quotas of a plan.
    fn resolve_in(&self, own: &[QuotaRef], groups: &mut Groups) -> Result<Quotas, TermsError> {
        let policies = self.policies(own)?;
        let groups = if policies.is_empty() { Vec::new() } else { groups.of(QuotaOrigin::Plan, policies) };
        Ok(Quotas::of_groups(groups))
    }

    fn policies(&self, own: &[QuotaRef]) -> Result<Vec<QuotaPolicy>, TermsError> {
        let policies = own.iter().map(|quota| self.policy(quota)).collect::<Result<Vec<_>, _>>()?;
        let mut known: Vec<&QuotaPolicy> = Vec::new();
        for policy in &policies {
            if known.iter().any(|other| other.has_window_of(policy)) {
                return Err(TermsError::Twice(policy.name().to_owned()));
            }
            known.push(policy);
        }
        Ok(policies)
    }
}

/// Returns the checks on limits that are made in shadow.
fn parts_in_shadow(checks: ShadowChecks) -> ShadowedParts {
    let has = |check: Check| checks.has(check.shadow());
    ShadowedParts { quotas: has(Check::RateLimits), in_flight: has(Check::InFlight) }
}

/// Returns the policies that deny requests, and the groups of those that are in shadow.
fn split(policies: Vec<QuotaPolicy>, origin: &QuotaOrigin) -> (Vec<QuotaPolicy>, Vec<QuotaGroup>) {
    let (shadowed, enforced): (Vec<_>, Vec<_>) = policies.into_iter().partition(QuotaPolicy::is_in_shadow);
    let apart = QuotaOrigin::Shadow(Arc::new(origin.clone()));
    (enforced, if shadowed.is_empty() { Vec::new() } else { QuotaGroup::of(&apart, shadowed) })
}

/// Returns the limit on requests in flight to a rule.
fn in_flight_of(rule: &Rule) -> Option<InFlightLimit> {
    rule.in_flight.clone().map(|limit| limit.of(QuotaOrigin::Rule(rule.limit_label())))
}

/// Returns an error if two quotas count the same network under one name, because requests without a key have no other
/// owner.
fn distinct(policies: &[QuotaPolicy], tier: &AnonymousTier, owner: &str) -> Result<(), ConfigError> {
    let twice = policies
        .iter()
        .enumerate()
        .find(|(place, policy)| policies[..*place].iter().any(|earlier| earlier.has_window_of(policy)));
    let Some((_, policy)) = twice else { return Ok(()) };
    let problem = format!(
        "two quotas of {owner} have the name `{}`, and both count the network of a request without a key",
        policy.name()
    );
    let expected = "give each its own name";
    Err(ConfigError::new(tier.plan.as_str(), problem, expected).in_member("anonymous.plan"))
}

/// The groups of quotas. Rules and plans with equal quotas of one origin share their groups, so that a request at one rule
/// changes no window that a request at another rule uses. A configuration shares the groups with the one before.
#[derive(Debug, Default)]
struct Groups {
    known: HashMap<(QuotaOrigin, Vec<QuotaPolicy>), Vec<QuotaGroup>>,
    /// The groups of the configuration before.
    before: HashMap<(QuotaOrigin, Vec<QuotaPolicy>), Vec<QuotaGroup>>,
}

impl Groups {
    fn after(before: Option<&Self>) -> Self {
        Self { known: HashMap::new(), before: before.map(|before| before.known.clone()).unwrap_or_default() }
    }

    fn of(&mut self, origin: QuotaOrigin, policies: Vec<QuotaPolicy>) -> Vec<QuotaGroup> {
        if policies.iter().any(QuotaPolicy::is_in_shadow) && !matches!(origin, QuotaOrigin::Shadow(_)) {
            let (shadowed, enforced): (Vec<_>, _) = policies.into_iter().partition(QuotaPolicy::is_in_shadow);
            let apart = QuotaOrigin::Shadow(Arc::new(origin.clone()));
            let mut groups = self.of(apart, shadowed);
            if !enforced.is_empty() {
                groups.extend(self.of(origin, enforced));
            }
            return groups;
        }
        let place = (origin, policies);
        if let Some(groups) = self.known.get(&place) {
            return groups.clone();
        }
        let groups = self.before.remove(&place).unwrap_or_else(|| {
            let (origin, policies) = &place;
            QuotaGroup::of(origin, policies.iter().cloned())
        });
        self.known.entry(place).or_insert(groups).clone()
    }
}
