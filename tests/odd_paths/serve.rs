//! The routes, on each framework: every handler says which it is.

use std::future::ready;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix_web::http::KeepAlive;
use actix_web::{App, HttpResponse, HttpServer, web};
use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tollgate::{Gate, TollgateLayer, TollgateTransform};
use tower::service_fn;

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
    Axum,
    Actix,
    Hyper,
}

impl Framework {
    pub(crate) const ALL: [Self; 3] = [Self::Axum, Self::Actix, Self::Hyper];
}

/// The handler that was reached last: over HTTP/2 its answer is not read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached(Arc<Mutex<Option<&'static str>>>);

impl Reached {
    fn note(&self, name: &'static str) {
        *self.0.lock().unwrap() = Some(name);
    }

    /// What its answer said, if one was reached since this was asked for last.
    pub(crate) fn take(&self) -> HeaderMap {
        let name = self.0.lock().unwrap().take();
        name.map(|name| ("x-handler".parse().unwrap(), HeaderValue::from_static(name))).into_iter().collect()
    }
}

pub(crate) async fn serve(framework: Framework, gate: &Gate, reached: Reached) -> Server {
    match framework {
        Framework::Axum => Server::plain(TollgateLayer::new(gate.clone()).around(router(&reached))).await,
        Framework::Hyper => {
            Server::gated(gate, service_fn(move |request| ready(Ok(bare(&request, &reached))))).await
        }
        Framework::Actix => actix(gate.clone(), reached).await,
    }
}

fn say(name: &'static str, reached: &Reached) -> Response<Body> {
    reached.note(name);
    Response::builder().header("x-handler", name).body(Body::empty()).unwrap()
}

fn router(reached: &Reached) -> Router {
    let handler = |name: &'static str| {
        let reached = reached.clone();
        any(move || ready(say(name, &reached)))
    };
    let routes = ROUTES.iter().chain(&[("open", "/open")]);
    let app = routes.fold(Router::new(), |app, (name, path)| app.route(path, handler(name)));
    app.fallback(handler("fallback"))
}

/// A service that compares the path as it is.
fn bare(request: &Request<Incoming>, reached: &Reached) -> Response<Body> {
    let path = request.uri().path();
    let name = match path {
        "/" => "root",
        "/open" => "open",
        "/v1/admin" => "admin",
        "/v1/data" => "list",
        _ => match (path.strip_prefix("/v1/data/"), path.strip_prefix("/v1/files/")) {
            (Some(id), _) if !id.is_empty() && !id.contains('/') => "item",
            (_, Some(rest)) if !rest.is_empty() => "file",
            _ => "fallback",
        },
    };
    say(name, reached)
}

async fn actix(gate: Gate, reached: Reached) -> Server {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let app = App::new().wrap(TollgateTransform::new(gate.clone()));
                let handler = |name: &'static str| {
                    let reached = reached.clone();
                    web::to(move || {
                        reached.note(name);
                        ready(HttpResponse::Ok().insert_header(("x-handler", name)).finish())
                    })
                };
                let app = ROUTES.iter().chain(&[("open", "/open")]).fold(app, |app, (name, path)| {
                    app.route(&path.replace("{*rest}", "{rest:.+}"), handler(name))
                });
                app.default_service(handler("fallback"))
            });
            // A connection that is refused is closed at once.
            let server = server.keep_alive(KeepAlive::Disabled).client_disconnect_timeout(Duration::ZERO);
            let server = server.workers(1).disable_signals().bind_auto_h2c("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    Server(tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap())
}
