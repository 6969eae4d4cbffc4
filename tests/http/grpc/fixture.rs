//! A tonic server behind a gate, and clients for it.

use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::net::TcpListener;
use tollgate::gate::CostMeter;
use tollgate::key::Length;
use tollgate::rule::ScopeRule;
use tollgate::{Gate, GateBuilder, KeyFormat, KeySource, Principal, Rule, TollgateLayer};
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Code, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::support::World;

pub(crate) const KEY: &str = "acme_0123456789abcdef0123456789abcdef";
pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// A service that does what it is asked to: `code:13` fails with that code, `cost:2` says what it cost, `after:3:13`
/// streams that many messages before it fails with that code, `stay` streams one and then nothing, `panic` panics.
/// `metered:3:0` streams messages of which each costs 7 credits.
#[derive(Debug, Clone)]
pub(crate) struct Obedient(World);

type Messages = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

fn message() -> HealthCheckResponse {
    HealthCheckResponse { status: 1 }
}

fn failure(code: &str) -> Status {
    Status::new(Code::from_i32(code.parse().unwrap()), "as asked for")
}

#[tonic::async_trait]
impl Health for Obedient {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.inner.count();
        let mut response = Response::new(message());
        if let Some(caller) = request.extensions().get::<Principal>() {
            response.metadata_mut().insert("caller", caller.account().id.as_str().parse().unwrap());
        }
        match request.get_ref().service.split_once(':') {
            Some(("code", code)) => Err(failure(code)),
            Some(("cost", cost)) => {
                let cost = tollgate::Credits::new(cost.parse().unwrap());
                response.extensions_mut().insert(tollgate::gate::FinalCost(cost));
                Ok(response)
            }
            _ => Ok(response),
        }
    }

    type WatchStream = Messages;

    async fn watch(&self, request: tonic::Request<HealthCheckRequest>) -> Result<Response<Messages>, Status> {
        self.0.inner.count();
        let meter = request.extensions().get::<CostMeter>().cloned();
        let asked = request.into_inner().service;
        let words: Vec<&str> = asked.split(':').collect();
        Ok(Response::new(match words.as_slice() {
            ["after", count, code] => {
                let messages = std::iter::repeat_n(Ok(message()), count.parse().unwrap());
                let end = (*code != "0").then(|| Err(failure(code)));
                Box::pin(tokio_stream::iter(messages.chain(end).collect::<Vec<_>>()))
            }
            ["metered", count, code] => {
                let meter = meter.unwrap();
                let messages = (0..count.parse::<u32>().unwrap()).map(move |_| {
                    meter.add(tollgate::Credits::new(7));
                    Ok(message())
                });
                let stays = *code == "stay";
                let end = (!stays && *code != "0").then(|| Err(failure(code)));
                let ending = tokio_stream::iter(messages).chain(tokio_stream::iter(end));
                if stays { Box::pin(ending.chain(tokio_stream::pending())) } else { Box::pin(ending) }
            }
            ["stay"] => Box::pin(tokio_stream::once(Ok(message())).chain(tokio_stream::pending())),
            ["panic"] => Box::pin(tokio_stream::once(()).map(|()| panic!("as asked for"))),
            _ => return Err(failure(words[1])),
        }))
    }
}

/// A gate for gRPC: keys in two places of the metadata, two credits a call to the service.
pub(crate) fn builder(world: &World) -> GateBuilder {
    let mut rule = Rule::new("/grpc.health.v1.Health/*").unwrap();
    rule.cost = tollgate::rule::Cost::Fixed(tollgate::Credits::new(2));
    rule.scopes = ScopeRule::AnyOf(vec!["health:read".into()]);
    with_rule(world, rule)
}

/// A gate for gRPC with another rule.
pub(crate) fn with_rule(world: &World, rule: Rule) -> GateBuilder {
    world
        .bare()
        .source(KeySource::header("x-api-key").unwrap())
        .source(KeySource::authorization("Bearer").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .rule(rule)
}

/// Serves behind a gate, on a port of its own; the server ends with the test's runtime.
pub(crate) async fn serve(world: &World, gate: Gate) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = HealthServer::new(Obedient(world.clone()));
    let server = Server::builder().accept_http1(true).layer(TollgateLayer::new(gate)).add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

pub(crate) fn service(world: &World) -> HealthServer<Obedient> {
    HealthServer::new(Obedient(world.clone()))
}

pub(crate) async fn client(address: SocketAddr) -> HealthClient<Channel> {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    HealthClient::new(channel)
}

/// A request for what the service is to do, with metadata.
pub(crate) fn ask(what: &str, metadata: &[(&'static str, &str)]) -> tonic::Request<HealthCheckRequest> {
    let mut request = tonic::Request::new(HealthCheckRequest { service: what.to_owned() });
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// The head of an answer as it stands on the wire, and whether the stream ends with it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) is_all: bool,
    pub(crate) body: Bytes,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends a request with an empty message by the `h2` crate, which knows nothing of gRPC.
pub(crate) async fn raw(address: SocketAddr, request: Request<()>) -> Head {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (response, mut message) = client.ready().await.unwrap().send_request(request, false).unwrap();
    message.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let (parts, mut body) = response.await.unwrap().into_parts();
    let is_all = body.is_end_stream();
    let mut read = Vec::new();
    while let Some(chunk) = body.data().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    Head { status: parts.status.as_u16(), headers: parts.headers, is_all, body: read.into() }
}

/// A POST with these headers.
pub(crate) fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::post(format!("http://{address}{path}"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}
