//! Checks of the permanent removal of balances.

use super::{Admin, TestAccount};
use crate::amount::Credits;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Verdict, same};
use crate::credit::{Adjusted, AdjustmentKind, EntryQuery};

pub(super) fn checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        an_erased_balance_is_gone,
        an_erased_balance_is_removed_once,
        an_erased_balance_takes_its_entries_along,
        an_erased_balance_takes_its_open_charges_along,
        an_erased_balance_forgets_its_adjustments,
        an_account_without_a_balance_is_told,
        an_account_of_an_erased_balance_begins_anew,
        an_erased_balance_takes_no_other_with_it,
    ]
}

async fn an_erased_balance_is_gone(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger.clone(), 100).await?;
    same("that it was there", ledger.erase_balance(&test_account.account.id).await?, true)?;
    test_account.expect("after it was erased", 0).await?;
    same("a charge", test_account.charge(fresh::charge(), 1).await?, super::insufficient(0))
}

async fn an_erased_balance_is_removed_once(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger.clone(), 100).await?;
    let erasures = (0..RACERS).map(|_| {
        let test_account = test_account.clone();
        move || test_account.ledger.erase_balance(&test_account.account.id)
    });
    let answers = race(erasures).await?;
    same("how often it was there", answers.into_iter().filter(|was_there| *was_there).count(), 1)?;
    same("that it was there again", ledger.erase_balance(&test_account.account.id).await?, false)
}

async fn an_erased_balance_takes_its_entries_along(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger.clone(), 100).await?;
    let query = EntryQuery::newest(test_account.account.id.clone(), 30);
    same("that it was there", ledger.erase_balance(&test_account.account.id).await?, true)?;
    same("its entries", ledger.entries(&query).await?, Vec::new())?;
    test_account.make(AdjustmentKind::TopUp(Credits::new(5))).await?;
    let numbers: Vec<_> =
        ledger.entries(&query).await?.iter().map(|entry| (entry.number, entry.amount)).collect();
    same("the entries of the new one", numbers, vec![(1, 5)])
}

async fn an_erased_balance_takes_its_open_charges_along(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger.clone(), 100).await?;
    let (refunded, settled) = (test_account.take(30).await?, test_account.take(30).await?);
    same("that it was there", ledger.erase_balance(&test_account.account.id).await?, true)?;
    test_account.make(AdjustmentKind::TopUp(Credits::new(5))).await?;
    test_account.refund(refunded).await?;
    test_account.settle(settled, 10).await?;
    test_account.expect("of the new one, after its predecessor's charges were closed", 5).await
}

async fn an_erased_balance_forgets_its_adjustments(ledger: Admin) -> Verdict {
    let (test_account, id) = (TestAccount::bare(ledger.clone()), fresh::adjustment()?);
    for _ in 0..2 {
        let made = test_account.adjust(&id, AdjustmentKind::TopUp(Credits::new(5))).await?;
        let expected = Adjusted::Done { before: super::limited(0), balance: super::limited(5) };
        same("the same adjustment of a new balance", made, expected)?;
        same("that it was there", ledger.erase_balance(&test_account.account.id).await?, true)?;
    }
    Ok(())
}

async fn an_account_without_a_balance_is_told(ledger: Admin) -> Verdict {
    same("that it was there", ledger.erase_balance(&fresh::account().id).await?, false)
}

async fn an_account_of_an_erased_balance_begins_anew(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger.clone(), 100)?;
    test_account.take(100).await?;
    same("that it was there", ledger.erase_balance(&test_account.account.id).await?, true)?;
    test_account.expect_balance("opened anew by the grant", 100).await
}

async fn an_erased_balance_takes_no_other_with_it(ledger: Admin) -> Verdict {
    let (one, other) =
        (TestAccount::holding(ledger.clone(), 100).await?, TestAccount::holding(ledger.clone(), 100).await?);
    let open = other.take(30).await?;
    same("that it was there", ledger.erase_balance(&one.account.id).await?, true)?;
    other.refund(open).await?;
    other.expect("of another account", 100).await
}
