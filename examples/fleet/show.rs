//! What the nodes share, shown.

use std::time::{Duration, Instant};

use http::Method;
use tollgate::{Account, AccountAdmin, Config, Database, Issued, KeyManager, NewKey, SqlStore};

use crate::Fault;
use crate::client::Client;
use crate::gate::{GATE, STALE_FOR_AT_MOST};
use crate::nodes::Node;
use crate::options::Options;

pub(crate) async fn run(options: &Options) -> Result<(), Fault> {
    let issued = issue(&options.postgres).await?;
    let program = std::env::current_exe()?;
    let mut nodes = Vec::new();
    for number in 1..=options.nodes.max(2) {
        let node =
            Node::start(&program, &["--postgres", &options.postgres, "--redis", &options.redis]).await?;
        println!("node {number} listens on {}", node.address);
        nodes.push(node);
    }
    let client = Client::new();
    share_a_limit(&client, &nodes, &issued).await?;
    revoke(&client, &nodes, &issued).await?;
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

/// Two keys of a new account on the plan `limited`.
async fn issue(postgres: &str) -> Result<[Issued; 2], Fault> {
    let store = SqlStore::new(&Database::connect(postgres).await?);
    let gate = Config::from_toml(GATE, "fleet.toml")?.builder()?.managed_store(store.clone()).build()?;
    let account = format!("show-{}", tollgate::KeyId::generate());
    store.create_account(&Account::new(account.as_str(), "limited")).await?;
    let manager = KeyManager::new(gate, store);
    Ok([
        manager.issue(NewKey::new(account.as_str(), "the first")).await?,
        manager.issue(NewKey::new(account.as_str(), "the second")).await?,
    ])
}

/// Asks the nodes in turn for more than the account may have.
async fn share_a_limit(client: &Client, nodes: &[Node], issued: &[Issued; 2]) -> Result<(), Fault> {
    println!("\nthe account may ask 100 times in 10 s, whichever node it asks:");
    let (start, mut admitted) = (Instant::now(), vec![0; nodes.len()]);
    for request in 0..200 {
        let (place, key) = (request % nodes.len(), issued[request % 2].secret.reveal());
        if client.get(&nodes[place].address, "/free", key).await? == 200 {
            admitted[place] += 1;
        }
    }
    let (sum, time) = (admitted.iter().sum::<u32>(), start.elapsed());
    println!("of 200 requests in {time:.1?} the nodes admitted {admitted:?}, together {sum}");
    Ok(())
}

/// Revokes a key at one node, and asks the last one until it knows.
async fn revoke(client: &Client, nodes: &[Node], issued: &[Issued; 2]) -> Result<(), Fault> {
    let [manages, revoked] = issued;
    let (first, last) = (&nodes[0].address, &nodes[nodes.len() - 1].address);
    println!("\none key of the account revokes the other at node 1:");
    // The limit may stand in the way for a moment.
    while client.get(last, "/free", revoked.secret.reveal()).await? != 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let path = format!("/keys/{}", revoked.key.id);
    while client.ask(Method::DELETE, first, &path, manages.secret.reveal()).await?.0 == 429 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let start = Instant::now();
    while client.get(last, "/free", revoked.secret.reveal()).await? != 401 {
        if start.elapsed() > STALE_FOR_AT_MOST * 2 {
            return Err("the last node still serves the revoked key".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("the last node refused it {:.1?} after node 1 had answered", start.elapsed());
    Ok(())
}
