//! The same refusals as a client of another language reads them: Python's grpcio.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::calls::{asked, calls, code};
use super::services::{has_python_module, skipped};
use super::{BALANCE, Expect, Stage, serve_tonic};

#[tokio::test]
async fn grpcio_client_reads_every_refusal() {
    if !has_python_module("grpc") {
        return skipped("python3 with grpcio");
    }
    let stage = Stage::of_calls(false);
    let address = serve_tonic::serve(&stage).await;
    let (mut lines, mut kinds, mut ids) = (Vec::new(), vec![], vec![]);
    for row in calls() {
        let Expect::Denied { kind, .. } = row.expect else { continue };
        ids.extend(stage.prepare(&row));
        let (path, metadata) = asked(&row);
        let (code, before) = (code(kind) as i32, row.before);
        let line =
            json!({ "name": row.name, "path": path, "metadata": metadata, "before": before, "code": code });
        lines.push(line.to_string());
        kinds.push(kind);
    }

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/scenarios/client.py");
    let mut client = Command::new("python3");
    client.args([script, &address.to_string()]).kill_on_drop(true);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    client.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_mins(1), client.wait_with_output()).await;
    let output = ended.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let read = format!("{} refusals were as expected", kinds.len());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), read, "{said}");

    // The gate's own word on it: each call once, and for the reason that the table gives.
    assert_eq!(stage.notes.denials(), kinds);
    for (id, _) in ids {
        let account = stage.world.account_of(id);
        assert_eq!((stage.world.balance(id), stage.world.ledger.open_charges(&account)), (BALANCE, 0));
    }
}
