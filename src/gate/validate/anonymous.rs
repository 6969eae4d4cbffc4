//! Validation of the plan of requests without a key, and of the rules that serve them.

use crate::account::{Allowance, Plan};
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::gate::anonymous::AnonymousTier;
use crate::gate::validate::rules::is_open_to;
use crate::gate::validate::{Verdict, refuse};
use crate::rule::Rule;
use crate::words;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    let serves = |rule: &&Rule| rule.anonymous;
    let Some(tier) = &builder.anonymous else {
        return match builder.rules.iter().position(|rule| rule.anonymous) {
            None => Ok(()),
            Some(place) => {
                let problem = "no plan is named for requests without a key";
                let expected = "name one, as in `[anonymous] plan = \"anonymous\"`";
                refuse(&format!("rules[{place}].anonymous"), "true", problem, expected)
            }
        };
    };
    if builder.otherwise.anonymous {
        let problem = "requests that no rule matches need a key";
        return refuse("default.anonymous", "true", problem, "write a rule for each route that needs no key");
    }
    let plan = plan(tier, builder)?;
    if builder.rules.iter().find(serves).is_none() {
        let problem = "no rule serves requests without a key";
        let expected = "write `anonymous = true` in a rule, or leave `anonymous` out";
        return refuse("anonymous.plan", plan.name.as_str(), problem, expected);
    }
    for (place, rule) in builder.rules.iter().enumerate().filter(|(_, rule)| rule.anonymous) {
        one(rule, plan, builder).map_err(|error| error.in_member(format!("rules[{place}]")))?;
    }
    Ok(())
}

/// Returns the plan, which grants no credits.
fn plan<'b>(tier: &AnonymousTier, builder: &'b GateBuilder) -> Result<&'b Plan, ConfigError> {
    let name = tier.plan.as_str();
    let Some(plan) = builder.plans.iter().find(|plan| plan.name == tier.plan) else {
        let meant = words::meant(name, builder.plans.iter().map(|plan| plan.name.as_str()));
        let expected = format!("{meant}define it under `[plans]`");
        return Err(of_plan(name, "the plan is not defined", &expected));
    };
    if plan.named_currencies().any(|currency| matches!(plan.credits_in(currency), Allowance::Grant(_))) {
        let problem = "the plan grants credits, and requests without a key have no account that holds them";
        let expected = "leave `credits` out of the plan, or name another plan";
        return Err(of_plan(name, problem, expected));
    }
    Ok(plan)
}

fn of_plan(name: &str, problem: &str, expected: &str) -> ConfigError {
    ConfigError::new(name, problem, expected).in_member("anonymous.plan")
}

/// Checks a rule that serves requests without a key.
fn one(rule: &Rule, plan: &Plan, builder: &GateBuilder) -> Verdict {
    let asked = [
        ("public", rule.public),
        ("agreements", !rule.agreements.is_empty()),
        ("subscription", rule.subscription),
        ("cost", !rule.cost.is_free() && *plan.credits_in(&rule.currency) != Allowance::Unlimited),
    ];
    if let Some((member, _)) = asked.iter().find(|(_, asks)| *asks) {
        let problem = match *member {
            "public" => "`anonymous` and `public` cannot be combined: a public rule reads no key".to_owned(),
            "cost" => {
                "`anonymous` and `cost` cannot be combined: requests without a key have no credits".to_owned()
            }
            member => format!(
                "`anonymous` and `{member}` cannot be combined: requests without a key have no account"
            ),
        };
        let expected = match *member {
            "cost" => "leave one of them out, or give the plan `credits = \"unlimited\"`".to_owned(),
            member => format!("leave out either `anonymous` or `{member}`"),
        };
        return refuse("anonymous", "true", &problem, &expected);
    }
    if !is_open_to(rule, plan, builder) {
        let problem = format!("the rule does not admit the plan `{}` of requests without a key", plan.name);
        let expected = format!("leave `anonymous` out, or name `{}` in the rule's `open_to`", plan.name);
        return refuse("anonymous", "true", &problem, &expected);
    }
    let has_terms = rule.terms_of(plan).is_some_and(|(_, terms)| !terms.quotas.is_empty());
    if plan.quotas.is_empty() && rule.quotas.is_empty() && !has_terms {
        let problem = format!(
            "neither the rule nor the plan `{}` has a quota, so that requests without a key are not limited",
            plan.name
        );
        let expected = format!("write `quotas` under `[plans.{}]`, or make the rule `public`", plan.name);
        return refuse("anonymous", "true", &problem, &expected);
    }
    Ok(())
}
