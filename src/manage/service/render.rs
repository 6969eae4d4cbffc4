//! Keys as JSON, with the members of the specification of `QuantConomy`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::account::ParamLimit;
use crate::clock::Timestamp;
use crate::credit::{Balance, Bucket};
use crate::manage::{CurrencyUsage, KeyPage, KeyUsage, KeyView, Revoked, WindowUsage};

/// Returns a response with `data` and an optional second member. Caches do not store it.
pub(super) fn answer(status: StatusCode, data: Value, beside: Option<(&str, Value)>) -> Response<Bytes> {
    let mut body = Map::new();
    body.insert("data".into(), data);
    if let Some((name, value)) = beside {
        body.insert(name.into(), value);
    }
    let mut response = Response::new(Value::Object(body).to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns a response with the ids of the revoked keys. `announced` is true if the other nodes were notified of all of
/// them.
pub(super) fn revoked(all: &[Revoked]) -> Response<Bytes> {
    let announced = all.iter().all(|revoked| revoked.announced);
    let ids: Vec<Value> = all.iter().map(|revoked| revoked.key.id.to_string().into()).collect();
    // 202 if the other nodes were not notified: they deny the keys only later.
    let status = if announced { StatusCode::OK } else { StatusCode::ACCEPTED };
    answer(status, json!({ "revoked": ids, "announced": announced }), None)
}

/// Returns a response without a body.
pub(super) fn nothing() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the seven members of a key in a list.
pub(super) fn listed(key: &KeyView) -> Value {
    let moment = |moment: Option<Timestamp>| moment.map(Timestamp::to_millis_text);
    json!({
        "id": key.id.to_string(),
        "name": key.name,
        "keyPrefix": key.start,
        "isActive": key.is_active,
        "expiresAt": moment(key.expires_at),
        "lastUsedAt": moment(key.last_used_at),
        "createdAt": moment(key.created_at),
    })
}

/// Returns the members of a single key: those of a list, and its restrictions and metadata if it has any.
pub(super) fn whole(key: &KeyView) -> Value {
    let mut value = listed(key);
    let record = &key.record;
    let texts = |texts: Vec<String>| Value::from(texts);
    let members = [
        ("scopes", record.scopes.as_ref().map(|all| texts(all.iter().map(ToString::to_string).collect()))),
        (
            "paths",
            record.paths.as_ref().map(|all| texts(all.iter().map(|path| path.as_str().to_owned()).collect())),
        ),
        (
            "allowIps",
            record.allowlist.as_ref().map(|all| texts(all.iter().map(ToString::to_string).collect())),
        ),
        ("issuedBy", key.issued_by.map(|issuer| Value::from(issuer.to_string()))),
        ("metadata", Some(json!(record.metadata)).filter(|_| !record.metadata.is_empty())),
    ];
    if let Value::Object(object) = &mut value {
        object.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    value
}

/// Returns a response with a key and its windows, its balance and its limits on parameters.
pub(super) fn left(key: &KeyView, key_usage: &KeyUsage) -> Response<Bytes> {
    let window = |window: &WindowUsage| {
        let mut value = json!({
            "policy": window.policy,
            "quota": window.quota,
            "capacity": window.capacity,
            "windowSeconds": window.window.as_secs_f64(),
            "remaining": window.remaining,
            "resetSeconds": window.reset.as_secs_f64().ceil(),
        });
        if let Some(unit) = &window.unit {
            value["unit"] = unit.as_str().into();
        }
        value
    };
    let credits = key_usage.balance.map_or(Value::Null, credits);
    let caps: Map<String, Value> = key_usage
        .caps
        .iter()
        .map(|(name, cap)| {
            (
                name.to_owned(),
                match cap {
                    ParamLimit::AtMost(most) => json!(most),
                    ParamLimit::Forbidden => json!("forbidden"),
                },
            )
        })
        .collect();
    let mut data = whole(key);
    if let Value::Object(members) = &mut data {
        members.insert("plan".into(), key_usage.plan.as_str().into());
        members.insert("credits".into(), credits);
        members.insert("currencies".into(), key_usage.currencies.iter().map(currency).collect());
        members.insert("windows".into(), key_usage.windows.iter().map(window).collect());
        members.insert("inFlight".into(), key_usage.in_flight.into());
        members.insert("caps".into(), Value::Object(caps));
    }
    answer(StatusCode::OK, data, None)
}

/// Returns a balance: a number, which is negative for a debt, or `unlimited`.
fn credits(balance: Balance) -> Value {
    match balance {
        Balance::Limited(left) => json!(left.get()),
        Balance::Owed(debt) => json!(-debt.get().cast_signed()),
        Balance::Unlimited => json!("unlimited"),
    }
}

/// Returns the credits of an account in one currency, and the budget of a key.
fn currency(usage: &CurrencyUsage) -> Value {
    let moment = |moment: Option<Timestamp>| moment.map(Timestamp::to_millis_text);
    let bucket = |bucket: &Bucket| {
        json!({
            "id": bucket.id.to_string(),
            "kind": bucket.terms.kind.name(),
            "amount": bucket.amount.get(),
            "left": bucket.left.get(),
            "priority": bucket.terms.priority,
            "validFrom": moment(bucket.terms.valid_from),
            "expiresAt": moment(bucket.terms.expires),
        })
    };
    let budget = usage.budget.map(|budget| {
        let (amount, left) = (budget.amount.get(), budget.left.get());
        json!({ "amount": amount, "left": left, "resetsAt": moment(budget.resets) })
    });
    json!({
        "currency": usage.currency.as_str(),
        "credits": credits(usage.balance),
        "buckets": usage.buckets.iter().map(bucket).collect::<Vec<_>>(),
        "budget": budget,
    })
}

/// Returns a response with a page of keys, with the issuer of each key if requested.
pub(super) fn page(page: &KeyPage, issuers: bool) -> Response<Bytes> {
    let item = |key: &KeyView| {
        let mut value = listed(key);
        if issuers {
            value["issuedBy"] = key.issued_by.map(|issuer| issuer.to_string()).into();
        }
        value
    };
    let next = page.next.map(|next| ("nextCursor", Value::from(next.to_string())));
    answer(StatusCode::OK, page.keys.iter().map(item).collect(), next)
}
