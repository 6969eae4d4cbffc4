//! Leased blocks in the Redis ledger.

use super::call::Call;
use super::{RedisLedger, shown};
use crate::amount::Credits;
use crate::credit::decide::{Answer, Ask};
use crate::credit::{Charge, Charged, Commitment, CreditLeasing};
use crate::future::StoreFuture;

impl CreditLeasing for RedisLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        self.take(block, Some(committed))
    }

    fn commit(&self, commitment: &Commitment<'_>) -> StoreFuture<bool> {
        let Commitment { account, currency, id, committed } = *commitment;
        let keys = self.keys(account.id.as_str(), currency);
        let ask = Ask::Commit { id, account: keys.account(), committed };
        let arguments = vec![shown(id), committed.to_string()];
        let (ledger, currency) = (self.clone(), super::written(currency));
        StoreFuture::boxed(async move {
            let script = &ledger.scripts.commit;
            let answer = ledger.call(Call { keys, script, arguments, ask, currency }).await?;
            Ok(matches!(answer, Answer::Committed(true)))
        })
    }
}
