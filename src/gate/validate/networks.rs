//! Validation of limits that count networks: the clients' addresses must be known.

use crate::account::{InFlightLimit, QuotaPolicy, QuotaRef, QuotaScope};
use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, refuse};

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    if builder.proxies.has_peers() {
        return Ok(());
    }
    if builder.proxies.trusts_anyone() {
        let problem = "a proxy is trusted by its address, and connections have none";
        return refuse("proxies.peer", "false", problem, "leave out either `peer = false` or `trusted`");
    }
    if builder.attempts.is_some() {
        let problem = "failed attempts are counted for each network, and `proxies.peer` is `false`: no client's address is \
                       known";
        return refuse("attempts", "", problem, REMEDY_OF_ATTEMPTS);
    }
    if let Some(tier) = &builder.anonymous {
        let problem = "requests without a key are limited by network, and `proxies.peer` is `false`: no client's address is \
                       known";
        let expected = "leave out `peer = false` and pass the peer's address, or leave `anonymous` out";
        return refuse("anonymous", tier.plan.as_str(), problem, expected);
    }
    for (name, policy) in &builder.quotas {
        one(policy, &format!("quotas.{name}"))?;
    }
    for plan in &builder.plans {
        list(&plan.quotas, &format!("plans.{}", plan.name))?;
        in_flight(plan.in_flight.as_ref(), &format!("plans.{}", plan.name))?;
        for (route, terms) in &plan.rules {
            list(&terms.quotas, &format!("plans.{}.rules.{route}", plan.name))?;
        }
    }
    for (place, rule) in builder.rules.iter().enumerate() {
        list(&rule.quotas, &format!("rules[{place}]"))?;
        in_flight(rule.in_flight.as_ref(), &format!("rules[{place}]"))?;
    }
    Ok(())
}

const REMEDY_OF_ATTEMPTS: &str =
    "leave out `peer = false` and pass the peer's address, or leave out the limit on failed attempts";

fn list(quotas: &[QuotaRef], member: &str) -> Verdict {
    for (place, quota) in quotas.iter().enumerate() {
        if let QuotaRef::Policy(policy) = quota {
            one(policy, &format!("{member}.quotas[{place}]"))?;
        }
    }
    Ok(())
}

fn one(policy: &QuotaPolicy, member: &str) -> Verdict {
    scope(policy.counts(), "quota", &policy.to_string(), member)
}

fn in_flight(limit: Option<&InFlightLimit>, member: &str) -> Verdict {
    let Some(limit) = limit else { return Ok(()) };
    scope(limit.counts(), "limit", &limit.most().to_string(), &format!("{member}.in_flight"))
}

fn scope(counts: &QuotaScope, what: &str, value: &str, member: &str) -> Verdict {
    if !matches!(counts, QuotaScope::Network(_)) {
        return Ok(());
    }
    let problem =
        format!("the {what} counts networks, and `proxies.peer` is `false`: no client's address is known");
    let expected = "leave out `peer = false` and pass the peer's address, or count keys";
    refuse(member, value, &problem, expected)
}
