//! A gate over guarded back ends that fail: 503, never 401, nobody is let in unpaid, and service resumes by itself.

use std::sync::Arc;
use std::time::Duration;

use tollgate::{
    Cost, Credits, Gate, GuardLimits, Guarded, MemoryLedger, MemoryLimiter, MemoryStore, Plan, Rule,
};

use crate::support::remote::{Fault, Remote, TokioClock};
use crate::support::{World, with_key};

const KEY: &str = "kwery_live_0123456789";

struct Far {
    world: World,
    gate: Gate,
    store: Remote<Arc<MemoryStore>>,
    ledger: Remote<Arc<MemoryLedger>>,
    limiter: Remote<Arc<MemoryLimiter>>,
}

fn far() -> Far {
    fn guard<T>(back_end: &Remote<T>, clock: TokioClock) -> Guarded<Remote<T>>
    where
        Remote<T>: Clone,
    {
        Guarded::with_clock(back_end.clone(), GuardLimits::default(), clock)
    }
    let (world, clock) = (World::new(), TokioClock::new());
    let store = Remote::new(Arc::clone(&world.store));
    let ledger = Remote::new(Arc::clone(&world.ledger));
    let limiter = Remote::new(Arc::clone(&world.limiter));
    let mut rule = Rule::new("/v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    let mut plan = Plan::new("limited");
    plan.quotas = vec!["1000 per day".parse().unwrap()];
    let gate = world
        .kwery()
        .plan(plan)
        .rule(rule)
        .store(guard(&store, clock))
        .ledger(guard(&ledger, clock))
        .limiter(guard(&limiter, clock))
        .clock(clock);
    Far { gate: gate.build().unwrap(), world, store, ledger, limiter }
}

/// Security cases 94 and 97: down, hung, or mute, for each back end.
#[tokio::test(start_paused = true)]
async fn a_back_end_that_fails_is_a_503_and_costs_nothing_and_service_resumes() {
    for fault in [Fault::Down, Fault::Hung, Fault::Mute] {
        for place in 0..3 {
            let far = far();
            let id = far.world.key(KEY, |_, account| account.plan = "limited".into());
            let set = |fault| match place {
                0 => far.store.set(fault),
                1 => far.ledger.set(fault),
                _ => far.limiter.set(fault),
            };
            assert_eq!(far.world.send(&far.gate, with_key("GET /v1/candles", KEY)).await.status, 200);
            set(fault);
            for _ in 0..12 {
                let before = tokio::time::Instant::now();
                let answer = far.world.send(&far.gate, with_key("GET /v1/candles", KEY)).await;
                assert_eq!(answer.status, 503, "{fault:?} {place}");
                assert!(before.elapsed() <= Duration::from_secs(3), "nobody waits for long");
            }
            set(Fault::None);
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(far.world.balance(id), 90, "{fault:?} {place}: what was refused is paid back");
            assert_eq!(far.world.send(&far.gate, with_key("GET /v1/candles", KEY)).await.status, 200);
            assert_eq!(far.world.balance(id), 80, "{fault:?} {place}");
        }
    }
}
