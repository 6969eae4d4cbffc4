//! Charges of handlers that do not finish.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::HttpMessage;

use super::*;
use crate::support::remote::Remote;

/// The same world, with a ledger that counts what it is asked: in this process, or far away.
fn counting(world: &World, at_once: bool) -> (Gate, Remote<Arc<tollgate::MemoryLedger>>) {
    let ledger = Remote::new(Arc::clone(&world.ledger));
    ledger.answer_at_once(at_once);
    (world.with_ledger(ledger.clone()).kwery().rule(costly("/v1/candles")).build().unwrap(), ledger)
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets what goes on in the background come to its end.
async fn later() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn panicking_handler_is_refunded_once() {
    for at_once in [true, false] {
        for polls in [1, 2, 3] {
            let (world, _, id) = world();
            let (gate, ledger) = counting(&world, at_once);
            let handler = move || {
                let mut left = polls;
                poll_fn(move |_| {
                    left -= 1;
                    assert!(left > 0, "the handler panics");
                    Poll::<HttpResponse>::Pending
                })
            };
            let app =
                App::new().route("/v1/candles", web::get().to(handler)).route("/who", web::get().to(who));
            let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
            let mut future = Box::pin(app.call(keyed("/v1/candles").to_request()));
            let mut polled = 0;
            while catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut())))
                .is_ok_and(|poll| poll.is_pending())
            {
                polled += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
                assert!(polled < 10, "it never panics");
            }
            drop(future);
            later().await;
            assert_eq!(account(&world, id), (100, 0), "{at_once}, poll {polls}");
            assert_eq!((ledger.asked(), ledger.closed()), (1, 1), "{at_once}, poll {polls}");
            // The worker goes on as before: nothing is borrowed or locked for good.
            assert_eq!(send(&app, keyed("/who").to_request()).await, (200, "account-0".into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_unpolled_future_costs_nothing() {
    for at_once in [true, false] {
        let (world, _, id) = world();
        let (gate, ledger) = counting(&world, at_once);
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let handler = move || ready(count.fetch_add(1, Ordering::SeqCst).to_string());
        let app = App::new().route("/v1/candles", web::get().to(handler));
        let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
        let (request, kept) = (keyed("/v1/candles").to_request(), Arc::new(()));
        request.extensions_mut().insert(Arc::clone(&kept));
        drop(app.call(request));
        later().await;
        assert_eq!(account(&world, id), (100, 0), "{at_once}");
        assert_eq!((ledger.asked(), ledger.closed()), (1, 1), "{at_once}");
        assert_eq!((calls.load(Ordering::SeqCst), Arc::strong_count(&kept)), (0, 1), "{at_once}");
    }
}

#[tokio::test]
async fn client_leaving_mid_handler_is_charged() {
    let (world, gate, id) = world();
    let app = App::new().route("/v1/candles", web::get().to(pending::<HttpResponse>));
    let app = init_service(app.wrap(TollgateTransform::new(gate))).await;
    let mut future = Box::pin(app.call(keyed("/v1/candles").to_request()));
    assert!(poll_once(future.as_mut()).is_pending());
    assert_eq!(account(&world, id), (90, 1), "the charge is taken before the handler runs");
    drop(future);
    assert_eq!(account(&world, id), (90, 0));
}
