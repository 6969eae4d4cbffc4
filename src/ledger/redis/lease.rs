//! Blocks that nodes hold, to spend them by themselves.

use std::sync::Arc;

use super::{Answer, RedisLedger, charge_arguments, charge_keys, charged, shown};
use crate::{Account, Charge, ChargeId, Charged, CreditLeasing, Credits, StoreFuture};

pub(super) const LEASE: &str = include_str!("lease.lua");
pub(super) const COMMIT: &str = include_str!("commit.lua");

impl CreditLeasing for RedisLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let keys = charge_keys(&self.purse(block.account.id.as_str()), block.id);
        let mut arguments = charge_arguments(block);
        arguments.push(committed.to_string());
        StoreFuture::boxed(async move {
            let answer: Answer = server.run(&scripts.lease, &keys, &arguments).await?;
            charged(answer)
        })
    }

    fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let keys = charge_keys(&self.purse(account.id.as_str()), id);
        let arguments = [shown(id), committed.to_string()];
        StoreFuture::boxed(async move {
            server.run::<u8>(&scripts.commit, &keys, &arguments).await.map(|open| open == 1)
        })
    }
}
