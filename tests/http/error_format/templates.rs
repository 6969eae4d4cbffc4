//! Templates, wordings and what they are filled with.

use serde_json::{Value, json};
use tollgate::DenialKind;
use tollgate::respond::{ErrorFormat, ErrorText};

use crate::fixture::{Answer, Stage};

/// A file of its own, on a ground with a plan, a dear route and a capped parameter.
async fn play(toml: &str, script: &[&str]) -> Vec<Answer> {
    let ground = "[plans.free]\nquotas = [{ quota = '2 per minute', name = 'min' }]\ncaps = { limit = 3 }\n\
                  [plans.pro]\nrank = 2\n[[rules]]\nroute = '/dear'\ncost = 7\n[[rules]]\nroute = '/higher'\nmin_plan = 'pro'\n\
                  [[rules]]\nroute = '/scoped'\nscope = { all = ['a', 'b'] }\n";
    let stage = Stage::of_file(&format!("{toml}\n{ground}")).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    stage.put("acme_scop0000", "free", |_, key| key.scopes = Some(vec!["a".into()]));
    stage.play(script).await
}

fn bodies(answers: &[Answer]) -> Vec<Value> {
    answers.iter().map(Answer::json).collect()
}

const FREE: &str = "x-api-key: acme_free0000";

#[tokio::test]
async fn placeholders_keep_types_or_are_omitted() {
    let toml = r#"
        [presentation]
        template = '''
        {
          "ok": false, "nothing": null, "number": 1.5, "status": "{status}", "said": "{status}: {code}",
          "error": {
            "cost": "{cost}", "balance": "{balance}", "left": ["{title}", [], {}],
            "wait": "{retry_after}", "policy": "{policy}", "parameter": "{parameter}", "cap": "{cap}",
            "plan": "{required_plan}", "scope": "{required_scope}", "type": "{type}", "at": "{timestamp}"
          }
        }
        '''
    "#;
    let lines =
        ["GET /dear", "GET /a?limit=4", "GET /higher", "GET /a"].map(|line| format!("{line}; {FREE}"));
    let answers = play(toml, &lines.each_ref().map(String::as_str)).await;
    let body = |status: u16, code: &str, title: &str, error: Value| {
        let mut whole = json!({ "ok": false, "nothing": null, "number": 1.5, "status": status, "said": format!("{status}: {code}") });
        whole["error"] = json!({ "left": [title, [], {}], "at": "2026-03-28T22:30:00Z" });
        whole["error"].as_object_mut().unwrap().extend(error.as_object().unwrap().clone());
        whole
    };
    // The order that holds by default: caps and plan before rate limits, credits last.
    let expected = [
        body(402, "credits_exhausted", "Credits Exhausted", json!({ "cost": 7, "balance": 0 })),
        body(400, "parameter_above_cap", "Parameter Too Large", json!({ "parameter": "limit", "cap": 3 })),
        body(403, "plan_required", "Plan Required", json!({ "plan": "pro" })),
    ];
    assert_eq!(bodies(&answers[..3]), expected);
    assert_eq!(answers[3].status, 200);

    let lines = [FREE, FREE, FREE, "x-api-key: acme_scop0000"];
    let lines = lines.map(|key| format!("GET /scoped; {key}"));
    let answers = play(toml, &lines.each_ref().map(String::as_str)).await;
    let busy = body(429, "rate_limited", "Too Many Requests", json!({ "wait": 30, "policy": "min" }));
    let scope = body(403, "scope_required", "Permission Required", json!({ "scope": "a and b" }));
    assert_eq!(bodies(&answers[2..]), [busy, scope]);
}

#[tokio::test]
async fn doubled_braces_are_literal() {
    let toml = r#"
        presentation.template = '{ "{literal}": "{{code}} is {code}, {{{{, {{{code}}}", "message": "{message}" }'
        errors.missing.message = "{{}} }} {{"
    "#;
    let body = bodies(&play(toml, &["GET /a"]).await);
    assert_eq!(body, [json!({ "{literal}": "{code} is missing, {{, {missing}", "message": "{} } {" })]);
}

#[tokio::test]
async fn problem_has_extra_members_with_types() {
    let toml = r#"
        [errors.credits_exhausted]
        type = "https://acme.example/credits"
        members = { cost = "{cost}", short = "{balance} of {cost}", help = "https://acme.example/\"help\"", again = "{help}" }
        [errors.forbidden]
        members = { plan = "{required_plan}", scope = "{required_scope}" }
    "#;
    let lines = ["GET /dear", "GET /higher"].map(|line| format!("{line}; {FREE}"));
    let answers =
        play(toml, &[&lines[0], &lines[1], "GET /scoped; x-api-key: acme_scop0000", "GET /a"]).await;
    assert_eq!(
        bodies(&answers),
        [
            json!({
                "type": "https://acme.example/credits", "title": "Credits Exhausted", "status": 402,
                "detail": "The request costs 7 credits, and the balance is 0.", "instance": "/dear",
                "cost": 7, "short": "0 of 7", "help": "https://acme.example/\"help\"",
                "again": "https://acme.example/\"help\"",
            }),
            json!({
                "title": "Forbidden", "status": 403, "code": "plan_required", "detail": "The plan does not include this request.",
                "instance": "/higher", "plan": "pro",
            }),
            json!({
                "title": "Forbidden", "status": 403, "code": "scope_required", "detail": "The API key lacks the scope a and b.",
                "instance": "/scoped", "scope": "a and b",
            }),
            json!({
                "title": "Unauthorized", "status": 401, "code": "missing", "detail": "The API key is missing or not valid.", "instance": "/a",
            }),
        ]
    );
}

#[tokio::test]
async fn path_is_a_uri_reference() {
    let template = r#"presentation.template = '{ "instance": "{instance}", "said": "at {instance}" }'"#;
    let long = format!("/{}", "a".repeat(8_000));
    let paths = [
        ("/", "/"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%22%5C%0a", "/a%22%5C%0a"),
        ("/a\"b", "/a%22b"),
        ("/a\\b\\\"", "/a%5Cb%5C%22"),
        ("/\u{e9}/\u{1f511}", "/%C3%A9/%F0%9F%94%91"),
        ("/%C3%A9", "/%C3%A9"),
        ("/{code}", "/%7Bcode%7D"),
        ("/a//../b", "/a//../b"),
        ("//evil.example/a", "/%2Fevil.example/a"),
        ("/%zz", "/%25zz"),
        (&long, &long[..256]),
    ];
    for toml in ["", template] {
        for (path, told) in paths {
            let lines = [format!("GET {path}"), format!("GET {path}?x-api-key=secret&b=\u{e9}")];
            for answer in play(toml, &lines.each_ref().map(String::as_str)).await {
                assert_eq!(answer.json()["instance"], told);
                assert!(!answer.body.contains("secret"));
            }
        }
    }
    let absolute = play("", &["GET http://user:pass@acme.example/a?b=1"]).await;
    assert_eq!(absolute[0].json()["instance"], "/a");
}

#[tokio::test]
async fn key_in_the_path_is_not_repeated() {
    let template = r#"presentation.template = '{ "instance": "{instance}" }'"#;
    let rows = [
        ("/v1/acme_free0000/x", "/v1/***/x"),
        ("/acme%5Ffree0000", "/***"),
        ("/k=acme_free0000;a", "/***"),
        ("/acme_free", "/acme_free"),
    ];
    for toml in ["", template] {
        for (path, told) in rows {
            let answer = play(toml, &[&format!("GET {path}")]).await.remove(0);
            assert_eq!((answer.status, &answer.json()["instance"]), (401, &json!(told)));
        }
        // Nor is one that is cut off.
        let long = format!("GET /{}/acme_free0000", "a".repeat(245));
        assert!(!play(toml, &[&long]).await[0].body.contains("acme"));
    }
}

#[tokio::test]
async fn wording_is_inherited_from_parent_kind() {
    let toml = r#"
        presentation.template = '{ "code": "{code}", "type": "{type}", "title": "{title}", "message": "{message}", "docs": "{docs}" }'
        [errors.unauthorized]
        code = "UNAUTHORIZED"
        type = "auth"
        message = "No."
        members = { docs = "https://acme.example/auth" }
        status = 403
        [errors.missing]
        title = "Key needed"
        status = 401
        [errors.malformed]
        message = "In {docs} it says how."
    "#;
    let sources = "sources = [{ authorization = 'Bearer' }]\nformats = [{ body = 8, issue = false }]\n";
    let stage = Stage::of_file(&format!("{sources}{toml}")).unwrap();
    let script = ["GET /a", "GET /a; authorization: Basic x", "GET /a; authorization: Bearer x", "TRACE /a"];
    let answers = stage.play(&script).await;
    let said = |title: &str, message: &str| {
        json!({
            "code": "UNAUTHORIZED", "type": "auth", "title": title, "message": message, "docs": "https://acme.example/auth",
        })
    };
    assert_eq!(
        bodies(&answers),
        [
            said("Key needed", "No."),
            said("Key needed", "In https://acme.example/auth it says how."),
            said("Unauthorized", "No."),
            json!({ "code": "method_not_allowed", "title": "Method Not Allowed", "message": "The request method is not allowed." }),
        ]
    );
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [401, 401, 403, 405]);
    let challenged = answers.iter().map(|answer| answer.header("www-authenticate").is_some());
    assert_eq!(challenged.collect::<Vec<_>>(), [true, true, false, false], "a challenge belongs to a 401");
}

#[tokio::test]
async fn builder_and_file_agree() {
    let toml = r#"
        presentation = { template = '{ "e": "{code}", "m": "{message}", "d": "{docs}" }', realm = "Acme" }
        [errors.missing]
        status = 418
        code = "NONE"
        message = "\"None\" at all\n"
        members = { docs = "x" }
    "#;
    let error_text = ErrorText {
        status: Some(http::StatusCode::IM_A_TEAPOT),
        code: Some("NONE".into()),
        message: Some("\"None\" at all\n".into()),
        members: vec![("docs".into(), "x".into())],
        ..ErrorText::default()
    };
    let coded = |builder: tollgate::GateBuilder| {
        let template = r#"{ "e": "{code}", "m": "{message}", "d": "{docs}" }"#;
        let error_format =
            ErrorFormat::json(template)?.realm("Acme")?.error_text(DenialKind::Missing, error_text);
        let format = tollgate::KeyFormat::new("acme_", tollgate::key::Length::exactly(8))?.accepted_only();
        Ok(builder
            .source(tollgate::KeySource::header("X-API-Key")?)
            .format(format)
            .error_format(error_format))
    };
    let answers = crate::fixture::both(toml, coded, |_| {}, &["GET /a", "GET /a; x-api-key: x"]).await;
    assert_eq!((answers[0].status, answers[1].status), (418, 401));
    assert_eq!(answers[0].json(), json!({ "e": "NONE", "m": "\"None\" at all\n", "d": "x" }));
}

#[tokio::test]
async fn every_401_has_one_text_and_a_code() {
    let toml = "sources = [{ authorization = 'Bearer' }]\nformats = [{ prefix = 'acme_', body = 8, issue = false }]\n\
        plans.free = {}";
    let stage = Stage::of_file(toml).unwrap();
    stage.put("acme_revoked0", "free", |_, record| record.status = tollgate::key::KeyStatus::Revoked);
    stage.put("acme_paused00", "free", |_, record| record.status = tollgate::key::KeyStatus::Paused);
    stage.put("acme_expired0", "free", |_, record| {
        record.expires_at = Some("2020-01-01T00:00:00Z".parse().unwrap());
    });
    let rows = [
        ("", "missing"),
        ("; authorization: Basic x", "malformed"),
        ("; authorization: Bearer short", "invalid_format"),
        ("; authorization: Bearer acme_unknown0", "unknown"),
        ("; authorization: Bearer acme_revoked0", "revoked"),
        ("; authorization: Bearer acme_paused00", "paused"),
        ("; authorization: Bearer acme_expired0", "expired"),
    ];
    for (header, code) in rows {
        let answer = stage.play(&[&format!("GET /a{header}")]).await.remove(0);
        let expected = json!({
            "title": "Unauthorized", "status": 401, "code": code,
            "detail": "The API key is missing or not valid.", "instance": "/a",
        });
        assert_eq!(answer.json(), expected, "{code}");
    }
}
