//! Leased blocks in the SQL ledger.

use super::SqlLedger;
use super::ask::{Answer, Ask};
use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::credit::{Charge, Charged, CreditLeasing, one_bucket};
use crate::future::StoreFuture;

impl CreditLeasing for SqlLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        if let Err(error) = one_bucket::accept_charge(block) {
            return StoreFuture::failed(error);
        }
        let ask = Ask::Charge {
            id: block.id,
            account: block.account.id.clone(),
            amount: block.amount,
            allowance: block.allowance.clone(),
            now: block.now.wall(),
            committed: Some(committed),
        };
        self.ask(ask, |answer| if let Answer::Charged(charged) = answer { Some(charged) } else { None })
    }

    fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool> {
        let ask = Ask::Commit { id, account: account.id.clone(), committed };
        self.ask(ask, |answer| if let Answer::Committed(open) = answer { Some(open) } else { None })
    }
}
