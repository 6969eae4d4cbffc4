//! Quotas and limits on parameters of a key or an account: as options and as output.

use serde_json::{Map, Value, json};
use tollgate::account::{KeyBudget, ParamLimit, ParamLimits, QuotaRef, QuotaScope};

use crate::arguments::{Usage, read};

/// Parses the quotas of an option: `plan` for those of the plan, `none` for no limit, or a list.
pub(crate) fn quotas(text: &str) -> Result<Option<Vec<QuotaRef>>, Usage> {
    own("quotas", text, |one| read("--quotas", one))
}

/// Parses the budgets of an option: `plan` for those of the plan, `none` for no budget, or a list.
pub(crate) fn budgets(text: &str) -> Result<Option<Vec<KeyBudget>>, Usage> {
    own("budgets", text, |one| read("--budgets", one))
}

/// Parses the limits on parameters of an option: `plan` for those of the plan, `none` for no limit, or a list as in
/// `limit=100,cursor=forbidden`.
pub(crate) fn caps(text: &str) -> Result<Option<ParamLimits>, Usage> {
    let cap = |one: &str| {
        let refused =
            || Usage(format!("`--caps`: invalid cap `{one}`; write `limit=100` or `cursor=forbidden`"));
        let (parameter, most) = one.split_once('=').ok_or_else(refused)?;
        let cap = match most {
            "forbidden" => ParamLimit::Forbidden,
            most => ParamLimit::AtMost(most.parse().map_err(|_| refused())?),
        };
        Ok((parameter.to_owned(), cap))
    };
    Ok(own("caps", text, cap)?.map(ParamLimits::from))
}

/// Parses the limit on requests in flight of an option: `plan` for that of the plan, or a number.
pub(crate) fn in_flight(text: &str) -> Result<Option<u32>, Usage> {
    let refused =
        || Usage(format!("`--in-flight`: invalid limit `{text}`; write a number from 1, or `plan`"));
    match text.trim() {
        "plan" => Ok(None),
        number => number.parse().ok().filter(|most| *most > 0).map(Some).ok_or_else(refused),
    }
}

/// Parses a list of limits. An empty text is rejected: it would remove every limit, which requires the explicit word
/// `none`.
fn own<T>(option: &str, text: &str, one: impl Fn(&str) -> Result<T, Usage>) -> Result<Option<Vec<T>>, Usage> {
    match text.trim() {
        "plan" => Ok(None),
        "none" => Ok(Some(Vec::new())),
        "" => Err(Usage(format!("`--{option}` is empty; write a list, `none` or `plan`"))),
        list => list.split(',').map(|text| one(text.trim())).collect::<Result<_, _>>().map(Some),
    }
}

/// Returns the scope that a quota counts, as it is written in a configuration.
fn counted(counts: &QuotaScope) -> String {
    match counts {
        QuotaScope::Key => "key".to_owned(),
        QuotaScope::Account => "account".to_owned(),
        QuotaScope::Network(_) => "network".to_owned(),
        QuotaScope::Pool(name) => format!("pool:{name}"),
    }
}

/// Returns quotas as JSON; `null` for those of the plan.
pub(crate) fn quotas_json(quotas: Option<&Vec<QuotaRef>>) -> Value {
    let quota = |quota: &QuotaRef| match quota {
        QuotaRef::Named(name) => json!(name),
        QuotaRef::Policy(policy) => json!({
            "name": policy.name(),
            "quota": policy.quota(),
            "windowSeconds": policy.window().as_secs_f64(),
            "counts": counted(policy.counts()),
            "strict": policy.is_strict(),
            "burst": policy.has_burst().then(|| policy.capacity()),
            "unit": policy.unit(),
        }),
    };
    quotas.map(|quotas| quotas.iter().map(quota).collect()).unwrap_or_default()
}

/// Returns limits on parameters as JSON; `null` for those of the plan.
pub(crate) fn caps_json(caps: Option<&ParamLimits>) -> Value {
    let cap = |(parameter, cap): (&str, ParamLimit)| match cap {
        ParamLimit::AtMost(most) => (parameter.to_owned(), json!(most)),
        ParamLimit::Forbidden => (parameter.to_owned(), json!("forbidden")),
    };
    caps.map(|caps| caps.iter().map(cap).collect::<Map<_, _>>().into()).unwrap_or_default()
}

/// Returns text for quotas and limits on parameters, each with two leading spaces. The text is empty if all are the
/// plan's.
pub(crate) fn words(quotas: Option<&Vec<QuotaRef>>, caps: Option<&ParamLimits>) -> String {
    let all = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let quota = |quota: &QuotaRef| {
        let QuotaRef::Policy(policy) = quota else { return quota.to_string() };
        let counts = (*policy.counts() != QuotaScope::Key).then(|| counted(policy.counts()));
        let burst = policy.has_burst().then(|| format!("burst {}", policy.capacity()));
        let unit = policy.unit().map(|unit| format!("unit {unit}"));
        let more: Vec<String> = counts.into_iter().chain(burst).chain(unit).collect();
        if more.is_empty() { quota.to_string() } else { format!("{quota} ({})", more.join(", ")) }
    };
    let cap = |(parameter, cap): (&str, ParamLimit)| match cap {
        ParamLimit::AtMost(most) => format!("{parameter}={most}"),
        ParamLimit::Forbidden => format!("{parameter}=forbidden"),
    };
    let quotas = quotas.map(|own| format!("  quotas {}", all(own.iter().map(quota).collect())));
    let caps = caps.map(|own| format!("  caps {}", all(own.iter().map(cap).collect())));
    let words: String = quotas.into_iter().chain(caps).collect();
    words.escape_debug().to_string()
}
