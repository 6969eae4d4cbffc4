//! How soon the other nodes know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;

use crate::client::Client;
use crate::gate::STALE_FOR_AT_MOST;
use crate::stage::{NODES, Stage};

const KEYS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_at_one_node_is_seen_by_the_others() {
    let Some(stage) = Stage::new("metered", false).await.map(Arc::new) else { return };
    stage.top_up(1_000_000).await;
    let (client, manages) = (Client::new(), stage.issue().await);
    let first = stage.address(0).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..KEYS {
        let issued = stage.issue().await;
        let (key, path) = (issued.secret.reveal(), format!("/keys/{}", issued.key.id));
        for place in 0..NODES {
            let address = stage.address(place).await.unwrap();
            assert_eq!(client.get(&address, "/free", key).await.unwrap(), 200);
        }
        let (status, answer) =
            client.ask(Method::DELETE, &first, &path, manages.secret.reveal()).await.unwrap();
        assert!((200..300).contains(&status), "{status}: {answer}");
        let revoked = Instant::now();
        assert_eq!(client.get(&first, "/free", key).await.unwrap(), 401, "the node itself knows at once");
        for place in 1..NODES {
            let address = stage.address(place).await.unwrap();
            loop {
                let asked = Instant::now();
                match client.get(&address, "/free", key).await.unwrap() {
                    401 => break times.push(asked - revoked),
                    200 => assert!(asked - revoked <= STALE_FOR_AT_MOST + Duration::from_millis(100)),
                    status => panic!("a node answered {status}"),
                }
            }
        }
    }
    stage.stop().await;
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!(
        "seen elsewhere after: p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, most {:.1?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    assert!(at(99) <= Duration::from_millis(250), "announcements are heard, not waited out: {times:?}");
}
