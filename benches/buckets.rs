//! The time of a charge and its settlement on the ledger in memory, of an account with three buckets against one with one
//! bucket, in alternating rounds.
//!
//! ```text
//! cargo bench --bench buckets
//! ```
//!
//! The bench fails if three buckets take more than 1.3 times as long as one.
#![allow(missing_docs, reason = "a bench has no users")]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::account::Allowance;
use tollgate::clock::SystemClock;
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentKind, BucketTerms, Charge, ChargeId, Charged, CreditAdmin, Settlement,
};
use tollgate::{Account, Clock, CreditLedger, Credits, MemoryLedger, StoreFuture};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of rounds of each account.
const ROUNDS: usize = 201;

/// The number of charges in a round.
const CHARGES: u32 = 20_000;

/// The most that three buckets may take, as a ratio.
const MOST: f64 = 1.3;

fn ready<T>(future: StoreFuture<T>) -> T {
    futures_util::FutureExt::now_or_never(future)
        .expect("a ledger in memory answers at once")
        .expect("no error")
}

/// An account with buckets that expire in a year, and the main bucket.
struct Purse {
    ledger: MemoryLedger,
    account: Arc<Account>,
    next: u128,
}

impl Purse {
    fn with_buckets(count: u16, clock: &SystemClock) -> Self {
        let (ledger, account) = (MemoryLedger::new(), Arc::new(Account::new("acme", "pro")));
        let now = clock.now().wall();
        ledger.set_balance("acme", Credits::new(1 << 40), now);
        for number in 1..count {
            let mut terms = BucketTerms::default();
            terms.priority = 10 + number;
            terms.expires = Some(now.saturating_add(Duration::from_hours(365 * 24)));
            let kind = AdjustmentKind::TopUpInto { amount: Credits::new(1 << 40), terms };
            let id = format!("bucket-{number}").parse().expect("an id");
            let made = ready(ledger.adjust(&Adjustment::new(id, &account.id, kind, &Allowance::None, now)));
            assert!(matches!(made, Adjusted::Done { .. }), "{made:?}");
        }
        Self { ledger, account, next: 0 }
    }

    /// Returns the time of a round.
    fn round(&mut self, clock: &SystemClock) -> Duration {
        let begun = Instant::now();
        for _ in 0..CHARGES {
            self.next += 1;
            let (id, amount) = (ChargeId::from_bytes(self.next.to_be_bytes()), Credits::new(7));
            let charge = Charge::new(id, &self.account, amount, &Allowance::None, clock.now());
            assert!(matches!(ready(self.ledger.charge(&charge)), Charged::Posted { .. }));
            ready(self.ledger.settle(&Settlement::new(&self.account, id, Credits::new(5), clock)));
        }
        begun.elapsed()
    }
}

fn main() -> ExitCode {
    let clock = SystemClock::new();
    let (mut one, mut three) = (Purse::with_buckets(1, &clock), Purse::with_buckets(3, &clock));
    let mut ratios: Vec<f64> = Vec::new();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (of_one, of_three) = (one.round(&clock), three.round(&clock));
        ratios.push(of_three.as_secs_f64() / of_one.as_secs_f64());
        times.push(of_one);
    }
    ratios.sort_by(f64::total_cmp);
    times.sort_unstable();
    let (ratio, time) = (ratios[ROUNDS / 2], times[ROUNDS / 2] / CHARGES);
    println!("one bucket: {time:?} for a charge and its settlement; three buckets: {ratio:.2} times as long");
    if ratio <= MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
