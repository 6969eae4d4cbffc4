//! The periodic work of a node, beside the requests. Any number of nodes may do it.

use std::time::Duration;

use tollgate::clock::SystemClock;
use tollgate::credit::{Abandoned, CreditAdmin as _, SqlLedger};
use tollgate::{Clock as _, KeyManager, StoreError};

const EVERY: Duration = Duration::from_mins(1);

/// For how long a charge may be open before it is given back: longer than any request takes, and than a lease lasts.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// For how long a charge that is closed is told from a new one of the same id.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// For how long the entries of an account are listed one by one.
const LISTED_FOR: Duration = Duration::from_hours(24 * 90);

pub(crate) async fn keep(manager: KeyManager, credits: SqlLedger) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = manager.flush_uses().await {
            eprintln!("when keys were used was not written down: {error}");
        }
        if let Err(error) = sweep(&credits).await {
            eprintln!("open and closed charges were not looked at: {error}");
        }
    }
}

/// Gives back the charges of nodes that have died, and forgets those that were closed long ago: there is one for each request
/// that went to the database. Entries of long ago are folded into one per account.
async fn sweep(credits: &SqlLedger) -> Result<(), StoreError> {
    credits.close_abandoned(ABANDONED_AFTER, Abandoned::Refund).await?;
    credits.forget_closed(FORGOTTEN_AFTER).await?;
    credits.forget_entries(SystemClock::new().now().wall().saturating_sub(LISTED_FOR)).await?;
    Ok(())
}
