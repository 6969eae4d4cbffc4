//! Checks of currencies.

use super::{Admin, Ledger, TestAccount, insufficient, limited, posted};
use crate::amount::{Credits, Currency};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::credit::{
    Adjustment, AdjustmentKind, Charge, Charged, CreditAdmin, CreditLedger, EntryQuery, Refund, Settlement,
};

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        currencies_have_balances_of_their_own needs Currencies,
        a_charge_is_closed_in_its_currency needs Currencies,
    ]
}

pub(super) fn admin_checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        an_adjustment_is_of_one_currency needs Currencies,
        entries_are_of_one_currency needs Currencies,
        an_account_is_erased_in_every_currency needs Currencies,
    ]
}

fn tokens() -> Result<Currency, Fault> {
    "tokens".parse().map_err(|error: crate::error::ConfigError| Fault::new(error.to_string()))
}

async fn charge<L: CreditLedger + ?Sized>(
    test_account: &TestAccount<L>,
    currency: &Currency,
    id: crate::amount::ChargeId,
    amount: u64,
) -> Result<Charged, Fault> {
    let (amount, now) = (Credits::new(amount), test_account.reading());
    let mut charge = Charge::new(id, &test_account.account, amount, &test_account.allowance, now);
    charge.currency = currency;
    Ok(test_account.ledger.charge(&charge).await?)
}

async fn currencies_have_balances_of_their_own(ledger: Ledger) -> Verdict {
    let (test_account, tokens) = (TestAccount::granted(ledger, 100)?, tokens()?);
    test_account.take(60).await?;
    let (one, other) = (fresh::charge(), fresh::charge());
    same("a charge of 90 tokens of 100", charge(&test_account, &tokens, one, 90).await?, posted(10))?;
    same("a charge of 11 tokens of 10", charge(&test_account, &tokens, other, 11).await?, insufficient(10))?;
    test_account.expect_balance("in credits", 40).await
}

async fn a_charge_is_closed_in_its_currency(ledger: Ledger) -> Verdict {
    let (test_account, tokens) = (TestAccount::granted(ledger, 100)?, tokens()?);
    test_account.take(60).await?;
    let (settled, refunded, reading) = (fresh::charge(), fresh::charge(), test_account.reading());
    for id in [settled, refunded] {
        let _posted = charge(&test_account, &tokens, id, 40).await?;
    }
    let mut settlement = Settlement::new(&test_account.account, settled, Credits::new(10), &reading);
    settlement.currency = &tokens;
    test_account.ledger.settle(&settlement).await?;
    let mut refund = Refund::new(&test_account.account, refunded, &reading);
    refund.currency = &tokens;
    test_account.ledger.refund(&refund).await?;
    let left = charge(&test_account, &tokens, fresh::charge(), 1_000).await?;
    same("a charge of 1,000 tokens of 90", left, insufficient(90))?;
    test_account.expect_balance("in credits", 40).await
}

async fn top_up(test_account: &TestAccount<dyn CreditAdmin>, currency: &Currency, amount: u64) -> Verdict {
    let (kind, account) = (AdjustmentKind::TopUp(Credits::new(amount)), &test_account.account.id);
    let mut adjustment =
        Adjustment::new(fresh::adjustment()?, account, kind, &test_account.allowance, test_account.now);
    adjustment.currency = currency;
    let _done = test_account.ledger.adjust(&adjustment).await?;
    let read = test_account.ledger.balance_of(account, currency, &test_account.allowance, test_account.now);
    same(&format!("the {currency}"), read.await?, limited(amount))
}

async fn an_adjustment_is_of_one_currency(ledger: Admin) -> Verdict {
    let (test_account, tokens) = (TestAccount::holding(ledger, 7).await?, tokens()?);
    top_up(&test_account, &tokens, 5).await?;
    test_account.expect("in credits", 7).await
}

async fn entries_are_of_one_currency(ledger: Admin) -> Verdict {
    let (test_account, tokens) = (TestAccount::holding(ledger, 7).await?, tokens()?);
    top_up(&test_account, &tokens, 5).await?;
    for (currency, amount) in [(&Currency::CREDITS, 7), (&tokens, 5)] {
        let mut query = EntryQuery::newest(test_account.account.id.clone(), 9);
        query.currency = currency.clone();
        let entries = test_account.ledger.entries(&query).await?;
        let told: Vec<_> = entries.iter().map(|entry| (entry.number, entry.amount)).collect();
        same(&format!("the entries in {currency}"), told, vec![(1, amount)])?;
    }
    Ok(())
}

async fn an_account_is_erased_in_every_currency(ledger: Admin) -> Verdict {
    let (test_account, tokens) = (TestAccount::bare(ledger), tokens()?);
    top_up(&test_account, &tokens, 5).await?;
    test_account.ledger.erase_balance(&test_account.account.id).await?;
    let (account, allowance) = (&test_account.account.id, &test_account.allowance);
    let left = test_account.ledger.balance_of(account, &tokens, allowance, test_account.now).await?;
    same("the tokens of an erased account", left, limited(0))
}
