//! Costs that are known afterwards: the gate charges a reservation, and the meter decides the final cost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};
use support::events::Recorder;
use support::faulty_back_ends::Later;
use support::providers::KWERY;
use support::{World, with_key};
use tollgate::account::{Allowance, CalendarUnit, CurrencyTerms, Grant, GrantPeriod, Overage};
use tollgate::credit::{Balance, Currency};
use tollgate::gate::{CostMeter, FinalCost, Outcome};
use tollgate::rule::Cost;
use tollgate::usage::{MemoryUsage, UsageFilter, UsageRange, UsageStep};
use tollgate::{
    CreditManager, Credits, DenialKind, Gate, GateBuilder, KeyId, Plan, Principal, RequestView, Rule,
    TollgateLayer,
};
use tower::{Layer, ServiceExt, service_fn};

/// A world with a key of 100 credits.
fn world() -> (World, KeyId) {
    let world = World::new();
    let id = world.key(KWERY, |_, account| account.plan = "pro".into());
    (world, id)
}

/// A gate whose rule reserves 20 credits of at most 80.
fn gate(world: &World, overage: Overage, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    let mut plan = Plan::new("pro");
    plan.overage = overage;
    let mut rule = Rule::new("POST /chat").unwrap();
    (rule.cost, rule.most_cost) = (Cost::Fixed(Credits::new(20)), Some(Credits::new(80)));
    with(world.kwery().plan(plan).rule(rule)).build().unwrap()
}

fn credits(amount: u64) -> Credits {
    Credits::new(amount)
}

fn request() -> Request<Empty<Bytes>> {
    with_key("POST /chat", KWERY).body(Empty::new()).unwrap()
}

type Served = Response<
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<http_body::Frame<Bytes>, Infallible>>>>,
>;

/// The work of a handler with its meter and its response.
type Handle = fn(&CostMeter, &mut Served);

fn served(status: u16) -> Served {
    let frames = vec![Ok(http_body::Frame::data(Bytes::from_static(b"data")))];
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// Sends a request to a handler that works with its meter. Returns the status.
async fn send(gate: &Gate, handle: impl Fn(CostMeter) -> Served + Clone) -> u16 {
    let handler = service_fn(move |request: Request<Empty<Bytes>>| {
        let meter = request.extensions().get::<CostMeter>().unwrap().clone();
        drop(request);
        let response = handle(meter);
        async { Ok::<_, Infallible>(response) }
    });
    let response = TollgateLayer::new(gate.clone()).layer(handler).oneshot(request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

async fn balance(gate: &Gate, world: &World, id: KeyId) -> Balance {
    let (plan, account) = (gate.plan("pro").unwrap(), world.account_of(id).as_str().into());
    let admin = gate.credit_admin().unwrap();
    admin.balance_of(&account, &Currency::CREDITS, &plan.credits, gate.clock().now().wall()).await.unwrap()
}

#[tokio::test]
async fn meter_decides_the_final_cost() {
    let (world, id) = world();
    let gate = gate(&world, Overage::Cap, |builder| builder);
    let rows: [(&[u64], u64); 6] =
        [(&[5], 5), (&[7, 3], 10), (&[], 20), (&[0], 0), (&[30, 10], 40), (&[1, u64::MAX], 80)];
    for (reports, cost) in rows {
        world.set_balance(id, 100);
        let add = |meter: CostMeter| {
            assert_eq!((meter.reserve(), meter.most(), meter.cost()), (credits(20), credits(80), None));
            for cost in reports {
                meter.add(credits(*cost));
            }
            served(200)
        };
        assert_eq!(send(&gate, add).await, 200);
        assert_eq!(world.balance(id), 100 - cost, "{reports:?}");
        assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
    }
    world.set_balance(id, 100);
    send(&gate, |meter| {
        meter.add(credits(9));
        meter.set(credits(33));
        meter.add(credits(1));
        assert_eq!(meter.cost(), Some(credits(34)));
        served(200)
    })
    .await;
    assert_eq!(world.balance(id), 66, "`set` replaces what was reported before");
}

#[tokio::test]
async fn charge_is_settled_with_the_body_and_the_last_clone() {
    let (world, id) = world();
    let gate = gate(&world, Overage::Cap, |builder| builder);
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let handler = service_fn(move |request: Request<Empty<Bytes>>| {
        let meter = request.extensions().get::<CostMeter>().unwrap().clone();
        meter.add(credits(1));
        *keep.lock().unwrap() = Some(meter);
        async { Ok::<_, Infallible>(served(200)) }
    });
    let open = || world.ledger.open_charges(&world.account_of(id));
    for (commit, expected) in [(false, 74), (true, 48)] {
        let response =
            TollgateLayer::new(gate.clone()).layer(handler.clone()).oneshot(request()).await.unwrap();
        assert_eq!(open(), 1, "the head does not settle it");
        response.into_body().collect().await.unwrap();
        // Another task works on after the response has ended.
        let meter: CostMeter = kept.lock().unwrap().take().unwrap();
        assert_eq!(open(), 1, "a clone is left");
        tokio::spawn(async move {
            meter.add(credits(25));
            if commit {
                meter.commit();
                meter.set(credits(79));
                assert_eq!(meter.cost(), Some(credits(26)), "it is final");
            }
        })
        .await
        .unwrap();
        assert_eq!((open(), world.balance(id)), (0, expected), "{commit}");
    }
}

#[tokio::test]
async fn commit_settles_before_the_body_ends() {
    let (world, id) = world();
    let headers = |builder: GateBuilder| {
        let names = tollgate::respond::CreditHeaders::default().with_cost("X-Cost").unwrap();
        builder.credit_headers(names.with_balance("X-Balance").unwrap())
    };
    let gate = gate(&world, Overage::Cap, headers);
    let rows: [(Handle, &str, &str, u64); 4] = [
        (|meter, _| meter.set(credits(50)), "20", "80", 50),
        (|meter, _| (meter.set(credits(50)), meter.commit()).1, "50", "50", 50),
        (|_, response| _ = response.extensions_mut().insert(FinalCost(credits(70))), "70", "30", 70),
        (|_, response| _ = response.extensions_mut().insert(FinalCost(credits(99))), "80", "20", 80),
    ];
    for (row, (handle, cost, left, settled)) in rows.into_iter().enumerate() {
        world.set_balance(id, 100);
        let handler = service_fn(move |request: Request<Empty<Bytes>>| {
            let mut response = served(200);
            handle(request.extensions().get::<CostMeter>().unwrap(), &mut response);
            async { Ok::<_, Infallible>(response) }
        });
        let response = TollgateLayer::new(gate.clone()).layer(handler).oneshot(request()).await.unwrap();
        let told = ["x-cost", "x-balance"].map(|name| response.headers()[name].to_str().unwrap().to_owned());
        assert_eq!(told, [cost, left], "row {row}");
        let open = world.ledger.open_charges(&world.account_of(id));
        assert_eq!(open, usize::from(row == 0), "row {row}");
        drop(response);
        assert_eq!(world.balance(id), 100 - settled, "row {row}");
    }
}

#[tokio::test]
async fn failures_are_refunded() {
    let (world, id) = world();
    let gate = gate(&world, Overage::Debt, |builder| builder);
    let add = |status| move |meter: CostMeter| (meter.add(credits(60)), served(status)).1;
    assert_eq!((send(&gate, add(500)).await, world.balance(id)), (500, 100));
    assert_eq!((send(&gate, add(404)).await, world.balance(id)), (404, 40), "a client's error is served");
    world.set_balance(id, 100);
    let panics = |gate: Gate| async move {
        send(&gate, |meter| {
            meter.add(credits(60));
            panic!("as asked for")
        })
        .await
    };
    assert!(tokio::spawn(panics(gate.clone())).await.is_err());
    assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (100, 0));
}

#[tokio::test]
async fn client_that_leaves_pays_what_the_meter_saw() {
    for (seen, expected) in [(None, 80), (Some(3), 97), (Some(50), 50)] {
        let (world, id) = world();
        let gate = gate(&world, Overage::Cap, |builder| builder);
        let (tell, told) = tokio::sync::oneshot::channel::<CostMeter>();
        let tell = Arc::new(Mutex::new(Some(tell)));
        let handler = service_fn(move |request: Request<Empty<Bytes>>| {
            let meter = request.extensions().get::<CostMeter>().unwrap().clone();
            let tell = tell.lock().unwrap().take().unwrap();
            async move {
                tell.send(meter).unwrap();
                std::future::pending::<()>().await;
                Ok::<_, Infallible>(served(200))
            }
        });
        let asking = tokio::spawn(TollgateLayer::new(gate).layer(handler).oneshot(request()));
        let meter = told.await.unwrap();
        asking.abort();
        assert!(asking.await.is_err());
        // The work of the handler goes on in another task, whose costs still count.
        assert_eq!(world.ledger.open_charges(&world.account_of(id)), 1);
        if let Some(seen) = seen {
            meter.add(credits(seen));
        }
        drop(meter);
        assert_eq!(world.balance(id), expected, "{seen:?}");
    }
}

#[tokio::test]
async fn debt_is_paid_by_a_top_up() {
    let (world, id) = world();
    let gate = gate(&world, Overage::Debt, |builder| builder);
    world.set_balance(id, 50);
    assert_eq!(send(&gate, |meter| (meter.add(credits(80)), served(200)).1).await, 200);
    assert_eq!(balance(&gate, &world, id).await, Balance::Owed(credits(30)));
    let denial = gate.admit(&RequestView::of(&request())).await.unwrap_err();
    assert_eq!(denial.kind(), DenialKind::CreditsExhausted);
    let manager = CreditManager::new(gate.clone()).unwrap();
    let account = world.account_of(id).as_str().into();
    assert_eq!(
        manager.top_up(&account, credits(29), &"a".parse().unwrap()).await.unwrap(),
        Balance::Owed(credits(1))
    );
    assert_eq!(
        manager.top_up(&account, credits(21), &"b".parse().unwrap()).await.unwrap(),
        Balance::Limited(credits(20))
    );
    let admission = gate.admit(&RequestView::of(&request())).await.unwrap();
    admission.finish(Outcome::ServedAt(credits(4))).await.unwrap();
    assert_eq!(balance(&gate, &world, id).await, Balance::Limited(credits(16)));
}

#[tokio::test]
async fn cap_takes_what_is_there() {
    let (world, id) = world();
    let gate = gate(&world, Overage::Cap, |builder| builder);
    world.set_balance(id, 50);
    assert_eq!(send(&gate, |meter| (meter.add(credits(80)), served(200)).1).await, 200);
    assert_eq!(balance(&gate, &world, id).await, Balance::Limited(Credits::ZERO));
}

#[tokio::test]
async fn two_gates_share_one_meter() {
    let (world, id) = world();
    let outer = gate(&world, Overage::Cap, |builder| builder);
    let inner = gate(&world, Overage::Cap, |builder| builder);
    let plain = world.kwery().plan(Plan::new("pro")).build().unwrap();
    for (outer, inner) in [(&outer, &inner), (&outer, &plain), (&plain, &inner)] {
        world.set_balance(id, 100);
        let handler = service_fn(|request: Request<Empty<Bytes>>| {
            let meter = request.extensions().get::<CostMeter>().unwrap();
            assert_eq!(meter.reserve(), credits(20));
            meter.add(credits(33));
            async { Ok::<_, Infallible>(served(200)) }
        });
        let layers = [outer, inner].map(|gate| TollgateLayer::new(gate.clone()));
        let service = layers[0].layer(layers[1].layer(handler));
        drop(service.oneshot(request()).await.unwrap());
        assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (67, 0));
    }
}

#[tokio::test]
async fn meter_of_an_unlimited_plan_charges_nothing() {
    let (world, id) = world();
    let mut plan = Plan::new("pro");
    plan.credits = Allowance::Unlimited;
    let mut rule = Rule::new("POST /chat").unwrap();
    (rule.cost, rule.most_cost) = (Cost::Fixed(Credits::new(20)), Some(Credits::new(80)));
    let gate = world.kwery().plan(plan).rule(rule).build().unwrap();
    let status = send(&gate, |meter| {
        assert_eq!(meter.reserve(), Credits::ZERO);
        meter.add(credits(60));
        served(200)
    });
    assert_eq!((status.await, world.balance(id)), (200, 100));
}

#[tokio::test]
async fn slow_ledger_settles_in_the_background() {
    let (world, id) = world();
    let world = world.with_ledger(Later(world.ledger.clone()));
    let gate = gate(&world, Overage::Cap, |builder| builder);
    assert_eq!(send(&gate, |meter| (meter.add(credits(31)), served(200)).1).await, 200);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (69, 0));
}

#[tokio::test]
async fn event_has_the_final_cost_and_its_currency() {
    let (world, _) = world();
    let recorder = Recorder::default();
    let mut tokens = CurrencyTerms::default();
    let monthly = GrantPeriod::calendar(CalendarUnit::Month, "UTC").unwrap();
    tokens.credits = Allowance::Grant(Grant::new(credits(1_000), monthly));
    let mut plan = Plan::new("pro");
    plan.currencies.insert("tokens".parse().unwrap(), tokens);
    let mut rule = Rule::new("POST /chat").unwrap();
    (rule.cost, rule.most_cost) = (Cost::Fixed(credits(20)), Some(credits(80)));
    rule.currency = "tokens".parse().unwrap();
    let usage = Arc::new(MemoryUsage::new());
    let gate = world.kwery().plan(plan).rule(rule).decision_sink(recorder.clone()).usage_store(usage);
    let gate = gate.build().unwrap();
    let handler = service_fn(|request: Request<Empty<Bytes>>| {
        let principal = request.extensions().get::<Principal>().unwrap();
        assert_eq!((principal.currency().as_str(), principal.cost()), ("tokens", credits(20)));
        request.extensions().get::<CostMeter>().unwrap().add(credits(33));
        async { Ok::<_, Infallible>(served(200)) }
    });
    let response = TollgateLayer::new(gate.clone()).layer(handler).oneshot(request()).await.unwrap();
    assert!(recorder.take().is_empty(), "the request has not ended");
    drop(response);
    let event = recorder.only();
    assert_eq!((event.charged, event.settled, event.balance, event.status), (20, 33, Some(980), Some(200)));
    assert!(event.text.contains(r#"currency: Currency(Some("tokens"))"#), "{}", event.text);
    // Usage counts requests, and the credits of the default currency alone.
    let usage = gate.usage().unwrap();
    usage.flush().await.unwrap();
    let range = UsageRange::latest(UsageStep::Hour, gate.clock().now().wall());
    let report = usage.report(UsageFilter::all(), range).await.unwrap();
    assert_eq!((report.points[0].counts.requests, report.points[0].counts.credits), (1, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64),
    Set(u64),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = || prop_oneof![0..100_u64, any::<u64>()];
    prop_oneof![4 => amount().prop_map(Step::Add), 2 => amount().prop_map(Step::Set), 1 => proptest::prelude::Just(Step::Commit)]
}

proptest! {
    #[test]
    fn any_reports_settle_at_their_sum(steps in vec(step(), 0..12), start in 20..200_u64, debt: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut seen, mut committed) = (None, false);
        for step in &steps {
            match step {
                Step::Commit => committed = true,
                _ if committed => {}
                Step::Add(cost) => seen = Some(seen.unwrap_or(0_u64).saturating_add(*cost).min(80)),
                Step::Set(cost) => seen = Some((*cost).min(80)),
            }
        }
        let cost = seen.unwrap_or(20);
        let (world, id) = world();
        world.set_balance(id, start);
        let overage = if debt { Overage::Debt } else { Overage::Cap };
        let gate = gate(&world, overage, |builder| builder);
        let after = runtime.block_on(async {
            send(&gate, |meter| {
                for step in &steps {
                    match step {
                        Step::Add(cost) => meter.add(credits(*cost)),
                        Step::Set(cost) => meter.set(credits(*cost)),
                        Step::Commit => meter.commit(),
                    }
                }
                served(200)
            })
            .await;
            balance(&gate, &world, id).await
        });
        let expected = match start.checked_sub(cost) {
            Some(left) => Balance::Limited(credits(left)),
            None if debt => Balance::Owed(credits(cost - start)),
            None => Balance::Limited(Credits::ZERO),
        };
        prop_assert_eq!(after, expected);
        prop_assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
    }
}
