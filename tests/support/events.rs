//! A decision sink that keeps its events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::telemetry::{DecisionEvent, DecisionOutcome, DecisionSink};

/// An event with owned fields.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) time: String,
    pub(crate) request_id: String,
    pub(crate) account: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) outcome: DecisionOutcome,
    pub(crate) status: Option<u16>,
    pub(crate) charged: u64,
    pub(crate) settled: u64,
    pub(crate) balance: Option<u64>,
    /// Name, limit, remaining requests and seconds to the reset of each window.
    pub(crate) windows: Vec<(String, u32, u32, u64)>,
    pub(crate) elapsed: Duration,
    pub(crate) client: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) units: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// The whole event as text.
    pub(crate) text: String,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Recorder {
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Returns the only event since the last call.
    pub(crate) fn only(&self) -> Seen {
        let mut events = self.take();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

impl DecisionSink for Recorder {
    fn record(&self, event: &DecisionEvent<'_>) {
        let windows = event.windows.iter();
        let windows = windows
            .map(|window| (window.name.to_owned(), window.limit, window.remaining, window.reset.as_secs()));
        self.0.lock().unwrap().push(Seen {
            time: event.time.to_string(),
            request_id: event.request_id.unwrap().to_owned(),
            account: event.account.map(ToString::to_string),
            environment: event.environment.map(ToString::to_string),
            rule: event.rule.map(|rule| rule.pattern().to_owned()),
            outcome: event.outcome,
            status: event.status.map(|status| status.as_u16()),
            charged: event.charged.get(),
            settled: event.settled.get(),
            balance: event.balance.map(tollgate::Credits::get),
            windows: windows.collect(),
            elapsed: event.elapsed.expect("the recorder reads it"),
            client: event.client.map(|client| client.to_string()),
            expires: event.expires.map(|expires| expires.to_string()),
            units: event.units,
            bytes: event.bytes,
            text: format!("{event:?}"),
        });
    }
}
