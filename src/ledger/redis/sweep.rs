//! Charges that nobody will end: their nodes died.

use redis::cmd;

use super::{Holder, RedisLedger, credits, read_id};
use crate::{Abandoned, Credits, EntryKind, StoreError, Timestamp};

/// How many names Redis looks at in one step: it does nothing else meanwhile.
const STEP: usize = 500;

impl RedisLedger {
    /// Closes the charges that were taken before a moment and are open still, and says how many; forgets the refunds before
    /// it whose charges never came. Let the moment lie further
    /// back than any request lasts, and call it every few minutes, on any node or on all of them: a charge is closed once.
    ///
    /// A block that a node has leased comes to what is committed of it, whatever becomes of charges.
    ///
    /// It walks over the names of all that the server keeps, a few at a time. In a cluster it reaches the node that it is
    /// connected to.
    ///
    /// # Errors
    ///
    /// The server could not be asked. What was closed before that is closed.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tollgate::{Abandoned, Clock, RedisLedger, RedisServer, SystemClock, Timestamp};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ledger = RedisLedger::new(RedisServer::open("redis://127.0.0.1:6379")?);
    /// let an_hour_ago = SystemClock::new().now().wall().as_millis() - 3_600_000;
    /// let closed = ledger.sweep(Timestamp::from_millis(an_hour_ago), Abandoned::Refund).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sweep(&self, before: Timestamp, abandoned: Abandoned) -> Result<u64, StoreError> {
        let every_account = format!("{}:{{a:*}}:credits:open", literal(&self.server.options().prefix));
        let (mut cursor, mut closed) = ("0".to_owned(), 0);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&every_account).arg("COUNT").arg(STEP);
            let (next, names): (String, Vec<String>) = self.server.ask(&scan).await?;
            for name in names {
                closed += self.sweep_account(&name, before, abandoned).await?;
            }
            if next == "0" {
                return Ok(closed);
            }
            cursor = next;
        }
    }

    async fn sweep_account(
        &self,
        open: &str,
        before: Timestamp,
        abandoned: Abandoned,
    ) -> Result<u64, StoreError> {
        let purse = open.strip_suffix(":open").unwrap_or(open);
        let (mut cursor, mut closed) = ("0".to_owned(), 0);
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(open).arg(&cursor).arg("COUNT").arg(STEP);
            let (next, charges): (String, Vec<String>) = self.server.ask(&scan).await?;
            for charge in charges.chunks_exact(2) {
                let (taken, at) = read_charge(&charge[1])?;
                if at >= before {
                    continue;
                }
                let id = read_id(&charge[0]).ok_or_else(unreadable)?;
                if let Some(taken) = taken {
                    let (cost, kind) = match abandoned {
                        Abandoned::Refund => (Credits::ZERO, EntryKind::Refund(id)),
                        Abandoned::Settle => (taken, EntryKind::Settlement(id)),
                    };
                    self.close(purse, id, cost, &kind, Holder::Gone).await?;
                    closed += 1;
                } else {
                    self.server.ask::<()>(cmd("HDEL").arg(open).arg(&charge[0])).await?;
                }
            }
            if next == "0" {
                return Ok(closed);
            }
            cursor = next;
        }
    }
}

/// What a script has written of a charge: its amount, or that it was given back before it came; when; and what is
/// committed of a block.
fn read_charge(kept: &str) -> Result<(Option<Credits>, Timestamp), StoreError> {
    let (amount, at) = kept.split_once(' ').ok_or_else(unreadable)?;
    let at = at.split(' ').next().unwrap_or_default();
    let taken = if amount == "void" { None } else { Some(credits(amount)?) };
    Ok((taken, Timestamp::from_millis(at.parse().map_err(StoreError::corrupt)?)))
}

fn unreadable() -> StoreError {
    StoreError::corrupt("an open charge in Redis cannot be read")
}

/// A name in which no letter stands for others.
fn literal(name: &str) -> String {
    name.chars()
        .flat_map(|letter| ['\\', letter].into_iter().skip(usize::from(!"*?[]\\^-".contains(letter))))
        .collect()
}
