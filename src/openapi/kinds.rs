//! The denials that a route can have, each with example details.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Allowance, ParamLimit, Plan};
use crate::account::{Breach, BreachKind};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::denial::Cause;
use crate::denial::{Denial, DenialKind};
use crate::gate::Core;
use crate::key::KeySource;
use crate::limit::WindowStatus;
use crate::rule::CompiledRule;
use crate::rule::{Cost, ScopeRule, Weight};

/// Returns one denial of each kind that a route that needs a key can have.
pub(super) fn of(core: &Core, compiled: &Arc<CompiledRule>, is_mounted: bool) -> Vec<Denial> {
    let mut denials = of_any_route(core, compiled);
    denials.extend(of_rule(core, compiled));
    denials.extend(of_parameters(core, compiled));
    if is_mounted {
        denials.extend(of_management());
    }
    denials
}

/// Returns one denial of each kind that a public route with limits can have.
pub(super) fn of_public(core: &Core, compiled: &CompiledRule) -> Vec<Denial> {
    let limited = [full(core, compiled), limited(core, compiled), too_heavy(core, compiled)];
    let mut denials: Vec<Denial> = limited.into_iter().flatten().collect();
    denials.extend(of_weight(&compiled.rule.weight));
    denials.extend([DenialKind::Unavailable, DenialKind::Misconfigured].map(Denial::of));
    denials
}

fn limited(core: &Core, compiled: &CompiledRule) -> Option<Denial> {
    core.some_quotas(compiled.limits).map(|quotas| {
        let cause = Cause::Wait {
            retry_after: Duration::from_secs(30),
            window_status: WindowStatus::new(0, 0, Duration::from_mins(1)),
            quotas,
            weight: NonZeroU32::MIN,
        };
        Denial::because(DenialKind::RateLimited, cause)
    })
}

fn of_any_route(core: &Core, compiled: &CompiledRule) -> Vec<Denial> {
    use DenialKind as Kind;
    let mut kinds = vec![Kind::Missing, Kind::Duplicate, Kind::InvalidFormat, Kind::Unknown, Kind::Revoked];
    kinds.retain(|kind| !compiled.rule.anonymous || *kind != Kind::Missing);
    kinds.extend([Kind::Expired, Kind::Paused, Kind::AddressNotAllowed]);
    kinds.extend([Kind::AccountSuspended, Kind::AccountDeleted, Kind::NotGranted]);
    kinds.extend([Kind::Unavailable, Kind::Misconfigured]);
    // Only an `Authorization` scheme can be present without a key.
    let is_scheme = |source: &KeySource| source.parameter().is_none() && source.vary().is_none();
    if core.sources.iter().any(is_scheme) {
        kinds.push(Kind::Malformed);
    }
    if core.proxies.trusts_anyone() {
        kinds.push(Kind::TooEarly);
    }
    if core.refuses_insecure {
        kinds.push(Kind::InsecureChannel);
    }
    let mut denials: Vec<Denial> = kinds.into_iter().map(Denial::of).collect();
    if core.limits_attempts() {
        denials.push(Denial::because(Kind::TooManyAttempts, Cause::Attempts(Duration::from_secs(30))));
    }
    denials.extend(full(core, compiled));
    denials.extend(limited(core, compiled));
    denials
}

/// Returns the denial of a request beyond a limit on requests in flight, if the route has one.
fn full(core: &Core, compiled: &CompiledRule) -> Option<Denial> {
    let limit = core.some_in_flight(compiled.limits)?.clone();
    Some(Denial::because(DenialKind::InFlightLimited, Cause::InFlight(limit)))
}

fn of_rule(core: &Core, compiled: &Arc<CompiledRule>) -> Vec<Denial> {
    let (rule, mut denials) = (&compiled.rule, Vec::new());
    if rule.subscription {
        denials.push(Denial::of(DenialKind::SubscriptionRequired));
    }
    if let Some(agreement) = rule.agreements.first() {
        denials.push(Denial::because(DenialKind::AgreementRequired, Cause::Agreement(agreement.clone())));
    }
    if rule.min_plan.is_some() || !rule.closed_to.is_empty() {
        denials.push(Denial::because(DenialKind::PlanRequired, Cause::Plan(Arc::clone(compiled))));
    }
    if matches!(rule.scopes, ScopeRule::AnyOf(_) | ScopeRule::AllOf(_)) {
        denials.push(Denial::because(DenialKind::ScopeRequired, Cause::Scopes(Arc::clone(compiled))));
    }
    let limited = |plan: &Plan| *plan.credits_in(&rule.currency) != Allowance::Unlimited;
    if !rule.cost.is_free() && core.plan_data.values().any(limited) {
        let cost = match &rule.cost {
            Cost::Fixed(cost) => *cost,
            Cost::PerUnit { each, default, .. } => each.checked_mul(*default).unwrap_or(*each),
        };
        let currency = rule.currency.clone();
        let cause = Cause::Balance { balance: Credits::ZERO, cost, currency: currency.clone() };
        denials.push(Denial::because(DenialKind::CreditsExhausted, cause));
        let has_budget = |plan: &Plan| plan.budget_in(&rule.currency).is_some();
        if core.plan_data.values().any(has_budget) {
            let wait = Duration::from_hours(1);
            let resets =
                Timestamp::from_millis(core.clock.now().wall().as_millis().saturating_add(3_600_000));
            let cause = Cause::Budget { left: Credits::ZERO, cost, currency, resets, wait };
            denials.push(Denial::because(DenialKind::BudgetExceeded, cause));
        }
    }
    denials.extend(too_heavy(core, compiled));
    denials
}

/// Returns the denial of a request that is too heavy for a quota, if the rule's requests have weights.
fn too_heavy(core: &Core, compiled: &CompiledRule) -> Option<Denial> {
    let quotas = core.some_quotas(compiled.limits).filter(|_| !compiled.rule.weight.is_one())?;
    let weight = NonZeroU32::MIN.saturating_add(quotas.quotas().capacity());
    Some(Denial::because(DenialKind::WeightTooLarge, Cause::Weight { weight, quotas }))
}

/// Returns the denials for query parameters that a plan limits, and for numbers that the cost or the weight depends on.
fn of_parameters(core: &Core, compiled: &CompiledRule) -> Vec<Denial> {
    let mut breaches = Vec::new();
    if let Cost::PerUnit { parameter, most, .. } = &compiled.rule.cost {
        breaches
            .extend([(parameter.as_str(), BreachKind::Above(*most)), (parameter, BreachKind::Unreadable)]);
    }
    let mut plans: Vec<&Plan> = core.plan_data.values().collect();
    plans.sort_unstable_by_key(|plan| &plan.name);
    for (parameter, cap) in plans.into_iter().flat_map(|plan| plan.caps.iter()) {
        match cap {
            ParamLimit::Forbidden => breaches.push((parameter, BreachKind::Forbidden)),
            ParamLimit::AtMost(most) => {
                breaches.extend([(parameter, BreachKind::Above(most)), (parameter, BreachKind::Unreadable)]);
            }
        }
    }
    let denial =
        |(parameter, problem): (&str, _)| Denial::parameter(Breach { parameter: parameter.into(), problem });
    let mut denials: Vec<Denial> = of_weight(&compiled.rule.weight);
    for denial in breaches.into_iter().map(denial) {
        if denials.iter().all(|known| known.kind() != denial.kind()) {
            denials.push(denial);
        }
    }
    denials
}

/// Returns the denials for a number in the request that is its weight.
fn of_weight(weight: &Weight) -> Vec<Denial> {
    let (Weight::Parameter { most, .. } | Weight::Header { most, .. }) = weight else { return Vec::new() };
    let breach = |problem| {
        Denial::parameter(Breach { parameter: weight.source().unwrap_or_default().into(), problem })
    };
    [BreachKind::Above((*most).into()), BreachKind::Unreadable].map(breach).into()
}

/// Returns the additional denials of a path of key management.
fn of_management() -> Vec<Denial> {
    use DenialKind as Kind;
    let kinds = [
        Kind::FeatureRequired,
        Kind::NotFound,
        Kind::Conflict,
        Kind::BadRequest,
        Kind::BodyTooLarge,
        Kind::BodyTimeout,
        Kind::UnsupportedMediaType,
        Kind::NotGranted,
    ];
    let member = |kind, problem: &str| {
        Denial::because(kind, Cause::Member { member: "scopes".to_owned(), problem: problem.to_owned() })
    };
    let mut denials: Vec<Denial> = kinds.into_iter().map(Denial::of).collect();
    denials.push(Denial::of(Kind::MethodNotAllowed));
    denials.push(Denial::because(Kind::KeyLimitReached, Cause::MaxKeys(5)));
    denials.push(member(Kind::InvalidMember, "must be a list of strings"));
    denials.push(member(Kind::TooWide, ""));
    denials
}
