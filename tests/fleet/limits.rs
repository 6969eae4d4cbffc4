//! One quota, asked for at every node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stage::Stage;

/// The plan `limited` admits 100 in ten seconds: a hundred at once, and one more every tenth of a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_together_admit_no_more_than_the_quota() {
    let Some(stage) = Stage::new("limited", false).await.map(Arc::new) else { return };
    let key: Arc<str> = (*stage.issue().await.secret.reveal()).into();
    let until = Instant::now() + Duration::from_secs(5);
    let admitted = stage
        .at_full_load(|stage, client, place| {
            let key = Arc::clone(&key);
            async move {
                let address = stage.address(place).await.unwrap();
                let mut admitted = Vec::new();
                while Instant::now() < until {
                    let asked = Instant::now();
                    match client.get(&address, "/free", &key).await.unwrap() {
                        200 => admitted.push((asked, Instant::now())),
                        429 => {}
                        status => panic!("a node answered {status}"),
                    }
                }
                admitted
            }
        })
        .await;
    stage.stop().await;
    let mut admitted: Vec<_> = admitted.into_iter().flatten().collect();
    admitted.sort_unstable();
    let (first, last) = (admitted[0].0, admitted.iter().map(|(_, answered)| *answered).max().unwrap());
    // However a stretch of time is chosen, it holds the bucket's hundred and what is refilled meanwhile.
    for (place, (start, _)) in admitted.iter().enumerate() {
        for count in [101, 120, 140] {
            if let Some((_, answered)) = admitted.get(place + count - 1) {
                let refilled = (*answered - *start).as_millis() / 100;
                assert!(count as u128 <= 100 + refilled + 1, "{count} in {:?}", *answered - *start);
            }
        }
    }
    let refilled = (last - first).as_millis() / 100;
    eprintln!("{} admitted in {:.1?}; at most {}", admitted.len(), last - first, 101 + refilled);
    assert!(admitted.len() as u128 <= 101 + refilled, "{} admitted", admitted.len());
    assert!(admitted.len() >= 130, "{} admitted: the quota is there to be used", admitted.len());
}
