//! Checks of the budgets of keys.

use super::{Admin, Ledger, NEARLY, PERIOD, TestAccount, count_posted, insufficient};
use crate::account::{Budget, BudgetStatus, GrantPeriod};
use crate::amount::{ChargeId, Credits, Currency};
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::credit::{AdjustmentKind, BudgetDraw, Charge, Charged, CreditLedger};
use crate::future::StoreFuture;
use crate::key::KeyId;

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        a_charge_over_budget_takes_nothing needs Budgets,
        a_budget_starts_again_at_its_period needs Budgets,
        keys_have_budgets_of_their_own needs Budgets,
        a_refund_returns_to_the_budget needs Budgets,
        a_settlement_corrects_the_budget needs Budgets,
        a_refund_after_the_period_leaves_the_budget needs Budgets,
        an_insufficient_charge_draws_no_budget needs Budgets,
        a_repeated_charge_draws_a_budget_once needs Budgets,
        racing_charges_stay_within_a_budget needs Budgets,
    ]
}

pub(super) fn admin_checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        a_budget_limits_an_account_without_limit needs Budgets,
        reading_a_budget_tells_what_is_left needs Budgets,
    ]
}

/// A key of an account with a budget in each [`PERIOD`].
#[derive(Debug, Clone)]
struct BudgetKey {
    key: KeyId,
    budget: Budget,
}

impl BudgetKey {
    fn of(amount: u64) -> Result<Self, Fault> {
        let period = GrantPeriod::every(PERIOD).map_err(|error| Fault::new(error.to_string()))?;
        Ok(Self { key: KeyId::generate(), budget: Budget::new(Credits::new(amount), period) })
    }

    fn charge<L: CreditLedger + ?Sized>(
        &self,
        test_account: &TestAccount<L>,
        id: ChargeId,
        amount: u64,
    ) -> StoreFuture<Charged> {
        let (amount, now) = (Credits::new(amount), test_account.reading());
        let mut charge = Charge::new(id, &test_account.account, amount, &test_account.allowance, now);
        charge.budget = Some(BudgetDraw { key: self.key, budget: &self.budget });
        test_account.ledger.charge(&charge)
    }

    async fn take<L: CreditLedger + ?Sized>(
        &self,
        test_account: &TestAccount<L>,
        amount: u64,
    ) -> Result<ChargeId, Fault> {
        let id = fresh::charge();
        let charged = self.charge(test_account, id, amount).await?;
        if count_posted(&[charged]) == 1 {
            return Ok(id);
        }
        Err(Fault::new(format!("a charge of {amount}, which the budget covers: found {charged:?}")))
    }

    /// Checks what is left of the budget. It is the first period.
    async fn expect_left<L: CreditLedger + ?Sized>(
        &self,
        what: &str,
        test_account: &TestAccount<L>,
        left: u64,
    ) -> Verdict {
        let charged = self.charge(test_account, fresh::charge(), left + 1).await?;
        let resets = test_account.after(PERIOD).now;
        same(
            &format!("a charge of {} {what}", left + 1),
            charged,
            Charged::OverBudget { left: Credits::new(left), resets },
        )
    }
}

async fn a_charge_over_budget_takes_nothing(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(30)?);
    key.take(&test_account, 20).await?;
    key.expect_left("after a charge of 20, of a budget of 30", &test_account, 10).await?;
    test_account.expect_balance("after a charge over budget", 80).await?;
    key.take(&test_account, 10).await?;
    key.expect_left("with the budget spent", &test_account, 0).await?;
    test_account.take(70).await.map(drop)
}

async fn a_budget_starts_again_at_its_period(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 1_000)?, BudgetKey::of(30)?);
    key.take(&test_account, 30).await?;
    let nearly = test_account.after(NEARLY);
    let refused = key.charge(&nearly, fresh::charge(), 1).await?;
    let resets = test_account.after(PERIOD).now;
    same("a millisecond before it", refused, Charged::OverBudget { left: Credits::ZERO, resets })?;
    let then = test_account.after(PERIOD);
    key.take(&then, 30).await?;
    key.expect_left("in the next period", &then, 0).await?;
    // Budgets do not accumulate.
    let later = test_account.after(PERIOD * 7);
    key.expect_left("after six more periods", &later, 30).await
}

async fn keys_have_budgets_of_their_own(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let (one, other) = (BudgetKey::of(30)?, BudgetKey::of(30)?);
    one.take(&test_account, 30).await?;
    other.take(&test_account, 20).await?;
    other.expect_left("after a charge of 20", &test_account, 10).await
}

async fn a_refund_returns_to_the_budget(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(30)?);
    let id = key.take(&test_account, 30).await?;
    for _ in 0..2 {
        test_account.refund(id).await?;
    }
    key.take(&test_account, 25).await?;
    key.expect_left("after a refund, and a charge of 25", &test_account, 5).await
}

async fn a_settlement_corrects_the_budget(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(30)?);
    let id = key.take(&test_account, 30).await?;
    test_account.settle(id, 12).await?;
    key.expect_left("after a settlement at 12", &test_account, 18).await
}

async fn a_refund_after_the_period_leaves_the_budget(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(30)?);
    let id = key.take(&test_account, 30).await?;
    let then = test_account.after(PERIOD);
    key.take(&then, 20).await?;
    then.refund(id).await?;
    key.expect_left("after the refund of a charge of the last period", &then, 10).await
}

async fn an_insufficient_charge_draws_no_budget(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(500)?);
    same(
        "a charge of 101 of 100",
        key.charge(&test_account, fresh::charge(), 101).await?,
        insufficient(100),
    )?;
    let id = key.take(&test_account, 100).await?;
    test_account.refund(id).await?;
    let small = BudgetKey::of(50)?;
    small.expect_left("with credits for it", &test_account, 50).await?;
    same("with neither", small.charge(&test_account, fresh::charge(), 101).await?, insufficient(100))?;
    small.take(&test_account, 50).await.map(drop)
}

async fn a_repeated_charge_draws_a_budget_once(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(30)?);
    let id = key.take(&test_account, 20).await?;
    same("the charge again", count_posted(&[key.charge(&test_account, id, 20).await?]), 1)?;
    key.expect_left("after the same charge twice", &test_account, 10).await
}

async fn racing_charges_stay_within_a_budget(ledger: Ledger) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(10)?);
    let charges = (0..RACERS).map(|_| {
        let (test_account, key) = (test_account.clone(), key.clone());
        move || key.charge(&test_account, fresh::charge(), 3)
    });
    let answers = race(charges).await?;
    same("how many charges of 3 were posted, of a budget of 10", count_posted(&answers), 3)?;
    test_account.expect_balance("after them", 91).await
}

async fn a_budget_limits_an_account_without_limit(ledger: Admin) -> Verdict {
    let (test_account, key) = (TestAccount::bare(ledger), BudgetKey::of(30)?);
    test_account.make(AdjustmentKind::MakeUnlimited).await?;
    let id = fresh::charge();
    same("a charge", key.charge(&test_account, id, 20).await?, Charged::Posted { balance: None })?;
    key.expect_left("after a charge of 20", &test_account, 10).await?;
    test_account.settle(id, 5).await?;
    key.expect_left("settled at 5", &test_account, 25).await
}

async fn reading_a_budget_tells_what_is_left(ledger: Admin) -> Verdict {
    let (test_account, key) = (TestAccount::granted(ledger, 100)?, BudgetKey::of(30)?);
    let (most, draw) = (Credits::new(30), BudgetDraw { key: key.key, budget: &key.budget });
    let account = &test_account.account.id;
    let at = |now| test_account.ledger.budget_of(account, &Currency::CREDITS, &draw, now);
    let now = test_account.now;
    same("a budget that was never drawn from", at(now).await?, Some(BudgetStatus::new(most, most, None)))?;
    let id = key.take(&test_account, 20).await?;
    let resets = Some(test_account.after(PERIOD).now);
    let left = |left| Some(BudgetStatus::new(most, Credits::new(left), resets));
    for _ in 0..2 {
        same("after a charge of 20", at(now).await?, left(10))?;
    }
    test_account.settle(id, 12).await?;
    same("settled at 12", at(now).await?, left(18))?;
    let next = Some(test_account.after(PERIOD * 2).now);
    let then = at(test_account.after(PERIOD).now).await?;
    same("in the next period", then, Some(BudgetStatus::new(most, most, next)))?;
    key.expect_left("after it was read at a later time", &test_account, 18).await
}
