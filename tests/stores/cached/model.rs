//! Any story of changes, here and elsewhere, told and untold: nobody is ever answered with what is older than the bound.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::store::{AccountAdmin, KeyAdmin};
use tollgate::{Account, KeyRecord, KeyStore};

use crate::cached::remote::Remote;
use crate::cached::{BOUND, cache, clock};

const PAST: Duration = Duration::from_secs(15);

#[derive(Debug, Clone)]
enum Step {
    Find(u8),
    /// Changes a key through the cache, or beside it.
    Change {
        key: u8,
        here: bool,
    },
    /// Changes an account through the cache, or beside it.
    ChangeAccount {
        key: u8,
        here: bool,
    },
    Advance(u16),
    Down(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8).prop_map(Step::Find),
        2 => (0..4_u8, any::<bool>()).prop_map(|(key, here)| Step::Change { key, here }),
        2 => (0..4_u8, any::<bool>()).prop_map(|(key, here)| Step::ChangeAccount { key, here }),
        3 => (0..8000_u16).prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Down),
    ];
    prop::collection::vec(step, 1..120)
}

/// The states of a key, with their times (milliseconds), and the oldest that may still be answered after changes made here.
#[derive(Default)]
struct Past {
    versions: VecDeque<(u64, u64)>,
    seen_here: u64,
}

impl Past {
    fn write(&mut self, now: u64, here: bool) -> u64 {
        let version = self.versions.back().map_or(0, |(version, _)| version + 1);
        self.versions.push_back((version, now));
        if here {
            self.seen_here = version;
        }
        version
    }

    /// The oldest version that was still current so long ago.
    fn oldest(&self, now: u64, bound: Duration) -> u64 {
        let then = now.saturating_sub(u64::try_from(bound.as_millis()).unwrap());
        let current = self.versions.iter().rev().find(|(_, since)| *since <= then);
        current.map_or(0, |(version, _)| *version).max(self.seen_here)
    }
}

async fn tell(steps: Vec<Step>) {
    let (remote, clock) = (Remote::new(), clock());
    let keys: Vec<_> = (0..4).map(|number| remote.key(number)).collect();
    let store = cache(&remote, &clock).stale_if_error(PAST).jitter(30).build().unwrap();
    let (mut names, mut plans): (Vec<Past>, Vec<Past>) = Default::default();
    for past in [&mut names, &mut plans] {
        past.resize_with(4, Past::default);
        for past in past.iter_mut() {
            past.write(0, false);
        }
    }
    // Far enough from the beginning of time that the bound reaches before it.
    let mut now = 1_000_000;
    // It is taken to be down for up to a second after it is back.
    let mut taken_down_until = 0;
    for step in steps {
        match step {
            Step::Find(number) => {
                let place = usize::from(number);
                let down = remote.down.load(Ordering::SeqCst);
                match store.find(&keys[place].1).await {
                    Ok(found) => {
                        let found = found.unwrap();
                        let bound = if down || now < taken_down_until { BOUND + PAST } else { BOUND };
                        let name: u64 = found.name.parse().unwrap_or(0);
                        let plan: u64 = found.account.plan.as_str().parse().unwrap_or(0);
                        assert!(name >= names[place].oldest(now, bound), "{name} at {now}");
                        assert!(plan >= plans[place].oldest(now, bound), "{plan} at {now}");
                    }
                    Err(_) => assert!(down, "an error without a fault"),
                }
            }
            Step::Change { key, here } if !(here && remote.down.load(Ordering::SeqCst)) => {
                let mut record = KeyRecord::clone(&remote.store.key(keys[usize::from(key)].0).unwrap());
                record.name = names[usize::from(key)].write(now, here).to_string();
                let made = if here { store.replace(&record) } else { remote.store.replace(&record) };
                assert_eq!(made.await.unwrap(), tollgate::store::Replaced::Done);
            }
            Step::ChangeAccount { key, here } if !(here && remote.down.load(Ordering::SeqCst)) => {
                let id = format!("account-{key}");
                let mut account = Account::clone(&remote.store.account(&id).unwrap());
                account.plan = plans[usize::from(key)].write(now, here).to_string().into();
                let made = if here {
                    store.replace_account(&account)
                } else {
                    remote.store.replace_account(&account)
                };
                assert_eq!(made.await.unwrap(), tollgate::store::Replaced::Done);
            }
            Step::Change { .. } | Step::ChangeAccount { .. } => {}
            Step::Advance(millis) => {
                clock.advance(Duration::from_millis(millis.into()));
                now += u64::from(millis);
            }
            Step::Down(down) => {
                if remote.down.swap(down, Ordering::SeqCst) {
                    taken_down_until = now + 1000;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_older_than_the_bound(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(tell(steps));
    }
}
