//! The sweep of charges that stay open because their nodes crashed.

use std::time::Duration;

use redis::cmd;

use super::call::{credits, read_entry, write_entry};
use super::{Keys, RedisLedger, read_id};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::decide::Close;
use crate::credit::fold::{OldEntry, kept};
use crate::credit::{Abandoned, Balance, BucketId, Entry, EntryKind};
use crate::error::StoreError;
use crate::metrics;
use crate::redis::Master;

/// The number of keys that Redis examines in one step. Redis does nothing else during a step.
const STEP: usize = 500;

impl RedisLedger {
    /// Closes the charges that have been open for at least `open_for`, and returns their number.
    ///
    /// It also deletes the refunds that have waited that long for charges that never arrived. `open_for` must be longer
    /// than any request lasts and longer than any lease. Call it every few minutes, on any node or on all of them: a
    /// charge is closed once. Ages are measured by the server's own clock, whatever the clocks of the nodes show.
    ///
    /// A leased block is closed at its committed amount, whatever the policy for other charges is.
    ///
    /// It scans all keys of the server, a few at a time. In a cluster, it scans those of all masters.
    ///
    /// # Errors
    ///
    /// An error of the server: the charges closed before it stay closed. A charge or a balance that cannot be read: all
    /// others are closed.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tollgate::credit::{Abandoned, RedisLedger};
    /// use tollgate::redis::RedisServer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ledger = RedisLedger::new(RedisServer::open("redis://127.0.0.1:6379", "acme")?);
    /// let closed = ledger.sweep(Duration::from_hours(1), Abandoned::Refund).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sweep(&self, open_for: Duration, abandoned: Abandoned) -> Result<u64, StoreError> {
        let (seconds, micros): (i64, i64) = self.server.ask(&cmd("TIME")).await?;
        let age = i64::try_from(open_for.as_millis()).unwrap_or(i64::MAX);
        let latest = Timestamp::from_millis((seconds * 1_000 + micros / 1_000).saturating_sub(age));
        let mut sweep = Sweep { ledger: self, latest, abandoned, closed: 0, unreadable: None };
        for master in self.server.masters().await? {
            let mut cursor = None;
            while let Some(names) = self.page(&master, "open", &mut cursor).await? {
                for name in names {
                    sweep.account(&name).await?;
                }
            }
        }
        metrics::swept("redis", sweep.closed);
        sweep.unreadable.map_or(Ok(sweep.closed), Err)
    }

    /// Folds the entries of every account that are older than a given time.
    ///
    /// Returns the number of removed entries.
    pub(super) async fn fold(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut gone = 0;
        for master in self.server.masters().await? {
            let mut cursor = None;
            while let Some(names) = self.page(&master, "entries", &mut cursor).await? {
                for name in names {
                    gone += self.fold_account(&name, before).await?;
                }
            }
        }
        Ok(gone)
    }

    /// Folds the entries in a list.
    async fn fold_account(&self, name: &str, before: Timestamp) -> Result<u64, StoreError> {
        loop {
            let all: Vec<String> = self.server.ask(cmd("LRANGE").arg(name).arg(0).arg(-1)).await?;
            let mut old = Vec::new();
            for text in all.iter().rev() {
                let entry = read_entry(text)?;
                if entry.at >= before {
                    break;
                }
                old.push(entry);
            }
            let lines = folded(&old);
            if old.len() < 2 || lines.len() == old.len() {
                return Ok(0);
            }
            let newest = all[all.len() - old.len()].clone();
            let oldest = all[all.len() - 1].clone();
            let mut arguments = vec![old.len().to_string(), newest, oldest];
            arguments.extend(lines.iter().rev().map(write_entry));
            if self.server.run::<u8>(&self.scripts.fold, &[name.to_owned()], &arguments).await? == 1 {
                return Ok((old.len() - lines.len()) as u64);
            }
        }
    }

    /// Returns the next page of a server's keys with the suffix `what`, or `None` after the last page.
    ///
    /// A key may be returned twice.
    pub(super) async fn page(
        &self,
        master: &Master,
        what: &str,
        cursor: &mut Option<String>,
    ) -> Result<Option<Vec<String>>, StoreError> {
        if cursor.as_deref() == Some("0") {
            return Ok(None);
        }
        let every_account = format!("{}:{{a:*}}:credits*:{what}", literal(&self.server.options().prefix));
        let mut scan = cmd("SCAN");
        scan.arg(cursor.as_deref().unwrap_or("0")).arg("MATCH").arg(&every_account).arg("COUNT").arg(STEP);
        let (next, names): (String, Vec<String>) = master.ask(&scan).await?;
        *cursor = Some(next);
        Ok(Some(names))
    }
}

/// A sweep in progress.
struct Sweep<'l> {
    ledger: &'l RedisLedger,
    /// The latest opening time of a charge that counts as abandoned.
    latest: Timestamp,
    abandoned: Abandoned,
    closed: u64,
    /// The error of the first charge that could not be read.
    unreadable: Option<StoreError>,
}

impl Sweep<'_> {
    async fn account(&mut self, open: &str) -> Result<(), StoreError> {
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(open).arg(&cursor).arg("COUNT").arg(STEP);
            let (next, charges): (String, Vec<String>) = self.ledger.server.ask(&scan).await?;
            for charge in charges.chunks_exact(2) {
                match self.charge(open, &charge[0], &charge[1]).await {
                    Ok(closed) => self.closed += closed,
                    Err(error) if error.is_corrupt() => drop(self.unreadable.get_or_insert(error)),
                    Err(error) => return Err(error),
                }
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Closes a charge, if it is old enough.
    ///
    /// Returns the number of closed charges.
    async fn charge(&self, open: &str, id: &str, kept: &str) -> Result<u64, StoreError> {
        let (taken, at) = read_charge(kept)?;
        if at > self.latest {
            return Ok(0);
        }
        let Some(taken) = taken else {
            return self.ledger.server.ask::<()>(cmd("HDEL").arg(open).arg(id)).await.map(|()| 0);
        };
        let id = read_id(id).ok_or_else(unreadable)?;
        let (cost, kind): (_, fn(ChargeId) -> EntryKind) = match self.abandoned {
            Abandoned::Refund => (Credits::ZERO, EntryKind::Refund),
            Abandoned::Settle => (taken, EntryKind::Settlement),
        };
        let name = open.strip_suffix(":open").unwrap_or(open);
        // A currency that has a charge is known already.
        let keys = Keys::new(name, name);
        let close = Close::abandoned(keys.account(), id, cost, kind);
        self.ledger.close(keys, close, String::new()).await.map(u64::from)
    }
}

/// Returns the entries that represent old ones, the oldest first.
fn folded(old: &[Entry]) -> Vec<Entry> {
    let balance = |entry: &Entry| match entry.balance {
        Balance::Unlimited => None,
        Balance::Owed(debt) => Some(-debt.get().cast_signed()),
        Balance::Limited(credits) => Some(credits.get().cast_signed()),
    };
    let read: Vec<OldEntry> = old
        .iter()
        .map(|entry| OldEntry {
            number: entry.number.cast_signed(),
            bucket: (entry.bucket != BucketId::Main).then(|| entry.bucket.stored()),
            left: entry.left.get().cast_signed(),
            balance: balance(entry),
        })
        .collect();
    let mut lines = Vec::new();
    for kept in kept(&read) {
        let Some(entry) = old.iter().find(|entry| entry.number == kept.number.cast_unsigned()) else {
            continue;
        };
        let balance = match kept.balance {
            None => Balance::Unlimited,
            Some(debt @ ..0) => Balance::Owed(Credits::new(debt.unsigned_abs())),
            Some(balance) => Balance::Limited(Credits::new(balance.cast_unsigned())),
        };
        lines.push(Entry { kind: EntryKind::Folded, amount: kept.amount, balance, ..entry.clone() });
    }
    lines
}

/// Parses a stored charge: its amount and its time.
///
/// The amount is `None` for a refund that arrived before its charge. The committed amount of a block is ignored.
fn read_charge(kept: &str) -> Result<(Option<Credits>, Timestamp), StoreError> {
    let (amount, at) = kept.split_once(' ').ok_or_else(unreadable)?;
    let at = at.split(' ').next().unwrap_or_default();
    let taken = if amount == "void" { None } else { Some(credits(amount)?) };
    Ok((taken, Timestamp::from_millis(at.parse().map_err(StoreError::corrupt)?)))
}

fn unreadable() -> StoreError {
    StoreError::corrupt("invalid open charge in Redis")
}

/// Escapes the characters of a name that are wildcards in a Redis pattern.
fn literal(name: &str) -> String {
    name.chars()
        .flat_map(|letter| ['\\', letter].into_iter().skip(usize::from(!"*?[]\\^-".contains(letter))))
        .collect()
}
