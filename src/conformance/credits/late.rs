//! Checks of charges that arrive after their callers have given up.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::{Ledger, TestAccount};
use crate::conformance::fresh::{self, race};
use crate::conformance::suite::{Check, Verdict, holds};
use crate::credit::Charged;
use crate::credit::CreditLedger;
use crate::future::StoreFuture;

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        a_charge_that_arrives_after_its_refund_takes_nothing needs LateCharges,
        a_charge_and_its_refund_that_race_leave_the_balance needs LateCharges,
        a_charge_whose_caller_left_is_undone_by_its_refund needs LateCharges,
        a_charge_that_comes_again_after_its_end_takes_nothing needs LateCharges,
    ]
}

async fn a_charge_that_arrives_after_its_refund_takes_nothing(ledger: Ledger) -> Verdict {
    let (test_account, id) = (TestAccount::granted(ledger, 100)?, fresh::charge());
    test_account.expect_balance("of a new account", 100).await?;
    test_account.refund(id).await?;
    let late = test_account.charge(id, 30).await;
    holds(&format!("the late charge is not posted ({late:?})"), !matches!(late, Ok(Charged::Posted { .. })))?;
    test_account.expect_balance("after a charge that came after its refund", 100).await
}

async fn a_charge_and_its_refund_that_race_leave_the_balance(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.expect_balance("of a new account", 100).await?;
    for _ in 0..4 {
        let id = fresh::charge();
        let call = |refunds: bool, test_account: TestAccount<dyn CreditLedger>| {
            move || {
                if refunds {
                    return test_account.refund(id);
                }
                // The charge may be posted before the refund or rejected after it. Both are correct.
                let charge = test_account.charge(id, 30);
                StoreFuture::boxed(async move {
                    let _posted_or_not = charge.await;
                    Ok(())
                })
            }
        };
        race([call(false, test_account.clone()), call(true, test_account.clone())]).await?;
    }
    test_account.expect_balance("after charges that raced their refunds", 100).await
}

async fn a_charge_whose_caller_left_is_undone_by_its_refund(ledger: Ledger) -> Verdict {
    let (test_account, id) = (TestAccount::granted(ledger, 100)?, fresh::charge());
    test_account.expect_balance("of a new account", 100).await?;
    {
        let mut charge = pin!(test_account.charge(id, 30));
        let _under_way = charge.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    test_account.refund(id).await?;
    test_account.expect_balance("after a charge that was dropped on its way, and its refund", 100).await
}

async fn a_charge_that_comes_again_after_its_end_takes_nothing(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    for cost in [None, Some(0), Some(10), Some(30)] {
        let id = test_account.take(30).await?;
        match cost {
            None => test_account.refund(id).await?,
            Some(cost) => test_account.settle(id, cost).await?,
        }
        let again = test_account.charge(id, 30).await;
        let what = format!("a charge that is closed is not posted again ({again:?})");
        holds(&what, !matches!(again, Ok(Charged::Posted { .. })))?;
        test_account.refund(id).await?;
    }
    test_account.expect_balance("after settlements at 10 and at 30", 60).await
}
