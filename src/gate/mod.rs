//! The gate, which admits or denies each request.
//!
//! A gate is built once, from a [`GateBuilder`] or from a [configuration file](crate::Config), and shared by all
//! requests. Its configuration can be [replaced](Gate::reload) while it runs. An [adapter](crate::adapter) normally calls it. Code without an adapter calls [`Gate::admit`].
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use http::Request;
//! use tollgate::gate::Outcome;
//! use tollgate::key::Length;
//! use tollgate::{Account, Gate, KeyFormat, KeyManager, KeySource, MemoryStore, NewKey, Plan, RequestView};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! store.put_account(Account::new("acme", "pro"));
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .plan(Plan::new("pro"))
//!     .store(store)
//!     .build()?;
//! let issued = KeyManager::new(gate.clone())?.issue(NewKey::new("acme", "my first key")).await?;
//!
//! let request = Request::get("/v1/candles").header("X-API-Key", issued.secret.expose_secret()).body(())?;
//! let admission = gate.admit(&RequestView::of(&request)).await?;
//! let caller = gate.principal(&admission).unwrap();
//! assert_eq!(caller.account().id.as_str(), "acme");
//! // The service handles the request here.
//! admission.finish(Outcome::Served).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`GateBuilder`]: the settings and the back ends. [`build`](GateBuilder::build) checks that they fit together.
//! - [`Gate::reload`]: a new configuration for a gate that runs. [`Configuration`]: its version and its time.
//! - [`Gate::admit`]: the decision, an [`Admission`] or a [`Denial`].
//! - [`Admission`]: an admitted request with its open charge. [`finish`](Admission::finish) closes the charge as the
//!   [`Outcome`] requires.
//! - [`RequestSlot`]: the slots of an upgraded request among the requests in flight.
//! - [`Principal`]: the caller, for the handler.
//! - [`FinalCost`]: the cost that a handler reports with its response.
//! - [`CostMeter`]: the cost of a request that is known only at the end of its response.
//! - [`ResponseBytes`]: the length of a response, which a handler reports for events and usage.
//! - [`Check`]: the checks, whose order can be configured.
//! - [`AttemptLimit`]: the number of requests without a valid key that a network may send.
//! - [`TrustedProxies`]: the proxies that may report the client's address.

mod admission;
mod anonymous;
mod attempts;
mod builder;
mod checks;
mod client;
mod cost_meter;
mod decide;
mod detach;
mod entry;
mod event;
mod guarded;
mod held;
mod metrics;
mod mounted;
mod order;
mod outer;
mod reload;
mod revocation;
mod terms;
mod validate;
mod weight_report;

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

pub use admission::{Admission, FinalCost, Outcome, Principal, ResponseBytes};
pub use attempts::AttemptLimit;
pub use builder::GateBuilder;
pub use client::TrustedProxies;
pub use cost_meter::CostMeter;
pub(crate) use decide::Decision;
pub(crate) use held::Held;
pub use held::RequestSlot;
pub(crate) use mounted::RouteDescription;
pub(crate) use mounted::{Answering, BodyFault, LARGEST_BODY, Management, Mounted, MountedRequest};
pub use order::Check;
use order::Checks;
pub use reload::Configuration;
pub use weight_report::WeightReport;

use crate::account::{Plan, ShadowChecks};
use crate::alert::Alerts;
use crate::amount::{ChargeIds, Currency};
use crate::clock::Clock;
use crate::credit::{CreditAdmin, CreditLedger};
use crate::denial::Denial;
use crate::error::ConfigError;
use crate::gate::attempts::Attempts;
pub(crate) use crate::gate::detach::detach;
pub(crate) use crate::gate::detach::surviving;
pub(crate) use crate::gate::guarded::{bare_failure, decide};
use crate::gate::metrics::BackEndMetrics;
use crate::gate::reload::FixedSettings;
use crate::gate::revocation::Revocations;
use crate::gate::terms::Plans;
use crate::key::{KeyFormat, KeyHasher, KeySource, Randomness};
use crate::limit::RateLimiter;
use crate::name::{Environment, PlanName};
use crate::request::RequestView;
use crate::respond::{CreditHeaders, DenialContext, RequestId, RequestIds, Responders, ResponseForDenial};
use crate::rule::RuleSet;
use crate::state::StateOwner;
use crate::store::{AccountAdmin, KeyStore};
use crate::telemetry::{DecisionSink, EventAddresses};
use crate::usage::Usage;
use crate::uses::Uses;

type Observer = Box<dyn Fn(&Denial) + Send + Sync>;

/// A gate: a checked and compiled configuration with its back ends. Cloning is cheap, and clones share one gate.
///
/// The configuration can be replaced while the gate runs: see [`reload`](Gate::reload).
///
/// Adapters place the gate in front of a service, as [`TollgateLayer`](crate::adapter::TollgateLayer) does.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::key::Length;
/// use tollgate::{DenialKind, Gate, KeyFormat, KeySource, RequestView};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .build()?;
/// let request = Request::get("/v1/candles").body(())?;
/// let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
/// assert_eq!(denial.kind(), DenialKind::Missing);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate(pub(crate) Arc<Live>);

/// A gate that runs: the parts that no configuration changes, and the configuration in force.
pub(crate) struct Live {
    parts: Arc<Parts>,
    current: ArcSwap<Core>,
    /// Held while a configuration is replaced.
    reloading: Mutex<()>,
}

/// The parts of a gate that all its configurations share: the back ends, the sinks and their state.
pub(crate) struct Parts {
    owner: StateOwner,
    pub(crate) store: Arc<dyn KeyStore>,
    /// The write side of the store.
    pub(crate) store_admin: Option<Arc<dyn AccountAdmin>>,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    limiter_type: &'static str,
    #[cfg(feature = "fleet")]
    ledger_guard: Option<crate::guard::LedgerGuard>,
    pub(crate) ledger: Arc<dyn CreditLedger>,
    /// The write side of the ledger.
    credit_admin: Option<Arc<dyn CreditAdmin>>,
    /// A back end that draws and charges in one call.
    meter: Option<Arc<dyn crate::meter::Meter>>,
    pub(crate) clock: Arc<dyn Clock>,
    charge_ids: ChargeIds,
    observer: Option<Observer>,
    /// The sinks of all configurations.
    lasting_sinks: Vec<Arc<dyn DecisionSink>>,
    pub(crate) usage: Option<Usage>,
    /// The metrics of the back ends, if the gate records metrics.
    metrics: Option<Box<BackEndMetrics>>,
    /// The alerts, which are one of the sinks.
    pub(crate) alerts: Option<Alerts>,
    randomness: Arc<dyn Randomness>,
    /// The audit sink of the gate's key managers.
    pub(crate) audit: Arc<dyn crate::audit::AuditSink>,
    pub(crate) uses: Uses,
    revocations: Revocations,
    pub(crate) mounted: Option<Arc<dyn Mounted>>,
    fixed: FixedSettings,
}

/// A configuration of a gate, compiled, with the parts that a request uses.
pub(crate) struct Core {
    parts: Arc<Parts>,
    configuration: Configuration,
    pub(crate) sources: Vec<KeySource>,
    refuse_conflicts: bool,
    formats: Vec<KeyFormat>,
    literals: Vec<String>,
    /// The key hashers. The first hashes new keys, the others are older schemes.
    hashers: Vec<KeyHasher>,
    environments: Vec<Environment>,
    pub(crate) rules: RuleSet,
    pub(crate) plans: Plans,
    pub(crate) plan_data: HashMap<PlanName, Plan>,
    checks: Checks,
    pub(crate) proxies: TrustedProxies,
    preflights: bool,
    /// The failed attempts, if there is a limit on them.
    attempts: Option<Box<Attempts>>,
    pub(crate) responders: Responders,
    /// The code that answers denials, if it was given.
    responder: Option<Arc<dyn ResponseForDenial>>,
    pub(crate) request_ids: RequestIds,
    pub(crate) principal: bool,
    pub(crate) limit_headers: bool,
    /// The headers of the cost and of the balance, if at least one is named.
    pub(crate) credit_headers: Option<CreditHeaders>,
    pub(crate) strip_headers: bool,
    /// True if keys that came without encryption are denied.
    pub(crate) refuses_insecure: bool,
    /// The checks that are made in shadow at every rule.
    shadow: ShadowChecks,
    pub(crate) sinks: Vec<Arc<dyn DecisionSink>>,
    /// True if the limiter is asked for the state of every window.
    every_window: bool,
    event_addresses: EventAddresses,
    /// True if a sink reads the request's id or the client's network.
    events_read_request: bool,
    /// The feature that a plan must include before a caller may choose an expiry.
    pub(crate) expiry_feature: Option<String>,
    pub(crate) management: Management,
}

impl Deref for Core {
    type Target = Parts;

    #[inline]
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Deref for Live {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Gate {
    /// Returns a builder for a gate.
    pub fn builder() -> GateBuilder {
        GateBuilder::new()
    }

    /// Decides on a request: admits it or denies it.
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] if the request is denied. Nothing has been charged then.
    pub async fn admit(&self, view: &RequestView<'_>) -> Result<Admission, Denial> {
        let (mut decision, core) = (Decision::default(), self.core());
        match poll_fn(|cx| decide(&mut decision, &core, cx, view)).await {
            Ok(()) => Ok(decision.admission()),
            Err(denial) => {
                let denial = core.observed(&denial).into_owned();
                core.record_denial(&denial, None, &decision);
                Err(denial)
            }
        }
    }

    /// Returns the principal of an admitted request, for its handler.
    pub fn principal(&self, admission: &Admission) -> Option<Principal> {
        admission.principal()
    }

    /// Returns the formats of the gate's keys.
    pub fn formats(&self) -> Vec<KeyFormat> {
        self.core().formats.clone()
    }

    /// Returns the hasher of new keys.
    pub fn hasher(&self) -> KeyHasher {
        self.core().hasher().clone()
    }

    /// Returns the hashers of the gate's keys, newest scheme first.
    pub fn hashers(&self) -> Vec<KeyHasher> {
        self.core().hashers.clone()
    }

    /// Returns the plan of this name.
    pub fn plan(&self, name: &str) -> Option<Plan> {
        self.core().plan_data.get(name).cloned()
    }

    /// The write side of the ledger, if it has one.
    pub fn credit_admin(&self) -> Option<&Arc<dyn CreditAdmin>> {
        self.0.credit_admin.as_ref()
    }

    /// Returns the write side of the store, or the error for a store without one.
    pub(crate) fn writable_store(&self) -> Result<Arc<dyn AccountAdmin>, ConfigError> {
        self.0.store_admin.clone().ok_or_else(|| builder::read_only_store("").in_member("store"))
    }

    /// Returns the write side of the ledger, or the error for a ledger without one.
    pub(crate) fn writable_ledger(&self) -> Result<Arc<dyn CreditAdmin>, ConfigError> {
        self.0.credit_admin.clone().ok_or_else(|| builder::read_only_ledger().in_member("ledger"))
    }

    /// The usage of the gate, if it has a [`usage_store`](GateBuilder::usage_store).
    pub fn usage(&self) -> Option<&Usage> {
        self.0.usage.as_ref()
    }

    /// The guard of the ledger, if the gate has a policy for it: see
    /// [`back_end_policies`](GateBuilder::back_end_policies). Call its [`flush`](crate::guard::Resilient::flush) at shutdown, so
    /// that no settlement is lost.
    #[cfg(feature = "fleet")]
    pub fn ledger_guard(&self) -> Option<&crate::guard::Resilient<Arc<dyn CreditLedger>>> {
        self.0.ledger_guard.as_ref()
    }

    /// The alerts of the gate, if there is a threshold.
    pub fn alerts(&self) -> Option<&Alerts> {
        self.0.alerts.as_ref()
    }

    /// The clock of the gate.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn randomness(&self) -> &dyn Randomness {
        &*self.0.randomness
    }

    /// Returns the configuration in force.
    pub(crate) fn core(&self) -> Arc<Core> {
        self.0.current.load_full()
    }

    /// Returns the configuration in force, for a short time: without a change of its reference count.
    #[inline]
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Core>> {
        self.0.current.load()
    }

    /// Returns a gate that keeps this configuration, for the rest of a request.
    pub(crate) fn of(core: &Arc<Core>) -> Self {
        let (parts, current) = (Arc::clone(&core.parts), ArcSwap::new(Arc::clone(core)));
        Self(Arc::new(Live { parts, current, reloading: Mutex::default() }))
    }
}

impl Core {
    /// The scopes that rules or the key management name.
    pub(crate) fn known_scopes(&self) -> std::collections::HashSet<&crate::name::Scope> {
        self.rules.scopes().chain(&self.management.scope).collect()
    }

    /// The currencies that rules or plans name.
    pub(crate) fn known_currencies(&self) -> std::collections::BTreeSet<&Currency> {
        let rules = self.rules.named().iter().chain([self.rules.at(self.rules.otherwise())]);
        let plans = self.plan_data.values().flat_map(Plan::named_currencies);
        rules.map(|compiled| &compiled.rule.currency).chain(plans).chain([&Currency::CREDITS]).collect()
    }

    /// The agreements that rules name.
    pub(crate) fn known_agreements(&self) -> std::collections::HashSet<&crate::name::Agreement> {
        self.rules.agreements().collect()
    }

    /// Checks that the plan and the quotas that a record names are configured.
    pub(crate) fn check_terms(&self, record: &crate::key::KeyRecord) -> Result<(), String> {
        self.plans.terms_of(record).map(drop).map_err(|unknown| unknown.to_string())
    }

    /// Rejects quotas of a key or an account that are not configured, that share a name, or that can never be reached.
    pub(crate) fn check_quotas(&self, own: &[crate::account::QuotaRef]) -> Result<(), String> {
        let quotas = self.plans.resolve(own).map_err(|unknown| unknown.to_string())?;
        let policies: Vec<_> = quotas.policies().collect();
        match crate::account::QuotaPolicy::never_reached(&policies) {
            None => Ok(()),
            Some((place, other)) => Err(format!(
                "the quota `{}`, of {} requests, can never be reached: `{}`, of {}, always denies first; remove the quota",
                policies[place].name(),
                policies[place].quota(),
                other.name(),
                other.quota()
            )),
        }
    }

    /// Rejects limits on parameters of a key or an account that a plan could not have.
    pub(crate) fn check_caps(
        &self,
        own: &crate::account::ParamLimits,
    ) -> Result<(), crate::error::ConfigError> {
        validate::caps(own, &self.sources)
    }

    /// The formats of the gate's keys.
    pub(crate) fn formats(&self) -> &[KeyFormat] {
        &self.formats
    }

    /// The hasher of new keys.
    pub(crate) fn hasher(&self) -> &KeyHasher {
        &self.hashers[0]
    }

    /// The hashers of the gate's keys, newest scheme first.
    pub(crate) fn hashers(&self) -> &[KeyHasher] {
        &self.hashers
    }

    /// Returns true if there is a limit on failed attempts.
    pub(crate) fn limits_attempts(&self) -> bool {
        self.attempts.is_some()
    }

    /// The prefixes of keys, without empty ones.
    pub(crate) fn key_prefixes(&self) -> Vec<&str> {
        self.formats.iter().map(KeyFormat::prefix).filter(|prefix| !prefix.is_empty()).collect()
    }

    /// The quotas of a public rule, or of a plan that has quotas.
    pub(crate) fn some_quotas(
        &self,
        rule: Option<crate::account::LimitIndex>,
    ) -> Option<crate::account::ExceededQuotas> {
        self.plans.some_quotas(rule)
    }

    /// The plan of requests without a key, if they are served.
    pub(crate) fn anonymous_plan(&self) -> Option<&PlanName> {
        self.plans.anonymous().map(|record| &record.account.plan)
    }

    /// The limit on requests in flight of a plan that has one, or of the rule.
    pub(crate) fn some_in_flight(
        &self,
        rule: Option<crate::account::LimitIndex>,
    ) -> Option<&crate::account::InFlightLimit> {
        self.plans.some_in_flight(rule)
    }

    /// Returns true if the gate serves keys of this environment.
    pub(crate) fn serves(&self, environment: &Environment) -> bool {
        self.environments.contains(environment)
    }

    /// The number of look-ups for one key. There is one for each hashing scheme. If used keys are rehashed under the
    /// newest scheme, there is one more under that scheme, because the key may have been rehashed between two look-ups.
    fn tries(&self) -> usize {
        let schemes = self.hashers.len();
        if schemes > 1 && self.store_admin.is_some() { schemes + 1 } else { schemes }
    }

    fn hasher_of_try(&self, tries: usize) -> &KeyHasher {
        // The look-up after the last scheme uses the first scheme again.
        self.hashers.get(tries).unwrap_or(&self.hashers[0])
    }

    /// Returns true if the window status of an admitted request is reported to the handler, in headers, or to a sink.
    pub(crate) fn tells_standing(&self) -> bool {
        self.principal || self.limit_headers || !self.sinks.is_empty()
    }

    /// Returns true if this is a literal key, which is public knowledge.
    pub(crate) fn is_literal(&self, key: &[u8]) -> bool {
        self.literals.iter().any(|literal| literal.as_bytes() == key)
    }

    /// Returns true if a text contains a literal key or a part that resembles a key. Such a part is a prefix followed
    /// by eight characters that may follow it. Where a format has no prefix, it is as many characters as a key has.
    pub(crate) fn looks_like_key(&self, text: &str) -> bool {
        let literal = self.literals.iter().any(|literal| text.contains(literal.as_str()));
        literal || self.formats.iter().any(|format| format.is_hinted_in(text))
    }

    /// Returns true if this is the hash of a literal key.
    pub(crate) fn is_hash_of_literal(&self, hash: &crate::key::KeyHash) -> bool {
        let hashes =
            |literal: &String| self.hashers.iter().any(|hasher| hasher.hash(literal.as_bytes()) == *hash);
        self.literals.iter().any(hashes)
    }

    /// Returns true if these bytes match a format or a literal key of this gate.
    #[inline]
    pub(crate) fn is_key(&self, bytes: &[u8]) -> bool {
        self.formats.iter().any(|format| format.accepts(bytes)) || self.is_literal(bytes)
    }

    /// Returns the mounted service that answers requests for this path in place of the service behind the gate.
    pub(crate) fn mounted_at(&self, path: &str) -> Option<Arc<dyn Mounted>> {
        self.mounted.as_ref().filter(|mounted| mounted.takes(path)).cloned()
    }

    /// Returns the id of a request. An id that the client sent contains no key of this gate, and no part of the key that the
    /// request bears.
    pub(crate) fn request_id(&self, view: &RequestView<'_>) -> RequestId {
        self.request_ids.of(view, &self.formats, &self.sources)
    }

    /// Returns the header of the request's id, if the client's id must be removed together with the key: a gate further in,
    /// which does not see the key, would record a part of it.
    #[inline]
    pub(crate) fn id_to_remove<'v>(
        &self,
        view: impl FnOnce() -> RequestView<'v>,
        source: Option<usize>,
    ) -> Option<&http::HeaderName> {
        let source = self.sources.get(source?)?;
        let is_removed = self.strip_headers || source.parameter().is_some();
        let bears_key = || self.request_ids.bears_key(&view(), &self.formats, &self.sources);
        (is_removed && bears_key()).then(|| self.request_ids.header())
    }

    /// Returns the data of a denied request for its response. `path` is the path as it was sent.
    pub(crate) fn denial_context<'c>(&'c self, path: &'c str, id: &'c RequestId) -> DenialContext<'c> {
        DenialContext::new(path, id, self.request_ids.header(), &*self.clock, &self.formats)
    }

    /// Passes a denial to the log and to the configured observer.
    fn observe(&self, denial: &Denial) {
        crate::denial::log(denial);
        if let Some(observer) = &self.observer {
            observer(denial);
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core().fmt(f)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("sources", &self.sources)
            .field("hashers", &self.hashers)
            .field("order", &self.checks.every)
            .field("configuration", &self.configuration)
            .field("store", &self.store)
            .field("ledger", &self.ledger)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
