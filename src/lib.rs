//! wip
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod clock;
mod credit;
mod error;
mod future;
mod key;
mod ledger;
mod limit;
mod name;
mod query;
mod request;
mod slot;
mod store;

pub use account::{
    Account, AccountStatus, Allowance, CalendarUnit, Cap, Caps, Counts, Grant, GrantPeriod, OwnQuota, Plan,
    QuotaGroup, QuotaPolicy, Quotas, Subscription,
};
pub use clock::{Clock, ManualClock, Now, SystemClock, Timestamp};
pub use credit::{ChargeId, Credits};
pub use error::{ConfigError, StoreError};
pub use future::StoreFuture;
pub use key::*;
pub use ledger::*;
pub use limit::*;
pub use name::{AccountId, Agreement, Environment, PlanName, PoolName, Scope};
pub use request::{Fields, RequestView};
pub use slot::{Slot, SlotOwner};
pub use store::*;
