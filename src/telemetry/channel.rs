//! A bounded channel of decision events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::metrics::{Counter, EVENTS_DROPPED};
use crate::telemetry::{DecisionEvent, DecisionSink, OwnedEvent};

/// A decision sink that sends copies of the events to an [`EventReceiver`].
///
/// The channel holds a limited number of events. An event for which there is no room is dropped and counted, so a slow
/// receiver delays no request. After the receiver is dropped, all events are dropped.
///
/// # Example
///
/// ```
/// use tollgate::Gate;
/// use tollgate::telemetry::EventChannel;
///
/// # async fn run() {
/// let (channel, mut events) = EventChannel::new(10_000);
/// let builder = Gate::builder().decision_sink(channel);
/// tokio::spawn(async move {
///     while let Some(event) = events.recv().await {
///         println!("{:?} {:?}", event.key, event.outcome);
///     }
/// });
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EventChannel {
    sender: mpsc::Sender<OwnedEvent>,
    dropped: Arc<AtomicU64>,
    metric: Counter,
}

/// The receiving side of an [`EventChannel`].
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::Receiver<OwnedEvent>,
    dropped: Arc<AtomicU64>,
}

impl EventChannel {
    /// Creates a channel that holds at most this many events, and at least one.
    #[allow(clippy::new_ret_no_self, reason = "a channel has two sides")]
    pub fn new(capacity: usize) -> (Self, EventReceiver) {
        Self::of("channel", capacity)
    }

    /// Creates the channel of a sink with this name in metrics.
    pub(super) fn of(sink: &'static str, capacity: usize) -> (Self, EventReceiver) {
        let capacity = capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (sender, receiver) = mpsc::channel(capacity);
        let dropped = Arc::<AtomicU64>::default();
        let metric = Counter::new(&EVENTS_DROPPED, &[("sink", sink)]);
        (Self { sender, dropped: Arc::clone(&dropped), metric }, EventReceiver { receiver, dropped })
    }

    /// Returns the number of events that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends an event. Returns false if it was dropped.
    pub(super) fn send(&self, event: &DecisionEvent<'_>) -> bool {
        // The room is reserved first, so that an event that is dropped is not copied.
        if let Ok(room) = self.sender.try_reserve() {
            room.send(OwnedEvent::from(event));
            true
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.metric.add(1);
            false
        }
    }
}

impl DecisionSink for EventChannel {
    fn record(&self, event: &DecisionEvent<'_>) {
        self.send(event);
    }
}

impl EventReceiver {
    /// Waits for the next event. Returns `None` when all senders are dropped and all events are received.
    ///
    /// A future that is dropped loses no event.
    pub async fn recv(&mut self) -> Option<OwnedEvent> {
        self.receiver.recv().await
    }

    /// Waits for the next event and blocks the thread. Returns `None` when all senders are dropped and all events are
    /// received.
    ///
    /// # Panics
    ///
    /// Panics in an asynchronous task.
    pub fn blocking_recv(&mut self) -> Option<OwnedEvent> {
        self.receiver.blocking_recv()
    }

    /// Returns the next event if there is one now.
    pub fn try_recv(&mut self) -> Option<OwnedEvent> {
        self.receiver.try_recv().ok()
    }

    /// Returns the number of events that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
