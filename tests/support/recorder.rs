//! A recorder of metrics that keeps their values, and allocates nothing once a metric is registered.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// The metrics by their names and labels, as in `name{label="value"}`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Metrics(Arc<Mutex<BTreeMap<String, Value>>>);

#[derive(Debug, Clone)]
enum Value {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<AtomicU64>),
    Times(Arc<Times>),
}

/// The number and the sum of a histogram's samples.
#[derive(Debug, Default)]
struct Times {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl HistogramFn for Times {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's times are short")]
    fn record(&self, value: f64) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.nanos.fetch_add((value * 1e9).round() as u64, Ordering::SeqCst);
    }
}

fn text(key: &Key) -> String {
    let labels = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value()));
    let labels = labels.collect::<Vec<_>>().join(",");
    if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{labels}}}", key.name()) }
}

impl Metrics {
    /// Records the metrics of this thread until the guard is dropped.
    pub(crate) fn install(&self) -> metrics::LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(self)
    }

    /// Returns the names and labels of all metrics.
    pub(crate) fn series(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// Returns the value of a counter or a gauge, or the number of a histogram's samples.
    pub(crate) fn value(&self, name: &str) -> i64 {
        match self.0.lock().unwrap().get(name) {
            None => panic!("no metric is called {name}"),
            Some(Value::Counter(count)) => count.load(Ordering::SeqCst).try_into().unwrap(),
            #[allow(clippy::cast_possible_truncation, reason = "a test's gauges are whole numbers")]
            Some(Value::Gauge(bits)) => f64::from_bits(bits.load(Ordering::SeqCst)) as i64,
            Some(Value::Times(times)) => times.count.load(Ordering::SeqCst).try_into().unwrap(),
        }
    }

    /// Returns the sum of a histogram's samples, in nanoseconds.
    pub(crate) fn nanos(&self, name: &str) -> u64 {
        match self.0.lock().unwrap().get(name) {
            Some(Value::Times(times)) => times.nanos.load(Ordering::SeqCst),
            other => panic!("{name} is {other:?}"),
        }
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut values = self.0.lock().unwrap();
        let value = values.entry(text(key)).or_insert_with(|| Value::Counter(Arc::default()));
        let Value::Counter(count) = value else { panic!("{key} has two types") };
        Counter::from_arc(Arc::clone(count))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut values = self.0.lock().unwrap();
        let value = values.entry(text(key)).or_insert_with(|| Value::Gauge(Arc::default()));
        let Value::Gauge(bits) = value else { panic!("{key} has two types") };
        Gauge::from_arc(Arc::clone(bits))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut values = self.0.lock().unwrap();
        let value = values.entry(text(key)).or_insert_with(|| Value::Times(Arc::default()));
        let Value::Times(times) = value else { panic!("{key} has two types") };
        Histogram::from_arc(Arc::clone(times))
    }
}
