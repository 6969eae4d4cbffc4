//! Descriptions of denials as OpenAPI responses. The gate builds the response to each denial, and that response is
//! described.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Response};
use serde_json::{Map, Value, json};

use crate::clock::{ManualClock, Timestamp};
use crate::denial::{Denial, DenialKind};
use crate::gate::Core;
use crate::openapi::schema;
use crate::respond::{CreditHeaders, DenialContext};

/// The time of the examples: 2026-04-30T12:00:00Z.
const EXAMPLE: Timestamp = Timestamp::from_millis(1_777_550_400_000);

/// The responses of one status.
#[derive(Default)]
struct Status {
    headers: Map<String, Value>,
    /// The contents, by media type.
    contents: BTreeMap<String, Content>,
    descriptions: Vec<String>,
}

#[derive(Default)]
struct Content {
    schema: Option<Value>,
    examples: Map<String, Value>,
}

/// Returns the description of these denials at this path, by status. Adds the referenced schemas to `schemas`.
pub(super) fn of(
    core: &Core,
    denials: &[Denial],
    path: &str,
    has_body: bool,
    schemas: &mut Map<String, Value>,
) -> Vec<(String, Value)> {
    let mut by_status: BTreeMap<u16, Status> = BTreeMap::new();
    for denial in denials {
        let response = answer(core, denial, path);
        by_status.entry(response.status().as_u16()).or_default().add(core, denial.kind(), &response);
    }
    let described =
        |(status, answers): (u16, Status)| (status.to_string(), answers.describe(status, has_body, schemas));
    by_status.into_iter().map(described).collect()
}

fn answer(core: &Core, denial: &Denial, path: &str) -> Response<Bytes> {
    let (id, clock) = (core.request_ids.example(), ManualClock::starting_at(EXAMPLE));
    let context = DenialContext::new(path, &id, core.request_ids.header(), &clock, &[]);
    core.responders.http().respond(denial, &context)
}

impl Status {
    fn add(&mut self, core: &Core, kind: DenialKind, response: &Response<Bytes>) {
        let id = core.request_ids.header();
        let limits = ["ratelimit", "ratelimit-policy"].map(HeaderName::from_static);
        let is_limited = matches!(kind, DenialKind::RateLimited | DenialKind::InFlightLimited);
        let limited = limits.iter().filter(|_| core.limit_headers && is_limited);
        let denial_headers = [&WWW_AUTHENTICATE, &RETRY_AFTER]
            .into_iter()
            .filter(|name| response.headers().contains_key(*name));
        for name in denial_headers.chain([id]).chain(limited) {
            self.headers.insert(canonical(name), header(name));
        }
        let credits = core.credit_headers.iter().filter(|_| kind == DenialKind::CreditsExhausted);
        for (member, header) in credits.flat_map(CreditHeaders::names) {
            self.headers.insert(header.named.to_string(), credit_header(member));
        }
        let description = kind.name().replace('_', " ");
        if !self.descriptions.contains(&description) {
            self.descriptions.push(description);
        }
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let Some(media_type) = media_type else { return };
        self.contents.entry(media_type.to_owned()).or_default().add(kind, response.body());
    }

    fn describe(self, status: u16, has_body: bool, schemas: &mut Map<String, Value>) -> Value {
        let mut response = json!({
            "description": format!("Denied: {}.", self.descriptions.join(", ")),
            "headers": self.headers,
        });
        if !has_body {
            return response;
        }
        let mut content = Map::new();
        for (place, (media_type, said)) in self.contents.into_iter().enumerate() {
            let name = if place == 0 { format!("Denial{status}") } else { format!("Denial{status}-{place}") };
            let known = schemas.get(&name);
            let schema = said.schema.unwrap_or_else(|| json!({ "type": "string" }));
            // Routes may differ in the kinds of denial that have one status, so the schema covers all of them.
            let schema = known.map_or_else(|| schema.clone(), |known| schema::either(known, &schema));
            schemas.insert(name.clone(), schema);
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            content.insert(media_type, json!({ "schema": schema, "examples": said.examples }));
        }
        response["content"] = content.into();
        response
    }
}

impl Content {
    fn add(&mut self, kind: DenialKind, body: &Bytes) {
        let value = serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()));
        let seen = schema::of(&value);
        self.schema =
            Some(self.schema.take().map_or_else(|| seen.clone(), |known| schema::either(&known, &seen)));
        // Kinds with equal bodies share one example.
        if self.examples.values().all(|example| example["value"] != value) {
            self.examples.insert(kind.name().to_owned(), json!({ "value": value }));
        }
    }
}

fn header(name: &HeaderName) -> Value {
    if *name == RETRY_AFTER {
        return json!({
            "description": "The number of seconds after which the request can be repeated.",
            "schema": { "type": "integer", "minimum": 1 },
        });
    }
    let description = match name.as_str() {
        "www-authenticate" => "The authentication schemes with which a key can be sent.",
        "ratelimit" => {
            "For each quota: the remaining units (`r`), and the seconds until more are available (`t`)."
        }
        "ratelimit-policy" => {
            "The limits that apply to the request: `q` units (`qu`; requests by default) in `w` seconds, or at once."
        }
        _ => "The id of the request.",
    };
    json!({ "description": description, "schema": { "type": "string" } })
}

fn credit_header(member: &str) -> Value {
    let description = match member {
        "cost" => "The cost of the request, in credits.",
        _ => "The balance of the account, in credits.",
    };
    json!({ "description": description, "schema": { "type": "integer", "minimum": 0 } })
}

/// Returns a header's name in its usual capitalisation.
fn canonical(name: &HeaderName) -> String {
    let word = |word: &str| match word {
        "www" | "id" => word.to_ascii_uppercase(),
        "ratelimit" => "RateLimit".to_owned(),
        word => word.get(..1).unwrap_or_default().to_ascii_uppercase() + word.get(1..).unwrap_or_default(),
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}
