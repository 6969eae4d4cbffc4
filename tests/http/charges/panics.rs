//! Panics of code that the service's author supplies: answered 500, at no cost, and told to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::Service as _;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpResponse, web};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tollgate::audit::{AuditEvent, AuditSink};
use tollgate::clock::Now;
use tollgate::credit::{Charge, Charged, Refund, Settlement};
use tollgate::key::{KeyHash, Length, Randomness, RandomnessError};
use tollgate::limit::{Correction, Draw, LimitDecision, WindowStatus};
use tollgate::respond::{DenialContext, ResponseForDenial};
use tollgate::rule::Cost;
use tollgate::store::AccountAdmin;
use tollgate::{
    Clock, CreditLedger, Credits, Denial, Gate, KeyFormat, KeyId, KeyRecord, KeySource, KeyStore,
    ManualClock, MemoryLedger, MemoryLimiter, MemoryStore, Plan, RateLimiter, RequestView, Rule, StoreFuture,
    TollgateLayer, TollgateTransform,
};
use tower::{Layer, ServiceExt};

use super::support::World;
use super::{KEY, log, panics};

/// The part that panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Find,
    Draw,
    Charge,
    Settle,
    Observer,
    Responder,
    Clock,
    Audit,
    Randomness,
}

/// A part of a gate that works as the part in memory does, and panics at its place: in the call, or in its future.
#[derive(Debug, Clone)]
struct Broken<T>(T, Place, bool);

impl<T> Broken<T> {
    /// Panics at the place, when the work is done.
    fn at<R: Send + 'static>(&self, place: Place, done: StoreFuture<R>) -> StoreFuture<R> {
        if self.1 != place {
            return done;
        }
        if !self.2 {
            panics();
        }
        StoreFuture::boxed(async move {
            tokio::task::yield_now().await;
            panics()
        })
    }
}

impl KeyStore for Broken<Arc<MemoryStore>> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.at(Place::Find, self.0.find(hash))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&self.0).admin()
    }
}

impl RateLimiter for Broken<Arc<MemoryLimiter>> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.at(Place::Draw, self.0.draw(draw))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.0.peek(draw)
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        self.0.correct(correction)
    }
}

impl CreditLedger for Broken<Arc<MemoryLedger>> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.at(Place::Charge, self.0.charge(charge))
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        if self.1 == Place::Settle {
            self.at(Place::Settle, StoreFuture::ready(()))
        } else {
            self.0.settle(settlement)
        }
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.0.refund(refund)
    }
}

impl ResponseForDenial for Broken<()> {
    fn respond(&self, _: &Denial, _: &DenialContext<'_>) -> Response<Bytes> {
        panics()
    }
}

/// A clock that panics from its second call on. The gate is built at the first.
#[derive(Debug)]
struct BrokenClock(ManualClock, Place, AtomicBool);

impl Clock for BrokenClock {
    fn now(&self) -> Now {
        let is_read = self.2.swap(true, Ordering::Relaxed);
        if self.1 == Place::Clock && is_read { panics() } else { self.0.now() }
    }
}

impl AuditSink for Broken<()> {
    fn record(&self, _: &AuditEvent) {
        if self.1 == Place::Audit {
            panics();
        }
    }
}

impl Randomness for Broken<()> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessError> {
        if self.1 == Place::Randomness {
            panics();
        }
        bytes.fill(7);
        Ok(())
    }
}

/// A world whose key has 100 credits, and a gate where every route costs 10 and a part is broken.
fn broken(place: Place, later: bool) -> (World, KeyId, Gate) {
    let world = World::new();
    let id = world.key(KEY, |_, account| account.plan = "metered".into());
    let mut rule = Rule::new("/paid").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    let mut plan = Plan::new("metered");
    plan.quotas.push("9 per minute".parse().unwrap());
    let mut builder = world
        .with_limiter(Broken(Arc::clone(&world.limiter), place, later))
        .with_ledger(Broken(Arc::clone(&world.ledger), place, later))
        .with_store(Broken(Arc::clone(&world.store), place, later))
        .bare()
        .source(KeySource::header("x-api-key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .rule(rule)
        .plan(plan)
        .clock(BrokenClock(world.clock.clone(), place, AtomicBool::new(false)))
        .audit(Broken((), place, later))
        .randomness(Broken((), place, later));
    builder = match place {
        Place::Audit | Place::Randomness => builder.management("/account/keys"),
        Place::Observer => builder.on_denial(|_| panics()),
        Place::Responder => builder.responder(Broken((), place, later)),
        _ => builder,
    };
    let gate = builder.build().unwrap();
    (world, id, gate)
}

/// Method, path and key of a request that comes to the place.
fn asked(place: Place) -> (&'static str, &'static str, &'static str) {
    match place {
        Place::Observer | Place::Responder => ("GET", "/paid", "acme_unknown"),
        Place::Audit | Place::Randomness => ("POST", "/account/keys", KEY),
        _ => ("GET", "/paid", KEY),
    }
}

const BODY: &str = r#"{"name": "another"}"#;

async fn through_tower(gate: Gate, place: Place) -> (u16, usize) {
    let inner = super::support::Inner::default();
    let (method, path, key) = asked(place);
    let request = Request::builder().method(method).uri(path).header("x-api-key", key);
    let request = request.header("content-type", "application/json").body(BODY.to_owned()).unwrap();
    let answer = TollgateLayer::new(gate).layer(inner.clone()).oneshot(request).await.unwrap();
    (answer.status().as_u16(), inner.calls())
}

async fn through_actix(gate: Gate, place: Place) -> u16 {
    let app = App::new().route("/paid", web::get().to(HttpResponse::Ok));
    let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
    let (method, path, key) = asked(place);
    let request =
        TestRequest::with_uri(path).method(method.parse().unwrap()).insert_header(("x-api-key", key));
    let request = request.insert_header(("content-type", "application/json")).set_payload(BODY);
    app.call(request.to_request()).await.unwrap().status().as_u16()
}

const PLACES: [Place; 9] = [
    Place::Find,
    Place::Draw,
    Place::Charge,
    Place::Settle,
    Place::Observer,
    Place::Responder,
    Place::Clock,
    Place::Audit,
    Place::Randomness,
];

#[tokio::test]
async fn panic_is_500_and_free() {
    let log = log::Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    // A test of another thread may have met the events first, where nobody listens.
    through_tower(broken(Place::Find, false).2, Place::Find).await;
    tracing::callsite::rebuild_interest_cache();
    for place in PLACES {
        for later in [false, true] {
            for actix in [false, true] {
                let (world, id, gate) = broken(place, later);
                let status = if actix {
                    through_actix(gate, place).await
                } else {
                    let (status, calls) = through_tower(gate, place).await;
                    assert_eq!(calls, usize::from(place == Place::Settle), "{place:?} {later}");
                    status
                };
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(status, 500, "{place:?} {later} {actix}");
                let open = world.ledger.open_charges(&world.account_of(id));
                assert_eq!((world.balance(id), open), (100, 0), "{place:?} {later} {actix}");
                let logged = std::mem::take(&mut *log.0.lock().unwrap());
                assert!(logged.contains("ERROR event"), "{place:?} {later} {actix}: {logged}");
                assert!(!logged.contains("as asked for"), "{logged}");
            }
        }
    }
}

#[tokio::test]
async fn panic_in_a_grpc_call_is_a_status() {
    let (_, _, gate) = broken(Place::Find, false);
    let request = Request::post("/paid").header("x-api-key", KEY).header("content-type", "application/grpc");
    let service = TollgateLayer::new(gate).layer(super::support::Inner::default());
    let answer = service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"13".parse().unwrap()));
}

#[tokio::test]
async fn panic_in_admit_is_an_internal_denial() {
    for place in [Place::Find, Place::Draw, Place::Charge, Place::Observer] {
        let (world, id, gate) = broken(place, false);
        let request = Request::get("/paid").header("x-api-key", asked(place).2).body(()).unwrap();
        let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
        assert_eq!((denial.kind().name(), world.balance(id)), ("internal", 100), "{place:?}");
    }
}
