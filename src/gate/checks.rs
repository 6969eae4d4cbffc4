//! The checks that need no back end: each a pure function of what is known.

use http::HeaderName;

use crate::gate::Core;
use crate::gate::denial::Cause;
use crate::gate::terms::Terms;
use crate::network::contains;
use crate::rule::{Ruled, ScopeRule};
use crate::{
    Account, AccountStatus, Denial, DenialKind, KeyHash, KeyRecord, KeyStatus, RequestView, Subscription,
    Timestamp, trace,
};
use std::sync::Arc;

type Verdict = Result<(), Denial>;

#[inline]
fn require(holds: bool, kind: DenialKind) -> Verdict {
    if holds { Ok(()) } else { Err(Denial::of(kind)) }
}

#[inline]
pub(super) fn key_status(record: &KeyRecord, hash: Option<&KeyHash>, now: Timestamp) -> Verdict {
    // The secret from before a rotation is good for its overlap, to the millisecond.
    let outlived = |hash: &KeyHash| record.retiring.is_some_and(|old| old.hash == *hash && now >= old.until);
    match record.status {
        _ if hash.is_some_and(outlived) => Err(Denial::of(DenialKind::Revoked)),
        KeyStatus::Revoked => Err(Denial::of(DenialKind::Revoked)),
        _ if record.has_expired(now) => Err(Denial::of(DenialKind::Expired)),
        KeyStatus::Paused => Err(Denial::of(DenialKind::Paused)),
        KeyStatus::Active => Ok(()),
    }
}

#[inline]
pub(super) fn account_status(account: &Account) -> Verdict {
    match account.status {
        AccountStatus::Active => Ok(()),
        AccountStatus::Suspended => Err(Denial::of(DenialKind::AccountSuspended)),
        AccountStatus::Deleted => Err(Denial::of(DenialKind::AccountDeleted)),
    }
}

#[inline]
pub(super) fn subscription(account: &Account, ruled: &Ruled) -> Verdict {
    let paid = account.subscription == Some(Subscription::Active);
    require(paid || !ruled.rule.subscription, DenialKind::SubscriptionRequired)
}

#[inline]
pub(super) fn agreements(account: &Account, ruled: &Ruled) -> Verdict {
    let unsigned = ruled.rule.agreements.iter().find(|agreement| !account.agreements.contains(*agreement));
    match unsigned {
        None => Ok(()),
        Some(agreement) => {
            Err(Denial::because(DenialKind::AgreementRequired, Cause::Agreement(agreement.clone())))
        }
    }
}

#[inline]
pub(super) fn addresses(record: &KeyRecord, core: &Core, view: &RequestView<'_>) -> Verdict {
    let Some(allowlist) = &record.allowlist else { return Ok(()) };
    let Some(client) = core.proxies.client(view) else {
        trace::address_unknown(record.id);
        return Err(Denial::of(DenialKind::AddressNotAllowed));
    };
    require(allowlist.iter().any(|network| contains(network, client)), DenialKind::AddressNotAllowed)?;
    // Whoever replays early data does so from the address that first sent it.
    require(!is_early(core, view), DenialKind::TooEarly)
}

/// A restricted key is let in by what names it: its paths must cover the request's, and its scopes must hold what the
/// rule names. An odd path is neither covered nor ruled.
#[inline]
pub(super) fn scopes(record: &KeyRecord, ruled: &Arc<Ruled>, odd: bool, path: &str) -> Verdict {
    if !record.is_restricted() {
        return Ok(());
    }
    let covered = record.paths.as_ref().is_none_or(|paths| paths.iter().any(|pattern| pattern.covers(path)));
    require(covered && !odd, DenialKind::NotGranted)?;
    match &record.scopes {
        None => Ok(()),
        Some(held) if ruled.rule.scopes.admits(held) => Ok(()),
        Some(_) if ruled.rule.scopes == ScopeRule::Unnamed => Err(Denial::of(DenialKind::NotGranted)),
        Some(_) => Err(Denial::because(DenialKind::ScopeRequired, Cause::Scopes(Arc::clone(ruled)))),
    }
}

#[inline]
pub(super) fn plan(terms: &Terms, ruled: &Arc<Ruled>) -> Verdict {
    let (rule, plan) = (&ruled.rule, &terms.plan);
    let high_enough = ruled.min_rank.is_none_or(|least| plan.rank.is_some_and(|rank| rank >= least));
    let admitted = (high_enough || rule.open_to.contains(&plan.name)) && !rule.closed_to.contains(&plan.name);
    if admitted {
        Ok(())
    } else {
        Err(Denial::because(DenialKind::PlanRequired, Cause::Plan(Arc::clone(ruled))))
    }
}

#[inline]
pub(super) fn caps(terms: &Terms, view: &RequestView<'_>) -> Verdict {
    if terms.caps.is_empty() {
        return Ok(());
    }
    terms.caps.breach(view.query()).map_or(Ok(()), |breach| Err(Denial::parameter(breach)))
}

/// Early data can be replayed (RFC 8470): it is served if that does no harm. This is judged before the key is known, so
/// that it tells nothing of the key.
#[inline]
pub(super) fn early_data(core: &Core, view: &RequestView<'_>, free: bool) -> Verdict {
    let harmless = free && matches!(view.method(), "GET" | "HEAD" | "OPTIONS");
    require(harmless || !is_early(core, view), DenialKind::TooEarly)
}

/// Whether a trusted proxy marks the request as early data.
#[inline]
fn is_early(core: &Core, view: &RequestView<'_>) -> bool {
    static EARLY_DATA: HeaderName = HeaderName::from_static("early-data");
    core.proxies.trusts_peer(view) && view.field(&EARLY_DATA) != crate::request::Occurs::Never
}
