//! The decision on one request: a straight walk through the checks that keeps its place while a back end is asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::gate::admission::{Admission, Outcome};
use crate::gate::ask::{Asked, renew_hash, resume};
use crate::gate::denial::Problem;
use crate::gate::entry::{Entry, Found, Shown, Tab};
use crate::gate::terms::Terms;
use crate::gate::{Core, checks};
use crate::key::{Finding, find_key};
use crate::request::Occurs;
use crate::{Denial, DenialKind, KeyHash, KeyRecord, Now, RequestView, StoreError, StoreFuture};

/// Where a decision stands. It borrows nothing: the request is shown to it anew whenever it is polled.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    opened: bool,
    pub(super) odd: bool,
    /// Whether the record has passed all checks at this rule before that look at nothing else.
    pub(super) cleared: bool,
    /// What an outer gate has taken for this key already.
    pub(super) drawn: bool,
    pub(super) charged: bool,
    rule: usize,
    /// Whether all checks hold that only look; unknown until the key is found.
    pub(super) held: Option<bool>,
    /// The check behind the look-up that is waited for, or else the first.
    pub(super) place: usize,
    source: usize,
    /// How often the key was looked for before: under the schemes in their order, and once more under the first.
    tries: usize,
    pub(super) now: Option<Now>,
    pub(super) hash: Option<KeyHash>,
    pub(super) admission: Admission,
    pub(super) asked: Asked,
    /// A refusal whose charge is on its way back.
    returning: Option<Box<(StoreFuture<()>, Denial)>>,
}

impl Decision {
    /// Judges the request, or goes on with it. One that is let in is handed over by
    /// [`admission`](Self::admission).
    pub(crate) fn poll(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        if !self.opened {
            self.opened = true;
            match self.open(core, view) {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(denial) => return Poll::Ready(Err(denial)),
            }
        }
        if self.returning.is_some() {
            return self.give_back(cx);
        }
        match ready!(self.walk(core, cx, view)) {
            Ok(()) => Poll::Ready(self.admit(core, view)),
            Err(denial) => self.refuse(denial.in_source(core.sources.get(self.source)), cx),
        }
    }

    /// What a request is let in with.
    #[inline]
    pub(crate) fn admitted(&self) -> &Admission {
        &self.admission
    }

    /// The same, to be kept until the request ends.
    #[inline]
    pub(crate) fn admission(&mut self) -> Admission {
        std::mem::take(&mut self.admission)
    }

    /// What is decided without a key: whether the request is one at all, and whether it is public.
    #[inline]
    fn open(&mut self, core: &Core, view: &RequestView<'_>) -> Result<bool, Denial> {
        if !view.path().starts_with('/') {
            return Err(Denial::of(DenialKind::BadRequest));
        }
        if view.method() == "TRACE" {
            let mounted = core.mounted.as_ref().and_then(|mounted| mounted.allowed(view.path()));
            return Err(Denial::method(mounted));
        }
        (self.rule, self.odd) = core.rules.find(view.method(), view.path());
        let public = core.rules.at(self.rule).rule.public && !self.odd;
        Ok(public || (core.preflights && is_preflight(view)))
    }

    /// Makes the checks from where the decision stands.
    #[inline]
    fn walk(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        if self.admission.0.is_none() {
            if self.hash.is_none() {
                self.present(core, view)?;
            }
            ready!(self.look_up(core, cx, view))?;
        }
        self.judge(core.rules.at(self.rule), cx, view)
    }

    /// The key that the request presents, if it has the shape of one, as its hash.
    #[inline]
    fn present(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let (finding, source) = find_key(&core.sources, view, core.refuse_conflicts);
        let key = match &finding {
            Finding::Key(key) => key,
            Finding::Absent => return self.present_taken(core, view),
            Finding::Malformed | Finding::Foreign => return Err(Denial::of(DenialKind::Malformed)),
            Finding::Twice => return Err(Denial::of(DenialKind::Duplicate)),
        };
        let bytes = key.as_bytes();
        self.source = source;
        if !core.is_key(bytes) {
            return Err(Denial::of(DenialKind::InvalidFormat));
        }
        self.hash = Some(core.hasher_of_try(self.tries).hash(bytes));
        checks::early_data(core, view, core.rules.at(self.rule).rule.cost.is_free())
    }

    /// The key that an outer gate took out of the request, as its hash: it stands in no source.
    #[cold]
    fn present_taken(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let hash = view.taken().and_then(|taken| taken.hash(core, core.hasher_of_try(self.tries)));
        (self.source, self.hash) = (usize::MAX, Some(hash.ok_or_else(|| Denial::of(DenialKind::Missing))?));
        checks::early_data(core, view, core.rules.at(self.rule).rule.cost.is_free())
    }

    #[inline]
    fn look_up(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        loop {
            let Some(hash) = self.hash else { return Poll::Ready(Err(no_key_yet())) };
            let find = || core.store.find(&hash);
            match ready!(resume(&mut self.asked, find, cx, |found| Ok(found.take())))? {
                Some(record) if record.has_hash(&hash) => {
                    self.found(record, core, view)?;
                    return Poll::Ready(Ok(()));
                }
                Some(_) => return Poll::Ready(Err(not_asked_for())),
                None => self.try_next(core, view)?,
            }
        }
    }

    /// Goes on to the next scheme: older ones are tried in their order, and each takes a look-up of its own.
    #[cold]
    fn try_next(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        if self.tries + 1 >= core.tries() {
            return Err(Denial::of(DenialKind::Unknown));
        }
        self.tries += 1;
        self.present(core, view)
    }

    #[inline]
    fn found(
        &mut self,
        record: Arc<KeyRecord>,
        core: &Arc<Core>,
        view: &RequestView<'_>,
    ) -> Result<(), Denial> {
        record.fetch();
        let own = match core.plans.kept(&record) {
            Some(pass) => {
                self.cleared = !self.odd && pass.cleared.holds(self.rule);
                None
            }
            None => first_terms(&record, core)?,
        };
        if let Some(outer) = view.admitted().filter(|outer| outer.is_for(&record)) {
            (self.drawn, self.charged) = (outer.drawn, outer.charged);
        }
        self.now = Some(core.clock.now());
        let retiring = self.hash.is_some_and(|hash| record.is_retiring(&hash));
        let found = Found { core: Arc::clone(core), record, own, shown: Shown { retiring, renewed: None } };
        self.admission = Admission(Some(Entry { found, tab: Tab::default(), source: self.source }));
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, denial: Denial, cx: &mut Context<'_>) -> Poll<Result<(), Denial>> {
        let Some(entry) = &mut self.admission.0 else { return Poll::Ready(Err(denial)) };
        let denial = denial.of_key(Some(entry.record().id));
        let Some(refund) = entry.close(Outcome::Failed) else { return Poll::Ready(Err(denial)) };
        self.returning = Some(Box::new((refund, denial)));
        self.give_back(cx)
    }

    /// Waits until the charge of a refused request is back.
    fn give_back(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Denial>> {
        let Some(returning) = &mut self.returning else { return Poll::Ready(Err(no_key_yet())) };
        // A refund that fails leaves the charge open, for the ledger's sweep; the refusal stands all the same.
        if let Err(error) = ready!(Pin::new(&mut returning.0).poll(cx)) {
            crate::trace::unsettled(&error);
        }
        let denial = self.returning.take().map_or_else(no_key_yet, |returning| returning.1);
        Poll::Ready(Err(denial))
    }

    #[inline]
    fn admit(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let (Some(entry), Some(now)) = (&mut self.admission.0, self.now) else { return Err(no_key_yet()) };
        // The one past the last was the newest again.
        if self.tries != 0 && self.tries != core.hashers.len() {
            entry.found.shown.renewed = renew_hash(&entry.found.record, core, view);
        }
        let Found { record, .. } = &entry.found;
        core.uses.note(record, now.wall());
        if !self.cleared
            && !self.odd
            && let Some(pass) = entry.found.pass()
            && record.covers_all_of(core.rules.at(self.rule).rule.pattern())
        {
            pass.cleared.add(self.rule);
        }
        Ok(())
    }
}

/// What a record comes to that does not point to it yet; where it does from now on, that is where it stands.
#[cold]
fn first_terms(record: &KeyRecord, core: &Core) -> Result<Option<Arc<Terms>>, Denial> {
    if !core.environments.contains(&record.environment) {
        return Err(Denial::of(DenialKind::Unknown));
    }
    let unknown = |unknown| Denial::operator(Problem::Unknown(unknown)).of_key(Some(record.id));
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
pub(super) fn no_key_yet() -> Denial {
    Denial::operator(Problem::NoKeyYet)
}
