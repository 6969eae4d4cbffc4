//! Credits over a ledger that loses answers: what may have happened is not done again, and what is owed is brought home.

use std::sync::Arc;
use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::credit::{Charge, ChargeId, Charged};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::{Account, Clock, CreditLedger, Credits, MemoryLedger, StoreError};

use crate::support::remote::{Fault, Remote, TokioClock};

struct Books {
    clock: TokioClock,
    authority: Arc<MemoryLedger>,
    ledger: Resilient<Remote<Arc<MemoryLedger>>>,
    account: Account,
}

impl Books {
    fn open(change: impl FnOnce(&mut GuardLimits)) -> Self {
        let (clock, authority) = (TokioClock::new(), Arc::new(MemoryLedger::new()));
        authority.set_balance("acme", Credits::new(100), clock.now().wall());
        let mut limits = GuardLimits::default();
        change(&mut limits);
        let ledger = Resilient::with_clock(Remote::new(Arc::clone(&authority)), limits, clock);
        Self { clock, authority, ledger, account: Account::new("acme", "pro") }
    }

    async fn charge(&self, number: u8) -> Result<Charged, StoreError> {
        let (id, amount) = (id(number), Credits::new(10));
        let charge = Charge::new(id, &self.account, amount, &Allowance::None, self.clock.now());
        self.ledger.charge(&charge).await
    }

    fn balance(&self) -> u64 {
        self.authority.balance("acme").unwrap().get()
    }

    /// Waits until all that is owed has been brought home.
    async fn until_home(&self) {
        for _ in 0..1_000 {
            if self.ledger.health().pending_settlements == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never came home: {:?}", self.ledger.health());
    }
}

fn id(number: u8) -> ChargeId {
    ChargeId::from_bytes([number; 16])
}

/// The answer of a charge is lost after the server has acted.
#[tokio::test(start_paused = true)]
async fn lost_charge_is_made_once_and_refunded() {
    let books = Books::open(|_| {});
    books.ledger.back_end().set(Fault::Mute);
    assert!(books.charge(1).await.unwrap_err().is_timeout());
    assert_eq!((books.ledger.back_end().asked(), books.balance()), (1, 90), "it happened, once");
    books.ledger.back_end().set(Fault::Down);
    books.ledger.refund(&crate::support::refund(&books.account, id(1))).await.unwrap_err();
    assert_eq!(books.ledger.health().pending_settlements, 1);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(books.balance(), 90, "the server is away all the time");
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    assert_eq!((books.balance(), books.authority.open_charges("acme")), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn open_circuit_closings_are_sent_later() {
    let books = Books::open(|_| {});
    for number in 1..=8 {
        assert!(matches!(books.charge(number).await, Ok(Charged::Posted { .. })));
    }
    books.ledger.back_end().set(Fault::Down);
    for number in 10..15 {
        books.charge(number).await.unwrap_err();
    }
    assert!(books.ledger.health().open);
    for number in 1..=8 {
        let settled =
            books.ledger.settle(&crate::support::settlement(&books.account, id(number), Credits::new(4)));
        assert!(settled.is_ready(), "nobody waits for a server that is left alone");
        settled.await.unwrap_err();
    }
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    assert_eq!((books.balance(), books.authority.open_charges("acme")), (100 - 8 * 4, 0));
    assert_eq!(books.ledger.back_end().asked(), 13, "no charge is made twice");
}

/// A refund is sent twice because its first answer was lost.
#[tokio::test(start_paused = true)]
async fn repeated_refund_gives_back_once() {
    let books = Books::open(|_| {});
    for number in 1..=2 {
        assert!(matches!(books.charge(number).await, Ok(Charged::Posted { .. })));
    }
    books.ledger.back_end().set(Fault::Mute);
    books.ledger.refund(&crate::support::refund(&books.account, id(1))).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(books.ledger.back_end().closed() > 5, "it is asked for until it is heard of");
    assert_eq!(books.balance(), 90);
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    assert_eq!(books.balance(), 90);
}

/// Nobody waits for the refund any more.
#[tokio::test(start_paused = true)]
async fn dropped_closing_is_sent_later() {
    let books = Books::open(|_| {});
    assert!(matches!(books.charge(1).await, Ok(Charged::Posted { .. })));
    books.ledger.back_end().set(Fault::Hung);
    drop(books.ledger.refund(&crate::support::refund(&books.account, id(1))));
    assert_eq!(books.ledger.health().pending_settlements, 1);
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    assert_eq!(books.balance(), 100);
}

#[tokio::test(start_paused = true)]
async fn kept_closings_are_bounded_and_flushed() {
    let books = Books::open(|limits| limits.pending_settlements = 3);
    for number in 1..=5 {
        assert!(matches!(books.charge(number).await, Ok(Charged::Posted { .. })));
    }
    books.ledger.back_end().set(Fault::Down);
    for number in 1..=5 {
        books.ledger.refund(&crate::support::refund(&books.account, id(number))).await.unwrap_err();
    }
    assert_eq!(books.ledger.health().pending_settlements, 3);
    books.ledger.flush().await.unwrap_err();
    assert_eq!(books.ledger.health().pending_settlements, 3);
    books.ledger.back_end().set(Fault::None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    books.ledger.flush().await.unwrap();
    assert_eq!((books.balance(), books.authority.open_charges("acme")), (80, 2), "two are for the sweep");
}

#[tokio::test(start_paused = true)]
async fn invalid_closing_is_not_retried() {
    let books = Books::open(|_| {});
    books.ledger.back_end().set(Fault::Corrupt);
    assert!(
        books.ledger.refund(&crate::support::refund(&books.account, id(1))).await.unwrap_err().is_corrupt()
    );
    books.ledger.back_end().set(Fault::Unwilling);
    assert!(
        books.ledger.refund(&crate::support::refund(&books.account, id(1))).await.unwrap_err().is_rejected()
    );
    assert_eq!(books.ledger.health().pending_settlements, 0);
}

/// A charge that the guard refuses itself was never sent: its refund is done, and nothing is kept or sent for it.
#[tokio::test(start_paused = true)]
async fn charge_never_sent_leaves_nothing() {
    let books = Books::open(|_| {});
    books.ledger.back_end().set(Fault::Down);
    for number in 1..=5 {
        books.charge(number).await.unwrap_err();
    }
    for number in 1..=5 {
        books.ledger.refund(&crate::support::refund(&books.account, id(number))).await.unwrap_err();
    }
    let kept = books.ledger.health().pending_settlements;
    assert!(books.ledger.health().open && kept == 5, "those were sent, and may have been made");
    let asked = (books.ledger.back_end().asked(), books.ledger.back_end().closed());
    for number in 100..200 {
        books.charge(number).await.unwrap_err();
        books.ledger.refund(&crate::support::refund(&books.account, id(number))).await.unwrap();
    }
    assert_eq!(books.ledger.health().pending_settlements, kept);
    assert_eq!((books.ledger.back_end().asked(), books.ledger.back_end().closed()), asked);
    // The same id may be charged later, and is then given back like any other.
    books.charge(100).await.unwrap_err();
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    assert!(matches!(books.charge(100).await, Ok(Charged::Posted { .. })));
    books.ledger.refund(&crate::support::refund(&books.account, id(100))).await.unwrap();
    assert_eq!((books.balance(), books.authority.open_charges("acme")), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn charge_without_room_leaves_nothing() {
    let books = Books::open(|limits| limits.waiting = 1);
    assert!(matches!(books.charge(1).await, Ok(Charged::Posted { .. })));
    books.ledger.back_end().set(Fault::Hung);
    let mut waits = Box::pin(books.charge(2));
    assert!(tokio::time::timeout(Duration::ZERO, &mut waits).await.is_err());
    let asked = books.ledger.back_end().asked();
    books.charge(3).await.unwrap_err();
    books.ledger.refund(&crate::support::refund(&books.account, id(3))).await.unwrap();
    assert_eq!((books.ledger.back_end().asked(), books.ledger.health().pending_settlements), (asked, 0));
    // Charges that wait take no room from the settlement of a request that was served.
    books.ledger.back_end().set(Fault::None);
    books.ledger.settle(&crate::support::settlement(&books.account, id(1), Credits::new(4))).await.unwrap();
    assert_eq!(books.balance(), 96);
}

#[tokio::test(start_paused = true)]
async fn settlement_replaces_a_refund() {
    let books = Books::open(|limits| limits.pending_settlements = 4);
    for number in 1..=8 {
        assert!(matches!(books.charge(number).await, Ok(Charged::Posted { .. })));
    }
    books.ledger.back_end().set(Fault::Down);
    for number in 1..=4 {
        books.ledger.refund(&crate::support::refund(&books.account, id(number))).await.unwrap_err();
    }
    for number in 5..=8 {
        books
            .ledger
            .settle(&crate::support::settlement(&books.account, id(number), Credits::new(10)))
            .await
            .unwrap_err();
    }
    assert_eq!(books.ledger.health().pending_settlements, 4);
    // A refund finds no room among settlements.
    books.ledger.refund(&crate::support::refund(&books.account, id(1))).await.unwrap_err();
    assert_eq!(books.ledger.health().pending_settlements, 4);
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    assert_eq!(books.authority.open_charges("acme"), 4, "the refunds are for the sweep");
    for number in 5..=8 {
        books.authority.refund(&crate::support::refund(&books.account, id(number))).await.unwrap();
    }
    assert_eq!(books.balance(), 20, "the settlements were made");
}

#[tokio::test(start_paused = true)]
async fn settlements_are_sent_before_refunds() {
    let books = Books::open(|limits| (limits.settlements_at_once, limits.failures) = (1, 100));
    for number in 1..=4 {
        assert!(matches!(books.charge(number).await, Ok(Charged::Posted { .. })));
    }
    books.ledger.back_end().set(Fault::Down);
    for number in 1..=2 {
        books.ledger.refund(&crate::support::refund(&books.account, id(number))).await.unwrap_err();
    }
    for number in 3..=4 {
        books
            .ledger
            .settle(&crate::support::settlement(&books.account, id(number), Credits::new(1)))
            .await
            .unwrap_err();
    }
    books.ledger.back_end().set(Fault::None);
    books.ledger.back_end().delay(Duration::from_millis(10));
    // One after the other: two have been sent by then.
    assert!(tokio::time::timeout(Duration::from_millis(15), books.ledger.flush()).await.is_err());
    assert_eq!((books.balance(), books.authority.open_charges("acme")), (78, 2));
}

#[tokio::test(start_paused = true)]
async fn repeated_closing_is_kept_once() {
    let books = Books::open(|_| {});
    assert!(matches!(books.charge(1).await, Ok(Charged::Posted { .. })));
    books.ledger.back_end().set(Fault::Down);
    for _ in 0..100 {
        books
            .ledger
            .settle(&crate::support::settlement(&books.account, id(1), Credits::new(4)))
            .await
            .unwrap_err();
    }
    assert_eq!(books.ledger.health().pending_settlements, 1);
    let asked = books.ledger.back_end().closed();
    books.ledger.back_end().set(Fault::None);
    books.until_home().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((books.balance(), books.ledger.back_end().closed() - asked), (96, 1));
}

/// 6,000 settlements over a link of 20 ms: one after the other they would take two minutes.
#[tokio::test(start_paused = true)]
async fn many_closings_are_sent_in_seconds() {
    let books = Books::open(|_| {});
    books.ledger.back_end().set(Fault::Down);
    for number in 0..6_000_u128 {
        let id = ChargeId::from_bytes(number.to_be_bytes());
        books
            .ledger
            .settle(&crate::support::settlement(&books.account, id, Credits::new(1)))
            .await
            .unwrap_err();
    }
    assert_eq!(books.ledger.health().pending_settlements, 6_000);
    books.ledger.back_end().set(Fault::None);
    books.ledger.back_end().delay(Duration::from_millis(20));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = tokio::time::Instant::now();
    books.until_home().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn flush_ends_within_its_time() {
    let books = Books::open(|limits| limits.flush = Duration::from_secs(3));
    books.ledger.back_end().set(Fault::Down);
    for number in 0..2_000_u128 {
        let id = ChargeId::from_bytes(number.to_be_bytes());
        books
            .ledger
            .settle(&crate::support::settlement(&books.account, id, Credits::new(1)))
            .await
            .unwrap_err();
    }
    books.ledger.back_end().set(Fault::None);
    books.ledger.back_end().delay(Duration::from_millis(900));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = tokio::time::Instant::now();
    assert!(books.ledger.flush().await.unwrap_err().is_timeout());
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert!(books.ledger.health().pending_settlements > 0, "what was under way is kept as well");
}
