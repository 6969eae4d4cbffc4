//! The client: 64 connections, each with one request in flight.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use super::{MEASURED, Protocol, Server};
use crate::harness::world::{ROUTE, Traffic};

const CONNECTIONS: usize = 64;

/// The time before a measurement, in which the connections are opened and the caches are filled.
const UNMEASURED: Duration = Duration::from_millis(100);

/// Returns the number of requests that a server answered during the measurement, and its processor time.
pub(crate) fn drive(server: &Server, protocol: Protocol, spread: usize) -> (f64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answered = Rc::new(Cell::new(0_u32));
    let traffic = Rc::new(RefCell::new(Traffic::uniform(spread)));
    LocalSet::new().block_on(&runtime, async {
        for _ in 0..CONNECTIONS {
            let connection = Connection { traffic: Rc::clone(&traffic), answered: Rc::clone(&answered) };
            match protocol {
                Protocol::Http => spawn_local(connection.http(server.address)),
                Protocol::Grpc => spawn_local(connection.grpc(server.address)),
            };
        }
        sleep(UNMEASURED).await;
        let before = (answered.get(), server.processor_time());
        sleep(MEASURED).await;
        (f64::from(answered.get() - before.0), server.processor_time().saturating_sub(before.1))
    })
}

/// The requests of one connection.
struct Connection {
    traffic: Rc<RefCell<Traffic>>,
    answered: Rc<Cell<u32>>,
}

impl Connection {
    fn key(&self) -> String {
        self.traffic.borrow_mut().next().expect("every request has a key")
    }

    async fn http(self, address: SocketAddr) {
        let mut stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        let mut response = [0; 2_048];
        loop {
            let request = format!(
                "GET {ROUTE} HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: acme-client/1.4\r\n\
                 accept: application/json\r\naccept-encoding: gzip, br\r\nx-api-key: {}\r\n\r\n",
                self.key()
            );
            stream.write_all(request.as_bytes()).await.expect("the server reads");
            let mut length = 0;
            // All servers answer with this body.
            while !response[..length].ends_with(b"\r\n\r\n[]") {
                let read = stream.read(&mut response[length..]).await.expect("the server answers");
                assert_ne!(
                    read,
                    0,
                    "the response is whole and short: {:?}",
                    response[..length].utf8_chunks()
                );
                length += read;
            }
            assert!(response.starts_with(b"HTTP/1.1 200"), "the request is served");
            self.answered.set(self.answered.get() + 1);
        }
    }

    async fn grpc(self, address: SocketAddr) {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("the server speaks HTTP/2");
        spawn_local(connection);
        loop {
            let request = http::Request::post("http://api.example.com/grpc.health.v1.Health/Check")
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .header("user-agent", "acme-client/1.4 tonic/0.14")
                .header("x-api-key", self.key())
                .body(())
                .expect("the call is well-formed");
            client = client.ready().await.expect("the server takes calls");
            let (response, mut message) = client.send_request(request, false).expect("the server reads");
            message.send_data(Bytes::from_static(&[0; 5]), true).expect("the server reads");
            let mut body = response.await.expect("the server answers").into_body();
            while let Some(data) = body.data().await {
                let length = data.expect("the server answers").len();
                body.flow_control().release_capacity(length).expect("the capacity was used");
            }
            let trailers = body.trailers().await.expect("the server answers").expect("the call has a status");
            assert_eq!(trailers["grpc-status"], "0", "the call is served");
            self.answered.set(self.answered.get() + 1);
        }
    }
}
