//! What a decision asks of the back ends, once the key is found.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::account::Breach;
use crate::gate::denial::Cause;
use crate::gate::detach::detach;
use crate::gate::entry::{Found, Hold, Tab};
use crate::gate::terms::Terms;
use crate::gate::{Check, Core};
use crate::key::{Finding, find_key};
use crate::ledger::{Charge, Charged};
use crate::limit::{Draw, Quota};
use crate::rule::{Ruled, Uncountable};
use crate::{
    Allowance, ChargeId, Credits, Denial, DenialKind, KeyHash, KeyRecord, Meter, Metered, Now, RequestView,
    Standing, StoreError, StoreFuture,
};

/// What was asked and is not answered yet: nothing, where back ends are in memory.
pub(super) type Asked = Option<Box<Question>>;

/// One question to a back end.
#[derive(Debug)]
pub(super) enum Question {
    Find(StoreFuture<Option<Arc<KeyRecord>>>),
    Draw(StoreFuture<Quota>),
    Charge(StoreFuture<Charged>),
    Meter(StoreFuture<Metered>),
}

/// The answers that are waited for, as questions.
pub(super) trait Answer: Sized {
    fn question(asked: StoreFuture<Self>) -> Question;

    fn waited_for(question: &mut Question) -> Option<&mut StoreFuture<Self>>;
}

macro_rules! answers {
    ($($question:ident: $answer:ty,)+) => {
        $(impl Answer for $answer {
            fn question(asked: StoreFuture<Self>) -> Question {
                Question::$question(asked)
            }

            fn waited_for(question: &mut Question) -> Option<&mut StoreFuture<Self>> {
                if let Question::$question(asked) = question { Some(asked) } else { None }
            }
        })+
    };
}

answers! {
    Find: Option<Arc<KeyRecord>>,
    Draw: Quota,
    Charge: Charged,
    Meter: Metered,
}

/// An answer that is asked for once, waited for until it is there, and read where it lies: a copy of what was only just
/// written would have to wait for it.
#[inline]
pub(super) fn resume<T: Answer, R>(
    asked: &mut Asked,
    ask: impl FnOnce() -> StoreFuture<T>,
    cx: &mut Context<'_>,
    read: impl FnOnce(&mut T) -> Result<R, Denial>,
) -> Poll<Result<R, Denial>> {
    let waited = if asked.is_none() {
        let mut future = ask();
        if let Some(answer) = future.answer_mut() {
            return Poll::Ready(read(answer));
        }
        begin(asked, future, cx)
    } else {
        wait(asked, cx)
    };
    Poll::Ready(match ready!(waited) {
        Ok(mut answer) => read(&mut answer),
        Err(error) => Err(Denial::store(error)),
    })
}

#[cold]
fn begin<T: Answer>(
    asked: &mut Asked,
    mut future: StoreFuture<T>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, StoreError>> {
    if let Some(answer) = future.take_ready() {
        return Poll::Ready(answer);
    }
    *asked = Some(Box::new(T::question(future)));
    wait(asked, cx)
}

#[cold]
fn wait<T: Answer>(asked: &mut Asked, cx: &mut Context<'_>) -> Poll<Result<T, StoreError>> {
    // The walk keeps its place, so that the question is the one that was asked there.
    let Some(future) = asked.as_mut().and_then(|question| T::waited_for(question)) else {
        return Poll::Pending;
    };
    let answer = ready!(Pin::new(future).poll(cx));
    *asked = None;
    Poll::Ready(answer)
}

/// Puts a key that was found under an older hash under the newest, and tells that. Where it fails, the next use tries
/// again.
pub(super) fn renew_hash(record: &KeyRecord, core: &Core, view: &RequestView<'_>) -> Option<Box<KeyHash>> {
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

/// What a decision takes for a key that was found, and where it notes that.
pub(super) struct Taking<'d> {
    pub(super) asked: &'d mut Asked,
    pub(super) tab: &'d mut Tab,
    pub(super) found: &'d Found,
    pub(super) terms: &'d Terms,
    pub(super) now: Now,
}

impl Taking<'_> {
    /// Takes a cell from every window.
    #[inline]
    pub(super) fn draw(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Denial>> {
        let Self { asked, tab, found, terms, now } = self;
        let ask = || found.core.limiter.draw(&Draw::new(&found.record, &terms.quotas, *now));
        resume(asked, ask, cx, |drawn| match drawn {
            Quota::Within(least) => {
                within(tab, &found.core, least);
                Ok(())
            }
            Quota::Exceeded { retry_after, standing } => Err(exceeded(found, *retry_after, standing)),
        })
    }

    /// Takes the cost from the account.
    #[inline]
    pub(super) fn charge(&mut self, cost: Credits, cx: &mut Context<'_>) -> Poll<Result<(), Denial>> {
        let Self { asked, tab, found, terms, now } = self;
        let (core, account) = (&found.core, &found.record.account);
        let id = hold(tab, core, cost);
        let ask = || core.ledger.charge(&Charge::new(id, account, cost, &terms.plan.credits, *now));
        resume(asked, ask, cx, |charged| charged_to(tab, cost, charged))
    }

    /// Takes a cell from every window, and then the cost from the account, in one call of what keeps both.
    pub(super) fn draw_and_charge(
        &mut self,
        (meter, cost): (&dyn Meter, Credits),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Denial>> {
        let Self { asked, tab, found, terms, now } = self;
        let id = hold(tab, &found.core, cost);
        let ask = || {
            let charge = Charge::new(id, &found.record.account, cost, &terms.plan.credits, *now);
            meter.draw_and_charge(&Draw::new(&found.record, &terms.quotas, *now), &charge)
        };
        resume(asked, ask, cx, |metered| match metered {
            Metered::Drawn { standing, charged } => {
                within(tab, &found.core, standing);
                charged_to(tab, cost, charged)
            }
            Metered::Exceeded { retry_after, standing } => {
                tab.hold = None;
                Err(exceeded(found, *retry_after, standing))
            }
        })
    }
}

/// Notes how the windows stand, where anybody is told.
#[inline]
fn within(tab: &mut Tab, core: &Core, least: &Standing) {
    if core.tells_standing() {
        tab.standing = Some(least.clone());
    }
}

#[cold]
fn exceeded(found: &Found, retry_after: Duration, standing: &Standing) -> Denial {
    let cause = match found.share_terms() {
        Some(terms) => Cause::Wait { retry_after, standing: standing.clone(), terms },
        None => Cause::None,
    };
    Denial::because(DenialKind::RateLimited, cause)
}

/// What the request costs the account: nothing where its plan has no limit.
#[inline]
pub(super) fn price(ruled: &Ruled, terms: &Terms, view: &RequestView<'_>) -> Result<Credits, Denial> {
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
pub(super) fn metered<'c>(
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
fn charged_to(tab: &mut Tab, cost: Credits, charged: &Charged) -> Result<(), Denial> {
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
