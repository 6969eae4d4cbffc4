//! OpenAPI descriptions of a gate's requirements and denials.

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

/// The methods that an OpenAPI path item can have.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Gate {
    /// Returns an OpenAPI document (3.1) of the routes that the gate's rules name. [`Gate::add_to_openapi`] describes
    /// each operation. The last path, `/{rest}`, is for the routes that no rule names. The document does not describe
    /// the service's own parameters and responses; the service's author adds them.
    ///
    /// OpenAPI has no parameter that matches several segments. A pattern that ends in `{*rest}` is written `{rest}`,
    /// and the description explains that the parameter matches all remaining segments. A client that is generated from
    /// the document may encode the slashes in the parameter. The gate denies such a request, since it grants nothing to
    /// an encoded slash.
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
            "paths": routes::paths(&self.core()),
        });
        self.add_to_openapi(&mut document);
        document
    }

    /// Adds the gate's requirements to the operations in an OpenAPI document (3.0 or 3.1). The method and path of an
    /// operation select its rule; the `{parameters}` of a path match those of a rule. The path of the first server's
    /// URL is prepended to each path.
    ///
    /// - Adds one security scheme for each source of keys. Sets the `security` of each operation to any one of them, or
    ///   to none if the route is public. This replaces the present `security` of the operation.
    /// - Adds the rule's other requirements as `x-tollgate` (`cost`, `scopes`, `min_plan`, `open_to`, `closed_to`,
    ///   `agreements`, `subscription`, `quotas`). Adds them in words to the operation's description.
    /// - Adds a response for each status that a denial of this route can have, with its headers, media type, schema and
    ///   an example of each kind. Keeps the present description of the same status beside it. Does not change a
    ///   response that is a reference.
    ///
    /// A second call with the same document changes nothing.
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
        let core = self.core();
        let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
        let mut schemas = Map::new();
        for (path, item) in paths {
            let Some(item) = item.as_object_mut() else { continue };
            for (method, operation) in item.iter_mut().filter(|(name, _)| METHODS.contains(&name.as_str())) {
                if let Some(operation) = operation.as_object_mut() {
                    let full = format!("{base}{path}");
                    Operation::new(&core, &method.to_ascii_uppercase(), &full)
                        .add_to(operation, &mut schemas);
                }
            }
        }
        merge::members(document, &["components", "securitySchemes"], schemes::all(&core));
        merge::members(document, &["components", "schemas"], schemas);
    }
}

/// Returns the path of the first server's URL, without a slash at its end.
fn base_path(document: &Value) -> String {
    let url = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let path =
        url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |place| &rest[place..]));
    path.trim_end_matches('/').to_owned()
}
