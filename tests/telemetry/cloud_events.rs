//! Tests of the lines that `CloudEventWriter` writes.

use std::io::{self, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::RequestView;
use tollgate::telemetry::{CloudEventWriter, DecisionEvent, DecisionSink};

use crate::services::{has_python_module, scratch, skipped};
use crate::sinks::{Blocked, KEY, gate, send};
use crate::support::providers::KWERY;
use crate::support::{World, with_key, without_key};

/// The time that a test waits at most for the thread.
const LONG: Duration = Duration::from_mins(1);

/// A writer to memory whose first writes fail.
#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    faults: Arc<Mutex<Vec<Fault>>>,
    /// The number of calls of `flush` that fail.
    failing_flushes: Arc<Mutex<usize>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Error,
    Panic,
    /// Only ten bytes are written.
    Short,
}

impl Memory {
    fn lines(&self) -> Vec<serde_json::Value> {
        // A writer that panics may have written a part of a line, which is ended.
        let text = self.text();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fault = self.faults.lock().unwrap().pop();
        match fault {
            Some(Fault::Error) => Err(io::Error::other("the disk is full")),
            Some(Fault::Panic) => panic!("the writer is broken"),
            Some(Fault::Short) => self.bytes.lock().unwrap().write(&bytes[..10]),
            None => self.bytes.lock().unwrap().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut failing = self.failing_flushes.lock().unwrap();
        let fails = *failing > 0;
        *failing = failing.saturating_sub(1);
        if fails { Err(io::Error::other("interrupted")) } else { Ok(()) }
    }
}

#[tokio::test]
async fn python_library_reads_every_line() {
    if !has_python_module("cloudevents.core") {
        return skipped("python3 with cloudevents");
    }
    let world = World::new();
    let file = scratch("events").join("events.jsonl");
    let writer = CloudEventWriter::new("/services/candles", std::fs::File::create(&file).unwrap()).unwrap();
    let gate = gate(&world, writer);
    assert_eq!(send(&world, &gate, 11).await[10], 402);
    let _ = world.send(&gate, without_key("GET /v1/items/a")).await;
    // The last clone of the gate waits for the thread.
    drop(gate);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/telemetry/validate.py");
    let output = Command::new("python3").args([script, file.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut expected: Vec<_> = (0..10).map(|sent| format!("admitted 200 None {}", 90 - 10 * sent)).collect();
    expected.push("denied 402 credits_exhausted 0".to_owned());
    expected.push("denied 401 missing None".to_owned());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(KEY) && !text.contains("/items/a"), "{text}");
}

#[tokio::test]
async fn failed_writes_are_counted_and_writing_goes_on() {
    for fault in [Fault::Error, Fault::Panic] {
        let world = World::new();
        let memory = Memory::default();
        memory.faults.lock().unwrap().push(fault);
        let writer = Arc::new(CloudEventWriter::new("/tests", memory.clone()).unwrap());
        let gate = gate(&world, writer.clone());
        assert_eq!(send(&world, &gate, 1).await, [200]);
        assert!(writer.flush(LONG));
        assert_eq!((writer.dropped(), memory.lines().len()), (1, 0));
        assert_eq!(send(&world, &gate, 3).await, [200; 3]);
        assert!(writer.flush(LONG));
        assert_eq!((writer.dropped(), memory.lines().len()), (1, 3));
    }
}

#[tokio::test]
async fn line_after_a_torn_line_is_whole() {
    let (world, memory) = (World::new(), Memory::default());
    memory.faults.lock().unwrap().extend([Fault::Error, Fault::Short]);
    let writer = Arc::new(CloudEventWriter::new("/tests", memory.clone()).unwrap());
    let gate = gate(&world, writer.clone());
    assert_eq!(send(&world, &gate, 1).await, [200]);
    assert!(writer.flush(LONG));
    assert_eq!((writer.dropped(), memory.text().len()), (1, 10));
    assert_eq!(send(&world, &gate, 1).await, [200]);
    assert!(writer.flush(LONG));
    let text = memory.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok(), "{text}");
}

/// A flush fails after a whole line was written: no empty line follows.
#[tokio::test]
async fn failed_flush_adds_no_empty_line() {
    let (world, memory) = (World::new(), Memory::default());
    *memory.failing_flushes.lock().unwrap() = 1;
    let writer = Arc::new(CloudEventWriter::new("/tests", memory.clone()).unwrap());
    let gate = gate(&world, writer.clone());
    for sent in 1..=2 {
        assert_eq!(send(&world, &gate, 1).await, [200]);
        assert!(writer.flush(LONG));
        assert_eq!((writer.dropped(), memory.lines().len()), (1, sent));
    }
}

#[tokio::test]
async fn drop_of_the_gate_writes_all_events() {
    let world = World::new();
    let memory = Memory::default();
    let gate = gate(&world, CloudEventWriter::new("/tests", memory.clone()).unwrap());
    let _ = send(&world, &gate, 700).await;
    drop(gate);
    let lines = memory.lines();
    assert_eq!(lines.len(), 700);
    let data = &lines[0]["data"];
    assert_eq!((data["outcome"].as_str(), data["settled"].as_u64()), (Some("admitted"), Some(10)));
    assert_eq!(data["windows"][0]["resetMillis"].as_u64(), Some(1_200));
    assert_eq!(data.get("kind"), None);
    assert_eq!(data["client"].as_str(), Some("203.0.113.0/24"));
}

#[tokio::test]
async fn flush_ends_when_its_time_is_over() {
    let world = World::new();
    let (blocked, unblock) = Blocked::new();
    let writer = Arc::new(CloudEventWriter::new("/tests", blocked).unwrap());
    assert!(writer.flush(Duration::ZERO));
    let gate = gate(&world, writer.clone());
    let _ = send(&world, &gate, 1).await;
    assert!(!writer.flush(Duration::from_millis(1)));
    drop(unblock);
    assert!(writer.flush(LONG));
}

#[test]
fn source_that_is_no_uri_is_refused() {
    for source in ["", "two words", "<a>", "/caf\u{e9}"] {
        let error = CloudEventWriter::new(source, io::sink()).unwrap_err();
        assert!(error.to_string().contains("invalid source of events"), "{error}");
    }
}

/// A writer that writes half of a line and panics, once.
#[derive(Clone, Default)]
struct HalfPanics(Arc<Mutex<(Vec<u8>, bool)>>);

impl Write for HalfPanics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !state.1 {
            state.1 = true;
            state.0.extend_from_slice(&bytes[..10]);
            panic!("the writer is broken");
        }
        state.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn line_after_a_panic_is_whole() {
    let (world, memory) = (World::new(), HalfPanics::default());
    let writer = Arc::new(CloudEventWriter::new("/tests", memory.clone()).unwrap());
    let gate = gate(&world, writer.clone());
    assert_eq!(send(&world, &gate, 1).await, [200]);
    assert!(writer.flush(LONG));
    assert_eq!(send(&world, &gate, 1).await, [200]);
    assert!(writer.flush(LONG));
    let state = memory.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = String::from_utf8(state.0.clone()).unwrap();
    let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert_eq!((whole, writer.dropped()), (1, 1), "{text}");
}

/// A sink in front of another one, which does not read what costs time.
#[derive(Debug)]
struct Plain(Arc<CloudEventWriter>);

impl DecisionSink for Plain {
    fn record(&self, event: &DecisionEvent<'_>) {
        self.0.record(event);
    }

    fn reads_request(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn fields_without_a_value_are_absent() {
    let (world, lines) = (World::new(), Memory::default());
    world.plain_key(KWERY);
    let writer = Arc::new(CloudEventWriter::new("/tests", lines.clone()).unwrap());
    let gate = world.kwery().decision_sink(Plain(Arc::clone(&writer))).build().unwrap();
    let request = with_key("GET /v1/data", KWERY).body(()).unwrap();
    drop(gate.admit(&RequestView::of(&request)).await.unwrap());
    assert!(writer.flush(Duration::from_mins(1)));
    let text = lines.text();
    assert!(text.contains("admitted") && !text.contains("null"), "{text}");
}

#[test]
fn flush_waits_as_long_as_it_is_told() {
    let writer = CloudEventWriter::new("/tests", io::sink()).unwrap();
    assert!(writer.flush(Duration::MAX));
}
