//! The outcome of an admitted request, and the information for its handler.

use std::fmt;
use std::sync::Arc;

use crate::account::AppliedQuotas;
use crate::account::WindowStatus;
use crate::account::{Account, Limits, ParamLimits, Plan, Quotas};
use crate::amount::{Credits, Currency};
use crate::future::StoreFuture;
use crate::gate::entry::{AdmittedKey, PresentedSecret};
use crate::gate::held::{Held, RequestSlot};
use crate::gate::{Core, CostMeter, WeightReport};
use crate::key::{KeyId, KeyRecord};
use crate::name::Scope;
use crate::request::Admitted;
use crate::respond::{ReportedLimits, RequestCredits, RequestId};
use crate::state::StateOwner;

/// An admitted request, its open charge, and its slots among the requests in flight.
///
/// Call [`finish`](Admission::finish) when the handler has answered. An admission that is dropped before
/// [`mark_served`](Admission::mark_served), or in a panic, refunds the charge. An admission that is dropped after `mark_served`, as when
/// the client leaves, settles it. The slots are released when the admission is finished or dropped. [`slot`](Self::slot)
/// holds them for longer.
#[derive(Debug, Default)]
pub struct Admission {
    /// The key that was found, with its draw and its charge. `None` for a public request.
    pub(super) entry: Option<AdmittedKey>,
    /// The limits of a public rule, for the response's headers.
    pub(super) public: Option<Box<PublicLimits>>,
    pub(super) held: Held,
}

/// The limits of a public rule, and the state of the window with the least left.
#[derive(Debug)]
pub(super) struct PublicLimits {
    limits: Arc<Limits>,
    pub(super) window_status: Option<WindowStatus>,
    /// True if the gate's rules have weights.
    weighs: bool,
}

impl PublicLimits {
    pub(super) fn new(core: &Core, limits: &Arc<Limits>) -> Self {
        Self { limits: Arc::clone(limits), window_status: None, weighs: core.rules.weighs() }
    }
}

/// The outcome of an admitted request, which decides what happens to its charge.
///
/// The adapters end the charge of a request once, by the first row that applies:
///
/// | end of the request | charge |
/// |---|---|
/// | the client leaves before the handler is polled | refunded |
/// | the handler panics, or the service fails with an error; on actix-web: with a status of the class 5xx | refunded |
/// | the client leaves, or a layer around the gate gives up, while the handler works | settled |
/// | a response with a status of the class 5xx | refunded |
/// | a gRPC response whose head has a `grpc-status` | by that status |
/// | a gRPC response whose trailers have a `grpc-status` | by that status |
/// | a gRPC response whose body fails or panics before that | refunded |
/// | a gRPC response that ends without a status, or is dropped before its end | settled |
/// | any other response, whatever happens to its body: an upgrade, an empty body, a body that fails midway | settled |
///
/// At a rule whose cost is known only afterwards, a charge that is settled is settled at the cost that the
/// [`CostMeter`] has seen, and not before the end of the response's body.
///
/// The response's own `Content-Type` marks it as gRPC (feature `tonic`). The request's headers are not read. The
/// statuses `UNKNOWN`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` refund the charge; any other status
/// settles it. A charge that is settled is changed to the response's [`FinalCost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A request that the handler answered. Its charge is settled.
    Served,
    /// A request that the handler answered. Its charge is settled at this amount, or at the charged amount if that is less.
    /// At a rule with a [`most_cost`](crate::Rule::most_cost), it may be above the charged amount, up to that cost.
    ServedAt(Credits),
    /// A request that failed. Its charge is refunded.
    Failed,
}

impl Admission {
    /// Returns true if the request was served under the plan of requests without a key.
    pub fn is_anonymous(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.record().anonymous)
    }

    /// Returns true if the request's rule is public. Then no account was identified.
    pub fn is_public(&self) -> bool {
        self.entry.is_none()
    }

    #[inline]
    pub(crate) fn entry(&self) -> Option<&AdmittedKey> {
        self.entry.as_ref()
    }

    /// The limits that limit headers report, if the gate sends them.
    pub(crate) fn reported_limits(&self) -> Option<ReportedLimits<'_>> {
        match (&self.entry, &self.public) {
            (Some(entry), _) if entry.core().limit_headers => entry.reported_limits(),
            (None, Some(public)) => {
                let PublicLimits { limits, window_status, weighs } = &**public;
                Some(ReportedLimits::new(limits, window_status.as_ref(), *weighs))
            }
            _ => None,
        }
    }

    /// The id of the request, if it was determined for the gate's sinks.
    pub(crate) fn request_id(&self) -> Option<&RequestId> {
        self.entry.as_ref()?.event.request_id()
    }

    /// Returns true if the request has an open charge.
    pub(crate) fn is_charged(&self) -> bool {
        self.entry.as_ref().is_some_and(AdmittedKey::owes)
    }

    /// The id of the key. `None` for a request without a key.
    pub fn key(&self) -> Option<KeyId> {
        self.entry
            .as_ref()
            .map(AdmittedKey::record)
            .filter(|record| !record.anonymous)
            .map(|record| record.id)
    }

    /// The report of the request's weight, if its rule has [`Weight::Reported`](crate::rule::Weight::Reported). An adapter
    /// puts it into the request's extensions.
    pub fn weight_report(&self) -> Option<WeightReport> {
        self.entry.as_ref()?.spent.reserved.clone()
    }

    /// The meter of the request's cost, if its rule has a [`most_cost`](crate::Rule::most_cost). An adapter puts it into the
    /// request's extensions, unless nothing was charged and an outer gate has put another one there.
    pub fn cost_meter(&self) -> Option<CostMeter> {
        self.entry.as_ref()?.spent.meter.clone()
    }

    /// Returns the outcome of a request that was served, as far as it is known with the head of the response.
    #[inline]
    pub(crate) fn served(&self) -> Outcome {
        let meter = self.entry.as_ref().and_then(|entry| entry.spent.meter.as_ref());
        let cost = meter.filter(|meter| meter.is_committed()).and_then(CostMeter::cost);
        cost.map_or(Outcome::Served, Outcome::ServedAt)
    }

    /// Leaves the end of the charge to the request's meter. Returns the meter, which the caller keeps until the end of the
    /// response. Returns `None` if the cost is known: the caller then closes the charge.
    #[inline]
    pub(crate) fn leave_to_meter(&mut self, outcome: Outcome) -> Option<CostMeter> {
        let entry = self.entry.as_mut()?;
        if outcome != Outcome::Served || !entry.owes() {
            return None;
        }
        let meter = entry.spent.meter.take()?;
        let mut entry = self.entry.take()?;
        entry.event.mark_sent();
        meter.keep(entry);
        Some(meter)
    }

    pub(crate) fn principal(&self) -> Option<Principal> {
        let entry = self.entry.as_ref()?;
        let (record, terms) = (Arc::clone(entry.record()), entry.found.share_terms()?);
        let quotas = AppliedQuotas { terms, choice: entry.found.choice };
        let (balance, window_status) = (entry.spent.balance, entry.spent.window_status.clone());
        let (charged, drawn) = (entry.spent.open.as_ref().map(|open| open.taken), window_status.is_some());
        let gate = drawn.then(|| entry.found.core.plans.owner());
        let drawn = drawn && quotas.quotas().has_plan_windows();
        Some(Principal {
            record,
            quotas,
            balance,
            window_status,
            currency: entry.currency(),
            charged,
            drawn,
            gate,
            holds: self.held.is_for_key(),
            holder: (!self.held.is_empty()).then(|| entry.found.core.plans.owner()),
            presented: entry.found.presented.clone(),
        })
    }

    /// Returns the slots of the request in a form that can be moved to another task, as for a response that is streamed. The
    /// slots are held until the last clone and the admission are dropped. `None` if no limit on requests in flight applies.
    pub fn slot(&mut self) -> Option<RequestSlot> {
        self.held.share()
    }

    /// Returns true if no limit on requests in flight applies to the request.
    #[inline]
    pub(crate) fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes the slots of the request.
    #[inline]
    pub(crate) fn take_held(&mut self) -> Held {
        std::mem::take(&mut self.held)
    }

    /// Returns the cost of the request after this outcome, and the balance, if the gate has headers for them.
    #[inline]
    pub(crate) fn credits_after(&self, outcome: Outcome) -> Option<RequestCredits> {
        self.entry.as_ref()?.credits_after(outcome)
    }

    /// Stores the status of the response, for the event about the decision.
    #[inline]
    pub(crate) fn set_status(&mut self, status: u16) {
        if let Some(entry) = &mut self.entry {
            entry.event.set_status(status);
        }
    }

    /// Stores the number of bytes of the response's body, for the event about the decision. An adapter takes it from
    /// [`ResponseBytes`].
    #[inline]
    pub fn set_bytes(&mut self, bytes: impl FnOnce() -> Option<ResponseBytes>) {
        if let Some(entry) = &mut self.entry {
            entry.event.set_bytes(|| bytes().map(|bytes| bytes.0));
        }
    }

    /// Marks the head of the response as sent. The end of the charge no longer changes the status.
    #[inline]
    pub(crate) fn mark_sent(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.event.mark_sent();
        }
    }

    /// Marks the handler as started. From then on, an admission that is dropped settles its charge.
    #[inline]
    pub fn mark_served(&mut self) {
        self.set_served(true);
    }

    /// Marks the request as unserved before the handler is polled. A panic in the handler then refunds the charge,
    /// whatever code catches the panic.
    #[inline]
    pub(crate) fn mark_unserved(&mut self) {
        self.set_served(false);
    }

    #[inline]
    fn set_served(&mut self, served: bool) {
        if let Some(open) = self.entry.as_mut().and_then(|entry| entry.spent.open.as_mut()) {
            open.served = served;
        }
    }

    /// Ends the request's charge, as the outcome requires.
    pub fn finish(mut self, outcome: Outcome) -> StoreFuture<()> {
        self.close(outcome).unwrap_or_else(|| StoreFuture::ready(()))
    }

    /// Ends the request's charge, if it is still open. Returns `None` if there is nothing to wait for.
    #[inline]
    pub(crate) fn close(&mut self, outcome: Outcome) -> Option<StoreFuture<()>> {
        self.entry.as_mut()?.close(outcome)
    }
}

/// The key and account of an admitted request. The handler finds it in the request's extensions.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::Principal;
///
/// fn page_size<B>(request: &Request<B>) -> u64 {
///     let principal = request.extensions().get::<Principal>();
///     principal.and_then(|principal| principal.caps().at_most("limit")).unwrap_or(100)
/// }
/// # assert_eq!(page_size(&Request::new(())), 100);
/// ```
#[derive(Clone)]
pub struct Principal {
    record: Arc<KeyRecord>,
    quotas: AppliedQuotas,
    balance: Option<Credits>,
    window_status: Option<WindowStatus>,
    /// The currency of the cost.
    currency: Currency,
    /// The amount charged for this request, by this gate or by an outer one.
    charged: Option<Credits>,
    /// True if this gate or an outer one drew from the windows of the key.
    drawn: bool,
    /// The gate that drew last.
    gate: Option<StateOwner>,
    /// True if the request holds slots of the key's limit, of this gate or of an outer one.
    holds: bool,
    /// The gate that took slots last.
    holder: Option<StateOwner>,
    presented: PresentedSecret,
}

impl Principal {
    /// Returns the hashes of the presented secret: under the scheme by which it was found, and under the newest.
    pub(crate) fn presented(&self) -> impl Iterator<Item = crate::key::KeyHash> {
        let retiring = self.record.retiring.filter(|_| self.presented.retiring).map(|old| old.hash);
        let found_by = retiring.unwrap_or(self.record.hash);
        [Some(found_by), self.presented.renewed.as_deref().copied()].into_iter().flatten()
    }

    /// Returns the slots, the draw and the charge that an inner gate must not take again.
    pub fn admitted(&self) -> Admitted {
        Admitted {
            key: self.record.id,
            hash: self.record.hash,
            charged: self.charged.is_some(),
            drawn: self.drawn,
            gate: self.gate,
            holds: self.holds,
            holder: self.holder,
        }
    }

    /// Takes over the slots, the draw and the charge that an outer gate took for the same key.
    pub(crate) fn follow(&mut self, outer: Self) {
        if !outer.admitted().is_for(&self.record) {
            return;
        }
        if self.charged.is_none() && outer.charged.is_some() {
            (self.charged, self.currency) = (outer.charged, outer.currency.clone());
        }
        self.drawn |= outer.drawn;
        self.gate = self.gate.or(outer.gate);
        self.holds |= outer.holds;
        self.holder = self.holder.or(outer.holder);
        self.balance = self.balance.or(outer.balance);
        // A window status refers to a policy by its index, which is valid only in the same list of policies.
        if self.window_status.is_none() && self.quotas().policies().eq(outer.quotas().policies()) {
            self.window_status = outer.window_status;
        }
    }

    /// Returns true if the request has no key, and was served under the plan of such requests
    /// ([`GateBuilder::anonymous`](crate::GateBuilder::anonymous)). Its key and its account are the same for all of them,
    /// and no store has them.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::Principal;
    ///
    /// fn greeting(principal: &Principal) -> String {
    ///     if principal.is_anonymous() {
    ///         return "Hello. A key raises your limits.".to_owned();
    ///     }
    ///     format!("Hello, {}.", principal.account().id)
    /// }
    /// # let _ = greeting;
    /// ```
    pub fn is_anonymous(&self) -> bool {
        self.record.anonymous
    }

    /// The key's id.
    pub fn key(&self) -> KeyId {
        self.record.id
    }

    /// The record of the key.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.record
    }

    /// The account that owns the key.
    pub fn account(&self) -> &Account {
        &self.record.account
    }

    /// The account's plan.
    pub fn plan(&self) -> &Plan {
        &self.quotas.terms.plan
    }

    /// The scopes that the key is restricted to. `None` if its scopes are not restricted.
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.record.scopes.as_deref()
    }

    /// The limits on parameters that are in force.
    pub fn caps(&self) -> &ParamLimits {
        &self.quotas.terms.caps
    }

    /// The quotas in force for this request: those of the key, and those of the rule.
    pub fn quotas(&self) -> &Quotas {
        self.quotas.quotas()
    }

    /// The amount charged for this request, which a [`FinalCost`] or a [`CostMeter`](crate::gate::CostMeter) may change. Zero if
    /// nothing was charged.
    pub fn cost(&self) -> Credits {
        self.charged.unwrap_or_default()
    }

    /// The currency of the [`cost`](Self::cost) and of the [`balance`](Self::balance).
    pub fn currency(&self) -> &Currency {
        &self.currency
    }

    /// The account's balance after this request's charge. `None` if nothing was charged.
    pub fn balance(&self) -> Option<Credits> {
        self.balance
    }

    /// The status of the rate limit with the least remaining. `None` if there is no rate limit.
    pub fn window_status(&self) -> Option<&WindowStatus> {
        self.window_status.as_ref()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("key", &self.record.id)
            .field("account", &self.record.account.id)
            .field("plan", &self.plan().name)
            .field("cost", &self.cost())
            .field("balance", &self.balance)
            .finish_non_exhaustive()
    }
}

/// The number of bytes of a response's body, which [`DecisionEvent::bytes`](crate::telemetry::DecisionEvent::bytes) and the
/// usage contain. A handler, or a layer that knows the length, puts it into its response's extensions. It is read when the
/// head of the response is ready, and only if the gate has a decision sink.
///
/// # Example
///
/// ```
/// use tollgate::gate::ResponseBytes;
///
/// let body = "[1, 2, 3]";
/// let mut response = http::Response::new(body);
/// response.extensions_mut().insert(ResponseBytes(body.len() as u64));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseBytes(pub u64);

/// The final cost of a request, if it is known with the head of the response. A handler puts it into its response's
/// extensions, and the difference to the charge is refunded. A cost above the charge counts as the charge, unless the rule
/// has a [`most_cost`](crate::Rule::most_cost): then the difference is charged, up to that cost.
///
/// # Example
///
/// ```
/// use tollgate::gate::FinalCost;
/// use tollgate::Credits;
///
/// let mut response = http::Response::new("two of the ten results that were paid for");
/// response.extensions_mut().insert(FinalCost(Credits::new(2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalCost(pub Credits);
