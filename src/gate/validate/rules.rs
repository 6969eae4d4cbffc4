//! Validation of single rules, and of the routes that they make public.

use std::num::NonZeroU32;

use crate::account::{Plan, QuotaRef, QuotaScope};
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, parameter, plans, refuse};
use crate::header::{MEANS_SOMETHING_ELSE, is_reserved};
use crate::name::PlanName;
use crate::rule::{Cost, Rule, ScopeRule, Weight};

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    if !builder.denies_unmatched {
        admits_no_equal(&builder.otherwise, "default", builder)?;
    }
    for (place, one) in builder.rules.iter().enumerate() {
        admits_no_equal(one, &format!("rules[{place}]"), builder)?;
    }
    if !builder.otherwise.quotas.is_empty() {
        let problem = "the rule for requests that no rule matches cannot have quotas";
        return refuse("default.quotas", "", problem, "set the quotas of plans instead");
    }
    if builder.otherwise.in_flight.is_some() {
        let problem = "the rule for requests that no rule matches cannot limit requests in flight";
        return refuse("default.in_flight", "", problem, "set `in_flight` of plans, or of the gate, instead");
    }
    let otherwise = rule(&builder.otherwise, builder);
    otherwise.map_err(|error| error.in_member("default"))?;
    if builder.otherwise.public {
        return everything_public("default.public", "true");
    }
    admits_its_weight(&builder.otherwise, "default", builder)?;
    for (place, one) in builder.rules.iter().enumerate() {
        admits_its_weight(one, &format!("rules[{place}]"), builder)?;
    }
    for (place, one) in builder.rules.iter().enumerate() {
        let verdict = rule(one, builder).and_then(|()| open_to_some_plan(one, builder));
        verdict.map_err(|error| error.in_member(format!("rules[{place}]")))?;
    }
    Ok(())
}

fn everything_public(member: &str, value: &str) -> Verdict {
    let expected = "write a rule with a narrower route for each public path";
    refuse(member, value, "the rule would make every path public", expected)
}

fn rule(rule: &Rule, builder: &GateBuilder) -> Verdict {
    if rule.public {
        return public(rule, builder);
    }
    let member = if rule.most_cost.is_some() { "cost.reserve" } else { "cost" };
    cost(&rule.cost, member, builder)?;
    weight(&rule.weight, builder)?;
    plans::quotas(&rule.quotas, "rule", builder)?;
    plans::in_flight(rule.in_flight.as_ref())?;
    if let ScopeRule::AnyOf(named) | ScopeRule::AllOf(named) = &rule.scopes {
        let expected =
            "name at least one, without spaces: visible ASCII but `\"` and `\\`, as in `quotes:read`";
        if named.is_empty() {
            return refuse("scope", "[]", "the rule has an empty list of scopes", expected);
        }
        if let Some(scope) = named.iter().find(|scope| !scope.is_token()) {
            return refuse("scope", scope.as_str(), "invalid scope", expected);
        }
    }
    if rule.agreements.iter().any(|agreement| agreement.as_str().is_empty()) {
        return refuse("agreements", "", "the agreement name is empty", "write one as in `terms`");
    }
    match rule.open_to.iter().find(|plan| rule.closed_to.contains(plan)) {
        None => Ok(()),
        Some(plan) => {
            let problem = "the rule is both open and closed to this plan";
            refuse("closed_to", plan.as_str(), problem, "choose one of the two")
        }
    }
}

/// Rejects a rule that is closed to every plan, because it admits no key. `[default]` may be closed to every plan, with
/// rules that open routes.
fn open_to_some_plan(rule: &Rule, builder: &GateBuilder) -> Verdict {
    let is_closed = |plan: &PlanName| rule.closed_to.contains(plan);
    let is_plan = |name: &PlanName| builder.plans.iter().any(|plan| plan.name == *name);
    // An unknown plan is probably misspelt. The rule set reports that error.
    if rule.closed_to.is_empty()
        || !rule.closed_to.iter().all(is_plan)
        || !builder.plans.iter().all(|plan| is_closed(&plan.name))
    {
        return Ok(());
    }
    let names: Vec<_> = rule.closed_to.iter().map(PlanName::as_str).collect();
    let expected = "leave one plan out, or write `closed_to = []` if `[default]` is closed to all";
    refuse("closed_to", &format!("{names:?}"), "the rule is closed to every plan", expected)
}

/// Rejects a plan that has the rank of a rule's lowest plan by mistake: it would be admitted too. A rule that names the
/// plan in `open_to` or `closed_to` states what is meant.
fn admits_no_equal(rule: &Rule, member: &str, builder: &GateBuilder) -> Verdict {
    let Some(name) = &rule.min_plan else { return Ok(()) };
    let Some(lowest) = builder.plans.iter().find(|plan| plan.name == *name) else { return Ok(()) };
    let is_equal = |plan: &&Plan| {
        plan.name != *name
            && plan.rank.is_some()
            && plan.rank == lowest.rank
            && !rule.open_to.contains(&plan.name)
            && !rule.closed_to.contains(&plan.name)
    };
    let Some(equal) = builder.plans.iter().find(is_equal) else { return Ok(()) };
    let problem = format!(
        "the plan `{name}` has the same rank, so a rule with `min_plan = \"{name}\"` admits `{}` too",
        equal.name
    );
    let expected = format!("give each plan its own rank, or name `{}` in the rule's `open_to`", equal.name);
    let rank = equal.rank.unwrap_or_default().to_string();
    let verdict = refuse(&format!("plans.{}.rank", equal.name), &rank, &problem, &expected);
    verdict.map_err(|error| error.beside(format!("{member}.min_plan")))
}

/// Returns true if a rule admits keys of a plan.
pub(super) fn is_open_to(rule: &Rule, plan: &Plan, builder: &GateBuilder) -> bool {
    if rule.closed_to.contains(&plan.name) {
        return false;
    }
    let Some(lowest) = &rule.min_plan else { return true };
    let lowest = builder.plans.iter().find(|plan| plan.name == *lowest).and_then(|plan| plan.rank);
    rule.open_to.contains(&plan.name) || plan.rank.is_some_and(|rank| Some(rank) >= lowest)
}

/// Checks that a public rule has no requirements of a key, and does not match every path.
fn public(rule: &Rule, builder: &GateBuilder) -> Verdict {
    let asked = [
        ("cost", !rule.cost.is_free() || rule.most_cost.is_some()),
        ("scope", rule.scopes != ScopeRule::Unnamed),
        ("min_plan", rule.min_plan.is_some()),
        ("open_to", !rule.open_to.is_empty()),
        ("closed_to", !rule.closed_to.is_empty()),
        ("agreements", !rule.agreements.is_empty()),
        ("subscription", rule.subscription),
        ("weight.reserve", matches!(rule.weight, Weight::Reported { .. })),
    ];
    if let Some((member, _)) = asked.iter().find(|(_, asks)| *asks) {
        let problem = format!("`public` and `{member}` cannot be combined");
        return refuse("public", "true", &problem, &format!("leave out either `public` or `{member}`"));
    }
    weight(&rule.weight, builder)?;
    if let Some(limit) = &rule.in_flight
        && matches!(limit.counts(), QuotaScope::Key | QuotaScope::Account)
    {
        let problem = "the limit counts keys or accounts, and the requests of a public rule have none";
        return refuse("in_flight", &limit.most().to_string(), problem, OF_PUBLIC_RULE);
    }
    plans::in_flight(rule.in_flight.as_ref())?;
    plans::quotas(&rule.quotas, "rule", builder)?;
    for (place, quota) in rule.quotas.iter().enumerate() {
        let policy = match quota {
            QuotaRef::Policy(policy) => Some(policy),
            QuotaRef::Named(name) => builder.quotas.get(name),
        };
        if policy.is_some_and(|policy| matches!(policy.counts(), QuotaScope::Key | QuotaScope::Account)) {
            let problem = "the quota counts keys or accounts, and the requests of a public rule have none";
            return refuse(&format!("quotas[{place}]"), &quota.to_string(), problem, OF_PUBLIC_RULE);
        }
    }
    // An OPTIONS request asks only for the options of a resource and reveals none of its contents.
    if is_all_paths(rule.pattern()) && rule.method() != Some(&http::Method::OPTIONS) {
        return everything_public("route", &rule.route());
    }
    Ok(())
}

/// The remedy of a limit that a public rule cannot have.
const OF_PUBLIC_RULE: &str = "write `counts = \"network\"`, or count a pool";

/// Returns true if a pattern matches every path, as `/{*rest}` and `/{version}/{*rest}` do.
fn is_all_paths(pattern: &str) -> bool {
    let is_gap = |segment: &str| segment.starts_with('{') && !segment.starts_with("{{");
    let rest = pattern.rsplit_once('/').is_some_and(|(_, last)| last.starts_with("{*"));
    rest && pattern.split('/').skip(1).all(is_gap)
}

fn cost(cost: &Cost, member: &str, builder: &GateBuilder) -> Verdict {
    let Cost::PerUnit { parameter: name, each, least, default, most } = cost else { return Ok(()) };
    parameter(name, &builder.sources).map_err(|error| error.in_member(format!("{member}.parameter")))?;
    if each.checked_mul(*most).is_none() {
        let problem = "the cost of `most` is larger than the maximum of a ledger";
        let expected = "write a smaller `most`, or a smaller `each`";
        return refuse(&format!("{member}.most"), &most.to_string(), problem, expected);
    }
    let at_least = if *default == 0 {
        "write a number that is not less than `least`, or `least = 0` if a request may be free"
    } else {
        NOT_LESS
    };
    bounds(member, *least, *default, *most, at_least)
}

/// The remedy of a default that is too low.
const NOT_LESS: &str = "write a number that is not less than `least`";

/// Checks the bounds of a number that a request may contain.
fn bounds(member: &str, least: u64, default: u64, most: u64, at_least: &str) -> Verdict {
    if least > most {
        let problem = format!("`least` is greater than `most`, which is {most}");
        return refuse(
            &format!("{member}.least"),
            &least.to_string(),
            &problem,
            "write a number up to `most`",
        );
    }
    let member = format!("{member}.default");
    if default > most {
        let problem = format!("`default` is greater than `most`, which is {most}");
        return refuse(&member, &default.to_string(), &problem, "write a number up to `most`");
    }
    if default < least {
        let problem = format!("`default` is less than `least`, which is {least}");
        return refuse(&member, &default.to_string(), &problem, at_least);
    }
    Ok(())
}

fn weight(weight: &Weight, builder: &GateBuilder) -> Verdict {
    let (least, default, most) = match weight {
        Weight::Fixed(0) => return refuse("weight", "0", WEIGHS_NOTHING, AT_LEAST_ONE),
        Weight::Reported { reserve: 0, .. } => {
            return refuse("weight.reserve", "0", WEIGHS_NOTHING, AT_LEAST_ONE);
        }
        Weight::Reported { reserve, most } if reserve > most => {
            let problem = format!("`reserve` is greater than `most`, which is {most}");
            return refuse("weight.reserve", &reserve.to_string(), &problem, "write a number up to `most`");
        }
        Weight::Fixed(_) | Weight::Reported { .. } => return Ok(()),
        Weight::Parameter { parameter: name, least, default, most } => {
            parameter(name, &builder.sources).map_err(|error| error.in_member("weight.parameter"))?;
            (least, default, most)
        }
        Weight::Header { header, least, default, most } => {
            let expected = "name another header, as in `X-Weight`";
            if is_reserved(header) {
                return refuse("weight.header", header.as_str(), MEANS_SOMETHING_ELSE, expected);
            }
            if builder.sources.iter().any(|source| source.header_name() == Some(header)) {
                let problem = "a key is read from this header, which cannot be a number as well";
                return refuse("weight.header", header.as_str(), problem, expected);
            }
            (least, default, most)
        }
    };
    if *least == 0 {
        return refuse("weight.least", "0", WEIGHS_NOTHING, AT_LEAST_ONE);
    }
    bounds("weight", (*least).into(), (*default).into(), (*most).into(), NOT_LESS)
}

const WEIGHS_NOTHING: &str = "a request must take at least one unit";

const AT_LEAST_ONE: &str = "write at least 1";

/// Rejects a quota that can never admit a request to a rule, because it cannot hold the units that the lightest request takes.
fn admits_its_weight(rule: &Rule, member: &str, builder: &GateBuilder) -> Verdict {
    if rule.weight.least() <= 1 {
        return admits_the_default(rule, member, builder);
    }
    let beside = |error: ConfigError| error.beside(format!("{member}.weight"));
    holds(&rule.quotas, rule, builder).map_err(|error| beside(error.in_member(member)))?;
    // A request to a public rule has no plan.
    for plan in builder.plans.iter().filter(|plan| !rule.public && is_open_to(rule, plan, builder)) {
        let member = format!("plans.{}", plan.name);
        holds(&plan.quotas, rule, builder).map_err(|error| beside(error.in_member(&member)))?;
        if let Some((route, terms)) = rule.terms_of(plan) {
            let member = format!("{member}.rules.{route}");
            holds(&terms.quotas, rule, builder).map_err(|error| beside(error.in_member(member)))?;
        }
    }
    admits_the_default(rule, member, builder)
}

/// Rejects a default weight that a quota of the rule can never hold: every request that names no weight would be refused.
fn admits_the_default(rule: &Rule, member: &str, builder: &GateBuilder) -> Verdict {
    let (Weight::Parameter { default, .. } | Weight::Header { default, .. }) = &rule.weight else {
        return Ok(());
    };
    let Some((_, quota)) = too_small(&rule.quotas, *default, builder) else { return Ok(()) };
    let problem = format!("the quota `{quota}` of the rule can never hold the default weight");
    let expected = "lower the default, or raise the quota or its burst";
    refuse(&format!("{member}.weight.default"), &default.to_string(), &problem, expected)
}

/// Checks that each quota can hold the least weight of a rule's requests.
fn holds(quotas: &[QuotaRef], rule: &Rule, builder: &GateBuilder) -> Verdict {
    let least = rule.weight.least();
    let Some((place, quota)) = too_small(quotas, least, builder) else { return Ok(()) };
    let problem = format!(
        "the quota can never admit a request to `{}`, which takes at least {least} units",
        rule.route()
    );
    let expected = "raise the quota or its burst, or lower the weight";
    refuse(&format!("quotas[{place}]"), &quota.to_string(), &problem, expected)
}

/// Returns the first quota that can never hold the units of a weight, with its index.
fn too_small<'q>(
    quotas: &'q [QuotaRef],
    weight: u32,
    builder: &GateBuilder,
) -> Option<(usize, &'q QuotaRef)> {
    let weight = NonZeroU32::new(weight)?;
    let policy = |quota: &'q QuotaRef| match quota {
        QuotaRef::Policy(policy) => Some(policy.clone()),
        QuotaRef::Named(name) => builder.quotas.get(name).cloned(),
    };
    let is_too_small =
        |quota| policy(quota).is_some_and(|policy| policy.units_of(weight) > policy.capacity());
    quotas.iter().enumerate().find(|(_, quota)| is_too_small(quota))
}
