//! Checks of buckets: their order, their times, and what returns to them.

use std::collections::HashMap;
use std::time::Duration;

use super::{Admin, NEARLY, PERIOD, TestAccount, count_posted};
use crate::account::{Allowance, ExpiredRefunds, Rollover};
use crate::amount::{Credits, Currency};
use crate::conformance::fresh::{self, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::credit::{
    Adjusted, AdjustmentKind, Bucket, BucketId, BucketKind, BucketTerms, CreditAdmin, Entry, EntryKind,
    EntryQuery, Refund,
};

pub(super) fn checks(ledger: &Admin) -> Vec<Check> {
    checks![ledger:
        a_grant_does_not_count_purchases needs Buckets,
        the_lowest_priority_number_is_drawn_first needs Buckets,
        the_earliest_expiry_is_drawn_first needs Buckets,
        the_oldest_bucket_is_drawn_first needs Buckets,
        a_grant_is_drawn_before_purchases needs Buckets,
        a_charge_draws_from_several_buckets needs Buckets,
        a_refund_returns_to_its_buckets needs Buckets,
        a_settlement_returns_to_the_last_bucket needs Buckets,
        credits_expire_at_the_exact_time needs Buckets,
        credits_start_at_the_exact_time needs Buckets,
        a_refund_to_an_expired_bucket_expires needs Buckets,
        a_refund_to_an_expired_bucket_is_kept needs Buckets,
        a_rollover_is_left_to_the_next_period needs Buckets,
        a_rollover_over_missed_periods_is_bounded needs Buckets,
        a_set_balance_empties_other_buckets needs Buckets,
        a_bucket_is_expired_by_hand needs Buckets,
        credits_are_moved_between_buckets needs Buckets,
        a_bucket_that_is_unknown_is_refused needs Buckets,
        a_bucket_that_has_expired_is_refused needs Buckets,
        there_are_at_most_256_buckets needs Buckets,
        entries_recompute_every_bucket needs Buckets,
        folded_entries_recompute_every_bucket needs Buckets,
        racing_charges_spend_three_buckets_once needs Buckets,
    ]
}

type Account = TestAccount<dyn CreditAdmin>;

impl Account {
    /// Adds a bucket with these terms, and returns its id.
    async fn add(&self, amount: u64, change: impl FnOnce(&mut BucketTerms)) -> Result<BucketId, Fault> {
        let (id, mut terms) = (fresh::adjustment()?, BucketTerms::of(BucketKind::Promotion));
        change(&mut terms);
        let kind = AdjustmentKind::TopUpInto { amount: Credits::new(amount), terms };
        done(&self.adjust(&id, kind).await?)?;
        Ok(BucketId::Of(id))
    }

    /// Returns the buckets as they are listed.
    async fn buckets(&self) -> Result<Vec<Bucket>, Fault> {
        let (account, credits) = (&self.account.id, &Currency::CREDITS);
        Ok(self.ledger.buckets_of(account, credits, &self.allowance, self.now).await?)
    }

    /// Checks the amounts of these buckets, of which one that is not listed has none.
    async fn expect_left(&self, what: &str, expected: &[(&BucketId, u64)]) -> Verdict {
        let buckets = self.buckets().await?;
        for (id, left) in expected {
            let found = buckets.iter().find(|bucket| bucket.id == **id);
            let found = found.map_or(0, |bucket| bucket.left.get());
            same(&format!("the credits in the bucket {id} {what}"), found, *left)?;
        }
        let all = buckets.iter().map(|bucket| bucket.left.get()).sum::<u64>();
        same(&format!("the credits in all buckets {what}"), all, expected.iter().map(|(_, left)| left).sum())
    }

    async fn entries_of(&self) -> Result<Vec<Entry>, Fault> {
        let mut entries = self.ledger.entries(&EntryQuery::newest(self.account.id.clone(), 1_000)).await?;
        entries.reverse();
        Ok(entries)
    }

    /// Returns a rollover plan of 100 credits in each period.
    fn rolling(ledger: Admin, least: u64, most: u64) -> Result<Self, Fault> {
        let mut test_account = Self::granted(ledger, 100)?;
        let rollover = Rollover::new(Credits::new(least), Credits::new(most))
            .map_err(|error| Fault::new(error.to_string()))?;
        if let Allowance::Grant(grant) = &test_account.allowance {
            test_account.allowance = Allowance::Grant(grant.clone().with_rollover(rollover));
        }
        Ok(test_account)
    }
}

fn done(adjusted: &Adjusted) -> Verdict {
    holds(&format!("the adjustment is made: found {adjusted:?}"), matches!(adjusted, Adjusted::Done { .. }))
}

fn top_up(amount: u64) -> AdjustmentKind {
    AdjustmentKind::TopUp(Credits::new(amount))
}

async fn a_grant_does_not_count_purchases(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    test_account.make(top_up(500)).await?;
    test_account.take(70).await?;
    test_account.after(PERIOD).expect("with 500 bought credits, after a grant of 100", 600).await
}

async fn the_lowest_priority_number_is_drawn_first(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let late = test_account.add(10, |terms| terms.priority = 200).await?;
    let first = test_account.add(10, |terms| terms.priority = 7).await?;
    test_account.take(4).await?;
    test_account.expect_left("after a charge of 4", &[(&first, 6), (&late, 10)]).await
}

async fn the_earliest_expiry_is_drawn_first(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let never = test_account.add(10, |_| {}).await?;
    let (soon, later) = (test_account.after(PERIOD).now, test_account.after(PERIOD * 2).now);
    let later = test_account.add(10, |terms| terms.expires = Some(later)).await?;
    let soon = test_account.add(10, |terms| terms.expires = Some(soon)).await?;
    test_account.take(4).await?;
    test_account.expect_left("after a charge of 4", &[(&soon, 6), (&later, 10), (&never, 10)]).await?;
    let listed: Vec<BucketId> = test_account.buckets().await?.into_iter().map(|bucket| bucket.id).collect();
    let listed: Vec<_> = listed.into_iter().filter(|id| *id != BucketId::Main).collect();
    same("the order of the buckets", listed, vec![soon, later, never])
}

async fn the_oldest_bucket_is_drawn_first(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let (old, young) = (test_account.add(10, |_| {}).await?, test_account.add(10, |_| {}).await?);
    test_account.take(4).await?;
    test_account.expect_left("after a charge of 4", &[(&old, 6), (&young, 10)]).await
}

async fn a_grant_is_drawn_before_purchases(ledger: Admin) -> Verdict {
    let test_account = TestAccount::granted(ledger, 100)?;
    let promotion = test_account.add(10, |_| {}).await?;
    test_account.take(4).await?;
    test_account.expect_left("after a charge of 4", &[(&BucketId::Main, 96), (&promotion, 10)]).await
}

/// Returns an account with buckets of 10, 20 and 30 credits, in the order of drawing.
async fn three(ledger: Admin) -> Result<(Account, [BucketId; 3]), Fault> {
    let test_account = TestAccount::bare(ledger);
    let last = test_account.add(30, |terms| terms.priority = 30).await?;
    let first = test_account.add(10, |terms| terms.priority = 10).await?;
    let second = test_account.add(20, |terms| terms.priority = 20).await?;
    Ok((test_account, [first, second, last]))
}

async fn a_charge_draws_from_several_buckets(ledger: Admin) -> Verdict {
    let (test_account, [first, second, last]) = three(ledger).await?;
    test_account.take(35).await?;
    test_account.expect_left("after a charge of 35", &[(&first, 0), (&second, 0), (&last, 25)]).await?;
    same("a charge of 26 of 25", test_account.charge(fresh::charge(), 26).await?, super::insufficient(25))
}

async fn a_refund_returns_to_its_buckets(ledger: Admin) -> Verdict {
    let (test_account, [first, second, last]) = three(ledger).await?;
    let (one, other) = (test_account.take(15).await?, test_account.take(20).await?);
    test_account.refund(one).await?;
    let expected = [(&first, 10), (&second, 5), (&last, 25)];
    test_account.expect_left("after the refund of the first charge", &expected).await?;
    test_account.refund(other).await?;
    test_account.expect_left("after both refunds", &[(&first, 10), (&second, 20), (&last, 30)]).await
}

async fn a_settlement_returns_to_the_last_bucket(ledger: Admin) -> Verdict {
    let (test_account, [first, second, last]) = three(ledger).await?;
    let id = test_account.take(35).await?;
    test_account.settle(id, 12).await?;
    test_account.expect_left("settled at 12", &[(&first, 0), (&second, 18), (&last, 30)]).await
}

async fn credits_expire_at_the_exact_time(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let expires = test_account.after(PERIOD).now;
    let id = test_account.add(10, |terms| terms.expires = Some(expires)).await?;
    test_account.take(4).await?;
    test_account.after(NEARLY).expect("a millisecond before the expiry", 6).await?;
    let then = test_account.after(PERIOD);
    then.expect("at the expiry", 0).await?;
    same("a charge of 1 at the expiry", then.charge(fresh::charge(), 1).await?, super::insufficient(0))?;
    let last = then.entries_of().await?.pop();
    let last = last.map(|entry| (entry.kind, entry.amount, entry.bucket, entry.left));
    same("the last entry", last, Some((EntryKind::Expired, -6, id, Credits::ZERO)))
}

async fn credits_start_at_the_exact_time(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let start = test_account.after(PERIOD).now;
    let id = test_account.add(10, |terms| terms.valid_from = Some(start)).await?;
    test_account.after(NEARLY).expect("a millisecond before the start", 0).await?;
    let listed = test_account.buckets().await?.into_iter().find(|bucket| bucket.id == id);
    same("the credits that have not started", listed.map(|bucket| bucket.left.get()), Some(10))?;
    let early = test_account.after(NEARLY).charge(fresh::charge(), 1).await?;
    same("a charge before the start", early, super::insufficient(0))?;
    let then = test_account.after(PERIOD);
    then.take(4).await?;
    then.expect("after a charge of 4 at the start", 6).await
}

/// Refunds a charge of 4 to a bucket that has expired.
async fn refunded_late(ledger: Admin, expired_refunds: ExpiredRefunds) -> Result<(Account, BucketId), Fault> {
    let test_account = TestAccount::bare(ledger);
    let expires = test_account.after(PERIOD).now;
    let id = test_account.add(10, |terms| terms.expires = Some(expires)).await?;
    let charge = test_account.take(4).await?;
    let then = test_account.after(PERIOD);
    let reading = then.reading();
    let mut refund = Refund::new(&then.account, charge, &reading);
    refund.expired_refunds = expired_refunds;
    then.ledger.refund(&refund).await?;
    Ok((then, id))
}

async fn a_refund_to_an_expired_bucket_expires(ledger: Admin) -> Verdict {
    let (test_account, id) = refunded_late(ledger, ExpiredRefunds::Forfeit).await?;
    test_account.expect("after a refund at the expiry", 0).await?;
    let of_bucket = test_account.entries_of().await?.into_iter().filter(|entry| entry.bucket == id);
    let amounts: Vec<i64> = of_bucket.map(|entry| entry.amount).collect();
    same("what moved in the bucket", amounts, vec![10, -4, -6, 4, -4])
}

async fn a_refund_to_an_expired_bucket_is_kept(ledger: Admin) -> Verdict {
    let (test_account, _) = refunded_late(ledger, ExpiredRefunds::Keep).await?;
    let later = test_account.after(PERIOD * 100);
    later.expect_left("after a refund at the expiry", &[(&BucketId::Returned, 4)]).await
}

async fn a_rollover_is_left_to_the_next_period(ledger: Admin) -> Verdict {
    for (spent, least, most, expected) in
        [(90, 0, 20, 110), (0, 0, 20, 120), (100, 0, 20, 100), (90, 15, 20, 115), (100, 15, 20, 115)]
    {
        let test_account = Account::rolling(ledger.clone(), least, most)?;
        test_account.expect_balance("of a new account", 100).await?;
        if spent > 0 {
            test_account.take(spent).await?;
        }
        let what = format!("with {spent} of 100 spent and a rollover of {least} to {most}");
        test_account.after(PERIOD).expect(&what, expected).await?;
    }
    Ok(())
}

async fn a_rollover_over_missed_periods_is_bounded(ledger: Admin) -> Verdict {
    for (periods, expected) in [(1, 110), (2, 210), (3, 310), (4, 350), (5, 350), (500_000, 350)] {
        let test_account = Account::rolling(ledger.clone(), 0, 250)?;
        test_account.take(90).await?;
        test_account.after(PERIOD * periods).expect(&format!("after {periods} periods"), expected).await?;
        test_account.after(PERIOD * periods).expect_balance("of a charge then", expected).await?;
    }
    Ok(())
}

async fn a_set_balance_empties_other_buckets(ledger: Admin) -> Verdict {
    let (test_account, [first, ..]) = three(ledger).await?;
    let start = test_account.after(PERIOD).now;
    test_account.add(40, |terms| terms.valid_from = Some(start)).await?;
    let charge = test_account.take(4).await?;
    test_account.make(AdjustmentKind::Set(Credits::new(7))).await?;
    test_account.expect_left("set to 7", &[(&BucketId::Main, 7)]).await?;
    test_account.refund(charge).await?;
    test_account.expect_left("after a refund", &[(&BucketId::Main, 7), (&first, 4)]).await
}

async fn a_bucket_is_expired_by_hand(ledger: Admin) -> Verdict {
    let (test_account, [first, second, last]) = three(ledger).await?;
    done(&test_account.adjust(&fresh::adjustment()?, AdjustmentKind::Expire(second.clone())).await?)?;
    test_account.expect_left("after it", &[(&first, 10), (&last, 30)]).await?;
    let again = test_account.adjust(&fresh::adjustment()?, AdjustmentKind::Expire(second)).await?;
    same("the same bucket again", again, Adjusted::UnknownBucket)
}

fn moving(from: &BucketId, amount: u64) -> AdjustmentKind {
    let terms = BucketTerms::default();
    AdjustmentKind::Move { from: from.clone(), amount: Credits::new(amount), terms }
}

async fn credits_are_moved_between_buckets(ledger: Admin) -> Verdict {
    let (test_account, [first, second, last]) = three(ledger).await?;
    let id = fresh::adjustment()?;
    done(&test_account.adjust(&id, moving(&last, 12)).await?)?;
    let made = BucketId::Of(id);
    let expected = [(&first, 10), (&second, 20), (&last, 18), (&made, 12)];
    test_account.expect_left("after 12 were moved", &expected).await?;
    let too_much = test_account.adjust(&fresh::adjustment()?, moving(&last, 19)).await?;
    same("19 of 18", too_much, Adjusted::Insufficient { balance: Credits::new(18) })?;
    test_account.expect_left("after it", &expected).await
}

async fn a_bucket_that_is_unknown_is_refused(ledger: Admin) -> Verdict {
    let (test_account, _) = three(ledger).await?;
    let unknown = BucketId::Of(fresh::adjustment()?);
    for kind in [AdjustmentKind::Expire(unknown.clone()), moving(&unknown, 1)] {
        let refused = test_account.adjust(&fresh::adjustment()?, kind).await?;
        same("an unknown bucket", refused, Adjusted::UnknownBucket)?;
    }
    test_account.expect("after it", 60).await
}

async fn a_bucket_that_has_expired_is_refused(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    let (now, later) = (test_account.now, test_account.after(PERIOD).now);
    for (valid_from, expires) in [(None, now), (Some(later), later), (Some(later), now)] {
        let mut terms = BucketTerms::default();
        (terms.valid_from, terms.expires) = (valid_from, Some(expires));
        let kind = AdjustmentKind::TopUpInto { amount: Credits::new(5), terms };
        let refused = test_account.adjust(&fresh::adjustment()?, kind).await?;
        same(&format!("from {valid_from:?} to {expires:?}"), refused, Adjusted::Expired)?;
    }
    test_account.expect("after it", 0).await
}

async fn there_are_at_most_256_buckets(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    for _ in 0..256 {
        test_account.add(1, |_| {}).await?;
    }
    let kind = AdjustmentKind::TopUpInto { amount: Credits::new(1), terms: BucketTerms::default() };
    let refused = test_account.adjust(&fresh::adjustment()?, kind).await?;
    same("one more", refused, Adjusted::TooManyBuckets)?;
    test_account.expect("after it", 256).await?;
    let id = test_account.take(1).await?;
    test_account.settle(id, 1).await?;
    test_account.add(1, |_| {}).await.map(drop)
}

/// Makes changes of several buckets, decades ago or now.
async fn changed(test_account: &Account) -> Verdict {
    let expires = test_account.after(PERIOD).now;
    test_account.add(10, |terms| terms.expires = Some(expires)).await?;
    let second = test_account.add(20, |terms| terms.priority = 7).await?;
    test_account.make(top_up(30)).await?;
    let (settled, refunded) = (test_account.take(35).await?, test_account.take(9).await?);
    test_account.settle(settled, 22).await?;
    test_account.refund(refunded).await?;
    test_account.make(moving(&BucketId::Purchased, 6)).await?;
    test_account.make(AdjustmentKind::Deduct(Credits::new(1))).await?;
    let then = test_account.after(PERIOD);
    let _insufficient = then.charge(fresh::charge(), Credits::MAX.get()).await?;
    let _unknown = then.adjust(&fresh::adjustment()?, AdjustmentKind::Expire(second)).await?;
    Ok(())
}

/// Checks that the entries of each bucket sum to what is in it, and all entries to the balance.
async fn recomputed(test_account: &Account) -> Verdict {
    let (mut sums, mut all) = (HashMap::<BucketId, i64>::new(), 0);
    for entry in test_account.entries_of().await? {
        let sum = sums.entry(entry.bucket.clone()).or_default();
        *sum += entry.amount;
        all += entry.amount;
        same(&format!("the bucket of entry {}", entry.number), entry.left, Credits::new(sum.unsigned_abs()))?;
        same(
            &format!("the balance of entry {}", entry.number),
            entry.balance,
            super::limited(all.unsigned_abs()),
        )?;
    }
    sums.retain(|_, sum| *sum != 0);
    let listed = test_account.buckets().await?.into_iter().filter(|bucket| !bucket.left.is_zero());
    let listed: HashMap<BucketId, i64> =
        listed.map(|bucket| (bucket.id, bucket.left.get().cast_signed())).collect();
    holds("several buckets have credits", listed.len() > 1)?;
    same("the sums of the entries of each bucket", sums, listed)
}

async fn entries_recompute_every_bucket(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    changed(&test_account).await?;
    recomputed(&test_account.after(PERIOD)).await
}

async fn folded_entries_recompute_every_bucket(ledger: Admin) -> Verdict {
    let long_ago = crate::clock::Timestamp::from_millis(1_000_000);
    let test_account = TestAccount { now: long_ago, ..TestAccount::bare(ledger.clone()) };
    changed(&test_account).await?;
    let before = test_account.entries_of().await?.len();
    ledger.forget_entries(test_account.after(PERIOD * 2).now).await?;
    holds("entries are folded", test_account.entries_of().await?.len() < before)?;
    recomputed(&test_account.after(PERIOD)).await
}

async fn racing_charges_spend_three_buckets_once(ledger: Admin) -> Verdict {
    let test_account = TestAccount::bare(ledger);
    for amount in [3, 4, 3] {
        let expires = test_account.after(PERIOD + Duration::from_secs(amount)).now;
        test_account.add(amount, |terms| terms.expires = Some(expires)).await?;
    }
    let charges = (0..fresh::RACERS).map(|_| {
        let test_account = test_account.clone();
        move || test_account.charge(fresh::charge(), 1)
    });
    let answers = race(charges).await?;
    same("how many of 16 charges of 1 were posted, of 10", count_posted(&answers), 10)?;
    test_account.expect_left("after them", &[]).await
}
