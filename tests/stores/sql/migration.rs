//! A database of a version without buckets: its balances become buckets.

use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::credit::{
    Abandoned, Adjusted, Adjustment, AdjustmentKind, Balance, BucketId, Charge, CreditAdmin, Currency,
    SqlLedger,
};
use tollgate::{Account, CreditLedger, Credits};

use crate::database::{Place, both};
use crate::sql::ledger::{HOUR, at, balance, charge, hourly, now, number, posted, top_up};

both!(balances_of_a_version_without_buckets_go_on);

/// The statements that write what version 9 of the schema held after these calls of its own ledger: the balance of ada was set
/// to 100, two charges of 30 were made and one of them settled at 10, and 7 were topped up; bob was charged 20 under an
/// hourly grant of 50, and leased a block of 10 with 4 committed; the limit of eve was removed.
fn version_9(place: &Place) -> &'static str {
    if place.is_postgres() {
        include_str!("version_9/postgres.sql")
    } else {
        include_str!("version_9/sqlite.sql")
    }
}

async fn balances_of_a_version_without_buckets_go_on(place: Place) {
    let (ada, bob, eve) =
        (Account::new("ada", "pro"), Account::new("bob", "pro"), Account::new("eve", "pro"));
    let none = Allowance::None;
    place.say(version_9(&place)).await;

    let ledger = SqlLedger::new(&place.open().await);
    assert_eq!(ledger.audit().await.unwrap(), []);
    assert_eq!(balance(&ledger, "ada").await, 67);
    let credits = Currency::CREDITS;
    let buckets = ledger.buckets_of(&ada.id, &credits, &none, at(0)).await.unwrap();
    let told: Vec<_> = buckets.iter().map(|bucket| (&bucket.id, bucket.left)).collect();
    assert_eq!(told, [(&BucketId::Main, Credits::new(67))]);
    assert_eq!(ledger.balance_of(&eve.id, &credits, &none, at(0)).await.unwrap(), Balance::Unlimited);
    // A repetition is recognized, and an open charge ends.
    assert_eq!(charge(&ledger, &ada, 1, 30).await.unwrap(), posted(67));
    ledger.settle(&crate::support::settlement(&ada, number(1), Credits::new(5))).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, 92);
    let kind = AdjustmentKind::Set(Credits::new(100));
    let again = Adjustment::new("a".parse().unwrap(), &ada.id, kind, &none, at(0));
    assert!(matches!(ledger.adjust(&again).await.unwrap(), Adjusted::Repeated { .. }));
    assert!(matches!(top_up(&ledger, "ada", "paid", 7).await, Adjusted::Repeated { .. }));
    let _ = top_up(&ledger, "ada", "b", 7).await;
    let buckets = ledger.buckets_of(&ada.id, &credits, &none, at(0)).await.unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket.left.get()).collect::<Vec<_>>(), [92, 7]);
    // The next grant is given at its time, less what the block may return.
    let grant = hourly(50);
    let asked = Charge::new(number(5), &bob, Credits::new(1), &grant, now(HOUR));
    assert_eq!(ledger.charge(&asked).await.unwrap(), posted(43));
    assert_eq!(ledger.audit().await.unwrap(), []);
    assert_eq!(ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 3);
    assert_eq!(balance(&ledger, "bob").await, 43 + 20 + 6 + 1);
    assert_eq!(ledger.audit().await.unwrap(), []);
    ledger.forget_entries(at(2 * HOUR)).await.unwrap();
    assert_eq!(ledger.audit().await.unwrap(), []);
}
