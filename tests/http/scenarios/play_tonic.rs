//! A real tonic client asks a real tonic server for every row that is a call.

use std::net::SocketAddr;

use tollgate::KeyId;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::calls::{asked, calls, code};
use super::codec::Text;
use super::{BALANCE, Expect, Row, Stage, eventually, key, serve_tonic};

async fn connect(address: SocketAddr) -> Grpc<Channel> {
    Grpc::new(Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

/// Calls, and reads the messages to the end.
async fn call(address: SocketAddr, row: &Row) -> Result<Vec<String>, Status> {
    let mut client = connect(address).await;
    client.ready().await.unwrap();
    let (request, path) = request(row);
    if !row.route.contains("/v1/stream") {
        return Ok(vec![client.unary(request, path, Text).await?.into_inner()]);
    }
    let mut stream = client.server_streaming(request, path, Text).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await {
        messages.push(message?);
    }
    Ok(messages)
}

fn request(row: &Row) -> (Request<String>, http::uri::PathAndQuery) {
    let (path, metadata) = asked(row);
    let mut request = Request::new(row.body.clone());
    request.metadata_mut().insert("x-request-id", "the-same-everywhere".parse().unwrap());
    for (name, value) in metadata {
        request.metadata_mut().append(name, value.parse().unwrap());
    }
    (request, path.parse().unwrap())
}

/// Waits until the row's charge has ended, and looks at what it came to.
async fn paid(stage: &Stage, place: &str, id: KeyId, price: u64) {
    let account = stage.world.account_of(id);
    eventually(place, || stage.world.ledger.open_charges(&account) == 0).await;
    assert_eq!(BALANCE - stage.world.balance(id), price, "{place}");
}

#[tokio::test]
async fn tonic_client_reads_the_same_table() {
    for later in [false, true] {
        let stage = Stage::of_calls(later);
        let address = serve_tonic::serve(&stage).await;
        for row in calls() {
            let ids = stage.prepare(&row);
            let place = format!("{} later: {later}", row.name);
            for _ in 0..row.before {
                assert!(call(address, &row).await.is_ok(), "{place}");
            }
            stage.notes.denials();
            let price = match row.expect {
                Expect::Left { paid } => {
                    leave(&stage, address, &row).await;
                    paid
                }
                expected => judge(&stage, expected, &place, &row, call(address, &row).await),
            };
            if let Some((id, _)) = ids {
                paid(&stage, &place, id, price).await;
            }
        }
    }
}

/// Checks what a row is answered; its price.
fn judge(
    stage: &Stage,
    expected: Expect,
    place: &str,
    row: &Row,
    answer: Result<Vec<String>, Status>,
) -> u64 {
    let (code, denials, price) = match expected {
        Expect::Served { status, paid } => (of_handler(status), vec![], paid),
        Expect::Denied { kind, .. } => (code(kind), vec![kind], 0),
        Expect::Left { .. } => panic!("{place}: nobody is left to be answered"),
    };
    assert_eq!(answer.as_ref().err().map_or(Code::Ok, Status::code), code, "{place}: {answer:?}");
    assert_eq!(stage.notes.denials(), denials, "{place}");
    match answer {
        Ok(messages) if row.route.contains("/v1/stream") => assert_eq!(messages.concat(), "one two three"),
        Ok(messages) => assert_eq!(messages.len(), 1, "{place}"),
        Err(status) if denials.is_empty() => assert_eq!(status.message(), "as the table asks", "{place}"),
        Err(status) => {
            let told = status.metadata().get("x-request-id").map(|id| id.to_str().unwrap());
            assert_eq!(told, Some("the-same-everywhere"), "{place}");
            assert!(!status.message().is_empty(), "{place}");
            assert!(!format!("{status:?}").contains(&key(row.name)), "{place}: {status:?}");
        }
    }
    price
}

/// Returns the gRPC code of a handler that would answer with this status elsewhere.
fn of_handler(status: u16) -> Code {
    match status {
        200 => Code::Ok,
        404 => Code::NotFound,
        500 => Code::Internal,
        other => panic!("no handler of a call says {other}"),
    }
}

/// Leaves while the handler is at work: before its answer, or behind a first message.
async fn leave(stage: &Stage, address: SocketAddr, row: &Row) {
    let began = stage.notes.began();
    let mut client = connect(address).await;
    client.ready().await.unwrap();
    let (request, path) = request(row);
    if row.route.contains("/v1/endless") {
        let mut stream = client.server_streaming(request, path, Text).await.unwrap().into_inner();
        assert_eq!(stream.next().await.unwrap().unwrap(), "one ");
        eventually(row.name, || stage.notes.began() > began).await;
        return;
    }
    let asking = tokio::spawn(async move { client.unary(request, path, Text).await });
    eventually(row.name, || stage.notes.began() > began).await;
    asking.abort();
}
