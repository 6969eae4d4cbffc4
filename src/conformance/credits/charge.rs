//! Checks of charges.

use super::{Ledger, TestAccount, count_posted, insufficient, posted};
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Verdict, same};

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        a_charge_says_what_is_left needs WholeBalances,
        a_charge_takes_its_amount,
        the_last_credit_can_be_spent,
        an_insufficient_charge_takes_nothing,
        an_account_without_credits_pays_nothing,
        accounts_do_not_share_credits,
        racing_charges_spend_what_there_is,
        racing_charges_that_do_not_divide_the_balance_leave_the_rest,
        a_repeated_charge_is_posted_once,
        a_charge_that_emptied_the_balance_can_be_repeated,
        racing_repeats_of_a_charge_are_posted_once,
        a_charge_with_another_copy_of_the_account_meets_the_same_balance,
    ]
}

async fn a_charge_says_what_is_left(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    same("a charge of 10 of 100", test_account.charge(fresh::charge(), 10).await?, posted(90))?;
    same("a charge of 90 of 90", test_account.charge(fresh::charge(), 90).await?, posted(0))
}

async fn a_charge_takes_its_amount(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(10).await?;
    test_account.take(1).await?;
    test_account.expect_balance("after charges of 10 and 1 of 100", 89).await
}

async fn the_last_credit_can_be_spent(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 3)?;
    for _ in 0..3 {
        test_account.take(1).await?;
    }
    same("a fourth charge of 1 of 3", test_account.charge(fresh::charge(), 1).await?, insufficient(0))
}

async fn an_insufficient_charge_takes_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 10)?;
    same("a charge of 11 of 10", test_account.charge(fresh::charge(), 11).await?, insufficient(10))?;
    same(
        "one of all there can be",
        test_account.charge(fresh::charge(), i64::MAX as u64).await?,
        insufficient(10),
    )?;
    test_account.take(10).await.map(drop)
}

async fn an_account_without_credits_pays_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    same("a charge to an unknown account", test_account.charge(fresh::charge(), 1).await?, insufficient(0))
}

async fn accounts_do_not_share_credits(ledger: Ledger) -> Verdict {
    let (one, other) = (TestAccount::granted(ledger.clone(), 10)?, TestAccount::granted(ledger, 10)?);
    one.take(10).await?;
    other.expect_balance("of the other account", 10).await
}

async fn racing_charges_spend_what_there_is(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 10)?;
    let answers = race((0..RACERS).map(|_| charging(&test_account, 1))).await?;
    same("how many of 16 charges of 1 were posted, of 10", count_posted(&answers), 10)?;
    test_account.expect_balance("after them", 0).await
}

async fn racing_charges_that_do_not_divide_the_balance_leave_the_rest(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 10)?;
    let answers = race((0..RACERS).map(|_| charging(&test_account, 3))).await?;
    same("how many charges of 3 were posted, of 10", count_posted(&answers), 3)?;
    test_account.expect_balance("after them", 1).await
}

/// Returns a function that charges under a new id.
fn charging(
    test_account: &TestAccount<dyn crate::credit::CreditLedger>,
    amount: u64,
) -> impl FnOnce() -> crate::future::StoreFuture<crate::credit::Charged> + Send + use<> {
    let test_account = test_account.clone();
    move || test_account.charge(fresh::charge(), amount)
}

async fn a_repeated_charge_is_posted_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(10).await?;
    same("the charge again", count_posted(&[test_account.charge(id, 10).await?]), 1)?;
    test_account.expect_balance("after the same charge of 10 twice", 90).await
}

async fn a_charge_that_emptied_the_balance_can_be_repeated(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 10)?;
    let id = test_account.take(10).await?;
    same("the charge again, with nothing left", count_posted(&[test_account.charge(id, 10).await?]), 1)
}

async fn racing_repeats_of_a_charge_are_posted_once(ledger: Ledger) -> Verdict {
    let (test_account, id) = (TestAccount::granted(ledger, 100)?, fresh::charge());
    let repeats = (0..RACERS).map(|_| {
        let test_account = test_account.clone();
        move || test_account.charge(id, 10)
    });
    let answers = race(repeats).await?;
    same("how many answers are that it is posted", count_posted(&answers), RACERS)?;
    test_account.expect_balance("after one charge of 10", 90).await
}

async fn a_charge_with_another_copy_of_the_account_meets_the_same_balance(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(60).await?;
    // A record that was read again has none of the pointers that a ledger may keep on it.
    let copy = TestAccount {
        account: crate::account::Account::clone(&test_account.account).into(),
        ..test_account.clone()
    };
    copy.expect_balance("by another copy of the account", 40).await?;
    copy.refund(id).await?;
    test_account.expect_balance("after a refund by the copy", 100).await
}
