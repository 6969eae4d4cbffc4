//! The charge of a request, for every way in which its response can end: closed once, by the table of `Outcome`.
#![cfg(all(feature = "tonic", feature = "actix-web", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::log;
use crate::support;

mod actix;
mod credit_headers;
mod panics;
mod servers;
mod tower;

use std::sync::{Arc, Mutex};

use support::World;
use tollgate::credit::{Charge, Charged, Refund, Settlement};
use tollgate::key::Length;
use tollgate::rule::Cost;
use tollgate::{CreditLedger, Credits, Gate, GateBuilder, KeyFormat, KeySource, Rule, StoreFuture};

const KEY: &str = "acme_0123456789abcdef0123456789abcdef";

/// The claims of a request about its own content; none of them may matter.
const CLAIMS: [Option<&str>; 8] = [
    None,
    Some("text/plain"),
    Some("application/json"),
    Some("application/grpc"),
    Some("application/grpc+proto"),
    Some("application/grpc-web"),
    Some("application/grpc-web-text+proto"),
    Some("APPLICATION/GRPC; charset=utf-8"),
];

const METHODS: [&str; 3] = ["GET", "POST", "HEAD"];

/// The call that closed a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Settled(u64),
    Refunded,
}

use Closed::{Refunded, Settled};

/// A ledger that notes how charges are closed; its answers are there at once, or one turn later.
#[derive(Debug, Clone, Default)]
struct Book {
    open: Arc<Mutex<usize>>,
    closed: Arc<Mutex<Vec<Closed>>>,
    remote: bool,
}

impl Book {
    fn answer<T: Send + 'static>(&self, value: T) -> StoreFuture<T> {
        if !self.remote {
            return StoreFuture::ready(value);
        }
        StoreFuture::boxed(async move {
            tokio::task::yield_now().await;
            Ok(value)
        })
    }

    fn close(&self, how: Closed) -> StoreFuture<()> {
        *self.open.lock().unwrap() -= 1;
        self.closed.lock().unwrap().push(how);
        self.answer(())
    }

    /// Returns the calls that closed the one charge since the last call; checks that no charge is open.
    fn take(&self) -> Vec<Closed> {
        assert_eq!(*self.open.lock().unwrap(), 0, "a charge stays open");
        std::mem::take(&mut *self.closed.lock().unwrap())
    }
}

impl CreditLedger for Book {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        assert_eq!(charge.amount, Credits::new(10));
        *self.open.lock().unwrap() += 1;
        self.answer(Charged::Posted { balance: Some(Credits::new(90)) })
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.close(Settled(settlement.cost.get()))
    }

    fn refund(&self, _: &Refund<'_>) -> StoreFuture<()> {
        self.close(Refunded)
    }
}

/// A gate where every route costs 10, and its ledger.
fn gate(remote: bool) -> (Gate, Book) {
    let (builder, book) = builder(remote);
    (builder.build().unwrap(), book)
}

fn builder(remote: bool) -> (GateBuilder, Book) {
    let world = World::new();
    world.plain_key(KEY);
    let book = Book { remote, ..Book::default() };
    let mut rule = Rule::new("/*").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    let builder = world
        .with_ledger(book.clone())
        .bare()
        .source(KeySource::header("x-api-key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .rule(rule);
    (builder, book)
}

/// The gRPC codes of a server that failed; what is no code reads as unknown.
fn has_failed(code: &str) -> bool {
    ["2", "12", "13", "14", "15", "nonsense"].contains(&code)
}

/// Panics without the message of a panic, which would fill the output.
fn panics() -> ! {
    std::panic::resume_unwind(Box::new("as asked for"))
}

fn quietly<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
}
