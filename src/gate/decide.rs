//! The decision on one request, from top to bottom.

use std::future::Future;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::account::{
    Account, Allowance, AppliedQuotas, Breach, ExceededQuotas, InFlightLimits, LimitIndex, Limits,
    QuotaChoice, Quotas, ResolvedTerms, ShadowChecks, Terms, TermsPlace,
};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::{Balance, BudgetDraw, Charge, Charged};
use crate::denial::{Cause, Problem, ancestry};
use crate::denial::{Denial, DenialKind};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::gate::admission::{Admission, Outcome, PublicLimits};
use crate::gate::attempts::Attempts;
use crate::gate::checks::{self, CheckContext};
use crate::gate::detach::detach;
use crate::gate::entry::{AdmittedKey, FoundKey, OpenCharge, PresentedSecret, RequestCharges};
use crate::gate::event::OpenEvent;
use crate::gate::held::{Held, SlotHolder};
use crate::gate::metrics::{BackEndMetrics, Operation};
use crate::gate::revocation;
use crate::gate::weight_report::Drawn;
use crate::gate::{Check, Core, CostMeter, WeightReport};
use crate::key::{KeyHash, KeyRecord};
use crate::limit::{Acquired, Draw, LimitDecision, WindowStatus};
use crate::meter::{Meter, Metered};
use crate::request::{Admitted, RequestView};
use crate::request::{HeaderCount, KeySearch, find_key};
use crate::respond::RequestId;
use crate::rule::{CompiledRule, CostError, Purpose, Weight};

/// The decision on one request, with the state that is kept while a back end is waited for.
///
/// Each [`poll`](Self::poll) starts at its first line, on the caller's stack. If all back ends answer at once, one poll
/// decides and nothing is allocated. If a back end has to be waited for, its call is boxed and kept in [`Calls`]. The
/// next poll skips the completed steps: the key that was found and the checks that were made. A decision borrows
/// nothing, so an adapter can move it together with its request.
///
/// `ready!(…)?` takes the place of `.await?` in an `async fn`. An `async fn` of these steps was measured against a poll
/// function: it took 16 % more instructions for each request (by callgrind: 4,410 instead of 3,790, without
/// hashing).
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// The key that was found, with its slots, its draw and its charge.
    admission: Admission,
    /// The time that all checks use.
    now: Option<Now>,
    /// The hash of the presented key under the scheme of the current look-up.
    hash: Option<KeyHash>,
    /// The index of the source that contained the key.
    source: usize,
    /// The number of look-ups that found nothing: at most one for each scheme, and one more under the newest.
    misses: usize,
    /// The number of checks that are done.
    checked: usize,
    /// The index of the request's rule.
    rule: usize,
    /// The first denial by a check in shadow.
    pub(super) shadow: Option<DenialKind>,
    /// True if the windows in shadow are done.
    shadow_drawn: bool,
    /// The state that is needed only while a back end is waited for.
    waiting: Option<Box<Waiting>>,
    /// The data for the event about the decision, until the request is admitted.
    pub(super) event: OpenEvent,
}

/// The state of a decision that waits for a back end.
#[derive(Debug, Default)]
struct Waiting {
    // The call that is not answered yet. At most one of the six is set.
    find: Option<StoreFuture<Option<Arc<KeyRecord>>>>,
    acquire: Option<StoreFuture<Acquired>>,
    draw: Option<StoreFuture<LimitDecision>>,
    charge: Option<StoreFuture<Charged>>,
    draw_and_charge: Option<StoreFuture<Metered>>,
    balance: Option<StoreFuture<Balance>>,
    /// A denial that waits for the refund of its charge.
    refund: Option<(StoreFuture<()>, Denial)>,
    /// The gate, for the event if the client leaves now.
    core: Option<Arc<Core>>,
}

impl Decision {
    /// Decides on the request, or continues after a wait for a back end. The steps are: the rule, the key, the key's
    /// record, the checks. [`admission`](Self::admission) takes the admission of an admitted request.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.refund.is_some()) {
            return self.give_back(cx).map(Err);
        }
        if !view.path().starts_with('/') {
            return Poll::Ready(Err(Denial::of(DenialKind::BadRequest)));
        }
        if view.method() == "TRACE" {
            let mounted = core.mounted.as_ref().and_then(|mounted| mounted.allowed(view.path()));
            return Poll::Ready(Err(Denial::method(mounted)));
        }
        let (rule, odd) = core.rules.find(view.method(), view.path());
        self.rule = rule;
        let route = Route { compiled: core.rules.at(rule), rule, odd };
        let is_public = route.compiled.rule.public && !odd;
        if (is_public && route.compiled.limits.is_none()) || (core.preflights && is_preflight(view)) {
            return Poll::Ready(Ok(()));
        }
        if is_public {
            let checked = ready!(self.check_public(core, cx, view, &route));
            return Poll::Ready(checked.map_err(|denial| {
                self.admission.held = Held::default();
                denial.by_rule(route.compiled)
            }));
        }
        if let Err(denial) = ready!(self.find_record(core, cx, view, &route)) {
            if core.shadow_at(route.compiled, None).has(NO_RECORD) {
                self.serve_without_record(core, &route, denial);
                return Poll::Ready(Ok(()));
            }
            return self.refuse(core, view, &route, denial, cx).map(Err);
        }
        if let Err(denial) = ready!(self.check(cx, view, &route)) {
            return self.refuse(core, view, &route, denial, cx).map(Err);
        }
        Poll::Ready(self.admit(core, view, &route))
    }

    /// Takes a slot of the limits on requests in flight of a public rule, and draws from its windows, in the configured order.
    /// Its requests have no key.
    fn check_public(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Poll<Result<(), Denial>> {
        let Some(limits) = route.compiled.limits.and_then(|rule| core.plans.public_limits(rule)) else {
            return Poll::Ready(Ok(()));
        };
        let now = *self.now.get_or_insert_with(|| self.event.begun().unwrap_or_else(|| core.clock.now()));
        let shadowed = core.shadow_at(route.compiled, None);
        let Self { admission, checked, waiting, shadow, shadow_drawn, .. } = self;
        if core.limit_headers {
            admission.public.get_or_insert_with(|| Box::new(PublicLimits::new(core, limits)));
        }
        while let Some(check) = core.checks.spending.get(*checked) {
            if *check == Check::RateLimits
                && let Some(quotas) = limits.shadow.as_deref()
                && !*shadow_drawn
            {
                let drawn = ready!(draw_in_shadow(waiting, cx, core, view, route, (None, quotas, now)));
                note(shadow, drawn);
                *shadow_drawn = true;
            }
            match check {
                Check::InFlight if shadowed.has(Check::InFlight.shadow()) && !limits.in_flight.is_empty() => {
                    let holder = || SlotHolder::Public(Arc::clone(core), Arc::clone(limits));
                    let slots = (&limits.in_flight, None, now);
                    let held = &mut admission.held;
                    let acquired = ready!(acquire(held, waiting, cx, core, view, slots, holder));
                    note(shadow, acquired.inspect_err(|_| *held = Held::default()));
                }
                Check::InFlight if !limits.in_flight.is_empty() => {
                    let holder = || SlotHolder::Public(Arc::clone(core), Arc::clone(limits));
                    let slots = (&limits.in_flight, None, now);
                    ready!(acquire(&mut admission.held, waiting, cx, core, view, slots, holder))?;
                }
                Check::RateLimits if !limits.quotas.is_empty() => {
                    let quotas = &limits.quotas;
                    let address = address_of(core, quotas.counts_network(), view)?;
                    let shared = || ExceededQuotas::Public(Arc::clone(limits));
                    let weight = weight_of(route, quotas, view, || Some(shared()))?;
                    let draw = || {
                        let draw = Draw::keyless(quotas, now).weighing(weight);
                        let draw = address.map_or(draw, |address| draw.from_address(address));
                        core.limiter.draw(&draw.telling_every_window(core.every_window))
                    };
                    match ready!(answer(&DRAW, waiting, core, cx, draw))? {
                        LimitDecision::Within(window_status) => {
                            if let Some(public) = &mut admission.public {
                                public.window_status = Some(window_status);
                            }
                        }
                        LimitDecision::Exceeded { retry_after, window_status } => {
                            let cause = Cause::Wait { retry_after, window_status, quotas: shared(), weight };
                            return Poll::Ready(Err(Denial::because(DenialKind::RateLimited, cause)));
                        }
                    }
                }
                _ => {}
            }
            *checked += 1;
        }
        if self.shadow.is_some() {
            core.record_without_record(Some(route.compiled), self);
        }
        Poll::Ready(Ok(()))
    }

    /// Serves a request whose key was not found, because the look-up is in shadow.
    #[cold]
    fn serve_without_record(&mut self, core: &Core, route: &Route<'_>, denial: Denial) {
        note(&mut self.shadow, Err(denial));
        core.record_without_record(Some(route.compiled), self);
    }

    /// Stores the gate, for the event if the client leaves now.
    #[cold]
    pub(super) fn wait(&mut self, core: &Arc<Core>) {
        self.waiting.get_or_insert_default().core.get_or_insert_with(|| Arc::clone(core));
    }

    /// Returns the gate if a back end is waited for. No event is sent any more if the client leaves.
    #[inline]
    pub(super) fn stop_waiting(&mut self) -> Option<Arc<Core>> {
        self.waiting.as_mut()?.core.take()
    }

    /// Ends a decision that missed its caller's deadline. Returns the denial.
    #[cold]
    pub(crate) fn late(&mut self, core: &Core) -> Denial {
        let rule = self.stop_waiting().map(|_| core.rules.at(self.rule));
        let denial = rule.into_iter().fold(Denial::late(), Denial::by_rule);
        self.admission.entry().into_iter().fold(denial, |denial, entry| denial.of_key(entry.record()))
    }

    /// The admission of an admitted request.
    #[inline]
    pub(crate) fn admitted(&self) -> &Admission {
        &self.admission
    }

    /// The same, for a change.
    #[inline]
    pub(crate) fn admission_mut(&mut self) -> &mut Admission {
        &mut self.admission
    }

    /// The id of a request that was not admitted, if it was determined for the gate's sinks.
    pub(crate) fn request_id(&self) -> Option<&RequestId> {
        self.event.request_id()
    }

    /// Takes the admission, which the caller keeps until the request ends.
    #[inline]
    pub(crate) fn admission(&mut self) -> Admission {
        std::mem::take(&mut self.admission)
    }

    /// Finds the record of the presented key: first under the newest hashing scheme, then under the older ones in their
    /// order.
    #[inline]
    fn find_record(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Poll<Result<(), Denial>> {
        if self.admission.entry.is_some() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let hash = match self.hash {
                Some(hash) => hash,
                None => match self.hash_key(core, view, route)? {
                    Some(hash) => hash,
                    None => return Poll::Ready(self.without_key(core, view, route)),
                },
            };
            if let Some(attempts) = &core.attempts
                && attempts.is_limiting()
                && let Some(ended) = self.find_within_limit(core, attempts, view, route, &hash)
            {
                return Poll::Ready(ended);
            }
            match ready!(answer(&FIND, &mut self.waiting, core, cx, || core.store.find(&hash)))? {
                Some(record) => return Poll::Ready(self.found(record, &hash, core, view, route)),
                None if self.misses + 1 >= core.tries() => {
                    return Poll::Ready(Err(Denial::of(DenialKind::Unknown)));
                }
                None => (self.misses, self.hash) = (self.misses + 1, None),
            }
        }
    }

    /// Hashes the presented key if it matches a format. Returns `None` if the request has no key.
    #[inline]
    fn hash_key(
        &mut self,
        core: &Core,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Result<Option<KeyHash>, Denial> {
        let (finding, source) = find_key(&core.sources, view, core.refuse_conflicts);
        if core.refuses_insecure {
            refuse_insecure(core, view, &finding)?;
        }
        let hasher = core.hasher_of_try(self.misses);
        let hash = match &finding {
            KeySearch::Key(key) => {
                self.source = source;
                if !core.is_key(key.as_bytes()) {
                    return Err(Denial::of(DenialKind::InvalidFormat));
                }
                hasher.hash(key.as_bytes())
            }
            KeySearch::Absent => {
                // An outer gate may have removed the key from the request, so that no source contains it.
                self.source = usize::MAX;
                let Some(taken) = view.taken() else { return Ok(None) };
                core.hash_of_taken(&taken, hasher).ok_or_else(|| Denial::of(DenialKind::Missing))?
            }
            KeySearch::Malformed | KeySearch::Foreign => return Err(Denial::of(DenialKind::Malformed)),
            KeySearch::Twice => return Err(Denial::of(DenialKind::Duplicate)),
        };
        self.hash = Some(hash);
        checks::early_data(core, view, route.compiled.rule.cost.is_free())?;
        Ok(Some(hash))
    }

    /// Serves a request without a key under the plan of such requests, if the rule allows that.
    #[cold]
    fn without_key(
        &mut self,
        core: &Arc<Core>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Result<(), Denial> {
        let allowed = route.compiled.rule.anonymous && !route.odd;
        let Some(record) = core.plans.anonymous().filter(|_| allowed) else {
            return Err(Denial::of(DenialKind::Missing));
        };
        let Some(terms) = core.plans.kept(record) else { return Err(no_key_yet()) };
        if core.has_stray_key(view) {
            return Err(Denial::of(DenialKind::Malformed));
        }
        checks::early_data(core, view, route.compiled.rule.cost.is_free())?;
        let now = self.event.begun().unwrap_or_else(|| core.clock.now());
        self.enter(Arc::clone(record), terms, false, now, core);
        Ok(())
    }

    /// Finds the record of a key that the store has at hand. Otherwise, denies the request if the client's network is above
    /// its quota of failed attempts and the store may not be asked. Returns `None` if the store is to be asked.
    #[cold]
    fn find_within_limit(
        &mut self,
        core: &Arc<Core>,
        attempts: &Attempts,
        view: &RequestView<'_>,
        route: &Route<'_>,
        newest: &KeyHash,
    ) -> Option<Result<(), Denial>> {
        // The store is being asked, or was asked under another scheme.
        if self.misses != 0 || self.waiting.is_some() {
            return None;
        }
        let mut hashes: SmallVec<[KeyHash; 2]> = SmallVec::new();
        for scheme in 0..core.hashers.len() {
            self.misses = scheme;
            let older = if scheme == 0 { Ok(Some(*newest)) } else { self.hash_key(core, view, route) };
            let hash = match older {
                Ok(Some(hash)) => hash,
                Ok(None) => return Some(Err(Denial::of(DenialKind::Missing))),
                Err(denial) => return Some(Err(denial)),
            };
            if let Some(record) = core.store.find_cached(&hash) {
                return Some(self.found(record, &hash, core, view, route));
            }
            hashes.push(hash);
        }
        (self.misses, self.hash) = (0, Some(*newest));
        let permitted = attempts.permit_look_up(core.network_of(view), &hashes, core.clock.now().ticks());
        permitted.err().map(|wait| Err(too_many_attempts(wait)))
    }

    #[inline]
    fn found(
        &mut self,
        record: Arc<KeyRecord>,
        hash: &KeyHash,
        core: &Arc<Core>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Result<(), Denial> {
        let retiring = record.hash != *hash;
        if retiring && !record.is_retiring(hash) {
            return Err(not_asked_for());
        }
        record.prefetch();
        // The clock was read for the event, unless a back end was waited for since.
        let begun = self.event.begun().filter(|_| self.waiting.is_none());
        let now = begun.unwrap_or_else(|| core.clock.now());
        let terms = match core.plans.kept(&record) {
            Some(terms) => terms,
            None => first_terms(core, &record, hash, || CheckContext {
                core,
                record: &record,
                retiring,
                compiled: route.compiled,
                odd: route.odd,
                now: now.wall(),
                view,
            })?,
        };
        self.enter(record, terms, retiring, now, core);
        Ok(())
    }

    /// Enters the record whose checks are made next.
    #[inline]
    fn enter(
        &mut self,
        record: Arc<KeyRecord>,
        terms: TermsPlace,
        retiring: bool,
        now: Now,
        core: &Arc<Core>,
    ) {
        self.now = Some(now);
        let presented = PresentedSecret { retiring, renewed: None };
        let found = FoundKey { core: Arc::clone(core), record, terms, choice: QuotaChoice::Key, presented };
        self.admission.entry = Some(AdmittedKey {
            found,
            spent: RequestCharges::default(),
            source: self.source,
            event: OpenEvent::default(),
        });
    }

    /// Makes the checks on the key that was found.
    ///
    /// The checks without side effects are made first, together. If all of them pass, their order does not matter, and
    /// only the rate limits and the credits remain. If one fails, all checks are made in the configured order, because
    /// an earlier check determines the denial and may draw or charge.
    #[expect(clippy::too_many_lines, reason = "the checks are made from top to bottom")]
    #[inline]
    fn check(
        &mut self,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Poll<Result<(), Denial>> {
        let Self { admission, now, checked, waiting, shadow, shadow_drawn, .. } = self;
        let Admission { entry, held, .. } = admission;
        let (Some(AdmittedKey { found, spent, .. }), Some(now)) = (entry, *now) else {
            return Poll::Ready(Err(no_key_yet()));
        };
        let outer = view.admitted().filter(|outer| outer.is_for(&found.record));
        let (is_drawn, choice) = match route.compiled.limits {
            None => (outer.is_some_and(|outer| outer.drawn), QuotaChoice::Key),
            Some(rule) => of_limited_rule(rule, outer, &found.core),
        };
        found.choice = choice;
        let charged = outer.is_some_and(|outer| outer.charged);
        let resolved = found.resolved();
        let Some(terms) = found.terms() else { return Poll::Ready(Err(no_key_yet())) };
        let (record, core) = (&*found.record, &*found.core);
        let limits = terms.limits_at(choice);
        let quotas = &limits.quotas;
        let in_flight = in_flight_of(outer, (choice, limits), route.compiled, terms, core);
        let context = CheckContext {
            core,
            record,
            retiring: found.presented.retiring,
            compiled: route.compiled,
            odd: route.odd,
            now: now.wall(),
            view,
        };
        let shadowed = core.shadow_at(route.compiled, Some(terms));
        let passed = context.all_pass(terms, route.is_passed_by(resolved, core.plans.version()));
        let checks = if passed { &core.checks.spending } else { &core.checks.every };
        while let Some(&check) = checks.get(*checked) {
            if check == Check::RateLimits
                && let Some(quotas) = limits.shadow.as_deref()
                && !*shadow_drawn
                && !is_drawn
            {
                let drawn =
                    ready!(draw_in_shadow(waiting, cx, core, view, route, (Some(record), quotas, now)));
                note(shadow, drawn);
                *shadow_drawn = true;
            }
            match check {
                Check::InFlight if shadowed.has(Check::InFlight.shadow()) => {
                    if let Some((choice, limits)) = in_flight {
                        let holder = || SlotHolder::Key(FoundKey { choice, ..found.clone() });
                        let slots = (limits, Some(record), now);
                        let acquired = ready!(acquire(held, waiting, cx, core, view, slots, holder));
                        note(shadow, acquired.inspect_err(|_| *held = Held::default()));
                    }
                }
                Check::Credits if shadowed.has(Check::Credits.shadow()) => {
                    if !charged {
                        let terms = (&*record.account, &**terms);
                        let compared = compare_balance(waiting, cx, core, view, route, terms, now);
                        note(shadow, ready!(compared));
                    }
                }
                // An outer gate's slots, draw and charge for the same key are not taken again.
                Check::InFlight => {
                    if let Some((choice, limits)) = in_flight {
                        let holder = || SlotHolder::Key(FoundKey { choice, ..found.clone() });
                        let slots = (limits, Some(record), now);
                        ready!(acquire(held, waiting, cx, core, view, slots, holder))?;
                    }
                }
                Check::RateLimits if is_drawn || quotas.is_empty() => {}
                Check::Credits if charged => {}
                Check::RateLimits => {
                    let address = address_of(core, quotas.counts_network(), view)?;
                    let weight = weight_of(route, quotas, view, || found.applied_quotas())?;
                    let may_charge = !charged && !shadowed.has(Check::Credits.shadow());
                    let next = checks.get(*checked + 1).filter(|_| may_charge);
                    if let Some((meter, cost)) =
                        metered(core, next, quotas, || price(route.compiled, terms, view))
                    {
                        let id = reserve(spent, core, route, cost);
                        let both = || {
                            let charge = charge_of(id, record, terms, route, cost, now);
                            let draw = draw_of(record, quotas, now, address).weighing(weight);
                            meter.draw_and_charge(&draw.telling_every_window(core.every_window), &charge)
                        };
                        match ready!(answer(&DRAW_AND_CHARGE, waiting, core, cx, both))? {
                            Metered::Drawn { window_status, charged } => {
                                reserved(spent, found, route, (weight, address, now), &window_status);
                                within(spent, core, window_status);
                                posted(spent, core, route, (cost, now), &charged)?;
                            }
                            Metered::Exceeded { retry_after, window_status } => {
                                spent.forget_charge(core);
                                return Poll::Ready(Err(exceeded(found, weight, retry_after, window_status)));
                            }
                        }
                        *checked += 1;
                    } else {
                        let draw = || {
                            let draw = draw_of(record, quotas, now, address).weighing(weight);
                            core.limiter.draw(&draw.telling_every_window(core.every_window))
                        };
                        match ready!(answer(&DRAW, waiting, core, cx, draw))? {
                            LimitDecision::Within(window_status) => {
                                reserved(spent, found, route, (weight, address, now), &window_status);
                                within(spent, core, window_status);
                            }
                            LimitDecision::Exceeded { window_status, .. }
                                if revocation::passes(core, route.compiled, view, record.id, now) =>
                            {
                                within(spent, core, window_status);
                            }
                            LimitDecision::Exceeded { retry_after, window_status } => {
                                return Poll::Ready(Err(exceeded(found, weight, retry_after, window_status)));
                            }
                        }
                    }
                }
                Check::Credits => {
                    let cost = price(route.compiled, terms, view)?;
                    if !cost.is_zero() {
                        let id = reserve(spent, core, route, cost);
                        let charge = || core.ledger.charge(&charge_of(id, record, terms, route, cost, now));
                        let charged = ready!(answer(&CHARGE, waiting, core, cx, charge))?;
                        posted(spent, core, route, (cost, now), &charged)?;
                    }
                }
                looking => match context.make(terms, looking) {
                    Err(denial) if shadowed.has(looking.shadow()) => note(shadow, Err(denial)),
                    made => made?,
                },
            }
            *checked += 1;
        }
        Poll::Ready(Ok(()))
    }

    /// Records the use of the key, and records that its record passes this rule.
    #[inline]
    fn admit(&mut self, core: &Arc<Core>, view: &RequestView<'_>, route: &Route<'_>) -> Result<(), Denial> {
        let (Some(entry), Some(now)) = (&mut self.admission.entry, self.now) else {
            return Err(no_key_yet());
        };
        // The look-up after the last scheme used the newest scheme again.
        if self.misses != 0 && self.misses != core.hashers.len() {
            entry.found.presented.renewed = renew_hash(&entry.found.record, core, view);
        }
        let found = &entry.found;
        let resolved = found.resolved();
        core.uses.note(&found.record, resolved.map(|resolved| &resolved.last_used), now.wall());
        if !route.odd
            && self.shadow.is_none()
            && let Some(resolved) = resolved
            && !resolved.passed_rules.contains(core.plans.version(), route.rule)
            && !route.compiled.beside
            && found.record.covers_all_of(route.compiled.rule.pattern())
        {
            resolved.passed_rules.add(core.plans.version(), route.rule);
        }
        if let Some(most) = route.compiled.rule.most_cost {
            let reserve = entry.spent.open.as_ref().map(|open| open.taken).unwrap_or_default();
            entry.spent.meter = Some(CostMeter::new(reserve, most));
        }
        if !self.event.is_empty() {
            entry.event = self.event.admitted(core, route.rule, view, self.shadow);
        }
        Ok(())
    }

    /// Counts a failed attempt, releases the slots of a denied request, and refunds its open charge, if there is one.
    #[cold]
    fn refuse(
        &mut self,
        core: &Core,
        view: &RequestView<'_>,
        route: &Route<'_>,
        denial: Denial,
        cx: &mut Context<'_>,
    ) -> Poll<Denial> {
        self.admission.held = Held::default();
        let denial = self.count_attempt(core, view, denial);
        let denial = denial.in_source(core.sources.get(self.source)).by_rule(route.compiled);
        let Some(entry) = &mut self.admission.entry else { return Poll::Ready(denial) };
        let denial = denial.of_key(entry.record());
        let Some(refund) = entry.close(Outcome::Failed) else { return Poll::Ready(denial) };
        self.waiting.get_or_insert_default().refund = Some((refund, denial));
        self.give_back(cx)
    }

    /// Counts a failed attempt. If the client's network is above its quota, returns the denial for that.
    fn count_attempt(&self, core: &Core, view: &RequestView<'_>, denial: Denial) -> Denial {
        let Some(attempts) = &core.attempts else { return denial };
        let is_below = |above| ancestry(denial.kind()).any(|kind| kind == above);
        if !is_below(DenialKind::Unauthorized) {
            return denial;
        }
        let key = self.hash.as_ref();
        // A key that only the address excludes is still a good one.
        if let Some(key) = key.filter(|_| denial.kind() != DenialKind::AddressNotAllowed) {
            attempts.forget(key);
        }
        let counted = attempts.count(core.network_of(view), key, core.clock.now().ticks());
        counted.map_or_else(too_many_attempts, |()| denial)
    }

    /// Waits for the refund of a denied request's charge.
    fn give_back(&mut self, cx: &mut Context<'_>) -> Poll<Denial> {
        let refund = self.waiting.as_mut().map(|waiting| &mut waiting.refund);
        let Some(Some((refunding, _))) = refund else { return Poll::Ready(no_key_yet()) };
        // A failed refund leaves the charge open for the ledger's sweep. The denial stays the same.
        if let Err(error) = ready!(Pin::new(refunding).poll(cx)) {
            crate::trace::unsettled(&error);
        }
        let refund = self.waiting.as_mut().and_then(|waiting| waiting.refund.take());
        Poll::Ready(refund.map_or_else(no_key_yet, |(_, denial)| denial))
    }
}

impl Drop for Decision {
    #[inline]
    fn drop(&mut self) {
        if let Some(core) = self.stop_waiting() {
            core.record_departure(&self.admission, self.rule, &self.event);
        }
    }
}

impl Core {
    /// Returns the checks that are made in shadow for a request.
    #[inline]
    fn shadow_at(&self, compiled: &CompiledRule, terms: Option<&Terms>) -> ShadowChecks {
        if compiled.rule.purpose != Purpose::Service {
            return ShadowChecks::NONE;
        }
        let of_plan = terms.map_or(ShadowChecks::NONE, |terms| terms.plan.shadow);
        self.shadow.with(compiled.rule.shadow).with(of_plan)
    }

    /// Returns the network for which the client's failed attempts are counted. `None` if the client's address is unknown.
    fn network_of(&self, view: &RequestView<'_>) -> Option<IpNet> {
        let cut = self.attempts.as_ref()?.cut();
        self.proxies.client(view).map(|address| cut.of(address))
    }
}

/// The rule that applies to a request.
struct Route<'r> {
    compiled: &'r Arc<CompiledRule>,
    /// The index of the rule.
    rule: usize,
    /// True if the path has a form that no public rule and no scope rule matches.
    odd: bool,
}

impl Route<'_> {
    /// Returns true if the record has already passed those checks at this rule that depend only on the record and the
    /// rule.
    #[inline]
    fn is_passed_by(&self, resolved: Option<&ResolvedTerms>, version: u32) -> bool {
        !self.odd && resolved.is_some_and(|resolved| resolved.passed_rules.contains(version, self.rule))
    }
}

/// A call to a back end.
struct BackEndCall<T> {
    /// The place of a call that is waited for.
    place: fn(&mut Waiting) -> &mut Option<StoreFuture<T>>,
    operation: fn(&BackEndMetrics) -> &Operation,
}

const FIND: BackEndCall<Option<Arc<KeyRecord>>> =
    BackEndCall { place: |waiting| &mut waiting.find, operation: |metrics| &metrics.find };
const ACQUIRE: BackEndCall<Acquired> =
    BackEndCall { place: |waiting| &mut waiting.acquire, operation: |metrics| &metrics.acquire };
const DRAW: BackEndCall<LimitDecision> =
    BackEndCall { place: |waiting| &mut waiting.draw, operation: |metrics| &metrics.draw };
const CHARGE: BackEndCall<Charged> =
    BackEndCall { place: |waiting| &mut waiting.charge, operation: |metrics| &metrics.charge };
const BALANCE: BackEndCall<Balance> =
    BackEndCall { place: |waiting| &mut waiting.balance, operation: |metrics| &metrics.balance };
const DRAW_AND_CHARGE: BackEndCall<Metered> = BackEndCall {
    place: |waiting| &mut waiting.draw_and_charge,
    operation: |metrics| &metrics.draw_and_charge,
};

/// Returns the answer of a back end. A call that is not answered at once is kept in its place in `waiting`, so that it is
/// made only once, and its time is measured.
#[inline]
fn answer<T: Send + 'static>(
    to: &BackEndCall<T>,
    waiting: &mut Option<Box<Waiting>>,
    core: &Core,
    cx: &mut Context<'_>,
    call: impl FnOnce() -> StoreFuture<T>,
) -> Poll<Result<T, StoreError>> {
    if waiting.as_mut().is_none_or(|waiting| (to.place)(waiting).is_none()) {
        let mut call = call();
        match call.take_ready() {
            Some(Ok(answer)) => return Poll::Ready(Ok(answer)),
            Some(Err(error)) => {
                if let Some(metrics) = &core.metrics {
                    (to.operation)(metrics).failed(&error);
                }
                return Poll::Ready(Err(error));
            }
            None => {}
        }
        *(to.place)(waiting.get_or_insert_default()) = Some(core.measured(to.operation, call));
    }
    wait(to, waiting, cx)
}

#[cold]
fn wait<T>(
    to: &BackEndCall<T>,
    waiting: &mut Option<Box<Waiting>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, StoreError>> {
    let Some(place) = waiting.as_mut().map(|waiting| (to.place)(waiting)) else { return Poll::Pending };
    let Some(call) = place else { return Poll::Pending };
    let answer = ready!(Pin::new(call).poll(cx));
    *place = None;
    Poll::Ready(answer)
}

/// Rehashes a key that was found under an older hash under the newest scheme, and returns the new hash. If the write
/// fails, the next use of the key tries again.
fn renew_hash(record: &KeyRecord, core: &Core, view: &RequestView<'_>) -> Option<Box<KeyHash>> {
    let store_admin = core.store_admin.as_ref()?;
    let KeySearch::Key(key) = find_key(&core.sources, view, core.refuse_conflicts).0 else { return None };
    // The previous secret of a rotated key keeps its old hash until it ends.
    if core.hashers.iter().any(|hasher| record.is_retiring(&hasher.hash(key.as_bytes()))) {
        return None;
    }
    let mut renewed = record.clone();
    renewed.hash = core.hashers[0].hash(key.as_bytes());
    detach(store_admin.replace(&renewed));
    Some(Box::new(renewed.hash))
}

/// Stores the window status if it is reported to the handler, in headers, or to a sink.
#[inline]
fn within(spent: &mut RequestCharges, core: &Core, least: WindowStatus) {
    if core.tells_standing() {
        spent.window_status = Some(least);
    }
}

/// Stores the draw of a request whose handler reports its weight.
#[inline]
fn reserved(
    spent: &mut RequestCharges,
    found: &FoundKey,
    route: &Route<'_>,
    (weight, address, now): (NonZeroU32, Option<IpAddr>, Now),
    least: &WindowStatus,
) {
    if let Weight::Reported { most, .. } = route.compiled.rule.weight
        && let Some(terms) = found.share_terms()
    {
        let quotas = AppliedQuotas { terms, choice: found.choice };
        let record = Arc::clone(&found.record);
        // Only a share has a limit of its own.
        let local = least.limit().is_some();
        let drawn = Drawn { record, quotas, address, weight, at: now.elapsed(), local };
        spent.reserved = Some(WeightReport::new(Arc::clone(&found.core), most, drawn));
    }
}

/// Returns the client's address, if a limit counts networks. A request from an unknown address is denied: it must not
/// escape the limit.
#[inline]
fn address_of(core: &Core, counts_network: bool, view: &RequestView<'_>) -> Result<Option<IpAddr>, Denial> {
    if !counts_network {
        return Ok(None);
    }
    let address = core.proxies.client(view);
    if address.is_some() { Ok(address) } else { Err(Denial::operator(Problem::AddressUnknown)) }
}

#[inline]
pub(super) fn draw_of<'d>(
    record: &'d KeyRecord,
    quotas: &'d Quotas,
    now: Now,
    address: Option<IpAddr>,
) -> Draw<'d> {
    let draw = if record.anonymous { Draw::keyless(quotas, now) } else { Draw::new(record, quotas, now) };
    match address {
        Some(address) => draw.from_address(address),
        None => draw,
    }
}

/// Returns true if an outer gate has drawn from all windows of a request, and otherwise the quotas from which to draw at a
/// rule with quotas of its own. Another gate has not drawn from the windows of this gate's rules.
fn of_limited_rule(rule: LimitIndex, outer: Option<Admitted>, core: &Core) -> (bool, QuotaChoice) {
    let is_drawn = outer.is_some_and(|outer| outer.gate == Some(core.plans.owner()));
    let choice = if outer.is_some_and(|outer| outer.drawn) {
        QuotaChoice::Rule(rule)
    } else {
        QuotaChoice::KeyAndRule(rule)
    };
    (is_drawn, choice)
}

/// Returns the weight of the request: the units that it takes from each window.
#[inline]
fn weight_of(
    route: &Route<'_>,
    quotas: &Quotas,
    view: &RequestView<'_>,
    shared: impl FnOnce() -> Option<ExceededQuotas>,
) -> Result<NonZeroU32, Denial> {
    match route.compiled.rule.weight {
        Weight::Fixed(1) => Ok(NonZeroU32::MIN),
        ref weight => weighed(weight, route.compiled, quotas, view, shared),
    }
}

/// Denies a request that takes more units than a window can ever hold. Waiting would not help.
#[inline(never)]
fn weighed(
    weight: &Weight,
    compiled: &CompiledRule,
    quotas: &Quotas,
    view: &RequestView<'_>,
    shared: impl FnOnce() -> Option<ExceededQuotas>,
) -> Result<NonZeroU32, Denial> {
    let weight = weight.of(view).map_err(|problem| {
        let parameter = compiled.weighed_by.clone().unwrap_or_default();
        Denial::parameter(Breach { parameter, problem })
    })?;
    if weight.get() > quotas.capacity() {
        let cause = shared().map(|quotas| Cause::Weight { weight, quotas });
        return Err(Denial::because(DenialKind::WeightTooLarge, cause.unwrap_or_default()));
    }
    Ok(weight)
}

/// Returns the limits on requests in flight that apply to a request. If this gate is also an outer gate of the request, it
/// holds the slots already. Another gate holds the slots of the key, but neither those of this gate's rule nor those of all
/// requests of this gate. A revocation needs no slot: requests in flight must not prevent the revocation of their key.
#[inline]
fn in_flight_of<'t>(
    outer: Option<Admitted>,
    (choice, limits): (QuotaChoice, &'t Limits),
    compiled: &CompiledRule,
    terms: &'t Terms,
    core: &Core,
) -> Option<(QuotaChoice, &'t InFlightLimits)> {
    let (choice, limits) = match outer {
        None => (choice, limits),
        Some(outer) if outer.holder == Some(core.plans.owner()) => return None,
        Some(outer) => {
            let choice = match compiled.limits {
                rule if outer.holds => QuotaChoice::Rule(rule.unwrap_or_else(|| terms.no_rule())),
                Some(rule) => QuotaChoice::KeyAndRule(rule),
                None => QuotaChoice::Key,
            };
            (choice, terms.limits_at(choice))
        }
    };
    let applies = !limits.in_flight.is_empty() && compiled.rule.purpose != Purpose::Revocation;
    applies.then_some((choice, &limits.in_flight))
}

/// The checks without which a request has no record.
const NO_RECORD: ShadowChecks = Check::Format.shadow().with(Check::LookUp.shadow());

/// Stores the denial of a check in shadow, if it is the first.
fn note(shadow: &mut Option<DenialKind>, made: Result<(), Denial>) {
    if let Err(denial) = made {
        shadow.get_or_insert(denial.kind());
    }
}

/// Draws from the windows in shadow.
#[cold]
fn draw_in_shadow(
    waiting: &mut Option<Box<Waiting>>,
    cx: &mut Context<'_>,
    core: &Core,
    view: &RequestView<'_>,
    route: &Route<'_>,
    (record, quotas, now): (Option<&KeyRecord>, &Quotas, Now),
) -> Poll<Result<(), Denial>> {
    let address = address_of(core, quotas.counts_network(), view)?;
    let weight = weight_of(route, quotas, view, || None)?;
    let draw = || {
        let draw = match record {
            Some(record) => draw_of(record, quotas, now, address),
            None => address.into_iter().fold(Draw::keyless(quotas, now), Draw::from_address),
        };
        core.limiter.draw(&draw.weighing(weight))
    };
    Poll::Ready(match ready!(answer(&DRAW, waiting, core, cx, draw))? {
        LimitDecision::Within(_) => Ok(()),
        LimitDecision::Exceeded { .. } => Err(Denial::of(DenialKind::RateLimited)),
    })
}

/// Compares the cost with the balance, and charges nothing.
#[cold]
fn compare_balance(
    waiting: &mut Option<Box<Waiting>>,
    cx: &mut Context<'_>,
    core: &Core,
    view: &RequestView<'_>,
    route: &Route<'_>,
    (account, terms): (&Account, &Terms),
    now: Now,
) -> Poll<Result<(), Denial>> {
    let cost = price(route.compiled, terms, view)?;
    let Some(credits) = core.credit_admin.as_ref().filter(|_| !cost.is_zero()) else {
        return Poll::Ready(Ok(()));
    };
    let currency = &route.compiled.rule.currency;
    let ask = || credits.balance_of(&account.id, currency, terms.plan.credits_in(currency), now.wall());
    let balance = ready!(answer(&BALANCE, waiting, core, cx, ask))?;
    let is_enough = balance.credits().is_none_or(|balance| balance >= cost);
    Poll::Ready(if is_enough { Ok(()) } else { Err(Denial::of(DenialKind::CreditsExhausted)) })
}

/// Takes a slot of every limit on requests in flight.
#[inline(never)]
fn acquire(
    held: &mut Held,
    waiting: &mut Option<Box<Waiting>>,
    cx: &mut Context<'_>,
    core: &Core,
    view: &RequestView<'_>,
    (limits, key, now): (&InFlightLimits, Option<&KeyRecord>, Now),
    holder: impl FnOnce() -> SlotHolder,
) -> Poll<Result<(), Denial>> {
    let address = address_of(core, limits.count_network(), view)?;
    let slots = held.reserve(holder, now, address);
    let acquire = || core.limiter.acquire(&slots.of(key, limits));
    match ready!(answer(&ACQUIRE, waiting, core, cx, acquire))? {
        Acquired::Held { local } => held.hold(local),
        Acquired::Full { limit } => return Poll::Ready(Err(full(limits, limit))),
    }
    Poll::Ready(Ok(()))
}

#[cold]
fn full(limits: &InFlightLimits, limit: usize) -> Denial {
    let limit = limits.all().get(limit).or(limits.all().first());
    let cause = limit.cloned().map(Cause::InFlight);
    Denial::because(DenialKind::InFlightLimited, cause.unwrap_or_default())
}

#[cold]
fn exceeded(
    found: &FoundKey,
    weight: NonZeroU32,
    retry_after: Duration,
    window_status: WindowStatus,
) -> Denial {
    let cause =
        found.applied_quotas().map(|quotas| Cause::Wait { retry_after, window_status, quotas, weight });
    Denial::because(DenialKind::RateLimited, cause.unwrap_or_default())
}

/// Returns the cost of the request. The cost is zero if the plan's credits are unlimited.
#[inline]
fn price(compiled: &CompiledRule, terms: &Terms, view: &RequestView<'_>) -> Result<Credits, Denial> {
    match compiled.rule.cost.of(view.query()) {
        Ok(_) if *terms.plan.credits_in(&compiled.rule.currency) == Allowance::Unlimited => Ok(Credits::ZERO),
        Ok(cost) => Ok(cost),
        Err(CostError::Asked(problem)) => {
            let parameter = compiled.unit.clone().unwrap_or_default();
            Err(Denial::parameter(Breach { parameter, problem }))
        }
        Err(CostError::TooMuch) => Err(Denial::of(DenialKind::BadRequest)),
    }
}

/// Returns the meter, which draws and charges in one call, and the cost. Returns `None` unless the credits check is
/// next, the meter takes the windows, and the cost is above zero. Also returns `None` for a cost that cannot be determined: the credits check denies
/// that request after the draw.
#[inline]
fn metered<'c>(
    core: &'c Core,
    next: Option<&Check>,
    quotas: &Quotas,
    price: impl FnOnce() -> Result<Credits, Denial>,
) -> Option<(&'c dyn Meter, Credits)> {
    let meter = core.meter.as_deref()?;
    next.filter(|check| **check == Check::Credits && meter.takes(quotas))?;
    price().ok().filter(|cost| !cost.is_zero()).map(|cost| (meter, cost))
}

/// Records an open charge and returns its id. The charge is recorded before the ledger is called, so that it is
/// refunded if the wait is interrupted.
#[inline]
fn reserve(spent: &mut RequestCharges, core: &Core, route: &Route<'_>, cost: Credits) -> ChargeId {
    let make = || {
        if let Some(metrics) = &core.metrics {
            metrics.open_charges.raise(true);
        }
        let rule = u32::try_from(route.rule).unwrap_or(u32::MAX);
        OpenCharge { id: core.charge_ids.next(), amount: cost, taken: cost, rule, served: false }
    };
    spent.open.get_or_insert_with(make).id
}

/// Returns the charge of a request.
#[inline]
fn charge_of<'c>(
    id: ChargeId,
    record: &'c KeyRecord,
    terms: &'c Terms,
    route: &'c Route<'_>,
    cost: Credits,
    now: Now,
) -> Charge<'c> {
    let currency = &route.compiled.rule.currency;
    let mut charge = Charge::new(id, &record.account, cost, terms.plan.credits_in(currency), now);
    charge.currency = currency;
    charge.budget = terms.budget_in(currency).map(|budget| BudgetDraw { key: record.id, budget });
    charge
}

#[inline]
fn posted(
    spent: &mut RequestCharges,
    core: &Core,
    route: &Route<'_>,
    (cost, now): (Credits, Now),
    charged: &Charged,
) -> Result<(), Denial> {
    let currency = || route.compiled.rule.currency.clone();
    match *charged {
        Charged::Posted { balance } => {
            spent.balance = balance;
            // Nothing is taken from an account without limit.
            if let (None, Some(open)) = (balance, &mut spent.open) {
                open.taken = Credits::ZERO;
            }
            Ok(())
        }
        Charged::Insufficient { balance } => {
            // Nothing was posted, so there is no charge to settle or refund.
            spent.forget_charge(core);
            let cause = Cause::Balance { balance, cost, currency: currency() };
            Err(Denial::because(DenialKind::CreditsExhausted, cause))
        }
        Charged::OverBudget { left, resets } => {
            spent.forget_charge(core);
            let wait = resets.as_millis().saturating_sub(now.wall().as_millis());
            let wait = Duration::from_millis(u64::try_from(wait).unwrap_or_default());
            let cause = Cause::Budget { left, cost, currency: currency(), resets, wait };
            Err(Denial::because(DenialKind::BudgetExceeded, cause))
        }
    }
}

/// Resolves the terms of a record and stores them on the record, if they can be stored there. Returns their place. Remembers the key for the limit on failed attempts.
///
/// A record whose terms are unknown is the operator's fault. A check that precedes the first check of the terms, such as
/// that of the client's address, determines the denial instead.
#[cold]
fn first_terms<'d>(
    core: &Core,
    record: &Arc<KeyRecord>,
    hash: &KeyHash,
    context: impl FnOnce() -> CheckContext<'d>,
) -> Result<TermsPlace, Denial> {
    if !core.environments.contains(&record.environment) {
        return Err(Denial::of(DenialKind::Unknown));
    }
    if let Some(attempts) = &core.attempts {
        attempts.remember(hash);
    }
    core.plans.keep(record).map_err(|unknown| {
        let context = context();
        let mut verdicts = core.checks.every.iter().map_while(|&check| context.make_without_terms(check));
        let denial = verdicts.find_map(Result::err);
        denial.unwrap_or_else(|| Denial::operator(Problem::Unknown(unknown))).of_key(record)
    })
}

/// Returns true if the request has the form of a CORS preflight. A browser sends no key with it.
fn is_preflight(view: &RequestView<'_>) -> bool {
    view.method() == "OPTIONS"
        && matches!(view.field(&ORIGIN), HeaderCount::Once(_))
        && matches!(view.field(&ACCESS_CONTROL_REQUEST_METHOD), HeaderCount::Once(_))
}

#[cold]
fn not_asked_for() -> Denial {
    Denial::store(StoreError::corrupt("the store returned the record of another key"))
}

#[cold]
fn too_many_attempts(wait: Duration) -> Denial {
    Denial::because(DenialKind::TooManyAttempts, Cause::Attempts(wait))
}

#[cold]
fn no_key_yet() -> Denial {
    Denial::operator(Problem::NoKeyYet)
}

/// Denies a request that bears a key, of whatever form, and came without encryption.
#[cold]
fn refuse_insecure(core: &Core, view: &RequestView<'_>, finding: &KeySearch<'_>) -> Result<(), Denial> {
    let bears_key = !matches!(finding, KeySearch::Absent) || view.taken().is_some();
    if bears_key && !core.proxies.is_encrypted(view) {
        return Err(Denial::of(DenialKind::InsecureChannel));
    }
    Ok(())
}
