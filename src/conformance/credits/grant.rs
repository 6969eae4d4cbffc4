//! Checks of a plan's grants and their periods.

use super::{Ledger, NEARLY, PERIOD, TestAccount, count_posted, insufficient};
use crate::account::{Allowance, CalendarUnit, Grant, GrantPeriod};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::credit::CreditLedger;

pub(super) fn checks(ledger: &Ledger) -> Vec<Check> {
    checks![ledger:
        the_first_charge_opens_the_balance_with_the_grant,
        a_grant_is_given_at_its_period_and_not_before,
        a_grant_refills_to_its_amount,
        a_grant_never_lowers_a_balance,
        a_grant_does_not_pile_up,
        the_next_grant_counts_from_the_last_turn,
        a_grant_is_given_once_when_time_steps_back,
        racing_charges_open_the_balance_once,
        racing_charges_are_given_a_grant_once,
        a_plan_without_a_grant_leaves_the_balance,
        a_grant_that_was_away_comes_at_its_own_turn,
        a_change_of_period_gives_nothing_at_once,
        a_grant_comes_by_the_present_period,
        going_between_periods_gives_nothing,
        a_clock_that_was_ahead_costs_one_period,
        clocks_that_leap_give_no_grant_twice,
        calendar_grants_are_given_at_the_exact_time,
        a_calendar_grant_after_missed_periods_is_given_once,
    ]
}

async fn the_first_charge_opens_the_balance_with_the_grant(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger.clone(), 100)?;
    test_account.expect_balance("of a new account", 100).await?;
    let poor = TestAccount::granted(ledger, 0)?;
    same("a charge with a grant of nothing", poor.charge(fresh::charge(), 1).await?, insufficient(0))
}

async fn a_grant_is_given_at_its_period_and_not_before(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    test_account.after(NEARLY).expect_balance("a millisecond before the grant is due", 0).await?;
    test_account.after(PERIOD).expect_balance("when it is due", 100).await
}

async fn a_grant_refills_to_its_amount(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(30).await?;
    test_account.settle(id, 30).await?;
    test_account.after(PERIOD).expect_balance("of 70, refilled to 100", 100).await
}

async fn a_grant_never_lowers_a_balance(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let id = test_account.take(60).await?;
    test_account.after(PERIOD).expect_balance("after the second grant", 100).await?;
    test_account.refund(id).await?;
    test_account.after(PERIOD).expect_balance("after a refund from before it", 160).await?;
    test_account.after(PERIOD * 2).expect_balance("after the third grant", 160).await
}

async fn a_grant_does_not_pile_up(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    test_account.after(PERIOD * 5).expect_balance("after five periods", 100).await?;
    let later = test_account.after(PERIOD * 5);
    later.take(100).await?;
    later.expect_balance("spent after five periods", 0).await
}

async fn the_next_grant_counts_from_the_last_turn(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    // The call is late, in the middle of the third period. The next grant is at the end of that period, not one period
    // after the call.
    test_account.after(PERIOD * 2 + PERIOD / 2).take(100).await?;
    test_account.after(PERIOD * 2 + NEARLY).expect_balance("before the next turn", 0).await?;
    test_account.after(PERIOD * 3).expect_balance("at the next turn", 100).await
}

async fn a_grant_is_given_once_when_time_steps_back(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    test_account.after(PERIOD).take(100).await?;
    test_account.after(PERIOD / 2).expect_balance("after time stepped back", 0).await?;
    test_account.after(PERIOD).expect_balance("at the same turn again", 0).await?;
    test_account.after(PERIOD * 2).expect_balance("at the next turn", 100).await
}

async fn racing_charges_open_the_balance_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    spend_all(&test_account).await?;
    test_account.expect_balance("after all of it was spent", 0).await
}

async fn racing_charges_are_given_a_grant_once(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    let due = test_account.after(PERIOD);
    spend_all(&due).await?;
    due.expect_balance("after all of it was spent", 0).await
}

/// Makes concurrent charges of 10 against a balance of 100.
async fn spend_all(test_account: &TestAccount<dyn crate::credit::CreditLedger>) -> Verdict {
    let charges = (0..RACERS).map(|_| {
        let test_account = test_account.clone();
        move || test_account.charge(fresh::charge(), 10)
    });
    let answers = race(charges).await?;
    same("how many charges of 10 were posted, of a grant of 100", count_posted(&answers), 10)
}

async fn a_plan_without_a_grant_leaves_the_balance(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(60).await?;
    let other_plan = TestAccount { allowance: Allowance::None, ..test_account.after(PERIOD) };
    other_plan.expect_balance("on a plan without a grant", 40).await
}

async fn a_grant_that_was_away_comes_at_its_own_turn(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    for nothing in [Allowance::None, Allowance::Unlimited] {
        TestAccount { allowance: nothing, ..test_account.after(PERIOD / 3) }.balance().await?;
        test_account.after(PERIOD / 2).expect_balance("when the grant is back before its turn", 0).await?;
    }
    test_account.after(PERIOD).expect_balance("at its turn", 100).await
}

async fn a_change_of_period_gives_nothing_at_once(ledger: Ledger) -> Verdict {
    let rare = TestAccount::granted(ledger, 0)?.on(100, PERIOD * 24)?;
    rare.take(100).await?;
    let later = rare.after(PERIOD * 2);
    let frequent = later.on(2, PERIOD)?;
    for _ in 0..3 {
        frequent.expect_balance("on a plan of a shorter period", 0).await?;
        later.expect_balance("back on the plan of the longer one", 0).await?;
    }
    Ok(())
}

async fn a_grant_comes_by_the_present_period(ledger: Ledger) -> Verdict {
    let rare = TestAccount::granted(ledger, 0)?.on(100, PERIOD * 24)?;
    rare.take(100).await?;
    let frequent = rare.on(2, PERIOD)?;
    frequent.expect_balance("on a plan of a shorter period", 0).await?;
    frequent.after(PERIOD).expect_balance("a period later", 2).await?;
    frequent.after(PERIOD).take(2).await?;
    frequent.after(PERIOD * 2).expect_balance("two periods later", 2).await
}

async fn going_between_periods_gives_nothing(ledger: Ledger) -> Verdict {
    let rare = TestAccount::granted(ledger, 0)?.on(100, PERIOD * 24)?;
    rare.take(100).await?;
    let frequent = rare.on(2, PERIOD)?;
    for hour in 0..6 {
        let after = PERIOD * hour;
        frequent.after(after).expect_balance("just on the plan of the shorter period", 0).await?;
        rare.after(after + PERIOD / 2).expect_balance("half a period later, on the longer one", 0).await?;
        rare.after(after + PERIOD).expect_balance("a period later, on the longer one", 0).await?;
    }
    Ok(())
}

async fn a_clock_that_was_ahead_costs_one_period(ledger: Ledger) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.take(100).await?;
    let ahead = test_account.after(PERIOD * 1_000);
    ahead.take(100).await?;
    let back = test_account.after(PERIOD / 2);
    back.expect_balance("when the clock is set back", 0).await?;
    ahead.expect_balance("at the same time ahead again", 0).await?;
    back.expect_balance("when the clock is set back again", 0).await?;
    back.after(PERIOD * 2).expect_balance("two periods later", 100).await?;
    back.after(PERIOD * 2).take(100).await?;
    back.after(PERIOD * 3).expect_balance("three periods later", 100).await
}

async fn clocks_that_leap_give_no_grant_twice(ledger: Ledger) -> Verdict {
    // The hours that the clocks show, and the number of grants.
    let rows: [(&[u32], u32); 4] = [
        (&[4, 0, 2, 0, 2, 0, 2, 0, 2], 2),
        (&[0, 2, 0, 2, 9, 2, 0, 2, 0, 2], 3),
        (&[0, 2, 0, 2, 9, 0, 3, 0, 3, 0, 2, 4], 5),
        (&[4, 0, 2, 4, 0, 2, 4, 2, 0, 2, 0, 4], 2),
    ];
    for (hours, expected) in rows {
        let test_account = TestAccount::granted(ledger.clone(), 100)?;
        let mut given = 0;
        for hour in hours {
            let then = test_account.after(PERIOD * *hour);
            if then.balance().await? > 0 {
                then.take(100).await?;
                given += 1;
            }
        }
        same(&format!("the number of grants while clocks show the hours {hours:?}"), given, expected)?;
    }
    Ok(())
}

/// Creates an account with a grant of 100 in each calendar period, at a given time.
fn by_calendar(
    ledger: Ledger,
    unit: CalendarUnit,
    zone: &str,
    at: &str,
) -> Result<TestAccount<dyn CreditLedger>, Fault> {
    let period = GrantPeriod::calendar(unit, zone).map_err(|error| Fault::new(error.to_string()))?;
    let allowance = Allowance::Grant(Grant::new(Credits::new(100), period));
    Ok(TestAccount { allowance, now: moment(at)?, ..TestAccount::bare(ledger) })
}

fn moment(text: &str) -> Result<Timestamp, Fault> {
    text.parse().map_err(|error| Fault::new(format!("{error}")))
}

/// Month ends, a leap day, and days and hours in which clocks change: each with the times of two grants.
async fn calendar_grants_are_given_at_the_exact_time(ledger: Ledger) -> Verdict {
    for (unit, zone, start, turns) in [
        (
            CalendarUnit::Month,
            "UTC",
            "2027-01-31T23:59:59Z",
            ["2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"],
        ),
        (
            CalendarUnit::Month,
            "Europe/Berlin",
            "2026-03-15T00:00:00Z",
            ["2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"],
        ),
        (CalendarUnit::Day, "UTC", "2028-02-28T00:00:00Z", ["2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"]),
        (
            CalendarUnit::Day,
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
        ),
        (
            CalendarUnit::Day,
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        ),
        (
            CalendarUnit::Hour,
            "Australia/Lord_Howe",
            "2026-04-04T13:40:00Z",
            ["2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z"],
        ),
    ] {
        let account = by_calendar(ledger.clone(), unit, zone, start)?;
        account.take(100).await?;
        for turn in turns {
            let at = moment(turn)?;
            let nearly = Timestamp::from_millis(at.as_millis() - 1);
            let (before, after) =
                (TestAccount { now: nearly, ..account.clone() }, TestAccount { now: at, ..account.clone() });
            before.expect_balance(&format!("a millisecond before {turn} in {zone}"), 0).await?;
            after.expect_balance(&format!("at {turn} in {zone}"), 100).await?;
            after.take(100).await?;
        }
    }
    Ok(())
}

async fn a_calendar_grant_after_missed_periods_is_given_once(ledger: Ledger) -> Verdict {
    let account = by_calendar(ledger, CalendarUnit::Month, "Europe/Berlin", "2027-12-31T22:59:59Z")?;
    account.take(100).await?;
    // January of the next year, February with a leap day and the change of clocks in March were missed.
    let later = TestAccount { now: moment("2028-04-10T12:00:00Z")?, ..account.clone() };
    later.expect_balance("after missed months", 100).await?;
    later.take(100).await?;
    let before = TestAccount { now: moment("2028-04-30T21:59:59.999Z")?, ..account.clone() };
    before.expect_balance("before the next month", 0).await?;
    let next = TestAccount { now: moment("2028-04-30T22:00:00Z")?, ..account };
    next.expect_balance("at the next month", 100).await
}
