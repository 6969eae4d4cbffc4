//! Checks of the entries of a balance.

use super::{Admin, PERIOD, TestAccount, limited};
use crate::amount::Credits;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::credit::{AdjustmentKind, Balance, CreditAdmin, Entry, EntryKind, EntryQuery};

pub(super) fn checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        an_unknown_account_has_no_entries,
        every_movement_writes_an_entry,
        every_adjustment_writes_an_entry,
        what_is_refused_or_repeated_writes_none,
        entries_are_numbered_from_one_without_a_gap,
        entries_come_newest_first_and_in_pages,
        each_entry_carries_on_from_the_one_before,
        entries_sum_to_the_balance_after_a_race,
        an_entry_bears_the_time_of_its_call,
        an_account_without_limit_counts_as_zero,
        accounts_have_entries_of_their_own,
    ]
}

/// Returns the newest entries of the account, the oldest of them first.
async fn entries(test_account: &TestAccount<dyn CreditAdmin>) -> Result<Vec<Entry>, Fault> {
    let query = EntryQuery::newest(test_account.account.id.clone(), 30);
    let mut entries = test_account.ledger.entries(&query).await?;
    entries.reverse();
    Ok(entries)
}

/// Returns the kind and the amount of each change. A change may have an entry for each bucket.
async fn movements(test_account: &TestAccount<dyn CreditAdmin>) -> Result<Vec<(EntryKind, i64)>, Fault> {
    let mut movements: Vec<(EntryKind, i64)> = Vec::new();
    for entry in entries(test_account).await? {
        match movements.last_mut() {
            Some((kind, amount)) if *kind == entry.kind && kind.adjustment().is_some() => {
                *amount += entry.amount;
            }
            _ => movements.push((entry.kind, entry.amount)),
        }
    }
    Ok(movements)
}

async fn an_unknown_account_has_no_entries(ledger: Admin) -> Verdict {
    same("the entries", entries(&TestAccount::bare(ledger)).await?, Vec::new())
}

async fn every_movement_writes_an_entry(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let (settled, refunded) = (test_account.take(30).await?, test_account.take(20).await?);
    test_account.settle(settled, 10).await?;
    test_account.refund(refunded).await?;
    let granted = test_account.after(PERIOD).take(5).await?;
    let expected = vec![
        (EntryKind::Grant, 100),
        (EntryKind::Charge(settled), -30),
        (EntryKind::Charge(refunded), -20),
        (EntryKind::Settlement(settled), 20),
        (EntryKind::Refund(refunded), 20),
        (EntryKind::Grant, 10),
        (EntryKind::Charge(granted), -5),
    ];
    same("what moved", movements(&test_account).await?, expected)
}

async fn every_adjustment_writes_an_entry(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let [up, down, set, same_again] =
        [fresh::adjustment()?, fresh::adjustment()?, fresh::adjustment()?, fresh::adjustment()?];
    for (id, kind) in [
        (&up, AdjustmentKind::TopUp(Credits::new(9))),
        (&down, AdjustmentKind::Deduct(Credits::new(2))),
        (&set, AdjustmentKind::Set(Credits::new(4))),
        (&same_again, AdjustmentKind::Set(Credits::new(4))),
    ] {
        let _made = test_account.adjust(id, kind).await?;
    }
    let expected = vec![
        (EntryKind::TopUp(up), 9),
        (EntryKind::Deduction(down), -2),
        (EntryKind::Set(set), -3),
        (EntryKind::Set(same_again), 0),
    ];
    same("what moved", movements(&test_account).await?, expected)
}

async fn what_is_refused_or_repeated_writes_none(ledger: Admin) -> Verdict {
    let (test_account, made) = (TestAccount::bare(ledger), fresh::adjustment()?);
    for _ in 0..2 {
        let _made = test_account.adjust(&made, AdjustmentKind::TopUp(Credits::new(9))).await?;
    }
    let refused = [AdjustmentKind::Deduct(Credits::new(10)), AdjustmentKind::TopUp(Credits::MAX)];
    for kind in refused {
        let _refused = test_account.adjust(&fresh::adjustment()?, kind).await?;
    }
    let _insufficient = test_account.charge(fresh::charge(), 10).await?;
    let taken = test_account.take(9).await?;
    let _repeated = test_account.charge(taken, 9).await?;
    test_account.refund(taken).await?;
    test_account.refund(taken).await?;
    test_account.settle(taken, 1).await?;
    test_account.refund(fresh::charge()).await?;
    let expected =
        vec![(EntryKind::TopUp(made), 9), (EntryKind::Charge(taken), -9), (EntryKind::Refund(taken), 9)];
    same("what moved", movements(&test_account).await?, expected)
}

async fn entries_are_numbered_from_one_without_a_gap(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    for _ in 0..4 {
        test_account.take(1).await?;
        let _insufficient = test_account.charge(fresh::charge(), 1_000).await?;
    }
    let numbers: Vec<u64> = entries(&test_account).await?.iter().map(|entry| entry.number).collect();
    same("the numbers", numbers, vec![1, 2, 3, 4, 5])
}

async fn entries_come_newest_first_and_in_pages(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger.clone(), 100).await?;
    for _ in 0..6 {
        test_account.take(1).await?;
    }
    let (mut numbers, mut before) = (Vec::new(), None);
    for _ in 0..4 {
        let query = EntryQuery { before, ..EntryQuery::newest(test_account.account.id.clone(), 3) };
        let page: Vec<u64> = ledger.entries(&query).await?.iter().map(|entry| entry.number).collect();
        holds("a page ends at its limit", page.len() <= 3)?;
        before = page.last().copied().or(before);
        numbers.extend(page);
    }
    same("the numbers, page by page", numbers, vec![7, 6, 5, 4, 3, 2, 1])?;
    let none = EntryQuery::newest(test_account.account.id.clone(), 0);
    same("a page of nothing", ledger.entries(&none).await?, Vec::new())
}

async fn each_entry_carries_on_from_the_one_before(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    test_account.settle(id, 10).await?;
    test_account.make(AdjustmentKind::Set(Credits::new(7))).await?;
    test_account.take(7).await?;
    sums(&entries(&test_account).await?, 0)
}

/// Checks that each entry's balance is the previous balance plus the entry's amount.
fn sums(entries: &[Entry], expected: u64) -> Verdict {
    let mut before = 0;
    for entry in entries {
        let balance = i128::from(entry.balance.credits().unwrap_or_default().get());
        same(&format!("the balance of entry {}", entry.number), balance, before + i128::from(entry.amount))?;
        before = balance;
    }
    same("the sum of the entries", before, i128::from(expected))
}

async fn entries_sum_to_the_balance_after_a_race(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 1_000).await?;
    let calls = (0..12).map(|racer: u64| {
        let test_account = test_account.clone();
        move || {
            crate::future::StoreFuture::boxed(async move {
                let id = fresh::charge();
                let _posted = test_account.charge(id, 10 + racer).await?;
                if racer.is_multiple_of(3) {
                    test_account.refund(id).await
                } else {
                    test_account.settle(id, racer).await
                }
            })
        }
    });
    fresh::race(calls).await?;
    let spent: u64 = (0..12).filter(|racer| racer % 3 != 0).sum();
    test_account.expect("after the race", 1_000 - spent).await?;
    let entries = entries(&test_account).await?;
    same("how many entries there are", entries.len(), 25)?;
    sums(&entries, 1_000 - spent)
}

async fn an_entry_bears_the_time_of_its_call(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    let later = test_account.after(PERIOD);
    later.take(1).await?;
    let times: Vec<_> = entries(&test_account).await?.iter().map(|entry| entry.at).collect();
    same("when", times, vec![test_account.now, later.now])
}

async fn an_account_without_limit_counts_as_zero(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    let _posted = test_account.charge(fresh::charge(), 30).await?;
    test_account.make(AdjustmentKind::Set(Credits::new(5))).await?;
    let found: Vec<_> =
        entries(&test_account).await?.iter().map(|entry| (entry.amount, entry.balance)).collect();
    same("what moved", found, vec![(100, limited(100)), (-100, Balance::Unlimited), (5, limited(5))])
}

async fn accounts_have_entries_of_their_own(ledger: Admin) -> Verdict {
    let (one, other) =
        (TestAccount::holding(ledger.clone(), 1).await?, TestAccount::holding(ledger, 2).await?);
    for (test_account, amount) in [(&one, 1), (&other, 2)] {
        let amounts: Vec<i64> =
            movements(test_account).await?.into_iter().map(|(_, amount)| amount).collect();
        same("what moved", amounts, vec![amount])?;
    }
    Ok(())
}
