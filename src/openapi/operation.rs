//! The description of one operation's requirements and denials.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::account::{QuotaRef, QuotaScope};
use crate::gate::{Core, RouteDescription};
use crate::openapi::{answers, kinds, merge, schemes};
use crate::respond::CreditHeaders;
use crate::rule::CompiledRule;
use crate::rule::{Cost, Rule, ScopeRule, Weight};

/// An operation with its rule.
pub(super) struct Operation<'a> {
    core: &'a Core,
    compiled: &'a Arc<CompiledRule>,
    method: &'a str,
    path: &'a str,
}

impl<'a> Operation<'a> {
    pub(super) fn new(core: &'a Core, method: &'a str, path: &'a str) -> Self {
        let (place, _) = core.rules.find(method, path);
        Self { core, compiled: core.rules.at(place), method, path }
    }

    pub(super) fn add_to(&self, operation: &mut Map<String, Value>, schemas: &mut Map<String, Value>) {
        let rule = &self.compiled.rule;
        let security = match rule {
            rule if rule.public => json!([]),
            rule if rule.anonymous => schemes::optional(self.core),
            _ => schemes::required(self.core),
        };
        operation.insert("security".to_owned(), security);
        if rule.public && self.compiled.limits.is_none() {
            return;
        }
        let asked = asked(rule, self.core);
        if !asked.is_empty() {
            operation.insert("x-tollgate".to_owned(), asked.into());
        }
        describe(operation, &in_words(rule, self.core));
        let mounted = self.core.mounted.as_ref().filter(|own| own.takes(self.path));
        if let Some(own) = mounted {
            add_described(operation, own.described(self.method, self.path), schemas);
        }
        let denials = if rule.public {
            kinds::of_public(self.core, self.compiled)
        } else {
            kinds::of(self.core, self.compiled, mounted.is_some())
        };
        let responses = operation.entry("responses").or_insert_with(|| json!({}));
        let Some(responses) = responses.as_object_mut() else { return };
        for (status, response) in answers::of(self.core, &denials, self.path, self.method != "HEAD", schemas)
        {
            merge::response(responses, &status, response);
        }
    }
}

/// Adds the parameters, the body and the responses of one of the gate's own routes. Keeps the operation's own description of
/// the same parameter or status, and of the body.
fn add_described(
    operation: &mut Map<String, Value>,
    described: RouteDescription,
    schemas: &mut Map<String, Value>,
) {
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    for ours in described.parameters {
        let Some(all) = parameters.as_array_mut() else { break };
        let same = |known: &Value| known["name"] == ours["name"] && known["in"] == ours["in"];
        if !all.iter().any(same) {
            all.push(ours);
        }
    }
    if let Some(ours) = described.body {
        operation.entry("requestBody").or_insert(ours);
    }
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    for (status, ours) in described.responses {
        let Some(all) = responses.as_object_mut() else { break };
        all.entry(status).or_insert(ours);
    }
    schemas.extend(described.schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
}

/// Returns the rule's requirements other than a key, as the members of `x-tollgate`.
fn asked(rule: &Rule, core: &Core) -> Map<String, Value> {
    let mut asked = Map::new();
    let mut ask = |name: &str, value: Value| drop(asked.insert(name.to_owned(), value));
    match &rule.cost {
        cost if cost.is_free() => {}
        Cost::Fixed(cost) => ask("cost", cost.get().into()),
        Cost::PerUnit { parameter, each, default, most, .. } => {
            let cost =
                json!({ "parameter": parameter, "each": each.get(), "default": default, "most": most });
            ask("cost", cost);
        }
    }
    let texts =
        |names: &[_]| -> Value { names.iter().map(|name: &crate::name::Scope| name.as_str()).collect() };
    match &rule.scopes {
        ScopeRule::Unnamed | ScopeRule::Everyone => {}
        ScopeRule::AnyOf(scopes) => ask("scopes", json!({ "any": texts(scopes) })),
        ScopeRule::AllOf(scopes) => ask("scopes", json!({ "all": texts(scopes) })),
    }
    if let Some(plan) = &rule.min_plan {
        ask("min_plan", plan.as_str().into());
    }
    for (name, plans) in [("open_to", &rule.open_to), ("closed_to", &rule.closed_to)] {
        if !plans.is_empty() {
            ask(name, plans.iter().map(crate::name::PlanName::as_str).collect());
        }
    }
    if !rule.agreements.is_empty() {
        ask("agreements", rule.agreements.iter().map(crate::name::Agreement::as_str).collect());
    }
    if rule.subscription {
        ask("subscription", true.into());
    }
    if rule.anonymous {
        ask("anonymous", true.into());
    }
    if !rule.quotas.is_empty() {
        ask("quotas", rule.quotas.iter().map(|quota| quota_text(quota, core)).collect());
    }
    let terms = terms_of(rule, core);
    if !terms.is_empty() {
        let terms = terms.into_iter().map(|(plan, quotas)| (plan.to_owned(), Value::from(quotas)));
        ask("plan_quotas", Value::Object(terms.collect()));
    }
    match &rule.weight {
        weight if weight.is_one() => {}
        Weight::Fixed(weight) => ask("weight", (*weight).into()),
        Weight::Parameter { parameter, least, default, most } => {
            let weight = json!({ "parameter": parameter, "least": least, "default": default, "most": most });
            ask("weight", weight);
        }
        Weight::Header { header, least, default, most } => {
            let weight =
                json!({ "header": header.as_str(), "least": least, "default": default, "most": most });
            ask("weight", weight);
        }
        Weight::Reported { reserve, most } => ask("weight", json!({ "reserve": reserve, "most": most })),
    }
    if let Some(limit) = &rule.in_flight {
        ask("in_flight", limit.most().into());
    }
    asked
}

/// Returns the number of a quota, with the owner that it counts if that is not the key.
fn quota_text(quota: &QuotaRef, core: &Core) -> String {
    let policy = match quota {
        QuotaRef::Policy(policy) => Some(policy),
        QuotaRef::Named(name) => core.plans.named_quota(name),
    };
    let Some(policy) = policy else { return quota.to_string() };
    match policy.counts() {
        QuotaScope::Key => policy.to_string(),
        QuotaScope::Account => format!("{policy} for each account"),
        QuotaScope::Network(_) => format!("{policy} for each network"),
        QuotaScope::Pool(pool) => format!("{policy} for the pool {}", pool.as_str()),
    }
}

/// Returns the quotas that plans have for the rule, by plan.
fn terms_of<'c>(rule: &Rule, core: &'c Core) -> BTreeMap<&'c str, Vec<String>> {
    let terms = core.plan_data.values().filter_map(|plan| Some((plan, rule.terms_of(plan)?.1)));
    let texts = terms.map(|(plan, terms)| {
        (plan.name.as_str(), terms.quotas.iter().map(|quota| quota_text(quota, core)).collect::<Vec<_>>())
    });
    texts.filter(|(_, quotas)| !quotas.is_empty()).collect()
}

fn in_words(rule: &Rule, core: &Core) -> String {
    let mut words = Vec::new();
    match &rule.cost {
        cost if cost.is_free() => {}
        Cost::Fixed(cost) => words.push(format!("Costs {cost} credit{}.", if cost.get() == 1 { "" } else { "s" })),
        Cost::PerUnit { parameter, each, default, most, .. } => words.push(format!(
            "Costs {each} credits for each unit of `{parameter}`. Its default is {default}, and its maximum is {most}."
        )),
    }
    for (member, header) in core.credit_headers.iter().flat_map(CreditHeaders::names) {
        if !rule.cost.is_free() {
            words.push(format!("The header `{}` of the response contains the {member}.", header.named));
        }
    }
    if let Some(scopes) = rule.scopes.as_text() {
        words.push(format!("A restricted key needs the scope {scopes}."));
    }
    if let Some(plan) = &rule.min_plan {
        words.push(format!("Requires the plan {plan} or a higher plan."));
    }
    if !rule.agreements.is_empty() {
        let names: Vec<&str> = rule.agreements.iter().map(crate::name::Agreement::as_str).collect();
        words.push(format!("The account must have signed: {}.", names.join(", ")));
    }
    if rule.subscription {
        words.push("The account must have an active subscription.".to_owned());
    }
    if let Some(plan) = core.anonymous_plan().filter(|_| rule.anonymous) {
        words.push(format!("A request without a key is served under the plan {plan}."));
    }
    if !rule.quotas.is_empty() {
        let quotas: Vec<String> = rule.quotas.iter().map(|quota| quota_text(quota, core)).collect();
        words.push(format!("Has rate limits of its own: {}.", quotas.join(", ")));
    }
    for (plan, quotas) in terms_of(rule, core) {
        words.push(format!("Rate limits on the plan {plan}: {}.", quotas.join(", ")));
    }
    match &rule.weight {
        weight if weight.is_one() => {}
        Weight::Fixed(weight) => words.push(format!("Takes {weight} units of each rate limit.")),
        Weight::Parameter { parameter, default, most, .. } => {
            words.push(weight_words(&format!("`{parameter}`"), *default, *most));
        }
        Weight::Header { header, default, most, .. } => {
            words.push(weight_words(&format!("the header `{header}`"), *default, *most));
        }
        Weight::Reported { reserve, most } => words.push(format!(
            "Takes as many units of each rate limit as it uses, up to {most}. {reserve} of them are taken in advance."
        )),
    }
    if let Some(limit) = &rule.in_flight {
        let owner = match limit.counts() {
            QuotaScope::Key => "of a key ",
            QuotaScope::Account => "of an account ",
            QuotaScope::Network(_) => "of a network ",
            QuotaScope::Pool(_) => "",
        };
        words.push(format!("At most {} requests {owner}can be in flight at once.", limit.most()));
    }
    words.join(" ")
}

/// Describes a weight that a request names.
fn weight_words(named: &str, default: u32, most: u32) -> String {
    format!(
        "Takes as many units of each rate limit as {named} says. Its default is {default}, and its maximum is {most}."
    )
}

/// Appends a paragraph to an operation's description, unless the description already ends with it.
fn describe(operation: &mut Map<String, Value>, words: &str) {
    if words.is_empty() {
        return;
    }
    let described = operation.get("description").and_then(Value::as_str).unwrap_or_default();
    if !described.ends_with(words) {
        let gap = if described.is_empty() { "" } else { "\n\n" };
        let described = format!("{described}{gap}{words}");
        operation.insert("description".to_owned(), described.into());
    }
}
