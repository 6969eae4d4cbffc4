//! What a gate's parts must agree on, checked before they are put together.

use std::collections::HashSet;

use crate::{Cap, Caps, ConfigError, GateBuilder, OwnQuota, Plan, Rule, ScopeRule};

type Verdict = Result<(), ConfigError>;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    sources(builder)?;
    literals(builder)?;
    rule(&builder.otherwise, "default")?;
    builder.rules.iter().try_for_each(|one| rule(one, &format!("rule `{}`", one.route())))?;
    if builder.otherwise.public {
        let problem = "everything would be public";
        return refuse("true", problem, "make single routes public by rules of their own", "default.public");
    }
    let mut names = HashSet::new();
    for one in &builder.plans {
        if !names.insert(&one.name) {
            return refuse(one.name.as_str(), "two plans have this name", "name each plan once", "plans");
        }
        plan(one)?;
    }
    Ok(())
}

fn refuse(value: &str, problem: &str, expected: &str, member: &str) -> Verdict {
    Err(ConfigError::new(value, problem, expected).in_member(member))
}

fn sources(builder: &GateBuilder) -> Verdict {
    if builder.sources.is_empty() {
        return refuse(
            "",
            "the gate has no place to read a key from",
            "name a header, as in `X-API-Key`",
            "sources",
        );
    }
    for (place, source) in builder.sources.iter().enumerate() {
        if builder.sources[..place].contains(source) {
            return refuse(&source.to_string(), "two sources are the same", "name each once", "sources");
        }
    }
    if builder.formats.is_empty() && builder.literals.is_empty() {
        return refuse("", "no key has a shape that the gate accepts", "define a key format", "formats");
    }
    Ok(())
}

fn literals(builder: &GateBuilder) -> Verdict {
    for literal in &builder.literals {
        if literal.is_empty() || !literal.bytes().all(|byte| byte.is_ascii_graphic()) {
            let expected = "write visible ASCII, as in `acme_demo`";
            return refuse(literal, "this cannot be a key", expected, "demo.key");
        }
    }
    Ok(())
}

fn rule(rule: &Rule, member: &str) -> Verdict {
    let asks = rule.subscription
        || !rule.agreements.is_empty()
        || rule.min_plan.is_some()
        || !rule.closed_to.is_empty()
        || !matches!(rule.scopes, ScopeRule::Unnamed)
        || !rule.cost.is_free();
    if rule.public && asks {
        let expected = "leave `public` out, or all that asks for something";
        return refuse("true", "a public route asks for nothing, and this rule does", expected, member);
    }
    let (ScopeRule::AnyOf(named) | ScopeRule::AllOf(named)) = &rule.scopes else {
        return exclusive(rule, member);
    };
    if named.is_empty() || named.iter().any(|scope| scope.as_str().is_empty() || scope.as_str().contains(' '))
    {
        let expected = "name at least one, without spaces, as in `quotes:read`";
        return refuse("[]", "the rule names no scope", expected, member);
    }
    exclusive(rule, member)
}

fn exclusive(rule: &Rule, member: &str) -> Verdict {
    match rule.open_to.iter().find(|plan| rule.closed_to.contains(plan)) {
        Some(plan) => refuse(
            plan.as_str(),
            "the rule is both open and closed to this plan",
            "choose one of the two",
            member,
        ),
        None => Ok(()),
    }
}

fn plan(plan: &Plan) -> Verdict {
    let member = format!("plans.{}", plan.name);
    let mut windows = HashSet::new();
    for quota in &plan.quotas {
        if let OwnQuota::Policy(policy) = quota
            && !windows.insert((policy.name(), format!("{:?}", policy.counts())))
        {
            let expected = "keep the smaller one, or give them names of their own";
            return refuse(policy.name(), "two quotas of the plan have the same window", expected, &member);
        }
    }
    caps(&plan.caps, &member)
}

fn caps(caps: &Caps, member: &str) -> Verdict {
    let mut names = HashSet::new();
    for (parameter, cap) in caps.iter() {
        let readable = parameter.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#%+".contains(&byte));
        if parameter.is_empty() || !readable {
            let expected = "write the name as it reads decoded, as in `limit`";
            return refuse(parameter, "no query parameter can have this name", expected, member);
        }
        if !names.insert(parameter) {
            let value = if matches!(cap, Cap::Forbidden) { "forbidden" } else { "capped" };
            return refuse(
                value,
                &format!("the parameter `{parameter}` has two caps"),
                "give it one",
                member,
            );
        }
    }
    Ok(())
}
