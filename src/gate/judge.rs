//! The judgement on a key that was found.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::gate::Check;
use crate::gate::ask::{Taking, metered, price};
use crate::gate::checks::Facts;
use crate::gate::decision::{Decision, no_key_yet};
use crate::gate::entry::Entry;
use crate::rule::Ruled;
use crate::{Denial, RequestView};

impl Decision {
    /// Makes the checks from where the decision stands. Mostly all hold that only look: then what takes something is all
    /// that is left of their order. Else they are made one by one, since what comes first decides, and may have taken
    /// something when another refuses.
    #[inline]
    pub(super) fn judge(
        &mut self,
        ruled: &Arc<Ruled>,
        cx: &mut Context<'_>,
        view: &RequestView<'_>,
    ) -> Poll<Result<(), Denial>> {
        let (Some(Entry { found, tab, .. }), Some(now)) = (&mut self.admission.0, self.now) else {
            return Poll::Ready(Err(no_key_yet()));
        };
        let Some(terms) = found.terms() else { return Poll::Ready(Err(no_key_yet())) };
        let (record, core) = (&*found.record, &*found.core);
        let (hash, odd) = (self.hash.as_ref(), self.odd);
        let facts = Facts { core, record, hash, terms, ruled, odd, now: now.wall(), view };
        let held = *self.held.get_or_insert_with(|| facts.hold(self.cleared));
        let checks = if held { &core.checks.taking } else { &core.checks.every };
        let mut taking = Taking { asked: &mut self.asked, tab, found, terms, now };
        while let Some(&check) = checks.get(self.place) {
            match check {
                // What an outer gate has drawn and charged is neither drawn nor charged again.
                Check::RateLimits if self.drawn || terms.quotas.is_empty() => {}
                Check::Credits if self.charged => {}
                Check::RateLimits => {
                    let next = checks.get(self.place + 1).filter(|_| !self.charged);
                    match metered(core, next, || price(ruled, terms, view)) {
                        Some(both) => {
                            ready!(taking.draw_and_charge(both, cx))?;
                            self.place += 1;
                        }
                        None => ready!(taking.draw(cx))?,
                    }
                }
                Check::Credits => {
                    let cost = price(ruled, terms, view)?;
                    if !cost.is_zero() {
                        ready!(taking.charge(cost, cx))?;
                    }
                }
                looking => facts.make(looking)?,
            }
            self.place += 1;
        }
        Poll::Ready(Ok(()))
    }
}
