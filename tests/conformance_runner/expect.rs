//! Comparison of an answer with the expected one.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderMap;
use regex::Regex;
use serde_json::Value;
use tollgate::Credits;

use crate::data::Fault;
use crate::fixture::fill;
use crate::steps::Expect;

/// An answer, and what happened behind it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) inner_uris: Vec<String>,
    pub(crate) lookups: usize,
}

type Verdict = Result<(), Fault>;

fn demand(holds: bool, fault: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(fault().into()) }
}

pub(crate) fn check(
    expect: &Expect,
    answer: &Answer,
    saved: &mut BTreeMap<String, String>,
    balance: impl Fn(&str) -> Option<Credits>,
) -> Verdict {
    let body = String::from_utf8_lossy(&answer.body);
    let told = |verdict: Verdict| {
        verdict.map_err(|fault| Fault::from(format!("{fault} (answer {}: {body})", answer.status)))
    };
    told(status(expect, answer))?;
    told(headers(expect, answer, saved))?;
    for (name, pointer) in &expect.save {
        saved.insert(name.clone(), as_text(&json(answer)?, pointer)?);
    }
    told(whole_json(expect, answer, saved))?;
    told(parts_of_json(expect, answer, saved))?;
    told(text(expect, &body, saved))?;
    told(inner(expect, answer, saved))?;
    if let Some(left) = &expect.credits_left {
        let found = balance(&left.account).map(Credits::get);
        demand(found == Some(left.balance), || {
            format!("{} has {found:?} credits, not {}", left.account, left.balance)
        })?;
    }
    Ok(())
}

fn status(expect: &Expect, answer: &Answer) -> Verdict {
    let status = answer.status;
    demand(expect.status.is_none_or(|wanted| wanted == status), || {
        format!("status {status}, not {:?}", expect.status)
    })?;
    let among = expect.status_in.as_ref().is_none_or(|wanted| wanted.contains(&status));
    demand(among, || format!("status {status}, none of {:?}", expect.status_in))
}

fn header<'a>(answer: &'a Answer, name: &str) -> Result<&'a str, Fault> {
    let value = answer.headers.get(name).ok_or_else(|| format!("no header {name}"))?;
    Ok(value.to_str()?)
}

fn headers(expect: &Expect, answer: &Answer, saved: &BTreeMap<String, String>) -> Verdict {
    for (name, wanted) in &expect.headers {
        let (found, wanted) = (header(answer, name)?, fill(wanted, saved));
        let media_type = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let same = if name.eq_ignore_ascii_case("content-type") {
            media_type(found) == media_type(&wanted)
        } else {
            found == wanted
        };
        demand(same, || format!("header {name} is {found:?}, not {wanted:?}"))?;
    }
    for name in &expect.headers_present {
        header(answer, name)?;
    }
    for (name, pattern) in &expect.headers_match {
        let found = header(answer, name)?;
        demand(Regex::new(pattern)?.is_match(found), || {
            format!("header {name} is {found:?}, not {pattern}")
        })?;
    }
    for (name, pointer) in &expect.header_equals_json {
        let (found, wanted) = (header(answer, name)?, as_text(&json(answer)?, pointer)?);
        demand(found == wanted, || format!("header {name} is {found:?}, and {pointer} is {wanted:?}"))?;
    }
    Ok(())
}

fn json(answer: &Answer) -> Result<Value, Fault> {
    serde_json::from_slice(&answer.body).map_err(|fault| format!("the body is no JSON: {fault}").into())
}

fn at<'v>(value: &'v Value, pointer: &str) -> Result<&'v Value, Fault> {
    value.pointer(pointer).ok_or_else(|| format!("nothing at {pointer:?}").into())
}

/// A string as it is, a number or boolean as its JSON text.
fn as_text(value: &Value, pointer: &str) -> Result<String, Fault> {
    match at(value, pointer)? {
        Value::String(text) => Ok(text.clone()),
        plain @ (Value::Number(_) | Value::Bool(_)) => Ok(plain.to_string()),
        other => Err(format!("{pointer:?} is neither text, number nor boolean: {other}").into()),
    }
}

/// The value with saved values in place of their names.
fn filled(value: &Value, saved: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, saved)),
        Value::Array(items) => items.iter().map(|item| filled(item, saved)).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), filled(value, saved))).collect())
        }
        plain => plain.clone(),
    }
}

/// Returns true if a value holds at least these members, recursively.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| value.get(name).is_some_and(|value| holds(value, wanted)))
        }
        _ => value == wanted,
    }
}

fn whole_json(expect: &Expect, answer: &Answer, saved: &BTreeMap<String, String>) -> Verdict {
    if let Some(wanted) = &expect.json {
        let (found, wanted) = (json(answer)?, filled(wanted, saved));
        demand(found == wanted, || format!("the body is not {wanted}"))?;
    }
    if let Some(wanted) = &expect.json_has {
        let (found, wanted) = (json(answer)?, filled(wanted, saved));
        demand(holds(&found, &wanted), || format!("the body does not hold {wanted}"))?;
    }
    Ok(())
}

fn names_are(value: &Value, pointer: &str, wanted: &[String]) -> Verdict {
    let members = value.as_object().ok_or_else(|| format!("{pointer:?} is no object"))?;
    let (found, wanted): (BTreeSet<_>, BTreeSet<_>) = (members.keys().collect(), wanted.iter().collect());
    demand(found == wanted, || format!("{pointer:?} has the members {found:?}, not {wanted:?}"))
}

fn items<'v>(value: &'v Value, pointer: &str) -> Result<&'v Vec<Value>, Fault> {
    at(value, pointer)?.as_array().ok_or_else(|| format!("{pointer:?} is no list").into())
}

fn parts_of_json(expect: &Expect, answer: &Answer, saved: &BTreeMap<String, String>) -> Verdict {
    for (pointer, wanted) in &expect.json_keys {
        names_are(at(&json(answer)?, pointer)?, pointer, wanted)?;
    }
    for (pointer, pattern) in &expect.json_matches {
        let found = as_text(&json(answer)?, pointer)?;
        demand(Regex::new(pattern)?.is_match(&found), || format!("{pointer} is {found:?}, not {pattern}"))?;
    }
    for (pointer, wanted) in &expect.json_some {
        let (found, wanted) = (json(answer)?, filled(wanted, saved));
        let some = items(&found, pointer)?.iter().any(|item| holds(item, &wanted));
        demand(some, || format!("no item of {pointer} holds {wanted}"))?;
    }
    for (pointer, whole) in &expect.prefix_of {
        let found = json(answer)?;
        let (start, whole) = (as_text(&found, pointer)?, as_text(&found, whole)?);
        demand(whole.starts_with(&start), || format!("{pointer} is not how {whole:?} begins"))?;
    }
    for (pointer, wanted) in &expect.json_list_item_keys {
        for item in items(&json(answer)?, pointer)? {
            names_are(item, pointer, wanted)?;
        }
    }
    Ok(())
}

fn text(expect: &Expect, body: &str, saved: &BTreeMap<String, String>) -> Verdict {
    for unwanted in expect.body_lacks.iter().map(|text| fill(text, saved)) {
        demand(!body.contains(&unwanted), || format!("the body holds {unwanted:?}"))?;
    }
    for wanted in expect.body_holds.iter().map(|text| fill(text, saved)) {
        demand(body.contains(&wanted), || format!("the body lacks {wanted:?}"))?;
    }
    Ok(())
}

fn inner(expect: &Expect, answer: &Answer, saved: &BTreeMap<String, String>) -> Verdict {
    let calls = answer.inner_uris.len();
    if let Some(called) = expect.inner_called {
        demand(calls == usize::from(called), || format!("the service was called {calls} times"))?;
    }
    if let Some(lookups) = expect.store_lookups {
        demand(answer.lookups == lookups, || {
            format!("the store was asked {} times, not {lookups}", answer.lookups)
        })?;
    }
    if expect.inner_uri_lacks.is_empty() && expect.inner_uri_is.is_none() {
        return Ok(());
    }
    let uri = answer.inner_uris.first().ok_or("the service was not called")?;
    for unwanted in expect.inner_uri_lacks.iter().map(|text| fill(text, saved)) {
        demand(!uri.contains(&unwanted), || format!("the service saw {unwanted:?} in {uri}"))?;
    }
    let wanted = expect.inner_uri_is.as_ref().map(|wanted| fill(wanted, saved));
    demand(wanted.as_ref().is_none_or(|wanted| wanted == uri), || {
        format!("the service saw {uri}, not {wanted:?}")
    })
}
