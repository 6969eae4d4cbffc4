//! The routes, on each framework: every handler says which it is.

use std::future::ready;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::{MethodRouter, any};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tollgate::{Gate, TollgateLayer};
use tower::service_fn;

use crate::odd_paths::on_actix;
#[cfg(feature = "tonic")]
use crate::odd_paths::on_tonic;
use crate::support::wire::Server;

/// The routes that cost something, and the rules for them.
pub(crate) const ROUTES: &[(&str, &str)] = &[
    ("root", "/"),
    ("admin", "/v1/admin"),
    ("list", "/v1/data"),
    ("item", "/v1/data/{id}"),
    ("file", "/v1/files/{*rest}"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framework {
    /// The gate around a router of axum's.
    Axum,
    /// The gate within a nested router: what lies below `/v1` is behind it.
    Nest,
    /// The gate around an app of actix-web's.
    Actix,
    /// The gate around a scope: what lies below `/v1` is behind it.
    Scope,
    Hyper,
    /// The gate around a tonic server, with a service whose name is `v1`.
    #[cfg(feature = "tonic")]
    Tonic,
}

impl Framework {
    pub(crate) const ALL: &[Self] = &[
        Self::Axum,
        Self::Nest,
        Self::Actix,
        Self::Scope,
        Self::Hyper,
        #[cfg(feature = "tonic")]
        Self::Tonic,
    ];

    /// Returns true if the server serves gRPC calls.
    pub(crate) fn has_calls(self) -> bool {
        #[cfg(feature = "tonic")]
        return self == Self::Tonic;
        #[cfg(not(feature = "tonic"))]
        false
    }

    /// The routes that it has: where the gate stands within, what lies beside it is not its matter.
    pub(crate) fn routes(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let is_within = matches!(self, Self::Nest | Self::Scope);
        ROUTES.iter().filter(move |(_, path)| !is_within || path.starts_with("/v1/"))
    }
}

/// The handler that was reached last: over HTTP/2 its answer is not read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached(Arc<Mutex<Option<&'static str>>>);

impl Reached {
    pub(crate) fn note(&self, name: &'static str) {
        *self.0.lock().unwrap() = Some(name);
    }

    /// Returns the headers of the last answer, if a handler was reached since the last call.
    pub(crate) fn take(&self) -> HeaderMap {
        let name = self.0.lock().unwrap().take();
        name.map(|name| ("x-handler".parse().unwrap(), HeaderValue::from_static(name))).into_iter().collect()
    }
}

pub(crate) async fn serve(framework: Framework, gate: &Gate, reached: Reached) -> Server {
    match framework {
        Framework::Nest => Server::plain(nested(gate, &reached)).await,
        #[cfg(feature = "tonic")]
        Framework::Tonic => on_tonic::serve(gate, reached).await,
        Framework::Axum => Server::plain(TollgateLayer::new(gate.clone()).around(router(&reached))).await,
        Framework::Hyper => {
            Server::gated(gate, service_fn(move |request| ready(Ok(bare(&request, &reached))))).await
        }
        Framework::Actix | Framework::Scope => on_actix::serve(framework, gate.clone(), reached).await,
    }
}

pub(crate) fn say(name: &'static str, reached: &Reached) -> Response<Body> {
    reached.note(name);
    Response::builder().header("x-handler", name).body(Body::empty()).unwrap()
}

fn handler(name: &'static str, reached: &Reached) -> MethodRouter {
    let reached = reached.clone();
    any(move || ready(say(name, &reached)))
}

fn router(reached: &Reached) -> Router {
    let routes = ROUTES.iter().chain(&[("open", "/open")]);
    let app = routes.fold(Router::new(), |app, (name, path)| app.route(path, handler(name, reached)));
    app.fallback(handler("fallback", reached))
}

/// The nested router would show `/v1` as `/`, which has another rule.
fn nested(gate: &Gate, reached: &Reached) -> Router {
    let below = Framework::Nest.routes().fold(Router::new(), |below, (name, path)| {
        below.route(path.strip_prefix("/v1").unwrap_or_default(), handler(name, reached))
    });
    let below = below.route("/", handler("fallback", reached)).fallback(handler("fallback", reached));
    let gated = below.layer(TollgateLayer::new(gate.clone()));
    Router::new().nest("/v1", gated).route("/open", handler("open", reached))
}

/// A service that compares the path as it is.
fn bare(request: &Request<Incoming>, reached: &Reached) -> Response<Body> {
    say(by_path(request.uri().path()), reached)
}

/// The route of a path, byte for byte.
pub(crate) fn by_path(path: &str) -> &'static str {
    match path {
        "/" => "root",
        "/open" => "open",
        "/v1/admin" => "admin",
        "/v1/data" => "list",
        _ => match (path.strip_prefix("/v1/data/"), path.strip_prefix("/v1/files/")) {
            (Some(id), _) if !id.is_empty() && !id.contains('/') => "item",
            (_, Some(rest)) if !rest.is_empty() => "file",
            _ => "fallback",
        },
    }
}
