//! A gate over guarded back ends that fail: 503, never 401, nobody is let in unpaid, and service resumes by itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, MemoryLedger, MemoryLimiter, MemoryStore, Plan, Rule};

use crate::support::remote::{Fault, Remote, TokioClock};
use crate::support::{World, with_key};

const KEY: &str = "kwery_live_0123456789";

struct Far {
    world: World,
    gate: Gate,
    store: Resilient<Remote<Arc<MemoryStore>>>,
    ledger: Resilient<Remote<Arc<MemoryLedger>>>,
    limiter: Resilient<Remote<Arc<MemoryLimiter>>>,
}

impl Far {
    /// Sets the fault of one of the three.
    fn set(&self, place: usize, fault: Fault) {
        match place {
            0 => self.store.back_end().set(fault),
            1 => self.ledger.back_end().set(fault),
            _ => self.limiter.back_end().set(fault),
        }
    }

    /// Returns the number of calls that wait for each of the three, and the number of kept settlements.
    fn waiting(&self) -> ([usize; 3], usize) {
        let (store, ledger, limiter) = (self.store.health(), self.ledger.health(), self.limiter.health());
        ([store.waiting, ledger.waiting, limiter.waiting], ledger.pending_settlements)
    }
}

fn far(limits: &GuardLimits) -> Far {
    let (world, clock) = (World::new(), TokioClock::new());
    let store = Resilient::with_clock(Remote::new(Arc::clone(&world.store)), limits.clone(), clock);
    let ledger = Resilient::with_clock(Remote::new(Arc::clone(&world.ledger)), limits.clone(), clock);
    let limiter = Resilient::with_clock(Remote::new(Arc::clone(&world.limiter)), limits.clone(), clock);
    let mut rule = Rule::new("/v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    let mut plan = Plan::new("limited");
    plan.quotas = vec!["1000 per day".parse().unwrap()];
    let guarded = world.with_store(store.clone()).with_ledger(ledger.clone()).with_limiter(limiter.clone());
    let gate = guarded.kwery().plan(plan).rule(rule).clock(clock);
    Far { gate: gate.build().unwrap(), world, store, ledger, limiter }
}

/// Each back end is down, hung, or mute in turn.
#[tokio::test(start_paused = true)]
async fn failed_back_end_is_503_and_free() {
    for fault in [Fault::Down, Fault::Hung, Fault::Mute] {
        for place in 0..3 {
            let far = far(&GuardLimits::default());
            let id = far.world.key(KEY, |_, account| account.plan = "limited".into());
            assert_eq!(far.world.send(&far.gate, with_key("GET /v1/candles", KEY)).await.status, 200);
            far.set(place, fault);
            for _ in 0..12 {
                let before = Instant::now();
                let answer = far.world.send(&far.gate, with_key("GET /v1/candles", KEY)).await;
                assert_eq!(answer.status, 503, "{fault:?} {place}");
                assert!(before.elapsed() <= Duration::from_secs(3), "nobody waits for long");
            }
            far.set(place, Fault::None);
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(far.world.balance(id), 90, "{fault:?} {place}: what was refused is paid back");
            assert_eq!(far.world.send(&far.gate, with_key("GET /v1/candles", KEY)).await.status, 200);
            assert_eq!(far.world.balance(id), 80, "{fault:?} {place}");
        }
    }
}

/// A call beyond the waiting limit is refused at once and queued nowhere.
#[tokio::test(start_paused = true)]
async fn overload_is_503_without_queueing() {
    const ROOM: usize = 8;
    let mut limits = GuardLimits::default();
    (limits.waiting, limits.pending_settlements) = (ROOM, 2 * ROOM);
    for place in 0..3 {
        let far = far(&limits);
        far.store.back_end().answer_at_once(true);
        far.ledger.back_end().answer_at_once(true);
        far.limiter.back_end().answer_at_once(true);
        let id = far.world.key(KEY, |_, account| account.plan = "limited".into());
        let send = || far.world.send(&far.gate, with_key("GET /v1/candles", KEY));
        let full = std::array::from_fn(|at| if at == place { ROOM } else { 0 });

        far.set(place, Fault::Hung);
        let began = Instant::now();
        let mut waiting: Vec<_> = (0..ROOM).map(|_| Box::pin(send())).collect();
        for wait in &mut waiting {
            assert!(wait.as_mut().now_or_never().is_none());
        }
        assert_eq!(far.waiting(), (full, 0));
        for _ in 0..500 {
            let refused = send().now_or_never().unwrap();
            assert_eq!(refused.status, 503, "{place}");
            let (waiting, pending_settlements) = far.waiting();
            // Whether a charge was posted is not known: it is paid back once the ledger answers, within a bound.
            let most = if place == 1 { limits.pending_settlements } else { 0 };
            assert!(
                waiting == full && pending_settlements <= most,
                "{place}: {waiting:?}, {pending_settlements}"
            );
        }
        assert!(began.elapsed().is_zero());

        // Those that wait are told when their time is over; then there is room, and nothing is left behind.
        for wait in waiting {
            // The charge's time, and its refund's.
            let late = timeout(limits.time * 2 + Duration::from_millis(1), wait).await.unwrap();
            assert_eq!(late.status, 503, "{place}");
        }
        far.set(place, Fault::None);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((far.waiting(), far.world.balance(id)), (([0; 3], 0), 100), "{place}");
        assert_eq!(send().await.status, 200, "{place}");
        assert_eq!(far.world.balance(id), 90, "{place}");
    }
}
