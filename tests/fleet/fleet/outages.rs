//! The README's table of server failures, for a fleet that is set up as the README recommends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tollgate::NewKey;

use crate::client::Client;
use crate::fleet::fixture::{NODES, Stage, a_moment};
use crate::gate::STALE_FOR_AT_MOST;

const CREDITS: u64 = 10_000;

/// The longest time of an answer that waits for no server, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The longest that anybody waits: for a node's blocks, for a charge, for its refund, one second each.
const LONGEST: Duration = Duration::from_secs(5);

/// The plan `limited`: so many at once, and one more each tenth of a second.
const QUOTA: u128 = 100;

/// Asks a node, and says how long the answer took.
async fn timed(client: &Client, node: &str, path: &str, key: &str) -> (u16, Duration) {
    let asked = Instant::now();
    let status = client.get(node, path, key).await.unwrap();
    (status, asked.elapsed())
}

/// Asks a node for as long as it takes until it gives up on a server: 503 is then answered at once. Says how many were served
/// meanwhile.
async fn until_told_at_once(client: &Client, node: &str, path: &str, keys: &[String]) -> u64 {
    let (start, mut served, mut in_a_row) = (Instant::now(), 0, 0);
    for key in keys.iter().cycle() {
        let (status, took) = timed(client, node, path, key).await;
        assert!(matches!(status, 200 | 503) && took <= LONGEST, "{status} after {took:.1?}");
        served += u64::from(status == 200);
        in_a_row = if status == 503 && took <= AT_ONCE { in_a_row + 1 } else { 0 };
        // Not more: one call in each half second finds out whether the server is back, and waits for it.
        if in_a_row == 5 {
            break;
        }
        assert!(start.elapsed() <= Duration::from_secs(20), "{path}: whoever asks waits for the dead server");
    }
    eprintln!("{path}: told at once after {:.1?}", start.elapsed());
    served
}

/// A known key is served past its time. One reading a second finds out whether the server is back, and is waited for.
async fn is_served(client: &Client, node: &str, known: &str) {
    let mut waited = 0;
    for _ in 0..50 {
        let (status, took) = timed(client, node, "/free", known).await;
        assert!(status == 200 && took <= Duration::from_secs(2), "{status} after {took:.1?}");
        waited += usize::from(took > AT_ONCE);
    }
    assert!(waited <= 5, "{waited} of 50 waited for the dead server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_postgres_serves_known_keys_only() {
    let Some(stage) = Stage::as_recommended("metered").await.map(Arc::new) else { return };
    stage.top_up(CREDITS).await;
    let (client, mut served) = (Client::new(), 0);
    let (known, unknown) =
        (stage.issue().await.secret.expose_secret().to_owned(), stage.unknown_keys(1_000).await);
    let mut nodes = Vec::new();
    for place in 0..NODES {
        nodes.push(stage.address(place).await.unwrap());
    }
    for node in &nodes {
        for _ in 0..50 {
            served += u64::from(client.get(node, "/report", &known).await.unwrap() == 200);
        }
        assert_eq!(client.get(node, "/free", &unknown[0]).await.unwrap(), 401);
    }
    stage.postgres.pause();
    let hung = Instant::now();
    let given_up = nodes.iter().map(|node| async {
        assert_eq!(until_told_at_once(&client, node, "/free", &unknown[1..]).await, 0);
        until_told_at_once(&client, node, "/report", std::slice::from_ref(&known)).await
    });
    served += join_all(given_up).await.iter().sum::<u64>();
    // Whatever had been read of the key by then is past its time.
    tokio::time::sleep(STALE_FOR_AT_MOST.saturating_sub(hung.elapsed())).await;
    join_all(nodes.iter().map(|node| is_served(&client, node, &known))).await;

    stage.postgres.resume();
    let back = Instant::now();
    // Of each node's own: what one node has found of a key stands in Redis for all, and they need not ask the database.
    for (node, fresh) in nodes.iter().zip(unknown.iter().rev()) {
        loop {
            let charged = client.get(node, "/report", &known).await.unwrap();
            served += u64::from(charged == 200);
            if charged == 200 && client.get(node, "/free", fresh).await.unwrap() == 401 {
                break;
            }
            assert!(back.elapsed() <= Duration::from_secs(20), "it is found again");
            a_moment().await;
        }
    }
    stage.stop().await;
    stage.closed().await;
    eprintln!("{served} served");
    assert_eq!((stage.balance().await, stage.open_charges()), (CREDITS - served, 0), "each is paid once");
}

/// Returns the amount that the quota admits in a time.
fn of_the_quota(time: Duration) -> u128 {
    QUOTA + time.as_millis() / 100 + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_redis_limits_each_node_to_its_share() {
    let Some(stage) = Stage::as_recommended("limited").await.map(Arc::new) else { return };
    let key: Arc<str> = stage.issue().await.secret.expose_secret().into();
    let (start, killing) = (Instant::now(), Arc::clone(&stage));
    let killed = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let killed = Instant::now();
        killing.kill_redis();
        killed
    });
    let admitted = stage
        .at_full_load(|stage, client, place| {
            let key = Arc::clone(&key);
            async move {
                let address = stage.address(place).await.unwrap();
                let mut admitted = Vec::new();
                while start.elapsed() < Duration::from_secs(6) {
                    match client.get(&address, "/free", &key).await.unwrap() {
                        200 => admitted.push((place, Instant::now())),
                        429 => {}
                        status => panic!("a node answered {status}"),
                    }
                }
                admitted
            }
        })
        .await;
    let (time, killed) = (start.elapsed(), killed.await.unwrap());
    let admitted: Vec<_> = admitted.into_iter().flatten().collect();
    let mut shares = [0_u128; NODES];
    for (place, _) in admitted.iter().filter(|(_, known)| *known > killed) {
        shares[*place] += 1;
    }
    let all = admitted.len() as u128;
    eprintln!("{all} admitted in {time:.1?}, of those {shares:?} after Redis was killed");
    assert!(
        all <= of_the_quota(time) + of_the_quota(time.saturating_sub(killed - start)),
        "{all} in {time:.1?}"
    );
    let share = QUOTA / NODES as u128;
    assert!(shares.iter().all(|admitted| *admitted >= share), "each has its share: {shares:?}");
    // A key that was made after it died is known at every node: the database has it.
    let late = stage.manager.issue(NewKey::new(stage.account.clone(), "late")).await.unwrap();
    let (client, address) = (Client::new(), stage.address(0).await.unwrap());
    let status = client.get(&address, "/free", late.secret.expose_secret()).await.unwrap();
    assert!(matches!(status, 200 | 429), "{status}");
    stage.stop().await;
}
