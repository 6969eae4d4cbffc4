//! What a decision asks of the back ends, once the key is found.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::account::Breach;
use crate::gate::denial::Cause;
use crate::gate::hold::{Hold, detach};
use crate::gate::terms::Terms;
use crate::gate::{Admitted, Core};
use crate::key::{Finding, find_key};
use crate::ledger::{Charge, Charged};
use crate::limit::{Draw, Quota, Standing};
use crate::rule::{Ruled, Uncountable};
use crate::{Allowance, Credits, Denial, DenialKind, KeyRecord, Now, RequestView, StoreError, StoreFuture};

/// What is known once the key is found.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: Arc<KeyRecord>,
    /// The key's terms, where the record does not point to them.
    pub(super) own: Option<Arc<Terms>>,
    /// What an outer gate has done for this key already.
    pub(super) outer: Option<Admitted>,
    pub(super) now: Now,
}

impl Known {
    pub(super) fn terms<'k>(&'k self, core: &'k Core) -> Option<&'k Terms> {
        self.own.as_deref().or_else(|| core.plans.kept(&self.record))
    }

    fn share_terms(&self, core: &Core) -> Option<Arc<Terms>> {
        self.own.clone().or_else(|| core.plans.share_kept(&self.record))
    }
}

/// A charge, from its asking on.
#[derive(Debug, Default)]
pub(super) struct Charging {
    pub(super) hold: Option<Hold>,
    asked: Option<StoreFuture<Charged>>,
    pub(super) balance: Option<Credits>,
}

/// A future that is asked for once and polled until it is done.
pub(super) fn resume<T>(
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

/// Puts a key that was found under an older hash under the newest. Where that fails, the next use tries again.
pub(super) fn renew_hash(record: &KeyRecord, core: &Core, view: &RequestView<'_>) {
    let (Some(authority), (Finding::Key(key), _)) =
        (&core.authority, find_key(&core.sources, view, core.refuse_conflicts))
    else {
        return;
    };
    let mut renewed = record.clone();
    // The secret that is on its way out stays under its old hash, for as long as it lasts.
    if core.hashers.iter().any(|hasher| record.is_retiring(&hasher.hash(key.as_bytes()))) {
        return;
    }
    renewed.hash = core.hashers[0].hash(key.as_bytes());
    detach(authority.replace(&renewed));
}

pub(super) fn draw(
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

pub(super) fn charge(
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
            if let Some(unpaid) = charging.hold.take() {
                unpaid.void();
            }
            Err(Denial::because(DenialKind::CreditsExhausted, Cause::Balance { balance, cost }))
        }
    })
}
