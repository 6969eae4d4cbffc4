//! Usage: the time that it adds to a gate, the time of a batch in a database, and the time of a query.
//!
//! ```text
//! cargo bench --all-features --bench usage
//! cargo bench --all-features --bench usage -- --year
//! ```
//!
//! With `--year`, PostgreSQL stores the hours of 100,000 keys for 30 days, in the order in which they would have been
//! written, and of one key for a year. That takes about 12 GB and some minutes. The bench prints the plan and the time of
//! the query of that year, first with an empty cache of the server, then repeated.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot be set up is a bug")]

mod harness;
#[path = "../tests/services/mod.rs"]
mod services;

use std::time::{Duration, Instant};

use harness::rounds::{self, Stack};
use harness::world::{self, HOT, KEYS, Traffic};
use harness::{gate, handwritten::Answers};
use metrics_exporter_prometheus::PrometheusBuilder;
use tollgate::clock::Timestamp;
use tollgate::sql::{Database, DatabaseOptions};
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{
    BatchId, MemoryUsage, SqlUsage, UsageBatch, UsageCounts, UsageFilter, UsageOptions, UsageQuery,
    UsageRange, UsageRow, UsageStep, UsageStore,
};
use tollgate::{GateBuilder, KeyId, TollgateLayer};
use tower::{Layer, service_fn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The keys and the hours of the large table.
const MANY: u32 = 100_000;
const HOURS: u32 = 30 * 24;

/// The first hour of the large table, in milliseconds.
const FIRST: i64 = 1_775_001_600_000;
const HOUR: i64 = 3_600_000;

fn main() {
    if rounds::is_trial() {
        return;
    }
    print_gates();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = services::scratch("usage");
        print_batches("SQLite", &format!("sqlite:{}", folder.join("gate.db").display())).await;
        std::fs::remove_dir_all(folder).unwrap();
        let Some(server) = services::postgres::Postgres::start() else { return };
        print_batches("PostgreSQL", &server.database()).await;
        if std::env::args().any(|argument| argument == "--year") {
            print_year(&server).await;
        }
    });
}

fn behind(gate: GateBuilder) -> impl Answers {
    TollgateLayer::new(gate.build().unwrap()).layer(service_fn(world::handler))
}

/// Prints the median time of an admitted request, with the response, without usage, with usage, and with metrics too.
fn print_gates() {
    PrometheusBuilder::new().install_recorder().unwrap();
    let plain = || gate::with_keys(KEYS).without_principal();
    let counted = || plain().usage_store(MemoryUsage::new()).usage_options(UsageOptions::default());
    for (spread, label) in [(HOT, "64 hot keys of 10,000"), (KEYS, "10,000 keys uniformly")] {
        let traffic = || Traffic::uniform(spread);
        let mut stacks = [
            Stack::of("bare", service_fn(world::handler), traffic()),
            Stack::of("gate", behind(plain()), traffic()),
            Stack::of("gate, usage", behind(counted()), traffic()),
            Stack::of("gate, usage, metrics", behind(counted().metrics()), traffic()),
        ];
        let medians = rounds::medians(&mut stacks, 41, 20_000);
        println!("\n{label:<24} ns/request   added   of a gate without");
        for (stack, pace) in stacks.iter().zip(&medians) {
            let (added, without) = (pace - medians[0], medians[1] - medians[0]);
            println!("  {:<22} {pace:10.1} {added:7.1} {:10.3}", stack.name, added / without);
        }
    }
}

/// Prints the time of batches whose rows are new, and of batches that add to these rows.
async fn print_batches(name: &str, url: &str) {
    let store = SqlUsage::new(&Database::connect(url).await.unwrap());
    let mut number = 0;
    println!("\n{name:<24} rows   ms/batch, new   ms/batch, later");
    for rows in [100_u32, 1_000, 4_096] {
        let mut times = Vec::new();
        for turn in 0..8_u32 {
            let time = Timestamp::from_millis(FIRST + i64::from(turn) * 10_000);
            let batch = (0..rows).map(|key| {
                let id = KeyId::from_bytes(u128::from(key + rows * 10_000).to_be_bytes());
                let key = Some((id, format!("account-{key}").as_str().into()));
                let counts = UsageCounts::of_request(time, 1);
                UsageRow::new(key, "GET /v1/candles/{symbol}", DecisionOutcome::Admitted, time, counts)
            });
            number += 1;
            let batch = UsageBatch::new(BatchId { node: [7; 16], number }, batch.collect());
            let begun = Instant::now();
            let _ = store.write(&batch).await.unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        // The first batch of a minute has new rows, the next five add to them.
        let later = rounds::median(times[1..6].to_vec());
        println!("  {rows:>27} {:15.1} {later:17.1}", times[0]);
    }
}

/// Prints the plan and the time of the query of a year of hours.
async fn print_year(server: &services::postgres::Postgres) {
    let url = server.database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let patient = Duration::from_mins(30);
    let open = async || {
        let options = DatabaseOptions::new(&url).unwrap().with_statement_timeout(patient);
        options.open().await.unwrap()
    };
    let store = SqlUsage::new(&open().await);
    let begun = Instant::now();
    let say = |words: &str| server.say(&database, words);
    say("ALTER TABLE tollgate_usage_hours DROP CONSTRAINT tollgate_usage_hours_pkey");
    say("DROP INDEX tollgate_usage_hours_by_start");
    let key = |number: &str| format!("decode(lpad(to_hex({number}), 32, '0'), 'hex')");
    // A series' id is as random as a hash.
    let series = |number: &str| format!("decode(md5(({number})::text), 'hex')");
    say(&format!(
        "INSERT INTO tollgate_usage_series (id, key, account, rule, outcome) \
         SELECT {}, {}, 'account-' || n, 'GET /v1/candles/{{symbol}}', 'admitted' FROM generate_series(1, {MANY}) n",
        series("n"),
        key("n")
    ));
    // The year of the first key ends before the 30 days of all keys.
    say(&format!(
        "INSERT INTO tollgate_usage_hours (start, requests, credits, units, bytes, last_seen, series) \
         SELECT {FIRST} - h::bigint * {HOUR}, 60, 60, 0, 0, {FIRST} - h::bigint * {HOUR} + 5, {} FROM generate_series(1, {}) h",
        series("1"),
        365 * 24 - HOURS
    ));
    for day in 0..HOURS / 24 {
        // Hour by hour: the rows of a key are in different pages of the table.
        say(&format!(
            "INSERT INTO tollgate_usage_hours (start, requests, credits, units, bytes, last_seen, series) \
             SELECT {FIRST} + h::bigint * {HOUR}, 60, 60, 0, 0, {FIRST} + h::bigint * {HOUR} + 5, {} \
             FROM generate_series({}, {}) h, generate_series(1, {MANY}) n",
            series("n"),
            day * 24,
            day * 24 + 23
        ));
    }
    say("SET maintenance_work_mem = '2GB'; ALTER TABLE tollgate_usage_hours ADD PRIMARY KEY (series, start)");
    say("CREATE INDEX tollgate_usage_hours_by_start ON tollgate_usage_hours (start)");
    say("VACUUM ANALYZE tollgate_usage_hours, tollgate_usage_series");
    let rows = say("SELECT count(*) FROM tollgate_usage_hours");
    let size = say("SELECT pg_size_pretty(pg_total_relation_size('tollgate_usage_hours'))");
    println!("\n{rows} hours, {size}, in {:.0} s", begun.elapsed().as_secs_f64());
    let from = FIRST - i64::from(365 * 24 - HOURS) * HOUR;
    let to = FIRST + i64::from(HOURS) * HOUR;
    println!(
        "{}",
        say(&format!(
            "EXPLAIN (ANALYZE, BUFFERS) SELECT c.start, s.outcome, CAST(sum(c.requests) AS BIGINT), max(c.last_seen) \
             FROM tollgate_usage_series s JOIN tollgate_usage_hours c ON c.series = s.id \
             WHERE c.start >= {from} AND c.start < {to} AND s.key = {} \
             GROUP BY c.start, s.outcome ORDER BY c.start, s.outcome",
            key("1")
        ))
    );
    let range =
        UsageRange::new(UsageStep::Hour, Timestamp::from_millis(from), Timestamp::from_millis(to)).unwrap();
    let filter = UsageFilter::key(KeyId::from_bytes(1_u128.to_be_bytes()));
    let query = UsageQuery::new(filter, range);
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        let parts = store.read(&query).await.unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(parts.len(), 365 * 24);
    }
    let first = times[0];
    println!("a year of hours of one key: {first:.1} ms first, {:.1} ms median", rounds::median(times));
}
