//! A cache over a guarded key store that hangs: whichever of the two gives up first, soon nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::store::CachedStore;

use crate::support::remote::{Fault, Remote, TokioClock};
use crate::support::{World, with_key};

const KNOWN: &str = "kwery_live_0123456789";

#[tokio::test(start_paused = true)]
async fn open_circuit_makes_unknown_key_503() {
    for time in [Duration::from_secs(1), Duration::from_secs(5)] {
        let (world, clock) = (World::new(), TokioClock::new());
        world.plain_key(KNOWN);
        let mut limits = GuardLimits::default();
        limits.time = time;
        let guarded = Resilient::with_clock(Remote::new(Arc::clone(&world.store)), limits, clock);
        let cache = CachedStore::builder(guarded.clone()).wait_at_most(Duration::from_secs(2)).clock(clock);
        let cache = cache.stale_if_error(Duration::from_mins(1)).build().unwrap();
        let gate = world.with_store(cache).kwery().clock(clock).build().unwrap();
        let ask = async |key: &str| world.send(&gate, with_key("GET /v1/candles", key)).await.status;
        let unknown = |number| format!("kwery_live_unknown{number}");
        assert_eq!(ask(KNOWN).await, 200);

        guarded.back_end().set(Fault::Hung);
        let hung = Instant::now();
        for number in 0..5 {
            assert_eq!(ask(&unknown(number)).await, 503);
        }
        assert!(guarded.health().open, "{time:?}");
        assert!(hung.elapsed() <= Duration::from_secs(10));
        let asked = Instant::now();
        for number in 5..105 {
            assert_eq!(ask(&unknown(number)).await, 503);
        }
        assert!(asked.elapsed().is_zero(), "{time:?}: they waited {:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(ask(KNOWN).await, 200, "it is known, and is served past its time");

        guarded.back_end().set(Fault::None);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((ask(&unknown(0)).await, ask(KNOWN).await), (401, 200), "{time:?}");
    }
}
