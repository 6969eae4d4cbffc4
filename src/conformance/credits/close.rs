//! Checks of closing charges: a charge is settled at its cost, or refunded.

use super::{Ledger, Purse};
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
        a_settlement_above_the_charge_takes_no_more,
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
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    purse.expect_balance("with the charge open", 70).await?;
    purse.refund(id).await?;
    purse.expect_balance("after its refund", 100).await
}

async fn settled(ledger: Ledger, cost: u64, expected: u64) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    purse.settle(id, cost).await?;
    purse.expect_balance(&format!("after a charge of 30 of 100, settled at {cost}"), expected).await
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
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    for _ in 0..3 {
        purse.refund(id).await?;
    }
    purse.expect_balance("after three refunds of one charge", 100).await
}

async fn a_settlement_is_made_once(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    for cost in [10, 10, 0, 30] {
        purse.settle(id, cost).await?;
    }
    purse.expect_balance("after a settlement at 10, and three more", 90).await
}

async fn a_refund_after_a_settlement_changes_nothing(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    for cost in [10, 30] {
        let id = purse.take(30).await?;
        purse.settle(id, cost).await?;
        purse.refund(id).await?;
    }
    purse.expect_balance("after settlements at 10 and at 30, and refunds", 60).await
}

async fn a_settlement_after_a_refund_changes_nothing(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    purse.refund(id).await?;
    purse.settle(id, 10).await?;
    purse.expect_balance("after a refund and a settlement", 100).await
}

/// Makes the same call from many racers at the same time.
async fn many<F>(
    purse: &Purse<dyn CreditLedger>,
    call: impl Fn(usize, Purse<dyn CreditLedger>) -> F,
) -> Verdict
where
    F: FnOnce() -> StoreFuture<()> + Send + 'static,
{
    race((0..RACERS).map(|racer| call(racer, purse.clone()))).await.map(drop)
}

async fn racing_refunds_give_back_once(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    many(&purse, |_, purse| move || purse.refund(id)).await?;
    purse.expect_balance("after racing refunds of one charge of 30", 100).await
}

async fn a_settlement_and_a_refund_that_race_are_one(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    let id = purse.take(30).await?;
    let close = |racer, purse: Purse<dyn CreditLedger>| {
        move || if racer % 2 == 0 { purse.refund(id) } else { purse.settle(id, 10) }
    };
    many(&purse, close).await?;
    let balance = purse.balance().await?;
    holds(
        &format!("the balance {balance} is that of the refund, 100, or of the settlement, 90"),
        [90, 100].contains(&balance),
    )
}

async fn closing_an_unknown_charge_changes_nothing(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger.clone(), 100)?;
    purse.take(30).await?;
    purse.refund(fresh::charge()).await?;
    purse.settle(fresh::charge(), 10).await?;
    purse.expect_balance("after charges were closed that nobody took", 70).await?;
    let unknown = Purse::bare(ledger);
    unknown.refund(fresh::charge()).await?;
    unknown.settle(fresh::charge(), 10).await?;
    unknown.expect_balance("of an unknown account", 0).await
}

async fn closing_an_insufficient_charge_changes_nothing(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 10)?;
    for cost in [None, Some(0)] {
        let id = fresh::charge();
        same("a charge of 30 of 10", purse.charge(id, 30).await?, super::insufficient(10))?;
        match cost {
            None => purse.refund(id).await?,
            Some(cost) => purse.settle(id, cost).await?,
        }
    }
    purse.expect_balance("after insufficient charges were closed", 10).await
}

async fn closing_a_charge_leaves_the_others_open(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 100)?;
    let (one, other) = (purse.take(30).await?, purse.take(20).await?);
    purse.refund(one).await?;
    purse.expect_balance("with the other charge open", 80).await?;
    purse.refund(other).await?;
    purse.expect_balance("with both given back", 100).await
}

async fn a_closed_charge_makes_room_for_another(ledger: Ledger) -> Verdict {
    let purse = Purse::granted(ledger, 10)?;
    for _ in 0..3 {
        let id = purse.take(10).await?;
        purse.refund(id).await?;
    }
    let id = purse.take(10).await?;
    purse.settle(id, 4).await?;
    same("the rest of a settled charge", super::count_posted(&[purse.charge(fresh::charge(), 6).await?]), 1)
}
