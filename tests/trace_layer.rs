//! Case 205: what tower-http's `TraceLayer` writes to the log shows no key, wherever it stands.
#![cfg(all(feature = "tracing", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use support::World;
use support::providers::KWERY;
use tollgate::{Peer, TollgateLayer, redacted_span};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::trace::TraceLayer;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, span};

/// Keeps all that is logged: spans and events, with all their fields.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut text = self.0.lock().unwrap();
        write!(text, "\n{} {}", span.metadata().level(), span.metadata().name()).unwrap();
        span.record(&mut Line(&mut text));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        write!(text, "\n{} event", event.metadata().level()).unwrap();
        event.record(&mut Line(&mut text));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What is logged while the service answers a request for this address.
async fn logged<S, R>(service: S, uri: &str) -> String
where
    S: Service<Request<Empty<Bytes>>, Response = http::Response<R>, Error: Debug>,
{
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let request = Request::get(uri)
        .header("X-API-Key", KWERY)
        .extension(Peer("203.0.113.9".parse().unwrap()))
        .body(Empty::new())
        .unwrap();
    service.oneshot(request).await.unwrap();
    log.0.lock().unwrap().clone()
}

/// Addresses with the key in every spelling that decodes to its name, and what is shown of them.
fn addresses() -> Vec<(String, &'static str)> {
    let of = |query: &str, shown| (format!("/v1/quotes?{query}"), shown);
    vec![
        of(&format!("api-key={KWERY}"), "uri=/v1/quotes version"),
        of(&format!("symbol=BTC&api-key={KWERY}&a=%20"), "uri=/v1/quotes?symbol=BTC&a=%20 version"),
        of(&format!("%61pi-key={KWERY}&api%2Dkey={KWERY}"), "uri=/v1/quotes version"),
        of("symbol=BTC", "uri=/v1/quotes?symbol=BTC version"),
        (format!("http://user:secret@example.com/v1/quotes?api-key={KWERY}"), "uri=/v1/quotes version"),
    ]
}

#[tokio::test]
async fn case_205_no_key_is_logged_outside_the_gate_nor_inside() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for (uri, shown) in addresses() {
        let outside = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http().make_span_with(redacted_span(&gate)))
            .layer(TollgateLayer::new(gate.clone()))
            .service(world.inner.clone());
        let inside = ServiceBuilder::new()
            .layer(TollgateLayer::new(gate.clone()))
            .layer(TraceLayer::new_for_http().make_span_with(redacted_span(&gate)))
            .service(world.inner.clone());
        for text in [logged(outside, &uri).await, logged(inside, &uri).await] {
            assert!(text.contains("DEBUG request method=GET"), "{text}");
            assert!(text.contains(shown), "{uri}: {text}");
            assert!(!text.contains(KWERY) && !text.contains("secret"), "{uri}: {text}");
        }
    }
}

#[tokio::test]
async fn case_205_the_layers_own_span_would_show_it() {
    let world = World::new();
    let gate = world.kwery().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(TollgateLayer::new(gate))
        .service(world.inner.clone());
    assert!(logged(service, &format!("/v1?api-key={KWERY}")).await.contains(KWERY), "the log is kept");
}
