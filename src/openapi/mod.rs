//! What a gate asks of its callers, as parts of an OpenAPI document.

mod answers;
mod kinds;
mod merge;
mod operation;
mod routes;
mod schema;
mod schemes;

use serde_json::{Map, Value, json};

use crate::gate::Gate;
use crate::openapi::operation::Operation;

/// The methods that a path item names.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Gate {
    /// An OpenAPI document (3.1) of what the gate knows: its rules' routes, with what [`Gate::add_to_openapi`] says of each,
    /// and last, as `/{rest}`, what no rule names. What the service answers and takes is for whoever writes the service to
    /// add.
    ///
    /// OpenAPI knows no parameter that takes several segments: a pattern that ends in `{*rest}` is written `{rest}`, and its
    /// description says that it stands for all that lies below. A client that is made from the document and encodes the
    /// slashes in it is refused, since an encoded slash is granted nothing.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::{Gate, KeyFormat, KeySource, Rule};
    ///
    /// let gate = Gate::builder()
    ///     .source(KeySource::header("X-API-Key")?)
    ///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    ///     .rule(Rule::new("GET /v1/quotes/{symbol}")?)
    ///     .build()?;
    /// let operation = &gate.openapi()["paths"]["/v1/quotes/{symbol}"]["get"];
    /// assert_eq!(operation["security"][0]["header-x-api-key"], serde_json::json!([]));
    /// assert!(operation["responses"]["401"]["content"]["application/problem+json"].is_object());
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn openapi(&self) -> Value {
        let mut document = json!({
            "openapi": "3.1.0",
            "info": { "title": "API", "version": env!("CARGO_PKG_VERSION") },
            "paths": routes::paths(&self.0),
        });
        self.add_to_openapi(&mut document);
        document
    }

    /// Adds to an OpenAPI document (3.0 or 3.1) what the gate asks of the operations in it, each under the rule that its
    /// method and path have: a path's `{parameters}` match those of a rule. A path of the first server is put in front.
    ///
    /// - The security schemes, one for each source of keys, and each operation's `security`: one of them, or none where the
    ///   route is public. What an operation said there before is replaced.
    /// - What else the rule asks for, as `x-tollgate` (`cost`, `scopes`, `min_plan`, `open_to`, `closed_to`, `agreements`,
    ///   `subscription`) and, in words, in the operation's description.
    /// - A response for each status that a refusal of this route can have, with its headers, media type, schema and an example
    ///   of each kind. What an operation says of the same status stays beside it; a response that is a reference stays as it is.
    ///
    /// Adding twice changes nothing.
    ///
    /// # Example
    ///
    /// ```
    /// # use tollgate::key::Length;
    /// # use tollgate::rule::Cost;
    /// # use tollgate::{Credits, Gate, KeyFormat, KeySource, Rule};
    /// # let mut rule = Rule::new("GET /v1/quotes/{symbol}")?;
    /// # rule.cost = Cost::Fixed(Credits::new(2));
    /// # let gate = Gate::builder()
    /// #     .source(KeySource::header("X-API-Key")?)
    /// #     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    /// #     .rule(rule)
    /// #     .build()?;
    /// let mut document = serde_json::json!({
    ///     "openapi": "3.1.0",
    ///     "info": { "title": "Acme", "version": "1" },
    ///     "paths": { "/v1/quotes/{id}": { "get": { "responses": { "200": { "description": "A quote." } } } } },
    /// });
    /// gate.add_to_openapi(&mut document);
    /// let operation = &document["paths"]["/v1/quotes/{id}"]["get"];
    /// assert_eq!(operation["x-tollgate"]["cost"], 2);
    /// assert_eq!(operation["responses"]["200"]["description"], "A quote.");
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn add_to_openapi(&self, document: &mut Value) {
        let base = base_path(document);
        let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
        let mut schemas = Map::new();
        for (path, item) in paths {
            let Some(item) = item.as_object_mut() else { continue };
            for (method, operation) in item.iter_mut().filter(|(name, _)| METHODS.contains(&name.as_str())) {
                if let Some(operation) = operation.as_object_mut() {
                    let full = format!("{base}{path}");
                    Operation::new(&self.0, &method.to_ascii_uppercase(), &full)
                        .add_to(operation, &mut schemas);
                }
            }
        }
        merge::members(document, &["components", "securitySchemes"], schemes::all(&self.0));
        merge::members(document, &["components", "schemas"], schemas);
    }
}

/// The path of the first server's URL, without a slash at its end.
fn base_path(document: &Value) -> String {
    let url = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let path =
        url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |place| &rest[place..]));
    path.trim_end_matches('/').to_owned()
}
