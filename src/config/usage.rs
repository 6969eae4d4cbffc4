//! The table `usage`.

use std::str::FromStr;

use serde::Deserialize;

use crate::config::text::{Span, Text};
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::telemetry::EventAddresses;
use crate::usage::UsageOptions;
use crate::words;

/// The settings of usage. If the table is present, the gate counts its decisions: see [`Usage`](crate::usage::Usage).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageConfig {
    /// The interval at which counts are written to the store. Defaults to `10s`.
    pub flush: Option<Text<Span>>,
    /// The retention of each step.
    pub keep: KeepConfig,
    /// The maximum number of rows in memory between two flushes. Defaults to 100000.
    pub max_rows: Option<usize>,
    /// The part of a client's address that decision events contain. Defaults to the network.
    pub addresses: Option<Text<EventAddresses>>,
}

/// The time for which the counts of each step are kept. Months are always kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeepConfig {
    /// The retention of minutes. Defaults to `2days`.
    pub minutes: Option<Text<Span>>,
    /// The retention of hours. Defaults to `60days`.
    pub hours: Option<Text<Span>>,
    /// The retention of days. Defaults to `3years`.
    pub days: Option<Text<Span>>,
}

impl UsageConfig {
    /// Returns the builder with these settings.
    pub(super) fn apply(&self, builder: GateBuilder) -> GateBuilder {
        let mut options = UsageOptions::default();
        let keep = &mut options.keep;
        let given = [
            (&mut keep.minutes, &self.keep.minutes),
            (&mut keep.hours, &self.keep.hours),
            (&mut keep.days, &self.keep.days),
        ];
        for (kept, given) in given {
            if let Some(given) = given {
                *kept = given.0.0;
            }
        }
        if let Some(flush) = &self.flush {
            options.flush = Some(flush.0.0);
        }
        options.max_rows = self.max_rows.unwrap_or(options.max_rows);
        let builder = builder.usage_options(options);
        self.addresses
            .as_ref()
            .map(|addresses| addresses.0)
            .into_iter()
            .fold(builder, GateBuilder::event_addresses)
    }
}

impl FromStr for EventAddresses {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "network" => Ok(Self::Network),
            "full" => Ok(Self::Full),
            _ => {
                let expected = words::one_of(text, ["none", "network", "full"].into_iter());
                Err(ConfigError::new(text, "unknown part of an address", expected))
            }
        }
    }
}
