//! Audit events: changes to keys and accounts, and the actors who made them.
//!
//! The managers report each change to an audit sink. The default sink writes to the log.
//!
//! # Example
//!
//! A sink that keeps a line for each change:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use tollgate::audit::{Actor, AuditEvent, AuditSink};
//! use tollgate::{Account, AccountManager, Config, MemoryStore};
//!
//! #[derive(Debug, Clone, Default)]
//! struct Lines(Arc<Mutex<Vec<String>>>);
//!
//! impl AuditSink for Lines {
//!     fn record(&self, event: &AuditEvent) {
//!         let actor = event.actor.name().unwrap_or("unknown");
//!         self.0.lock().unwrap().push(format!("{actor}: {}", event.action.name()));
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = r#"
//! #     sources = [{ header = "X-API-Key" }]
//! #     formats = [{ prefix = "acme_", body = 32 }]
//! #     [plans.free]
//! # "#;
//! let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(MemoryStore::new()).build()?;
//! let lines = Lines::default();
//! let accounts = AccountManager::new(gate)?.with_audit(lines.clone()).by(Actor::operator("alice"));
//! accounts.create(Account::new("ada", "free")).await?;
//! assert_eq!(*lines.0.lock().unwrap(), ["alice: account created"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`AuditSink`]: the trait of a receiver of events. [`GateBuilder::audit`](crate::GateBuilder::audit) sets the sink
//!   of a gate's managers, and `with_audit` sets the sink of one manager.
//! - [`AuditEvent`]: the time, the [`Action`], the key, the account and the [`Actor`] of a change. It contains no part
//!   of a secret.
//! - [`TracingAudit`]: the default sink.
//! - [`AuditStore`]: the trait of a store of events that can be asked. [`MemoryAuditStore`] is one in memory, and
//!   [`SqlAuditStore`] is one in SQLite or PostgreSQL.
//! - [`StoredAudit`]: a sink that writes each event to a store before the manager's call returns.
//! - [`AuditQuery`]: a query by account, key, actor, action and time. The answer is an [`AuditPage`] of [`AuditEntry`]s.
//!
//! # Loss
//!
//! A change and its audit entry are written one after the other, to stores that may be different. With [`StoredAudit`]:
//!
//! - A manager's call that has returned has written its entry, if the audit store answered. If it did not answer, the
//!   entry waits in memory, the log reports it, and the next change or [`StoredAudit::flush`](AuditSink::flush) writes it.
//! - A process that ends normally loses nothing if it calls `flush` last and `flush` succeeds.
//! - A process that is killed loses the entries that wait, and the entries of the calls in progress: their changes may
//!   be made already.

mod action;
mod actor;
mod entry;
mod memory;
mod query;
mod sink;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod store;
mod stored;

pub use action::Action;
pub use actor::Actor;
pub use entry::{AuditEntry, AuditEvent, AuditId};
pub use memory::MemoryAuditStore;
pub use query::{AuditPage, AuditQuery};
pub use sink::{AuditSink, TracingAudit};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlAuditStore;
pub use store::AuditStore;
pub use stored::StoredAudit;
