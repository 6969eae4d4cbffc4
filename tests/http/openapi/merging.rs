//! A document of the service's own keeps what it says.

use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::openapi::gate;

fn written_by_hand() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Acme", "version": "1.2.3" },
        "servers": [{ "url": "https://api.acme.example/v1/" }],
        "paths": {
            "/quotes/{id}": {
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "get": {
                    "description": "A quote.",
                    "security": [{ "oauth": ["read"] }],
                    "responses": {
                        "200": { "description": "It." },
                        "403": {
                            "description": "Not for you.",
                            "content": {
                                "application/problem+json": { "schema": { "$ref": "#/components/schemas/Mine" } },
                                "text/plain": { "schema": { "type": "string" } },
                            },
                        },
                        "429": { "$ref": "#/components/responses/Busy" },
                    },
                },
            },
            "/files/{name}": { "put": { "responses": { "204": { "description": "Kept." } } } },
            "/elsewhere": { "get": { "responses": { "204": { "description": "Nothing." } } } },
        },
        "components": {
            "schemas": { "Mine": { "type": "object" } },
            "responses": { "Busy": { "description": "Come back later." } },
            "securitySchemes": { "oauth": { "type": "openIdConnect", "openIdConnectUrl": "https://acme.example/" } },
        },
    })
}

#[test]
fn merge_keeps_the_existing_document() {
    let mut document = written_by_hand();
    gate("").gate().add_to_openapi(&mut document);
    let quote = &document["paths"]["/quotes/{id}"]["get"];
    assert_eq!(quote["x-tollgate"]["cost"], 2, "the server's path stands in front");
    assert!(quote["description"].as_str().unwrap().starts_with("A quote.\n\nCosts 2 credits."));
    assert_eq!(quote["security"][0], json!({ "header-x-api-key": [] }));
    let responses = &quote["responses"];
    assert_eq!(responses["200"], json!({ "description": "It." }));
    assert_eq!(responses["429"], json!({ "$ref": "#/components/responses/Busy" }));
    assert_eq!(responses["403"]["description"], "Not for you.");
    let content = &responses["403"]["content"];
    assert_eq!(content["text/plain"], json!({ "schema": { "type": "string" } }));
    let either =
        [json!({ "$ref": "#/components/schemas/Mine" }), json!({ "$ref": "#/components/schemas/Denial403" })];
    assert_eq!(content["application/problem+json"]["schema"], json!({ "anyOf": either }));
    assert!(responses["401"].is_object());
    // A pattern for all that lies below covers the paths that the document names.
    assert_eq!(document["paths"]["/files/{name}"]["put"]["x-tollgate"]["cost"], 7);
    // What no rule names needs a key.
    assert!(document["paths"]["/elsewhere"]["get"]["responses"]["401"].is_object());
    assert!(document["components"]["securitySchemes"]["oauth"].is_object());
    assert!(document["components"]["schemas"]["Mine"].is_object());
}

#[test]
fn adding_twice_changes_nothing() {
    let mut once = written_by_hand();
    let test = gate("");
    test.gate().add_to_openapi(&mut once);
    let mut twice = once.clone();
    test.gate().add_to_openapi(&mut twice);
    assert_eq!(once, twice);
}

#[test]
fn invalid_document_is_left_unchanged() {
    for odd in
        [json!(null), json!([]), json!({ "paths": [] }), json!({ "paths": { "/v1": 1 } }), json!("openapi")]
    {
        let mut document = odd.clone();
        gate("").gate().add_to_openapi(&mut document);
        assert_eq!(document.get("paths"), odd.get("paths"));
    }
}

#[utoipa::path(get, path = "/v1/quotes/{symbol}", params(("symbol" = String, Path)), responses((status = 200, description = "A quote.")))]
#[allow(dead_code, reason = "utoipa reads its attribute alone")]
fn quote() {}

#[utoipa::path(get, path = "/health", responses((status = 200, description = "Up.")))]
#[allow(dead_code, reason = "utoipa reads its attribute alone")]
fn health() {}

#[derive(OpenApi)]
#[openapi(paths(quote, health))]
struct Documented;

#[test]
fn utoipa_document_can_be_merged() {
    let mut document = serde_json::to_value(Documented::openapi()).unwrap();
    gate("").gate().add_to_openapi(&mut document);
    let merged: utoipa::openapi::OpenApi = serde_json::from_value(document.clone()).unwrap();
    let quote = merged.paths.paths["/v1/quotes/{symbol}"].get.as_ref().unwrap();
    assert!(quote.responses.responses.contains_key("402") && quote.responses.responses.contains_key("200"));
    assert_eq!(quote.security.as_ref().unwrap().len(), 3);
    assert!(merged.paths.paths["/health"].get.as_ref().unwrap().security.as_ref().unwrap().is_empty());
    assert_eq!(merged.components.unwrap().security_schemes.len(), 3);
}
