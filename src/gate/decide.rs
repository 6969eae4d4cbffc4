//! The decision on one request, from top to bottom.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::account::Allowance;
use crate::account::Breach;
use crate::account::Terms;
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::{Charge, Charged};
use crate::denial::{Cause, Problem};
use crate::denial::{Denial, DenialKind};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::gate::admission::{Admission, Outcome};
use crate::gate::checks::{self, Facts};
use crate::gate::detach::detach;
use crate::gate::entry::{Entry, Found, Hold, Shown, Tab};
use crate::gate::revocation;
use crate::gate::{Check, Core};
use crate::key::{KeyHash, KeyRecord};
use crate::limit::Standing;
use crate::limit::{Draw, Quota};
use crate::meter::{Meter, Metered};
use crate::request::RequestView;
use crate::request::{Finding, Occurs, find_key};
use crate::rule::{Ruled, Uncountable};

/// The decision on one request, and the state of it that outlives a wait for a back end.
///
/// Each [`poll`](Self::poll) runs from its first line, on the caller's stack. Where all back ends answer at once, one poll
/// decides and nothing is allocated. Where one waits, its call is boxed and kept in [`Calls`], and the next poll passes
/// over what is done already: the key that was found and the checks that were made. A decision borrows nothing, so that
/// an adapter can move it together with its request.
///
/// `ready!(…)?` stands where an `async fn` would have `.await?`. The same text as an `async fn` took 16 % more
/// instructions a request (`benches/instructions`: 4,410 in place of 3,790, the hash taken off).
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// The key that was found, and what was drawn and charged for it.
    admission: Admission,
    /// The time that the checks go by.
    now: Option<Now>,
    /// The hash of the presented key under the scheme that is looked up.
    hash: Option<KeyHash>,
    /// The index of the source that the key stood in.
    source: usize,
    /// The number of look-ups that found nothing: one for each older hashing scheme.
    misses: usize,
    /// The number of checks that were made.
    checked: usize,
    calls: Calls,
    /// A refusal that waits until its charge is given back.
    refund: Option<Box<(StoreFuture<()>, Denial)>>,
}

/// The calls to back ends that were made and have not been answered.
#[derive(Debug, Default)]
struct Calls {
    find: Option<Box<StoreFuture<Option<Arc<KeyRecord>>>>>,
    draw: Option<Box<StoreFuture<Quota>>>,
    charge: Option<Box<StoreFuture<Charged>>>,
    draw_and_charge: Option<Box<StoreFuture<Metered>>>,
}

impl Decision {
    /// Decides on the request, or goes on where a back end was waited for: its rule, its key, the key's record, the checks.
    /// An admitted request is taken by [`admission`](Self::admission).
    #[inline]
    pub(crate) fn poll(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        if self.refund.is_some() {
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
        let route = Route { ruled: core.rules.at(rule), rule, odd };
        if (route.ruled.rule.public && !odd) || (core.preflights && is_preflight(view)) {
            return Poll::Ready(Ok(()));
        }
        let judged = match ready!(self.find_record(core, cx, view, &route)) {
            Ok(()) => ready!(self.check(cx, view, &route)),
            Err(denial) => Err(denial),
        };
        match judged {
            Ok(()) => Poll::Ready(self.admit(core, view, &route)),
            Err(denial) => {
                let denial = denial.in_source(core.sources.get(self.source));
                self.refuse(denial.by_rule(route.ruled), cx).map(Err)
            }
        }
    }

    /// The admission of a request that was let in.
    #[inline]
    pub(crate) fn admitted(&self) -> &Admission {
        &self.admission
    }

    /// Takes the admission, which is kept until the request ends.
    #[inline]
    pub(crate) fn admission(&mut self) -> Admission {
        std::mem::take(&mut self.admission)
    }

    /// Finds the record of the key that the request presents: under the newest hashing scheme, then under the older ones
    /// in their order.
    #[inline]
    fn find_record(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Poll<Result<(), Denial>> {
        if self.admission.0.is_some() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let hash = match self.hash {
                Some(hash) => hash,
                None => self.hash_key(core, view, route)?,
            };
            match ready!(answer(&mut self.calls.find, cx, || core.store.find(&hash)))? {
                Some(record) if record.has_hash(&hash) => {
                    return Poll::Ready(self.found(record, &hash, core));
                }
                Some(_) => return Poll::Ready(Err(not_asked_for())),
                None if self.misses + 1 >= core.tries() => {
                    return Poll::Ready(Err(Denial::of(DenialKind::Unknown)));
                }
                None => (self.misses, self.hash) = (self.misses + 1, None),
            }
        }
    }

    /// Hashes the key that the request presents, if it has the format of one.
    #[inline]
    fn hash_key(
        &mut self,
        core: &Core,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Result<KeyHash, Denial> {
        let (finding, source) = find_key(&core.sources, view, core.refuse_conflicts);
        let hasher = core.hasher_of_try(self.misses);
        let hash = match &finding {
            Finding::Key(key) => {
                self.source = source;
                if !core.is_key(key.as_bytes()) {
                    return Err(Denial::of(DenialKind::InvalidFormat));
                }
                hasher.hash(key.as_bytes())
            }
            Finding::Absent => {
                // An outer gate may have taken the key out of the request: it stands in no source.
                let taken = view.taken().and_then(|taken| core.hash_of_taken(&taken, hasher));
                self.source = usize::MAX;
                taken.ok_or_else(|| Denial::of(DenialKind::Missing))?
            }
            Finding::Malformed | Finding::Foreign => return Err(Denial::of(DenialKind::Malformed)),
            Finding::Twice => return Err(Denial::of(DenialKind::Duplicate)),
        };
        self.hash = Some(hash);
        checks::early_data(core, view, route.ruled.rule.cost.is_free())?;
        Ok(hash)
    }

    #[inline]
    fn found(&mut self, record: Arc<KeyRecord>, hash: &KeyHash, core: &Arc<Core>) -> Result<(), Denial> {
        record.prefetch();
        let own = match core.plans.kept(&record) {
            Some(_) => None,
            None => first_terms(&record, core)?,
        };
        self.now = Some(core.clock.now());
        let shown = Shown { retiring: record.is_retiring(hash), renewed: None };
        let found = Found { core: Arc::clone(core), record, own, shown };
        self.admission = Admission(Some(Entry { found, tab: Tab::default(), source: self.source }));
        Ok(())
    }

    /// Makes the checks on the key that was found.
    ///
    /// The checks that only look are made at once: where all of them pass, their order does not matter, and the rate
    /// limits and the credits are all that is left of it. Where one fails, all checks are made in the configured order,
    /// since an earlier one decides the refusal, and may have drawn or charged.
    #[inline]
    fn check(
        &mut self,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
        route: &Route<'_>,
    ) -> Poll<Result<(), Denial>> {
        let Self { admission, now, hash, checked, calls, .. } = self;
        let (Some(Entry { found, tab, .. }), Some(now)) = (&mut admission.0, *now) else {
            return Poll::Ready(Err(no_key_yet()));
        };
        let Some(terms) = found.terms() else { return Poll::Ready(Err(no_key_yet())) };
        let (record, core) = (&*found.record, &*found.core);
        let outer = view.admitted().filter(|outer| outer.is_for(record));
        let (drawn, charged) = outer.map_or((false, false), |outer| (outer.drawn, outer.charged));
        let facts = Facts {
            core,
            record,
            hash: hash.as_ref(),
            terms,
            ruled: route.ruled,
            odd: route.odd,
            now: now.wall(),
            view,
        };
        let passed = facts.hold(route.is_passed_by(found));
        let checks = if passed { &core.checks.taking } else { &core.checks.every };
        while let Some(&check) = checks.get(*checked) {
            match check {
                // What an outer gate has drawn and charged is neither drawn nor charged again.
                Check::RateLimits if drawn || terms.quotas.is_empty() => {}
                Check::Credits if charged => {}
                Check::RateLimits => {
                    let next = checks.get(*checked + 1).filter(|_| !charged);
                    if let Some((meter, cost)) = metered(core, next, || price(route.ruled, terms, view)) {
                        let id = hold(tab, core, cost);
                        let both = || {
                            let charge = Charge::new(id, &record.account, cost, &terms.plan.credits, now);
                            let draw = Draw::new(record, &terms.quotas, now);
                            meter.draw_and_charge(&draw.telling_every_window(core.limit_headers), &charge)
                        };
                        match ready!(answer(&mut calls.draw_and_charge, cx, both))? {
                            Metered::Drawn { standing, charged } => {
                                within(tab, core, standing);
                                posted(tab, cost, &charged)?;
                            }
                            Metered::Exceeded { retry_after, standing } => {
                                tab.hold = None;
                                return Poll::Ready(Err(exceeded(found, retry_after, standing)));
                            }
                        }
                        *checked += 1;
                    } else {
                        let draw = || {
                            let draw = Draw::new(record, &terms.quotas, now);
                            core.limiter.draw(&draw.telling_every_window(core.limit_headers))
                        };
                        match ready!(answer(&mut calls.draw, cx, draw))? {
                            Quota::Within(standing) => within(tab, core, standing),
                            Quota::Exceeded { standing, .. }
                                if revocation::passes(core, route.ruled, view, record.id, now) =>
                            {
                                within(tab, core, standing);
                            }
                            Quota::Exceeded { retry_after, standing } => {
                                return Poll::Ready(Err(exceeded(found, retry_after, standing)));
                            }
                        }
                    }
                }
                Check::Credits => {
                    let cost = price(route.ruled, terms, view)?;
                    if !cost.is_zero() {
                        let id = hold(tab, core, cost);
                        let charge = || {
                            let charge = Charge::new(id, &record.account, cost, &terms.plan.credits, now);
                            core.ledger.charge(&charge)
                        };
                        posted(tab, cost, &ready!(answer(&mut calls.charge, cx, charge))?)?;
                    }
                }
                looking => facts.make(looking)?,
            }
            *checked += 1;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes the use of the key, and that its record passes this rule.
    #[inline]
    fn admit(&mut self, core: &Arc<Core>, view: &RequestView<'_>, route: &Route<'_>) -> Result<(), Denial> {
        let (Some(entry), Some(now)) = (&mut self.admission.0, self.now) else { return Err(no_key_yet()) };
        // The look-up past the last scheme was under the newest again.
        if self.misses != 0 && self.misses != core.hashers.len() {
            entry.found.shown.renewed = renew_hash(&entry.found.record, core, view);
        }
        let found = &entry.found;
        core.uses.note(&found.record, now.wall());
        if !route.odd
            && let Some(pass) = found.pass()
            && !pass.cleared.holds(route.rule)
            && !route.ruled.beside
            && found.record.covers_all_of(route.ruled.rule.pattern())
        {
            pass.cleared.add(route.rule);
        }
        Ok(())
    }

    /// Gives the charge of a refused request back, where one is open.
    #[cold]
    fn refuse(&mut self, denial: Denial, cx: &mut Context<'_>) -> Poll<Denial> {
        let Some(entry) = &mut self.admission.0 else { return Poll::Ready(denial) };
        let denial = denial.of_key(entry.record());
        let Some(refund) = entry.close(Outcome::Failed) else { return Poll::Ready(denial) };
        self.refund = Some(Box::new((refund, denial)));
        self.give_back(cx)
    }

    /// Waits until the charge of a refused request is given back.
    fn give_back(&mut self, cx: &mut Context<'_>) -> Poll<Denial> {
        let Some(refund) = &mut self.refund else { return Poll::Ready(no_key_yet()) };
        // A refund that fails leaves the charge open for the ledger's sweep; the refusal is the same.
        if let Err(error) = ready!(Pin::new(&mut refund.0).poll(cx)) {
            crate::trace::unsettled(&error);
        }
        Poll::Ready(self.refund.take().map_or_else(no_key_yet, |refund| refund.1))
    }
}

/// The rule that a request is judged by.
struct Route<'r> {
    ruled: &'r Arc<Ruled>,
    /// The index of the rule.
    rule: usize,
    /// Whether the path has a form that no public rule and no scope rule matches.
    odd: bool,
}

impl Route<'_> {
    /// Whether the record is known to pass the checks at this rule that depend on nothing else.
    #[inline]
    fn is_passed_by(&self, found: &Found) -> bool {
        !self.odd && found.pass().is_some_and(|pass| pass.cleared.holds(self.rule))
    }
}

/// The answer of a back end. A call that is not answered at once is kept in `waiting`, so that it is made once.
#[inline]
fn answer<T>(
    waiting: &mut Option<Box<StoreFuture<T>>>,
    cx: &mut Context<'_>,
    call: impl FnOnce() -> StoreFuture<T>,
) -> Poll<Result<T, Denial>> {
    if waiting.is_none() {
        let mut call = call();
        if let Some(answer) = call.take_ready() {
            return Poll::Ready(answer.map_err(Denial::store));
        }
        *waiting = Some(Box::new(call));
    }
    wait(waiting, cx)
}

#[cold]
fn wait<T>(waiting: &mut Option<Box<StoreFuture<T>>>, cx: &mut Context<'_>) -> Poll<Result<T, Denial>> {
    let Some(call) = waiting else { return Poll::Pending };
    let answer = ready!(Pin::new(&mut **call).poll(cx));
    *waiting = None;
    Poll::Ready(answer.map_err(Denial::store))
}

/// Puts a key that was found under an older hash under the newest, and tells that. Where it fails, the next use tries
/// again.
fn renew_hash(record: &KeyRecord, core: &Core, view: &RequestView<'_>) -> Option<Box<KeyHash>> {
    let authority = core.authority.as_ref()?;
    let Finding::Key(key) = find_key(&core.sources, view, core.refuse_conflicts).0 else { return None };
    // The secret that is on its way out stays under its old hash, for as long as it lasts.
    if core.hashers.iter().any(|hasher| record.is_retiring(&hasher.hash(key.as_bytes()))) {
        return None;
    }
    let mut renewed = record.clone();
    renewed.hash = core.hashers[0].hash(key.as_bytes());
    detach(authority.replace(&renewed));
    Some(Box::new(renewed.hash))
}

/// Notes how the windows stand, where anybody is told.
#[inline]
fn within(tab: &mut Tab, core: &Core, least: Standing) {
    if core.tells_standing() {
        tab.standing = Some(least);
    }
}

#[cold]
fn exceeded(found: &Found, retry_after: Duration, standing: Standing) -> Denial {
    let cause = match found.share_terms() {
        Some(terms) => Cause::Wait { retry_after, standing, terms },
        None => Cause::None,
    };
    Denial::because(DenialKind::RateLimited, cause)
}

/// What the request costs the account: nothing where its plan has no limit.
#[inline]
fn price(ruled: &Ruled, terms: &Terms, view: &RequestView<'_>) -> Result<Credits, Denial> {
    match ruled.rule.cost.of(view.query()) {
        Ok(_) if terms.plan.credits == Allowance::Unlimited => Ok(Credits::ZERO),
        Ok(cost) => Ok(cost),
        Err(Uncountable::Asked(problem)) => {
            let parameter = ruled.unit.clone().unwrap_or_default();
            Err(Denial::parameter(Breach { parameter, problem }))
        }
        Err(Uncountable::TooMuch) => Err(Denial::of(DenialKind::BadRequest)),
    }
}

/// What draws and charges in one call, and the cost, where the credits are next and there is one. A cost that cannot be
/// told is refused in its place, behind the draw.
#[inline]
fn metered<'c>(
    core: &'c Core,
    next: Option<&Check>,
    price: impl FnOnce() -> Result<Credits, Denial>,
) -> Option<(&'c dyn Meter, Credits)> {
    let meter = core.meter.as_deref()?;
    next.filter(|check| **check == Check::Credits)?;
    price().ok().filter(|cost| !cost.is_zero()).map(|cost| (meter, cost))
}

/// The charge is held before it is asked for: whatever cuts the wait short gives it back.
#[inline]
fn hold(tab: &mut Tab, core: &Core, cost: Credits) -> ChargeId {
    let make = || Hold { id: core.charge_ids.next(), amount: cost, served: false };
    tab.hold.get_or_insert_with(make).id
}

#[inline]
fn posted(tab: &mut Tab, cost: Credits, charged: &Charged) -> Result<(), Denial> {
    match *charged {
        Charged::Posted { balance } => {
            tab.balance = balance;
            Ok(())
        }
        Charged::Insufficient { balance } => {
            // Nothing was posted: there is nothing to end.
            tab.hold = None;
            Err(Denial::because(DenialKind::CreditsExhausted, Cause::Balance { balance, cost }))
        }
    }
}

/// What a record comes to that does not point to it yet; where it does from now on, that is where it stands.
#[cold]
fn first_terms(record: &Arc<KeyRecord>, core: &Core) -> Result<Option<Arc<Terms>>, Denial> {
    if !core.environments.contains(&record.environment) {
        return Err(Denial::of(DenialKind::Unknown));
    }
    let unknown = |unknown| Denial::operator(Problem::Unknown(unknown)).of_key(record);
    core.plans.keep(record).map_err(unknown)
}

/// A browser asks whether it may ask: a true CORS preflight, which bears no key.
fn is_preflight(view: &RequestView<'_>) -> bool {
    view.method() == "OPTIONS"
        && matches!(view.field(&ORIGIN), Occurs::Once(_))
        && matches!(view.field(&ACCESS_CONTROL_REQUEST_METHOD), Occurs::Once(_))
}

#[cold]
fn not_asked_for() -> Denial {
    Denial::store(StoreError::corrupt("the store found the record of another key"))
}

#[cold]
fn no_key_yet() -> Denial {
    Denial::operator(Problem::NoKeyYet)
}
