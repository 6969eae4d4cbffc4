//! The problem types of draft-ietf-httpapi-ratelimit-headers-11.

use serde_json::{Value, json};

use crate::fixture::Stage;

const KEY: &str = "GET /a; x-api-key: acme_free0000";

const PLAN: &str = "[plans.free]\nquotas = [{ quota = '1 per minute', name = 'min' }, \
    { quota = '1 per hour', name = 'h:o,u[r', counts = 'account' }, { quota = '9 per day', name = 'day' }]\n";

/// Returns the body of a denial by two of three quotas.
async fn body(toml: &str) -> Value {
    let stage = Stage::of_file(&format!("{toml}\n{PLAN}")).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    stage.play(&[KEY, KEY]).await[1].json()
}

fn problem(kind: &str) -> String {
    format!("https://iana.org/assignments/http-problem-types#{kind}")
}

#[tokio::test]
async fn exceeded_quota_has_its_problem_type() {
    let toml = "presentation.problem_types = true\nlimit_headers = true";
    assert_eq!(
        body(toml).await,
        json!({
            "type": problem("quota-exceeded"), "title": "Too Many Requests", "status": 429, "code": "rate_limited",
            "detail": "The rate limit is exceeded. Retry in 3600 s.", "instance": "/a",
            "violated-policies": ["min", "h:o,u[r"],
        })
    );
}

#[tokio::test]
async fn longest_wait_alone_is_told_without_headers() {
    let body = body("presentation.problem_types = true").await;
    assert_eq!(body["violated-policies"], json!(["h:o,u[r"]));
}

#[tokio::test]
async fn too_many_attempts_are_abnormal_usage() {
    let toml = "presentation.problem_types = true\nattempts.quota = '1 per minute'";
    let stage = Stage::of_file(toml).unwrap();
    let body = stage.play(&["GET /a; peer 192.0.2.1"; 2]).await.pop().unwrap().json();
    assert_eq!(
        (&body["type"], &body["code"]),
        (&problem("abnormal-usage-detected").into(), &"too_many_attempts".into())
    );
    assert_eq!(body.get("violated-policies"), None);
}

#[tokio::test]
async fn status_503_means_reduced_capacity() {
    let body = body("presentation.problem_types = true\nerrors.rate_limited.status = 503").await;
    assert_eq!(
        (&body["type"], &body["title"]),
        (&json!(problem("temporary-reduced-capacity")), &json!("Service Unavailable"))
    );
}

#[tokio::test]
async fn configured_type_replaces_the_problem_type() {
    let body =
        body("presentation.problem_types = true\nerrors.rate_limited.type = 'https://acme.example/limit'")
            .await;
    assert_eq!(body["type"], "https://acme.example/limit");
    assert_eq!((body.get("violated-policies"), body.get("code")), (None, None));
}

#[tokio::test]
async fn problem_types_are_optional_and_of_limits_only() {
    let plain = body("limit_headers = true").await;
    assert_eq!((plain.get("type"), plain.get("violated-policies")), (None, None));
    let stage = Stage::of_file("presentation.problem_types = true").unwrap();
    let missing = stage.play(&["GET /a"]).await[0].json();
    assert_eq!((missing.get("type"), missing.get("violated-policies")), (None, None));
}

#[tokio::test]
async fn template_may_list_the_violated_policies() {
    let toml = r#"
        limit_headers = true
        presentation.template = '{ "list": "{violated_policies}", "text": "{message}" }'
        errors.rate_limited.message = "above {violated_policies}"
    "#;
    assert_eq!(body(toml).await, json!({ "list": ["min", "h:o,u[r"], "text": "above min, h:o,u[r" }));
}
