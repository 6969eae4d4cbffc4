//! Checks of costs that are above the charge.

use super::{Admin, Ledger, PERIOD, TestAccount, insufficient, limited};
use crate::account::Overage;
use crate::amount::{ChargeId, Credits};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::credit::{
    Adjusted, AdjustmentKind, Balance, BucketId, CreditLedger, EntryKind, EntryQuery, Settlement,
};

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        a_cost_above_the_charge_is_taken needs LateCosts,
        a_cost_above_the_charge_is_taken_once needs LateCosts,
        a_cost_above_the_balance_is_capped needs LateCosts,
        a_cost_above_the_balance_becomes_a_debt needs LateCosts,
        a_grant_pays_a_debt_first needs LateCosts,
        a_late_cost_comes_after_the_grant needs LateCosts,
    ]
}

pub(super) fn admin_checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        a_debt_is_a_balance_below_zero needs LateCosts,
        a_top_up_pays_a_debt_first needs LateCosts,
        a_set_balance_cancels_a_debt needs LateCosts,
        a_refund_pays_a_debt_first needs LateCosts,
    ]
}

/// Settles a charge under the allowance of its account.
async fn settle<L: CreditLedger + ?Sized>(
    test_account: &TestAccount<L>,
    id: ChargeId,
    cost: u64,
    overage: Overage,
) -> Verdict {
    let reading = test_account.reading();
    let mut settlement = Settlement::new(&test_account.account, id, Credits::new(cost), &reading);
    (settlement.allowance, settlement.overage) = (&test_account.allowance, overage);
    Ok(test_account.ledger.settle(&settlement).await?)
}

/// Charges 30 of 100, and settles the charge at a cost.
async fn settled_at(
    ledger: Ledger,
    cost: u64,
    overage: Overage,
) -> Result<TestAccount<dyn CreditLedger>, Fault> {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    settle(&test_account, id, cost, overage).await?;
    Ok(test_account)
}

async fn a_cost_above_the_charge_is_taken(ledger: Ledger) -> Verdict {
    for (cost, left) in [(31, 69), (99, 1), (100, 0)] {
        for overage in [Overage::Cap, Overage::Debt] {
            let test_account = settled_at(ledger.clone(), cost, overage).await?;
            test_account
                .expect_balance(&format!("after a charge of 30 of 100, settled at {cost}"), left)
                .await?;
        }
    }
    Ok(())
}

async fn a_cost_above_the_charge_is_taken_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    for cost in [40, 40, 50] {
        settle(&test_account, id, cost, Overage::Cap).await?;
    }
    test_account.refund(id).await?;
    test_account.expect_balance("after a settlement at 40, two more, and a refund", 60).await?;
    settle(&test_account, fresh::charge(), 40, Overage::Debt).await?;
    test_account.expect_balance("after the settlement of an unknown charge", 60).await
}

async fn a_cost_above_the_balance_is_capped(ledger: Ledger) -> Verdict {
    for cost in [101, i64::MAX as u64] {
        let test_account = settled_at(ledger.clone(), cost, Overage::Cap).await?;
        test_account.expect_balance(&format!("settled at {cost} of 100"), 0).await?;
        test_account.after(PERIOD).expect_balance("after the next grant", 100).await?;
    }
    Ok(())
}

async fn a_cost_above_the_balance_becomes_a_debt(ledger: Ledger) -> Verdict {
    let test_account = settled_at(ledger, 120, Overage::Debt).await?;
    same("the next charge", test_account.charge(fresh::charge(), 1).await?, insufficient(0))?;
    test_account.after(PERIOD).expect_balance("after a grant of 100, with a debt of 20", 80).await
}

async fn a_grant_pays_a_debt_first(ledger: Ledger) -> Verdict {
    let test_account = settled_at(ledger, 350, Overage::Debt).await?;
    for (period, left) in [(1, 0), (2, 0), (3, 50), (4, 100)] {
        let then = test_account.after(PERIOD * period);
        then.expect_balance(&format!("after {period} grants of 100, with a debt of 250"), left).await?;
    }
    Ok(())
}

async fn a_late_cost_comes_after_the_grant(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(100).await?;
    let then = test_account.after(PERIOD);
    settle(&then, id, 130, Overage::Cap).await?;
    then.expect_balance("after a cost of 130, with a grant in between", 70).await
}

/// Returns an account that owes 20 credits.
async fn owing(ledger: Admin) -> Result<TestAccount<dyn crate::credit::CreditAdmin>, Fault> {
    let test_account = TestAccount::holding(ledger, 50).await?;
    let id = test_account.take(30).await?;
    settle(&test_account, id, 70, Overage::Debt).await?;
    Ok(test_account)
}

async fn a_debt_is_a_balance_below_zero(ledger: Admin) -> Verdict {
    let test_account = owing(ledger).await?;
    same("the balance", test_account.read().await?, Balance::Owed(Credits::new(20)))?;
    let newest = EntryQuery::newest(test_account.account.id.clone(), 1);
    let last = test_account.ledger.entries(&newest).await?.pop();
    let told = last.map(|entry| {
        (matches!(entry.kind, EntryKind::Overage(_)), entry.amount, entry.balance, entry.bucket)
    });
    same("the last entry", told, Some((true, -20, Balance::Owed(Credits::new(20)), BucketId::Debt)))
}

async fn a_top_up_pays_a_debt_first(ledger: Admin) -> Verdict {
    let test_account = owing(ledger).await?;
    let kind = AdjustmentKind::TopUp(Credits::new(15));
    let (before, balance) = (Balance::Owed(Credits::new(20)), Balance::Owed(Credits::new(5)));
    same(
        "a part",
        test_account.adjust(&fresh::adjustment()?, kind.clone()).await?,
        Adjusted::Done { before, balance },
    )?;
    same("a charge with a debt", test_account.charge(fresh::charge(), 1).await?, insufficient(0))?;
    let done = Adjusted::Done { before: balance, balance: limited(10) };
    same("the rest", test_account.adjust(&fresh::adjustment()?, kind).await?, done)?;
    test_account.take(10).await.map(drop)
}

async fn a_set_balance_cancels_a_debt(ledger: Admin) -> Verdict {
    let test_account = owing(ledger).await?;
    test_account.make(AdjustmentKind::Set(Credits::new(7))).await?;
    test_account.expect("set to 7", 7).await
}

async fn a_refund_pays_a_debt_first(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 50).await?;
    let (settled, refunded) = (test_account.take(20).await?, test_account.take(30).await?);
    settle(&test_account, settled, 40, Overage::Debt).await?;
    same("the balance", test_account.read().await?, Balance::Owed(Credits::new(20)))?;
    test_account.refund(refunded).await?;
    test_account.expect("after a refund of 30, with a debt of 20", 10).await
}
