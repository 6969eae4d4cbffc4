//! Validation of limits on requests in flight over a rate limiter that has none.

use crate::account::InFlightLimit;
use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, refuse};

/// Checks that there is no limit on requests in flight. The rate limiter of the type with this name has none.
pub(in crate::gate) fn has_none(builder: &GateBuilder, limiter: &str) -> Verdict {
    one(builder.in_flight.as_ref(), "in_flight", limiter)?;
    for plan in &builder.plans {
        one(plan.in_flight.as_ref(), &format!("plans.{}.in_flight", plan.name), limiter)?;
    }
    for (place, rule) in builder.rules.iter().enumerate() {
        one(rule.in_flight.as_ref(), &format!("rules[{place}].in_flight"), limiter)?;
    }
    Ok(())
}

fn one(limit: Option<&InFlightLimit>, member: &str, limiter: &str) -> Verdict {
    let Some(limit) = limit else { return Ok(()) };
    let problem = format!("the rate limiter `{limiter}` does not limit requests in flight");
    let expected = "use a limiter whose `RateLimiter::limits_in_flight` returns true, such as `RedisLimiter`, or leave the limit out";
    refuse(member, &limit.most().to_string(), &problem, expected)
}
