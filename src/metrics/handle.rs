//! Handles of registered metrics. Without the feature `metrics`, they do nothing.
#![cfg_attr(not(feature = "metrics"), allow(clippy::unused_self, reason = "the handles are empty"))]

use crate::metrics::definition::Definition;

#[cfg(feature = "metrics")]
use ::metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};

/// Declares a handle that is registered and described by the installed recorder.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $describe:ident, $register:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name(#[cfg(feature = "metrics")] ::metrics::$name);

        impl $name {
            /// Registers the metric with these labels.
            #[cfg(feature = "metrics")]
            pub(crate) fn new(definition: &Definition, labels: &[(&'static str, &str)]) -> Self {
                Self(::metrics::with_recorder(|recorder: &dyn Recorder| {
                    let description = SharedString::const_str(definition.description);
                    recorder.$describe(KeyName::from_const_str(definition.name), None, description);
                    let labels = labels.iter().map(|&(name, value)| Label::new(name, value.to_owned()));
                    let key = Key::from_parts(definition.name, labels.collect::<Vec<_>>());
                    recorder.$register(&key, &Metadata::new("tollgate", Level::INFO, None))
                }))
            }

            #[cfg(not(feature = "metrics"))]
            pub(crate) fn new(_: &Definition, _: &[(&'static str, &str)]) -> Self {
                Self()
            }
        }
    };
}

handle! {
    /// A count of events.
    Counter, describe_counter, register_counter
}
handle! {
    /// A value that rises and falls.
    Gauge, describe_gauge, register_gauge
}
handle! {
    /// A distribution of times.
    Histogram, describe_histogram, register_histogram
}

impl Counter {
    /// Adds events.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        #[cfg(feature = "metrics")]
        self.0.increment(count);
    }
}

impl Gauge {
    /// Adds one, or subtracts one.
    #[inline]
    pub(crate) fn raise(&self, up: bool) {
        #[cfg(feature = "metrics")]
        self.0.increment(if up { 1.0 } else { -1.0 });
    }

    /// Sets the value.
    pub(crate) fn set(&self, value: f64) {
        #[cfg(feature = "metrics")]
        self.0.set(value);
        #[cfg(not(feature = "metrics"))]
        let _ = value;
    }
}

impl Histogram {
    /// Records a time.
    #[inline]
    pub(crate) fn record(&self, time: std::time::Duration) {
        #[cfg(feature = "metrics")]
        self.0.record(time.as_secs_f64());
    }
}
