//! Checks of closing charges: a charge is settled at its cost, or refunded.

use super::{Ledger, TestAccount};
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Verdict, holds, same};
use crate::credit::CreditLedger;
use crate::future::StoreFuture;

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        a_refund_gives_the_charge_back,
        a_settlement_gives_the_rest_back,
        a_settlement_at_the_full_cost_gives_nothing_back,
        a_settlement_at_no_cost_gives_all_back,
        a_settlement_above_the_charge_takes_no_more without LateCosts,
        a_refund_is_made_once,
        a_settlement_is_made_once,
        a_refund_after_a_settlement_changes_nothing,
        a_settlement_after_a_refund_changes_nothing,
        racing_refunds_give_back_once,
        a_settlement_and_a_refund_that_race_are_one,
        closing_an_unknown_charge_changes_nothing,
        closing_an_insufficient_charge_changes_nothing,
        closing_a_charge_leaves_the_others_open,
        a_closed_charge_makes_room_for_another,
    ]
}

async fn a_refund_gives_the_charge_back(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    test_account.expect_balance("with the charge open", 70).await?;
    test_account.refund(id).await?;
    test_account.expect_balance("after its refund", 100).await
}

async fn settled(ledger: Ledger, cost: u64, expected: u64) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    test_account.settle(id, cost).await?;
    test_account.expect_balance(&format!("after a charge of 30 of 100, settled at {cost}"), expected).await
}

async fn a_settlement_gives_the_rest_back(ledger: Ledger) -> Verdict {
    settled(ledger, 10, 90).await
}

async fn a_settlement_at_the_full_cost_gives_nothing_back(ledger: Ledger) -> Verdict {
    settled(ledger, 30, 70).await
}

async fn a_settlement_at_no_cost_gives_all_back(ledger: Ledger) -> Verdict {
    settled(ledger, 0, 100).await
}

async fn a_settlement_above_the_charge_takes_no_more(ledger: Ledger) -> Verdict {
    settled(ledger.clone(), 31, 70).await?;
    settled(ledger, i64::MAX as u64, 70).await
}

async fn a_refund_is_made_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    for _ in 0..3 {
        test_account.refund(id).await?;
    }
    test_account.expect_balance("after three refunds of one charge", 100).await
}

async fn a_settlement_is_made_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    for cost in [10, 10, 0, 30] {
        test_account.settle(id, cost).await?;
    }
    test_account.expect_balance("after a settlement at 10, and three more", 90).await
}

async fn a_refund_after_a_settlement_changes_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    for cost in [10, 30] {
        let id = test_account.take(30).await?;
        test_account.settle(id, cost).await?;
        test_account.refund(id).await?;
    }
    test_account.expect_balance("after settlements at 10 and at 30, and refunds", 60).await
}

async fn a_settlement_after_a_refund_changes_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    test_account.refund(id).await?;
    test_account.settle(id, 10).await?;
    test_account.expect_balance("after a refund and a settlement", 100).await
}

/// Makes the same call from many racers at the same time.
async fn many<F>(
    test_account: &TestAccount<dyn CreditLedger>,
    call: impl Fn(usize, TestAccount<dyn CreditLedger>) -> F,
) -> Verdict
where
    F: FnOnce() -> StoreFuture<()> + Send + 'static,
{
    race((0..RACERS).map(|racer| call(racer, test_account.clone()))).await.map(drop)
}

async fn racing_refunds_give_back_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    many(&test_account, |_, test_account| move || test_account.refund(id)).await?;
    test_account.expect_balance("after racing refunds of one charge of 30", 100).await
}

async fn a_settlement_and_a_refund_that_race_are_one(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    let close = |racer, test_account: TestAccount<dyn CreditLedger>| {
        move || if racer % 2 == 0 { test_account.refund(id) } else { test_account.settle(id, 10) }
    };
    many(&test_account, close).await?;
    let balance = test_account.balance().await?;
    holds(
        &format!("the balance {balance} is that of the refund, 100, or of the settlement, 90"),
        [90, 100].contains(&balance),
    )
}

async fn closing_an_unknown_charge_changes_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger.clone(), 100)?;
    test_account.take(30).await?;
    test_account.refund(fresh::charge()).await?;
    test_account.settle(fresh::charge(), 10).await?;
    test_account.expect_balance("after charges were closed that nobody took", 70).await?;
    let unknown = TestAccount::bare(ledger);
    unknown.refund(fresh::charge()).await?;
    unknown.settle(fresh::charge(), 10).await?;
    unknown.expect_balance("of an unknown account", 0).await
}

async fn closing_an_insufficient_charge_changes_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 10)?;
    for cost in [None, Some(0)] {
        let id = fresh::charge();
        same("a charge of 30 of 10", test_account.charge(id, 30).await?, super::insufficient(10))?;
        match cost {
            None => test_account.refund(id).await?,
            Some(cost) => test_account.settle(id, cost).await?,
        }
    }
    test_account.expect_balance("after insufficient charges were closed", 10).await
}

async fn closing_a_charge_leaves_the_others_open(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let (one, other) = (test_account.take(30).await?, test_account.take(20).await?);
    test_account.refund(one).await?;
    test_account.expect_balance("with the other charge open", 80).await?;
    test_account.refund(other).await?;
    test_account.expect_balance("with both given back", 100).await
}

async fn a_closed_charge_makes_room_for_another(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 10)?;
    for _ in 0..3 {
        let id = test_account.take(10).await?;
        test_account.refund(id).await?;
    }
    let id = test_account.take(10).await?;
    test_account.settle(id, 4).await?;
    same(
        "the rest of a settled charge",
        super::count_posted(&[test_account.charge(fresh::charge(), 6).await?]),
        1,
    )
}
