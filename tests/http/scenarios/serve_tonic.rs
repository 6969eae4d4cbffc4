//! The routes of the table, as methods that tonic serves.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, StreamExt};
use tokio::net::TcpListener;
use tollgate::gate::FinalCost;
use tollgate::{Credits, TollgateLayer};
use tonic::body::Body;
use tonic::codegen::tokio_stream::Stream;
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Response, Status};
use tower::{Service, service_fn};

use crate::scenarios::codec::Text;
use crate::scenarios::fixture::{Notes, Stage};

type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

pub(crate) async fn serve(stage: &Stage) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Methods(stage.notes.clone());
    let mut all = Routes::new(service.clone());
    // No service's method has such a path. The table's public routes are served all the same.
    let router = std::mem::take(all.axum_router_mut());
    let router = router.route_service("/open", service.clone());
    *all.axum_router_mut() = router.route_service("/status", service);
    let mut server = Server::builder().layer(TollgateLayer::new(stage.gate.clone()));
    tokio::spawn(server.add_routes(all).serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A stand-in for code generated from a service's description: it finds the method by the path, and leaves the rest to tonic.
#[derive(Debug, Clone)]
struct Methods(Notes);

impl NamedService for Methods {
    const NAME: &'static str = "v1";
}

impl<B> Service<http::Request<B>> for Methods
where
    B: http_body::Body<Error: Into<tower::BoxError> + Send> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (notes, path) = (self.0.clone(), request.uri().path().to_owned());
        let method = service_fn(move |_: tonic::Request<String>| answer(path.clone(), notes.clone()));
        Box::pin(async { Ok(Grpc::new(Text).server_streaming(method, request).await) })
    }
}

/// A call with one answer is a stream of one message.
async fn answer(path: String, notes: Notes) -> Result<Response<Messages>, Status> {
    let say = |texts: &[&str]| -> Messages {
        let texts: Vec<_> = texts.iter().map(|text| Ok((*text).to_owned())).collect();
        Box::pin(stream::iter(texts))
    };
    let mut response = Response::new(match &*path {
        "/open" => say(&["open"]),
        "/status" => say(&["status"]),
        "/v1/data" | "/v1/final" => say(&["data"]),
        "/v1/stream" => say(&["one ", "two ", "three"]),
        "/v1/fails" => return Err(Status::internal("as the table asks")),
        "/v1/lost" => return Err(Status::not_found("as the table asks")),
        "/v1/slow" => {
            notes.work().await;
            say(&["late"])
        }
        "/v1/endless" => {
            let rest = stream::once(async move {
                notes.work().await;
                Err(Status::internal("nobody is left to read it"))
            });
            Box::pin(say(&["one "]).chain(rest))
        }
        "/v1/free" | "/v1/scoped" | "/v1/paid" | "/v1/bulk" | "/v1/rare" | "/v1/weighed" | "/v1/ticker" => {
            say(&["served"])
        }
        _ => return Err(Status::unimplemented("")),
    });
    if path == "/v1/final" {
        response.extensions_mut().insert(FinalCost(Credits::new(4)));
    }
    Ok(response)
}
