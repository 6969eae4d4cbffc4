//! Checks of a credit ledger.

mod adjust;
mod buckets;
mod budgets;
mod charge;
mod close;
mod currencies;
mod entries;
mod erase;
mod forget;
mod grant;
mod late;
mod late_costs;
mod unlimited;

use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, Allowance, Grant, GrantPeriod};
use crate::amount::{ChargeId, Credits, Currency};
use crate::clock::{Now, Timestamp};
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Suite, Verdict, same};
use crate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, Charge, Charged, CreditAdmin, CreditLedger,
    Refund, Settlement,
};
use crate::future::StoreFuture;

type Ledger = Arc<dyn CreditLedger>;
type Admin = Arc<dyn CreditAdmin>;

pub(super) fn charges(ledger: &Ledger) -> Suite {
    Suite::new("charges", of_charges(ledger))
}

pub(super) fn suite(ledger: &Admin) -> Suite {
    let charges: Ledger = Arc::<dyn CreditAdmin>::clone(ledger);
    let admin = [
        adjust::checks(ledger),
        unlimited::checks(ledger),
        entries::checks(ledger),
        erase::checks(ledger),
        forget::checks(ledger),
        buckets::checks(ledger),
        budgets::admin_checks(ledger),
        late_costs::admin_checks(ledger),
        currencies::admin_checks(ledger),
    ];
    Suite::new("credits", of_charges(&charges).into_iter().chain(admin))
}

fn of_charges(ledger: &Ledger) -> [Vec<Check>; 7] {
    [
        charge::checks(ledger),
        close::checks(ledger),
        grant::checks(ledger),
        late::checks(ledger),
        late_costs::checks(ledger),
        budgets::checks(ledger),
        currencies::checks(ledger),
    ]
}

/// The period of a grant in these checks.
const PERIOD: Duration = Duration::from_hours(1);

/// A millisecond less than [`PERIOD`].
const NEARLY: Duration = Duration::from_millis(3_599_999);

/// A new account for one check, with its terms and the time of its calls.
#[derive(Debug)]
struct TestAccount<L: ?Sized> {
    ledger: Arc<L>,
    account: Arc<Account>,
    allowance: Allowance,
    now: Timestamp,
}

impl<L: ?Sized> TestAccount<L> {
    /// Creates an account whose plan grants the amount at every [`PERIOD`].
    fn granted(ledger: Arc<L>, amount: u64) -> Result<Self, Fault> {
        Self::bare(ledger).on(amount, PERIOD)
    }

    /// Creates an account whose plan grants nothing.
    fn bare(ledger: Arc<L>) -> Self {
        let (account, now) = (Arc::new(fresh::account()), fresh::now());
        Self { ledger, account, allowance: Allowance::None, now }
    }

    /// Returns the same account with a later time of calls.
    fn after(&self, time: Duration) -> Self {
        Self { now: self.now.saturating_add(time), ..self.clone() }
    }

    /// Returns the reading of a clock at the time of the calls.
    fn reading(&self) -> Now {
        Now::new(self.now, Duration::ZERO)
    }

    /// Returns the same account on a plan that grants the amount at every period.
    fn on(&self, amount: u64, period: Duration) -> Result<Self, Fault> {
        let period = GrantPeriod::every(period).map_err(|error| Fault::new(error.to_string()))?;
        Ok(Self { allowance: Allowance::Grant(Grant::new(Credits::new(amount), period)), ..self.clone() })
    }
}

impl<L: ?Sized> Clone for TestAccount<L> {
    fn clone(&self) -> Self {
        let (ledger, account) = (Arc::clone(&self.ledger), Arc::clone(&self.account));
        Self { ledger, account, allowance: self.allowance.clone(), now: self.now }
    }
}

impl<L: CreditLedger + ?Sized> TestAccount<L> {
    fn charge(&self, id: ChargeId, amount: u64) -> StoreFuture<Charged> {
        let amount = Credits::new(amount);
        self.ledger.charge(&Charge::new(id, &self.account, amount, &self.allowance, self.reading()))
    }

    fn settle(&self, id: ChargeId, cost: u64) -> StoreFuture<()> {
        self.ledger.settle(&Settlement::new(&self.account, id, Credits::new(cost), &self.reading()))
    }

    fn refund(&self, id: ChargeId) -> StoreFuture<()> {
        self.ledger.refund(&Refund::new(&self.account, id, &self.reading()))
    }

    /// Makes a charge under a new id, and returns the id.
    async fn take(&self, amount: u64) -> Result<ChargeId, Fault> {
        let id = fresh::charge();
        let charged = self.charge(id, amount).await?;
        if matches!(charged, Charged::Posted { .. }) {
            return Ok(id);
        }
        Err(Fault::new(format!("a charge of {amount}, for which there is room: found {charged:?}")))
    }

    /// Returns the balance in the result of a charge that is too large for any account.
    async fn balance(&self) -> Result<u64, Fault> {
        match self.charge(fresh::charge(), Credits::MAX.get()).await? {
            Charged::Insufficient { balance } => Ok(balance.get()),
            posted => Err(Fault::new(format!("a charge of all the credits that can be: found {posted:?}"))),
        }
    }

    async fn expect_balance(&self, what: &str, expected: u64) -> Verdict {
        same(&format!("the balance {what}"), self.balance().await?, expected)
    }
}

impl TestAccount<dyn CreditAdmin> {
    /// Creates an account that was topped up with the amount.
    async fn holding(ledger: Admin, amount: u64) -> Result<Self, Fault> {
        let test_account = Self::bare(ledger);
        test_account.make(AdjustmentKind::TopUp(Credits::new(amount))).await?;
        Ok(test_account)
    }

    fn adjust(&self, id: &AdjustmentId, kind: AdjustmentKind) -> StoreFuture<Adjusted> {
        let adjustment = Adjustment::new(id.clone(), &self.account.id, kind, &self.allowance, self.now);
        self.ledger.adjust(&adjustment)
    }

    /// Adjusts the balance under a new id.
    async fn make(&self, kind: AdjustmentKind) -> Verdict {
        let adjusted = self.adjust(&fresh::adjustment()?, kind.clone()).await?;
        if matches!(adjusted, Adjusted::Done { .. }) {
            return Ok(());
        }
        Err(Fault::new(format!("an adjustment to {kind}: found {adjusted:?}")))
    }

    async fn read(&self) -> Result<Balance, Fault> {
        Ok(self.ledger.balance_of(&self.account.id, &Currency::CREDITS, &self.allowance, self.now).await?)
    }

    async fn expect(&self, what: &str, expected: u64) -> Verdict {
        same(&format!("the balance {what}"), self.read().await?, limited(expected))
    }
}

fn limited(amount: u64) -> Balance {
    Balance::Limited(Credits::new(amount))
}

fn posted(left: u64) -> Charged {
    Charged::Posted { balance: Some(Credits::new(left)) }
}

fn insufficient(there: u64) -> Charged {
    Charged::Insufficient { balance: Credits::new(there) }
}

/// Returns the number of posted charges.
fn count_posted(answers: &[Charged]) -> usize {
    answers.iter().filter(|answer| matches!(answer, Charged::Posted { .. })).count()
}
