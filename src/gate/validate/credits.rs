//! Validation of costs, currencies and budgets.

use crate::account::{Allowance, Budget, Plan};
use crate::amount::{Credits, Currency};
use crate::gate::GateBuilder;
use crate::gate::validate::rules::is_open_to;
use crate::gate::validate::{Verdict, refuse};
use crate::rule::{Cost, Rule};
use crate::words;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    if !builder.denies_unmatched {
        rule(&builder.otherwise, builder).map_err(|error| error.in_member("default"))?;
    }
    for (place, one) in builder.rules.iter().enumerate() {
        rule(one, builder).map_err(|error| error.in_member(format!("rules[{place}]")))?;
    }
    for plan in &builder.plans {
        budgets(plan, builder).map_err(|error| error.in_member(format!("plans.{}", plan.name)))?;
    }
    Ok(())
}

fn rule(rule: &Rule, builder: &GateBuilder) -> Verdict {
    if rule.cost.is_free() && rule.most_cost.is_none() {
        return Ok(());
    }
    currency(&rule.currency, builder)?;
    reservation(rule)?;
    affordable(rule, builder)
}

/// Rejects a currency that is probably misspelt: nothing else names it.
fn currency(currency: &Currency, builder: &GateBuilder) -> Verdict {
    let granted = builder.plans.iter().flat_map(Plan::named_currencies);
    let known: Vec<&Currency> = granted.chain(&builder.currencies).chain([&Currency::CREDITS]).collect();
    if known.contains(&currency) {
        return Ok(());
    }
    let meant = words::meant(currency.as_str(), known.iter().map(|known| known.as_str()));
    let expected = format!(
        "{meant}grant it under `[plans.NAME.currencies.{currency}]`, or declare it in `currencies` at the top"
    );
    refuse("currency", currency.as_str(), "no plan grants this currency, and it is not declared", &expected)
}

/// Checks the reservation of a cost that is known only afterwards.
fn reservation(rule: &Rule) -> Verdict {
    let Some(most) = rule.most_cost else { return Ok(()) };
    let (member, value, least, greatest) = match &rule.cost {
        Cost::Fixed(cost) => ("cost.reserve", cost.get(), *cost, *cost),
        Cost::PerUnit { each, least, most, .. } => {
            let of = |units| each.checked_mul(units).unwrap_or(Credits::MAX);
            ("cost.reserve.most", *most, of(*least), of(*most))
        }
    };
    if least.is_zero() {
        let (member, value) = match &rule.cost {
            Cost::Fixed(_) => (member, 0),
            Cost::PerUnit { each, .. } if each.is_zero() => ("cost.reserve.each", 0),
            Cost::PerUnit { least, .. } => ("cost.reserve.least", *least),
        };
        return refuse(member, &value.to_string(), "the reservation can be zero", "write at least 1");
    }
    if greatest > most {
        let problem = format!("the reservation can be above `most`, which is {most}");
        return refuse(
            member,
            &value.to_string(),
            &problem,
            "write a smaller reservation or a larger `most`",
        );
    }
    Ok(())
}

/// Rejects a cost above a plan's whole grant or budget, because it would deny every request of that plan. A plan that
/// grants nothing is exempt, because its accounts use bought credits.
fn affordable(rule: &Rule, builder: &GateBuilder) -> Verdict {
    let (member, least) = match &rule.cost {
        Cost::Fixed(cost) => ("cost", *cost),
        Cost::PerUnit { each, least, .. } => ("cost.each", each.checked_mul(*least).unwrap_or(Credits::MAX)),
    };
    let member =
        if rule.most_cost.is_some() { member.replace("cost", "cost.reserve") } else { member.to_owned() };
    for plan in builder.plans.iter().filter(|plan| is_open_to(rule, plan, builder)) {
        let granted = match plan.credits_in(&rule.currency) {
            Allowance::Grant(grant) => Some(("grants", grant.amount())),
            Allowance::None | Allowance::Unlimited => None,
        };
        let budget = plan.budget_in(&rule.currency).map(|budget| ("has a budget of", budget.amount()));
        let is_short = |(_, amount): &(&str, Credits)| *amount < least && !amount.is_zero();
        if let Some((has, amount)) = granted.into_iter().chain(budget).find(is_short) {
            let problem = format!(
                "the plan `{}` {has} {amount} {}, which is less than the cost of one request",
                plan.name, rule.currency
            );
            let expected = "write a smaller cost or a larger amount, or close the rule to that plan by `closed_to` or \
                            `min_plan`";
            return refuse(&member, &least.to_string(), &problem, expected);
        }
    }
    Ok(())
}

fn budgets(plan: &Plan, builder: &GateBuilder) -> Verdict {
    let own = plan.budget.as_ref().map(|own| ("budget".to_owned(), &Currency::CREDITS, own));
    let others = plan.currencies.iter().filter_map(|(currency, terms)| {
        Some((format!("currencies.{currency}.budget"), currency, terms.budget.as_ref()?))
    });
    own.into_iter().chain(others).try_for_each(|(member, currency, own)| {
        budget(own, currency, plan, builder).map_err(|error| error.in_member(member))
    })
}

fn budget(budget: &Budget, currency: &Currency, plan: &Plan, builder: &GateBuilder) -> Verdict {
    let amount = budget.amount();
    if amount.is_zero() {
        return refuse("amount", "0", "the budget is zero, so that no request is served", "write at least 1");
    }
    let value = amount.to_string();
    if *plan.credits_in(currency) == Allowance::Unlimited {
        let problem =
            "the budget has no effect: the credits of the plan are unlimited, so that nothing is charged";
        return refuse("", &value, problem, "leave it out, or write a grant as the `credits`");
    }
    let costs = |rule: &Rule| !rule.cost.is_free() && rule.currency == *currency;
    if !builder.rules.iter().any(costs) && !costs(&builder.otherwise) {
        let problem = format!("the budget has no effect: no rule has a cost in `{currency}`");
        let expected = format!("leave it out, or write a `cost` with `currency = \"{currency}\"` in a rule");
        return refuse("", &value, &problem, &expected);
    }
    Ok(())
}
