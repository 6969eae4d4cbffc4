//! A call is charged once, and its charge ends with it.

use std::time::Duration;

use tollgate::KeyId;
use tonic::Code;
use tonic::codegen::tokio_stream::StreamExt;

use crate::grpc::fixture::{KEY, ask, builder, client, serve};
use crate::support::World;

const PAID: &[(&str, &str)] = &[("x-api-key", KEY)];

async fn world() -> (World, KeyId, std::net::SocketAddr) {
    let world = World::new();
    let id = world.plain_key(KEY);
    let address = serve(&world, builder(&world).build().unwrap()).await;
    (world, id, address)
}

/// The balance, once no charge is open any more.
async fn settled(world: &World, id: KeyId) -> u64 {
    for _ in 0..2_000 {
        if world.ledger.open_charges(&world.account_of(id)) == 0 {
            return world.balance(id);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("a charge stays open");
}

/// Returns the rest of 100 credits after a handler ends with this code, at a cost of 2.
fn left(code: i32) -> u64 {
    let server_failed = [2, 12, 13, 14, 15].contains(&code);
    if server_failed { 100 } else { 98 }
}

#[tokio::test]
async fn unary_call_is_free_only_on_server_error() {
    for code in 1..=16 {
        let (world, id, address) = world().await;
        let failed = client(address).await.check(ask(&format!("code:{code}"), PAID)).await.unwrap_err();
        assert_eq!((failed.code(), failed.message()), (Code::from_i32(code), "as asked for"));
        assert_eq!(settled(&world, id).await, left(code), "code {code}");
    }
    let (world, id, address) = world().await;
    assert!(client(address).await.check(ask("", PAID)).await.is_ok());
    assert_eq!(settled(&world, id).await, 98);
}

#[tokio::test]
async fn stream_is_charged_by_its_final_status() {
    for code in 0..=16 {
        let (world, id, address) = world().await;
        let call = ask(&format!("after:3:{code}"), PAID);
        let mut stream = client(address).await.watch(call).await.unwrap().into_inner();
        let mut messages = 0;
        let end = loop {
            match stream.next().await {
                Some(Ok(_)) => messages += 1,
                Some(Err(status)) => break status.code(),
                None => break Code::Ok,
            }
        };
        assert_eq!((messages, end), (3, Code::from_i32(code)));
        assert_eq!(settled(&world, id).await, left(code), "code {code}");
        assert_eq!(world.calls(), 1);
    }
}

#[tokio::test]
async fn stream_left_by_the_client_is_charged() {
    let (world, id, address) = world().await;
    let mut stream = client(address).await.watch(ask("stay", PAID)).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(world.ledger.open_charges(&world.account_of(id)), 1, "it is open while the stream is");
    drop(stream);
    assert_eq!(settled(&world, id).await, 98);
}

#[tokio::test]
async fn a_stream_that_panics_costs_nothing() {
    let (world, id, address) = world().await;
    let mut stream = client(address).await.watch(ask("panic", PAID)).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_err());
    assert_eq!(settled(&world, id).await, 100);
}

#[tokio::test]
async fn handler_may_lower_the_cost() {
    let (world, id, address) = world().await;
    assert!(client(address).await.check(ask("cost:1", PAID)).await.is_ok());
    assert_eq!(settled(&world, id).await, 99);
}
