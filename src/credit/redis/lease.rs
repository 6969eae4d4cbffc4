//! Leased blocks in the Redis ledger.

use std::sync::Arc;

use super::{Answer, RedisLedger, charge_arguments, charged, keys_of, shown};
use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::credit::{Charge, Charged, CreditLeasing, one_bucket};
use crate::future::StoreFuture;

pub(super) const LEASE: &str = include_str!("lease.lua");
pub(super) const COMMIT: &str = include_str!("commit.lua");

impl CreditLeasing for RedisLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        if let Err(error) = one_bucket::accept_charge(block) {
            return StoreFuture::failed(error);
        }
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let keys = self.charge_keys(block);
        let mut arguments = charge_arguments(block);
        arguments.push(committed.to_string());
        StoreFuture::boxed(async move {
            let answer: Answer = server.run(&scripts.lease, &keys, &arguments).await?;
            charged(answer)
        })
    }

    fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let keys = keys_of(&self.balance_key(account.id.as_str()));
        let arguments = [shown(id), committed.to_string()];
        StoreFuture::boxed(async move {
            server.run::<u8>(&scripts.commit, &keys, &arguments).await.map(|open| open == 1)
        })
    }
}
