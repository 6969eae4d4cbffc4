//! The table as gRPC calls: which rows are such, and what becomes of each.

use http::Version;
use http_body_util::BodyExt;
use tollgate::DenialKind as Kind;
use tonic::Code;

use super::{BALANCE, Expect, Framework, Row, Run, Stage, client, request, rows, serve_axum, serve_hyper};

/// The code of each kind that the gate itself refuses with.
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::Missing
        | Kind::Malformed
        | Kind::Duplicate
        | Kind::InvalidFormat
        | Kind::Unknown
        | Kind::Revoked
        | Kind::Paused
        | Kind::Expired
        | Kind::AddressNotAllowed => Code::Unauthenticated,
        Kind::NotGranted
        | Kind::RouteDenied
        | Kind::ScopeRequired
        | Kind::PlanRequired
        | Kind::SubscriptionRequired
        | Kind::AgreementRequired
        | Kind::AccountSuspended
        | Kind::AccountDeleted => Code::PermissionDenied,
        Kind::RateLimited | Kind::TooManyAttempts | Kind::CreditsExhausted => Code::ResourceExhausted,
        Kind::ParameterAboveCap
        | Kind::ParameterForbidden
        | Kind::ParameterUnreadable
        | Kind::WeightTooLarge => Code::InvalidArgument,
        Kind::MethodNotAllowed => Code::Unimplemented,
        Kind::Unavailable | Kind::TooEarly => Code::Unavailable,
        Kind::Misconfigured | Kind::Internal => Code::Internal,
        other => panic!("the gate alone does not refuse with {other:?}"),
    }
}

/// The rows that a client of gRPC can ask for: it knows one method, and what the gate manages is asked for over HTTP.
pub(crate) fn calls() -> impl Iterator<Item = Row> {
    let is_call = |row: &Row| {
        let (method, path) = row.route.split_once(' ').unwrap();
        matches!(method, "GET" | "POST") && !path.starts_with("/account/") && !row.http1_alone
    };
    rows().into_iter().filter(is_call).map(|mut row| {
        let is_early = row.headers.iter().any(|(name, _)| *name == "early-data");
        if is_early {
            // Nobody knows of a call that it does no harm when it is replayed: its method is POST.
            row.expect = Expect::Denied { status: 425, kind: Kind::TooEarly };
        }
        row
    })
}

/// The path of a row's call, and its metadata.
pub(crate) fn asked(row: &Row) -> (String, Vec<(&'static str, String)>) {
    let fill = |text: &str| text.replace("{key}", &super::key(row.name));
    let (_, path) = row.route.split_once(' ').unwrap();
    (fill(path), row.headers.iter().map(|(name, value)| (*name, fill(value))).collect())
}

/// The rows that the gate refuses by itself, written as calls, whatever their method is.
fn refusals() -> impl Iterator<Item = (Row, Kind)> {
    rows().into_iter().filter(|row| !row.route.contains("/account/") && !row.http1_alone).filter_map(
        |mut row| {
            let Expect::Denied { kind, .. } = row.expect else { return None };
            row.headers.push(("content-type", "application/grpc"));
            Some((row, kind))
        },
    )
}

#[tokio::test]
async fn refused_call_has_the_same_reason() {
    for (framework, later) in [(Framework::Axum, false), (Framework::Axum, true), (Framework::Hyper, false)] {
        let run = Run { framework, version: Version::HTTP_2, later };
        let stage = Stage::new(later);
        let address = match framework {
            Framework::Hyper => serve_hyper::serve(&stage).await,
            _ => serve_axum::serve(&stage).await,
        };
        for (row, kind) in refusals() {
            let ids = stage.prepare(&row);
            for _ in 0..row.before {
                let sent = client::send(address, request(address, run, &row, None)).await;
                assert!(!sent.answer.await.unwrap().unwrap().headers().contains_key("grpc-status"));
            }
            stage.notes.denials();
            let sent = client::send(address, request(address, run, &row, None)).await;
            let (head, body) = sent.answer.await.unwrap().unwrap().into_parts();
            let told = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
            let form = (head.status.as_u16(), told("content-type"), told("grpc-status"));
            let code = (code(kind) as i32).to_string();
            // What is not posted is no call, whatever its content type says.
            if row.route.starts_with("POST ") {
                assert_eq!(form, (200, Some("application/grpc"), Some(&*code)), "{run:?} {}", row.name);
                assert!(body.collect().await.unwrap().to_bytes().is_empty(), "{}", row.name);
            } else {
                assert_eq!(
                    (form.1, form.2),
                    (Some("application/problem+json"), None),
                    "{run:?} {}",
                    row.name
                );
            }
            assert_eq!(stage.notes.denials(), [kind], "{}", row.name);
            if let Some((id, _)) = ids {
                assert_eq!(stage.world.balance(id), BALANCE, "{}", row.name);
            }
        }
    }
}
