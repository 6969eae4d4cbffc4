//! How a gate is put together.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credit::ChargeIds;
use crate::gate::terms::Plans;
use crate::gate::{Check, Core, Observer, TrustedProxies, validate};
use crate::respond::{Presentation, RequestIds, ResponseForDenial};
use crate::rule::RuleSet;
use crate::uses::Uses;
use crate::{
    Clock, ConfigError, CreditLedger, Denial, Environment, Gate, KeyAdmin, KeyFormat, KeyHasher, KeySource,
    KeyStore, Plan, PlanName, QuotaPolicy, RateLimiter, Rule, SystemClock,
};

/// Puts a [`Gate`] together, and checks that its parts fit.
///
/// All that a configuration file says can be said here. What is not said: keys of the environment `live`, hashed by
/// SHA-256, no plans and no rules (every route needs a key and is free), the order of [`Check::ALL`], no trusted proxy,
/// CORS preflights let through, refusals as problem details (RFC 9457), back ends in memory.
#[must_use]
pub struct GateBuilder {
    pub(super) sources: Vec<KeySource>,
    pub(super) formats: Vec<KeyFormat>,
    pub(super) literals: Vec<String>,
    pub(super) environments: Vec<Environment>,
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: Rule,
    pub(super) plans: Vec<Plan>,
    refuse_conflicts: bool,
    hashers: Vec<KeyHasher>,
    quotas: HashMap<String, QuotaPolicy>,
    order: Vec<Check>,
    proxies: TrustedProxies,
    preflights: bool,
    store: Option<Arc<dyn KeyStore>>,
    ledger: Option<Arc<dyn CreditLedger>>,
    limiter: Option<Arc<dyn RateLimiter>>,
    clock: Arc<dyn Clock>,
    presentation: Presentation,
    responder: Option<Arc<dyn ResponseForDenial>>,
    request_ids: RequestIds,
    principal: bool,
    limit_headers: bool,
    strip_headers: bool,
    observer: Option<Observer>,
    authority: Option<Arc<dyn KeyAdmin>>,
    uses: Option<Duration>,
    #[cfg(feature = "keygen")]
    expiry_feature: Option<String>,
}

impl GateBuilder {
    pub(super) fn new() -> Self {
        let bare = Self::without_back_ends();
        #[cfg(feature = "memory")]
        let bare = bare
            .store(crate::MemoryStore::new())
            .ledger(crate::MemoryLedger::new())
            .limiter(crate::MemoryLimiter::new());
        bare
    }

    fn without_back_ends() -> Self {
        Self {
            sources: Vec::new(),
            formats: Vec::new(),
            literals: Vec::new(),
            environments: Vec::new(),
            rules: Vec::new(),
            otherwise: Rule::otherwise(),
            plans: Vec::new(),
            refuse_conflicts: false,
            hashers: vec![KeyHasher::sha256()],
            quotas: HashMap::new(),
            order: Vec::new(),
            proxies: TrustedProxies::default(),
            preflights: true,
            store: None,
            ledger: None,
            limiter: None,
            clock: Arc::new(SystemClock::new()),
            presentation: Presentation::problem(),
            responder: None,
            request_ids: RequestIds::default(),
            principal: true,
            limit_headers: false,
            strip_headers: false,
            observer: None,
            authority: None,
            uses: None,
            #[cfg(feature = "keygen")]
            expiry_feature: None,
        }
    }

    /// Adds a place where a key may stand, behind those added before. The first that is present decides.
    pub fn source(mut self, source: KeySource) -> Self {
        self.sources.push(source);
        self
    }

    /// Refuses a request that shows a key in two sources.
    pub fn refuse_conflicts(mut self) -> Self {
        self.refuse_conflicts = true;
        self
    }

    /// Adds a format that a key may have.
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Exempts one literal key from the formats, such as a demo key that everybody knows. It is looked up and judged like
    /// any other: what it may do is its record's and its plan's matter.
    pub fn literal(mut self, key: impl Into<String>) -> Self {
        self.literals.push(key.into());
        self
    }

    /// How keys are hashed.
    pub fn hasher(mut self, hasher: KeyHasher) -> Self {
        self.hashers[0] = hasher;
        self
    }

    /// How keys were hashed before, or elsewhere: what is not found under the newest scheme is looked for under this one,
    /// and put under the newest when it is used, if the gate has an [`authority`](GateBuilder::authority).
    pub fn older_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hashers.push(hasher);
        self
    }

    /// Where keys are written: the store's write side, never a cache.
    pub fn authority(mut self, store: impl KeyAdmin) -> Self {
        self.authority = Some(Arc::new(store));
        self
    }

    /// Notes when keys are used, each at most once in this time: a [`KeyManager`](crate::KeyManager) writes it back.
    pub fn note_uses(mut self, resolution: Duration) -> Self {
        self.uses = Some(resolution);
        self
    }

    /// What a plan must include, among its features, for an expiry of one's own to be asked for; nothing, if nothing is said.
    #[cfg(feature = "keygen")]
    pub fn expiry_feature(mut self, feature: impl Into<String>) -> Self {
        self.expiry_feature = Some(feature.into());
        self
    }

    /// Serves keys of this environment, and no longer those of `live` unless they are named too.
    pub fn environment(mut self, environment: impl Into<Environment>) -> Self {
        self.environments.push(environment.into());
        self
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// What holds for requests that no rule matches; its pattern counts for nothing.
    pub fn otherwise(mut self, rule: Rule) -> Self {
        self.otherwise = rule;
        self
    }

    /// Adds a plan.
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plans.push(plan);
        self
    }

    /// Defines a quota that plans, accounts and keys may name.
    pub fn quota(mut self, name: impl Into<String>, policy: QuotaPolicy) -> Self {
        self.quotas.insert(name.into(), policy);
        self
    }

    /// The order of the checks. Those it does not name are made behind those it names.
    pub fn order(mut self, order: impl IntoIterator<Item = Check>) -> Self {
        self.order = order.into_iter().collect();
        self
    }

    /// The proxies whose word on the client's address is taken.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Asks CORS preflights for a key, like any request.
    pub fn refuse_preflights(mut self) -> Self {
        self.preflights = false;
        self
    }

    /// Where keys are found.
    pub fn store(mut self, store: impl KeyStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Where credits are spent.
    pub fn ledger(mut self, ledger: impl CreditLedger) -> Self {
        self.ledger = Some(Arc::new(ledger));
        self
    }

    /// What limits rates.
    pub fn limiter(mut self, limiter: impl RateLimiter) -> Self {
        self.limiter = Some(Arc::new(limiter));
        self
    }

    /// Where the time is read.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How refusals look.
    pub fn presentation(mut self, presentation: Presentation) -> Self {
        self.presentation = presentation;
        self
    }

    /// Answers refusals by code instead of a [`Presentation`].
    pub fn responder(mut self, responder: impl ResponseForDenial) -> Self {
        self.responder = Some(Arc::new(responder));
        self
    }

    /// How requests are named.
    pub fn request_ids(mut self, ids: RequestIds) -> Self {
        self.request_ids = ids;
        self
    }

    /// Tells the handler nothing: saves the allocation of a request extension. A second gate behind this one then
    /// charges again.
    pub fn without_principal(mut self) -> Self {
        self.principal = false;
        self
    }

    /// Adds `RateLimit` and `RateLimit-Policy` to answers (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn limit_headers(mut self) -> Self {
        self.limit_headers = true;
        self
    }

    /// Takes the headers that are key sources out of the request that the handler sees. A query parameter that is a key
    /// source is always taken out.
    pub fn strip_headers(mut self) -> Self {
        self.strip_headers = true;
        self
    }

    /// Shows every refusal to a function, on the request's path: it must not block.
    pub fn on_denial(mut self, observer: impl Fn(&Denial) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Checks that the parts fit: all but the back ends.
    ///
    /// # Errors
    ///
    /// The first contradiction, as [`build`](GateBuilder::build) would find it.
    pub fn check(&self) -> Result<(), ConfigError> {
        validate::all(self)?;
        let plans = by_name(&self.plans);
        RuleSet::new(self.rules.clone(), self.otherwise.clone(), &plans)?;
        Plans::new(&plans, self.quotas.clone())?;
        Check::in_order(&self.order)?;
        self.presentation.compile(&self.sources, self.request_ids.header()).map(drop)
    }

    /// Checks that the parts fit, and puts them together.
    ///
    /// # Errors
    ///
    /// The first contradiction: no source, a rule that names an unknown plan, a public rule that costs something, and so
    /// on.
    pub fn build(self) -> Result<Gate, ConfigError> {
        validate::all(&self)?;
        let plan_data = by_name(&self.plans);
        let environments =
            if self.environments.is_empty() { vec![Environment::live()] } else { self.environments };
        let responder = match self.responder {
            Some(responder) => responder,
            None => Arc::new(self.presentation.compile(&self.sources, self.request_ids.header())?),
        };
        Ok(Gate(Arc::new(Core {
            refuse_conflicts: self.refuse_conflicts,
            formats: self.formats,
            literals: self.literals,
            hashers: self.hashers,
            environments: environments.into_iter().collect(),
            rules: RuleSet::new(self.rules, self.otherwise, &plan_data)?,
            plans: Plans::new(&plan_data, self.quotas)?,
            plan_data,
            order: Check::in_order(&self.order)?,
            proxies: self.proxies,
            preflights: self.preflights,
            store: self.store.ok_or_else(|| missing("store"))?,
            ledger: self.ledger.ok_or_else(|| missing("ledger"))?,
            limiter: self.limiter.ok_or_else(|| missing("limiter"))?,
            clock: self.clock,
            charge_ids: ChargeIds::new(),
            responder,
            request_ids: self.request_ids,
            principal: self.principal,
            limit_headers: self.limit_headers,
            strip_headers: self.strip_headers,
            observer: self.observer,
            authority: self.authority,
            uses: Uses::every(self.uses),
            #[cfg(feature = "keygen")]
            expiry_feature: self.expiry_feature,
            sources: self.sources,
        })))
    }
}

fn by_name(plans: &[Plan]) -> HashMap<PlanName, Plan> {
    plans.iter().map(|plan| (plan.name.clone(), plan.clone())).collect()
}

fn missing(part: &str) -> ConfigError {
    let problem = "the gate has no such back end, and the feature `memory`, which has one, is off";
    ConfigError::new("", problem, "hand one to the builder").in_member(part)
}

impl fmt::Debug for GateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateBuilder")
            .field("sources", &self.sources)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
