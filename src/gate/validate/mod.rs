//! What a gate's parts must agree on, checked before they are put together.
//!
//! Members are named as the configuration file names them.

mod headers;
mod management;

use std::collections::HashSet;

use crate::{Cap, Caps, ConfigError, Cost, GateBuilder, OwnQuota, Plan, Rule, ScopeRule};

type Verdict = Result<(), ConfigError>;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    sources(builder)?;
    literals(builder)?;
    headers::all(builder)?;
    rule(&builder.otherwise).map_err(|error| error.in_member("default"))?;
    if builder.otherwise.public {
        return everything_public("default.public", "true");
    }
    for (place, one) in builder.rules.iter().enumerate() {
        rule(one).map_err(|error| error.in_member(format!("rules[{place}]")))?;
    }
    let mut names = HashSet::new();
    for one in &builder.plans {
        let member = format!("plans.{}", one.name);
        if !names.insert(&one.name) {
            return refuse(&member, one.name.as_str(), "two plans have this name", "name each plan once");
        }
        if one.name.as_str().is_empty() {
            return refuse("plans", "", "a plan has a name", "write one as in `[plans.pro]`");
        }
        plan(one, builder).map_err(|error| error.in_member(member))?;
    }
    management::all(builder)
}

fn refuse(member: &str, value: &str, problem: &str, expected: &str) -> Verdict {
    Err(ConfigError::new(value, problem, expected).in_member(member))
}

fn everything_public(member: &str, value: &str) -> Verdict {
    let expected = "make single routes public by rules of their own";
    refuse(member, value, "everything would be public", expected)
}

fn sources(builder: &GateBuilder) -> Verdict {
    if builder.sources.is_empty() {
        let problem = "the gate has no place to read a key from";
        return refuse("sources", "", problem, "name one, as in `sources = [{ header = \"X-API-Key\" }]`");
    }
    for (place, source) in builder.sources.iter().enumerate() {
        if builder.sources[..place].iter().any(|earlier| earlier.reads_as(source)) {
            let member = format!("sources[{place}]");
            return refuse(&member, &source.to_string(), "two sources are the same", "name each once");
        }
    }
    if builder.formats.is_empty() && builder.literals.is_empty() {
        let expected = "define a format, as in `formats = [{ prefix = \"acme_\", body = 32 }]`";
        return refuse("formats", "", "no key has a shape that the gate accepts", expected);
    }
    Ok(())
}

fn literals(builder: &GateBuilder) -> Verdict {
    for (place, literal) in builder.literals.iter().enumerate() {
        if literal.is_empty() || !literal.bytes().all(|byte| byte.is_ascii_graphic()) {
            let member = format!("demo[{place}].key");
            return refuse(
                &member,
                literal,
                "this cannot be a key",
                "write visible ASCII, as in `acme_demo`",
            );
        }
    }
    Ok(())
}

fn rule(rule: &Rule) -> Verdict {
    if rule.public {
        return public(rule);
    }
    cost(&rule.cost)?;
    if let ScopeRule::AnyOf(named) | ScopeRule::AllOf(named) = &rule.scopes {
        let expected = "name at least one, without spaces, as in `quotes:read`";
        if named.is_empty() {
            return refuse("scope", "[]", "the rule names no scope", expected);
        }
        let unfit =
            |scope: &&crate::Scope| scope.as_str().is_empty() || scope.as_str().contains(char::is_whitespace);
        if let Some(scope) = named.iter().find(unfit) {
            return refuse("scope", scope.as_str(), "this cannot be a scope", expected);
        }
    }
    match rule.open_to.iter().find(|plan| rule.closed_to.contains(plan)) {
        None => Ok(()),
        Some(plan) => {
            let problem = "the rule is both open and closed to this plan";
            refuse("closed_to", plan.as_str(), problem, "choose one of the two")
        }
    }
}

/// A public route asks for nothing; and no one route is all of them.
fn public(rule: &Rule) -> Verdict {
    let asked = [
        ("cost", !rule.cost.is_free()),
        ("scope", rule.scopes != ScopeRule::Unnamed),
        ("min_plan", rule.min_plan.is_some()),
        ("open_to", !rule.open_to.is_empty()),
        ("closed_to", !rule.closed_to.is_empty()),
        ("agreements", !rule.agreements.is_empty()),
        ("subscription", rule.subscription),
    ];
    if let Some((member, _)) = asked.iter().find(|(_, asks)| *asks) {
        let problem = format!("a public route asks for nothing, and this one names `{member}`");
        return refuse("public", "true", &problem, &format!("leave out either `public` or `{member}`"));
    }
    if rule.method().is_none() && rule.pattern().starts_with("/{*") {
        return everything_public("route", rule.pattern());
    }
    Ok(())
}

fn cost(cost: &Cost) -> Verdict {
    let Cost::PerUnit { parameter, each, default, most } = cost else { return Ok(()) };
    parameter_name(parameter).map_err(|error| error.in_member("cost.parameter"))?;
    if each.checked_mul(*most).is_none() {
        let problem = "the highest number costs more than a ledger can hold";
        let expected = "write a smaller `most`, or a smaller `each`";
        return refuse("cost.most", &most.to_string(), problem, expected);
    }
    if default > most {
        let problem = format!("the default is above the highest number, which is {most}");
        return refuse("cost.default", &default.to_string(), &problem, "write a default up to `most`");
    }
    Ok(())
}

fn plan(plan: &Plan, builder: &GateBuilder) -> Verdict {
    let mut windows = HashSet::new();
    for (place, quota) in plan.quotas.iter().enumerate() {
        let member = format!("quotas[{place}]");
        let (written, policy) = match quota {
            OwnQuota::Policy(policy) => (policy.name(), Some(policy)),
            OwnQuota::Named(name) => (name.as_str(), builder.quotas.get(name)),
        };
        let Some(policy) = policy else {
            let expected = "define it under `[quotas]`, or spell it out as in `60 per minute`";
            return refuse(&member, written, "the quota is not defined", expected);
        };
        if !windows.insert((policy.name(), policy.counts())) {
            let expected = "keep the smaller one, or give them names of their own";
            return refuse(&member, written, "two quotas of the plan have the same window", expected);
        }
    }
    caps(&plan.caps)
}

fn caps(caps: &Caps) -> Verdict {
    let mut names = HashSet::new();
    for (parameter, cap) in caps.iter() {
        parameter_name(parameter).map_err(|error| error.in_member(format!("caps.{parameter}")))?;
        if !names.insert(parameter) {
            let value = if matches!(cap, Cap::Forbidden) { "forbidden" } else { "capped" };
            return refuse(
                "caps",
                value,
                &format!("the parameter `{parameter}` has two caps"),
                "give it one",
            );
        }
    }
    Ok(())
}

fn parameter_name(name: &str) -> Verdict {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#%+".contains(&byte)) {
        return Ok(());
    }
    let expected = "write the name as it reads decoded, as in `limit`";
    Err(ConfigError::new(name, "no query parameter can have this name", expected))
}
