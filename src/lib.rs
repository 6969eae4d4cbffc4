//! An API-key gate for web services: one [`tower`] layer that reads the key, checks its shape, looks it up by its hash,
//! judges key, account, address, scopes, rate limits and credits in a configured order, and lets the request through with a
//! [`Principal`], or answers in the API's own error format.
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
//! let store = Arc::new(MemoryStore::new());
//! store.put_account(Account::new("acme", "pro"));
//! let gate = Config::from_toml(config, "gate.toml")?.builder()?.managed_store(Arc::clone(&store)).build()?;
//!
//! // A new key: its hash is stored, the key itself is shown to its owner, once.
//! let issued = KeyManager::new(gate.clone(), store).issue(NewKey::new("acme", "my first key")).await?;
//!
//! let routes = Router::new().route("/v1/candles", get(async |who: Principal| who.account().id.to_string()));
//! let app = TollgateLayer::new(gate).around(routes);
//!
//! let refused = app.clone().oneshot(Request::get("/v1/candles").body(Body::empty())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! let request = Request::get("/v1/candles").header("X-API-Key", &*issued.secret.reveal()).body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! A [`RequestView`] is borrowed from it. Its [`Rule`] is found; a public route is let through. The first [`KeySource`] that
//! is present yields the key, a [`KeyFormat`] accepts it, and its [`KeyHash`] finds the [`KeyRecord`] in the [`KeyStore`].
//! The [`Check`]s follow in the configured order, the [`RateLimiter`] and the [`CreditLedger`] among them. The result is an
//! [`Admission`] or a [`Denial`], which a [`Presentation`] turns into the answer.
//!
//! # Routers
//!
//! - axum, tonic, and hyper without a router: [`TollgateLayer`], a tower layer.
//! - actix-web: `TollgateTransform`, made from the same [`Gate`] (feature `actix-web`).
//!
//! A request's rule is found by its path as these routers compare it, and the tests hold that by generated paths: whatever
//! handler is reached, its own rule was judged. Paths that they read differently are
//! judged under it too, or [refused](Rule#paths-that-routers-read-differently).
//!
//! A route that no rule names needs a key and is free. Say [`GateBuilder::deny_unmatched`], or `[default] deny = true` in the
//! file, and such a route is refused instead; `testing::unruled_routes` lists them.
//!
//! Other routers are not supported, though their services may be tower services, because they read paths in ways of their
//! own: a request could reach a handler under another rule than the handler's.
//!
//! - salvo compares decoded segments and leaves empty ones out: `/v1/%63andles` and `/v1//candles` are `/v1/candles`.
//! - warp leaves out the slash at the end: `/v1/candles/` is `/v1/candles`.
//! - poem's `tower-compat` takes layers over its own request type.
//!
//! # What it is, and what it is not
//!
//! Back ends are the three traits, held as `Arc<dyn …>`: no type of this crate has a parameter for them. Time is injected
//! ([`Clock`]). Nothing is global; nothing runs but what is called.
//!
//! It knows no OAuth, no sessions, no passwords and no invoices, and it is no proxy process.
//!
//! # Crate features
//!
//! - `memory` (default): [`MemoryStore`], [`MemoryLedger`], [`MemoryLimiter`].
//! - `keygen` (default): new keys, and their management.
//! - `config` (default): [`Config`], the TOML file.
//! - `tracing` (default): refusals and the operator's faults as events.
//! - `quanta`: [`SystemClock`] by the processor's counter.
//! - `axum`: [`Principal`] and [`Caps`] as extractors; the peer's address from `ConnectInfo`; whole paths in nested routers.
//! - `actix-web`: `TollgateTransform` for an `App`, a `Scope` or a `Resource`, and the same extractors.
//! - `tonic`: refusals of gRPC calls as gRPC statuses: see `grpc`.
//! - `sqlite`, `postgres`: `SqlStore` and `SqlLedger` over a `Database`, for one machine and for a fleet.
//! - `redis`: `RedisLimiter`, `RedisLedger`, both at once in a `RedisMeter`; `RedisRecords` and `RedisAnnouncements`.
//! - `fleet`: `CachedStore`, `LeasedLedger`, `Guarded`, `LocalShare`: what stands before a remote back end.
//! - `testing`: a gate with a manual clock, keys for it, and lists of open routes and of routes without a rule: see
//!   `testing`.
//! - `openapi`: what a gate asks of its callers, in an OpenAPI document: `Gate::openapi`.
//! - `conformance`: suites that say whether a store, a ledger or a limiter of one's own keeps its contract: see
//!   `conformance`.
//! - `cli`: the command `tollgate`, which manages keys, accounts and credits.
//! - `full`: all of these.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod account;
pub mod adapter;
mod amount;
#[cfg(feature = "keygen")]
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
pub mod key;
pub mod limit;
#[cfg(feature = "keygen")]
pub mod manage;
pub mod meter;
pub mod name;
mod network;
#[cfg(feature = "openapi")]
mod openapi;
mod panics;
mod query;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "each back end uses a part of it")]
pub mod redis;
pub mod request;
pub mod respond;
pub mod rule;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod sql;
pub mod state;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
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
#[cfg(feature = "keygen")]
pub use manage::{AccountManager, CreditManager, KeyManager, NewKey};
pub use request::RequestView;
pub use rule::Rule;
pub use store::KeyStore;
#[cfg(feature = "memory")]
pub use store::MemoryStore;

/// The README's code, compiled.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
