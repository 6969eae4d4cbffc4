//! Ten thousand credits, spent by many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tollgate::credit::Abandoned;

use crate::client::Client;
use crate::fleet::fixture::{NODES, Stage, a_moment};

const CREDITS: u64 = 10_000;

/// For how long a client is told that the credits are spent before it believes it: what is leased and idle goes back after
/// a second, and so does what was charged for a request that could not be decided on.
const PATIENCE: Duration = Duration::from_secs(4);

/// The observations of a task.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    served: u64,
    /// Requests whose answer never came, as when the node was killed.
    lost: u64,
    /// Requests that a node could not decide on in time.
    undecided: u64,
}

/// Asks until the credits are spent: `enough` says whether a 402 is the end.
async fn spend(stage: Arc<Stage>, client: Client, place: usize, key: Arc<str>, patience: Duration) -> Seen {
    let (mut seen, mut refused) = (Seen::default(), None::<Instant>);
    loop {
        let Some(address) = stage.address(place).await else {
            a_moment().await;
            continue;
        };
        match client.get(&address, "/report", &key).await {
            Ok(200) => (seen.served, refused) = (seen.served + 1, None),
            Ok(402) if refused.is_some_and(|since| since.elapsed() >= patience) => return seen,
            Ok(402) => {
                refused.get_or_insert_with(Instant::now);
                a_moment().await;
            }
            // The servers did not answer in time: whether it was paid is settled behind the client's back.
            Ok(503) => {
                seen.undecided += 1;
                a_moment().await;
            }
            Ok(status) => panic!("a node answered {status}"),
            Err(_) => {
                seen.lost += 1;
                a_moment().await;
            }
        }
    }
}

async fn spend_all(stage: &Arc<Stage>, patience: Duration) -> Seen {
    let key: Arc<str> = stage.issue().await.secret.expose_secret().into();
    let start = Instant::now();
    let seen = stage
        .at_full_load(|stage, client, place| spend(stage, client, place, Arc::clone(&key), patience))
        .await;
    let sum = seen.iter().fold(Seen::default(), |sum, seen| Seen {
        served: sum.served + seen.served,
        lost: sum.lost + seen.lost,
        undecided: sum.undecided + seen.undecided,
    });
    eprintln!("{sum:?} in {:.1?}", start.elapsed());
    sum
}

/// Spends until nothing comes back any more of what was charged for requests that were undecided, or was leased.
async fn spend_to_the_end(stage: &Arc<Stage>) -> Seen {
    let mut sum = Seen::default();
    for _ in 0..6 {
        let seen = spend_all(stage, PATIENCE).await;
        (sum.served, sum.lost) = (sum.served + seen.served, sum.lost + seen.lost);
        stage.closed().await;
        if stage.balance().await == 0 {
            break;
        }
    }
    sum
}

/// The entries sum to the balance, and what is held to the open charges.
async fn is_sound(stage: &Stage) {
    let disagreements = stage.ledger.audit().await.unwrap();
    assert!(disagreements.is_empty(), "{disagreements:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_serve_exactly_the_credits() {
    let Some(stage) = Stage::new("metered", false).await.map(Arc::new) else { return };
    stage.top_up(CREDITS).await;
    let seen = spend_to_the_end(&stage).await;
    stage.stop().await;
    assert_eq!((seen.served, seen.lost, stage.balance().await), (CREDITS, 0, 0));
    is_sound(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_never_serve_beyond_credits() {
    let Some(stage) = Stage::new("metered", false).await.map(Arc::new) else { return };
    killed_while_spending(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_serve_exactly_their_leases() {
    let Some(stage) = Stage::new("metered", true).await.map(Arc::new) else { return };
    stage.top_up(CREDITS).await;
    let seen = spend_to_the_end(&stage).await;
    stage.stop().await;
    assert_eq!((seen.served, seen.lost, stage.balance().await), (CREDITS, 0, 0));
    is_sound(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_never_serve_beyond_leases() {
    let Some(stage) = Stage::new("metered", true).await.map(Arc::new) else { return };
    killed_while_spending(&stage).await;
}

/// Kills a node every second while the credits are spent; then gives back what the dead nodes left open, and spends that.
async fn killed_while_spending(stage: &Arc<Stage>) {
    stage.top_up(CREDITS).await;
    let spent = Arc::new(AtomicBool::new(false));
    let killer = {
        let (stage, spent) = (Arc::clone(stage), Arc::clone(&spent));
        tokio::spawn(async move {
            let mut kills = 0;
            while !spent.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stage.kill(kills % NODES).await;
                kills += 1;
            }
            kills
        })
    };
    let during = spend_all(stage, PATIENCE).await;
    spent.store(true, Ordering::Relaxed);
    let kills = killer.await.unwrap();
    assert!(kills >= 2, "{kills} kills are too few to tell");
    // What the nodes that live have still to close, they close; the rest is for the sweep.
    stage.closed().await;
    let closed = stage.ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap();
    let back = stage.balance().await;
    eprintln!("{kills} kills left {closed} charges open; {back} credits came back");
    assert!(during.served + back <= CREDITS, "{} served and {back} back", during.served);
    is_sound(stage).await;
    let after = spend_to_the_end(stage).await;
    stage.stop().await;
    assert_eq!((after.served, after.lost, stage.balance().await), (back, 0, 0));
    is_sound(stage).await;
}
