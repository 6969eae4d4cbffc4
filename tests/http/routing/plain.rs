//! A tonic server's routes, and a hyper service that compares paths itself, as `examples/hyper.rs` has it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response};
use tollgate::TollgateLayer;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::routing::on_axum::{hex, read, request};
use crate::routing::paths::Rng;
use crate::routing::site::{FALLBACK, QuotaScope, Reached, Route, Site, rank, routes};

fn route(pattern: &str) -> Route {
    Route { pattern: pattern.to_owned(), get: false, public: false }
}

/// Answers with the name of the handler for a path, compared byte for byte.
fn answer<B: Default>(names: &[&'static str], path: &str) -> Response<B> {
    named(names.iter().find(|name| **name == path).unwrap_or(&FALLBACK))
}

fn named<B: Default>(name: &str) -> Response<B> {
    let mut response = Response::new(B::default());
    response.headers_mut().insert("x-handler", hex(name).parse().unwrap());
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
    response
}

const QUOTES: &[&str] = &["/acme.v1.Quotes/Get", "/acme.v1.Quotes/List"];
const NEWS: &[&str] = &["/acme.v1.News/Get"];

/// Code as it is made from a service's description.
#[derive(Debug, Clone)]
struct Quotes;
#[derive(Debug, Clone)]
struct News;

macro_rules! serves {
    ($service:ty, $name:literal, $methods:expr) => {
        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<Request<Body>> for $service {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = Ready<Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Self::Future {
                ready(Ok(answer($methods, request.uri().path())))
            }
        }
    };
}

serves!(Quotes, "acme.v1.Quotes", QUOTES);
serves!(News, "acme.v1.News", NEWS);

pub(crate) fn tonic(seed: u64, paths: usize) -> Option<QuotaScope> {
    let routes: Vec<Route> = QUOTES.iter().chain(NEWS).map(|path| route(path)).collect();
    let site = Site::of(&routes)?;
    let mut server = TollgateLayer::new(site.gate.clone()).layer(Routes::new(Quotes).add_service(News));
    Some(site.ask(&mut Rng::new(seed), paths, |method, target, key| {
        let mut request = request(method, target, key, Body::empty())?;
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let answer = server.call(request).now_or_never().unwrap().unwrap();
        Some(Reached(answer.headers().get("x-handler").map(|name| read(name.as_bytes()))))
    }))
}

/// Returns true if a pattern matches a path that is compared byte for byte.
fn matches(pattern: &str, path: &str) -> bool {
    let mut texts = path.split('/');
    for segment in pattern.split('/') {
        let Some(text) = texts.next() else { return false };
        if segment.starts_with("{*") {
            return !text.is_empty() || texts.next().is_some();
        }
        let fits = match segment.split_once('{') {
            None => segment == text,
            Some((prefix, rest)) => {
                let suffix = rest.split_once('}').unwrap().1;
                let value = text.strip_prefix(prefix).and_then(|text| text.strip_suffix(suffix));
                value.is_some_and(|value| !value.is_empty())
            }
        };
        if !fits {
            return false;
        }
    }
    texts.next().is_none()
}

/// A service that compares paths itself. It calls the handler of the most specific pattern.
pub(crate) fn hyper(seed: u64, paths: usize) -> Option<QuotaScope> {
    let mut rng = Rng::new(seed);
    let mut routes = routes(&mut rng, |_| true);
    if routes.len() < 2 {
        return None;
    }
    let site = Site::of(&routes)?;
    routes.sort_by_key(|route| rank(&route.pattern));
    let service = service_fn(move |request: Request<Body>| {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let serves = |route: &&Route| {
            (!route.get || matches!(method, "GET" | "HEAD")) && matches(&route.pattern, path)
        };
        let name = routes.iter().find(serves).map_or(FALLBACK, |route| &*route.pattern);
        ready(Ok::<_, Infallible>(named::<Body>(name)))
    });
    let mut service = TollgateLayer::new(site.gate.clone()).layer(service).boxed_clone();
    Some(site.ask(&mut rng, paths, |method, target, key| {
        let request = request(method, target, key, Body::empty())?;
        let answer = service.call(request).now_or_never().unwrap().unwrap();
        Some(Reached(answer.headers().get("x-handler").map(|name| read(name.as_bytes()))))
    }))
}
