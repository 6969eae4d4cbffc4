//! The builder of a gate: its back ends and settings, and the assembly of the gate.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{InFlightLimit, NetworkCut, Plan, QuotaPolicy, ShadowChecks};
use crate::alert::{AlertRule, AlertSettings, AlertSink, AlertStore, BackEnds};
use crate::amount::{ChargeIds, Currency};
use crate::audit::{AuditSink, TracingAudit};
use crate::clock::{Clock, SystemClock};
use crate::credit::CreditLedger;
use crate::denial::Denial;
use crate::error::ConfigError;
use crate::gate::anonymous::AnonymousTier;
use crate::gate::attempts::{AttemptLimit, Attempts};
use crate::gate::metrics::{BackEndMetrics, DecisionMetrics};
use crate::gate::reload::{Configuration, FixedSettings};
use crate::gate::revocation::Revocations;
use crate::gate::terms::{GateLimits, Identity, Plans};
use crate::gate::{
    Check, Checks, Core, Gate, Management, Mounted, Observer, Parts, TrustedProxies, validate,
};
#[cfg(feature = "fleet")]
use crate::guard::BackEndPolicies;
use crate::key::{KeyFormat, KeyHasher, KeySource, OsRandomness, Randomness};
use crate::limit::RateLimiter;
use crate::meter::meter_of;
use crate::name::{Environment, PlanName, Scope};
use crate::respond::{CreditHeaders, ErrorFormat, RequestIds, Responders, ResponseForDenial};
use crate::rule::{Purpose, Rule, RuleSet, ScopeRule};
use crate::state::StateOwner;
use crate::store::KeyStore;
use crate::telemetry::{DecisionSink, EventAddresses};
use crate::usage::{Usage, UsageOptions, UsageStore};
use crate::uses::Uses;

/// The default interval at which a key's use is recorded.
const USES: Duration = Duration::from_mins(1);

/// The back end in memory, for one that was not given.
#[cfg(feature = "memory")]
macro_rules! in_memory {
    ($back_end:expr) => {
        Some(Arc::new($back_end))
    };
}
#[cfg(not(feature = "memory"))]
macro_rules! in_memory {
    ($back_end:expr) => {
        None
    };
}

/// A builder for a [`Gate`](crate::gate::Gate) that checks that the parts fit together.
///
/// Every setting of a configuration file has a method here. The defaults are: keys of the environment `live`, hashed by
/// SHA-256; no plans and no rules, so that every route needs a key and is free; the order of [`Check::ALL`]; no trusted
/// proxy; CORS preflights admitted without a key (see [`refuse_preflights`](GateBuilder::refuse_preflights)); denials
/// as problem details (RFC 9457); back ends in memory.
///
/// The methods may be called in any order. [`store`](GateBuilder::store), [`limiter`](GateBuilder::limiter) and
/// [`ledger`](GateBuilder::ledger) may be called once each.
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
    pub(super) currencies: Vec<Currency>,
    pub(super) refuse_conflicts: bool,
    pub(super) hashers: Vec<KeyHasher>,
    pub(super) quotas: HashMap<String, QuotaPolicy>,
    pub(super) in_flight: Option<InFlightLimit>,
    pub(super) order: Vec<Check>,
    pub(super) proxies: TrustedProxies,
    pub(super) preflights: bool,
    pub(super) attempts: Option<AttemptLimit>,
    pub(super) anonymous: Option<AnonymousTier>,
    stores: Vec<Given<dyn KeyStore>>,
    limiters: Vec<Given<dyn RateLimiter>>,
    ledgers: Vec<Given<dyn CreditLedger>>,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) error_format: ErrorFormat,
    pub(super) responder: Option<Arc<dyn ResponseForDenial>>,
    pub(super) request_ids: RequestIds,
    pub(super) principal: bool,
    pub(super) limit_headers: bool,
    pub(super) credit_headers: CreditHeaders,
    pub(super) strip_headers: bool,
    refuses_insecure: bool,
    pub(super) shadow: ShadowChecks,
    pub(super) observer: Option<Observer>,
    sinks: Vec<Arc<dyn DecisionSink>>,
    #[cfg(feature = "fleet")]
    pub(super) back_end_policies: BackEndPolicies,
    usage_stores: Vec<Given<dyn UsageStore>>,
    pub(super) usage_options: Option<UsageOptions>,
    pub(super) alerts: AlertSettings,
    event_addresses: EventAddresses,
    metrics: bool,
    pub(super) uses: Option<Duration>,
    pub(super) expiry_feature: Option<String>,
    pub(super) randomness: Option<Arc<dyn Randomness>>,
    pub(super) audit: Option<Arc<dyn AuditSink>>,
    pub(crate) management: Management,
    pub(crate) mounted: Option<Arc<dyn Mounted>>,
}

impl GateBuilder {
    pub(super) fn new() -> Self {
        Self {
            sources: Vec::new(),
            formats: Vec::new(),
            literals: Vec::new(),
            environments: Vec::new(),
            rules: Vec::new(),
            otherwise: Rule::otherwise(),
            denies_unmatched: false,
            plans: Vec::new(),
            currencies: Vec::new(),
            refuse_conflicts: false,
            hashers: vec![KeyHasher::sha256()],
            quotas: HashMap::new(),
            in_flight: None,
            order: Vec::new(),
            proxies: TrustedProxies::default(),
            preflights: true,
            attempts: None,
            anonymous: None,
            stores: Vec::new(),
            limiters: Vec::new(),
            ledgers: Vec::new(),
            clock: None,
            error_format: ErrorFormat::problem(),
            responder: None,
            request_ids: RequestIds::default(),
            principal: true,
            limit_headers: false,
            credit_headers: CreditHeaders::default(),
            strip_headers: false,
            refuses_insecure: false,
            shadow: ShadowChecks::NONE,
            observer: None,
            sinks: Vec::new(),
            #[cfg(feature = "fleet")]
            back_end_policies: BackEndPolicies::default(),
            usage_stores: Vec::new(),
            usage_options: None,
            alerts: AlertSettings::default(),
            event_addresses: EventAddresses::default(),
            metrics: false,
            uses: None,
            expiry_feature: None,
            randomness: None,
            audit: None,
            management: Management::default(),
            mounted: None,
        }
    }

    /// Sets the store in which keys are looked up.
    ///
    /// If the store has a write side ([`KeyStore::admin`]), the gate manages keys in it, records uses, and rehashes keys
    /// of [older hashers](GateBuilder::older_hasher). [`MemoryStore`](crate::store::MemoryStore),
    /// [`SqlStore`](crate::store::SqlStore), and a [`CachedStore`](crate::store::CachedStore) or a
    /// [`Resilient`](crate::guard::Resilient) over one of them have a write side. Defaults to a store in memory.
    pub fn store<S: KeyStore>(mut self, store: S) -> Self {
        self.stores.push(Given { back_end: Arc::new(store), type_name: type_name::<S>() });
        self
    }

    /// Sets the rate limiter. Defaults to a limiter in memory. If it does not limit
    /// [requests in flight](RateLimiter::limits_in_flight), no plan and no rule may have such a limit, nor the gate.
    pub fn limiter<L: RateLimiter>(mut self, limiter: L) -> Self {
        self.limiters.push(Given { back_end: Arc::new(limiter), type_name: type_name::<L>() });
        self
    }

    /// Sets the ledger that charges credits.
    ///
    /// If the ledger has a write side ([`CreditLedger::admin`]), the gate reads and erases balances through it. All
    /// ledgers of this crate have one. Defaults to a ledger in memory.
    pub fn ledger<L: CreditLedger>(mut self, ledger: L) -> Self {
        self.ledgers.push(Given { back_end: Arc::new(ledger), type_name: type_name::<L>() });
        self
    }

    /// Denies keys that came over a channel without encryption with
    /// [`InsecureChannel`](crate::DenialKind::InsecureChannel), before they are looked up. A channel is encrypted if a trusted
    /// proxy says so in `X-Forwarded-Proto`, or, without that header, if the server inserts
    /// [`Channel::Tls`](crate::request::Channel) into the request's extensions. Draft-ietf-httpapi-privacy recommends that.
    pub fn refuse_insecure(mut self) -> Self {
        self.refuses_insecure = true;
        self
    }

    /// Makes these checks in shadow: they are judged, counted and told, and refuse nothing and charge nothing. A
    /// [rule](Rule::shadow) and a [plan](Plan::shadow) may add checks, and a single
    /// [quota](QuotaPolicy::in_shadow) may be in shadow.
    ///
    /// - The [event](crate::telemetry::DecisionEvent::shadow) about a request tells the denial that it would have had. The metric
    ///   `tollgate_shadow_denials_total` counts them.
    /// - Rate limits and limits on requests in flight count in windows and slots of their own. Those of the checks that are in
    ///   force are not used up.
    /// - Credits are compared with the balance, and nothing is charged. A ledger without a write side is not asked. Each request is
    ///   compared with the whole balance, and with no budget.
    /// - With `format` and `look_up` in shadow, a request without a valid key is served, without a
    ///   [`Principal`](crate::Principal). Failed attempts are not counted.
    /// - A back end that fails in a check in shadow refuses nothing.
    ///
    /// Key management is never in shadow.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::Gate;
    /// use tollgate::gate::Check;
    ///
    /// let builder = Gate::builder().shadow([Check::RateLimits, Check::Credits].into_iter().collect());
    /// # drop(builder);
    /// ```
    pub fn shadow(mut self, checks: ShadowChecks) -> Self {
        self.shadow = checks;
        self
    }

    /// Sets the guards of the back ends and the answers while they fail. The gate wraps the back ends that it was given, in
    /// whatever order the methods are called. Give it back ends without guards and caches of their own.
    ///
    /// A limiter and a ledger on one Redis server are asked in two calls behind guards, and in one call without.
    #[cfg(feature = "fleet")]
    pub fn back_end_policies(mut self, policies: BackEndPolicies) -> Self {
        self.back_end_policies = policies;
        self
    }

    /// Removes the back ends that were given, so that others take their places.
    #[cfg(feature = "testing")]
    pub(crate) fn without_back_ends(mut self) -> Self {
        self.stores.clear();
        self.limiters.clear();
        self.ledgers.clear();
        self.usage_stores.clear();
        self
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
    /// looked up under this one. If the [`store`](GateBuilder::store) has a write side, a key in use is then rehashed
    /// under the newest scheme.
    pub fn older_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hashers.push(hasher);
        self
    }

    /// Records when keys are used, each key at most once in this time. A [`KeyManager`](crate::manage::KeyManager)
    /// writes the times to the store. Defaults to one minute if the [`store`](GateBuilder::store) has a write side, and
    /// to no recording otherwise.
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

    /// Declares a currency that rules may cost although no plan has a grant or a budget in it. Accounts then have only
    /// the credits that are added by hand. [`Currency::CREDITS`] need not be declared.
    pub fn currency(mut self, currency: Currency) -> Self {
        self.currencies.push(currency);
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

    /// Limits the requests in flight of all keys together, in addition to the limits of [plans](Plan::in_flight),
    /// [rules](Rule::in_flight) and [keys](crate::key::KeyDetails::in_flight). Public requests are not counted. The limit
    /// counts all requests, whatever it says. Defaults to no limit.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::Gate;
    /// use tollgate::account::InFlightLimit;
    ///
    /// let builder = Gate::builder().in_flight(InFlightLimit::new(1_000)?);
    /// # let _ = builder;
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn in_flight(mut self, limit: InFlightLimit) -> Self {
        self.in_flight = Some(limit.total());
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

    /// Limits the requests without a valid key that a network may send. Defaults to no limit.
    pub fn attempts(mut self, limit: AttemptLimit) -> Self {
        self.attempts = Some(limit);
        self
    }

    /// Serves requests without a key under this plan, at the rules with [`Rule::anonymous`]. Defaults to none.
    ///
    /// Each network of clients is limited separately: a quota of the plan or of the rule that counts keys or accounts
    /// counts networks, which are cut from the client's address. A pool is shared as ever. The plan grants no credits, and
    /// each such rule has a quota of its own or the plan has one.
    ///
    /// The handler finds a [`Principal`](crate::Principal) for which
    /// [`is_anonymous`](crate::Principal::is_anonymous) is true. Decision events name the plan, and no key and no account.
    ///
    /// A request that has anything in a key source is not anonymous: an empty, malformed, unknown, expired or revoked key
    /// is denied as at any other rule. So is a key of this gate in a place that no source reads: in `Authorization`,
    /// `X-Api-Key`, `Api-Key` or a query parameter. In a query parameter, only keys of a format with a prefix are
    /// recognised.
    ///
    /// # Example
    ///
    /// ```
    /// use http::Request;
    /// use tollgate::account::NetworkCut;
    /// use tollgate::adapter::Peer;
    /// use tollgate::key::Length;
    /// use tollgate::{Gate, KeyFormat, KeySource, Plan, RequestView, Rule};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut plan = Plan::new("anonymous");
    /// plan.quotas = vec!["10 per minute".parse()?];
    /// let mut rule = Rule::new("GET /v1/ticker")?;
    /// rule.anonymous = true;
    /// let gate = Gate::builder()
    ///     .source(KeySource::header("X-API-Key")?)
    ///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    ///     .plan(plan)
    ///     .anonymous("anonymous", NetworkCut::default())
    ///     .rule(rule)
    ///     .build()?;
    /// let request = Request::get("/v1/ticker").extension(Peer("192.0.2.7".parse()?)).body(())?;
    /// assert!(gate.admit(&RequestView::of(&request)).await?.is_anonymous());
    /// let request = Request::get("/v1/ticker").header("X-API-Key", "acme_wrong").body(())?;
    /// assert!(gate.admit(&RequestView::of(&request)).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn anonymous(mut self, plan: impl Into<PlanName>, cut: NetworkCut) -> Self {
        self.anonymous = Some(AnonymousTier { plan: plan.into(), cut });
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
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
    /// A window's `t` is the time in seconds, rounded up, until it has one more unit. A full window has no `t`. The
    /// window that denied a request has the `t` of `Retry-After`. A window whose `t` would be later than the response's
    /// `Retry-After` has none. `pk` is `account`, `network` or `pool:NAME` if a window does not count the
    /// key alone. `qu` is the unit of a quota that does not count requests. If a rule has a weight, the unit of a quota
    /// without one is `units`.
    ///
    /// A limit on requests in flight is the item `in_flight` of `RateLimit-Policy`, with the unit `concurrent-requests` and
    /// without a window. `RateLimit` has it if it denies the request.
    pub fn limit_headers(mut self) -> Self {
        self.limit_headers = true;
        self
    }

    /// Adds the cost of the request and the account's balance after it to responses, in these headers.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::Gate;
    /// use tollgate::respond::CreditHeaders;
    ///
    /// let builder = Gate::builder().credit_headers(CreditHeaders::default().with_cost("X-Credits-Cost")?);
    /// # drop(builder);
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn credit_headers(mut self, headers: CreditHeaders) -> Self {
        self.credit_headers = headers;
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

    /// Adds a receiver of an event about each decision, admitted or denied, once its outcome is final.
    pub fn decision_sink(mut self, sink: impl DecisionSink) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// Records the [metrics](crate::metrics) of the gate and of its back ends, with the recorder that is installed when the
    /// gate is built.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Counts the gate's decisions by key, rule, outcome and minute, and writes the counts to this store:
    /// [`Gate::usage`](crate::Gate::usage) returns them. Without a store, nothing is counted, unless
    /// [`usage_options`](Self::usage_options) is called.
    pub fn usage_store<S: UsageStore>(mut self, store: S) -> Self {
        self.usage_stores.push(Given { back_end: Arc::new(store), type_name: type_name::<S>() });
        self
    }

    /// Sets the options of the usage: the interval at which counts are written, their retention and the bound on memory.
    /// Without a [`usage_store`](Self::usage_store), the usage is kept in memory.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::Gate;
    /// use tollgate::usage::UsageOptions;
    ///
    /// let mut options = UsageOptions::default();
    /// options.flush = Some(std::time::Duration::from_secs(5));
    /// let builder = Gate::builder().usage_options(options);
    /// ```
    pub fn usage_options(mut self, options: UsageOptions) -> Self {
        self.usage_options = Some(options);
        self
    }

    /// Adds a threshold. When it is crossed, the gate tells the alert sinks. See [`alert`](crate::alert).
    pub fn alert(mut self, rule: AlertRule) -> Self {
        self.alerts.rules.push(rule);
        self
    }

    /// Adds a receiver of alerts. Defaults to the log alone.
    pub fn alert_sink(mut self, sink: impl AlertSink) -> Self {
        self.alerts.sinks.push(Arc::new(sink));
        self
    }

    /// Adds a webhook of a configuration file.
    #[cfg(feature = "webhooks")]
    pub(crate) fn webhook_of_file(mut self, webhook: crate::alert::Webhook) -> Self {
        self.alerts.webhooks.push(webhook.mark());
        self.alert_sink(webhook)
    }

    /// Sets the store that remembers which crossings were told, and keeps the alerts that wait for their delivery.
    /// Defaults to one in memory, which forgets all when the process ends.
    pub fn alert_store(mut self, store: impl AlertStore) -> Self {
        self.alerts.store = Some(Arc::new(store));
        self
    }

    /// Leaves the delivery of alerts to the other gates that share the [alert store](Self::alert_store). This gate only notes
    /// crossings there, and has no alert sink. Use it in a tool or a job beside a service: the sinks of the service are told
    /// of a key that the tool revokes.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::GateBuilder;
    /// use tollgate::alert::SqlAlertStore;
    ///
    /// fn of_a_tool(builder: GateBuilder, database: &tollgate::sql::Database) -> GateBuilder {
    ///     builder.alert_store(SqlAlertStore::new(database)).alerts_delivered_elsewhere()
    /// }
    /// ```
    pub fn alerts_delivered_elsewhere(mut self) -> Self {
        self.alerts.are_delivered_elsewhere = true;
        self
    }

    /// Sets the part of the client's address that [decision events](crate::telemetry::DecisionEvent::client) contain.
    /// Defaults to the network.
    pub fn event_addresses(mut self, addresses: EventAddresses) -> Self {
        self.event_addresses = addresses;
        self
    }

    /// Sets the source of randomness for new keys, in place of the operating system.
    pub fn randomness(mut self, source: impl Randomness) -> Self {
        self.randomness = Some(Arc::new(source));
        self
    }

    /// Sets the feature that a plan must include before a caller may choose an expiry. Defaults to none.
    pub fn expiry_feature(mut self, feature: impl Into<String>) -> Self {
        self.expiry_feature = Some(feature.into());
        self
    }

    /// Sets the scope, such as `keys:manage`, that lets a key with restricted scopes manage keys. Defaults to none: no
    /// key with restricted scopes can then manage keys.
    ///
    /// A key with restricted paths can manage keys if its paths cover those of the key management. A key with both
    /// restrictions needs both. A key without restrictions needs neither.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::{Gate, KeyFormat, KeySource};
    ///
    /// let gate = Gate::builder()
    ///     .source(KeySource::header("X-API-Key")?)
    ///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    ///     .management("/account/api-keys")
    ///     .management_scope("keys:manage")
    ///     .build()?;
    /// # let _ = gate;
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn management_scope(mut self, scope: impl Into<Scope>) -> Self {
        self.management.scope = Some(scope.into());
        self
    }

    /// Adds the member `issuedBy` to each key in a list over HTTP: the id of the key that issued it, or `null`. The
    /// response for a single key always contains this member if another key issued it.
    pub fn list_issuers(mut self) -> Self {
        self.management.lists_issuers = true;
        self
    }

    /// Sets the time within which the body of a key management request must arrive. Defaults to 10 seconds. A later
    /// body is answered with 408. The time is measured by tokio's timers, which the runtime must provide.
    pub fn management_body_time(mut self, time: Duration) -> Self {
        self.management.body_time = time;
        self
    }

    /// Lets the operator take back a revocation within this time: see
    /// [`KeyManager::undo_revocation`](crate::KeyManager::undo_revocation). By default, a revocation is final.
    pub fn undo_revocation(mut self, within: Duration) -> Self {
        self.management.undo_revocation = Some(within);
        self
    }

    /// Sets the audit sink for changes to keys, accounts and credits. It receives the changes made through the
    /// endpoints that the gate mounts, and those of the managers of this gate that have no sink of their own. Defaults
    /// to the log.
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }
}

impl GateBuilder {
    /// Checks that the parts fit together, except the back ends.
    ///
    /// # Errors
    ///
    /// Returns the first contradiction, as [`build`](GateBuilder::build) does.
    pub fn check(&self) -> Result<(), ConfigError> {
        validate::all(self)?;
        let plans = by_name(&self.plans);
        let rules = RuleSet::new(self.all_rules()?, self.otherwise.clone(), self.denies_unmatched, &plans)?;
        let (quotas, in_flight) = (self.quotas.clone(), self.in_flight.clone());
        let own = GateLimits { quotas, in_flight, shadow: self.shadow };
        Plans::new(Identity::first(), None, &plans, own, &rules, self.tier())?;
        Check::in_order(&self.order)?;
        Responders::new(None, &self.error_format, &self.sources, self.request_ids.header()).map(drop)
    }

    /// Checks that the parts fit together, and builds the gate.
    ///
    /// # Errors
    ///
    /// Returns the first contradiction, such as no key source, a rule that names an unknown plan, or a public rule with
    /// a cost.
    pub fn build(mut self) -> Result<Gate, ConfigError> {
        validate::all(&self)?;
        validate::warn_of_unreachable(&self);
        let parts = Arc::new(self.parts()?);
        let core = self.core(&parts, None)?;
        core.tell();
        Ok(Gate::of(&Arc::new(core)))
    }

    /// Makes the parts of the gate that all its configurations share.
    fn parts(&mut self) -> Result<Parts, ConfigError> {
        let fixed = FixedSettings::of(self);
        let clock = self.clock.take().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let limiters = std::mem::take(&mut self.limiters);
        let limiter_type = limiters.first().map_or("MemoryLimiter", |given| given.type_name);
        let limiter = only("limiter", limiters, || in_memory!(crate::limit::MemoryLimiter::new()))?;
        #[cfg(feature = "fleet")]
        let limiter = self.back_end_policies.limiter(limiter, &clock);
        let stores = std::mem::take(&mut self.stores);
        let store = only("store", stores, || in_memory!(crate::store::MemoryStore::new()))?;
        let ledgers = std::mem::take(&mut self.ledgers);
        let ledger = only("ledger", ledgers, || in_memory!(crate::credit::MemoryLedger::new()))?;
        #[cfg(feature = "fleet")]
        let ledger_guard = self.back_end_policies.ledger(&ledger, &clock);
        #[cfg(feature = "fleet")]
        let (store, ledger) = (
            self.back_end_policies.store(store, &clock)?,
            ledger_guard.clone().map_or(ledger, |guard| Arc::new(guard) as Arc<dyn CreditLedger>),
        );
        let (store_admin, credit_admin) = (Arc::clone(&store).admin(), Arc::clone(&ledger).admin());
        if let (Some(path), None) = (&self.management.path, &store_admin) {
            return Err(read_only_store(path).in_member("management.path"));
        }
        let usage = usage(std::mem::take(&mut self.usage_stores), self.usage_options.clone(), &clock)?;
        let mounted = self.mounted.take().map(|own| if usage.is_some() { own.with_usage() } else { own });
        let mut lasting_sinks = std::mem::take(&mut self.sinks);
        lasting_sinks.extend(usage.clone().map(|usage| Arc::new(usage) as Arc<dyn DecisionSink>));
        // Uses are recorded only if keys can be written.
        let uses = self.uses.or(store_admin.as_ref().map(|_| USES));
        let back_ends = BackEnds {
            store: Arc::clone(&store),
            limiter: Arc::clone(&limiter),
            ledger: Arc::clone(&ledger),
            credits: credit_admin.clone(),
        };
        let alerts = self.alerts.clone().build(&self.plans, back_ends, &clock);
        lasting_sinks.extend(alerts.iter().cloned().map(|alerts| Arc::new(alerts) as Arc<dyn DecisionSink>));
        Ok(Parts {
            owner: StateOwner::new(),
            meter: meter_of(&*limiter, &*ledger),
            store,
            store_admin,
            limiter,
            limiter_type,
            #[cfg(feature = "fleet")]
            ledger_guard,
            ledger,
            credit_admin,
            charge_ids: ChargeIds::new(),
            observer: self.observer.take(),
            lasting_sinks,
            usage,
            metrics: self.metrics.then(|| Box::new(BackEndMetrics::new(&clock))),
            alerts,
            clock,
            randomness: self.randomness.take().unwrap_or_else(|| Arc::new(OsRandomness)),
            audit: self.audit.take().unwrap_or_else(|| Arc::new(TracingAudit)),
            uses: Uses::every(uses),
            revocations: Revocations::default(),
            mounted,
            fixed,
        })
    }

    /// Compiles the configuration of a gate. It takes over the state of the configuration `before`.
    pub(super) fn core(self, parts: &Arc<Parts>, before: Option<&Core>) -> Result<Core, ConfigError> {
        if !parts.limiter.limits_in_flight() {
            validate::has_no_limit_in_flight(&self, parts.limiter_type)?;
        }
        let (plan_data, environments) = (by_name(&self.plans), self.served());
        let rules = RuleSet::new(self.all_rules()?, self.otherwise, self.denies_unmatched, &plan_data)?;
        let tier = self.anonymous.as_ref().zip(environments.first().cloned());
        let configuration = Configuration::after(before, &*parts.clock)?;
        let identity = Identity { owner: parts.owner, version: configuration.version };
        let plans_before = before.map(|before| &before.plans);
        let shadow = self.shadow;
        let own = GateLimits { quotas: self.quotas, in_flight: self.in_flight, shadow };
        let plans = Plans::new(identity, plans_before, &plan_data, own, &rules, tier)?;
        plans.check(&rules, &*parts.limiter)?;
        let responder = self.responder.or_else(|| before?.responder.clone());
        let request_id = self.request_ids.header();
        let responders = Responders::new(responder.clone(), &self.error_format, &self.sources, request_id)?;
        let mut sinks = parts.lasting_sinks.clone();
        if parts.metrics.is_some() {
            sinks.push(Arc::new(DecisionMetrics::new(&rules, plan_data.keys())));
        }
        let attempts_before = before.and_then(|before| before.attempts.as_deref());
        let attempts = self.attempts.as_ref().map(|limit| Box::new(Attempts::new(limit, attempts_before)));
        Ok(Core {
            configuration,
            parts: Arc::clone(parts),
            shadow,
            refuse_conflicts: self.refuse_conflicts,
            formats: self.formats,
            literals: self.literals,
            hashers: self.hashers,
            environments,
            plans,
            rules,
            plan_data,
            checks: Checks::new(Check::in_order(&self.order)?),
            proxies: self.proxies,
            preflights: self.preflights,
            attempts,
            responders,
            responder,
            request_ids: self.request_ids,
            principal: self.principal,
            limit_headers: self.limit_headers,
            credit_headers: Some(self.credit_headers).filter(|headers| headers.names().next().is_some()),
            strip_headers: self.strip_headers,
            refuses_insecure: self.refuses_insecure,
            events_read_request: sinks.iter().any(DecisionSink::reads_request),
            sinks,
            every_window: self.limit_headers || self.alerts.needs_every_window(),
            event_addresses: self.event_addresses,
            management: self.management,
            expiry_feature: self.expiry_feature,
            sources: self.sources,
        })
    }

    /// Returns the environments that are served. Defaults to `live`.
    fn served(&self) -> Vec<Environment> {
        if self.environments.is_empty() { vec![Environment::live()] } else { self.environments.clone() }
    }

    /// Returns the plan of requests without a key, and the environment of their record.
    fn tier(&self) -> Option<(&AnonymousTier, Environment)> {
        self.anonymous.as_ref().zip(self.served().into_iter().next())
    }

    /// Returns the first part that was given, of those that all configurations of a gate share: the method and, for a back
    /// end, its type.
    pub(super) fn given_part(&self) -> Option<(&'static str, &'static str)> {
        let given = [
            ("store", self.stores.first().map(|given| given.type_name)),
            ("limiter", self.limiters.first().map(|given| given.type_name)),
            ("ledger", self.ledgers.first().map(|given| given.type_name)),
            ("usage_store", self.usage_stores.first().map(|given| given.type_name)),
            ("clock", self.clock.as_ref().map(|_| "")),
            ("randomness", self.randomness.as_ref().map(|_| "")),
            ("audit", self.audit.as_ref().map(|_| "")),
            ("on_denial", self.observer.as_ref().map(|_| "")),
            ("decision_sink", self.sinks.first().map(|_| "")),
            ("metrics", self.metrics.then_some("")),
            ("alert_store", self.alerts.store.as_ref().map(|_| "")),
            ("alert_sink", (self.alerts.sinks.len() > self.alerts.webhooks.len()).then_some("")),
        ];
        given.into_iter().find_map(|(method, type_name)| Some((method, type_name?)))
    }

    /// Returns true if the gate counts its decisions.
    fn has_usage(&self) -> bool {
        !self.usage_stores.is_empty() || self.usage_options.is_some()
    }

    /// Returns true if the gate serves keys of this environment.
    pub(super) fn serves(&self, environment: &Environment) -> bool {
        self.served().contains(environment)
    }

    /// Returns the configured rules and the rules for the gate's own key management.
    fn all_rules(&self) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = self.rules.clone();
        if let Some(path) = &self.management.path {
            rules.extend(self.management_rules(path).map_err(|error| error.in_member("management.path"))?);
        }
        Ok(rules)
    }

    /// Returns the rules for key management under a path.
    fn management_rules(&self, path: &str) -> Result<Vec<Rule>, ConfigError> {
        let closed = self.plans.iter().filter(|plan| !plan.manages_keys).map(|plan| plan.name.clone());
        let closed: Vec<PlanName> = closed.collect();
        let scopes = self.management.scope.iter().cloned().collect::<Vec<_>>();
        let scopes = if scopes.is_empty() { ScopeRule::Unnamed } else { ScopeRule::AnyOf(scopes) };
        let managing = |route: String, purpose| {
            let mut rule = Rule::new(&route)?;
            rule.scopes.clone_from(&scopes);
            rule.closed_to.clone_from(&closed);
            rule.purpose = purpose;
            Ok(rule)
        };
        let own = |route: String| {
            let mut rule = Rule::new(&route)?;
            rule.purpose = Purpose::Usage;
            Ok(rule)
        };
        let mut rules = vec![
            managing(path.to_owned(), Purpose::Management)?,
            managing(format!("{path}/"), Purpose::Management)?,
            managing(format!("{path}/{{*rest}}"), Purpose::Management)?,
            managing(format!("DELETE {path}/{{*rest}}"), Purpose::Revocation)?,
            own(format!("GET {path}/me"))?,
        ];
        if self.has_usage() {
            rules.push(own(format!("GET {path}/me/usage"))?);
        }
        Ok(rules)
    }
}

fn by_name(plans: &[Plan]) -> HashMap<PlanName, Plan> {
    plans.iter().map(|plan| (plan.name.clone(), plan.clone())).collect()
}

/// A back end as the builder was given it.
struct Given<T: ?Sized> {
    back_end: Arc<T>,
    type_name: &'static str,
}

/// Returns the usage of a gate, if a store or options were given.
fn usage(
    stores: Vec<Given<dyn UsageStore>>,
    options: Option<UsageOptions>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Usage>, ConfigError> {
    if stores.is_empty() && options.is_none() {
        return Ok(None);
    }
    let type_name = stores.first().map_or("MemoryUsage", |given| given.type_name);
    let store = only("usage_store", stores, || in_memory!(crate::usage::MemoryUsage::new()))?;
    Ok(Some(Usage::of(store, type_name, options.unwrap_or_default(), Arc::clone(clock))))
}

/// Returns the back end that was given, or the one in memory if none was given.
fn only<T: ?Sized>(
    member: &str,
    given: Vec<Given<T>>,
    in_memory: impl FnOnce() -> Option<Arc<T>>,
) -> Result<Arc<T>, ConfigError> {
    let mut given = given.into_iter();
    match (given.next(), given.next()) {
        (None, _) => in_memory().ok_or_else(|| {
            let problem = "the back end is missing, and there is no default without the feature `memory`";
            ConfigError::new(
                "",
                problem,
                format!("pass one to `GateBuilder::{member}`, or enable the feature"),
            )
            .in_member(member)
        }),
        (Some(one), None) => Ok(one.back_end),
        (Some(one), Some(other)) => {
            let problem = format!("the builder already has a {member}, of the type `{}`", one.type_name);
            let expected = format!("call `{member}` once");
            Err(ConfigError::new(other.type_name, problem, expected).in_member(member))
        }
    }
}

/// The error for the management of keys and accounts over a store that cannot be written.
pub(super) fn read_only_store(value: &str) -> ConfigError {
    let problem = "the management of keys and accounts requires a store that can be written";
    let expected = "use a store whose `KeyStore::admin` returns `Some`, such as `SqlStore`";
    ConfigError::new(value, problem, expected)
}

/// The error for the management of credits over a ledger that cannot be written.
pub(super) fn read_only_ledger() -> ConfigError {
    let problem = "the management of credits requires a ledger that can be written";
    let expected = "use a ledger whose `CreditLedger::admin` returns `Some`, such as `SqlLedger`";
    ConfigError::new("", problem, expected)
}

impl fmt::Debug for GateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateBuilder")
            .field("sources", &self.sources)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
