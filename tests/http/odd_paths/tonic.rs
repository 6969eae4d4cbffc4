//! The routes as methods of a service that tonic serves.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::body::Body;
use http::{HeaderValue, Request, Response};
use tokio::net::TcpListener;
use tollgate::{Gate, TollgateLayer};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tower::Service;

use crate::odd_paths::serve::{Reached, by_path, say};
use crate::support::wire::Server;

pub(crate) async fn serve(gate: &Gate, reached: Reached) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let methods = Methods(reached);
    let mut all = Routes::new(methods.clone());
    // What is no method of the service is noted too.
    let router = std::mem::take(all.axum_router_mut());
    *all.axum_router_mut() = router.fallback_service(methods);
    let server = tonic::transport::Server::builder().accept_http1(true);
    let server = server.layer(TollgateLayer::new(gate.clone())).add_routes(all);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Server(address)
}

/// It compares the path as it is, as code that is made from a service's description does.
#[derive(Debug, Clone)]
struct Methods(Reached);

impl NamedService for Methods {
    const NAME: &'static str = "v1";
}

impl<B> Service<Request<B>> for Methods {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut response = say(by_path(request.uri().path()), &self.0);
        // An answer without a status is none to a call, and costs nothing.
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
        ready(Ok(response))
    }
}
