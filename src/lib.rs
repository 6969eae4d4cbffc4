//! wip
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod adapter;
mod clock;
#[cfg(feature = "config")]
pub mod config;
mod credit;
mod error;
mod future;
mod gate;
mod key;
mod ledger;
mod limit;
mod name;
mod network;
mod query;
mod request;
mod respond;
mod rule;
mod slot;
mod store;
mod trace;

pub use account::{
    Account, AccountStatus, Allowance, CalendarUnit, Cap, Caps, Counts, Grant, GrantPeriod, OwnQuota, Plan,
    QuotaGroup, QuotaPolicy, Quotas, Subscription,
};
pub use adapter::{Peer, ResponseBody, ResponseFuture, TollgateLayer, TollgateService};
pub use clock::{Clock, ManualClock, Now, SystemClock, Timestamp};
#[cfg(feature = "config")]
pub use config::Config;
pub use credit::{ChargeId, Credits};
pub use error::{ConfigError, StoreError};
pub use future::StoreFuture;
pub use gate::{
    Admission, Check, Denial, DenialKind, FinalCost, Gate, GateBuilder, Outcome, Principal, TrustedProxies,
};
pub use key::*;
pub use ledger::*;
pub use limit::*;
pub use name::{AccountId, Agreement, Environment, PlanName, PoolName, Scope};
pub use network::parse_network;
pub use request::{Fields, RequestView};
pub use respond::{Occasion, Presentation, RequestId, RequestIds, ResponseForDenial, Wording};
pub use rule::{Cost, Rule, ScopeRule};
pub use slot::{Slot, SlotOwner};
pub use store::*;
