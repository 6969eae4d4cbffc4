//! Metrics of gates and back ends, through the facade of the crate [`metrics`](https://docs.rs/metrics).
//!
//! The metrics of a gate are recorded if its builder has
//! [`GateBuilder::metrics`](crate::GateBuilder::metrics). The metrics of caches, circuits, leases, sweeps, sinks and
//! networks are recorded in every build with the feature `metrics`. Install the recorder of an exporter before you create back ends
//! and gates: they register their metrics with the recorder that is installed then.
//!
//! Label values come from the configuration and from this crate alone: names of rules and plans, kinds of denials and
//! types of back ends. A request cannot add a series. A label without a value is empty.
//!
//! # All metrics
//!
//! | name | type | labels | meaning |
//! |---|---|---|---|
//! | `tollgate_decisions_total` | counter | `rule`, `plan`, `outcome`, `kind` | Decisions. `outcome` is `admitted`, `denied` or `abandoned`. `kind` is the kind of a denial. `rule` is the method and the pattern. A plan that the gate does not have is `unknown`. |
//! | `tollgate_decision_duration_seconds` | histogram | `outcome` | Time that the gate took for a decision. It is measured at most every 100 µs, or for every decision if a sink [reads](crate::telemetry::DecisionSink::reads_request) it: the number of decisions is in `tollgate_decisions_total`. |
//! | `tollgate_back_end_duration_seconds` | histogram | `back_end`, `operation` | Time of a call to a back end for which the gate waited. A call that is answered at once, as from memory, is not measured. |
//! | `tollgate_back_end_errors_total` | counter | `back_end`, `operation`, `error` | Calls to a back end that failed. `error` is `unavailable`, `timed_out`, `overloaded`, `corrupt`, `rejected` or `panicked`. |
//! | `tollgate_open_charges` | gauge | | Charges of this process for requests that have not ended. |
//! | `tollgate_config_last_reload_successful` | gauge | | 1 if the last configuration was taken, when the gate was built or [reloaded](crate::Gate::reload). 0 if it was rejected. |
//! | `tollgate_config_last_reload_success_timestamp_seconds` | gauge | | Time at which the configuration in force was taken, in seconds since 1970. |
//! | `tollgate_shadow_denials_total` | counter | `rule`, `plan`, `kind` | Requests that a check in [shadow](crate::GateBuilder::shadow) would have denied. |
//! | `tollgate_circuits_open` | gauge | `back_end` | Circuit breakers that are open, by the type of the back end. |
//! | `tollgate_circuit_openings_total` | counter | `back_end` | Times that a circuit breaker opened. |
//! | `tollgate_cache_lookups_total` | counter | `result` | Look-ups in caches of keys. `result` is `hit`, `negative_hit` for a key that is known not to exist, or `miss`. |
//! | `tollgate_cache_stale_answers_total` | counter | | Look-ups that an expired record answered because the authority failed. |
//! | `tollgate_announcements_sent_total` | counter | | Changes that were announced to other nodes. |
//! | `tollgate_announcement_errors_total` | counter | | Changes whose announcement failed. |
//! | `tollgate_announcements_received_total` | counter | | Announcements that were received, those of the same node included. |
//! | `tollgate_announcement_lag_seconds` | histogram | | Time from the announcement of a change to its arrival at the same node, through the channel. |
//! | `tollgate_leases_taken_total` | counter | | Blocks of credits that were leased. |
//! | `tollgate_leases_returned_total` | counter | | Leased blocks that were closed. |
//! | `tollgate_leased_credits_taken_total` | counter | | Credits of the blocks that were leased. |
//! | `tollgate_leased_credits_spent_total` | counter | | Credits that were spent from blocks, counted when a block is closed. |
//! | `tollgate_leased_credits_returned_total` | counter | | Credits that were returned unspent when a block was closed. |
//! | `tollgate_sweeps_total` | counter | `ledger` | Sweeps for abandoned charges. `ledger` is `memory`, `sql` or `redis`. |
//! | `tollgate_swept_charges_total` | counter | `ledger` | Charges, or leased blocks, that a sweep closed. |
//! | `tollgate_usage_batches_total` | counter | `result` | Batches of usage. `result` is `written` or `failed`. |
//! | `tollgate_usage_folded_total` | counter | | Requests whose key, account and rule usage left out, because there were too many rows. They are counted when usage is flushed. |
//! | `tollgate_failed_open_total` | counter | | Requests that a limiter admitted without a limit, because the limiter behind it failed: the policy `allow`. |
//! | `tollgate_networks_forgotten_total` | counter | `of` | Networks of clients whose counts were dropped because there was no place for a further network. `of` is `attempts` for failed attempts, and `windows` for quotas in memory. |
//! | `tollgate_events_dropped_total` | counter | `sink` | Decision events that a sink dropped. `sink` is `channel`, `cloud_events` or `usage`. |
//!
//! # Example
//!
//! ```
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use tollgate::key::Length;
//! use tollgate::metrics::DURATION_BUCKETS;
//! use tollgate::{Gate, KeyFormat, KeySource};
//!
//! let exporter = PrometheusBuilder::new()
//!     .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)?
//!     .install_recorder()?;
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .metrics()
//!     .build()?;
//! println!("{}", exporter.render());
//! # let _ = gate;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The exporter keeps the samples of histograms until `PrometheusHandle::run_upkeep` or the next `render`. Call one of
//! them every few seconds.

mod definition;
mod handle;
mod parts;

#[cfg(feature = "fleet")]
pub(crate) use definition::FAILED_OPEN;
pub(crate) use definition::{
    BACK_END_DURATION, BACK_END_ERRORS, CONFIG_RELOAD_SUCCESSFUL, CONFIG_RELOAD_TIME, DECISION_DURATION,
    DECISIONS, EVENTS_DROPPED, OPEN_CHARGES, SHADOW_DENIALS,
};
pub(crate) use handle::{Counter, Gauge, Histogram};
pub(crate) use parts::{
    AnnouncementMetrics, CacheMetrics, CircuitMetrics, LeaseMetrics, networks_forgotten, swept,
};
pub(crate) use parts::{usage_batch_failed, usage_batch_written, usage_events_dropped, usage_folded};

/// Upper bounds of histogram buckets, in seconds, for all durations of this crate: from a microsecond, for a gate with back ends in
/// memory, to ten seconds.
#[cfg(feature = "metrics")]
pub const DURATION_BUCKETS: [f64; 15] = [
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_1,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.05,
    0.25,
    1.0,
    10.0,
];
