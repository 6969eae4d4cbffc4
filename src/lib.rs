//! An API-key gate for web services, built as one [`tower`] layer.
//!
//! The gate reads the key of a request, checks its format and looks it up by its hash. It then checks the key, the
//! account, the client's address, scopes, rate limits and credits, in a configured order. It passes an admitted request
//! on with a [`Principal`], and answers a denied one in the API's own error format.
//!
//! # Example
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use axum::body::Body;
//! use axum::{Router, routing::get};
//! use http::{Request, StatusCode};
//! use tollgate::{Account, Config, KeyManager, MemoryStore, NewKey, Principal, TollgateLayer};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = r#"
//!     sources = [{ header = "X-API-Key" }]
//!     formats = [{ prefix = "acme_", body = 32 }]
//!     [plans.pro]
//!     quotas = ["600 per minute"]
//! "#;
//! let store = MemoryStore::new();
//! store.put_account(Account::new("acme", "pro"));
//! let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(store).build()?;
//!
//! // A new key: its hash is stored, the key itself is shown to its owner, once.
//! let issued = KeyManager::new(gate.clone())?.issue(NewKey::new("acme", "my first key")).await?;
//!
//! let routes = Router::new().route("/v1/candles", get(async |who: Principal| who.account().id.to_string()));
//! let app = TollgateLayer::new(gate).around(routes);
//!
//! let refused = app.clone().oneshot(Request::get("/v1/candles").body(Body::empty())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! let request = Request::get("/v1/candles").header("X-API-Key", issued.secret.expose_secret()).body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! The gate borrows a [`RequestView`] from the request and finds its [`Rule`]. A public route is admitted at once.
//! Otherwise the first [`KeySource`] that is present supplies the key, a [`KeyFormat`] accepts it, and its
//! [`KeyHash`](key::KeyHash) finds the [`KeyRecord`] in the [`KeyStore`]. The [`Check`](gate::Check)s follow in the
//! configured order, including the [`RateLimiter`] and the [`CreditLedger`]. The result is an [`Admission`], or a
//! [`Denial`] that a [`ErrorFormat`](respond::ErrorFormat) turns into the response.
//!
//! # Routers
//!
//! - axum, tonic, and hyper without a router: [`TollgateLayer`], a tower layer.
//! - actix-web: `TollgateTransform`, made from the same [`Gate`] (feature `actix-web`).
//!
//! The gate finds a request's rule by its path, compared in the same way as by these routers. Tests with generated
//! paths verify this: for every handler that a request reaches, the handler's own rule was applied. Paths that these
//! routers read differently are checked under that rule too, or [denied](Rule#paths-that-routers-read-differently).
//!
//! A route that no rule matches needs a key and is free. [`GateBuilder::deny_unmatched`], or `[default] deny = true` in
//! the configuration file, denies such a route instead. `testing::unruled_routes` lists these routes.
//!
//! Other routers are not supported, even if their services are tower services. They interpret paths differently, so a
//! request could reach a handler under a rule other than the handler's own.
//!
//! - salvo compares decoded segments and ignores empty ones: `/v1/%63andles` and `/v1//candles` match `/v1/candles`.
//! - warp ignores a slash at the end: `/v1/candles/` matches `/v1/candles`.
//! - poem's `tower-compat` only takes layers over its own request type.
//!
//! # What it is, and what it is not
//!
//! Back ends implement three traits and are stored as `Arc<dyn …>`, so no type of this crate has a type parameter for
//! them. The time is injected ([`Clock`]). There is no global state, and no code runs unless it is called.
//!
//! The crate does not provide OAuth, sessions, passwords or invoices, and it is not a proxy process.
//!
//! # Crate features
//!
//! - `memory` (default): [`MemoryStore`], [`MemoryLedger`], [`MemoryLimiter`].
//! - `config` (default): [`Config`], the TOML configuration file.
//! - `tracing` (default): log events for denials and for the operator's faults.
//! - `quanta`: a [`SystemClock`](clock::SystemClock) that reads the processor's counter.
//! - `axum`: [`Principal`] and [`ParamLimits`](account::ParamLimits) as extractors; the peer's address from `ConnectInfo`; whole
//!   paths in nested routers.
//! - `actix-web`: `TollgateTransform` for an `App`, a `Scope` or a `Resource`, and the same extractors.
//! - `tonic`: denials of gRPC calls as gRPC statuses: see `grpc`.
//! - `sqlite`, `postgres`: `SqlStore`, `SqlLedger`, `SqlUsage`, `SqlAuditStore` and `SqlAlertStore` over a `Database`, for one
//!   machine and for a fleet.
//! - `redis`: `RedisLimiter` and `RedisLedger`, in one round trip where both are on one server; `RedisRecords` and
//!   `RedisInvalidationBus`.
//! - `watch`: a watcher of the configuration file: see [`Config::watch`].
//! - `postgres-tls`, `redis-tls`: connections to these servers over TLS.
//! - `webhooks`: alerts as signed webhooks: see [`alert`].
//! - `fleet`: wrappers around a remote back end: `CachedStore`, `LeasedLedger`, `Resilient`, `LocalShare`.
//! - `testing`: a gate with a manual clock, keys for it, and lists of open routes and of routes without a rule: see
//!   `testing`.
//! - `openapi`: `Gate::openapi`, which adds the gate's requirements to an OpenAPI document.
//! - `metrics`: metrics of gates and back ends, for Prometheus and others: see `metrics`.
//! - `conformance`: test suites that verify the contract of a custom store, ledger or limiter: see `conformance`.
//! - `cli`: the command `tollgate`, which manages keys, accounts and credits.
//! - `full`: all of these.
#![cfg_attr(docsrs, feature(doc_cfg))]
// A build with few features leaves parts of the crate unused or empty. A build with all of them is checked for that.
#![cfg_attr(not(feature = "full"), allow(unused, clippy::if_same_then_else, clippy::match_same_arms))]

pub mod account;
pub mod adapter;
pub mod alert;
mod amount;
pub mod audit;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod credit;
pub mod denial;
mod error;
mod future;
pub mod gate;
#[cfg(feature = "tonic")]
pub mod grpc;
#[cfg(feature = "fleet")]
pub mod guard;
mod header;
mod intern;
pub mod key;
pub mod limit;
pub mod manage;
mod meter;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
mod metrics;
pub mod name;
mod network;
#[cfg(feature = "openapi")]
mod openapi;
mod panics;
mod query;
#[cfg(feature = "redis")]
pub mod redis;
pub mod request;
pub mod respond;
pub mod rule;
mod spare;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod sql;
pub mod state;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "redis-tls", feature = "webhooks"))]
mod tls;
mod trace;
pub mod usage;
mod uses;
mod words;

pub use account::{Account, Plan};
#[cfg(feature = "actix-web")]
pub use adapter::TollgateTransform;
pub use adapter::{TollgateLayer, TollgateService};
pub use clock::{Clock, ManualClock};
#[cfg(feature = "config")]
pub use config::Config;
#[cfg(feature = "memory")]
pub use credit::MemoryLedger;
pub use credit::{CreditLedger, Credits};
pub use denial::{Denial, DenialKind};
pub use error::{ConfigError, StoreError};
pub use future::StoreFuture;
pub use gate::{Admission, Gate, GateBuilder, Principal};
pub use key::{KeyFormat, KeyId, KeyRecord, KeySource};
#[cfg(feature = "memory")]
pub use limit::MemoryLimiter;
pub use limit::RateLimiter;
pub use manage::{AccountManager, CreditManager, KeyManager, NewKey};
pub use request::RequestView;
pub use rule::Rule;
pub use store::KeyStore;
#[cfg(feature = "memory")]
pub use store::MemoryStore;

/// The code examples of the README, compiled as tests.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
