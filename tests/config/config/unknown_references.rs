//! Records that name what the configuration does not know, and keys that everybody knows.

use std::sync::{Arc, Mutex};

use tollgate::account::QuotaRef;
use tollgate::{KeyId, Plan};

use crate::config::fixture::{Refusal, Stage, both, kinds, statuses};
use crate::config::head;

fn burst() -> Vec<QuotaRef> {
    vec![QuotaRef::Named("burst".into())]
}

fn strangers(stage: &Stage) {
    stage.put("acme_plan0000", "gold", |_, _| {});
    stage.put("acme_key00000", "free", |_, key| key.quotas = Some(burst()));
    stage.put("acme_acct0000", "free", |account, _| account.quotas = Some(burst()));
    stage.put("acme_free0000", "free", |_, _| {});
}

const SCRIPT: [&str; 4] = [
    "GET /a; x-api-key: acme_plan0000",
    "GET /a; x-api-key: acme_key00000",
    "GET /a; x-api-key: acme_acct0000",
    "GET /a; x-api-key: acme_free0000",
];

#[tokio::test]
async fn unknown_name_in_record_is_operator_error() {
    let free = |builder| Ok(head(builder)?.plan(Plan::new("free")));
    let answers = both("plans.free = {}", free, strangers, &SCRIPT).await;
    assert_eq!(statuses(&answers), [500, 500, 500, 200]);
    for (answer, name) in answers.iter().zip(["gold", "burst", "burst"]) {
        let Some(Refusal { kind: "misconfigured", key: Some(_), problem: Some(problem) }) = &answer.refusal
        else {
            panic!("{:?}", answer.refusal);
        };
        assert!(problem.contains(name), "{problem}");
        assert!(!answer.body.contains(name) && answer.seen.is_none(), "the client is told nothing of it");
    }
}

/// Writes down what is logged: the level, and the fields.
struct Log(Arc<Mutex<Vec<String>>>);

struct Line<'l>(&'l mut String);

impl tracing::field::Visit for Line<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut Line(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn log_names_the_key_by_id_not_secret() {
    let stage = Stage::of_file("plans.free = {}").unwrap();
    strangers(&stage);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let guard = tracing::subscriber::set_default(Log(Arc::clone(&lines)));
    let answers = stage.play(&SCRIPT[..1]).await;
    drop(guard);
    let id: KeyId = answers[0].refusal.as_ref().unwrap().key.unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("ERROR"), "{lines:?}");
    for word in ["misconfigured", "gold", &id.to_string()] {
        assert!(lines[0].contains(word), "{word} in {lines:?}");
    }
    assert!(!lines[0].contains("acme_plan"), "{lines:?}");
}

#[tokio::test]
async fn demo_key_may_have_its_own_shape() {
    let toml = r#"
        [plans.demo]
        quotas = [{ quota = "2 per hour", counts = "pool:demo" }]
        [[demo]]
        key = "acme_demo"
        id = "00000000-0000-4000-8000-000000000001"
        account = "demo"
        plan = "demo"
    "#;
    let stage = Stage::of_file(toml).unwrap();
    let ask = "GET /a; x-api-key: acme_demo";
    let answers =
        stage.play(&[ask, ask, ask, "GET /a; x-api-key: acme_dem0", "GET /a; x-api-key: acme_demo1"]).await;
    assert_eq!(kinds(&answers), ["served", "served", "rate_limited", "invalid_format", "invalid_format"]);
    assert_eq!(answers[0].seen.as_ref().unwrap().account.as_deref(), Some("demo"));
}
