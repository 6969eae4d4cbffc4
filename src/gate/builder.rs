//! How a gate is put together.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Plan, QuotaPolicy};
use crate::clock::{Clock, SystemClock};
use crate::credit::{CreditAdmin, CreditLedger};
use crate::denial::Denial;
use crate::gate::{Check, Management, Observer, TrustedProxies};
use crate::key::{KeyFormat, KeyHasher, KeySource};
use crate::limit::RateLimiter;
use crate::name::Environment;
use crate::respond::{Presentation, RequestIds, ResponseForDenial};
use crate::rule::Rule;
use crate::store::{KeyAdmin, KeyStore};

/// Puts a [`Gate`](crate::gate::Gate) together, and checks that its parts fit.
///
/// All that a configuration file says can be said here. What is not said: keys of the environment `live`, hashed by
/// SHA-256, no plans and no rules (every route needs a key and is free), the order of [`Check::ALL`], no trusted proxy,
/// CORS preflights let through without a key (see [`refuse_preflights`](GateBuilder::refuse_preflights)), refusals as
/// problem details (RFC 9457), back ends in memory.
#[must_use]
pub struct GateBuilder {
    pub(super) sources: Vec<KeySource>,
    pub(super) formats: Vec<KeyFormat>,
    pub(super) literals: Vec<String>,
    pub(super) environments: Vec<Environment>,
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: Rule,
    pub(super) denies_unmatched: bool,
    pub(super) plans: Vec<Plan>,
    pub(super) refuse_conflicts: bool,
    pub(super) hashers: Vec<KeyHasher>,
    pub(super) quotas: HashMap<String, QuotaPolicy>,
    pub(super) order: Vec<Check>,
    pub(super) proxies: TrustedProxies,
    pub(super) preflights: bool,
    pub(super) store: Option<Arc<dyn KeyStore>>,
    pub(super) ledger: Option<Arc<dyn CreditLedger>>,
    pub(super) credit_authority: Option<Arc<dyn CreditAdmin>>,
    pub(super) limiter: Option<Arc<dyn RateLimiter>>,
    pub(crate) meter: Option<Arc<dyn crate::meter::Meter>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) presentation: Presentation,
    pub(super) responder: Option<Arc<dyn ResponseForDenial>>,
    pub(super) request_ids: RequestIds,
    pub(super) principal: bool,
    pub(super) limit_headers: bool,
    pub(super) strip_headers: bool,
    pub(super) observer: Option<Observer>,
    pub(super) authority: Option<Arc<dyn KeyAdmin>>,
    pub(super) uses: Option<Duration>,
    #[cfg(feature = "keygen")]
    pub(super) expiry_feature: Option<String>,
    #[cfg(feature = "keygen")]
    pub(super) randomness: Arc<dyn crate::key::Randomness>,
    #[cfg(feature = "keygen")]
    pub(super) audit: Arc<dyn crate::audit::AuditSink>,
    pub(crate) management: Management,
    #[cfg(feature = "keygen")]
    pub(crate) mounted: Option<Arc<dyn crate::gate::Mounted>>,
}

impl GateBuilder {
    pub(super) fn new() -> Self {
        let bare = Self::without_back_ends();
        #[cfg(feature = "memory")]
        let bare =
            bare.managed_store(crate::store::MemoryStore::new()).limiter(crate::limit::MemoryLimiter::new());
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
            denies_unmatched: false,
            plans: Vec::new(),
            refuse_conflicts: false,
            hashers: vec![KeyHasher::sha256()],
            quotas: HashMap::new(),
            order: Vec::new(),
            proxies: TrustedProxies::default(),
            preflights: true,
            store: None,
            ledger: None,
            credit_authority: None,
            limiter: None,
            meter: None,
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
            #[cfg(feature = "keygen")]
            randomness: Arc::new(crate::key::OsRandomness),
            #[cfg(feature = "keygen")]
            audit: Arc::new(crate::audit::TracingAudit),
            management: Management::default(),
            #[cfg(feature = "keygen")]
            mounted: None,
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

    /// Notes when keys are used, each at most once in this time: a [`KeyManager`](crate::manage::KeyManager) writes it back. A gate
    /// with an [`authority`](GateBuilder::authority) does so every minute, if nothing is said.
    pub fn note_uses(mut self, resolution: Duration) -> Self {
        self.uses = Some(resolution);
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

    /// What holds for requests that no rule matches; its pattern counts for nothing. See also
    /// [`deny_unmatched`](GateBuilder::deny_unmatched).
    pub fn otherwise(mut self, rule: Rule) -> Self {
        self.otherwise = rule;
        self
    }

    /// Refuses requests that no rule matches, whatever the key, as [`RouteDenied`](crate::denial::DenialKind::RouteDenied).
    ///
    /// Recommended for every service that has rules: a rule that is misspelt, or a route that was forgotten, is then closed
    /// rather than free. `testing::unruled_routes` lists what it would close.
    ///
    /// # Example
    ///
    /// ```
    /// use http::Request;
    /// use tollgate::key::Length;
    /// use tollgate::{DenialKind, Gate, KeyFormat, KeySource, RequestView, Rule};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gate = Gate::builder()
    ///     .source(KeySource::header("X-API-Key")?)
    ///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    ///     .rule(Rule::new("GET /v1/candles")?)
    ///     .deny_unmatched()
    ///     .build()?;
    /// // Without a key, an unknown path reads like any other.
    /// let request = Request::get("/v1/nowhere").body(())?;
    /// assert_eq!(gate.admit(&RequestView::of(&request)).await.unwrap_err().kind(), DenialKind::Missing);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deny_unmatched(mut self) -> Self {
        self.denies_unmatched = true;
        self
    }

    /// Adds a plan.
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plans.push(plan);
        self
    }

    /// Defines a quota that plans, accounts and keys may name. It is known by this name, in `RateLimit` headers too, unless
    /// it has a [name of its own](QuotaPolicy::with_name).
    pub fn quota(mut self, name: impl Into<String>, policy: QuotaPolicy) -> Self {
        let name = name.into();
        // A name that no header can hold is refused when the gate is built.
        let policy = policy.clone().defined_as(&name).unwrap_or(policy);
        self.quotas.insert(name, policy);
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
    ///
    /// If it is not said, what looks like a true preflight (`OPTIONS` with one `Origin` and one
    /// `Access-Control-Request-Method`) reaches the service without a key, on every path, free of charge and not limited:
    /// browsers send no key with it. Anyone else can send one too, so a CORS layer around the gate should answer it. Say it
    /// where no browser asks.
    pub fn refuse_preflights(mut self) -> Self {
        self.preflights = false;
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

    /// Adds `RateLimit` and `RateLimit-Policy` to answers (draft-ietf-httpapi-ratelimit-headers-11).
    ///
    /// A window's `t` is the time in seconds, rounded up, until it admits one more request; of a strict window, and of a node's
    /// share ([`LocalShare`](crate::LocalShare)), until it is full. The window that refused a request has the `t` of
    /// `Retry-After`. `pk` is `account` or `pool:NAME` where a window counts more than the key.
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
}

impl fmt::Debug for GateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateBuilder")
            .field("sources", &self.sources)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
