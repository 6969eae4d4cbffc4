//! Credits in SQLite: charges and refunds per second by concurrent tasks, at both settings of durability, and the same over
//! PostgreSQL if a server is installed.
//!
//! The file is in WAL mode. `PowerLoss` waits for the disk at every commit (`synchronous = FULL`). `ProcessCrash` does not
//! (`synchronous = NORMAL`): every commit survives a crash of the process, but a crash of the machine may lose it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot be set up is a bug")]

#[path = "../tests/services/mod.rs"]
mod services;

use std::time::{Duration, Instant};

use tollgate::account::Allowance;
use tollgate::clock::SystemClock;
use tollgate::credit::{
    Adjustment, AdjustmentKind, Charge, ChargeId, Charged, CreditAdmin, Refund, SqlLedger,
};
use tollgate::name::AccountId;
use tollgate::sql::{DatabaseOptions, Durability};
use tollgate::{Account, Clock, CreditLedger, Credits};

/// The duration of each measurement.
const LASTS: Duration = Duration::from_secs(3);

/// The number of accounts that the tasks spend from.
const ACCOUNTS: u64 = 16;

#[tokio::main]
async fn main() {
    println!("| ledger | durable against | tasks | charge + refund per second | mean of one call |");
    println!("|---|---|---|---|---|");
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        for tasks in [1, 64, 256, 1_024] {
            let folder = services::scratch("bench");
            let url = format!("sqlite:{}", folder.join("gate.db").display());
            measure("SQLite", &url, durability, tasks).await;
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    if let Some(server) = services::postgres::Postgres::start() {
        for tasks in [1, 64, 256, 1_024] {
            measure("PostgreSQL", &server.database(), Durability::ProcessCrash, tasks).await;
        }
    }
}

async fn measure(name: &str, url: &str, durability: Durability, tasks: u64) {
    let options = DatabaseOptions::new(url).unwrap().with_durability(durability);
    let ledger = SqlLedger::new(&options.open().await.unwrap());
    let clock = SystemClock::new();
    for account in 0..ACCOUNTS {
        let (account, kind) =
            (AccountId::from(account.to_string()), AdjustmentKind::Set(Credits::new(1_000_000)));
        let now = clock.now().wall();
        let asked = Adjustment::new("opening".parse().unwrap(), &account, kind, &Allowance::None, now);
        let _ = ledger.adjust(&asked).await.unwrap();
    }
    let begun = Instant::now();
    let until = begun + LASTS;
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let ledger = ledger.clone();
        running.spawn(async move { spend(&ledger, task, until).await });
    }
    let pairs: u64 = running.join_all().await.into_iter().sum();
    let micros = begun.elapsed().as_micros();
    let (rate, call) =
        (u128::from(pairs) * 1_000_000 / micros, micros * u128::from(tasks) / u128::from(2 * pairs));
    println!("| {name} | {durability:?} | {tasks} | {rate} | {call} µs |");
    assert!(ledger.audit().await.unwrap().is_empty(), "the entries sum to the balances");
}

/// Charges and refunds until the time is over, and returns the number of both.
async fn spend(ledger: &SqlLedger, task: u64, until: Instant) -> u64 {
    let (account, clock) = (Account::new((task % ACCOUNTS).to_string(), "pro"), SystemClock::new());
    let mut pairs = 0;
    while Instant::now() < until {
        let id = ChargeId::from_bytes((u128::from(task) << 64 | u128::from(pairs)).to_be_bytes());
        let charge = Charge::new(id, &account, Credits::new(1), &Allowance::None, clock.now());
        let charged = ledger.charge(&charge).await.unwrap();
        assert!(matches!(charged, Charged::Posted { .. }), "{charged:?}");
        ledger.refund(&Refund::new(&account, id, &clock)).await.unwrap();
        pairs += 1;
    }
    pairs
}
