//! The decision on one request: a straight walk through the checks that keeps its place while a back end is asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::gate::admission::{Admission, Entry};
use crate::gate::ask::{Charging, Known, charge, draw, price, renew_hash, resume};
use crate::gate::denial::Problem;
use crate::gate::hold::Hold;
use crate::gate::{Check, Core, checks};
use crate::key::{Finding, find_key};
use crate::limit::{Quota, Standing};
use crate::request::Occurs;
use crate::rule::is_odd;
use crate::{Denial, DenialKind, KeyHash, KeyRecord, RequestView, StoreError, StoreFuture};

/// Where a decision stands. It borrows nothing: the request is shown to it anew whenever it is polled.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    opened: bool,
    place: usize,
    odd: bool,
    rule: usize,
    source: usize,
    /// How often the key was looked for before: under the schemes in their order, and once more under the first.
    tries: usize,
    hash: Option<KeyHash>,
    known: Option<Known>,
    standing: Option<Standing>,
    charge: Charging,
    denial: Option<Denial>,
    finding: Option<StoreFuture<Option<Arc<KeyRecord>>>>,
    drawing: Option<StoreFuture<Quota>>,
    returning: Option<StoreFuture<()>>,
}

impl Decision {
    pub(crate) fn poll(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<Admission, Denial>> {
        if !self.opened {
            self.opened = true;
            match self.open(core, view) {
                Ok(true) => return Poll::Ready(Ok(Admission::public())),
                Ok(false) => {}
                Err(denial) => return Poll::Ready(Err(denial)),
            }
        }
        if self.denial.is_none()
            && let Err(denial) = ready!(self.walk(core, cx, view))
        {
            self.refuse(denial);
        }
        self.end(core, cx, view)
    }

    /// What is decided without a key: whether the request is one at all, and whether it is public.
    fn open(&mut self, core: &Core, view: &RequestView<'_>) -> Result<bool, Denial> {
        if !view.path().starts_with('/') {
            return Err(Denial::of(DenialKind::BadRequest));
        }
        if view.method() == "TRACE" {
            return Err(Denial::of(DenialKind::MethodNotAllowed));
        }
        self.odd = is_odd(view.path());
        let ruled = core.rules.find(view.method(), view.path());
        self.rule = ruled.unwrap_or_else(|| core.rules.otherwise());
        let public = core.rules.at(self.rule).rule.public && !self.odd;
        Ok(public || (core.preflights && is_preflight(view)))
    }

    /// Makes the checks from where the decision stands.
    fn walk(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        while self.known.is_none() {
            match core.order.get(self.place) {
                Some(Check::Format) => self.present(core, view)?,
                Some(Check::LookUp) => ready!(self.look_up(core, cx, view))?,
                // The order of checks is validated at start-up: this is never reached, and refuses if it is.
                _ => return Poll::Ready(Err(no_key_yet())),
            }
            self.place += 1;
        }
        self.judge(core, cx, view)
    }

    /// Makes the checks on the key that was found.
    fn judge(
        &mut self,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        let Some((known, terms)) = self.known.as_ref().and_then(|known| Some((known, known.terms(core)?)))
        else {
            return Poll::Ready(Err(no_key_yet()));
        };
        let (record, account, ruled) = (&known.record, &known.record.account, core.rules.at(self.rule));
        while let Some(&check) = core.order.get(self.place) {
            match check {
                Check::Format | Check::LookUp => {}
                Check::KeyStatus => checks::key_status(record, self.hash.as_ref(), known.now.wall())?,
                Check::AccountStatus => checks::account_status(account)?,
                Check::Subscription => checks::subscription(account, ruled)?,
                Check::Agreements => checks::agreements(account, ruled)?,
                Check::Addresses => checks::addresses(record, core, view)?,
                Check::Scopes => checks::scopes(record, ruled, self.odd, view.path())?,
                Check::Plan => checks::plan(terms, ruled)?,
                Check::Caps => checks::caps(terms, view)?,
                // What an outer gate has drawn and charged is neither drawn nor charged again.
                Check::RateLimits if known.outer.is_some_and(|outer| outer.drawn) => {}
                Check::Credits if known.outer.is_some_and(|outer| outer.charged) => {}
                Check::RateLimits if terms.quotas.is_empty() => {}
                Check::RateLimits => {
                    ready!(draw(&mut self.drawing, &mut self.standing, known, terms, core, cx))?;
                }
                Check::Credits => {
                    let cost = price(ruled, terms, view)?;
                    if !cost.is_zero() {
                        ready!(charge(&mut self.charge, cost, known, terms, core, cx))?;
                    }
                }
            }
            self.place += 1;
        }
        Poll::Ready(Ok(()))
    }

    /// The key that the request presents, if it has the shape of one, as its hash.
    fn present(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let (finding, source) = find_key(&core.sources, view, core.refuse_conflicts);
        let key = match finding {
            Finding::Key(key) => key,
            Finding::Absent => return self.present_taken(core, view),
            Finding::Malformed | Finding::Foreign => return Err(Denial::of(DenialKind::Malformed)),
            Finding::Twice => return Err(Denial::of(DenialKind::Duplicate)),
        };
        let bytes = key.as_bytes();
        if !core.formats.iter().any(|format| format.accepts(bytes)) && !core.is_literal(bytes) {
            return Err(Denial::of(DenialKind::InvalidFormat));
        }
        self.source = source;
        self.hash = Some(core.hasher_of_try(self.tries).hash(bytes));
        checks::early_data(core, view, core.rules.at(self.rule).rule.cost.is_free())
    }

    /// The key that an outer gate took out of the request, as its hash: it stands in no source.
    fn present_taken(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let hash = view.taken().and_then(|taken| taken.hash(core, core.hasher_of_try(self.tries)));
        (self.source, self.hash) = (usize::MAX, Some(hash.ok_or_else(|| Denial::of(DenialKind::Missing))?));
        checks::early_data(core, view, core.rules.at(self.rule).rule.cost.is_free())
    }

    fn look_up(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        loop {
            let Some(hash) = self.hash else { return Poll::Ready(Err(no_key_yet())) };
            let found = ready!(resume(&mut self.finding, || core.store.find(&hash), cx));
            return Poll::Ready(match found {
                Err(error) => Err(Denial::store(error)),
                // Older schemes are tried in their order: each takes a look-up of its own.
                Ok(None) if self.tries + 1 < core.tries() => {
                    self.tries += 1;
                    match self.present(core, view) {
                        Ok(()) => continue,
                        Err(denial) => Err(denial),
                    }
                }
                Ok(None) => Err(Denial::of(DenialKind::Unknown)),
                Ok(Some(record)) if !record.has_hash(&hash) => {
                    Err(Denial::store(StoreError::corrupt("the store found the record of another key")))
                }
                Ok(Some(record)) if !core.environments.contains(&record.environment) => {
                    Err(Denial::of(DenialKind::Unknown))
                }
                Ok(Some(record)) => self.found(record, core, view),
            });
        }
    }

    fn found(&mut self, record: Arc<KeyRecord>, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let own =
            match core.plans.kept(&record) {
                Some(_) => None,
                None => Some(core.plans.terms_of(&record).map_err(|unknown| {
                    Denial::operator(Problem::Unknown(unknown)).of_key(Some(record.id))
                })?),
            };
        let outer = view.admitted().filter(|outer| outer.is_for(&record));
        self.known = Some(Known { record, own, outer, now: core.clock.now() });
        Ok(())
    }

    fn refuse(&mut self, denial: Denial) {
        self.returning = self.charge.hold.take().map(Hold::refund);
        self.denial = Some(match &self.known {
            Some(known) => denial.of_key(Some(known.record.id)),
            None => denial,
        });
    }

    fn end(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<Admission, Denial>> {
        if let Some(returning) = &mut self.returning {
            // A refund that fails leaves the charge open, for the ledger's sweep; the refusal stands all the same.
            if let Err(error) = ready!(Pin::new(returning).poll(cx)) {
                crate::trace::unsettled(&error);
            }
            self.returning = None;
        }
        Poll::Ready(match (self.denial.take(), self.known.take()) {
            (Some(denial), _) => Err(denial),
            (None, None) => Err(no_key_yet()),
            (None, Some(known)) => Ok(self.admit(known, core, view)),
        })
    }

    fn admit(&mut self, known: Known, core: &Core, view: &RequestView<'_>) -> Admission {
        core.uses.note(&known.record, known.now.wall());
        if !self.tries.is_multiple_of(core.hashers.len()) {
            renew_hash(&known.record, core, view);
        }
        Admission::keyed(Entry {
            record: known.record,
            terms: known.own,
            hold: self.charge.hold.take(),
            balance: self.charge.balance,
            standing: self.standing.take(),
            source: self.source,
        })
    }
}

/// A browser asks whether it may ask: a true CORS preflight, which bears no key.
fn is_preflight(view: &RequestView<'_>) -> bool {
    view.method() == "OPTIONS"
        && matches!(view.field(&ORIGIN), Occurs::Once(_))
        && matches!(view.field(&ACCESS_CONTROL_REQUEST_METHOD), Occurs::Once(_))
}

fn no_key_yet() -> Denial {
    Denial::operator(Problem::NoKeyYet)
}
