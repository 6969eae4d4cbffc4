//! Validation of plans: quotas, limits on parameters, features and lifetimes.

use std::collections::HashSet;

use crate::account::{InFlightLimit, ParamLimit, ParamLimits, Plan, PlanRule, QuotaPolicy, QuotaRef};
use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, parameter, refuse};
use crate::key::KeySource;
use crate::rule::Rule;
use crate::{trace, words};

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    named(builder)?;
    let mut names = HashSet::new();
    for one in &builder.plans {
        let member = format!("plans.{}", one.name);
        if !names.insert(&one.name) {
            return refuse(&member, one.name.as_str(), "duplicate plan name", "define each plan once");
        }
        if one.name.as_str().is_empty() {
            return refuse("plans", "", "the plan name is empty", "write one as in `[plans.pro]`");
        }
        plan(one, builder).map_err(|error| error.in_member(member))?;
    }
    Ok(())
}

fn plan(plan: &Plan, builder: &GateBuilder) -> Verdict {
    quotas(&plan.quotas, "plan", builder)?;
    in_flight(plan.in_flight.as_ref())?;
    for (route, terms) in &plan.rules {
        rule(route, terms, plan, builder).map_err(|error| error.in_member(format!("rules.{route}")))?;
    }
    caps(&plan.caps, &builder.sources)?;
    if plan.features.contains("") {
        return refuse("features", "", "the feature name is empty", "write one as in `export`");
    }
    plan.lifetime.check().map_err(|error| error.in_member("key_lifetime"))
}

/// Checks the terms of a plan for one rule.
fn rule(route: &str, terms: &PlanRule, plan: &Plan, builder: &GateBuilder) -> Verdict {
    let Some(named) = builder.rules.iter().find(|rule| rule.has_route(route)) else {
        let routes: Vec<_> = builder.rules.iter().map(Rule::route).collect();
        let meant = words::meant(route, routes.iter().map(String::as_str));
        let expected = format!("{meant}write the route as a rule has it, as in `POST /v1/backtests`");
        return refuse("", route, "no rule has this route", &expected);
    };
    if let Some((other, _)) = named.terms_of(plan).filter(|(first, _)| *first != route) {
        let problem = format!("the plan has terms for the same rule under `{other}`");
        return refuse("", route, &problem, "write the terms of each rule once");
    }
    if named.public {
        let problem = "the rule is public, so that no request has a plan";
        return refuse("", route, problem, "leave these terms out, or make the rule not public");
    }
    quotas(&terms.quotas, "rule", builder)
}

/// Checks the quotas of a plan or a rule.
pub(super) fn quotas(quotas: &[QuotaRef], owner: &str, builder: &GateBuilder) -> Verdict {
    let mut windows: Vec<(&str, &QuotaPolicy)> = Vec::new();
    for (place, quota) in quotas.iter().enumerate() {
        let member = format!("quotas[{place}]");
        let (written, policy) = match quota {
            QuotaRef::Policy(policy) => (policy.name(), Some(policy)),
            QuotaRef::Named(name) => (name.as_str(), builder.quotas.get(name)),
        };
        let Some(policy) = policy else {
            let mut meant = words::meant(written, builder.quotas.keys().map(String::as_str));
            if meant.is_empty() {
                meant = QuotaPolicy::meant(written);
            }
            let expected = format!(
                "{meant}define it under `[quotas]`, or write the quota itself, as in `60 per minute`"
            );
            return refuse(&member, written, "the quota is not defined", &expected);
        };
        let same = |(_, known): &&(&str, &QuotaPolicy)| known.has_window_of(policy);
        if let Some(other) = windows.iter().position(|known| same(&known)) {
            let expected = "remove the larger one, or give each its own name";
            let problem = format!("two quotas of the {owner} have the same window");
            let verdict = refuse(&member, written, &problem, expected);
            return verdict.map_err(|error| error.beside(format!("quotas[{other}]")));
        }
        windows.push((written, policy));
    }
    Ok(())
}

/// Checks the limit on requests in flight of a plan or a rule.
pub(super) fn in_flight(limit: Option<&InFlightLimit>) -> Verdict {
    match limit {
        Some(limit) if limit.is_total() => {
            let problem = "the pool `*` is that of all requests";
            let expected = "write another name of a pool, or `in_flight` at the top of the file";
            refuse("in_flight.counts", "pool:*", problem, expected)
        }
        _ => Ok(()),
    }
}

/// Warns of quotas of plans that can never be reached. They are not an error, but probably a mistake.
pub(in crate::gate) fn warn_of_unreachable(builder: &GateBuilder) {
    for plan in &builder.plans {
        let policies = plan.quotas.iter().filter_map(|quota| match quota {
            QuotaRef::Policy(policy) => Some(policy),
            QuotaRef::Named(name) => builder.quotas.get(name),
        });
        let policies: Vec<&QuotaPolicy> = policies.collect();
        if let Some((place, other)) = QuotaPolicy::never_reached(&policies) {
            trace::unreachable_quota(&plan.name, policies[place].name(), other.name());
        }
    }
}

/// Checks the quotas that are defined by name.
fn named(builder: &GateBuilder) -> Verdict {
    for (name, policy) in &builder.quotas {
        let named = policy.clone().defined_as(name);
        named.map(drop).map_err(|error| error.in_member(format!("quotas.{name}")))?;
    }
    Ok(())
}

/// Checks the limits on parameters of a plan, a key or an account.
pub(in crate::gate) fn caps(caps: &ParamLimits, sources: &[KeySource]) -> Verdict {
    let mut names = HashSet::new();
    for (name, cap) in caps.iter() {
        parameter(name, sources).map_err(|error| error.in_member(format!("caps.{name}")))?;
        if !names.insert(name) {
            let value = if matches!(cap, ParamLimit::Forbidden) { "forbidden" } else { "capped" };
            return refuse(
                "caps",
                value,
                &format!("duplicate cap of the parameter `{name}`"),
                "remove one of them",
            );
        }
    }
    Ok(())
}
