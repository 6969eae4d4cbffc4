//! One quota, asked for at every node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fleet::fixture::Stage;

/// The times of an admitted request: when it was sent, and when its answer was known.
type Admitted = (Instant, Instant);

/// Asks at every node, as fast as they answer; all that was admitted, in the order in which it was asked.
async fn admitted_on(plan: &str, path: &'static str, time: Duration) -> Option<Vec<Admitted>> {
    let stage = Stage::new(plan, false).await.map(Arc::new)?;
    let key: Arc<str> = stage.issue().await.secret.expose_secret().into();
    let until = Instant::now() + time;
    let admitted = stage
        .at_full_load(|stage, client, place| {
            let key = Arc::clone(&key);
            async move {
                let address = stage.address(place).await.unwrap();
                let mut admitted = Vec::new();
                while Instant::now() < until {
                    let asked = Instant::now();
                    match client.get(&address, path, &key).await.unwrap() {
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
    Some(admitted)
}

/// The plan `strict` admits 100 in any two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_keep_the_quota_in_any_window() {
    keep_the_strict_quota("strict", "/free").await;
}

/// The rule `/rare` admits 100 in any two seconds, beside a plan that admits more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_keep_the_quota_of_a_rule() {
    keep_the_strict_quota("metered", "/rare").await;
}

async fn keep_the_strict_quota(plan: &str, path: &'static str) {
    let window = Duration::from_secs(2);
    let Some(admitted) = admitted_on(plan, path, 4 * window).await else { return };
    for (place, (start, _)) in admitted.iter().enumerate() {
        // Whatever was asked and answered within the window was drawn within it.
        let within = admitted[place..].iter().filter(|(_, answered)| *answered < *start + window).count();
        assert!(within <= 100, "{within} within {window:?}");
    }
    eprintln!("{} admitted in {:?}", admitted.len(), 4 * window);
    assert!(admitted.len() >= 250, "{} admitted: the quota is there to be used", admitted.len());
}

/// The plan `limited` admits 100 in ten seconds: a hundred at once, and one more every tenth of a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_keep_the_quota_and_its_refill() {
    let Some(admitted) = admitted_on("limited", "/free", Duration::from_secs(5)).await else { return };
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
