//! The checks without side effects. Each is a pure function of the request, the record and the rule.

use std::sync::Arc;

use http::HeaderName;

use crate::account::Terms;
use crate::account::{AccountStatus, Subscription};
use crate::clock::Timestamp;
use crate::denial::Cause;
use crate::denial::{Denial, DenialKind};
use crate::gate::{Check, Core};
use crate::key::{KeyRecord, KeyStatus};
use crate::network::contains;
use crate::request::RequestView;
use crate::rule::{CompiledRule, Purpose, ScopeRule};
use crate::trace;

type Verdict = Result<(), Denial>;

#[inline]
fn require(holds: bool, kind: DenialKind) -> Verdict {
    if holds { Ok(()) } else { Err(Denial::of(kind)) }
}

/// The inputs of the checks on a request and its key.
pub(super) struct CheckContext<'d> {
    pub(super) core: &'d Core,
    pub(super) record: &'d KeyRecord,
    /// True if the presented secret is the key's previous one.
    pub(super) retiring: bool,
    pub(super) compiled: &'d Arc<CompiledRule>,
    pub(super) odd: bool,
    pub(super) now: Timestamp,
    pub(super) view: &'d RequestView<'d>,
}

impl CheckContext<'_> {
    /// Returns true if all these checks pass. If `passed_rules`, skips the checks that depend only on the record, its
    /// account and the rule. These never change, and the record has passed them before.
    #[inline]
    pub(super) fn all_pass(&self, terms: &Terms, passed_rules: bool) -> bool {
        self.key_status().is_ok()
            && (passed_rules || self.account_and_rule_pass(terms))
            && self.addresses().is_ok()
            && self.caps(terms).is_ok()
    }

    #[inline(never)]
    fn account_and_rule_pass(&self, terms: &Terms) -> bool {
        self.account_status().is_ok()
            && self.subscription().is_ok()
            && self.agreements().is_ok()
            && self.scopes().is_ok()
            && self.plan(terms).is_ok()
    }

    /// Makes one check. Called in the gate's order after a check has failed, so that the first failing check determines
    /// the denial.
    #[cold]
    pub(super) fn make(&self, terms: &Terms, check: Check) -> Verdict {
        self.make_without_terms(check).unwrap_or_else(|| match check {
            Check::Plan => self.plan(terms),
            Check::ParamLimits => self.caps(terms),
            _ => Ok(()),
        })
    }

    /// Makes one check that needs only the request, the record and the rule. Returns `None` for a check that needs the
    /// key's terms.
    #[cold]
    pub(super) fn make_without_terms(&self, check: Check) -> Option<Verdict> {
        Some(match check {
            Check::Format | Check::LookUp => Ok(()),
            Check::KeyStatus => self.key_status(),
            Check::AccountStatus => self.account_status(),
            Check::Subscription => self.subscription(),
            Check::Agreements => self.agreements(),
            Check::Addresses => {
                if self.record.allowlist.is_some() && self.core.proxies.client(self.view).is_none() {
                    trace::address_unknown(self.record.id);
                }
                self.addresses()
            }
            Check::Scopes => self.scopes(),
            Check::Plan | Check::ParamLimits | Check::InFlight | Check::RateLimits | Check::Credits => {
                return None;
            }
        })
    }

    #[inline]
    fn key_status(&self) -> Verdict {
        // The secret from before a rotation is valid until the end of the overlap, to the millisecond.
        let Self { record, now, .. } = self;
        let outlived = || record.retiring.is_some_and(|old| *now >= old.until);
        match record.status {
            _ if self.retiring && outlived() => Err(Denial::of(DenialKind::Revoked)),
            KeyStatus::Revoked => Err(Denial::of(DenialKind::Revoked)),
            _ if record.has_expired(*now) => Err(Denial::of(DenialKind::Expired)),
            KeyStatus::Paused => Err(Denial::of(DenialKind::Paused)),
            KeyStatus::Active => Ok(()),
        }
    }

    fn account_status(&self) -> Verdict {
        match self.record.account.status {
            AccountStatus::Active => Ok(()),
            AccountStatus::Suspended => Err(Denial::of(DenialKind::AccountSuspended)),
            AccountStatus::Deleted => Err(Denial::of(DenialKind::AccountDeleted)),
        }
    }

    fn subscription(&self) -> Verdict {
        let paid = self.record.account.subscription == Some(Subscription::Active);
        require(paid || !self.compiled.rule.subscription, DenialKind::SubscriptionRequired)
    }

    fn agreements(&self) -> Verdict {
        let signed = &self.record.account.agreements;
        let unsigned = self.compiled.rule.agreements.iter().find(|agreement| !signed.contains(*agreement));
        match unsigned {
            None => Ok(()),
            Some(agreement) => {
                Err(Denial::because(DenialKind::AgreementRequired, Cause::Agreement(agreement.clone())))
            }
        }
    }

    #[inline]
    fn addresses(&self) -> Verdict {
        let Some(allowlist) = &self.record.allowlist else { return Ok(()) };
        let client = self.core.proxies.client(self.view);
        let allowed = client.is_some_and(|client| allowlist.iter().any(|network| contains(network, client)));
        require(allowed, DenialKind::AddressNotAllowed)?;
        // Early data is denied here, because a replay appears to come from the address that first sent it.
        require(!is_early(self.core, self.view), DenialKind::TooEarly)
    }

    /// Checks the key's restrictions. The key's paths must cover the request's path, and its scopes must include the
    /// scopes that the rule names. An odd path is never covered and has no scope rule. A rule that denies every key
    /// admits none.
    fn scopes(&self) -> Verdict {
        let Self { record, compiled, .. } = self;
        require(!compiled.refuses, DenialKind::RouteDenied)?;
        if !record.is_restricted() || compiled.rule.purpose == Purpose::Usage {
            return Ok(());
        }
        let path = self.view.path();
        let covered =
            record.paths.as_ref().is_none_or(|paths| paths.iter().any(|pattern| pattern.covers(path)));
        require(covered && !self.odd, DenialKind::NotGranted)?;
        match &record.scopes {
            None => Ok(()),
            Some(held) if compiled.rule.scopes.admits(held) => Ok(()),
            Some(_) if compiled.rule.scopes == ScopeRule::Unnamed => Err(Denial::of(DenialKind::NotGranted)),
            Some(_) => Err(Denial::because(DenialKind::ScopeRequired, Cause::Scopes(Arc::clone(compiled)))),
        }
    }

    fn plan(&self, terms: &Terms) -> Verdict {
        let (compiled, plan) = (self.compiled, &terms.plan);
        let high_enough = compiled.min_rank.is_none_or(|least| plan.rank.is_some_and(|rank| rank >= least));
        let open = high_enough || compiled.rule.open_to.contains(&plan.name);
        if open && !compiled.rule.closed_to.contains(&plan.name) {
            Ok(())
        } else {
            Err(Denial::because(DenialKind::PlanRequired, Cause::Plan(Arc::clone(compiled))))
        }
    }

    #[inline]
    fn caps(&self, terms: &Terms) -> Verdict {
        if terms.caps.is_empty() {
            return Ok(());
        }
        terms.caps.breach(self.view.query()).map_or(Ok(()), |breach| Err(Denial::parameter(breach)))
    }
}

/// Denies early data unless a replay is harmless, because early data can be replayed (RFC 8470). This check precedes
/// the key's look-up, so that the denial reveals nothing about the key.
#[inline]
pub(super) fn early_data(core: &Core, view: &RequestView<'_>, free: bool) -> Verdict {
    let harmless = free && matches!(view.method(), "GET" | "HEAD" | "OPTIONS");
    require(harmless || !is_early(core, view), DenialKind::TooEarly)
}

/// Returns true if a trusted proxy marks the request as early data.
#[inline]
fn is_early(core: &Core, view: &RequestView<'_>) -> bool {
    static EARLY_DATA: HeaderName = HeaderName::from_static("early-data");
    core.proxies.trusts_peer(view) && view.field(&EARLY_DATA) != crate::request::HeaderCount::Never
}
