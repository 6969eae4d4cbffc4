//! The thresholds: what crosses them, and what is told of it.

use std::time::Duration;

use tollgate::adapter::Peer;
use tollgate::credit::{AdjustmentId, Balance};
use tollgate::gate::Outcome;
use tollgate::manage::KeyChange;
use tollgate::{Account, AccountManager, CreditManager, Credits, NewKey};

use crate::stage::{DAY, Key, Node};

const BALANCE: &str = "[[alerts]]\nwhen = { balance_below = '20%' }\n";

/// Adds credits to an account.
pub(crate) async fn top_up(node: &Node, account: &str, amount: u64, id: &str) -> Balance {
    let id: AdjustmentId = id.parse().unwrap();
    let credits = CreditManager::new(node.gate.clone()).unwrap();
    credits.top_up(&account.into(), Credits::new(amount), &id).await.unwrap()
}

/// Spends credits in steps that the quotas allow.
pub(crate) async fn spend(node: &Node, key: &Key, amounts: &[u64]) {
    for amount in amounts {
        node.clock.advance(Duration::from_secs(1));
        node.request(key, *amount).await;
    }
}

#[tokio::test]
async fn low_balance_is_told_once_per_period() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    spend(&node, &key, &[80]).await;
    assert!(node.told().await.is_empty(), "20 of 100 is not below 20%");
    spend(&node, &key, &[1]).await;
    let told = node.told().await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].account.as_ref().unwrap().as_str(), told[0].plan.as_ref().unwrap().as_str()),
        ("ada", "pro")
    );
    assert_eq!((told[0].threshold.as_deref(), told[0].value.as_deref()), (Some("20%"), Some("19")));
    assert_eq!(told[0].key, None, "it is about the account");
    spend(&node, &key, &[1, 5, 100]).await;
    node.clock.advance(DAY);
    spend(&node, &key, &[1]).await;
    assert!(node.told().await.is_empty(), "it is told already");
    node.clock.advance(30 * DAY);
    spend(&node, &key, &[1]).await;
    assert!(node.told().await.is_empty(), "the balance was refilled");
    spend(&node, &key, &[90]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 9"], "the next period");
    node.clock.advance(31 * DAY);
    spend(&node, &key, &[95]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 5"], "no event shows the refilled balance");
}

#[tokio::test]
async fn low_balance_is_told_again_after_a_top_up() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    spend(&node, &key, &[90]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 10"]);
    top_up(&node, "ada", 5, "small").await;
    spend(&node, &key, &[1]).await;
    assert!(node.told().await.is_empty(), "14 is still below the threshold");
    top_up(&node, "ada", 50, "large").await;
    spend(&node, &key, &[1]).await;
    assert!(node.told().await.is_empty());
    spend(&node, &key, &[60]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 3"]);
}

/// Requests end in another order than they were charged: the older balance is no reason to tell again.
#[tokio::test]
async fn late_event_does_not_repeat_an_alert() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    let above = node.open(&key, 80).await.unwrap();
    let below = node.open(&key, 1).await.unwrap();
    below.finish(Outcome::Served).await.unwrap();
    assert_eq!(node.lines().await, ["account.balance_below 20% 19"]);
    above.finish(Outcome::Served).await.unwrap();
    assert!(node.told().await.is_empty());
    spend(&node, &key, &[1, 1]).await;
    assert!(node.told().await.is_empty());
}

/// An event about an older, lower balance tells nothing after a top-up.
#[tokio::test]
async fn outdated_low_balance_is_not_told() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    let low = node.open(&key, 90).await.unwrap();
    top_up(&node, "ada", 50, "large").await;
    low.finish(Outcome::Served).await.unwrap();
    assert!(node.told().await.is_empty());
    spend(&node, &key, &[50]).await;
    assert!(node.told().await.is_empty(), "the ledger is asked again after ten seconds");
    node.clock.advance(Duration::from_secs(10));
    spend(&node, &key, &[1]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 9"]);
}

#[tokio::test]
async fn denial_for_lack_of_credits_is_told() {
    let node = Node::new("[[alerts]]\nwhen = { balance_below = 500 }\nplans = ['flat']\n");
    let (bob, ada) = (node.key("bob").await, node.key("ada").await);
    assert!(!node.request(&bob, 7).await);
    assert!(node.request(&ada, 7).await);
    let told = node.told().await;
    assert_eq!(told.len(), 1, "the plan of `ada` is another one");
    assert_eq!((told[0].account.as_ref().unwrap().as_str(), told[0].value.as_deref()), ("bob", Some("0")));
}

#[tokio::test]
async fn each_account_and_threshold_is_told() {
    let node =
        Node::new("[[alerts]]\nwhen = { balance_below = '20%' }\n[[alerts]]\nwhen = { balance_below = 5 }\n");
    let (ada, eve) = (node.key("ada").await, node.key("eve").await);
    spend(&node, &ada, &[90]).await;
    spend(&node, &eve, &[97]).await;
    let mut lines = node.lines().await;
    lines.sort();
    let expected =
        ["account.balance_below 20% 10", "account.balance_below 20% 3", "account.balance_below 5 3"];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn expiry_is_told_once_for_each_time() {
    let node = Node::new("[[alerts]]\nwhen = { expires_within = '7days' }\n");
    let mut new = NewKey::new("ada", "a key");
    new.expires_at = Some("2026-04-20T12:00:00Z".parse().unwrap());
    let key = node.key_with(new).await;
    let forever = node.key("ada").await;
    spend(&node, &key, &[0]).await;
    assert!(node.told().await.is_empty());
    node.clock.advance(3 * DAY);
    spend(&node, &key, &[0, 0]).await;
    spend(&node, &forever, &[0]).await;
    let told = node.told().await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].key, told[0].threshold.as_deref()), (Some(key.id), Some("7days")));
    assert_eq!(told[0].value.as_deref(), Some("2026-04-20T12:00:00Z"));
    node.clock.advance(DAY);
    spend(&node, &key, &[0]).await;
    assert!(node.told().await.is_empty());
    let change =
        KeyChange { expires_at: Some(Some("2026-04-21T12:00:00Z".parse().unwrap())), ..KeyChange::default() };
    node.keys().update(key.id, &change).await.unwrap();
    spend(&node, &key, &[0]).await;
    assert_eq!(node.lines().await, ["key.expires_within 7days 2026-04-21T12:00:00Z"]);
    node.clock.advance(30 * DAY);
    spend(&node, &key, &[0]).await;
    assert!(node.told().await.is_empty(), "an expired key expires no more");
}

/// The window of a day is compared, although the window of a second always has less left.
#[tokio::test]
async fn quota_is_told_once_per_window() {
    let node = Node::new("[[alerts]]\nwhen = { quota_above = '80%' }\nplans = ['pro', 'large']\n");
    let (ada, bob) = (node.key("ada").await, node.key("bob").await);
    for (number, expected) in [(80, 0), (1, 1), (9, 0)] {
        spend(&node, &ada, &vec![0; number]).await;
        spend(&node, &bob, &vec![0; number]).await;
        let told = node.told().await;
        assert_eq!(told.len(), expected, "{number}: {told:?}");
        for alert in told {
            assert_eq!((alert.key, alert.quota.as_deref()), (Some(ada.id), Some("day")));
            assert_eq!((alert.threshold.as_deref(), alert.value.as_deref()), (Some("80%"), Some("81%")));
        }
    }
    node.clock.advance(2 * DAY);
    spend(&node, &ada, &[0; 85]).await;
    assert_eq!(node.told().await.len(), 1, "the next window");
}

#[tokio::test]
async fn revoked_and_leaked_keys_are_told() {
    let alerts =
        "[[alerts]]\nwhen = { revoked = true }\nplans = ['pro']\n[[alerts]]\nwhen = { leaked = true }\n";
    let node = Node::new(alerts);
    let (ada, bob) = (node.key("ada").await, node.key("bob").await);
    for _ in 0..2 {
        node.keys().revoke(bob.id).await.unwrap();
    }
    node.keys().pause(ada.id).await.unwrap();
    assert!(node.told().await.is_empty());
    for _ in 0..2 {
        node.keys().revoke(ada.id).await.unwrap();
    }
    let told = node.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].kind.name(), told[0].key, told[0].threshold.as_deref()),
        ("key.revoked", Some(ada.id), None)
    );

    let issued = node.keys().issue(NewKey::new("bob", "a key")).await.unwrap();
    for _ in 0..2 {
        node.keys().report_leak(issued.secret.expose_secret()).await.unwrap();
    }
    let told = node.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].kind.name(), told[0].key), ("key.leaked", Some(issued.key.id)));
    let text = serde_json::to_string(&told[0]).unwrap();
    assert!(!text.contains(&issued.secret.expose_secret()[6..14]), "{text}");
}

#[tokio::test]
async fn revocation_after_an_undo_is_told() {
    let alerts = "[[alerts]]\nwhen = { revoked = true }\n[management]\nundo_revocation = '1day'\n";
    let node = Node::new(alerts);
    let key = node.key("ada").await;
    for _ in 0..2 {
        node.keys().revoke(key.id).await.unwrap();
        assert_eq!(node.told().await.len(), 1);
        node.keys().undo_revocation(key.id).await.unwrap();
        assert!(node.told().await.is_empty());
    }
}

#[tokio::test]
async fn keys_of_a_deleted_account_are_told() {
    let node = Node::new("[[alerts]]\nwhen = { revoked = true }\n");
    let keys = [node.key("ada").await.id, node.key("ada").await.id];
    let accounts = AccountManager::new(node.gate.clone()).unwrap();
    accounts.delete(&"ada".into()).await.unwrap();
    let mut told: Vec<_> = node.told().await.iter().filter_map(|alert| alert.key).collect();
    told.sort_unstable();
    assert_eq!(told, keys);
}

/// A thousand accounts cross the threshold at the same time, from several tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_crossings_are_told_once() {
    let node = std::sync::Arc::new(Node::new("[[alerts]]\nwhen = { balance_below = 500 }\n"));
    let mut keys = Vec::new();
    for number in 0..200 {
        node.store.put_account(Account::new(format!("account-{number}"), "large"));
        keys.push(node.key(&format!("account-{number}")).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (node, keys) = (std::sync::Arc::clone(&node), keys.clone());
        tasks.spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async {
                for key in &keys {
                    node.request(key, 1).await;
                }
            });
        });
    }
    tasks.join_all().await;
    assert_eq!(node.told().await.len(), 200);
}

#[tokio::test]
async fn gate_without_alerts_has_none() {
    let node = Node::new("");
    assert!(node.gate.alerts().is_none());
    let key = node.key("ada").await;
    spend(&node, &key, &[99]).await;
    assert!(node.sink.take().is_empty());
}

/// No request sees the balance between a top-up and the request that uses it up.
#[tokio::test]
async fn used_up_top_up_is_told_again() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    spend(&node, &key, &[90]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 10"]);
    node.clock.advance(DAY);
    top_up(&node, "ada", 900, "large").await;
    node.flush().await;
    spend(&node, &key, &[900]).await;
    assert_eq!(node.lines().await, ["account.balance_below 20% 10"]);
}

/// The wall clock was years ahead for a moment.
#[tokio::test]
async fn clock_that_was_ahead_hides_no_period() {
    for is_ahead in [false, true] {
        let node = Node::new("[[alerts]]\nwhen = { balance_below = 500 }\n");
        let key = node.key("ada").await;
        if is_ahead {
            node.clock.set_wall("2036-04-10T12:00:00Z".parse().unwrap());
        }
        node.request(&key, 1).await;
        assert_eq!(node.told().await.len(), 1);
        node.clock.set_wall("2026-04-10T12:00:00Z".parse().unwrap());
        let mut told = 0;
        for _ in 0..3 {
            node.clock.advance(31 * DAY);
            node.request(&key, 1).await;
            told += node.told().await.len();
        }
        assert_eq!(told, 3, "it is low in three later periods; ahead: {is_ahead}");
    }
}

#[tokio::test]
async fn share_of_a_quota_is_exact() {
    let plan = "[plans.big]\nquotas = ['1000 per day']\n";
    let node = Node::new(&format!("[[alerts]]\nwhen = {{ quota_above = '80%' }}\n{plan}"));
    node.store.put_account(Account::new("big", "big"));
    let key = node.key("big").await;
    for _ in 0..801 {
        assert!(node.request(&key, 0).await);
    }
    assert_eq!(node.told().await.len(), 1, "801 of 1000 is more than 80%");
}

#[tokio::test]
async fn quota_of_1000_is_told_above_99_percent() {
    let plan = "[plans.big]\nquotas = ['1000 per day']\n";
    let node = Node::new(&format!("[[alerts]]\nwhen = {{ quota_above = '99%' }}\n{plan}"));
    node.store.put_account(Account::new("big", "big"));
    let key = node.key("big").await;
    for _ in 0..999 {
        assert!(node.request(&key, 0).await);
    }
    assert_eq!(node.told().await.len(), 1, "999 of 1000 is more than 99%");
}

/// The operator extends the validity, and shortens it later.
#[tokio::test]
async fn shortened_expiry_is_told() {
    let node = Node::new("[[alerts]]\nwhen = { expires_within = '7days' }\n");
    let mut new = NewKey::new("ada", "a key");
    new.expires_at = Some("2026-04-16T12:00:00Z".parse().unwrap());
    let key = node.key_with(new).await;
    spend(&node, &key, &[0]).await;
    assert_eq!(node.told().await.len(), 1);
    let change =
        KeyChange { expires_at: Some(Some("2026-04-12T12:00:00Z".parse().unwrap())), ..KeyChange::default() };
    node.keys().update(key.id, &change).await.unwrap();
    spend(&node, &key, &[0]).await;
    assert_eq!(node.lines().await, ["key.expires_within 7days 2026-04-12T12:00:00Z"]);
}

/// An account is erased, and created again with the same id.
#[tokio::test]
async fn account_that_is_created_again_is_told() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    spend(&node, &key, &[90]).await;
    assert_eq!(node.told().await.len(), 1);
    let accounts = AccountManager::new(node.gate.clone()).unwrap();
    accounts.erase(&"ada".into()).await.unwrap();
    accounts.create(Account::new("ada", "pro")).await.unwrap();
    let key = node.key("ada").await;
    spend(&node, &key, &[90]).await;
    assert_eq!(node.told().await.len(), 1);
}

/// A plan with a shorter period: the period of the former plan hides its own.
#[tokio::test]
async fn change_of_plan_hides_no_period() {
    let plan = "[plans.daily]\ncredits = { amount = 100, calendar = 'day', zone = 'UTC' }\n";
    let node = Node::new(&format!("[[alerts]]\nwhen = {{ balance_below = 500 }}\n{plan}"));
    let key = node.key("ada").await;
    spend(&node, &key, &[1]).await;
    assert_eq!(node.told().await.len(), 1);
    AccountManager::new(node.gate.clone()).unwrap().change_plan(&"ada".into(), "daily".into()).await.unwrap();
    let mut told = 0;
    for _ in 0..3 {
        node.clock.advance(DAY);
        spend(&node, &key, &[1]).await;
        told += node.told().await.len();
    }
    assert_eq!(told, 3, "it is low in three periods of the new plan");
}

/// Two quotas of the same name: the alert tells which rule is meant.
#[tokio::test]
async fn alert_names_the_rule_of_the_quota() {
    let rule = "[[rules]]\nroute = '/limited'\nquotas = ['10 per day']\n";
    let node = Node::new(&format!("{rule}[[alerts]]\nwhen = {{ quota_above = '50%' }}\n"));
    let key = node.key("bob").await;
    for _ in 0..6 {
        let request = http::Request::get("/limited").header("X-API-Key", key.secret());
        let view = request.body(()).unwrap();
        node.gate.admit(&tollgate::RequestView::of(&view)).await.unwrap();
    }
    let told = node.told().await;
    assert_eq!(told.len(), 1);
    let text = serde_json::to_string(&told[0]).unwrap();
    assert!(text.contains("/limited"), "{text}");
}

/// A network has no owner who could be told.
#[tokio::test]
async fn networks_raise_no_alert() {
    let rule = "[[rules]]\nroute = '/limited'\nquotas = [{ quota = '10 per day', counts = 'network' }, \
                { quota = '10 per hour', counts = 'account' }]\n";
    let node = Node::new(&format!("{rule}[[alerts]]\nwhen = {{ quota_above = '50%' }}\n"));
    let key = node.key("bob").await;
    for _ in 0..10 {
        let request = http::Request::get("/limited").header("X-API-Key", key.secret());
        let request = request.extension(Peer([192, 0, 2, 7].into())).body(()).unwrap();
        node.gate.admit(&tollgate::RequestView::of(&request)).await.unwrap();
    }
    let told = node.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].quota.as_deref(), Some("hour"), "that of the account");
}

/// A node that limits by its share of a quota: 1 of 100 requests is no use above 70%.
#[tokio::test]
async fn share_of_a_node_is_compared_with_itself() {
    let nodes = std::num::NonZeroU32::new(4).unwrap();
    let node = Node::with("[[alerts]]\nwhen = { quota_above = '70%' }\n", |builder| {
        builder.limiter(tollgate::limit::LocalShare::new(nodes))
    });
    let key = node.key("bob").await;
    assert!(node.request(&key, 0).await);
    assert_eq!(node.lines().await, Vec::<String>::new());
}

/// An account returns to its plan: the crossing under the first plan hides the later one.
#[tokio::test]
async fn return_to_a_plan_hides_no_crossing() {
    let plan = "[plans.daily]\ncredits = { amount = 1000, calendar = 'day', zone = 'UTC' }\n";
    let node = Node::new(&format!("{BALANCE}{plan}"));
    let key = node.key("ada").await;
    let accounts = AccountManager::new(node.gate.clone()).unwrap();
    spend(&node, &key, &[90]).await;
    assert_eq!(node.told().await.len(), 1);
    accounts.change_plan(&"ada".into(), "daily".into()).await.unwrap();
    top_up(&node, "ada", 2_000, "one").await;
    node.flush().await;
    node.clock.advance(Duration::from_hours(2));
    accounts.change_plan(&"ada".into(), "pro".into()).await.unwrap();
    spend(&node, &key, &[1]).await;
    let _ = node.told().await;
    node.clock.advance(Duration::from_hours(1));
    spend(&node, &key, &[1_000]).await;
    spend(&node, &key, &[990]).await;
    spend(&node, &key, &[10, 5, 5]).await;
    node.clock.advance(Duration::from_mins(2));
    spend(&node, &key, &[1]).await;
    assert_eq!(node.told().await.len(), 1);
}
