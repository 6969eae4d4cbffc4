//! Routes on axum: plain, nested, and with the gate within.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::Router;
use axum::body::Body;
use axum::routing::{MethodRouter, any, get};
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use tollgate::TollgateLayer;
use tower::Service;

use crate::routing::paths::Rng;
use crate::routing::site::{
    FALLBACK, OUTSIDE, QuotaScope, Reached, Route, Site, routes, with_fallback_below,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The gate around one router.
    Plain,
    /// `Router::layer`.
    Layer,
    /// `Router::nest` at `/a`.
    Nest,
    /// `Router::nest` at `/{x}`.
    NestBelowParameter,
    /// `Router::nest_service` at `/a`.
    NestService,
    /// `Router::nest_service` at `/c/a`.
    NestServiceBelow,
    /// The gate as a layer of the router that is nested.
    GateInNest,
    /// The gate around the router that is nested.
    GateAroundNest,
}

impl Shape {
    pub(crate) const ALL: &[Self] = &[
        Self::Plain,
        Self::Layer,
        Self::Nest,
        Self::NestBelowParameter,
        Self::NestService,
        Self::NestServiceBelow,
        Self::GateInNest,
        Self::GateAroundNest,
    ];

    fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Layer => None,
            Self::NestBelowParameter => Some("/{x}"),
            Self::NestServiceBelow => Some("/c/a"),
            Self::Nest | Self::NestService | Self::GateInNest | Self::GateAroundNest => Some("/a"),
        }
    }

    fn is_gated_within(self) -> bool {
        matches!(self, Self::GateInNest | Self::GateAroundNest)
    }

    /// Returns true if the nested router answers all paths below by itself.
    fn has_own_fallback(self) -> bool {
        matches!(self, Self::NestService | Self::NestServiceBelow | Self::GateAroundNest)
    }

    /// Returns true if the router can have the route beside the others.
    fn fits(self, pattern: &str) -> bool {
        // matchit 0.8 has no text behind a parameter.
        let has_suffix = pattern.split('/').any(|segment| segment.contains('{') && !segment.ends_with('}'));
        // Within a nested router `/` is the prefix itself, with a slash or without.
        !has_suffix && self.prefix().is_none_or(|prefix| pattern.strip_suffix('/') != Some(prefix))
    }

    /// Returns true if a route would match paths that only the nested router's fallback answers.
    fn is_wider(self, pattern: &str) -> bool {
        pattern.starts_with("/{x}") || (self == Self::NestServiceBelow && pattern == "/c/{*rest}")
    }
}

/// Asks a router with routes of its own; `None` for routes that it cannot have.
pub(crate) fn site(shape: Shape, seed: u64, paths: usize) -> Option<QuotaScope> {
    let mut rng = Rng::new(seed);
    let mut all = routes(&mut rng, |pattern| shape.fits(pattern));
    let mut below = FALLBACK.to_owned();
    if let Some(prefix) = shape.prefix().filter(|_| shape.has_own_fallback()) {
        if rng.one_in(2) {
            below = with_fallback_below(prefix, &mut all);
        } else {
            all.retain(|route| !shape.is_wider(&route.pattern));
        }
    }
    if let Some(prefix) = shape.prefix().filter(|_| shape.is_gated_within()) {
        // Rules are for what is within; the rest is outside.
        all.retain(|route| inner(prefix, &route.pattern).is_some());
    }
    if all.len() < 2 {
        return None;
    }
    let site = Site::of(&all)?;
    let layer = TollgateLayer::new(site.gate.clone());
    let mut router = catch_unwind(AssertUnwindSafe(|| built(shape, &all, &below, &layer))).ok()?;
    Some(site.ask(&mut rng, paths, |method, target, key| {
        // axum panics where a path that is none comes to a nested router.
        if shape.is_gated_within() && !target.starts_with(['/', 'h']) {
            return None;
        }
        send(&mut router, method, target, key)
    }))
}

type Served = tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

fn built(shape: Shape, routes: &[Route], below: &str, layer: &TollgateLayer) -> Served {
    let within = |route: &Route| shape.prefix().and_then(|prefix| inner(prefix, &route.pattern));
    let (mut outer, mut nested) = (Router::new(), Router::new());
    for route in routes.iter().filter(|route| route.pattern != below) {
        match within(route) {
            Some(path) => nested = nested.route(&path, handler(route)),
            None => outer = outer.route(&route.pattern, handler(route)),
        }
    }
    let prefix = shape.prefix().unwrap_or_default();
    let outer = match shape {
        Shape::Plain | Shape::Layer => outer.fallback(say(FALLBACK)),
        Shape::Nest | Shape::NestBelowParameter => outer.nest(prefix, nested).fallback(say(FALLBACK)),
        Shape::NestService | Shape::NestServiceBelow => {
            outer.nest_service(prefix, nested.fallback(say(below))).fallback(say(FALLBACK))
        }
        Shape::GateInNest => outer.nest(prefix, nested.layer(layer.clone())).fallback(say(OUTSIDE)),
        Shape::GateAroundNest => {
            outer.nest(prefix, layer.around(nested.fallback(say(below))).into()).fallback(say(OUTSIDE))
        }
    };
    match shape {
        Shape::GateInNest | Shape::GateAroundNest => Served::new(outer),
        Shape::Layer => Served::new(outer.layer(layer.clone())),
        _ => Served::new(layer.around(outer)),
    }
}

/// A route's path within a router that is nested at a prefix.
fn inner(prefix: &str, pattern: &str) -> Option<String> {
    let rest = pattern.strip_prefix(prefix)?;
    match rest {
        "" => Some("/".to_owned()),
        rest if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

fn handler(route: &Route) -> MethodRouter {
    let say = say(&route.pattern);
    if route.get { get(say) } else { any(say) }
}

/// A handler that says its name, hex-encoded: a pattern may have letters that a header cannot.
fn say(name: &str) -> impl Fn() -> Ready<Response<Body>> + Clone + Send + Sync + 'static {
    let name = hex(name);
    move || ready(Response::builder().header("x-handler", &name).body(Body::empty()).unwrap())
}

pub(crate) fn hex(name: &str) -> String {
    name.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The name that a header's value says.
pub(crate) fn read(said: &[u8]) -> String {
    let said = std::str::from_utf8(said).unwrap();
    let bytes = (0..said.len()).step_by(2).map(|at| u8::from_str_radix(&said[at..at + 2], 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}

/// A URI of what stands in a request line or in `:path`.
pub(crate) fn uri(target: &str) -> Option<Uri> {
    if target.starts_with('/') || target.starts_with("http") {
        return target.parse().ok();
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// A request of the `http` crate.
pub(crate) fn request<B>(method: &str, target: &str, key: Option<&str>, body: B) -> Option<Request<B>> {
    let mut request = Request::builder().method(method).uri(uri(target)?);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    Some(request.body(body).unwrap())
}

fn send(router: &mut Served, method: &str, target: &str, key: Option<&str>) -> Option<Reached> {
    let request = request(method, target, key, Body::empty())?;
    let answer = router.call(request).now_or_never().unwrap().unwrap();
    Some(Reached(answer.headers().get("x-handler").map(|name| read(name.as_bytes()))))
}
