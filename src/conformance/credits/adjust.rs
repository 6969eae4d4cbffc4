//! Checks of reading and adjusting balances.

use std::sync::Arc;

use super::{Admin, NEARLY, PERIOD, TestAccount, count_posted, limited};
use crate::account::Allowance;
use crate::amount::Credits;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::credit::{Adjusted, AdjustmentKind, Balance, CreditAdmin, EntryQuery};
use crate::future::StoreFuture;

pub(super) fn checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        an_unknown_account_has_what_its_first_charge_would_find,
        reading_a_balance_writes_nothing,
        reading_counts_a_grant_that_is_due_and_does_not_give_it,
        an_open_charge_is_taken_from_the_balance,
        a_top_up_adds,
        a_deduction_takes,
        a_deduction_of_more_than_there_is_is_refused,
        a_set_balance_replaces_what_there_was,
        an_adjustment_is_met_by_the_next_charge,
        an_adjustment_is_given_the_grant_first,
        an_adjusted_balance_is_not_opened_again,
        an_adjustment_under_the_same_id_is_made_once,
        a_repeated_adjustment_is_answered_by_the_balance_it_came_to,
        another_adjustment_under_the_same_id_is_refused,
        a_refused_adjustment_may_be_tried_again,
        ids_of_adjustments_are_an_accounts_own,
        a_thousand_adjustments_are_remembered,
        racing_adjustments_of_one_id_are_made_once,
        racing_deductions_take_what_there_is,
        racing_charges_and_top_ups_are_conserved,
        a_balance_is_never_above_the_largest_amount,
        a_grant_leaves_room_for_what_is_open,
        the_write_side_is_offered,
    ]
}

fn top_up(amount: u64) -> AdjustmentKind {
    AdjustmentKind::TopUp(Credits::new(amount))
}

fn deduct(amount: u64) -> AdjustmentKind {
    AdjustmentKind::Deduct(Credits::new(amount))
}

fn set(amount: u64) -> AdjustmentKind {
    AdjustmentKind::Set(Credits::new(amount))
}

fn done(before: u64, after: u64) -> Adjusted {
    Adjusted::Done { before: limited(before), balance: limited(after) }
}

const MAX: u64 = Credits::MAX.get();

async fn an_unknown_account_has_what_its_first_charge_would_find(ledger: Admin) -> Verdict {
    let (bare, granted) = (TestAccount::bare(ledger.clone()), TestAccount::granted(ledger, 100)?);
    same("without a grant", bare.read().await?, limited(0))?;
    same("with a grant of 100", granted.read().await?, limited(100))?;
    let free = TestAccount { allowance: Allowance::Unlimited, ..bare };
    same("under a plan without limit", free.read().await?, Balance::Unlimited)
}

async fn reading_a_balance_writes_nothing(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger.clone(), 100)?;
    test_account.read().await?;
    same(
        "the entries",
        ledger.entries(&EntryQuery::newest(test_account.account.id.clone(), 9)).await?,
        Vec::new(),
    )?;
    same("whether there is a balance", ledger.erase_balance(&test_account.account.id).await?, false)
}

async fn reading_counts_a_grant_that_is_due_and_does_not_give_it(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(60).await?;
    test_account.after(NEARLY).expect("before the grant is due", 40).await?;
    test_account.after(PERIOD).expect("when it is due", 100).await?;
    test_account.expect("before it is due, after it was read", 40).await?;
    test_account.expect_balance("before it is due, after it was read", 40).await
}

async fn an_open_charge_is_taken_from_the_balance(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    let id = test_account.take(30).await?;
    test_account.expect("with a charge open", 70).await?;
    test_account.settle(id, 10).await?;
    test_account.expect("after its settlement at 10", 90).await
}

async fn a_top_up_adds(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    same("the first", test_account.adjust(&fresh::adjustment()?, top_up(40)).await?, done(0, 40))?;
    same("the second", test_account.adjust(&fresh::adjustment()?, top_up(2)).await?, done(40, 42))?;
    test_account.expect("after both", 42).await
}

async fn a_deduction_takes(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    same("a part", test_account.adjust(&fresh::adjustment()?, deduct(30)).await?, done(100, 70))?;
    same("the rest", test_account.adjust(&fresh::adjustment()?, deduct(70)).await?, done(70, 0))?;
    test_account.expect("after both", 0).await
}

async fn a_deduction_of_more_than_there_is_is_refused(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    test_account.take(30).await?;
    let refused = Adjusted::Insufficient { balance: Credits::new(70) };
    same("71 of 70", test_account.adjust(&fresh::adjustment()?, deduct(71)).await?, refused)?;
    test_account.expect("after it", 70).await
}

async fn a_set_balance_replaces_what_there_was(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    same("to less", test_account.adjust(&fresh::adjustment()?, set(7)).await?, done(100, 7))?;
    same("to more", test_account.adjust(&fresh::adjustment()?, set(700)).await?, done(7, 700))?;
    same("to the same", test_account.adjust(&fresh::adjustment()?, set(700)).await?, done(700, 700))?;
    same("to nothing", test_account.adjust(&fresh::adjustment()?, set(0)).await?, done(700, 0))?;
    test_account.expect("after all", 0).await
}

async fn an_adjustment_is_met_by_the_next_charge(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    same(
        "a charge with nothing there",
        test_account.charge(fresh::charge(), 5).await?,
        super::insufficient(0),
    )?;
    test_account.make(top_up(5)).await?;
    test_account.take(5).await?;
    test_account.make(top_up(5)).await?;
    test_account.make(deduct(1)).await?;
    same("a charge of 5 of 4", test_account.charge(fresh::charge(), 5).await?, super::insufficient(4))
}

async fn an_adjustment_is_given_the_grant_first(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    same("a new account", test_account.adjust(&fresh::adjustment()?, top_up(5)).await?, done(100, 105))?;
    test_account.make(set(105)).await?;
    test_account.take(55).await?;
    let due = test_account.after(PERIOD);
    same("when the grant is due", due.adjust(&fresh::adjustment()?, deduct(30)).await?, done(100, 70))?;
    due.expect("after it", 70).await
}

async fn an_adjusted_balance_is_not_opened_again(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.make(set(5)).await?;
    test_account.expect_balance("that was set to 5, with a grant of 100", 5).await?;
    test_account.after(PERIOD).expect_balance("when the grant is due", 100).await
}

async fn an_adjustment_under_the_same_id_is_made_once(ledger: Admin) -> Verdict {
    let (test_account, id) = (TestAccount::bare(ledger), fresh::adjustment()?);
    for kind in [top_up(5), top_up(5)] {
        let _done_or_repeated = test_account.adjust(&id, kind).await?;
    }
    test_account.expect("after the same top-up twice", 5).await
}

async fn a_repeated_adjustment_is_answered_by_the_balance_it_came_to(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    for (kind, balance) in [
        (top_up(5), limited(5)),
        (deduct(2), limited(3)),
        (set(9), limited(9)),
        (AdjustmentKind::MakeUnlimited, Balance::Unlimited),
    ] {
        let id = fresh::adjustment()?;
        same("made", balance_of(&test_account.adjust(&id, kind.clone()).await?), Some(balance))?;
        let later = fresh::adjustment()?;
        let _meanwhile = test_account.adjust(&later, top_up(1)).await?;
        same("made again", test_account.adjust(&id, kind).await?, Adjusted::Repeated { balance })?;
        let _back = test_account.adjust(&fresh::adjustment()?, deduct(1)).await?;
    }
    Ok(())
}

fn balance_of(adjusted: &Adjusted) -> Option<Balance> {
    if let Adjusted::Done { balance, .. } = adjusted { Some(*balance) } else { None }
}

async fn another_adjustment_under_the_same_id_is_refused(ledger: Admin) -> Verdict {
    let (test_account, id) = (TestAccount::bare(ledger), fresh::adjustment()?);
    same("the first", test_account.adjust(&id, top_up(5)).await?, done(0, 5))?;
    for other in [top_up(6), deduct(5), set(5), AdjustmentKind::MakeUnlimited] {
        let conflict = Adjusted::Conflict { made: top_up(5) };
        same(&format!("{other} under its id"), test_account.adjust(&id, other).await?, conflict)?;
    }
    test_account.expect("after them", 5).await
}

async fn a_refused_adjustment_may_be_tried_again(ledger: Admin) -> Verdict {
    let (test_account, id) = (TestAccount::bare(ledger), fresh::adjustment()?);
    let refused = Adjusted::Insufficient { balance: Credits::ZERO };
    same("with nothing there", test_account.adjust(&id, deduct(5)).await?, refused)?;
    test_account.make(top_up(5)).await?;
    same("with enough", test_account.adjust(&id, deduct(5)).await?, done(5, 0))
}

async fn ids_of_adjustments_are_an_accounts_own(ledger: Admin) -> Verdict {
    let (one, other, id) =
        (TestAccount::bare(ledger.clone()), TestAccount::bare(ledger), fresh::adjustment()?);
    same("of the one", one.adjust(&id, top_up(5)).await?, done(0, 5))?;
    same("of the other", other.adjust(&id, top_up(7)).await?, done(0, 7))
}

async fn a_thousand_adjustments_are_remembered(ledger: Admin) -> Verdict {
    let (test_account, first) = (TestAccount::bare(ledger), fresh::adjustment()?);
    same("the first", test_account.adjust(&first, top_up(1)).await?, done(0, 1))?;
    for _ in 1..1024 {
        test_account.make(top_up(1)).await?;
    }
    let repeated = Adjusted::Repeated { balance: limited(1) };
    same("the first of 1,024 again", test_account.adjust(&first, top_up(1)).await?, repeated)?;
    test_account.expect("after 1,024 top-ups", 1024).await
}

async fn racing_adjustments_of_one_id_are_made_once(ledger: Admin) -> Verdict {
    let (test_account, id) = (TestAccount::bare(ledger), fresh::adjustment()?);
    let adjustments = (0..RACERS).map(|_| {
        let (test_account, id) = (test_account.clone(), id.clone());
        move || test_account.adjust(&id, top_up(5))
    });
    let answers = race(adjustments).await?;
    let repeated = Adjusted::Repeated { balance: limited(5) };
    let times = |which: Adjusted| answers.iter().filter(|answer| **answer == which).count();
    same(
        "how many made it, and how many repeated it",
        (times(done(0, 5)), times(repeated)),
        (1, RACERS - 1),
    )?;
    test_account.expect("after one top-up", 5).await
}

async fn racing_deductions_take_what_there_is(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 10).await?;
    let ids = (0..RACERS).map(|_| fresh::adjustment()).collect::<Result<Vec<_>, _>>()?;
    let deductions = ids.into_iter().map(|id| {
        let test_account = test_account.clone();
        move || test_account.adjust(&id, deduct(1))
    });
    let answers = race(deductions).await?;
    let made = answers.iter().filter(|answer| matches!(answer, Adjusted::Done { .. })).count();
    same("how many of 16 deductions of 1 were made, of 10", made, 10)?;
    test_account.expect("after them", 0).await
}

async fn racing_charges_and_top_ups_are_conserved(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 1_000).await?;
    let id = fresh::adjustment()?;
    let calls = (0..RACERS).map(|racer| {
        let (test_account, name) = (test_account.clone(), format!("{id}-{racer}"));
        move || {
            let call = test_account.clone();
            StoreFuture::boxed(async move { one_of_three(&call, racer, &name).await })
        }
    });
    race(calls).await?;
    // Six charges of 10 remain, five charges of 10 were refunded, and there were five top-ups of 7.
    test_account.expect("after 6 charges of 10 and 5 top-ups of 7", 1_000 - 60 + 35).await
}

/// Makes the call of one racer: a charge, a charge that is refunded, or a top-up.
async fn one_of_three(
    test_account: &TestAccount<dyn CreditAdmin>,
    racer: usize,
    name: &str,
) -> Result<(), crate::error::StoreError> {
    let id = fresh::charge();
    match racer % 3 {
        0 => drop(test_account.charge(id, 10).await?),
        1 => {
            let _posted = test_account.charge(id, 10).await?;
            test_account.refund(id).await?;
        }
        _ => {
            let Ok(id) = name.parse() else { return Ok(()) };
            let _made = test_account.adjust(&id, top_up(7)).await?;
        }
    }
    Ok(())
}

async fn a_balance_is_never_above_the_largest_amount(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, MAX).await?;
    let full = Adjusted::TooMuch { balance: Credits::MAX };
    same("one more", test_account.adjust(&fresh::adjustment()?, top_up(1)).await?, full)?;
    let id = test_account.take(MAX).await?;
    let held = Adjusted::TooMuch { balance: Credits::ZERO };
    same(
        "one more, with all of it open",
        test_account.adjust(&fresh::adjustment()?, top_up(1)).await?,
        held.clone(),
    )?;
    same("set to one, with all of it open", test_account.adjust(&fresh::adjustment()?, set(1)).await?, held)?;
    test_account.refund(id).await?;
    test_account.expect("given back", MAX).await
}

async fn a_grant_leaves_room_for_what_is_open(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, MAX)?;
    let id = test_account.take(MAX - 5).await?;
    let due = test_account.after(PERIOD);
    same("a charge when the grant is due", count_posted(&[due.charge(fresh::charge(), 5).await?]), 1)?;
    due.expect("after it", 0).await?;
    due.refund(id).await?;
    due.expect("with the open charge given back", MAX - 5).await
}

async fn the_write_side_is_offered(ledger: Admin) -> Verdict {
    let admin = Arc::clone(&ledger).admin();
    let admin = admin.ok_or_else(|| Fault::new("`CreditLedger::admin` returns no write side"))?;
    let test_account = TestAccount::bare(ledger);
    let same_account = TestAccount { ledger: admin, ..test_account.clone() };
    same_account.make(set(7)).await?;
    test_account.expect("what was set through the write side", 7).await
}
