//! A caller's deadline is the gate's too.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tollgate::credit::{Charge, Charged, Refund, Settlement};
use tollgate::key::KeyHash;
use tollgate::{CreditLedger, KeyRecord, KeyStore, MemoryLedger, StoreFuture, TollgateLayer};
use tonic::Code;
use tower::{Layer, ServiceExt};

use crate::grpc::fixture::{CHECK, KEY, ask, builder, client, post, raw, service};
use crate::support::World;
use crate::support::wire::Server;

/// A back end that never answers. What it is asked happens all the same.
#[derive(Debug, Clone)]
struct Silent(Arc<MemoryLedger>);

impl KeyStore for Silent {
    fn find(&self, _: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::boxed(std::future::pending())
    }
}

impl CreditLedger for Silent {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        drop(self.0.charge(charge));
        StoreFuture::boxed(std::future::pending())
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.0.settle(settlement)
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.0.refund(refund)
    }
}

/// A server that leaves deadlines to what it serves, as axum and hyper do.
async fn heedless(world: &World, silent_store: bool) -> Server {
    let silent = Silent(Arc::clone(&world.ledger));
    let silent = if silent_store { world.with_store(silent) } else { world.with_ledger(silent) };
    Server::gated(&builder(&silent).build().unwrap(), service(world)).await
}

#[tokio::test]
async fn slow_store_is_left_at_the_deadline() {
    let world = World::new();
    let address = heedless(&world, true).await.0;
    let asked = Instant::now();
    let headers = &[("content-type", "application/grpc"), ("grpc-timeout", "80m"), ("x-api-key", KEY)];
    let head = raw(address, post(address, CHECK, headers)).await;
    assert_eq!(head.header("grpc-status"), Some("4"), "{head:?}");
    assert!(head.is_all);
    assert_eq!(head.header("grpc-retry-pushback-ms"), None);
    assert!((Duration::from_millis(80)..Duration::from_secs(5)).contains(&asked.elapsed()));
}

#[test]
fn deadline_without_timers_is_ignored() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        let silent = world.with_store(Silent(Arc::clone(&world.ledger)));
        let gate = builder(&silent).build().unwrap();
        for _ in 0..2 {
            let request = http::Request::post(CHECK)
                .header("content-type", "application/grpc")
                .header("grpc-timeout", "80m")
                .header("x-api-key", KEY)
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .unwrap();
            let mut call = pin!(TollgateLayer::new(gate.clone()).layer(world.inner.clone()).oneshot(request));
            assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
        }
    });
}

#[tokio::test]
async fn deadline_leaves_no_charge_open() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let address = heedless(&world, false).await.0;
    let mut call = ask("", &[("x-api-key", KEY)]);
    call.set_timeout(Duration::from_millis(80));
    let refused = client(address).await.check(call).await.unwrap_err();
    assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Cancelled), "{refused:?}");
    let account = world.account_of(id);
    for _ in 0..2_000 {
        if world.ledger.open_charges(&account) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((world.ledger.open_charges(&account), world.balance(id)), (0, 100));
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn invalid_timeout_is_ignored() {
    let world = World::new();
    let address = heedless(&world, true).await.0;
    for timeout in ["", "m", "123456789m", "1", "-1m", "+1m", "1x"] {
        let headers = &[("content-type", "application/grpc"), ("grpc-timeout", timeout), ("x-api-key", KEY)];
        let answer =
            tokio::time::timeout(Duration::from_millis(60), raw(address, post(address, CHECK, headers)));
        assert!(answer.await.is_err(), "`{timeout}` ends a call");
    }
}
