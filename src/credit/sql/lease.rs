//! Leased blocks in the SQL ledger.

use super::SqlLedger;
use super::rows;
use crate::amount::Credits;
use crate::credit::decide::{Answer, Ask};
use crate::credit::{Charge, Charged, Commitment, CreditLeasing};
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

    fn commit(&self, commitment: &Commitment<'_>) -> StoreFuture<bool> {
        let Commitment { account, currency, id, committed } = *commitment;
        let account = match rows::key(&account.id, currency) {
            Ok(account) => account,
            Err(error) => return StoreFuture::failed(error),
        };
        let ask = Ask::Commit { id, account, committed };
        self.ask(ask, |answer| if let Answer::Committed(open) = answer { Some(open) } else { None })
    }
}
