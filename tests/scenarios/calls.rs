//! The table's refusals, asked for as gRPC calls: the decisions are the same, and only their form is gRPC's.

use http::Version;
use http_body_util::BodyExt;
use tollgate::DenialKind as Kind;

use super::{BALANCE, Expect, Framework, Row, Run, Stage, client, request, rows, serve_axum, serve_hyper};

/// The code of each kind that the gate itself refuses with.
fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing
        | Kind::Malformed
        | Kind::Duplicate
        | Kind::InvalidFormat
        | Kind::Unknown
        | Kind::Revoked
        | Kind::Paused
        | Kind::Expired
        | Kind::AddressNotAllowed => "16",
        Kind::NotGranted
        | Kind::ScopeRequired
        | Kind::PlanRequired
        | Kind::SubscriptionRequired
        | Kind::AgreementRequired
        | Kind::AccountSuspended
        | Kind::AccountDeleted => "7",
        Kind::RateLimited | Kind::CreditsExhausted => "8",
        Kind::ParameterAboveCap | Kind::ParameterForbidden | Kind::ParameterUnreadable => "3",
        Kind::MethodNotAllowed => "12",
        Kind::Unavailable | Kind::TooEarly => "14",
        Kind::Misconfigured => "13",
        other => panic!("the gate alone does not refuse with {other:?}"),
    }
}

/// The rows that the gate refuses by itself: what it manages is asked for over HTTP.
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
async fn a_refused_call_is_refused_for_the_same_reason() {
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
            // What is not posted is no call, whatever its content type says.
            if row.route.starts_with("POST ") {
                assert_eq!(form, (200, Some("application/grpc"), Some(code(kind))), "{run:?} {}", row.name);
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
