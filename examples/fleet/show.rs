//! A demonstration of the state that the nodes share.

use std::time::{Duration, Instant};

use http::Method;
use tollgate::key::IssuedKey;
use tollgate::redis::RedisServer;
use tollgate::sql::Database;
use tollgate::store::{AccountAdmin, SqlStore};
use tollgate::{Account, Config, KeyId, KeyManager, NewKey};

use crate::client::Client;
use crate::gate::{GATE, STALE_FOR_AT_MOST};
use crate::nodes::Node;
use crate::options::Options;
use crate::{Fault, interruption};

/// The time after which a wait counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// The number of keys that are revoked to measure the delay.
const REVOKED: usize = 100;

pub(crate) async fn run(options: &Options) -> Result<(), Fault> {
    let interrupted = interruption::interruption()?;
    let database = reach(options).await?;
    let limited = issue(&database, "limited", 2).await?;
    let metered = issue(&database, "metered", REVOKED + 1).await?;
    let mut nodes = Vec::new();
    for number in 1..=options.nodes.get().max(2) {
        let node = start(options).await?;
        println!("node {number} listens on {}", node.address);
        nodes.push(node);
    }
    let client = Client::new();
    let showing = async {
        share_a_limit(&client, &nodes, &limited).await?;
        revoke(&client, &nodes, &metered).await
    };
    let shown = tokio::select! {
        shown = showing => shown,
        () = interrupted => Ok(()),
    };
    for node in nodes {
        node.stop().await?;
    }
    shown
}

/// Checks that both servers are reachable, and connects to the database.
async fn reach(options: &Options) -> Result<Database, Fault> {
    let redis = RedisServer::open(&options.redis, "acme")?;
    redis.ping().await.map_err(|error| format!("failed to reach Redis at {redis} since {error}"))?;
    let connected = tokio::time::timeout(PATIENCE, Database::connect(&options.postgres)).await;
    Ok(connected.map_err(|_| "failed to reach PostgreSQL since it does not answer")??)
}

async fn start(options: &Options) -> Result<Node, Fault> {
    let nodes = options.nodes.max(2_u32.try_into()?).to_string();
    let arguments = ["--postgres", &options.postgres, "--redis", &options.redis, "--nodes", &nodes];
    Node::start(&std::env::current_exe()?, &arguments).await
}

/// A key's id, and its secret.
type Key = (KeyId, IssuedKey);

/// Issues this number of keys of a new account on a plan.
async fn issue(database: &Database, plan: &str, count: usize) -> Result<Vec<Key>, Fault> {
    let store = SqlStore::new(database);
    let gate = Config::from_toml(GATE, "fleet.toml")?.builder()?.store(store.clone()).build()?;
    let account = format!("show-{}", KeyId::generate());
    store.create_account(&Account::new(account.as_str(), plan)).await?;
    let (manager, mut issued) = (KeyManager::new(gate)?, Vec::new());
    for number in 0..count {
        let key = manager.issue(NewKey::new(account.as_str(), format!("number {number}"))).await?;
        issued.push((key.key.id, key.secret));
    }
    Ok(issued)
}

/// Sends more requests to the nodes in turn than the quota of the account.
async fn share_a_limit(client: &Client, nodes: &[Node], keys: &[Key]) -> Result<(), Fault> {
    println!("\nthe quota of the account is 100 requests in 10 s on all nodes together:");
    let (start, mut admitted) = (Instant::now(), vec![0; nodes.len()]);
    for request in 0..200 {
        let (place, key) = (request % nodes.len(), &keys[request % keys.len()].1);
        if client.get(&nodes[place].address, "/free", key.expose_secret()).await? == 200 {
            admitted[place] += 1;
        }
    }
    let (sum, time) = (admitted.iter().sum::<u32>(), start.elapsed());
    println!("of 200 requests in {time:.1?} the nodes admitted {admitted:?}, {sum} in total");
    Ok(())
}

/// Revokes keys at one node, and sends requests to the last node until it denies them.
async fn revoke(client: &Client, nodes: &[Node], keys: &[Key]) -> Result<(), Fault> {
    let Some(((_, manages), revoked)) = keys.split_first() else { return Ok(()) };
    let (first, last) = (&nodes[0].address, &nodes[nodes.len() - 1].address);
    println!("\none key of an account revokes {} others at node 1:", revoked.len());
    let mut times = Vec::new();
    for (id, key) in revoked {
        let key = key.expose_secret();
        // The last node now has the key in its cache.
        until(client, last, key, 200, PATIENCE).await?;
        let path = format!("/keys/{id}");
        let (status, answer) = client.ask(Method::DELETE, first, &path, manages.expose_secret()).await?;
        if !(200..300).contains(&status) {
            return Err(format!("node 1 answered {status} to a revocation: {answer}").into());
        }
        times.push(until(client, last, key, 401, STALE_FOR_AT_MOST * 2).await?);
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (median, most_of_them, longest) = (at(50), at(99), at(100));
    println!(
        "the last node denied them after {median:.1?} (median), {most_of_them:.1?} (p99), {longest:.1?} (maximum)"
    );
    Ok(())
}

/// Sends requests to a node until it answers with this status, and returns the time that passed.
async fn until(
    client: &Client,
    node: &str,
    key: &str,
    status: u16,
    patience: Duration,
) -> Result<Duration, Fault> {
    let start = Instant::now();
    loop {
        let answered = client.get(node, "/free", key).await?;
        let took = start.elapsed();
        if answered == status {
            return Ok(took);
        }
        if took > patience {
            return Err(format!("the last node still answers {answered} instead of {status}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
