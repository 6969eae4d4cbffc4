//! The decision: keys, formats, sources, rules, the order of the checks, rate limits and credits, over back ends in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod anonymous;
mod attempts;
mod back_ends;
mod builder;
mod decision_events;
mod event_fields;
mod in_flight;
mod insecure;
mod key_generation;
mod keys;
mod late_costs;
mod limit_edges;
#[path = "../support/log.rs"]
mod log;
mod network_quotas;
mod order;
mod properties_attempts;
mod properties_keys;
mod properties_query;
mod properties_rules;
mod public_quotas;
mod races;
#[cfg(feature = "metrics")]
#[path = "../support/recorder.rs"]
mod recorder;
mod reload;
mod rule_quotas;
mod scanner_pattern;
mod security_addresses;
mod security_answers;
mod security_credits;
mod security_demo;
mod security_extraction;
mod security_format;
mod security_headers;
mod security_limits;
mod security_methods;
mod security_query;
mod security_routes;
mod security_status;
mod shadow;
#[path = "../support/mod.rs"]
mod support;
mod two_gates;
mod usage;
mod weight_reports;
mod weights;
