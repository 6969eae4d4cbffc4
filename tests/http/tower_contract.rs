//! The requirements of tower for a middleware, and the charge after every ending of a request.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use support::faulty_back_ends::Later;
use support::{World, with_key};
use tollgate::gate::FinalCost;
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, KeyId, Rule, TollgateLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

const KEY: &str = "kwery_live_0123456789";
const ROUTE: &str = "GET /v1/candles";

/// A world with one key of 100 credits, and a gate where a candle costs 10.
fn world() -> (World, Gate, KeyId) {
    let world = World::new();
    let id = world.plain_key(KEY);
    let gate = world.kwery().rule(costly()).build().unwrap();
    (world, gate, id)
}

fn costly() -> Rule {
    let mut rule = Rule::new("/v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    rule
}

fn request() -> Request<Empty<Bytes>> {
    with_key(ROUTE, KEY).body(Empty::<Bytes>::new()).unwrap()
}

/// Balance and open charges.
fn account(world: &World, id: KeyId) -> (u64, usize) {
    (world.balance(id), world.ledger.open_charges(&world.account_of(id)))
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A service that must be ready before each call, and whose clones are not.
#[derive(Debug)]
struct Strict {
    ready: bool,
    polled: usize,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, polled: 0 }
    }
}

impl Service<Request<Empty<Bytes>>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polled += 1;
        self.ready = self.polled > 1;
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        self.polled = 0;
        std::future::ready(Ok(answer(StatusCode::OK)))
    }
}

#[tokio::test]
async fn ready_service_is_the_called_one() {
    let (world, ready, _) = world();
    let later = world.with_store(Later(Arc::clone(&world.store))).kwery().build().unwrap();
    for gate in [ready, later] {
        let mut service = TollgateLayer::new(gate).layer(Strict { ready: false, polled: 0 });
        for _ in 0..3 {
            let served = service.ready().await.unwrap().call(request()).await.unwrap();
            assert_eq!(served.status(), 200);
            // A refused request uses no readiness up that the next one would lack.
            let refused = service.ready().await.unwrap().call(Request::new(Empty::new())).await.unwrap();
            assert_eq!(refused.status(), 401);
        }
    }
}

#[tokio::test]
async fn inner_error_is_kept_and_free() {
    let (world, gate, id) = world();
    let failing = service_fn(|_: Request<Empty<Bytes>>| async {
        Err::<Response<Full<Bytes>>, _>("a fault of its own")
    });
    let error = TollgateLayer::new(gate).layer(failing).oneshot(request()).await.unwrap_err();
    assert_eq!(error, "a fault of its own");
    assert_eq!(account(&world, id), (100, 0));
}

#[tokio::test]
async fn dropped_unpolled_future_is_refunded() {
    let (world, gate, id) = world();
    let mut service = TollgateLayer::new(gate)
        .layer(service_fn(|_: Request<Empty<Bytes>>| pending::<Result<Response<Full<Bytes>>, Infallible>>()));
    drop(service.ready().await.unwrap().call(request()));
    assert_eq!(account(&world, id), (100, 0));
    // With back ends that answer later, nothing has been asked by then.
    let gate = world.with_store(Later(Arc::clone(&world.store))).kwery().rule(costly()).build().unwrap();
    drop(TollgateLayer::new(gate).layer(world.inner.clone()).call(request()));
    assert_eq!((account(&world, id), world.calls()), ((100, 0), 0));
}

#[tokio::test]
async fn client_leaving_mid_handler_is_charged() {
    let (world, gate, id) = world();
    let inner = service_fn(|_: Request<Empty<Bytes>>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut future = Box::pin(TollgateLayer::new(gate).layer(inner).oneshot(request()));
    assert!(poll_once(future.as_mut()).is_pending());
    assert_eq!(account(&world, id), (90, 1), "the charge is taken before the handler runs");
    drop(future);
    assert_eq!(account(&world, id), (90, 0));
}

#[tokio::test]
async fn leaving_mid_charge_leaves_no_open_charge() {
    let (world, _, id) = world();
    let gate = world.with_ledger(Later(Arc::clone(&world.ledger))).kwery().rule(costly()).build().unwrap();
    let mut service = TollgateLayer::new(gate).layer(world.inner.clone());
    // Asked for the charge: the handler has not begun.
    drop(service.call(request()));
    assert_eq!((account(&world, id), world.calls()), ((90, 1), 0));
    settled(|| account(&world, id) == (100, 0)).await;
    // Asked to settle: the handler has answered.
    let mut future = Box::pin(service.call(request()));
    assert!(poll_once(future.as_mut()).is_pending());
    assert_eq!((account(&world, id), world.calls()), ((90, 1), 1));
    drop(future);
    settled(|| account(&world, id) == (90, 0)).await;
}

/// A handler that panics in its nth poll.
fn panicking(
    polls: usize,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(move |_: Request<Empty<Bytes>>| {
        let mut left = polls;
        poll_fn(move |_| {
            left -= 1;
            assert!(left > 0, "the handler panics");
            Poll::<Result<Response<Full<Bytes>>, Infallible>>::Pending
        })
    })
}

#[tokio::test]
async fn panicking_handler_costs_nothing() {
    for polls in [1, 2, 3] {
        let (world, gate, id) = world();
        // In a task, as a server runs it: the task ends.
        let service = TollgateLayer::new(gate.clone()).layer(panicking(polls));
        let mut future = Box::pin(service.clone().oneshot(request()));
        let task = tokio::spawn(poll_fn(move |cx| {
            let polled = future.as_mut().poll(cx).map(|answer| answer.unwrap().status());
            cx.waker().wake_by_ref();
            polled
        }));
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(account(&world, id), (100, 0), "in a task, poll {polls}");

        // Under a layer that catches it, as `CatchPanic` does: the future is dropped when the panic is over.
        let mut future = Box::pin(service.oneshot(request()));
        let caught =
            (0..polls).find(|_| catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut()))).is_err());
        assert_eq!(caught, Some(polls - 1));
        drop(future);
        assert_eq!(account(&world, id), (100, 0), "caught, poll {polls}");

        // The account goes on as before: no lock is poisoned.
        assert_eq!(world.send(&gate, with_key(ROUTE, KEY)).await.status, 200);
        assert_eq!(account(&world, id), (90, 0));
    }
}

#[tokio::test]
async fn panic_in_call_costs_nothing() {
    let (world, gate, id) = world();
    let inner = service_fn(
        |_: Request<Empty<Bytes>>| -> std::future::Ready<Result<Response<Full<Bytes>>, Infallible>> {
            panic!("the handler panics")
        },
    );
    let mut service = TollgateLayer::new(gate).layer(inner);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(request())))).is_err());
    assert_eq!(account(&world, id), (100, 0));
}

#[tokio::test]
async fn handler_status_decides_the_charge() {
    let rows = [
        (StatusCode::OK, None, 90),
        (StatusCode::NOT_FOUND, None, 90),
        (StatusCode::UNAUTHORIZED, None, 90),
        (StatusCode::TOO_MANY_REQUESTS, None, 90),
        (StatusCode::INTERNAL_SERVER_ERROR, None, 100),
        (StatusCode::SERVICE_UNAVAILABLE, None, 100),
        (StatusCode::OK, Some(4), 96),
        (StatusCode::OK, Some(0), 100),
        (StatusCode::OK, Some(11), 90),
        (StatusCode::BAD_GATEWAY, Some(4), 100),
    ];
    for (status, cost, balance) in rows {
        for later in [false, true] {
            let (world, gate, id) = world();
            let slow =
                world.with_ledger(Later(Arc::clone(&world.ledger))).kwery().rule(costly()).build().unwrap();
            let inner = service_fn(move |_: Request<Empty<Bytes>>| async move {
                let mut response = answer(status);
                if let Some(cost) = cost {
                    response.extensions_mut().insert(FinalCost(Credits::new(cost)));
                }
                Ok::<_, Infallible>(response)
            });
            let gate = if later { slow } else { gate };
            let response = TollgateLayer::new(gate).layer(inner).oneshot(request()).await.unwrap();
            // Its own answer is passed on as it is, a 401 without a challenge of the gate's too.
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key("www-authenticate"));
            assert_eq!(account(&world, id), (balance, 0), "{status} {cost:?} {later}");
        }
    }
}

#[tokio::test]
async fn two_gates_judge_twice_and_charge_once() {
    let (world, outer, id) = world();
    let mut restricted = Rule::new("/v1/admin").unwrap();
    restricted.closed_to = vec!["plain".into()];
    let other = tollgate::Plan::new("other");
    let inner = world.kwery().plan(other).rule(costly()).rule(restricted).build().unwrap();
    let service = TollgateLayer::new(outer).layer(TollgateLayer::new(inner).layer(world.inner.clone()));
    let served = service.clone().oneshot(request()).await.unwrap();
    assert_eq!((served.status().as_u16(), account(&world, id)), (200, (90, 0)));
    let refused =
        service.oneshot(with_key("GET /v1/admin", KEY).body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!((refused.status().as_u16(), account(&world, id), world.calls()), (403, (90, 0), 1));
}

#[tokio::test]
async fn principal_of_another_key_is_charged() {
    let (world, gate, id) = world();
    let other = world.plain_key("kwery_live_another_key");
    let principal = {
        let request = with_key("GET /", "kwery_live_another_key").body(Empty::<Bytes>::new()).unwrap();
        let admission = gate.admit(&tollgate::RequestView::of(&request)).await.unwrap();
        gate.principal(&admission).unwrap()
    };
    assert_eq!(principal.key(), other);
    let request = with_key(ROUTE, KEY).extension(principal);
    assert_eq!(world.send(&gate, request).await.status, 200);
    assert_eq!(account(&world, id), (90, 0));
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets tasks run until it holds.
async fn settled(holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to hold");
}

#[test]
fn memory_decision_needs_no_runtime() {
    let (world, gate, id) = world();
    let served = Arc::new(AtomicBool::new(false));
    let future = pin!(TollgateLayer::new(gate).layer(world.inner.clone()).oneshot(request()));
    if let Poll::Ready(Ok(response)) = poll_once(future) {
        served.store(response.status() == 200, Ordering::SeqCst);
    }
    assert!(served.load(Ordering::SeqCst));
    assert_eq!(account(&world, id), (90, 0));
}

/// The deadline of a gRPC call needs a timer. What a caller sends must not make the gate panic where there is none.
#[cfg(feature = "tonic")]
#[test]
fn without_a_runtime_no_deadline_is_kept() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = world.with_store(Later(Arc::clone(&world.store))).kwery().build().unwrap();
    let call = with_key("POST /v1/candles", KEY)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "1S")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let future = pin!(TollgateLayer::new(gate).layer(world.inner.clone()).oneshot(call));
    let Poll::Ready(Ok(response)) = poll_once(future) else { panic!("no answer") };
    assert_eq!(response.status(), 200);
    assert_eq!(world.calls(), 1);
}

/// A service that one caller at a time may reserve: from `poll_ready` on, until it is called or dropped.
#[derive(Debug, Default)]
struct Single {
    taken: Arc<AtomicBool>,
    reserved: bool,
}

impl Single {
    fn release(&mut self) {
        if std::mem::take(&mut self.reserved) {
            self.taken.store(false, Ordering::SeqCst);
        }
    }
}

impl Clone for Single {
    fn clone(&self) -> Self {
        Self { taken: Arc::clone(&self.taken), reserved: false }
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        self.release();
    }
}

impl Service<Request<Empty<Bytes>>> for Single {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !self.reserved && self.taken.swap(true, Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.reserved = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        self.release();
        std::future::ready(Ok(answer(StatusCode::OK)))
    }
}

#[tokio::test]
async fn a_refusal_releases_the_inner_service() {
    let (world, _, _) = world();
    let later =
        world.with_limiter(Later(Arc::clone(&world.limiter))).with_ledger(Later(Arc::clone(&world.ledger)));
    for gate in [&world, &later].map(|world| world.kwery().management("/account/keys").build().unwrap()) {
        let mut service = TollgateLayer::new(gate).layer(Single::default());
        let mut other = service.clone();
        // One is refused, and the gate answers the other itself.
        for (route, key, status) in [(ROUTE, "kwery_live_unknown", 401), ("GET /account/keys", KEY, 200)] {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(service.poll_ready(&mut cx).is_ready(), "{route}");
            let request = with_key(route, key).body(Empty::new()).unwrap();
            assert_eq!(service.call(request).await.unwrap().status(), status);
            assert!(other.poll_ready(&mut cx).is_ready(), "{route}: the refused request keeps the service");
            assert_eq!(other.call(request_to(ROUTE)).await.unwrap().status(), 200);
        }
    }
}

fn request_to(route: &str) -> Request<Empty<Bytes>> {
    with_key(route, KEY).body(Empty::new()).unwrap()
}
