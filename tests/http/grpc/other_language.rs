//! The same calls by a client of another language: Python's grpcio.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::process::Command;
use tollgate::account::QuotaRef;

use crate::grpc::fixture::{KEY, builder, serve};
use crate::services::{has_python_module, skipped};
use crate::support::World;

const LIMITED: &str = "acme_limited0limited0limited0limited0";
const POOR: &str = "acme_poor0poor0poor0poor0poor0poor0po";

#[tokio::test]
async fn grpcio_client_reads_every_answer() {
    if !has_python_module("grpc") {
        return skipped("python3 with grpcio");
    }
    let world = World::new();
    let id = world.plain_key(KEY);
    let limited: Vec<QuotaRef> = vec![QuotaRef::Policy("1 per minute".parse().unwrap())];
    world.key(LIMITED, |record, _| record.quotas = Some(limited));
    let poor = world.plain_key(POOR);
    world.set_balance(poor, 1);
    let denials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&denials);
    let gate = builder(&world).on_denial(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let address = serve(&world, gate.build().unwrap()).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/grpc/client.py");
    let client = Command::new("python3")
        .args([script, &address.to_string(), KEY, LIMITED, POOR])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_mins(1), client).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "all answers were as expected", "{said}");

    // Two good calls, one that was left midway, one that failed: the last costs nothing.
    for _ in 0..2_000 {
        if world.ledger.open_charges(&world.account_of(id)) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(world.balance(id), 94);
    assert_eq!(world.balance(poor), 1);
    // Without a key, an unknown one, over the limit with a retry policy and without one, and without credits: each once,
    // since the retry policy heeds the pushback.
    assert_eq!(denials.load(Ordering::SeqCst), 5);
}
