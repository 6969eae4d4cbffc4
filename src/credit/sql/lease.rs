//! Leased blocks in the SQL ledger.

use super::SqlLedger;
use super::rows;
use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::credit::decide::{Answer, Ask};
use crate::credit::{Charge, Charged, CreditLeasing};
use crate::future::StoreFuture;

impl CreditLeasing for SqlLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        let account = match rows::key(&block.account.id, block.currency) {
            Ok(account) => account,
            Err(error) => return StoreFuture::failed(error),
        };
        let ask = Ask::charge_to(account, block, Some(committed));
        self.ask(ask, |answer| if let Answer::Charged(charged) = answer { Some(charged) } else { None })
    }

    fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool> {
        let ask = Ask::Commit { id, account: account.id.clone(), committed };
        self.ask(ask, |answer| if let Answer::Committed(open) = answer { Some(open) } else { None })
    }
}
