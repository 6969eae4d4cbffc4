//! The gate's behaviour for gRPC calls. This module contains only documentation.
//!
//! # Example
//!
//! ```
//! use http::Request;
//! use tollgate::{Config, RequestView, TollgateLayer};
//! use tonic::transport::Server;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = r#"
//!     sources = [{ header = "x-api-key" }]
//!     formats = [{ prefix = "acme_", body = 32 }]
//!     rules = [{ route = "/grpc.health.v1.Health/*", scope = "health:read" }]
//! "#;
//! let gate = Config::from_toml(config, "gate.toml")?.builder()?.build()?;
//! let call = Request::post("/grpc.health.v1.Health/Check").header("content-type", "application/grpc").body(())?;
//! let denial = gate.admit(&RequestView::of(&call)).await.unwrap_err();
//! // 16 is `UNAUTHENTICATED`.
//! assert_eq!(gate.response(&RequestView::of(&call), &denial).headers()["grpc-status"], "16");
//!
//! let (_reporter, health) = tonic_health::server::health_reporter();
//! let server = Server::builder().layer(TollgateLayer::new(gate)).add_service(health);
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Calls
//!
//! A request is a gRPC call if its method is `POST` and its content type is `application/grpc`, `application/grpc-web`
//! or `application/grpc-web-text`, alone or followed by `+` or `;` and more. The user agent and the path do not matter.
//! One port may therefore serve both REST and gRPC, and each client gets denials in its own form. The errors of key
//! management are an exception: they are JSON for every client.
//!
//! # Rules and keys
//!
//! A method is a path, `/package.Service/Method`. A pattern that ends in `/*` matches all methods of a service. A call
//! is a `POST`, which a rule may name or omit. Health checks and reflection are services like any other: they are
//! public if a rule makes them public. Metadata contains keys as headers do. Binary metadata (`x-api-key-bin`) is not
//! read.
//!
//! ```toml
//! sources = [{ header = "x-api-key" }, { authorization = "Bearer" }]
//! formats = [{ prefix = "acme_", body = 32 }]
//! rules = [
//!     { route = "/grpc.health.v1.Health/Check", public = true },
//!     { route = "/acme.quotes.v1.Quotes/*", scope = "quotes:read", cost = 1 },
//!     { route = "/acme.quotes.v1.Quotes/Export", scope = "quotes:export", cost = 50 },
//! ]
//! ```
//!
//! # In front of a server
//!
//! [`TollgateLayer`](crate::adapter::TollgateLayer) is put around the whole server. Handlers find the
//! [`Principal`](crate::gate::Principal) in the extensions of their `tonic::Request`. They may insert a
//! [`FinalCost`](crate::gate::FinalCost) into the extensions of their `tonic::Response`. A tonic server without TLS
//! knows the peer's address. With TLS, insert a [`Peer`](crate::adapter::Peer) into the request's extensions in a layer
//! outside the gate.
//!
//! # Denials
//!
//! The response to a denied call has HTTP status 200, `grpc-status` and `grpc-message` in the head, and no body. The
//! code depends on the kind of the denial:
//!
//! | kinds, with those below them | code |
//! |---|---|
//! | `unauthorized` | 16 `UNAUTHENTICATED` |
//! | `forbidden` | 7 `PERMISSION_DENIED` |
//! | `rate_limited`, `in_flight_limited`, `too_many_attempts`, `credits_exhausted`, `budget_exceeded`, `key_limit_reached` | 8 `RESOURCE_EXHAUSTED` |
//! | `bad_request` | 3 `INVALID_ARGUMENT` |
//! | `unavailable`, `too_early` | 14 `UNAVAILABLE` |
//! | the call's deadline came first | 4 `DEADLINE_EXCEEDED` |
//! | `misconfigured` | 13 `INTERNAL` |
//! | `method_not_allowed` | 12 `UNIMPLEMENTED` |
//! | `not_found`, `conflict` | 5 `NOT_FOUND`, 10 `ABORTED` |
//!
//! If a configuration gives another HTTP status to a kind of `unauthorized`, `forbidden` or `bad_request`, the code
//! follows the status: 400 and 422 are 3, 401 is 16, 402 and 429 are 8, 403 is 7, 404 and 410 are 5, 409 is 10, 503 is
//! 14, and any other 5xx is 13. The other kinds keep their code, because a client decides by it if it may retry.
//!
//! The message is the message of the kind. `grpc-retry-pushback-ms` is the number of milliseconds after which a call
//! may be made again that exceeded a limit or could not be checked. It is negative, which means "do not retry", if
//! credits are exhausted. `grpc-status-details-bin` contains a `google.rpc.Status` with
//!
//! - a `google.rpc.ErrorInfo`: `reason` is the kind's code in upper case, and `domain` is the configured realm (or
//!   `tollgate`). `metadata` contains `request_id` and, if the kind has them, `policy`, `required_scope`,
//!   `required_plan`, `agreement`, `agreement_url`, `parameter`, `cap`, `balance`, `cost`, `currency`, `left`, `resets`, `max_keys`, `max_in_flight`,
//!   `weight`, `capacity`;
//! - a `google.rpc.QuotaFailure`, if quotas are exceeded: for each of them, the owner that it counts (`key`, `account`,
//!   `network` or `pool:NAME`), the realm or `tollgate`, the unit, the quota's name, and the quota itself. A limit on requests in
//!   flight has the unit `concurrent-requests` and the name `in_flight`. Without
//!   [limit headers](crate::GateBuilder::limit_headers), only the quota with the longest wait is listed;
//! - a `google.rpc.RetryInfo`, if the pushback is not negative.
//!
//! A custom [`ResponseForDenial`](crate::respond::ResponseForDenial) is used for HTTP requests only. The responses to
//! denied gRPC calls always have the form above.
//!
//! # Charges
//!
//! A call is checked and charged once, however much it streams, and the charge is closed at the end of the call.
//!
//! The charge is refunded if the call's status shows that the server failed: `UNKNOWN`, `UNIMPLEMENTED`, `INTERNAL`,
//! `UNAVAILABLE` or `DATA_LOSS`, in the head or in the trailers, whatever was streamed before. It is also refunded if
//! the handler panics. A handler must not use one of these five codes for a client's fault: the call would be free.
//!
//! Any other status counts as served. So do `CANCELLED` and `DEADLINE_EXCEEDED`, which the caller causes, a client that
//! leaves, and a call that ends without a status.
//!
//! The gate waits for a status only if the *response* has the content type of gRPC. The content type of the request has
//! no influence on the charge ([`Outcome`](crate::gate::Outcome)). The status of gRPC-web is hidden in the body: put
//! the gate inside the layer that translates gRPC-web, where the gate sees gRPC.
//!
//! # Deadlines
//!
//! The gate waits for remote back ends no longer than the call's `grpc-timeout`. It then responds with
//! `DEADLINE_EXCEEDED`, and the charge is refunded. This requires a runtime whose timer is enabled, as gRPC servers
//! have.
