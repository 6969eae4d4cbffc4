//! Validation of alerts.

use std::collections::HashSet;

use crate::account::{Allowance, Plan, as_written};
use crate::alert::{AlertCondition, AlertRule, BalanceThreshold, EVERY_SINK};
use crate::amount::Credits;
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, refuse};
use crate::words;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    for (place, rule) in builder.alerts.rules.iter().enumerate() {
        one(rule, &builder.plans).map_err(|error| error.in_member(format!("alerts[{place}]")))?;
    }
    let mut names = HashSet::new();
    if builder.alerts.are_delivered_elsewhere && !builder.alerts.rules.is_empty() {
        if let Some(sink) = builder.alerts.sinks.first() {
            let expected = "leave the sink, or `alerts_delivered_elsewhere`, out";
            return refuse("alerts", sink.name(), "this gate leaves the delivery to other gates", expected);
        }
        if builder.alerts.store.is_none() {
            let expected = "set a store that the other gates share by `alert_store`, such as `SqlAlertStore`";
            return refuse("alerts", "", "no other gate can deliver the alerts of this one", expected);
        }
    }
    for sink in &builder.alerts.sinks {
        if sink.name() == EVERY_SINK {
            let expected = "give the sink another name";
            return refuse("alerts", sink.name(), "this name is reserved", expected);
        }
        if !names.insert(sink.name()) {
            let expected = "give each sink its own name, and each webhook its own URL";
            return refuse("alerts", sink.name(), "two alert sinks have the same name", expected);
        }
    }
    Ok(())
}

fn one(rule: &AlertRule, plans: &[Plan]) -> Verdict {
    for (place, name) in rule.plans.iter().flatten().enumerate() {
        if !plans.iter().any(|plan| plan.name == *name) {
            let meant = words::meant(name.as_str(), plans.iter().map(|plan| plan.name.as_str()));
            let expected = format!("{meant}define it under `[plans]`");
            return refuse(&format!("plans[{place}]"), name.as_str(), "the plan is not defined", &expected);
        }
    }
    if rule.plans.as_ref().is_some_and(Vec::is_empty) {
        return refuse(
            "plans",
            "[]",
            "the list of plans is empty",
            "name a plan, or leave `plans` out for all",
        );
    }
    let within = |error: ConfigError| error.in_member("when");
    match rule.condition {
        AlertCondition::BalanceBelow(threshold) => balance(threshold, rule, plans).map_err(within),
        AlertCondition::ExpiresWithin(time) if time.is_zero() => {
            let problem = "the alert is never sent, because the time is zero";
            refuse("expires_within", &as_written(time), problem, "write a time as in `7days`").map_err(within)
        }
        AlertCondition::QuotaAbove(share) if share.percent() == 100 => {
            let problem = "the alert is never sent, because no quota is used above its whole";
            refuse("quota_above", &share.to_string(), problem, "write a share up to `99%`").map_err(within)
        }
        AlertCondition::BackEndFailing if rule.plans.is_some() => {
            let problem = "a back end serves all plans";
            refuse("plans", "", problem, "leave `plans` out")
        }
        _ => Ok(()),
    }
}

fn balance(threshold: BalanceThreshold, rule: &AlertRule, plans: &[Plan]) -> Verdict {
    let share = match threshold {
        BalanceThreshold::Credits(Credits::ZERO) => {
            let problem = "the alert is never sent, because no balance is below zero";
            return refuse("balance_below", "0", problem, "write at least 1, or a share as in `20%`");
        }
        BalanceThreshold::Credits(_) => return Ok(()),
        BalanceThreshold::Share(share) => share.to_string(),
    };
    let has_grant =
        |plan: &&Plan| matches!(&plan.credits, Allowance::Grant(grant) if grant.amount() > Credits::ZERO);
    let without = plans
        .iter()
        .find(|plan| !has_grant(plan) && rule.plans.as_ref().is_some_and(|named| named.contains(&plan.name)));
    let expected = "write a number of credits, or give the plan a grant";
    match without {
        Some(plan) => {
            let problem = format!("a share of the grant of the plan `{}`, which has none", plan.name);
            refuse("balance_below", &share, &problem, expected)
        }
        None if !plans.iter().any(|plan| has_grant(&plan)) => {
            refuse("balance_below", &share, "a share of the grant, and no plan has one", expected)
        }
        None => Ok(()),
    }
}
