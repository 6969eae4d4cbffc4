//! Usage at the edges: the largest numbers, the bound on detail, and long ranges.
#![cfg(all(feature = "metrics", feature = "sqlite"))]

use std::time::Duration;

use tollgate::rule::{Cost, ScopeRule};
use tollgate::sql::Database;
use tollgate::usage::{SqlUsage, UsageFilter, UsageOptions, UsageRange, UsageStep};
use tollgate::{Clock, Credits, Gate, GateBuilder, RequestView, Rule};

use crate::recorder::Metrics;
use crate::support::events::Recorder;
use crate::support::{World, with_key};
use crate::two_gates::send;

const KEY: &str = "kwery_live_0123456789";
const OTHER_KEY: &str = "kwery_live_9876543210";

/// An outer gate with a fixed cost and an inner gate whose cost is per unit, of which a request may name 100.
fn two_gates(world: &World, change: impl FnOnce(GateBuilder) -> GateBuilder) -> [Gate; 2] {
    let rule = |cost: Cost| {
        let mut rule = Rule::new("/v1/data").unwrap();
        (rule.cost, rule.scopes) = (cost, ScopeRule::Everyone);
        rule
    };
    let each = Credits::new(1);
    let units = Cost::PerUnit { parameter: "limit".to_owned(), each, least: 1, default: 5, most: 100 };
    let outer = world.kwery().rule(rule(Cost::Fixed(Credits::new(1)))).build().unwrap();
    [outer, change(world.kwery().rule(rule(units))).build().unwrap()]
}

#[tokio::test]
async fn units_are_within_the_bounds_of_the_rule() {
    let (world, recorder) = (World::new(), Recorder::default());
    world.plain_key(KEY);
    let [outer, inner] = two_gates(&world, |builder| builder.decision_sink(recorder.clone()));
    let asked = format!("GET /v1/data?limit={}", u64::MAX);
    let answer = send([&outer, &inner], &world, with_key(&asked, KEY)).await;
    let event = recorder.only();
    assert!(
        answer.status >= 400 || event.units.is_none_or(|units| units <= 100),
        "status {}, units {:?}",
        answer.status,
        event.units
    );
}

/// A client names the largest number of units in two intervals. The second batch has a request of another account too.
#[tokio::test]
async fn units_of_one_key_drop_no_other_usage() {
    let world = World::new();
    let other = {
        world.plain_key(KEY);
        world.plain_key(OTHER_KEY)
    };
    let file = std::env::temp_dir().join(format!("tollgate-units-{}.db", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let database = Database::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let [outer, inner] = two_gates(&world, |builder| {
        let mut options = UsageOptions::default();
        options.flush = None;
        builder.usage_store(SqlUsage::new(&database)).usage_options(options)
    });
    let (usage, asked) = (inner.usage().unwrap(), format!("GET /v1/data?limit={}", u64::MAX));
    let _ = send([&outer, &inner], &world, with_key(&asked, KEY)).await;
    usage.flush().await.unwrap();
    let _ = send([&outer, &inner], &world, with_key(&asked, KEY)).await;
    let _ = send([&outer, &inner], &world, with_key("GET /v1/data?limit=3", OTHER_KEY)).await;
    let flushed = usage.flush().await;
    let range = UsageRange::latest(UsageStep::Hour, world.clock.now().wall());
    let counted = usage.report(UsageFilter::key(other), range).await.unwrap();
    let counted: u64 = counted.points.iter().map(|point| point.counts.requests).sum();
    let status = usage.status();
    database.close().await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    assert_eq!((counted, status.lost), (1, 0), "{flushed:?}");
}

#[test]
fn months_up_to_the_bound_are_accepted() {
    let (from, to) = ("1200-01-01T00:00:00Z".parse().unwrap(), "2000-01-01T00:00:00Z".parse().unwrap());
    // 800 years: 9,600 months.
    let range = UsageRange::new(UsageStep::Month, from, to).unwrap();
    assert_eq!(range.starts().count(), 9_600);
}

/// Requests of more minutes than there are cells for folded requests.
#[tokio::test]
async fn requests_without_a_place_count_as_dropped() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let mut options = UsageOptions::default();
    (options.flush, options.max_rows) = (None, 1);
    let gate = world.kwery().usage_options(options).build().unwrap();
    let request = with_key("GET /v1/data", KEY).body(()).unwrap();
    for _ in 0..100 {
        let _ = gate.admit(&RequestView::of(&request)).await.unwrap_err();
        world.clock.advance(Duration::from_mins(1));
    }
    let usage = gate.usage().unwrap();
    usage.flush().await.unwrap();
    let lost = usage.status().lost;
    assert!(lost > 0);
    let dropped = metrics.value("tollgate_events_dropped_total{sink=\"usage\"}");
    assert_eq!(dropped, i64::try_from(lost).unwrap());
}
