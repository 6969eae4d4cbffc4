//! Alerts: a balance is low, a key expires soon, a quota is nearly used, a key was revoked, a back end fails.
//!
//! `[[alerts]]` in the configuration file, or [`GateBuilder::alert`](crate::GateBuilder::alert), sets the thresholds. A
//! gate compares each decision with them. An alert goes to each [`AlertSink`], in a task: no request waits for it.
//! The tasks start when the gate is built, or with its first decision if it is built outside a tokio runtime.
//!
//! # Once
//!
//! A crossing is told once, and once again in each later period in which it continues. An [`AlertStore`] that several
//! nodes share makes this true for all of them, and over restarts.
//!
//! | kind | subject | period | told again in the same period |
//! |---|---|---|---|
//! | balance below | the account and the period of its grant | that of the plan's grant; none for a plan without a grant | after the balance was not below the threshold |
//! | expires within | the key and its time of expiry | none | no |
//! | quota above | the window's owner, quota and length | the length of the window, or an hour if that is longer | no |
//! | revoked, leaked | the key | none | no |
//! | back end failing | the back end's part in the gate | an hour | after it was back |
//!
//! A balance that rises is noticed at once if a [`CreditManager`](crate::CreditManager) or an
//! [`AccountManager`](crate::AccountManager) of a gate with alerts changes it, and otherwise by the next request that sees
//! it. If another node noticed it, a node may tell of the next low balance up to a minute late.
//!
//! With `LocalShare`, or while `LocalFallback` limits by a share, the used share of a quota is that of this node's share.
//!
//! # Delivery
//!
//! A gate tells its own sinks. A tool or a job beside a service, such as the command `tollgate`, has none of them:
//! [`GateBuilder::alerts_delivered_elsewhere`](crate::GateBuilder::alerts_delivered_elsewhere) lets it claim crossings, and
//! the next node of the service delivers the alerts to the sinks of that node.
//!
//! # Clocks
//!
//! Times come from the clocks of the nodes, which should agree within seconds. A time that is more than a
//! [day](WRONG_BY) ahead is not believed: it neither hides a later crossing nor delays a delivery. A smaller error may
//! delay a delivery, or a later alert about the same subject, by as much.
//!
//! # Loss
//!
//! - An alert is in the store from the moment at which its crossing is noted there. After that it is delivered at least
//!   once, with the same id, whatever dies.
//! - A process that is killed loses the crossings that are not noted yet ([`Alerts::waiting`]). The next request tells of
//!   a balance, an expiry or a quota again. A revocation is noted before the manager's call returns.
//! - While the store fails, crossings wait in memory. A failing back end is then told without the store, by each node.
//! - While the ledger cannot tell a balance, crossings of balances wait in memory, and the others go on.
//!
//! # Example
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use tollgate::alert::{AlertSink, Delivery};
//! use tollgate::{Account, Config, KeyManager, MemoryStore, NewKey, StoreFuture};
//!
//! #[derive(Debug, Clone, Default)]
//! struct Mails(Arc<Mutex<Vec<String>>>);
//!
//! impl AlertSink for Mails {
//!     fn name(&self) -> &str {
//!         "mails"
//!     }
//!
//!     fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
//!         self.0.lock().unwrap().push(delivery.alert.kind.name().to_owned());
//!         StoreFuture::ready(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if !cfg!(feature = "config") {
//! #     return Ok(());
//! # }
//! let config = r#"
//!     sources = [{ header = "X-API-Key" }]
//!     formats = [{ prefix = "acme_", body = 32 }]
//!     [plans.pro]
//!     [[alerts]]
//!     when = { revoked = true }
//!     plans = ["pro"]
//! "#;
//! let mails = Mails::default();
//! let store = MemoryStore::new();
//! store.put_account(Account::new("acme", "pro"));
//! let builder = Config::from_toml(config, "gate.toml")?.builder()?.alert_sink(mails.clone());
//! let gate = builder.store(store).build()?;
//! let keys = KeyManager::new(gate.clone())?;
//! let issued = keys.issue(NewKey::new("acme", "my first key")).await?;
//! keys.revoke(issued.key.id).await?;
//!
//! gate.alerts().unwrap().flush().await?;
//! assert_eq!(*mails.0.lock().unwrap(), ["key.revoked"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`AlertRule`] and [`AlertCondition`]: the thresholds.
//! - [`Alert`]: what is told. [`AlertSink`] is the trait of a receiver, and [`TracingAlerts`] the default one.
//! - `Webhook`: a sink that calls a URL (feature `webhooks`).
//! - [`AlertStore`]: the trait of the store. [`MemoryAlertStore`] is for one node, and `SqlAlertStore` for a fleet.
//! - [`Alerts`]: the alerts of a gate, to flush at the end of the process.

mod checks;
mod crossed;
mod delivery;
mod event;
mod memory;
mod monitor;
mod rule;
mod sink;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod store;
#[cfg(feature = "webhooks")]
mod webhook;

pub use event::{Alert, AlertId, AlertKind, Crossing};
pub use memory::MemoryAlertStore;
pub use monitor::Alerts;
pub(crate) use monitor::{AlertSettings, BackEnds, EVERY_SINK};
pub use rule::{AlertCondition, AlertRule, BalanceThreshold, Share};
pub use sink::{AlertSink, Delivery, TracingAlerts};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlAlertStore;
pub use store::{AlertStore, WRONG_BY};
#[cfg(feature = "webhooks")]
pub use webhook::{Webhook, WebhookSecret};
