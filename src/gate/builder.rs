//! The builder of a gate.

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
use crate::respond::{ErrorFormat, RequestIds, ResponseForDenial};
use crate::rule::Rule;
use crate::store::{KeyAdmin, KeyStore};

/// A builder for a [`Gate`](crate::gate::Gate) that checks that the parts fit together.
///
/// Every setting of a configuration file has a method here. The defaults are: keys of the environment `live`, hashed by
/// SHA-256; no plans and no rules, so that every route needs a key and is free; the order of [`Check::ALL`]; no trusted
/// proxy; CORS preflights admitted without a key (see [`refuse_preflights`](GateBuilder::refuse_preflights)); denials
/// as problem details (RFC 9457); back ends in memory.
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
    pub(super) error_format: ErrorFormat,
    pub(super) responder: Option<Arc<dyn ResponseForDenial>>,
    pub(super) request_ids: RequestIds,
    pub(super) principal: bool,
    pub(super) limit_headers: bool,
    pub(super) strip_headers: bool,
    pub(super) observer: Option<Observer>,
    pub(super) authority: Option<Arc<dyn KeyAdmin>>,
    pub(super) uses: Option<Duration>,
    pub(super) expiry_feature: Option<String>,
    pub(super) randomness: Arc<dyn crate::key::Randomness>,
    pub(super) audit: Arc<dyn crate::audit::AuditSink>,
    pub(crate) management: Management,
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
            error_format: ErrorFormat::problem(),
            responder: None,
            request_ids: RequestIds::default(),
            principal: true,
            limit_headers: false,
            strip_headers: false,
            observer: None,
            authority: None,
            uses: None,
            expiry_feature: None,
            randomness: Arc::new(crate::key::OsRandomness),
            audit: Arc::new(crate::audit::TracingAudit),
            management: Management::default(),
            mounted: None,
        }
    }

    /// Adds a key source after those added before. The first source that is present in a request decides.
    pub fn source(mut self, source: KeySource) -> Self {
        self.sources.push(source);
        self
    }

    /// Denies a request that presents a key in two sources.
    pub fn refuse_conflicts(mut self) -> Self {
        self.refuse_conflicts = true;
        self
    }

    /// Adds a key format.
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Exempts one literal key from the formats, such as a public demo key. The key is looked up and checked like any
    /// other. Its record and its plan decide its permissions.
    pub fn literal(mut self, key: impl Into<String>) -> Self {
        self.literals.push(key.into());
        self
    }

    /// Sets the hasher of keys.
    pub fn hasher(mut self, hasher: KeyHasher) -> Self {
        self.hashers[0] = hasher;
        self
    }

    /// Adds an older hasher, such as one that another system used. A key that is not found under the newest scheme is
    /// looked up under this one. If the gate has an [`authority`](GateBuilder::authority), a key in use is then
    /// rehashed under the newest scheme.
    pub fn older_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hashers.push(hasher);
        self
    }

    /// Sets the store to which keys are written. It must be the store's write side, never a cache.
    pub fn authority(mut self, store: impl KeyAdmin) -> Self {
        self.authority = Some(Arc::new(store));
        self
    }

    /// Records when keys are used, each key at most once in this time. A [`KeyManager`](crate::manage::KeyManager)
    /// writes the times to the store. Defaults to one minute for a gate with an [`authority`](GateBuilder::authority),
    /// and to no recording for a gate without one.
    pub fn note_uses(mut self, resolution: Duration) -> Self {
        self.uses = Some(resolution);
        self
    }

    /// Adds an environment whose keys the gate serves. `live` is no longer served then, unless it is added too.
    pub fn environment(mut self, environment: impl Into<Environment>) -> Self {
        self.environments.push(environment.into());
        self
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Sets the rule for requests that no other rule matches. Its pattern is ignored. See also
    /// [`deny_unmatched`](GateBuilder::deny_unmatched).
    pub fn otherwise(mut self, rule: Rule) -> Self {
        self.otherwise = rule;
        self
    }

    /// Denies requests that no rule matches, whatever the key, as
    /// [`RouteDenied`](crate::denial::DenialKind::RouteDenied).
    ///
    /// Recommended for every service that has rules: it closes a route whose rule is misspelt or missing, which would
    /// otherwise be free. `testing::unruled_routes` lists the routes that it would close.
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

    /// Defines a quota that plans, accounts and keys can refer to by name. `RateLimit` headers use this name too,
    /// unless the policy has a [name of its own](QuotaPolicy::with_name).
    pub fn quota(mut self, name: impl Into<String>, policy: QuotaPolicy) -> Self {
        let name = name.into();
        // A name that is invalid in a header is rejected when the gate is built.
        let policy = policy.clone().defined_as(&name).unwrap_or(policy);
        self.quotas.insert(name, policy);
        self
    }

    /// Sets the order of the checks. Checks that are not named follow after the named ones.
    pub fn order(mut self, order: impl IntoIterator<Item = Check>) -> Self {
        self.order = order.into_iter().collect();
        self
    }

    /// Sets the proxies that are trusted to report the client's address.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Requires a key for CORS preflights, as for any other request.
    ///
    /// By default, a request with the form of a preflight (`OPTIONS` with one `Origin` and one
    /// `Access-Control-Request-Method`) reaches the service without a key, on every path, free of charge and without
    /// rate limits, because browsers send no key with a preflight. Any client can send such a request, so a CORS layer
    /// around the gate should answer it. Call this method where no browser uses the API.
    pub fn refuse_preflights(mut self) -> Self {
        self.preflights = false;
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the format of denial responses.
    pub fn error_format(mut self, error_format: ErrorFormat) -> Self {
        self.error_format = error_format;
        self
    }

    /// Sets code that answers denials, instead of a [`ErrorFormat`].
    pub fn responder(mut self, responder: impl ResponseForDenial) -> Self {
        self.responder = Some(Arc::new(responder));
        self
    }

    /// Sets the configuration of request ids.
    pub fn request_ids(mut self, ids: RequestIds) -> Self {
        self.request_ids = ids;
        self
    }

    /// Omits the [`Principal`](crate::gate::Principal) from the request's extensions, which saves an allocation. A
    /// second gate behind this one then charges again.
    pub fn without_principal(mut self) -> Self {
        self.principal = false;
        self
    }

    /// Adds `RateLimit` and `RateLimit-Policy` headers to responses (draft-ietf-httpapi-ratelimit-headers-11).
    ///
    /// A window's `t` is the time in seconds, rounded up, until it admits one more request. For a strict window, and for a
    /// node's share ([`LocalShare`](crate::limit::LocalShare)), it is the time until the window is full. The window that
    /// refused a request has the `t` of `Retry-After`. `pk` is `account` or `pool:NAME` where a window counts more than
    /// the key.
    pub fn limit_headers(mut self) -> Self {
        self.limit_headers = true;
        self
    }

    /// Removes the headers that are key sources from the request before the handler receives it. A query parameter that
    /// is a key source is always removed.
    pub fn strip_headers(mut self) -> Self {
        self.strip_headers = true;
        self
    }

    /// Sets a function that receives every denial. It runs while the request waits, so it must not block.
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
