//! The periodic maintenance of a node. Any number of nodes may do it concurrently.

use std::time::Duration;

use tollgate::clock::SystemClock;
use tollgate::credit::{Abandoned, CreditAdmin as _, SqlLedger};
use tollgate::{Clock as _, KeyManager, StoreError};

const EVERY: Duration = Duration::from_mins(1);

/// The time after which an open charge is refunded. It is longer than any request takes, and longer than a lease lasts.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// The time for which the ids of closed charges are stored.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// The time for which the single entries of an account are stored.
const LISTED_FOR: Duration = Duration::from_hours(24 * 90);

pub(crate) async fn keep(manager: KeyManager, credits: SqlLedger) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = manager.flush_uses().await {
            eprintln!("failed to store the uses of keys since {error}");
        }
        if let Err(error) = sweep(&credits).await {
            eprintln!("failed to maintain the charges since {error}");
        }
    }
}

/// Refunds the charges of stopped nodes, and deletes charges that were closed long ago. Merges old entries into one per
/// account.
async fn sweep(credits: &SqlLedger) -> Result<(), StoreError> {
    credits.close_abandoned(ABANDONED_AFTER, Abandoned::Refund).await?;
    credits.forget_closed(FORGOTTEN_AFTER).await?;
    credits.forget_entries(SystemClock::new().now().wall().saturating_sub(LISTED_FOR)).await?;
    Ok(())
}
