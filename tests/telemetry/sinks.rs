//! Tests of the channel and of the `tracing` sink, and of sinks that panic or are slow.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollgate::account::QuotaPolicy;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::telemetry::{CloudEventWriter, DecisionEvent, DecisionOutcome, DecisionSink, EventChannel};
use tollgate::{Credits, DenialKind, Gate, Plan, Rule};

use crate::support::events::Recorder;
use crate::support::{World, with_key};

pub(crate) const KEY: &str = "kwery_live_0123456789";

/// A gate with a sink, and one key with 100 credits for a route of 10 credits.
pub(crate) fn gate(world: &World, sink: impl DecisionSink) -> Gate {
    let mut plan = Plan::new("limited");
    plan.quotas = vec![tollgate::account::QuotaRef::Policy("50 per minute".parse::<QuotaPolicy>().unwrap())];
    world.key(KEY, |_, account| account.plan = "limited".into());
    let mut rule = Rule::new("GET /v1/items/{name}").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    rule.scopes = ScopeRule::Everyone;
    world.kwery().plan(plan).rule(rule).decision_sink(sink).build().unwrap()
}

/// Sends requests: the first ten are admitted, the others have no credits. Returns their statuses.
pub(crate) async fn send(world: &World, gate: &Gate, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(world.send(gate, with_key("GET /v1/items/a", KEY)).await.status);
    }
    statuses
}

#[tokio::test]
async fn channel_sends_copies_of_the_events() {
    let world = World::new();
    let (channel, mut events) = EventChannel::new(100);
    let gate = gate(&world, channel);
    let _ = send(&world, &gate, 11).await;
    let first = events.recv().await.unwrap();
    assert_eq!((first.outcome, first.status.unwrap().as_u16()), (DecisionOutcome::Admitted, 200));
    assert_eq!(first.rule.as_deref(), Some("GET /v1/items/{name}"));
    assert_eq!((first.settled.get(), first.balance), (10, Some(Credits::new(90))));
    assert_eq!(first.account.unwrap().as_str(), "account-0");
    assert_eq!((first.windows[0].name.as_str(), first.windows[0].remaining), ("minute", 49));
    assert_eq!(first.client.unwrap().to_string(), "203.0.113.0/24");
    let last = std::thread::spawn(move || {
        let last = (0..10).map(|_| events.blocking_recv().unwrap()).last().unwrap();
        assert_eq!((events.try_recv(), events.dropped()), (None, 0));
        drop(gate);
        assert_eq!(events.blocking_recv(), None);
        last
    });
    assert_eq!(last.join().unwrap().outcome, DecisionOutcome::Denied(DenialKind::CreditsExhausted));
}

#[tokio::test]
async fn full_channel_drops_and_counts_events() {
    let world = World::new();
    let (channel, mut events) = EventChannel::new(4);
    let gate = gate(&world, channel.clone());
    assert_eq!(send(&world, &gate, 10).await, [200; 10]);
    assert_eq!((channel.dropped(), events.dropped()), (6, 6));
    let kept: Vec<u64> =
        std::iter::from_fn(|| events.try_recv()).map(|event| event.balance.unwrap().get()).collect();
    assert_eq!(kept, [90, 80, 70, 60]);
    let _ = send(&world, &gate, 1).await;
    assert!(events.try_recv().is_some());
    drop(events);
    assert_eq!(send(&world, &gate, 1).await, [402]);
    assert_eq!(channel.dropped(), 7);
}

/// A sink that panics.
#[derive(Debug)]
struct Broken;

impl DecisionSink for Broken {
    fn record(&self, _: &DecisionEvent<'_>) {
        panic!("the sink is broken");
    }
}

/// A sink that measures the time of another one.
#[derive(Debug)]
struct Timed<S>(S, Arc<Mutex<Duration>>);

impl<S: DecisionSink> DecisionSink for Timed<S> {
    fn record(&self, event: &DecisionEvent<'_>) {
        let begun = Instant::now();
        self.0.record(event);
        *self.1.lock().unwrap() += begun.elapsed();
    }
}

/// A writer that blocks until the test ends.
pub(crate) struct Blocked(Receiver<()>);

impl Blocked {
    pub(crate) fn new() -> (Self, SyncSender<()>) {
        let (sender, receiver) = sync_channel(0);
        (Self(receiver), sender)
    }
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bound on the mean time that a sink of the crate adds to a request. It takes some microseconds. The bound leaves
/// room for a busy machine.
const BOUND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn broken_and_blocked_sinks_delay_no_request() {
    let world = World::new();
    let (blocked, unblock) = Blocked::new();
    let (recorder, time) = (Recorder::default(), Arc::<Mutex<Duration>>::default());
    let (unread, events) = EventChannel::new(8);
    let writer = CloudEventWriter::with_capacity(8, "/tests", blocked).unwrap();
    let writer = Arc::new(writer);
    let builder = world.kwery().decision_sink(Broken).decision_sink(Timed(unread, time.clone()));
    let builder = builder.decision_sink(Timed(writer.clone(), time.clone()));
    let gate = builder.decision_sink(recorder.clone()).build().unwrap();
    world.plain_key(KEY);
    assert_eq!(send(&world, &gate, 2_000).await, [200; 2_000]);
    assert_eq!((recorder.take().len(), events.dropped()), (2_000, 1_992));
    // The thread has taken some events, and waits with them.
    let dropped = writer.dropped();
    assert!((1_700..=1_992).contains(&dropped), "{dropped}");
    assert!(!writer.flush(Duration::ZERO));
    assert!(*time.lock().unwrap() < BOUND * 4_000, "{time:?}");
    drop(unblock);
    assert!(writer.flush(Duration::from_mins(1)));
}

#[cfg(feature = "tracing")]
#[tokio::test]
async fn tracing_sink_writes_every_decision() {
    let world = World::new();
    let gate = gate(&world, tollgate::telemetry::TracingSink);
    let log = crate::log::Log::default();
    let written = {
        let _guard = tracing::subscriber::set_default(log.clone());
        let _ = send(&world, &gate, 11).await;
        log.0.lock().unwrap().clone()
    };
    let lines: Vec<&str> = written.lines().filter(|line| line.contains("tollgate::decision")).collect();
    assert_eq!(lines.len(), 11, "{written}");
    for part in
        ["INFO", "outcome=\"admitted\"", "GET /v1/items/{name}", "status=200", "settled=10", "balance=90"]
    {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert!(lines[10].contains("kind=\"credits_exhausted\""), "{}", lines[10]);
    assert!(!written.contains(KEY), "{written}");
}
