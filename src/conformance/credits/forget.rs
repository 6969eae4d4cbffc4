//! Checks of folding old entries into one. The entries of these checks are decades old, so the entries of others are
//! not changed. Other checks may fold at the same time, so an entry that is already folded may be folded again.

use super::{Admin, TestAccount, limited};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::credit::{Adjusted, AdjustmentKind, Balance, CreditAdmin, Entry, EntryKind, EntryQuery};

pub(super) fn checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        old_entries_are_folded_into_one,
        newer_entries_are_not_folded,
        folded_entries_still_sum_to_the_balance,
        folding_again_changes_nothing,
        folding_leaves_open_charges_and_ids,
        an_account_without_limit_is_folded,
    ]
}

/// The time of the old entries, decades ago.
const LONG_AGO: Timestamp = Timestamp::from_millis(1_000_000);

/// The moment up to which entries are folded.
const FOLDED: Timestamp = Timestamp::from_millis(2_000_000);

/// Creates an account with 100 credits and one old entry.
async fn old(ledger: &Admin) -> Result<TestAccount<dyn CreditAdmin>, Fault> {
    let test_account = TestAccount { now: LONG_AGO, ..TestAccount::bare(ledger.clone()) };
    test_account.make(AdjustmentKind::TopUp(Credits::new(100))).await?;
    Ok(test_account)
}

/// Returns the entries, the oldest first.
async fn entries(test_account: &TestAccount<dyn CreditAdmin>) -> Result<Vec<Entry>, Fault> {
    let query = EntryQuery::newest(test_account.account.id.clone(), 30);
    let mut entries = test_account.ledger.entries(&query).await?;
    entries.reverse();
    // The bucket of an entry depends on the ledger: one without buckets has the main bucket only.
    let bare = |entry: Entry| Entry::new(entry.number, entry.at, entry.kind, entry.amount, entry.balance);
    Ok(entries.into_iter().map(bare).collect())
}

async fn old_entries_are_folded_into_one(ledger: Admin) -> Verdict {
    let test_account = old(&ledger).await?;
    test_account.take(30).await?;
    test_account.take(20).await?;
    ledger.forget_entries(FOLDED).await?;
    let folded = Entry::new(3, LONG_AGO, EntryKind::Folded, 50, limited(50));
    same("the entries", entries(&test_account).await?, vec![folded])?;
    test_account.expect("after its entries were folded", 50).await
}

async fn newer_entries_are_not_folded(ledger: Admin) -> Verdict {
    let test_account = old(&ledger).await?;
    test_account.take(30).await?;
    let newer = TestAccount { now: fresh::now(), ..test_account.clone() };
    let (one, other) = (newer.take(5).await?, newer.take(6).await?);
    ledger.forget_entries(FOLDED).await?;
    let expected = vec![
        Entry::new(2, LONG_AGO, EntryKind::Folded, 70, limited(70)),
        Entry::new(3, newer.now, EntryKind::Charge(one), -5, limited(65)),
        Entry::new(4, newer.now, EntryKind::Charge(other), -6, limited(59)),
    ];
    same("the entries", entries(&test_account).await?, expected)?;
    // A single old entry has no other entry to be folded with.
    let single = old(&ledger).await?;
    let before = entries(&single).await?;
    ledger.forget_entries(FOLDED).await?;
    same("a single entry", entries(&single).await?, before)
}

async fn folded_entries_still_sum_to_the_balance(ledger: Admin) -> Verdict {
    let test_account = old(&ledger).await?;
    for _ in 0..3 {
        test_account.take(7).await?;
    }
    ledger.forget_entries(FOLDED).await?;
    let newer = TestAccount { now: fresh::now(), ..test_account };
    for _ in 0..4 {
        newer.take(9).await?;
    }
    let entries = entries(&newer).await?;
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    same("the numbers", numbers, vec![4, 5, 6, 7, 8])?;
    let sum: i64 = entries.iter().map(|entry| entry.amount).sum();
    same("the sum of the entries", sum, 43)?;
    newer.expect("after both", 43).await
}

async fn folding_again_changes_nothing(ledger: Admin) -> Verdict {
    let test_account = old(&ledger).await?;
    for _ in 0..6 {
        test_account.take(1).await?;
    }
    ledger.forget_entries(FOLDED).await?;
    let left = entries(&test_account).await?;
    same("how many entries are left", left.len(), 1)?;
    ledger.forget_entries(FOLDED).await?;
    same("the entries, folded again", entries(&test_account).await?, left)
}

async fn folding_leaves_open_charges_and_ids(ledger: Admin) -> Verdict {
    let (test_account, id) = (old(&ledger).await?, fresh::adjustment()?);
    let kind = AdjustmentKind::TopUp(Credits::new(10));
    let _made = test_account.adjust(&id, kind.clone()).await?;
    let (settled, refunded) = (test_account.take(30).await?, test_account.take(40).await?);
    ledger.forget_entries(FOLDED).await?;
    test_account.settle(settled, 10).await?;
    test_account.refund(refunded).await?;
    test_account.expect("after the charges were closed", 100).await?;
    let again = test_account.adjust(&id, kind).await?;
    same("the same adjustment", again, Adjusted::Repeated { balance: limited(110) })
}

async fn an_account_without_limit_is_folded(ledger: Admin) -> Verdict {
    let test_account = old(&ledger).await?;
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    ledger.forget_entries(FOLDED).await?;
    let folded = Entry::new(2, LONG_AGO, EntryKind::Folded, 0, Balance::Unlimited);
    same("the entries", entries(&test_account).await?, vec![folded])?;
    same("the balance", test_account.read().await?, Balance::Unlimited)
}
