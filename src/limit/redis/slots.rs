//! The slots of requests in flight, in sorted sets on the server, and their renewal.

#[cfg(all(test, feature = "memory"))]
mod tests;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use redis::Script;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::error::{ConfigError, StoreError};
use crate::future::StoreFuture;
use crate::limit::{Acquired, RedisLimiter, SlotId};
use crate::redis::RedisServer;
use crate::trace::Mode;

/// The slots that the requests of this process hold.
pub(super) struct HeldSlots {
    server: RedisServer,
    scripts: SlotScripts,
    lifetime: Duration,
    state: Mutex<State>,
    /// Logs that slots cannot be renewed.
    log: Mode,
}

struct SlotScripts {
    acquire: Script,
    renew: Script,
    release: Script,
}

#[derive(Default)]
struct State {
    held: HashMap<SlotId, Sets>,
    /// The task that renews the slots, while there are any. It may have ended with its runtime.
    renewal: Option<AbortHandle>,
}

/// The names of the sets in which a request has a slot.
type Sets = Arc<[String]>;

/// The lifetime of a slot that is not renewed.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);

const SHORTEST: Duration = Duration::from_secs(1);
/// The script has the same number.
const LONGEST: Duration = Duration::from_mins(10);

/// The maximum number of slots that one call renews: a call takes about a millisecond of the server's time.
const SLOTS_AT_ONCE: usize = 500;

/// The maximum number of calls that renew at the same time.
const CALLS_AT_ONCE: usize = 64;

const SLOTS: &str = include_str!("slots.lua");

impl SlotScripts {
    fn going_by(clock: &str) -> Self {
        let script = |body: &str| Script::new(&[clock, SLOTS, body].join("\n"));
        Self {
            acquire: script("return acquire()"),
            renew: script("return renew()"),
            release: script("return release()"),
        }
    }
}

/// Checks a lifetime of slots that a service's author has set.
pub(super) fn check(lifetime: Duration) -> Result<(), ConfigError> {
    if (SHORTEST..=LONGEST).contains(&lifetime) {
        return Ok(());
    }
    let problem = "the lifetime of a slot is out of range";
    Err(ConfigError::new(format!("{lifetime:?}"), problem, "write a time from 1 s to 10 min"))
}

impl HeldSlots {
    pub(super) fn new(server: RedisServer, lifetime: Duration, clock: &str) -> Arc<Self> {
        let begins = "the slots of requests in flight cannot be renewed: they are free after their lifetime";
        let log = Mode::before::<RedisLimiter>(begins, "the slots of requests in flight are renewed again");
        let (scripts, state) = (SlotScripts::going_by(clock), Mutex::default());
        Arc::new(Self { server, scripts, lifetime, state, log })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot in each of these sets, if all have one. Each set has its number of slots.
    pub(super) async fn acquire(
        self: Arc<Self>,
        id: SlotId,
        sets: Sets,
        numbers: Vec<String>,
    ) -> Result<Acquired, StoreError> {
        let (slots, names) = (Arc::clone(&self), Arc::clone(&sets));
        let call = StoreFuture::boxed(async move {
            let arguments = [vec![slots.lifetime_argument(), shown(id)], numbers].concat();
            slots.server.run(&slots.scripts.acquire, &names, &arguments).await
        });
        let mut attempt = Attempt { slots: self, id, sets, call: Some(call) };
        poll_fn(|cx| attempt.poll(cx)).await
    }

    /// Frees the slots of a request. If the call fails, they are free after their lifetime, because they are not renewed any
    /// more.
    pub(super) fn release(self: Arc<Self>, id: SlotId, sets: Sets) -> StoreFuture<()> {
        self.state().held.remove(&id);
        StoreFuture::boxed(async move { self.free(&sets, &[id]).await })
    }

    async fn free(&self, sets: &[String], ids: &[SlotId]) -> Result<(), StoreError> {
        let ids: Vec<_> = ids.iter().copied().map(shown).collect();
        self.server.run::<u8>(&self.scripts.release, sets, &ids).await.map(drop)
    }

    /// Stores that a request holds its slots, and renews them from now on.
    fn hold(self: &Arc<Self>, id: SlotId, sets: Sets) {
        let mut state = self.state();
        state.held.insert(id, sets);
        if state.renewal.as_ref().is_none_or(AbortHandle::is_finished)
            && let Ok(runtime) = Handle::try_current()
        {
            state.renewal =
                Some(runtime.spawn(renew(Arc::downgrade(self), self.lifetime / 3)).abort_handle());
        }
    }

    /// Returns the lifetime in milliseconds.
    fn lifetime_argument(&self) -> String {
        self.lifetime.as_millis().to_string()
    }

    /// Renews all slots that are held. Returns false if there are none: the next one starts another task.
    async fn renew(self: &Arc<Self>) -> bool {
        let Some(mut batches) = self.batches() else { return false };
        let (mut calls, mut renewed) = (JoinSet::new(), Ok(()));
        loop {
            // A server that does not answer is not asked again before the next turn.
            let is_lost = renewed.as_ref().is_err_and(|error: &StoreError| !error.is_answer());
            while !is_lost
                && calls.len() < CALLS_AT_ONCE
                && let Some((set, ids)) = batches.pop()
            {
                calls.spawn(Arc::clone(self).renew_batch([set], ids));
            }
            let Some(call) = calls.join_next().await else { break };
            let call = call.unwrap_or_else(|_| Err(StoreError::panicked()));
            renewed = if is_lost { renewed } else { call.and(renewed) };
        }
        match renewed {
            Ok(()) => self.log.end(),
            Err(error) => self.log.begin(0, &error),
        }
        true
    }

    /// Returns the slots to renew, by set. `None` if there are none, and the task that renews them ends.
    fn batches(&self) -> Option<Vec<(String, Vec<SlotId>)>> {
        let held: Vec<_> = {
            let mut state = self.state();
            if state.held.is_empty() {
                *state = State::default();
                return None;
            }
            state.held.iter().map(|(id, sets)| (*id, Arc::clone(sets))).collect()
        };
        let mut by_set: HashMap<&str, Vec<SlotId>> = HashMap::new();
        for (id, sets) in &held {
            sets.iter().for_each(|set| by_set.entry(set).or_default().push(*id));
        }
        let mut batches = Vec::new();
        for (set, ids) in by_set {
            batches.extend(ids.chunks(SLOTS_AT_ONCE).map(|ids| (set.to_owned(), ids.to_vec())));
        }
        Some(batches)
    }

    async fn renew_batch(self: Arc<Self>, set: [String; 1], ids: Vec<SlotId>) -> Result<(), StoreError> {
        let lost: Vec<usize> = self.send_renewal(&set, "renew", &ids).await?;
        if lost.is_empty() {
            return Ok(());
        }
        // The server lost its data, or this process stopped for longer than the lifetime. A request that has ended
        // meanwhile has freed its slot.
        let lost: Vec<_> = lost.into_iter().filter_map(|place| ids.get(place).copied()).collect();
        let (lost, _) = self.held_and_ended(lost);
        if lost.is_empty() {
            return Ok(());
        }
        let _: Vec<usize> = self.send_renewal(&set, "restore", &lost).await?;
        let (_, ended) = self.held_and_ended(lost);
        if ended.is_empty() { Ok(()) } else { self.free(&set, &ended).await }
    }

    async fn send_renewal(
        &self,
        set: &[String; 1],
        mode: &str,
        ids: &[SlotId],
    ) -> Result<Vec<usize>, StoreError> {
        let mut arguments = vec![self.lifetime_argument(), mode.to_owned()];
        arguments.extend(ids.iter().copied().map(shown));
        self.server.run(&self.scripts.renew, set, &arguments).await
    }

    /// Returns the requests that still hold their slots, and those that have ended.
    fn held_and_ended(&self, ids: Vec<SlotId>) -> (Vec<SlotId>, Vec<SlotId>) {
        let state = self.state();
        ids.into_iter().partition(|id| state.held.contains_key(id))
    }
}

/// Renews the slots every `period`, until there are none.
async fn renew(slots: Weak<HeldSlots>, period: Duration) {
    let mut turns = interval_at(Instant::now() + period, period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(slots) = slots.upgrade() else { return };
        if !slots.renew().await {
            return;
        }
    }
}

/// A call for slots. If it is dropped before its answer, it goes on by itself and frees the slots.
struct Attempt {
    slots: Arc<HeldSlots>,
    id: SlotId,
    sets: Sets,
    call: Option<StoreFuture<usize>>,
}

impl Attempt {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Acquired, StoreError>> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let answer = ready!(Pin::new(call).poll(cx));
        self.call = None;
        Poll::Ready(match answer {
            Ok(0) => {
                self.slots.hold(self.id, Arc::clone(&self.sets));
                Ok(Acquired::Held { local: false })
            }
            Ok(place) => Ok(Acquired::Full { limit: place - 1 }),
            Err(error) => {
                // The server may have given the slots.
                if !error.is_answer() {
                    self.abandon(StoreFuture::failed(error.clone()));
                }
                Err(error)
            }
        })
    }

    /// Frees the slots that a call gives and that no request holds. If this fails, they are free after their lifetime.
    fn abandon(&self, call: StoreFuture<usize>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (slots, id, sets) = (Arc::clone(&self.slots), self.id, Arc::clone(&self.sets));
        drop(runtime.spawn(async move {
            if !matches!(call.await, Ok(1..)) {
                let _ = slots.free(&sets, &[id]).await;
            }
        }));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.abandon(call);
        }
    }
}

/// Formats an id as it is stored.
fn shown(id: SlotId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.to_bytes()))
}
