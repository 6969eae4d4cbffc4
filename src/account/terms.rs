//! The effective terms of a key: its plan, combined with the key's and the account's own limits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::account::{InFlightLimits, ParamLimits, Plan, QuotaGroup, Quotas};
use crate::clock::Timestamp;
use crate::name::PlanName;
use crate::state::StateOwner;

/// The effective plan, quotas and limits on parameters of a key.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    /// The limits of the key, without those of rules.
    pub(crate) own: Limits,
    pub(crate) caps: ParamLimits,
    /// The limits of each rule that has limits of its own, for keys on this plan. The last ones are those of a rule without
    /// limits.
    rules: Arc<[Limits]>,
    /// The limits of the key with those of each rule that has limits of its own, combined at the first use.
    with_rules: Box<[OnceLock<Box<Limits>>]>,
}

/// The quotas and the limits on requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) quotas: Quotas,
    pub(crate) in_flight: InFlightLimits,
}

impl Limits {
    fn is_empty(&self) -> bool {
        self.quotas.is_empty() && self.in_flight.is_empty()
    }

    /// Returns these limits and others together. The groups of quotas are the same in all combinations, so that the windows
    /// have the same policies at each rule.
    fn with(&self, others: &Self) -> Self {
        let groups = self.quotas.groups().iter().chain(others.quotas.groups()).map(QuotaGroup::clone);
        let in_flight = self.in_flight.all().iter().chain(others.in_flight.all()).cloned();
        Self { quotas: Quotas::of_groups(groups), in_flight: InFlightLimits::new(in_flight) }
    }
}

/// The index of a rule among the rules that have limits of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitIndex(pub(crate) u32);

/// The limits that apply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum QuotaChoice {
    /// Those of the key.
    #[default]
    Key,
    /// Those of the key and of the rule.
    KeyAndRule(LimitIndex),
    /// Those of the rule. An outer gate applied those of the key.
    Rule(LimitIndex),
}

/// The quotas that apply to a request, with the terms that they are part of.
#[derive(Debug, Clone)]
pub(crate) struct AppliedQuotas {
    pub(crate) terms: Arc<Terms>,
    pub(crate) choice: QuotaChoice,
}

/// The quotas that deny a request.
#[derive(Debug, Clone)]
pub(crate) enum ExceededQuotas {
    /// Those of a key.
    OfKey(AppliedQuotas),
    /// Those of a public rule.
    Public(Arc<Limits>),
}

impl ExceededQuotas {
    pub(crate) fn quotas(&self) -> &Quotas {
        &self.limits().quotas
    }

    /// Returns the quotas with the limits on requests in flight of the same request.
    pub(crate) fn limits(&self) -> &Limits {
        match self {
            Self::OfKey(AppliedQuotas { terms, choice }) => terms.limits_at(*choice),
            Self::Public(limits) => limits,
        }
    }
}

impl AppliedQuotas {
    pub(crate) fn quotas(&self) -> &Quotas {
        self.terms.quotas_at(self.choice)
    }
}

impl Terms {
    /// Creates terms from the limits of a key, and from the limits that each rule has for the plan. The last of these are
    /// those of a rule without limits.
    pub(crate) fn new(plan: Arc<Plan>, own: Limits, caps: ParamLimits, rules: Arc<[Limits]>) -> Self {
        let with_rules = rules.iter().skip(1).map(|_| OnceLock::new()).collect();
        Self { plan, own, caps, rules, with_rules }
    }

    /// Returns the same terms with other limits of the key.
    pub(crate) fn with_own(&self, own: Limits, caps: ParamLimits) -> Self {
        Self::new(Arc::clone(&self.plan), own, caps, Arc::clone(&self.rules))
    }

    /// Returns the limits that apply to a request.
    #[inline]
    pub(crate) fn limits_at(&self, choice: QuotaChoice) -> &Limits {
        match choice {
            QuotaChoice::Key => &self.own,
            QuotaChoice::KeyAndRule(rule) => self.with_rule(rule),
            QuotaChoice::Rule(rule) => self.rules.get(rule.0 as usize).unwrap_or(&self.own),
        }
    }

    /// Returns the quotas that apply to a request.
    #[inline]
    pub(crate) fn quotas_at(&self, choice: QuotaChoice) -> &Quotas {
        &self.limits_at(choice).quotas
    }

    /// Returns the index of the limits of a rule without limits of its own.
    pub(crate) fn no_rule(&self) -> LimitIndex {
        LimitIndex(u32::try_from(self.with_rules.len()).unwrap_or(u32::MAX))
    }

    /// Returns the limits of the key with those of a rule.
    fn with_rule(&self, rule: LimitIndex) -> &Limits {
        let own = self.rules.get(rule.0 as usize).filter(|own| !own.is_empty());
        match (own, self.with_rules.get(rule.0 as usize)) {
            (Some(own), Some(combined)) => combined.get_or_init(|| Box::new(self.own.with(own))),
            _ => &self.own,
        }
    }
}

/// The terms of a key at one gate, and the run-time state that the gate keeps for the key.
#[derive(Debug)]
pub(crate) struct ResolvedTerms {
    owner: StateOwner,
    pub(crate) terms: Arc<Terms>,
    pub(crate) passed_rules: PassedRules,
    /// The time of the last use that was recorded, in milliseconds since the epoch.
    pub(crate) last_used: AtomicI64,
}

/// The rules that a record has passed before. Neither the record nor the rule changes, so the checks that depend only
/// on them need not be repeated. Only the first 128 rules are tracked. The checks of other rules are made every time.
#[derive(Debug, Default)]
pub(crate) struct PassedRules([AtomicU64; 2]);

impl PassedRules {
    #[inline]
    pub(crate) fn contains(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|rules| rules.load(Ordering::Relaxed) >> (rule % 64) & 1 == 1)
    }

    pub(crate) fn add(&self, rule: usize) {
        if let Some(rules) = self.0.get(rule / 64) {
            rules.fetch_or(1 << (rule % 64), Ordering::Relaxed);
        }
    }
}

/// The place on a record for the resolved terms of the first gate that uses the record. It is part of the record's own
/// memory, so that a request reads no further cache line for them. Like
/// [`AttachedState`](crate::state::AttachedState), it is not part of the record's value.
#[derive(Debug, Default)]
pub(crate) struct FirstGate(OnceLock<ResolvedTerms>);

impl FirstGate {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Returns the terms, if a gate with this owner has set them.
    #[inline]
    pub(crate) fn get(&self, owner: StateOwner) -> Option<&ResolvedTerms> {
        self.0.get().filter(|resolved| resolved.owner == owner)
    }

    /// Sets the terms. Returns them if another gate was first.
    pub(crate) fn set(&self, resolved: ResolvedTerms) -> Result<(), ResolvedTerms> {
        self.0.set(resolved)
    }
}

impl Clone for FirstGate {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl PartialEq for FirstGate {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl ResolvedTerms {
    pub(crate) fn new(owner: StateOwner, terms: Arc<Terms>, last_used: Option<Timestamp>) -> Self {
        let last_used = AtomicI64::new(last_used.map_or(i64::MIN, Timestamp::as_millis));
        Self { owner, terms, passed_rules: PassedRules::default(), last_used }
    }
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
                    "two quotas have the name `{name}` and count the same; remove the larger one, or give them different names"
                )
            }
        }
    }
}
