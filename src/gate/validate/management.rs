//! Validation of key management over HTTP.

use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, refuse};
use crate::rule::Rule;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    expiry_feature(builder)?;
    scope(builder)?;
    if builder.management.body_time.is_zero() {
        let problem = "the time must not be zero";
        return refuse("management.body_time", "0s", problem, "write a time as in `10s`");
    }
    let Some(path) = &builder.management.path else { return Ok(()) };
    plain(path)?;
    let is_within = |rule: &Rule| {
        rule.pattern().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match builder.rules.iter().position(is_within) {
        None => Ok(()),
        Some(place) => {
            // A rule with a method would take precedence over the gate's own rules, whose restrictions would then be
            // lost.
            let problem = format!("the path is reserved: keys are managed under `{path}`");
            let expected = "remove the rule, or use another `management.path`";
            let member = format!("rules[{place}].route");
            refuse(&member, &builder.rules[place].route(), &problem, expected)
        }
    }
}

/// Rejects a scope that a challenge cannot contain.
fn scope(builder: &GateBuilder) -> Verdict {
    let Some(scope) = &builder.management.scope else { return Ok(()) };
    if scope.is_token() {
        return Ok(());
    }
    let problem = "invalid scope: expected visible ASCII without quotes and backslashes";
    refuse("management.scope", scope.as_str(), problem, "write one as in `keys:manage`")
}

fn plain(path: &str) -> Verdict {
    let expected = "write it as in `/account/api-keys`";
    if path.ends_with('/') || path.contains(['{', '}', '*']) {
        return refuse("management.path", path, "invalid path for key management", expected);
    }
    if !path.starts_with('/') {
        return refuse("management.path", path, "a path must begin with `/`", expected);
    }
    match Rule::new(path) {
        Ok(_) => Ok(()),
        Err(error) => refuse("management.path", error.value(), error.problem(), expected),
    }
}

/// Rejects a feature that no plan includes. No caller could choose an expiry then, so the name is probably misspelt.
fn expiry_feature(builder: &GateBuilder) -> Verdict {
    let Some(feature) = &builder.expiry_feature else { return Ok(()) };
    if !feature.is_empty() && builder.plans.iter().any(|plan| plan.features.contains(feature)) {
        return Ok(());
    }
    let problem =
        if feature.is_empty() { "the feature name is empty" } else { "no plan includes this feature" };
    let expected = "write one of a plan's `features`, or leave it out";
    refuse("management.expiry_feature", feature, problem, expected)
}
