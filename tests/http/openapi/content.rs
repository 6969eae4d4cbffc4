//! The documentation of each route.

use axum::body::Body;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tollgate::Credits;
use tollgate::testing::TestGate;
use tower::{Layer, ServiceExt, service_fn};

use crate::openapi::{GATE, gate};

fn operation<'d>(document: &'d Value, method: &str, path: &str) -> &'d Value {
    let operation = &document["paths"][path][method];
    assert!(operation.is_object(), "{method} {path}");
    operation
}

fn statuses(operation: &Value) -> Vec<&str> {
    operation["responses"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn security_schemes_match_the_sources() {
    let document = gate("").gate().openapi();
    let schemes = &document["components"]["securitySchemes"];
    let place = |name: &str| {
        (schemes[name]["type"].clone(), schemes[name]["in"].clone(), schemes[name]["name"].clone())
    };
    assert_eq!(place("header-x-api-key"), (json!("apiKey"), json!("header"), json!("x-api-key")));
    assert_eq!(place("query-api-key"), (json!("apiKey"), json!("query"), json!("api-key")));
    let bearer = &schemes["authorization-bearer"];
    assert_eq!((&bearer["type"], &bearer["scheme"]), (&json!("http"), &json!("bearer")));
    assert_eq!(bearer["description"], "An API key: it begins with acme_.");
    let any = json!([{ "header-x-api-key": [] }, { "query-api-key": [] }, { "authorization-bearer": [] }]);
    assert_eq!(operation(&document, "get", "/v1/bars")["security"], any);
}

#[test]
fn a_public_route_asks_for_nothing() {
    let document = gate("").gate().openapi();
    let health = operation(&document, "get", "/health");
    assert_eq!(health["security"], json!([]));
    assert_eq!(statuses(health), ["default"]);
    assert!(health.get("x-tollgate").is_none());
}

#[test]
fn route_documents_its_requirements() {
    let document = gate("").gate().openapi();
    let quotes = operation(&document, "get", "/v1/quotes/{symbol}");
    assert_eq!(
        quotes["x-tollgate"],
        json!({ "cost": 2, "scopes": { "any": ["quotes:read"] }, "subscription": true, "quotas": ["9 per hour"] })
    );
    let words = "Costs 2 credits. A restricted key needs the scope quotes:read. The account must have an active \
        subscription. Has rate limits of its own: 9 per hour.";
    assert_eq!(quotes["description"], words);
    assert_eq!(quotes["parameters"][0]["name"], "symbol");
    let bars = operation(&document, "get", "/v1/bars");
    let cost = json!({ "parameter": "limit", "each": 1, "default": 10, "most": 50 });
    assert_eq!(bars["x-tollgate"], json!({ "cost": cost, "min_plan": "pro" }));
    let orders = operation(&document, "post", "/v1/orders");
    let scopes = json!({ "all": ["orders:read", "orders:write"] });
    assert_eq!(orders["x-tollgate"], json!({ "scopes": scopes, "agreements": ["terms"] }));
    let backtests = operation(&document, "post", "/v1/backtests");
    let weight = json!({ "parameter": "years", "least": 1, "default": 1, "most": 20 });
    assert_eq!(backtests["x-tollgate"], json!({ "quotas": ["40 per day"], "weight": weight }));
    let words = "Has rate limits of its own: 40 per day. Takes as many units of each rate limit as `years` says. Its \
        default is 1, and its maximum is 20.";
    assert_eq!(backtests["description"], words);
    let examples = &backtests["responses"]["400"]["content"]["application/problem+json"]["examples"];
    let told = examples["weight_too_large"]["value"]["detail"].as_str().unwrap();
    assert_eq!(told, "The request takes 6 units of the quota `minute`, which can hold 5.");
    assert!(examples["parameter_above_cap"].is_object(), "{examples}");
    let chat = operation(&document, "post", "/v1/chat");
    assert_eq!(
        chat["x-tollgate"]["weight"],
        json!({ "header": "x-tokens", "least": 1, "default": 3, "most": 4 })
    );
    let batch = operation(&document, "post", "/v1/batch");
    assert_eq!(batch["x-tollgate"], json!({ "weight": 5 }));
    assert_eq!(batch["description"], "Takes 5 units of each rate limit.");
    let tokens = operation(&document, "post", "/v1/tokens");
    assert_eq!(tokens["x-tollgate"], json!({ "weight": { "reserve": 2, "most": 50 } }));
    let words =
        "Takes as many units of each rate limit as it uses, up to 50. 2 of them are taken in advance.";
    assert_eq!(tokens["description"], words);
    for method in ["get", "put", "post", "delete", "patch"] {
        assert!(operation(&document, method, "/v1/anything").get("x-tollgate").is_none());
    }
}

#[test]
fn wildcard_route_documents_its_extent() {
    let document = gate("").gate().openapi();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.keys().all(|path| !path.contains('*')), "no path of OpenAPI's");
    for method in ["get", "put", "post", "delete", "patch"] {
        let files = operation(&document, method, "/v1/files/{rest}");
        assert_eq!(files["x-tollgate"]["cost"], 7);
        let words = "`{rest}` matches all remaining segments of the path. The slashes in it are not encoded.\n\nCosts 7 credits.";
        assert_eq!(files["description"], words);
        assert_eq!(files["parameters"][0]["name"], "rest");
    }
}

#[test]
fn default_rule_is_documented_last() {
    let document = gate("").gate().openapi();
    let last = document["paths"].as_object().unwrap().keys().next_back();
    assert_eq!(last.unwrap(), "/{rest}");
    for method in ["get", "put", "post", "delete", "patch"] {
        let others = operation(&document, method, "/{rest}");
        assert_eq!(statuses(others), ["default", "400", "401", "403", "429", "500", "503"]);
        assert!(
            others["description"].as_str().unwrap().starts_with("All routes that no other operation"),
            "{others}"
        );
    }
    // What it asks for is what the configuration says of it.
    let paid = TestGate::from_toml(
        "sources = [{ header = \"X-API-Key\" }]\nformats = [{ prefix = \"acme_\", body = 32 }]\n\
         rules = [{ route = [\"GET /{symbol}\", \"PUT /{*rest}\"], subscription = false }]\n[default]\nsubscription = true\n",
    );
    let document = paid.unwrap().gate().openapi();
    assert!(operation(&document, "get", "/{symbol}").get("x-tollgate").is_none());
    // Where rules have taken that path for a method, what they leave is documented, or there is nothing left.
    for (method, path) in [("get", "/{segment}/{rest}"), ("post", "/{symbol}"), ("patch", "/{symbol}")] {
        assert_eq!(
            operation(&document, method, path)["x-tollgate"],
            json!({ "subscription": true }),
            "{method}"
        );
    }
    assert!(operation(&document, "put", "/{symbol}").get("x-tollgate").is_none());
    assert_eq!(document["paths"].as_object().unwrap().len(), 2, "paths of one shape are one path");
}

#[test]
fn different_sources_have_own_schemes() {
    let document = TestGate::from_toml(
        "sources = [{ query = \"Key\" }, { query = \"key\" }, { query = \"k(y\" }, { query = \"k)y\" }]\n\
         formats = [{ prefix = \"acme_\", body = 32 }]\n",
    );
    let document = document.unwrap().gate().openapi();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let told: Vec<_> =
        schemes.iter().map(|(name, scheme)| (&**name, scheme["name"].as_str().unwrap())).collect();
    let expected = [("query-Key", "Key"), ("query-key", "key"), ("query-k-y", "k(y"), ("query-k-y-2", "k)y")];
    assert_eq!(told, expected);
    let any = expected.map(|(name, _)| json!({ name: [] }));
    assert_eq!(operation(&document, "get", "/{rest}")["security"], json!(any));
}

#[test]
fn route_documents_exactly_its_refusals() {
    let document = gate("").gate().openapi();
    let of = |method, path| statuses(operation(&document, method, path));
    assert_eq!(
        of("get", "/v1/quotes/{symbol}"),
        ["default", "400", "401", "402", "403", "429", "500", "503"]
    );
    assert_eq!(of("post", "/v1/orders"), ["default", "400", "401", "403", "429", "500", "503"]);
    assert_eq!(
        of("patch", "/account/api-keys/{id}"),
        [
            "default", "200", "400", "401", "403", "404", "405", "408", "409", "413", "415", "429", "500",
            "503"
        ]
    );
    let examples = |method, path, status: &str| -> Vec<String> {
        let media =
            &operation(&document, method, path)["responses"][status]["content"]["application/problem+json"];
        media["examples"].as_object().unwrap().keys().cloned().collect()
    };
    assert!(examples("get", "/v1/quotes/{symbol}", "403").contains(&"scope_required".to_owned()));
    assert!(!examples("get", "/v1/bars", "403").contains(&"scope_required".to_owned()));
    assert!(examples("get", "/v1/bars", "403").contains(&"plan_required".to_owned()));
    assert!(examples("post", "/v1/orders", "403").contains(&"agreement_required".to_owned()));
    let credits = &operation(&document, "get", "/v1/quotes/{symbol}")["responses"]["402"]["content"];
    let told = &credits["application/problem+json"]["examples"]["credits_exhausted"]["value"];
    assert_eq!(told["detail"], "The request costs 2 credits, and the balance is 0.");
    assert_eq!(told["instance"], "/v1/quotes/%7Bsymbol%7D");
}

#[test]
fn limit_on_attempts_is_documented() {
    let examples = |more: &str| {
        let document = gate(more).gate().openapi();
        let denied = operation(&document, "get", "/v1/bars")["responses"]["429"].clone();
        assert!(denied["headers"]["Retry-After"].is_object(), "{denied}");
        denied["content"]["application/problem+json"]["examples"].clone()
    };
    assert!(examples("").get("too_many_attempts").is_none());
    let limited = &examples("[attempts]\nquota = '20 per minute'")["too_many_attempts"]["value"];
    assert_eq!((&limited["status"], &limited["code"]), (&json!(429), &json!("too_many_attempts")));
}

#[test]
fn a_revocation_says_its_three_answers() {
    let gate = gate("");
    let document = gate.gate().openapi();
    let delete = operation(&document, "delete", "/account/api-keys/{id}");
    let told = |name: &str| delete["parameters"].as_array().unwrap().iter().find(|one| one["name"] == name);
    assert_eq!(told("withIssued").unwrap()["schema"]["type"], "boolean");
    assert_eq!(told("id").unwrap()["in"], "path");
    for status in ["200", "202"] {
        let schema = &delete["responses"][status]["content"]["application/json"]["schema"];
        let data = &schema["properties"]["data"]["properties"];
        assert_eq!(
            (&data["revoked"]["type"], &data["announced"]["type"]),
            (&json!("array"), &json!("boolean"))
        );
    }
    let nothing = &delete["responses"]["204"];
    assert!(nothing["description"].is_string() && nothing.get("content").is_none(), "{nothing}");

    let list = operation(&document, "get", "/account/api-keys");
    let names: Vec<_> = list["parameters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["limit", "cursor", "status", "environment", "issuedBy"]);
    let items =
        &list["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]["items"];
    let key = document.pointer(items["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
    assert!(key["properties"]["issuedBy"].is_object(), "{key}");
    let mut again = document.clone();
    gate.gate().add_to_openapi(&mut again);
    assert_eq!(again, document);

    // What a service says itself of such a route stays.
    let own = json!({
        "parameters": [{ "name": "withIssued", "in": "query", "schema": { "type": "string" } }],
        "responses": { "204": { "description": "Gone." } },
    });
    let mut document =
        json!({ "openapi": "3.0.3", "paths": { "/account/api-keys/{key}": { "delete": own } } });
    gate.gate().add_to_openapi(&mut document);
    let delete = operation(&document, "delete", "/account/api-keys/{key}");
    assert_eq!(
        (&delete["parameters"], &delete["responses"]["204"]),
        (&own["parameters"], &own["responses"]["204"])
    );
    assert!(delete["responses"]["202"].is_object());
}

#[test]
fn bodies_of_key_management_are_described() {
    let test = gate("");
    let document = test.gate().openapi();
    let body = |method: &str, path: &str| operation(&document, method, path).get("requestBody").cloned();
    let (all, one) = ("/account/api-keys", "/account/api-keys/{id}");
    let members = |method: &str, path: &str, required: bool| -> Vec<String> {
        let body = body(method, path).unwrap();
        assert_eq!(body["required"], required, "{method} {path}");
        let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{method} {path}");
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let new = ["name", "expiresAt", "environment", "scopes", "paths", "allowIps", "metadata"];
    assert_eq!(members("post", all, true), new);
    let change = ["name", "expiresAt", "scopes", "paths", "allowIps", "metadata"];
    assert_eq!(members("patch", one, true), change);
    assert_eq!(members("post", "/account/api-keys/{id}/rotate", false), ["overlapSeconds"]);
    for (method, path) in [("get", all), ("get", one), ("delete", one), ("get", "/account/api-keys/me")] {
        assert_eq!(body(method, path), None, "{method} {path}");
    }
    // What a service says itself of the body stays.
    let own = json!({ "requestBody": { "content": {} }, "responses": {} });
    let mut document = json!({ "openapi": "3.0.3", "paths": { "/account/api-keys": { "post": own } } });
    test.gate().add_to_openapi(&mut document);
    assert_eq!(operation(&document, "post", all)["requestBody"], own["requestBody"]);
}

/// A request, and the status it is refused with.
async fn refusal(test: &TestGate, request: Request<Body>, status: u16) -> (String, http::HeaderMap, Value) {
    let service = service_fn(async |_: Request<Body>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let response = test.layer().layer(service).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), status);
    let (parts, body) = response.into_parts();
    let media_type = parts.headers["content-type"].to_str().unwrap().to_owned();
    (media_type, parts.headers, serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
}

/// Returns true if a value fits one of our schemas: types, members and required members.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    let fits = |schema: &Value, value: &Value| fits(document, schema, value);
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(document.pointer(reference.trim_start_matches('#')).unwrap(), value);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().all(|schema| fits(schema, value));
    }
    match schema["type"].as_str() {
        // What may be null has no type.
        None if schema["description"].is_string() => true,
        Some("array") => value.as_array().unwrap().iter().all(|value| fits(&schema["items"], value)),
        Some("object") => {
            let (members, none) = (value.as_object().unwrap(), Vec::new());
            let required = schema["required"].as_array().unwrap_or(&none);
            // A key is shown with more in some answers; a table has members of any name.
            let has = |name: &str| schema["properties"].get(name).is_some();
            let is_open = has("keyPrefix") || has("apiKey") || !schema["additionalProperties"].is_null();
            required.iter().all(|name| members.contains_key(name.as_str().unwrap()))
                && members.iter().all(|(name, value)| match schema["properties"].get(name) {
                    Some(schema) => fits(schema, value),
                    None => is_open,
                })
        }
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        other => panic!("no schema of ours: {other:?}"),
    }
}

#[tokio::test]
async fn documented_refusals_match_the_answers() {
    for template in [
        "",
        r#"[presentation]
template = '{ "ok": false, "error": { "code": "{code}", "status": "{status}", "wait": "{retry_after}" }, "id": "{request_id}" }'"#,
    ] {
        let test = gate(template);
        let document = test.gate().openapi();
        let request =
            |key: &str| Request::get("/v1/quotes/BTC").header("X-API-Key", key).body(Body::empty()).unwrap();
        let [poor, busy] = ["pro", "free"].map(|plan| test.key(plan).unwrap());
        let narrow = test.key_with("pro", |record, _| record.scopes = Some(vec!["other".into()])).unwrap();
        let [poor, busy, narrow] = [&poor, &busy, &narrow].map(tollgate::key::IssuedKey::expose_secret);
        test.set_credits(poor, Credits::new(1));
        for _ in 0..5 {
            let served = test.layer().layer(service_fn(async |_: Request<Body>| {
                Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
            }));
            assert!(served.oneshot(request(busy)).await.unwrap().status().is_success());
        }
        for (key, status) in [("", 401), (poor, 402), (narrow, 403), (busy, 429)] {
            let (media_type, headers, body) = refusal(&test, request(key), status).await;
            let said = &operation(&document, "get", "/v1/quotes/{symbol}")["responses"][status.to_string()];
            let reference = said["content"][&media_type]["schema"]["$ref"].as_str().unwrap();
            let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
            assert!(fits(&document, schema, &body), "{schema} {body}");
            for name in said["headers"].as_object().unwrap().keys() {
                assert!(headers.contains_key(name), "{status}: {name}");
            }
            assert_eq!(headers.contains_key("retry-after"), said["headers"].get("Retry-After").is_some());
        }
    }
}

#[tokio::test]
async fn key_management_answers_as_described() {
    let test = gate("list_issuers = true\n[usage]");
    let (document, key) = (test.gate().openapi(), test.key("pro").unwrap());
    let send = async |method: &str, path: &str, below: &str, body: Value| {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(format!("/account/api-keys{below}"));
        let request =
            request.header("X-API-Key", key.expose_secret()).header("content-type", "application/json");
        let service = service_fn(async |_: Request<Body>| {
            Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
        });
        let response = test.layer().layer(service).oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let said =
            &operation(&document, &method.to_ascii_lowercase(), path)["responses"][parts.status.as_str()];
        assert!(parts.status.is_success() && said.is_object(), "{method} {below}: {} {body:?}", parts.status);
        let Some(content) = said.get("content") else {
            assert!(body.is_empty(), "{body:?}");
            return Value::Null;
        };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let schema = &content[parts.headers["content-type"].to_str().unwrap()]["schema"];
        assert!(fits(&document, schema, &body), "{method} {below}: {schema} {body}");
        body["data"].clone()
    };
    let (all, one) = ("/account/api-keys", "/account/api-keys/{id}");
    let new = json!({ "name": "new", "scopes": ["quotes:read"], "metadata": { "a": "b" } });
    let id = send("POST", all, "", new).await["id"].as_str().unwrap().to_owned();
    let mine = send("GET", "/account/api-keys/me", "/me", Value::Null).await["id"].clone();
    let listed =
        send("GET", all, "?limit=1&issuedBy=00000000-0000-4000-8000-000000000001", Value::Null).await;
    assert_eq!(listed, json!([]));
    let asked = format!("?limit=1&status=active&environment=live&issuedBy={}", mine.as_str().unwrap());
    assert_eq!(send("GET", all, &asked, Value::Null).await[0]["issuedBy"], mine);
    assert_eq!(send("GET", one, &format!("/{id}"), Value::Null).await["issuedBy"], mine);
    test.gate().usage().unwrap().flush().await.unwrap();
    let usage = send("GET", "/account/api-keys/me/usage", "/me/usage?step=minute", Value::Null).await;
    assert_eq!(usage["points"].as_array().unwrap().len(), 1);
    let usage = send("GET", "/account/api-keys/{id}/usage", &format!("/{id}/usage"), Value::Null).await;
    assert_eq!((&usage["key"], &usage["points"]), (&json!(id), &json!([])));
    send("PATCH", one, &format!("/{id}"), json!({ "name": "renamed" })).await;
    send("POST", "/account/api-keys/{id}/rotate", &format!("/{id}/rotate"), Value::Null).await;
    let revoked = send("DELETE", one, &format!("/{id}?withIssued=true"), Value::Null).await;
    assert_eq!(revoked, json!({ "revoked": [id], "announced": true }));
    assert_eq!(send("DELETE", one, &format!("/{id}"), Value::Null).await, Value::Null);
}

#[test]
fn credit_headers_are_described() {
    let document = gate("[credit_headers]\ncost = 'X-Cost'\nbalance = 'X-Credits-Left'").gate().openapi();
    let operation = |path: &str| &document["paths"][path]["get"];
    let headers = &operation("/v1/quotes/{symbol}")["responses"]["402"]["headers"];
    for name in ["X-Cost", "X-Credits-Left"] {
        assert_eq!(headers[name]["schema"], json!({ "type": "integer", "minimum": 0 }), "{name}");
    }
    let described = operation("/v1/quotes/{symbol}")["description"].as_str().unwrap();
    let words = "The header `X-Cost` of the response contains the cost. \
        The header `X-Credits-Left` of the response contains the balance.";
    assert!(described.contains(words), "{described}");
    let free = operation("/v1/anything");
    assert!(!free.to_string().contains("X-Cost"), "{free}");
    assert!(!gate("").gate().openapi().to_string().contains("of the response contains"));
}

#[test]
fn problem_types_are_described() {
    let toml = format!("limit_headers = true\npresentation.problem_types = true\n{GATE}");
    let document = TestGate::from_toml(&toml).unwrap().gate().openapi();
    let response = &document["paths"]["/v1/anything"]["get"]["responses"]["429"];
    let example = &response["content"]["application/problem+json"]["examples"]["rate_limited"]["value"];
    assert_eq!(example["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(example["violated-policies"], json!(["minute"]));
    assert!(
        response["headers"]["RateLimit"].is_object() && response["headers"]["RateLimit-Policy"].is_object()
    );
    let schema = &document["components"]["schemas"]["Denial429"];
    assert_eq!(schema["properties"]["violated-policies"]["items"]["type"], "string", "{schema}");
}

#[test]
fn quotas_of_a_public_route_are_described() {
    let document = gate("").gate().openapi();
    let operation = &document["paths"]["/status"]["get"];
    assert_eq!(operation["security"], json!([]));
    assert_eq!(operation["x-tollgate"], json!({ "quotas": ["60 per minute for each network"] }));
    assert_eq!(statuses(operation), ["default", "429", "500", "503"]);
    assert!(operation["responses"]["429"]["headers"]["Retry-After"].is_object(), "{operation}");
}

#[test]
fn limits_in_flight_are_described() {
    let test = TestGate::from_toml(&format!("limit_headers = true\n{GATE}")).unwrap();
    let document = test.gate().openapi();
    let words = |owner: &str| format!("At most {owner} can be in flight at once.");
    let export = operation(&document, "get", "/v1/export");
    assert_eq!(export["x-tollgate"], json!({ "in_flight": 2 }));
    assert_eq!(export["description"], words("2 requests of an account"));
    let live = &document["paths"]["/live"]["get"];
    assert_eq!(live["x-tollgate"], json!({ "in_flight": 9 }));
    assert_eq!(live["description"], words("9 requests of a network"));
    assert_eq!((statuses(live), &live["security"]), (vec!["default", "429", "500", "503"], &json!([])));
    for operation in [export, live] {
        let denied = &operation["responses"]["429"];
        let example = &denied["content"]["application/problem+json"]["examples"]["in_flight_limited"];
        assert!(example.is_object(), "{denied}");
        for header in ["Retry-After", "RateLimit", "RateLimit-Policy"] {
            assert!(denied["headers"][header].is_object(), "{header}: {denied}");
        }
    }
    let anything = operation(&document, "get", "/v1/anything");
    let denied = &anything["responses"]["429"]["content"]["application/problem+json"]["examples"];
    assert!(denied.get("in_flight_limited").is_none(), "{denied}");
}

#[test]
fn key_is_optional_at_anonymous_rules() {
    let document = gate("").gate().openapi();
    let ticker = operation(&document, "get", "/v1/ticker");
    let security = ticker["security"].as_array().unwrap();
    assert_eq!((security.len(), security.last()), (4, Some(&json!({}))));
    assert_eq!(ticker["x-tollgate"], json!({ "anonymous": true }));
    assert_eq!(ticker["description"], "A request without a key is served under the plan free.");
    let denied = &ticker["responses"]["401"]["content"]["application/problem+json"]["examples"];
    assert!(denied["unknown"].is_object() && denied.get("missing").is_none(), "{denied}");
    assert!(ticker["responses"]["429"].is_object());
}
