//! The effective terms of a key: its plan, combined with the key's and the account's own limits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::account::{ParamLimits, Plan, QuotaGroup, Quotas};
use crate::clock::Timestamp;
use crate::name::PlanName;
use crate::state::StateOwner;

/// The effective plan, quotas and limits on parameters of a key.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    /// The quotas of the key, without those of rules.
    pub(crate) quotas: Quotas,
    pub(crate) caps: ParamLimits,
    /// The quotas of each rule that has quotas of its own, for keys on this plan.
    rules: Arc<[Quotas]>,
    /// The quotas of the key with those of each of these rules, combined at the first use.
    with_rules: Box<[OnceLock<Box<Quotas>>]>,
}

/// The index of a rule among the rules that have quotas of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitIndex(pub(crate) u32);

/// The quotas that apply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum QuotaChoice {
    /// Those of the key.
    #[default]
    Key,
    /// Those of the key and of the rule.
    KeyAndRule(LimitIndex),
    /// Those of the rule. An outer gate has drawn from those of the key.
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
    Public(Arc<Quotas>),
}

impl ExceededQuotas {
    pub(crate) fn quotas(&self) -> &Quotas {
        match self {
            Self::OfKey(quotas) => quotas.quotas(),
            Self::Public(quotas) => quotas,
        }
    }
}

impl AppliedQuotas {
    pub(crate) fn quotas(&self) -> &Quotas {
        self.terms.quotas_at(self.choice)
    }
}

impl Terms {
    /// Creates terms from the quotas of a key, and from the quotas that each rule has for the plan.
    pub(crate) fn new(plan: Arc<Plan>, quotas: Quotas, caps: ParamLimits, rules: Arc<[Quotas]>) -> Self {
        let with_rules = rules.iter().map(|_| OnceLock::new()).collect();
        Self { plan, quotas, caps, rules, with_rules }
    }

    /// Returns the same terms with other quotas and limits on parameters of the key.
    pub(crate) fn with_own(&self, quotas: Quotas, caps: ParamLimits) -> Self {
        Self::new(Arc::clone(&self.plan), quotas, caps, Arc::clone(&self.rules))
    }

    /// Returns the quotas that apply to a request.
    #[inline]
    pub(crate) fn quotas_at(&self, choice: QuotaChoice) -> &Quotas {
        match choice {
            QuotaChoice::Key => &self.quotas,
            QuotaChoice::KeyAndRule(rule) => self.with_rule(rule),
            QuotaChoice::Rule(rule) => self.rules.get(rule.0 as usize).unwrap_or(&self.quotas),
        }
    }

    /// Returns the quotas of the key with those of a rule. Both are the groups from which all rules take theirs, so that
    /// the windows have the same policies at each rule.
    fn with_rule(&self, rule: LimitIndex) -> &Quotas {
        let (own, combined) = (self.rules.get(rule.0 as usize), self.with_rules.get(rule.0 as usize));
        match (own.filter(|own| !own.is_empty()), combined) {
            (Some(own), Some(combined)) => combined.get_or_init(|| {
                let groups = self.quotas.groups().iter().chain(own.groups()).map(QuotaGroup::clone);
                Box::new(Quotas::of_groups(groups))
            }),
            _ => &self.quotas,
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
