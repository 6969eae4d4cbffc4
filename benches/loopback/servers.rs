//! The servers.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web, web::ServiceConfig};
use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tollgate::{Gate, TollgateLayer, TollgateTransform};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;
use tower::Service;
use tower::layer::layer_fn;

use crate::harness::health::Up;
use crate::harness::world::{self, KEYS};
use crate::harness::{self, handwritten, off_the_shelf};

/// Serves a stack on a free port, prints the address, and ends at the end of standard input.
pub(crate) fn serve(name: &str) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    match name {
        "actix_bare" | "actix" => actix_web::rt::System::new().block_on(actix(name == "actix")),
        "tonic_bare" | "tonic" => block_on(tonic(name == "tonic")),
        _ => block_on(axum(name)),
    }
}

fn block_on(server: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(server);
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    listener
}

fn gate() -> Gate {
    harness::gate::with_keys(KEYS).without_principal().build().expect("the gate is complete")
}

async fn axum(name: &str) {
    let router = match name {
        "bare" => axum_routes(),
        "layer" => axum_routes().layer(layer_fn(Nothing)),
        "handwritten" => handwritten::around(axum_routes(), KEYS),
        "bearer_governor" => off_the_shelf::around(axum_routes(), KEYS),
        "tollgate" => {
            let gated = TollgateLayer::new(gate()).around(axum_routes());
            let service = gated.into_make_service_with_connect_info::<SocketAddr>();
            return axum::serve(listen().await, service).await.expect("it serves");
        }
        _ => panic!("there is no server `{name}`"),
    };
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listen().await, service).await.expect("it serves");
}

/// The paths of nine routes; `POST /v1/backtests` is the tenth.
const GETS: [&str; 9] = [
    "/health",
    "/v1/candles/{symbol}",
    "/v1/quotes/{symbol}",
    "/v1/trades/{symbol}",
    "/v1/symbols",
    "/v1/symbols/{symbol}",
    "/v1/news",
    "/v1/news/{id}",
    "/v1/backtests/{id}",
];

fn axum_routes() -> Router {
    let routes = GETS.iter().fold(Router::new(), |router, path| router.route(path, get(world::handler)));
    routes.route("/v1/backtests", post(world::handler))
}

/// The service of a layer that does nothing.
#[derive(Clone)]
struct Nothing<S>(S);

impl<S: Service<R>, R> Service<R> for Nothing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

async fn actix(is_gated: bool) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let served = if is_gated {
        let gate = gate();
        let app = move || App::new().configure(actix_routes).wrap(TollgateTransform::new(gate.clone()));
        HttpServer::new(app).workers(1).listen(listener).expect("it listens").run().await
    } else {
        let app = || App::new().configure(actix_routes);
        HttpServer::new(app).workers(1).listen(listener).expect("it listens").run().await
    };
    served.expect("it serves");
}

fn actix_routes(app: &mut ServiceConfig) {
    for path in GETS {
        app.route(path, web::get().to(actix_handler));
    }
    app.route("/v1/backtests", web::post().to(actix_handler));
}

async fn actix_handler() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body("[]")
}

async fn tonic(is_gated: bool) {
    let incoming = TcpIncoming::from(listen().await);
    let health = HealthServer::new(Up);
    let served = if is_gated {
        let mut server = Server::builder().layer(TollgateLayer::new(gate()));
        server.add_service(health).serve_with_incoming(incoming).await
    } else {
        Server::builder().add_service(health).serve_with_incoming(incoming).await
    };
    served.expect("it serves");
}
