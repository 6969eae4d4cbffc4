//! One table of scenarios on axum, actix-web and hyper alone, over real sockets, HTTP/1.1 and HTTP/2, with back ends that
//! answer at once and such that answer later: the answers are the same. On tonic, what of it a call can ask for comes to the
//! same, said by codes.
#![cfg(all(feature = "actix-web", feature = "axum"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "tonic")]
mod calls;
mod client;
#[cfg(feature = "tonic")]
mod codec;
#[cfg(feature = "tonic")]
mod play_grpcio;
#[cfg(feature = "tonic")]
mod play_tonic;
mod rows;
mod serve_actix;
mod serve_axum;
mod serve_hyper;
#[cfg(feature = "tonic")]
mod serve_tonic;
use crate::services;
mod fixture;
mod guesser;
use crate::support;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fixture::{Stage, key};
use http::{HeaderName, HeaderValue, Request, Version};
use http_body_util::{BodyExt, Full};
use rows::{BALANCE, Expect, Row, rows};
use support::Answer;
use tollgate::{DenialKind, KeyId};

/// The server's framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framework {
    Axum,
    Actix,
    Hyper,
}

/// One way to run the table.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "named where a row fails")]
struct Run {
    framework: Framework,
    version: Version,
    later: bool,
}

#[tokio::test]
async fn all_frameworks_answer_the_table_alike() {
    let mut first: BTreeMap<&str, (Run, Answer)> = BTreeMap::new();
    for framework in [Framework::Axum, Framework::Actix, Framework::Hyper] {
        for (version, later) in [
            (Version::HTTP_11, false),
            (Version::HTTP_11, true),
            (Version::HTTP_2, false),
            (Version::HTTP_2, true),
        ] {
            let run = Run { framework, version, later };
            let stage = Stage::new(later);
            let address = match framework {
                Framework::Axum => serve_axum::serve(&stage).await,
                Framework::Actix => serve_actix::serve(&stage).await,
                Framework::Hyper => serve_hyper::serve(&stage).await,
            };
            for row in &rows() {
                let Some(answer) = play(&stage, address, run, row).await else { continue };
                match first.get(row.name) {
                    None => drop(first.insert(row.name, (run, answer))),
                    Some((other, same)) => {
                        assert_eq!(&answer, same, "{}: {run:?} and {other:?} differ", row.name);
                    }
                }
            }
        }
    }
}

/// Plays a row, and looks at what became of it: the answer, but for what servers add of their own.
async fn play(stage: &Stage, address: SocketAddr, run: Run, row: &Row) -> Option<Answer> {
    let ids = stage.prepare(row);
    if row.http1_alone && run.version == Version::HTTP_2 {
        return None;
    }
    let spare = ids.map(|(_, spare)| spare);
    for _ in 0..row.before {
        let sent = client::send(address, request(address, run, row, spare)).await;
        assert!(sent.answer.await.unwrap().unwrap().status().is_success(), "{run:?} {}", row.name);
    }
    stage.notes.denials();
    let began = stage.notes.began();
    let sent = client::send(address, request(address, run, row, spare)).await;
    let place = format!("{run:?} {}", row.name);
    let paid = |id: KeyId| BALANCE - stage.world.balance(id);
    if let Expect::Left { paid: price } = row.expect {
        eventually(&place, || stage.notes.began() > began).await;
        sent.connection.abort();
        sent.answer.abort();
        let account = stage.world.account_of(ids?.0);
        if (run.framework, run.version) == (Framework::Actix, Version::HTTP_2) {
            // There a handler works on when its client is gone, whatever the server is told.
            stage.notes.end();
        }
        eventually(&place, || stage.world.ledger.open_charges(&account) == 0).await;
        assert_eq!(paid(ids?.0), price, "{place}");
        return None;
    }
    let (head, body) = sent.answer.await.unwrap().unwrap().into_parts();
    // What comes behind a change of protocol is no body.
    let body = if head.status == 101 {
        Bytes::new()
    } else {
        body.collect().await.unwrap_or_else(|error| panic!("{place}: {error:?}")).to_bytes()
    };
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
    let refused = stage.notes.denials();
    let (status, price, denials) = match row.expect {
        Expect::Served { status, paid } => (status, paid, vec![]),
        Expect::Denied { status, kind } => (status, 0, vec![kind]),
        Expect::Left { .. } => return None,
    };
    assert_eq!((answer.status, &refused), (status, &denials), "{place}: {answer:?}");
    if let Some((id, _)) = ids {
        let account = stage.world.account_of(id);
        assert_eq!((paid(id), stage.world.ledger.open_charges(&account)), (price, 0), "{place}: {answer:?}");
    }
    if !denials.is_empty() {
        answer.check(&[key(row.name)]);
        assert!(row.route.starts_with("HEAD ") == answer.body.is_empty(), "{place}: {answer:?}");
    }
    normalize(&mut answer, denials.is_empty());
    // A new key is unlike any other.
    if answer.status == 201 {
        answer.body.clear();
    }
    Some(answer)
}

fn request(address: SocketAddr, run: Run, row: &Row, spare: Option<KeyId>) -> Request<Full<Bytes>> {
    let fill = |text: &str| {
        let spare = spare.map(|id| id.to_string()).unwrap_or_default();
        text.replace("{key}", &key(row.name)).replace("{spare}", &spare)
    };
    let (method, path) = row.route.split_once(' ').unwrap();
    let uri =
        if run.version == Version::HTTP_2 { format!("http://{address}{}", fill(path)) } else { fill(path) };
    let mut request = Request::new(Full::from(row.body.clone()));
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    *request.version_mut() = run.version;
    if run.version == Version::HTTP_11 {
        request.headers_mut().insert("host", HeaderValue::from_str(&address.to_string()).unwrap());
    }
    request.headers_mut().insert("x-request-id", HeaderValue::from_static("the-same-everywhere"));
    for (name, value) in &row.headers {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, fill(value).parse().unwrap());
    }
    request
}

/// Takes out what each server adds in its own way: the date, how the body is framed and, of its own answers, what kind
/// of text they are.
fn normalize(answer: &mut Answer, served: bool) {
    for name in ["date", "connection", "transfer-encoding", "upgrade"] {
        answer.headers.remove(name);
    }
    if served {
        answer.headers.remove("content-length");
        answer.headers.remove("content-type");
    }
}

async fn eventually(place: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{place}: it never came to hold");
}

#[test]
fn every_kind_of_refusal_is_in_the_table() {
    let expected: HashSet<DenialKind> = rows()
        .iter()
        .filter_map(|row| if let Expect::Denied { kind, .. } = row.expect { Some(kind) } else { None })
        .collect();
    // What is said of several kinds at once; a request that is none, which servers refuse themselves; and a body that does
    // not come, which takes seconds a run: `a_body_that_does_not_come_is_408` in `management_http`.
    // And those that take other requests before or beside them, or another gate: `guesser`, the tests of `in_flight`, and
    // `every_kind`.
    let elsewhere = [
        DenialKind::Unauthorized,
        DenialKind::Forbidden,
        DenialKind::InsecureChannel,
        DenialKind::BudgetExceeded,
        DenialKind::InFlightLimited,
        DenialKind::TooManyAttempts,
        DenialKind::BadRequest,
        DenialKind::BodyTimeout,
    ];
    let absent: Vec<_> = DenialKind::ALL.iter().filter(|kind| !expected.contains(*kind)).collect();
    assert_eq!(absent, elsewhere.iter().collect::<Vec<_>>());
    let names: HashSet<_> = rows().iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows().len(), "two rows have one name");
}
