//! What the gate does with gRPC calls: documentation alone, there is nothing to import from here.
//!
//! A request whose content type is `application/grpc`, `application/grpc-web` or `application/grpc-web-text`, whatever
//! stands behind a `+` or `;`, is a call. Nothing else makes it one: no user agent and no path, so that one port may serve
//! REST and gRPC and answers each in its own form.
//!
//! # Rules and keys
//!
//! A method is a path, `/package.Service/Method`, and a pattern that ends in `/*` is for all methods of a service. A call is
//! a `POST`, which a rule may name or not. Health checks and reflection are services like any other: they are public where
//! a rule says so. Keys stand in metadata as they do in headers; metadata in binary (`x-api-key-bin`) is not read.
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
//! [`TollgateLayer`](crate::adapter::TollgateLayer) goes around the whole server. Handlers find the
//! [`Principal`](crate::gate::Principal) among the extensions of their `tonic::Request`, and may put a
//! [`FinalCost`](crate::gate::FinalCost) among those of their `tonic::Response`. The peer's address is known to a tonic server
//! without TLS; with it, put a [`Peer`](crate::adapter::Peer) among the request's extensions in a layer outside the gate.
//!
//! ```
//! use tollgate::{Config, TollgateLayer};
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
//! let (_reporter, health) = tonic_health::server::health_reporter();
//! let server = Server::builder().layer(TollgateLayer::new(gate)).add_service(health);
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Refusals
//!
//! A refused call is answered with HTTP 200, `grpc-status` and `grpc-message` in the head, and no body. The code goes by the
//! kind of refusal:
//!
//! | kinds, with those below them | code |
//! |---|---|
//! | `unauthorized` | 16 `UNAUTHENTICATED` |
//! | `forbidden` | 7 `PERMISSION_DENIED` |
//! | `rate_limited`, `credits_exhausted`, `key_limit_reached` | 8 `RESOURCE_EXHAUSTED` |
//! | `bad_request` | 3 `INVALID_ARGUMENT` |
//! | `unavailable`, `too_early` | 14 `UNAVAILABLE` |
//! | the call's deadline came first | 4 `DEADLINE_EXCEEDED` |
//! | `misconfigured` | 13 `INTERNAL` |
//! | `method_not_allowed` | 12 `UNIMPLEMENTED` |
//! | `not_found`, `conflict` | 5 `NOT_FOUND`, 10 `ABORTED` |
//!
//! Where a configuration gives another HTTP status to a kind of `unauthorized`, `forbidden` or `bad_request`, the code follows
//! it: 400 and 422 are 3, 401 is 16, 402 and 429 are 8, 403 is 7, 404 and 410 are 5, 409 is 10, 503 is 14, another 5xx is 13.
//! The other kinds keep their code, by which a client knows whether to try again.
//!
//! The message is the kind's own. `grpc-retry-pushback-ms` says in how many milliseconds a call over the limit, or one that
//! could not be judged, may be made again; it is negative, do not retry, where credits are exhausted.
//! `grpc-status-details-bin` holds a `google.rpc.Status` with
//!
//! - a `google.rpc.ErrorInfo`: `reason` is the kind's code in upper case, `domain` the configured realm (or `tollgate`),
//!   and `metadata` holds `request_id` and, where the kind has them, `policy`, `required_scope`, `required_plan`,
//!   `agreement`, `agreement_url`, `parameter`, `cap`, `balance`, `cost`, `max_keys`;
//! - a `google.rpc.RetryInfo`, where the pushback is not negative.
//!
//! A [`ResponseForDenial`](crate::respond::ResponseForDenial) of one's own answers requests over HTTP; calls are answered so.
//!
//! # Charges
//!
//! A call is judged, and charged, once, however much it streams, and the charge is closed with the call. It goes back if the
//! call's status says that the server failed: `UNKNOWN`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` or `DATA_LOSS`, in the
//! head or in the trailers, whatever was streamed before; or if the handler panics. Any other status has been served, and
//! so has a client that leaves, and `CANCELLED` and `DEADLINE_EXCEEDED`, which are the caller's own doing. A call that ends
//! without a status has been served. A handler must not answer a client's fault with one of the five codes: the call would
//! be free.
//!
//! A status is waited for only where the *response* has the content type of gRPC: the request's says nothing of the charge
//! ([`Outcome`](crate::gate::Outcome)). The status of gRPC-web is hidden in the body: put the gate inside the layer that
//! translates it, where it sees gRPC.
//!
//! # Deadlines
//!
//! The gate asks remote back ends for no longer than the call's `grpc-timeout`, and answers `DEADLINE_EXCEEDED` then; what
//! was charged goes back. That takes a runtime whose timer is enabled, as gRPC servers do.
