//! The names, units and descriptions of all metrics.

/// A metric. The documentation of the module lists all of them.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
}

/// Declares the metrics, and the list of all.
macro_rules! definitions {
    ($($constant:ident = $name:literal, $description:literal;)+) => {
        $(#[allow(dead_code, reason = "some are used with few features only")]
        pub(crate) const $constant: Definition = Definition { name: $name, description: $description };)+

        /// All metrics.
        #[cfg(test)]
        pub(super) const ALL: &[Definition] = &[$($constant,)+];
    };
}

definitions! {
    DECISIONS = "tollgate_decisions_total", "Decisions of gates.";
    DECISION_DURATION = "tollgate_decision_duration_seconds", "Time that a gate took for a decision.";
    BACK_END_DURATION = "tollgate_back_end_duration_seconds", "Time of a call to a back end for which a gate waited.";
    BACK_END_ERRORS = "tollgate_back_end_errors_total", "Calls to a back end that failed.";
    OPEN_CHARGES = "tollgate_open_charges", "Charges of this process for requests that have not ended.";
    CONFIG_RELOAD_SUCCESSFUL = "tollgate_config_last_reload_successful", "1 if the last configuration was taken, 0 if it was rejected.";
    CONFIG_RELOAD_TIME = "tollgate_config_last_reload_success_timestamp_seconds", "Time at which the configuration in force was taken.";
    SHADOW_DENIALS = "tollgate_shadow_denials_total", "Requests that a check in shadow would have denied.";
    CIRCUITS_OPEN = "tollgate_circuits_open", "Circuit breakers that are open.";
    CIRCUIT_OPENINGS = "tollgate_circuit_openings_total", "Times that a circuit breaker opened.";
    CACHE_LOOKUPS = "tollgate_cache_lookups_total", "Look-ups in caches of keys.";
    CACHE_STALE_ANSWERS = "tollgate_cache_stale_answers_total", "Look-ups that an expired record answered.";
    ANNOUNCEMENTS_SENT = "tollgate_announcements_sent_total", "Changes that were announced to other nodes.";
    ANNOUNCEMENT_ERRORS = "tollgate_announcement_errors_total", "Changes whose announcement failed.";
    ANNOUNCEMENTS_RECEIVED = "tollgate_announcements_received_total", "Announcements that were received.";
    ANNOUNCEMENT_LAG = "tollgate_announcement_lag_seconds", "Time from an announcement to its arrival at the same node.";
    LEASES_TAKEN = "tollgate_leases_taken_total", "Blocks of credits that were leased.";
    LEASES_RETURNED = "tollgate_leases_returned_total", "Leased blocks that were closed.";
    LEASED_CREDITS_TAKEN = "tollgate_leased_credits_taken_total", "Credits of the blocks that were leased.";
    LEASED_CREDITS_SPENT = "tollgate_leased_credits_spent_total", "Credits that were spent from closed blocks.";
    LEASED_CREDITS_RETURNED = "tollgate_leased_credits_returned_total", "Credits that were returned unspent.";
    SWEEPS = "tollgate_sweeps_total", "Sweeps for abandoned charges.";
    SWEPT_CHARGES = "tollgate_swept_charges_total", "Charges or leased blocks that a sweep closed.";
    USAGE_BATCHES = "tollgate_usage_batches_total", "Batches of usage.";
    USAGE_FOLDED = "tollgate_usage_folded_total", "Requests whose detail usage left out.";
    FAILED_OPEN = "tollgate_failed_open_total", "Requests that were admitted without a limit, because the limiter failed.";
    NETWORKS_FORGOTTEN = "tollgate_networks_forgotten_total", "Networks whose counts were dropped for others.";
    EVENTS_DROPPED = "tollgate_events_dropped_total", "Decision events that a sink dropped.";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn documentation_lists_every_metric() {
        let page = include_str!("mod.rs");
        let rows = page.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), ALL.iter().map(|metric| metric.name).collect::<Vec<_>>());
    }
}
