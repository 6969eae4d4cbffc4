//! The time of a gate with a remote database, compared with a gate in memory, in one run. The gate uses a cache, leased
//! credits and local shares of quotas, over a PostgreSQL server that the bench starts. Requests have one of 64 keys, each of
//! its own account.
//!
//! ```text
//! cargo bench --features postgres --bench fleet
//! ```
//!
//! Only ratios within one run are comparable: rounds of all stacks alternate, and the medians are compared. The figures
//! include the background work on the machine, including that of the database.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what is constant here cannot fail")]

mod harness;
#[path = "../tests/services/mod.rs"]
mod services;

use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::extract::Request;
use harness::gate;
use harness::rounds::{self, Stack};
use harness::world::{self, HOT, Traffic};
use services::postgres::Postgres;
use tokio::runtime::Runtime;
use tollgate::account::Allowance;
use tollgate::clock::SystemClock;
use tollgate::credit::{Adjustment, AdjustmentKind, CreditAdmin, LeaseTerms, LeasedLedger, SqlLedger};
use tollgate::guard::Resilient;
use tollgate::limit::LocalShare;
use tollgate::sql::Database;
use tollgate::store::{AccountAdmin, CachedStore, InsertKey, KeyAdmin, SqlStore};
use tollgate::{Clock, Credits, GateBuilder, TollgateLayer};
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 41;
const REQUESTS: u32 = 20_000;

fn behind(name: &'static str, runtime: &Runtime, gate: GateBuilder) -> Stack {
    let gate = gate.without_principal().build().expect("the gate is complete");
    stack(name, runtime, TollgateLayer::new(gate).layer(service_fn(world::handler)))
}

fn stack<S>(name: &'static str, runtime: &Runtime, mut service: S) -> Stack
where
    S: Service<Request> + 'static,
    S::Response: Answer,
{
    let (runtime, mut traffic) = (runtime.handle().clone(), Traffic::uniform(HOT));
    let answer = move |request| {
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))), "the service is always ready");
        let mut future = pin!(service.call(request));
        // Most requests do not wait. The figures include the time of those that wait.
        let answer = match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => runtime.block_on(future),
        };
        let answer = answer.unwrap_or_else(|_| panic!("the service never fails"));
        assert_eq!(answer.status(), 200, "all requests are served");
        drop(black_box(answer));
    };
    Stack::new(name, move || traffic.request(), answer)
}

/// A response with a status.
trait Answer {
    fn status(&self) -> u16;
}

impl<B> Answer for http::Response<B> {
    fn status(&self) -> u16 {
        http::Response::status(self).as_u16()
    }
}

/// The keys and balances of the bench, in a database.
async fn fill(database: &Database) {
    let (store, ledger, now) = (SqlStore::new(database), SqlLedger::new(database), SystemClock::new().now());
    for number in 0..HOT {
        let account = gate::account(number);
        assert!(store.create_account(&account).await.expect("a database"));
        let kind = AdjustmentKind::Set(Credits::new(1 << 60));
        let id = "opening".parse().expect("an id");
        let paid = Adjustment::new(id, &account.id, kind, &Allowance::None, now.wall());
        let _ = ledger.adjust(&paid).await.expect("a database");
        let insert = InsertKey::new(gate::record(number, account), now.wall());
        let _ = store.insert(&insert).await.expect("a database");
    }
}

async fn fleet(url: &str, headroom: u64) -> GateBuilder {
    let database = Database::connect(url).await.expect("a database");
    fill(&database).await;
    let nodes = NonZeroU32::new(4).expect("four");
    let mut terms = LeaseTerms::of_nodes(nodes);
    terms.headroom = Credits::new(headroom);
    terms.block = Credits::new(headroom * 100);
    let store = CachedStore::builder(Resilient::new(SqlStore::new(&database))).build().expect("a cache");
    let ledger = LeasedLedger::new(Resilient::new(SqlLedger::new(&database)), terms);
    gate::builder(store, ledger).limiter(LocalShare::new(nodes)).source(gate::header())
}

fn main() {
    if rounds::is_trial() {
        return;
    }
    let Some(postgres) = Postgres::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let usual = runtime.block_on(fleet(&postgres.database(), 250));
    let roomy = runtime.block_on(fleet(&postgres.database(), 10_000));
    let mut stacks = [
        stack("nothing", &runtime, service_fn(world::handler)),
        behind("in memory", &runtime, gate::with_keys(HOT)),
        behind("fleet, headroom 250", &runtime, usual),
        behind("fleet, headroom 10,000", &runtime, roomy),
    ];
    let medians = rounds::medians(&mut stacks, ROUNDS, REQUESTS);
    println!("\n{:<26} ns/request      added   of in memory", "64 keys");
    for (stack, &pace) in stacks.iter().zip(&medians) {
        let (added, in_memory) = (pace - medians[0], medians[1] - medians[0]);
        println!("  {:<24} {pace:10.1} {added:10.1} {:14.3}", stack.name, added / in_memory);
    }
}
