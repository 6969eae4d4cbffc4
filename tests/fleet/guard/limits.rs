//! Limits that each node keeps by itself: always, or while the shared limiter fails.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::account::{
    InFlightLimit, InFlightLimits, NetworkCut, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas,
};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::key::KeyHasher;
use tollgate::limit::{Acquire, Acquired, Draw, LimitDecision, LocalFallback, LocalShare, SlotId};
use tollgate::{Account, Clock, KeyId, KeyRecord, ManualClock, MemoryLimiter, RateLimiter, StoreFuture};

use crate::support::remote::{Fault, Remote, TokioClock};

fn record() -> KeyRecord {
    let account = Arc::new(Account::new("acme", "pro"));
    KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"key"), account)
}

fn quotas(texts: &[&str]) -> Quotas {
    Quotas::new(texts.iter().map(|text| text.parse::<QuotaPolicy>().unwrap()))
}

fn of(nodes: u32) -> NonZeroU32 {
    NonZeroU32::new(nodes).unwrap()
}

fn ready<T>(future: StoreFuture<T>) -> T {
    assert!(future.is_ready());
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future).unwrap()
}

/// Returns the number of requests admitted at one moment, of many more than the quota.
fn admitted(limiter: &impl RateLimiter, quotas: &Quotas, clock: &ManualClock) -> u64 {
    let record = record();
    let draw = || ready(limiter.draw(&Draw::new(&record, quotas, clock.now())));
    (0..500).filter(|_| matches!(draw(), LimitDecision::Within(_))).count() as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// The formula of the documentation, at once and after a window.
    #[test]
    fn fleet_admits_its_shares_only(quota in 1_u32..400, nodes in 1_u32..12) {
        let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
        let (limiters, quotas) = (
            (0..nodes).map(|_| LocalShare::new(of(nodes))).collect::<Vec<_>>(),
            (0..nodes).map(|_| quotas(&[&format!("{quota} per minute")])).collect::<Vec<_>>(),
        );
        let most = u64::from(nodes) * u64::from((quota / nodes).max(1));
        prop_assert!(most <= u64::from(quota.max(nodes)));
        for _ in 0..3 {
            let fleet = limiters.iter().zip(&quotas);
            prop_assert_eq!(fleet.map(|(limiter, quotas)| admitted(limiter, quotas, &clock)).sum::<u64>(), most);
            clock.advance(Duration::from_secs(61));
        }
    }
}

#[test]
fn share_keeps_window_names_and_order() {
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
    let per_account = |text: &str| text.parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Account);
    let named = "9 per minute".parse::<QuotaPolicy>().unwrap().with_name("burst").unwrap();
    let whole = Quotas::new([per_account("40 per hour"), named, per_account("2 per second")]);
    let (share, record) = (LocalShare::new(of(4)), record());
    let draw = Draw::new(&record, &whole, clock.now());
    let window_statuses = ready(share.peek(&draw));
    assert_eq!(
        window_statuses.iter().map(|window_status| window_status.remaining).collect::<Vec<_>>(),
        [2, 1, 10]
    );
    let policies: Vec<_> = whole.policies().map(|policy| policy.shared_by(of(4))).collect();
    assert_eq!(policies.iter().map(QuotaPolicy::name).collect::<Vec<_>>(), ["burst", "second", "hour"]);
    assert_eq!(policies[0].refill(), Duration::from_secs(30));
    assert!(matches!(ready(share.draw(&draw)), LimitDecision::Within(_)));
    let LimitDecision::Exceeded { window_status, .. } = ready(share.draw(&draw)) else {
        panic!("the second is spent")
    };
    assert_eq!(window_status.policy, 1);
    assert_eq!("1 per nanosecond".parse::<QuotaPolicy>().ok(), None);
    let quick = QuotaPolicy::new(u32::MAX, Duration::from_nanos(u64::from(u32::MAX))).unwrap();
    assert_eq!(quick.shared_by(of(u32::MAX)).quota(), 1);
    let burst = QuotaPolicy::new(600, Duration::from_mins(1)).unwrap().with_burst(50).unwrap();
    let shares = [4, 100].map(|nodes| burst.shared_by(of(nodes)));
    assert_eq!(shares.each_ref().map(|share| (share.quota(), share.capacity())), [(150, 12), (6, 1)]);
}

/// Two rules with a quota in common: its share is one window.
#[test]
fn rules_share_a_share() {
    let (share, record) = (LocalShare::new(of(4)), record());
    let policy = |text: &str| text.parse::<QuotaPolicy>().unwrap();
    let rules = ["/a", "/b"].map(|route| {
        quotas(&["40 per hour"])
            .beside(QuotaOrigin::Rule(route.into()), [policy("8 per day")])
            .beside(QuotaOrigin::Shared("reports".into()), [policy("12 per hour")])
    });
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
    let admits = |place: usize| {
        let drawn = ready(share.draw(&Draw::new(&record, &rules[place], clock.now())));
        matches!(drawn, LimitDecision::Within(_))
    };
    // Three of the shared quota, of which the first rule takes two with its own.
    assert_eq!([0, 0, 0, 1, 1].map(admits), [true, true, false, true, false]);
}

/// Each node has its share of a network's quota, also while the shared limiter is lost.
#[tokio::test(start_paused = true)]
async fn networks_have_shares() {
    let (server, clock, record) = (Remote::new(Arc::new(MemoryLimiter::new())), TokioClock::new(), record());
    let counts = QuotaScope::Network(NetworkCut::default());
    let quotas = Quotas::new([QuotaPolicy::new(8, Duration::from_hours(24)).unwrap().counting(counts)]);
    let limiters: [Box<dyn RateLimiter>; 2] = [
        Box::new(LocalShare::new(of(4))),
        Box::new(LocalFallback::new(
            Resilient::with_clock(server.clone(), GuardLimits::default(), clock),
            LocalShare::new(of(4)),
        )),
    ];
    server.set(Fault::Hung);
    for limiter in limiters {
        for address in ["192.0.2.7", "192.0.2.8"] {
            let address = address.parse().unwrap();
            let mut admitted = 0;
            for draw in [Draw::new(&record, &quotas, clock.now()), Draw::keyless(&quotas, clock.now())] {
                for _ in 0..2 {
                    let drawn = limiter.draw(&draw.from_address(address)).await.unwrap();
                    admitted += usize::from(matches!(drawn, LimitDecision::Within(_)));
                }
            }
            assert_eq!(admitted, 2, "{limiter:?}");
        }
    }
}

/// Nodes over one shared limiter that may be lost.
struct Fleet {
    server: Remote<Arc<MemoryLimiter>>,
    nodes: Vec<LocalFallback<Resilient<Remote<Arc<MemoryLimiter>>>>>,
    quotas: Vec<Quotas>,
    clock: TokioClock,
}

impl Fleet {
    fn of_nodes(nodes: u32, quota: &str) -> Self {
        let (server, clock) = (Remote::new(Arc::new(MemoryLimiter::new())), TokioClock::new());
        let node = |_| {
            let guarded = Resilient::with_clock(server.clone(), GuardLimits::default(), clock);
            LocalFallback::new(guarded, LocalShare::new(of(nodes)))
        };
        let nodes: Vec<_> = (0..nodes).map(node).collect();
        Self { quotas: nodes.iter().map(|_| quotas(&[quota])).collect(), server, nodes, clock }
    }

    /// Returns the number of admitted requests, if each node sends this many.
    async fn admitted(&self, requests: usize) -> usize {
        let (mut admitted, record) = (0, record());
        for _ in 0..requests {
            for (node, quotas) in self.nodes.iter().zip(&self.quotas) {
                let drawn = node.draw(&Draw::new(&record, quotas, self.clock.now())).await.unwrap();
                admitted += usize::from(matches!(drawn, LimitDecision::Within(_)));
            }
        }
        admitted
    }
}

#[tokio::test(start_paused = true)]
async fn failed_limiter_falls_back_to_shares() {
    let fleet = Fleet::of_nodes(4, "20 per day");
    assert_eq!(fleet.admitted(20).await, 20, "the quota, whichever node is asked");
    fleet.server.set(Fault::Down);
    assert_eq!(fleet.admitted(20).await, 20, "the shares: the documented excess of one outage");
    assert_eq!(fleet.admitted(20).await, 0);
    fleet.server.set(Fault::None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.admitted(20).await, 0, "the shared window is as it was");
    // It may go and come back as often as it likes: the shares are what they are.
    for _ in 0..10 {
        fleet.server.set(Fault::Hung);
        assert_eq!(fleet.admitted(6).await, 0);
        fleet.server.set(Fault::None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fleet.admitted(3).await, 0);
    }
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(fleet.admitted(20).await, 20, "it is found again, and the shared quota holds");
}

#[tokio::test(start_paused = true)]
async fn lost_draw_reports_every_window() {
    let (server, clock, record) = (Remote::new(Arc::new(MemoryLimiter::new())), TokioClock::new(), record());
    let quotas = quotas(&["10 per minute", "40 per hour"]);
    for fault in [Fault::Down, Fault::Hung] {
        server.set(fault);
        let draw = Draw::new(&record, &quotas, clock.now()).telling_every_window(true);
        let limiter = Resilient::with_clock(server.clone(), GuardLimits::default(), clock);
        let limiter = LocalFallback::new(limiter, LocalShare::new(of(2)));
        let LimitDecision::Within(window_status) = limiter.draw(&draw).await.unwrap() else {
            panic!("refused")
        };
        let remaining: Vec<_> = window_status.all.iter().map(|window| window.remaining).collect();
        assert_eq!(remaining, [4, 19], "{fault:?}");
    }
}

/// The limiter's script has run, and its answer is lost.
#[tokio::test(start_paused = true)]
async fn timed_out_draw_is_denied_and_not_retried() {
    let server = Remote::new(Arc::new(MemoryLimiter::new()));
    let limiter = Resilient::with_clock(server.clone(), GuardLimits::default(), TokioClock::new());
    let (quotas, record, clock) = (quotas(&["3 per day"]), record(), TokioClock::new());
    server.set(Fault::Mute);
    assert!(limiter.draw(&Draw::new(&record, &quotas, clock.now())).await.unwrap_err().is_timeout());
    assert_eq!(server.asked(), 1);
    server.set(Fault::None);
    let window_statuses = limiter.peek(&Draw::new(&record, &quotas, clock.now())).await.unwrap();
    assert_eq!(window_statuses[0].remaining, 2, "one cell is spent, not two");
}

/// Calls for slots have a time limit. A release goes to the limiter that gave the slots, also while the circuit is open.
#[tokio::test(start_paused = true)]
async fn slots_are_released_where_they_were_given() {
    let (server, clock) = (Remote::new(Arc::new(MemoryLimiter::new())), TokioClock::new());
    let mut terms = GuardLimits::default();
    (terms.failures, terms.cooldown) = (2, Duration::from_hours(1));
    let guarded = Resilient::with_clock(server.clone(), terms, clock);
    let limiter = LocalFallback::new(guarded, LocalShare::new(of(2)));
    let (record, limits) = (record(), InFlightLimits::new([InFlightLimit::new(4).unwrap()]));
    let call = |number| Acquire::new(SlotId::from_bytes([number; 16]), &record, &limits, clock.now());
    let held = |local| Acquired::Held { local };
    assert_eq!(limiter.acquire(&call(1)).await.unwrap(), held(false));
    assert_eq!(limiter.acquire(&call(2)).await.unwrap(), held(false));
    server.set(Fault::Hung);
    let begun = tokio::time::Instant::now();
    for number in [3, 4] {
        assert_eq!(limiter.acquire(&call(number)).await.unwrap(), held(true));
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(2), "each waited for a second");
    assert!(limiter.is_failing());
    assert_eq!(limiter.acquire(&call(5)).await.unwrap(), Acquired::Full { limit: 0 }, "the share is 2");
    let asked = server.asked();
    limiter.release(&call(3).held_locally(true)).await.unwrap();
    assert_eq!((limiter.acquire(&call(6)).await.unwrap(), server.asked()), (held(true), asked));
    assert!(limiter.release(&call(1)).await.unwrap_err().is_timeout());
    assert_eq!((begun.elapsed(), server.asked()), (Duration::from_secs(3), asked + 1));
    assert_eq!(limiter.acquire(&call(7)).await.unwrap(), Acquired::Full { limit: 0 }, "the share stays full");
    server.set(Fault::None);
    limiter.release(&call(2)).await.unwrap();
    tokio::time::advance(Duration::from_hours(1)).await;
    // The release that was not answered was not made.
    for number in 8..11 {
        assert_eq!(limiter.acquire(&call(number)).await.unwrap(), held(false));
    }
    assert_eq!(limiter.acquire(&call(11)).await.unwrap(), Acquired::Full { limit: 0 });
}
