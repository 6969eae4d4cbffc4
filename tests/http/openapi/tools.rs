//! Public tools judge the documents: a validator, and schemathesis against real servers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::services::{scratch, skipped};

/// The providers of the example, and the header that a key of each stands in.
const PROVIDERS: [(&str, &str); 5] = [
    ("backquant", "X-API-Key: "),
    ("kwery", "X-API-Key: "),
    ("quantconomy", "Authorization: Bearer "),
    ("quantdata", "Authorization: Bearer "),
    ("vectrade", "X-API-Key: "),
];

/// Cargo puts examples beside the folder of the test executables.
fn example() -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let path = folder.join("examples").join(format!("providers{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: `cargo test` builds it, `cargo test --test` does not",
        path.display()
    );
    Command::new(path)
}

fn document(provider: &str) -> Value {
    let output = example().args(["--openapi", provider]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn written(folder: &Path, document: &Value) -> PathBuf {
    let file = folder.join("openapi.json");
    std::fs::write(&file, document.to_string()).unwrap();
    file
}

/// A tool that must be on the PATH.
fn tool(name: &str) -> Option<Command> {
    let found = Command::new(name).arg("--help").output().is_ok_and(|output| output.status.success());
    if !found {
        skipped(name);
    }
    found.then(|| Command::new(name))
}

#[test]
fn the_documents_are_valid() {
    let Some(mut validator) = tool("openapi-spec-validator") else { return };
    let folder = scratch("openapi");
    let mut documents: Vec<Value> = PROVIDERS.map(|(provider, _)| document(provider)).into();
    // Each names what its gate guards: with a rule, or without one.
    for document in &documents {
        let items = document["paths"].as_object().unwrap().values();
        let mut operations = items.flat_map(|item| item.as_object().unwrap().values());
        assert!(operations.any(|operation| operation["responses"]["401"].is_object()), "{document}");
    }
    documents.push(crate::openapi::gate("").gate().openapi());
    let files = documents.iter().enumerate().map(|(place, document)| {
        let file = folder.join(format!("{place}.json"));
        std::fs::write(&file, document.to_string()).unwrap();
        file
    });
    let output = validator.args(files).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));

    let mut broken = documents.pop().unwrap();
    broken["paths"]["/health"]["get"]["security"] = json!("none");
    let output = tool("openapi-spec-validator").unwrap().arg(written(&folder, &broken)).output().unwrap();
    assert!(!output.status.success(), "the validator finds fault with nothing");
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A provider's server, ended with the test, and the first of its sample keys.
struct Running {
    child: Child,
    url: String,
    key: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(provider: &str) -> Running {
    let words = ["--only", provider, "--listen", "127.0.0.1:0"];
    let mut child = example().args(words).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let last_word = |line: &String| line.split(' ').next_back().unwrap().to_owned();
    Running { child, url: last_word(&said[0]), key: last_word(&said[1]) }
}

/// Drives a server along a document.
fn drive(running: &Running, document: &Value, more: &[&str]) -> Option<Output> {
    const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
        response_headers_conformance,response_schema_conformance";
    let folder = scratch("schemathesis");
    let mut schemathesis = tool("schemathesis")?;
    schemathesis
        .current_dir(&folder)
        .args(["run", &written(&folder, document).display().to_string(), "--url", &running.url])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"])
        .args(["--generation-database", "none", "--no-color", "--checks"]);
    let checks = if more.is_empty() { format!("{CHECKS},ignored_auth") } else { CHECKS.to_owned() };
    Some(schemathesis.arg(checks).args(more).output().unwrap())
}

#[test]
fn schemathesis_confirms_the_documents() {
    for (provider, header) in PROVIDERS {
        let (running, document) = (start(provider), document(provider));
        let key = format!("{header}{}", running.key);
        for more in [&[][..], &["-H", &key]] {
            let Some(output) = drive(&running, &document, more) else { return };
            let said = text(&output.stdout);
            assert!(output.status.success(), "{provider}: {said}{}", text(&output.stderr));
            assert!(said.contains(" passed"), "{provider}: {said}");
        }
    }
}

#[test]
fn schemathesis_detects_a_wrong_document() {
    let (running, mut document) = (start("kwery"), document("kwery"));
    document["components"]["schemas"]["Denial401"]["properties"]["error"]["type"] = json!("integer");
    let Some(output) = drive(&running, &document, &[]) else { return };
    assert!(!output.status.success(), "{}", text(&output.stdout));
}
