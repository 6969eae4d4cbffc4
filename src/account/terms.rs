//! The effective terms of a key: its plan, combined with the key's and the account's own limits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::account::{Budget, InFlightLimits, KeyBudget, ParamLimits, Plan, QuotaGroup, Quotas};
use crate::amount::Currency;
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
    /// The budgets of the key that replace those of the plan.
    budgets: Option<Vec<KeyBudget>>,
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
    /// The quotas that deny no request.
    pub(crate) shadow: Option<Box<Quotas>>,
    /// The limits that are in shadow as a whole.
    parts: ShadowedParts,
}

/// The checks on limits that are made in shadow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShadowedParts {
    pub(crate) quotas: bool,
    pub(crate) in_flight: bool,
}

impl Limits {
    /// Creates limits from quotas, of which some may be in shadow. `parts` are in shadow as a whole.
    pub(crate) fn new(quotas: Quotas, in_flight: InFlightLimits, parts: ShadowedParts) -> Self {
        let in_flight = if parts.in_flight { in_flight.in_shadow() } else { in_flight };
        if !parts.quotas && !quotas.groups().iter().any(QuotaGroup::is_in_shadow) {
            return Self { quotas, in_flight, shadow: None, parts };
        }
        let groups = quotas.groups().iter();
        let (shadow, enforced) =
            groups.cloned().partition::<Vec<_>, _>(|group| parts.quotas || group.is_in_shadow());
        let shadow = Quotas::of_groups(shadow.iter().map(QuotaGroup::in_shadow));
        let shadow = (!shadow.is_empty()).then(|| Box::new(shadow));
        Self { quotas: Quotas::of_groups(enforced), in_flight, shadow, parts }
    }

    fn is_empty(&self) -> bool {
        let of_parts = self.parts.quotas || self.parts.in_flight;
        self.quotas.is_empty() && self.in_flight.is_empty() && self.shadow.is_none() && !of_parts
    }

    fn groups(&self) -> impl Iterator<Item = &QuotaGroup> {
        self.quotas.groups().iter().chain(self.shadow.iter().flat_map(|shadow| shadow.groups()))
    }

    /// Returns these limits and others together. The groups of quotas are the same in all combinations, so that the windows
    /// have the same policies at each rule.
    fn with(&self, others: &Self) -> Self {
        let groups = self.groups().chain(others.groups()).cloned();
        let in_flight = self.in_flight.all().iter().chain(others.in_flight.all()).cloned();
        let parts = ShadowedParts {
            quotas: self.parts.quotas || others.parts.quotas,
            in_flight: self.parts.in_flight || others.parts.in_flight,
        };
        Self::new(Quotas::of_groups(groups), InFlightLimits::new(in_flight), parts)
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
        Self { plan, own, caps, budgets: None, rules, with_rules }
    }

    /// Returns the same terms with other limits and budgets of the key.
    pub(crate) fn with_own(&self, own: Limits, caps: ParamLimits, budgets: Option<Vec<KeyBudget>>) -> Self {
        Self { budgets, ..Self::new(Arc::clone(&self.plan), own, caps, Arc::clone(&self.rules)) }
    }

    /// Returns the budget of the key in a currency.
    #[inline]
    pub(crate) fn budget_in(&self, currency: &Currency) -> Option<&Budget> {
        match &self.budgets {
            None => self.plan.budget_in(currency),
            Some(own) => own.iter().find(|own| own.currency == *currency).map(|own| &own.budget),
        }
    }

    /// Returns the budgets of the key, each with its currency.
    pub(crate) fn budgets(&self) -> Vec<(&Currency, &Budget)> {
        if let Some(own) = &self.budgets {
            return own.iter().map(|own| (&own.currency, &own.budget)).collect();
        }
        let of = |currency| Some((currency, self.plan.budget_in(currency)?));
        self.plan.named_currencies().filter_map(of).collect()
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
///
/// The terms belong to one configuration of the gate, which its version identifies. When a request under a newer configuration
/// uses the record, its terms take the place of the older ones.
#[derive(Debug)]
pub(crate) struct ResolvedTerms {
    owner: StateOwner,
    /// The version of the configuration, and after it the index of the key's terms among those of the plans, or [`OWN`].
    terms: AtomicU64,
    pub(crate) passed_rules: PassedRules,
    /// The time of the last use that was recorded, in milliseconds since the epoch.
    pub(crate) last_used: AtomicI64,
    /// The terms of a key with limits of its own.
    own: OnceLock<Box<OwnTerms>>,
}

/// The terms of a key that has limits of its own.
#[derive(Debug)]
struct OwnTerms {
    /// The terms under the first configuration, which stay here. A request reads them without a reference count.
    first: OfVersion,
    /// The terms under the newest configuration, if it is not the first.
    newest: ArcSwapOption<OfVersion>,
}

#[derive(Debug)]
struct OfVersion {
    version: u32,
    terms: Arc<Terms>,
}

/// The place of the terms of a key.
#[derive(Debug, Clone)]
pub(crate) enum TermsPlace {
    /// Among the terms of the plans.
    OfPlan(u32),
    /// On the record, under its first configuration.
    OnRecord,
    Own(Arc<Terms>),
}

/// The index of terms that are not those of a plan.
const OWN: u32 = u32::MAX;

/// The rules that a record has passed before, under one configuration. Neither the record nor the rule changes, so the checks
/// that depend only on them need not be repeated. Only the first 64 rules are tracked. The checks of other rules are made every
/// time.
///
/// Each word has the version of the configuration in its upper half, so that a rule that was passed under another one does not
/// count.
#[derive(Debug, Default)]
pub(crate) struct PassedRules([AtomicU64; 2]);

impl PassedRules {
    #[inline]
    pub(crate) fn contains(&self, version: u32, rule: usize) -> bool {
        let word = self.0.get(rule / 32).map_or(0, |rules| rules.load(Ordering::Relaxed));
        word >> 32 == u64::from(version) && word >> (rule % 32) & 1 == 1
    }

    pub(crate) fn add(&self, version: u32, rule: usize) {
        let Some(rules) = self.0.get(rule / 32) else { return };
        let bit = 1 << (rule % 32);
        let add = |word: u64| match (word >> 32).cmp(&version.into()) {
            std::cmp::Ordering::Less => Some(u64::from(version) << 32 | bit),
            std::cmp::Ordering::Equal => Some(word | bit),
            // A request under an older configuration adds nothing.
            std::cmp::Ordering::Greater => None,
        };
        // Nothing is added if the rule need not be.
        let _ = rules.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
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
    /// Creates the state of a key without terms.
    pub(crate) fn new(owner: StateOwner, last_used: Option<Timestamp>) -> Self {
        let last_used = AtomicI64::new(last_used.map_or(i64::MIN, Timestamp::as_millis));
        let (terms, passed_rules, own) = (AtomicU64::new(0), PassedRules::default(), OnceLock::new());
        Self { owner, terms, passed_rules, last_used, own }
    }

    /// Returns the place of the terms under a configuration, if they are there and no reference count is needed.
    #[inline]
    pub(crate) fn place(&self, version: u32) -> Option<TermsPlace> {
        let word = self.terms.load(Ordering::Acquire);
        if word >> 32 != u64::from(version) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        match word as u32 {
            OWN => self.own_place(version),
            plan => Some(TermsPlace::OfPlan(plan)),
        }
    }

    fn own_place(&self, version: u32) -> Option<TermsPlace> {
        self.first_own(version).map(|_| TermsPlace::OnRecord)
    }

    /// Returns the key's own terms, if the configuration is the first under which it had any.
    #[inline]
    pub(crate) fn first_own(&self, version: u32) -> Option<&Arc<Terms>> {
        self.own.get().filter(|own| own.first.version == version).map(|own| &own.first.terms)
    }

    /// Returns the key's own terms under a later configuration.
    pub(crate) fn later_own(&self, version: u32) -> Option<Arc<Terms>> {
        let newest = self.own.get()?.newest.load();
        newest.as_ref().filter(|own| own.version == version).map(|own| Arc::clone(&own.terms))
    }

    /// Stores the terms of the plan with this index, unless there are those of a newer configuration.
    pub(crate) fn set_plan(&self, version: u32, plan: u32) {
        self.raise(version, plan);
    }

    /// Stores terms of the key's own, unless there are those of a newer configuration.
    pub(crate) fn set_own(&self, version: u32, terms: Arc<Terms>) {
        let first = OfVersion { version, terms: Arc::clone(&terms) };
        let own = self.own.get_or_init(|| Box::new(OwnTerms { first, newest: ArcSwapOption::empty() }));
        if own.first.version != version {
            let terms = Arc::new(OfVersion { version, terms });
            own.newest.rcu(|newest| match newest {
                Some(newest) if newest.version >= version => Some(Arc::clone(newest)),
                _ => Some(Arc::clone(&terms)),
            });
        }
        self.raise(version, OWN);
    }

    fn raise(&self, version: u32, index: u32) {
        let word = u64::from(version) << 32 | u64::from(index);
        let raise = |before: u64| (before >> 32 < u64::from(version)).then_some(word);
        // A newer configuration stays.
        let _ = self.terms.fetch_update(Ordering::AcqRel, Ordering::Acquire, raise);
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
