//! Decision events as lines of JSON, each a `CloudEvent`.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::amount::random;
use crate::denial::DenialKind;
use crate::error::ConfigError;
use crate::metrics::{Counter, EVENTS_DROPPED};
use crate::name::{AccountId, Environment, PlanName};
use crate::panics::guard;
use crate::telemetry::{DecisionEvent, DecisionSink, EventChannel, EventReceiver, OwnedEvent};
use crate::trace;

/// The default number of events that wait for the writer.
const CAPACITY: usize = 8_192;

/// The maximum number of events that are written at once.
const BATCH: u64 = 256;

/// The time for which a dropped [`CloudEventWriter`] waits for its thread.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// The `type` of the events.
const TYPE: &str = "io.github.tollgate-rs.decision";

/// A decision sink that writes each event as a line of JSON, in the JSON format of `CloudEvents` 1.0.
///
/// A thread of its own writes the events, so a slow writer delays no request. At most 8,192 events wait for the thread
/// (see [`with_capacity`](Self::with_capacity)). Further events are dropped and counted. Events whose writing fails are
/// counted as dropped, too. After a panic of the writer, an empty line may stand between two events. The writer is flushed whenever no event waits.
///
/// When the sink is dropped, as with the last clone of its gate, the caller waits until all events are written, but for
/// at most 5 seconds.
///
/// # Format
///
/// The `type` is `io.github.tollgate-rs.decision`, the `subject` is the id of the key, and the `id` is unique. `data`
/// contains the fields of [`DecisionEvent`], in camel case. A field without a value is absent. `outcome` is `admitted`,
/// `denied` or `abandoned`, and `kind` is the kind of a denial. `elapsedMicros` and `resetMillis` are durations.
///
/// # Example
///
/// A handle is kept for [`flush`](Self::flush) at shutdown, which blocks its thread:
///
/// ```
/// use std::fs::OpenOptions;
/// use std::sync::Arc;
///
/// use tollgate::Gate;
/// use tollgate::telemetry::CloudEventWriter;
///
/// # let file = std::env::temp_dir().join(format!("tollgate-doc-events-{}", std::process::id()));
/// let lines = OpenOptions::new().create(true).append(true).open(&file)?;
/// let events = Arc::new(CloudEventWriter::new("/services/candles", lines)?);
/// let builder = Gate::builder().decision_sink(Arc::clone(&events));
/// # drop(builder);
/// # std::fs::remove_file(file)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CloudEventWriter {
    channel: EventChannel,
    /// The number of events that were given to the thread.
    sent: AtomicU64,
    written: Arc<Written>,
}

/// The progress of the thread.
#[derive(Default)]
struct Written {
    /// The number of events that were written and flushed, or failed.
    done: Mutex<u64>,
    changed: Condvar,
    failed: AtomicU64,
}

impl CloudEventWriter {
    /// Creates a sink that writes events of this `source`, which is a URI reference such as `/services/candles`.
    ///
    /// # Errors
    ///
    /// Returns an error if the source is empty or contains a character that a URI cannot have, or if the thread cannot be
    /// started.
    pub fn new(source: &str, writer: impl Write + Send + 'static) -> Result<Self, ConfigError> {
        Self::with_capacity(CAPACITY, source, writer)
    }

    /// Creates a sink as [`new`](Self::new) does, for which at most `capacity` events wait.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`new`](Self::new).
    pub fn with_capacity(
        capacity: usize,
        source: &str,
        writer: impl Write + Send + 'static,
    ) -> Result<Self, ConfigError> {
        if source.is_empty() || !source.bytes().all(is_of_uri) {
            let expected = "write a URI reference such as `/services/candles`";
            return Err(ConfigError::new(source, "invalid source of events", expected));
        }
        let (channel, events) = EventChannel::of("cloud_events", capacity);
        let written = Arc::<Written>::default();
        let (progress, source) = (Arc::clone(&written), source.to_owned());
        let work = move || write_all(events, writer, &source, &progress);
        if let Err(error) = thread::Builder::new().name("tollgate-events".to_owned()).spawn(work) {
            let problem = format!("the thread that writes events could not be started: {error}");
            return Err(ConfigError::new(TYPE, problem, "raise the limit of threads"));
        }
        Ok(Self { channel, sent: AtomicU64::new(0), written })
    }

    /// Returns the number of events that were dropped, because too many waited or because their writing failed.
    pub fn dropped(&self) -> u64 {
        self.channel.dropped() + self.written.failed.load(Ordering::Relaxed)
    }

    /// Blocks until all events that were recorded before are written and flushed, but for at most `wait`. Returns false if
    /// the time was too short.
    pub fn flush(&self, wait: Duration) -> bool {
        let (sent, begun) = (self.sent.load(Ordering::Acquire), Instant::now());
        let mut done = self.written.done.lock().unwrap_or_else(PoisonError::into_inner);
        while *done < sent {
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            let changed = self.written.changed.wait_timeout(done, left);
            done = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl DecisionSink for CloudEventWriter {
    fn record(&self, event: &DecisionEvent<'_>) {
        if self.channel.send(event) {
            self.sent.fetch_add(1, Ordering::Release);
        }
    }
}

impl Drop for CloudEventWriter {
    fn drop(&mut self) {
        self.flush(LAST_WAIT);
    }
}

impl fmt::Debug for CloudEventWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudEventWriter").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Returns true for a character that a URI may contain.
fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_graphic() && !br#"<>"{}|\^`"#.contains(&byte)
}

/// A writer that knows whether its last line is complete.
struct Lines<W> {
    writer: W,
    is_torn: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A writer that panics may have written a part.
        let was_torn = std::mem::replace(&mut self.is_torn, true);
        let written = self.writer.write(bytes);
        let last = written.as_ref().ok().and_then(|written| bytes[..(*written).min(bytes.len())].last());
        self.is_torn = last.map_or(was_torn, |last| *last != b'\n');
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Writes events until all senders are dropped.
fn write_all(mut events: EventReceiver, mut writer: impl Write, source: &str, progress: &Written) {
    let (seed, lost) = (random(), Counter::new(&EVENTS_DROPPED, &[("sink", "cloud_events")]));
    let (mut number, mut lines, mut failing) = (0_u64, Vec::new(), false);
    let mut writer = Lines { writer: &mut writer, is_torn: false };
    while let Some(first) = events.blocking_recv() {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(event) = next.take() {
            number += 1;
            line(&mut lines, &event, source, &format!("{seed:016x}-{number}"));
            count += 1;
            next = if count < BATCH { events.try_recv() } else { None };
        }
        let result = guard("a writer of events", || {
            if writer.is_torn {
                writer.write_all(b"\n")?;
            }
            writer.write_all(&lines)?;
            writer.flush()
        });
        let failed = !matches!(result, Ok(Ok(())));
        if failed {
            progress.failed.fetch_add(count, Ordering::Relaxed);
            lost.add(count);
            if let (false, Ok(Err(error))) = (failing, &result) {
                trace::event!(warn, %error, "decision events could not be written");
            }
        }
        failing = failed;
        lines.clear();
        *progress.done.lock().unwrap_or_else(PoisonError::into_inner) += count;
        progress.changed.notify_all();
    }
}

/// Appends an event in the JSON format of `CloudEvents`.
fn line(lines: &mut Vec<u8>, event: &OwnedEvent, source: &str, id: &str) {
    let subject = event.key.map(|key| key.to_string());
    let windows = event.windows.iter().map(|window| WindowData {
        name: &window.name,
        limit: window.limit,
        remaining: window.remaining,
        reset_millis: u64::try_from(window.reset.as_millis()).unwrap_or(u64::MAX),
    });
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source,
        r#type: TYPE,
        subject: subject.as_deref(),
        time: event.time.to_string(),
        datacontenttype: "application/json",
        data: Data {
            request_id: event.request_id.as_deref(),
            key: subject.as_deref(),
            account: event.account.as_ref().map(AccountId::as_str),
            plan: event.plan.as_ref().map(PlanName::as_str),
            environment: event.environment.as_ref().map(Environment::as_str),
            rule: event.rule.as_deref(),
            outcome: event.outcome.name(),
            kind: event.outcome.denied().map(DenialKind::name),
            status: event.status.map(|status| status.as_u16()),
            charged: event.charged.get(),
            settled: event.settled.get(),
            balance: event.balance.map(crate::amount::Credits::get),
            currency: Some(event.currency.as_str()).filter(|_| !event.currency.is_default()),
            shadow: event.shadow.map(DenialKind::name),
            windows: windows.collect(),
            elapsed_micros: event
                .elapsed
                .map(|elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)),
            client: event.client.map(|client| client.to_string()),
            expires: event.expires.map(|expires| expires.to_string()),
            units: event.units,
            bytes: event.bytes,
        },
    };
    // Writing text and numbers to memory cannot fail.
    let _ = serde_json::to_writer(&mut *lines, &event);
    lines.push(b'\n');
}

#[derive(Serialize)]
struct CloudEvent<'e> {
    specversion: &'static str,
    id: &'e str,
    source: &'e str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'e str>,
    time: String,
    datacontenttype: &'static str,
    data: Data<'e>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'e str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    charged: u64,
    settled: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'static str>,
    windows: Vec<WindowData<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowData<'e> {
    name: &'e str,
    limit: u32,
    remaining: u32,
    reset_millis: u64,
}
