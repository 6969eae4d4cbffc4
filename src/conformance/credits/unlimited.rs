//! Checks of accounts with unlimited credits.

use super::{Admin, TestAccount, limited};
use crate::amount::Credits;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Verdict, same};
use crate::credit::{Adjusted, AdjustmentKind, Balance, Charged};

pub(super) fn checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        an_account_made_unlimited_has_no_balance,
        an_account_without_limit_is_charged_nothing,
        an_account_without_limit_has_nothing_to_add_to,
        a_set_balance_is_a_limit_again,
        a_charge_without_limit_is_not_kept,
        a_charge_that_is_closed_without_limit_gives_nothing_back,
        a_grant_gives_nothing_to_an_account_without_limit,
    ]
}

const UNLIMITED: Charged = Charged::Posted { balance: None };

async fn an_account_made_unlimited_has_no_balance(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    let made = test_account.adjust(&fresh::adjustment()?, AdjustmentKind::MakeUnlimited).await?;
    same("what is made", made, Adjusted::Done { before: limited(100), balance: Balance::Unlimited })?;
    same("the balance", test_account.read().await?, Balance::Unlimited)
}

async fn an_account_without_limit_is_charged_nothing(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    for amount in [1, 1_000_000, Credits::MAX.get()] {
        same(
            &format!("a charge of {amount}"),
            test_account.charge(fresh::charge(), amount).await?,
            UNLIMITED,
        )?;
    }
    Ok(())
}

async fn an_account_without_limit_has_nothing_to_add_to(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    for kind in [AdjustmentKind::TopUp(Credits::new(5)), AdjustmentKind::Deduct(Credits::new(5))] {
        let refused = test_account.adjust(&fresh::adjustment()?, kind.clone()).await?;
        same(&format!("{kind}"), refused, Adjusted::Unlimited)?;
    }
    same("the balance", test_account.read().await?, Balance::Unlimited)
}

async fn a_set_balance_is_a_limit_again(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    let set = test_account.adjust(&fresh::adjustment()?, AdjustmentKind::Set(Credits::new(5))).await?;
    same("what is made", set, Adjusted::Done { before: Balance::Unlimited, balance: limited(5) })?;
    same("a charge of 6 of 5", test_account.charge(fresh::charge(), 6).await?, super::insufficient(5))?;
    test_account.take(5).await.map(drop)
}

async fn a_charge_without_limit_is_not_kept(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    let (refunded, settled, later) = (fresh::charge(), fresh::charge(), fresh::charge());
    for id in [refunded, settled, later] {
        same("a charge without limit", test_account.charge(id, 30).await?, UNLIMITED)?;
    }
    test_account.refund(refunded).await?;
    test_account.settle(settled, 10).await?;
    same("the balance", test_account.read().await?, Balance::Unlimited)?;
    test_account.make(AdjustmentKind::Set(Credits::new(5))).await?;
    test_account.refund(later).await?;
    test_account.expect("with a limit again, after a refund from before", 5).await
}

async fn a_charge_that_is_closed_without_limit_gives_nothing_back(ledger: Admin) -> Verdict {
    let test_account = TestAccount::holding(ledger, 100).await?;
    let (refunded, settled) = (test_account.take(30).await?, test_account.take(20).await?);
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    test_account.refund(refunded).await?;
    test_account.settle(settled, 10).await?;
    test_account.make(AdjustmentKind::Set(Credits::new(5))).await?;
    test_account.refund(refunded).await?;
    test_account.expect("with a limit again", 5).await
}

async fn a_grant_gives_nothing_to_an_account_without_limit(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    let due = test_account.after(super::PERIOD);
    same("a charge when the grant is due", due.charge(fresh::charge(), 1).await?, UNLIMITED)?;
    due.make(AdjustmentKind::Set(Credits::new(5))).await?;
    due.expect("set to 5", 5).await
}
