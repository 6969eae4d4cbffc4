//! The decision on one request: a straight walk through the checks that keeps its place while a back end is asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::gate::admission::{Admission, Entry};
use crate::gate::denial::Cause;
use crate::gate::hold::Hold;
use crate::gate::terms::Terms;
use crate::gate::{Check, Core, checks};
use crate::key::{Finding, find_key};
use crate::ledger::{Charge, Charged};
use crate::limit::{Draw, Quota, Standing};
use crate::request::Occurs;
use crate::rule::{Cost, Uncountable, is_odd};
use crate::{
    Allowance, Credits, Denial, DenialKind, KeyHash, KeyRecord, Now, RequestView, StoreError, StoreFuture,
};

/// Where a decision stands. It borrows nothing: the request is shown to it anew whenever it is polled.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    opened: bool,
    place: usize,
    odd: bool,
    rule: usize,
    source: usize,
    hash: Option<KeyHash>,
    known: Option<Known>,
    standing: Option<Standing>,
    charge: Charging,
    denial: Option<Denial>,
    finding: Option<StoreFuture<Option<Arc<KeyRecord>>>>,
    drawing: Option<StoreFuture<Quota>>,
    returning: Option<StoreFuture<()>>,
}

/// What is known once the key is found.
#[derive(Debug)]
struct Known {
    record: Arc<KeyRecord>,
    /// The key's terms, where the record does not point to them.
    own: Option<Arc<Terms>>,
    now: Now,
}

impl Known {
    fn terms<'k>(&'k self, core: &'k Core) -> Option<&'k Terms> {
        self.own.as_deref().or_else(|| core.plans.kept(&self.record))
    }

    fn share_terms(&self, core: &Core) -> Option<Arc<Terms>> {
        self.own.clone().or_else(|| core.plans.share_kept(&self.record))
    }
}

/// A charge, from its asking on.
#[derive(Debug, Default)]
struct Charging {
    hold: Option<Hold>,
    asked: Option<StoreFuture<Charged>>,
    balance: Option<Credits>,
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
        while self.denial.is_none()
            && let Some(&check) = core.order.get(self.place)
        {
            match ready!(self.make(check, core, cx, view)) {
                Ok(()) => self.place += 1,
                Err(denial) => self.refuse(denial),
            }
        }
        self.end(cx)
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

    fn make(
        &mut self,
        check: Check,
        core: &Arc<Core>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        let ruled = core.rules.at(self.rule);
        let Some((known, terms)) = self.known.as_ref().and_then(|known| Some((known, known.terms(core)?))) else {
            return match check {
                Check::Format => Poll::Ready(self.present(core, view)),
                Check::LookUp => self.look_up(core, cx),
                // The order of checks is validated at start-up: this is never reached, and refuses if it is.
                _ => Poll::Ready(Err(no_key_yet())),
            };
        };
        let (record, account) = (&known.record, &known.record.account);
        Poll::Ready(match check {
            Check::Format | Check::LookUp => Ok(()),
            Check::KeyStatus => checks::key_status(record, known.now.wall()),
            Check::AccountStatus => checks::account_status(account),
            Check::Subscription => checks::subscription(account, ruled),
            Check::Agreements => checks::agreements(account, ruled),
            Check::Addresses => checks::addresses(record, core, view),
            Check::Scopes => checks::scopes(record, ruled, self.odd, view.path()),
            Check::Plan => checks::plan(terms, ruled),
            Check::Caps => checks::caps(terms, view),
            // What an outer gate has drawn and charged is neither drawn nor charged again.
            _ if view.admitted() == Some(record.id) => Ok(()),
            Check::RateLimits if terms.quotas.is_empty() => Ok(()),
            Check::RateLimits => return draw(&mut self.drawing, &mut self.standing, known, terms, core, cx),
            Check::Credits => match price(&ruled.rule.cost, terms, view) {
                Ok(Credits::ZERO) => Ok(()),
                Ok(cost) => return charge(&mut self.charge, cost, known, terms, core, cx),
                Err(denial) => Err(denial),
            },
        })
    }

    /// The key that the request presents, if it has the shape of one, as its hash.
    fn present(&mut self, core: &Core, view: &RequestView<'_>) -> Result<(), Denial> {
        let (finding, source) = find_key(&core.sources, view, core.refuse_conflicts);
        let key = match finding {
            Finding::Key(key) => key,
            Finding::Absent => return Err(Denial::of(DenialKind::Missing)),
            Finding::Malformed | Finding::Foreign => return Err(Denial::of(DenialKind::Malformed)),
            Finding::Twice => return Err(Denial::of(DenialKind::Duplicate)),
        };
        let bytes = key.as_bytes();
        let literal = || core.literals.iter().any(|literal| literal.as_bytes() == bytes);
        if !core.formats.iter().any(|format| format.accepts(bytes)) && !literal() {
            return Err(Denial::of(DenialKind::InvalidFormat));
        }
        self.source = source;
        self.hash = Some(core.hasher.hash(bytes));
        checks::early_data(core, view, core.rules.at(self.rule).rule.cost.is_free())
    }

    fn look_up(&mut self, core: &Core, cx: &mut Context<'_>) -> Poll<Result<(), Denial>> {
        let Some(hash) = self.hash else { return Poll::Ready(Err(no_key_yet())) };
        let found = ready!(resume(&mut self.finding, || core.store.find(&hash), cx));
        Poll::Ready(match found {
            Err(error) => Err(Denial::store(error)),
            Ok(None) => Err(Denial::of(DenialKind::Unknown)),
            Ok(Some(record)) if record.hash != hash => {
                Err(Denial::store(StoreError::corrupt("the store found the record of another key")))
            }
            Ok(Some(record)) if !core.environments.contains(&record.environment) => {
                Err(Denial::of(DenialKind::Unknown))
            }
            Ok(Some(record)) => self.found(record, core),
        })
    }

    fn found(&mut self, record: Arc<KeyRecord>, core: &Core) -> Result<(), Denial> {
        let own = match core.plans.kept(&record) {
            Some(_) => None,
            None => Some(core.plans.terms_of(&record).map_err(|unknown| {
                Denial::operator(unknown.to_string()).of_key(Some(record.id))
            })?),
        };
        self.known = Some(Known { record, own, now: core.clock.now() });
        Ok(())
    }

    fn refuse(&mut self, denial: Denial) {
        self.returning = self.charge.hold.take().map(Hold::refund);
        self.denial = Some(match &self.known {
            Some(known) => denial.of_key(Some(known.record.id)),
            None => denial,
        });
    }

    fn end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Admission, Denial>> {
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
            (None, Some(known)) => Ok(Admission::keyed(Entry {
                record: known.record,
                terms: known.own,
                hold: self.charge.hold.take(),
                balance: self.charge.balance,
                standing: self.standing.take(),
                source: self.source,
            })),
        })
    }
}

fn draw(
    drawing: &mut Option<StoreFuture<Quota>>,
    standing: &mut Option<Standing>,
    known: &Known,
    terms: &Terms,
    core: &Core,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Denial>> {
    let ask = || core.limiter.draw(&Draw::new(&known.record, &terms.quotas, known.now));
    Poll::Ready(match ready!(resume(drawing, ask, cx)) {
        Err(error) => Err(Denial::store(error)),
        Ok(Quota::Within(least)) => {
            *standing = Some(least);
            Ok(())
        }
        Ok(Quota::Exceeded { retry_after, standing }) => {
            let cause = match known.share_terms(core) {
                Some(terms) => Cause::Wait { retry_after, standing, terms },
                None => Cause::None,
            };
            Err(Denial::because(DenialKind::RateLimited, cause))
        }
    })
}

/// What the request costs the account: nothing where its plan has no limit.
fn price(cost: &Cost, terms: &Terms, view: &RequestView<'_>) -> Result<Credits, Denial> {
    match cost.of(view.query()) {
        Ok(_) if terms.plan.credits == Allowance::Unlimited => Ok(Credits::ZERO),
        Ok(cost) => Ok(cost),
        Err(Uncountable::Asked(breach)) => Err(Denial::parameter(breach)),
        Err(Uncountable::TooMuch) => Err(Denial::of(DenialKind::BadRequest)),
    }
}

fn charge(
    charging: &mut Charging,
    cost: Credits,
    known: &Known,
    terms: &Terms,
    core: &Arc<Core>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Denial>> {
    let record = &known.record;
    // The charge is held before it is asked for: whatever cuts the wait short gives it back.
    let hold = charging
        .hold
        .get_or_insert_with(|| Hold::new(Arc::clone(core), Arc::clone(record), core.charge_ids.next(), cost));
    let charge = Charge::new(hold.id(), &record.account, cost, &terms.plan.credits, known.now);
    Poll::Ready(match ready!(resume(&mut charging.asked, || core.ledger.charge(&charge), cx)) {
        Err(error) => Err(Denial::store(error)),
        Ok(Charged::Posted { balance }) => {
            charging.balance = balance;
            Ok(())
        }
        Ok(Charged::Insufficient { balance }) => {
            charging.hold.take().map(Hold::void);
            Err(Denial::because(DenialKind::CreditsExhausted, Cause::Balance { balance, cost }))
        }
    })
}

/// A future that is asked for once and polled until it is done.
fn resume<T>(
    pending: &mut Option<StoreFuture<T>>,
    start: impl FnOnce() -> StoreFuture<T>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, StoreError>> {
    let mut future = pending.take().unwrap_or_else(start);
    let polled = Pin::new(&mut future).poll(cx);
    if polled.is_pending() {
        *pending = Some(future);
    }
    polled
}

/// A browser asks whether it may ask: a true CORS preflight, which bears no key.
fn is_preflight(view: &RequestView<'_>) -> bool {
    view.method() == "OPTIONS"
        && matches!(view.field(&ORIGIN), Occurs::Once(_))
        && matches!(view.field(&ACCESS_CONTROL_REQUEST_METHOD), Occurs::Once(_))
}

fn no_key_yet() -> Denial {
    Denial::operator("a check was made before the key was found".into())
}
