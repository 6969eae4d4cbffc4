//! `OpenAPI` descriptions of the query parameters, the bodies and the responses of the endpoints.

use serde_json::{Value, json};

use super::LONGEST_OVERLAP;
use crate::gate::RouteDescription;
use crate::manage::limits;

/// The names of the schemas of a key, of the bodies and of usage.
const KEY: &str = "ManagedKey";
const NEW: &str = "NewManagedKey";
const CHANGE: &str = "ManagedKeyChange";
const ROTATION: &str = "ManagedKeyRotation";
const USAGE: &str = "ManagedKeyUsage";

/// Returns the description of the endpoint with these segments below the path of the key management.
pub(super) fn described(segments: &[&str], method: &str) -> RouteDescription {
    let one = |description: &str| answer(description, &key_reference());
    let (parameters, responses) = match (segments, method) {
        ([], "GET") => {
            let keys = json!({ "type": "array", "items": key_reference() });
            let mut page = answer("A page of keys. If there are more keys, `nextCursor` is present.", &keys);
            page["content"][JSON]["schema"]["properties"]["nextCursor"] = uuid();
            (of_list(), vec![("200", page)])
        }
        ([], "POST") => (Vec::new(), vec![("201", with_secret("The new key, and its secret in `apiKey`."))]),
        (["me"], "GET") => {
            (Vec::new(), vec![("200", one("The calling key, with its remaining limits and credits."))])
        }
        ([_, "usage"], "GET") => return of_usage(),
        ([_], "GET") => (Vec::new(), vec![("200", one("The key."))]),
        ([_], "PATCH") => (Vec::new(), vec![("200", one("The changed key."))]),
        ([_], "DELETE") => (vec![with_issued()], of_revocation()),
        ([_, "rotate"], "POST") => {
            (Vec::new(), vec![("200", with_secret("The key, and its new secret in `apiKey`."))])
        }
        _ => return RouteDescription::default(),
    };
    let mut schemas = vec![(KEY, key())];
    let body = body(segments, method).map(|(name, schema, required)| {
        schemas.push((name, schema));
        json!({ "required": required, "content": { JSON: { "schema": reference(name) } } })
    });
    RouteDescription { parameters, body, responses, schemas }
}

/// Returns the description of the endpoints for usage.
fn of_usage() -> RouteDescription {
    let steps = json!({ "type": "string", "enum": ["minute", "hour", "day", "month"], "default": "hour" });
    let formats = json!({ "type": "string", "enum": ["json", "csv"], "default": "json" });
    let from = "The start of the range, rounded down to a step. Defaults to 60 minutes, 24 hours, 30 days or 12 months \
                before `to`.";
    let to = "The end of the range, which is not part of it. Defaults to the end of the present step. A range has at most \
              10000 steps.";
    let parameters = vec![
        parameter("from", from, &moment()),
        parameter("to", to, &moment()),
        parameter("step", "The step of time, in UTC.", &steps),
        parameter("format", "The format of the response.", &formats),
    ];
    let mut response = answer("The usage of the key.", &reference(USAGE));
    response["content"]["text/csv"] = json!({ "schema": text() });
    let responses = vec![("200", response)];
    RouteDescription { parameters, body: None, responses, schemas: vec![(USAGE, usage())] }
}

/// Returns the schema of the usage of a key.
fn usage() -> Value {
    let number = || json!({ "type": "integer", "minimum": 0 });
    let refused = json!({
        "type": "object",
        "description": "The number of refused requests, by the kind of denial.",
        "additionalProperties": number(),
    });
    let point = json!({
        "type": "object",
        "properties": {
            "start": moment(),
            "requests": number(),
            "admitted": number(),
            "abandoned": number(),
            "refused": refused,
            "credits": number(),
            "units": number(),
            "bytes": number(),
            "lastSeen": moment(),
        },
        "required": ["start", "requests", "admitted", "abandoned", "refused", "credits", "units", "bytes", "lastSeen"],
    });
    let points = json!({
        "type": "array",
        "items": point,
        "description": "The steps with requests. The latest requests are counted after a few seconds.",
    });
    json!({
        "type": "object",
        "properties": { "key": uuid(), "step": text(), "from": moment(), "to": moment(), "points": points },
        "required": ["key", "step", "from", "to", "points"],
    })
}

/// Returns the name and the schema of an endpoint's body, and true if the body is required.
fn body(segments: &[&str], method: &str) -> Option<(&'static str, Value, bool)> {
    Some(match (segments, method) {
        ([], "POST") => (NEW, new_key(), true),
        ([_], "PATCH") => (CHANGE, change(), true),
        ([_, "rotate"], "POST") => (ROTATION, rotation(), false),
        _ => return None,
    })
}

const JSON: &str = "application/json";

/// Returns a response whose `data` has this schema.
fn answer(description: &str, data: &Value) -> Value {
    let schema = json!({ "type": "object", "properties": { "data": data }, "required": ["data"] });
    json!({ "description": description, "content": { JSON: { "schema": schema } } })
}

fn with_secret(description: &str) -> Value {
    let secret = json!({ "type": "object", "properties": { "apiKey": text() }, "required": ["apiKey"] });
    answer(description, &json!({ "allOf": [key_reference(), secret] }))
}

fn of_revocation() -> Vec<(&'static str, Value)> {
    let revoked = json!({
        "type": "object",
        "properties": {
            "revoked": { "type": "array", "items": uuid(), "description": "The ids of the revoked keys." },
            "announced": { "type": "boolean", "description": "True if the other nodes were notified." },
        },
        "required": ["revoked", "announced"],
    });
    let unannounced = "The keys are revoked. Other nodes could not be notified: they deny the keys within the bound on staleness \
        of their caches. Repeat the request to notify them again.";
    let gone = "The key is revoked, and the other nodes were notified.";
    vec![
        (
            "200",
            answer(
                "With `withIssued=true`: the keys are revoked, and the other nodes were notified.",
                &revoked,
            ),
        ),
        ("202", answer(unannounced, &revoked)),
        ("204", json!({ "description": gone })),
    ]
}

fn with_issued() -> Value {
    let description = "If true, also revokes the keys that this key issued, and the keys that those issued.";
    parameter("withIssued", description, &json!({ "type": "boolean", "default": false }))
}

/// Returns the query parameters of a list.
fn of_list() -> Vec<Value> {
    let status = json!({ "type": "string", "enum": ["active", "paused", "revoked"] });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 1000 });
    vec![
        parameter("limit", "The maximum number of keys on a page.", &limit),
        parameter("cursor", "The `nextCursor` of the previous page.", &uuid()),
        parameter("status", "Returns only keys with this status.", &status),
        parameter(
            "environment",
            "Returns only keys of this environment.",
            &json!({ "type": "string", "minLength": 1 }),
        ),
        parameter("issuedBy", "Returns only keys that the key with this id issued.", &uuid()),
    ]
}

fn parameter(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn key_reference() -> Value {
    reference(KEY)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn new_key() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": name(),
            "expiresAt": moment(),
            "environment": { "type": "string", "description": "Defaults to the environment of the caller's key." },
            "scopes": list(),
            "paths": list(),
            "allowIps": list(),
            "metadata": metadata(),
        },
        "required": ["name"],
        "additionalProperties": false,
    })
}

fn change() -> Value {
    let removed = "`null` removes it.";
    // This form of a schema that allows `null` is valid in OpenAPI 3.0 and 3.1.
    let or_null = |schema: Value| json!({ "description": removed, "anyOf": [schema, { "enum": [null] }] });
    json!({
        "type": "object",
        "properties": {
            "name": name(),
            "expiresAt": or_null(moment()),
            "scopes": or_null(list()),
            "paths": or_null(list()),
            "allowIps": or_null(list()),
            "metadata": metadata(),
        },
        "minProperties": 1,
        "additionalProperties": false,
    })
}

fn rotation() -> Value {
    let overlap = json!({
        "type": "integer",
        "minimum": 0,
        "maximum": LONGEST_OVERLAP,
        "default": 0,
        "description": "The number of seconds for which the old secret stays valid.",
    });
    json!({
        "type": "object",
        "properties": { "overlapSeconds": overlap },
        "additionalProperties": false,
    })
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": limits::LONGEST_NAME })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// Returns the schema of a list of restrictions.
fn list() -> Value {
    json!({ "type": "array", "items": text(), "maxItems": limits::MOST_LISTED, "uniqueItems": true })
}

fn metadata() -> Value {
    // A length of text counts characters, and the limit on an entry counts bytes.
    let entry = json!({ "type": "string", "maxLength": limits::LONGEST_METADATA });
    json!({ "type": "object", "additionalProperties": entry, "maxProperties": limits::MOST_METADATA })
}

fn key() -> Value {
    // OpenAPI 3.0 and 3.1 have different syntax for types that include `null`. The type of such a member is therefore
    // described in words.
    let moment =
        |what: &str| json!({ "description": format!("{what}. A date and time (RFC 3339), or `null`.") });
    let texts = || json!({ "type": "array", "items": text() });
    json!({
        "type": "object",
        "properties": {
            "id": uuid(),
            "name": text(),
            "keyPrefix": text(),
            "isActive": { "type": "boolean" },
            "expiresAt": moment("The time at which the key expires"),
            "lastUsedAt": moment("The time of the last use"),
            "createdAt": moment("The time of creation"),
            "scopes": texts(),
            "paths": texts(),
            "allowIps": texts(),
            "issuedBy": {
                "description": "The id of the key that issued this key. `null` if no key issued it. Lists contain it only \
                    if the gate is configured to list issuers.",
            },
            "metadata": { "type": "object", "additionalProperties": text() },
        },
        "required": ["id", "name", "keyPrefix", "isActive", "expiresAt", "lastUsedAt", "createdAt"],
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}
