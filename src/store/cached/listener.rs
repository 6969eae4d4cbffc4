//! The task that listens to the other nodes. It is restarted whenever it ends, and ends with the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::StoreError;
use crate::store::InvalidationBus;
use crate::store::cached::InvalidationSink;
use crate::store::cached::state::CacheState;

/// The first and the longest pause before listening again. The pause doubles each time.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

#[derive(Debug)]
pub(super) struct Listener {
    task: AbortHandle,
    restarts: Arc<AtomicU64>,
}

impl Listener {
    pub(super) fn start(
        runtime: &Handle,
        invalidation_bus: Arc<dyn InvalidationBus>,
        state: Arc<CacheState>,
    ) -> Self {
        let restarts = Arc::<AtomicU64>::default();
        state.disconnect();
        let task = runtime.spawn(listen(invalidation_bus, state, Arc::clone(&restarts)));
        Self { task: task.abort_handle(), restarts }
    }

    /// Returns the number of times that listening ended and was restarted.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    invalidation_bus: Arc<dyn InvalidationBus>,
    state: Arc<CacheState>,
    restarts: Arc<AtomicU64>,
) {
    let [first, last] = PAUSES;
    let mut pause = first;
    loop {
        let (channel, sink) = (Arc::clone(&invalidation_bus), InvalidationSink(Arc::clone(&state)));
        // A separate task, so that a panic ends only the task. The task ends with the set.
        let mut listening = JoinSet::new();
        listening.spawn(async move { channel.listen(sink).await });
        let ended = match listening.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => StoreError::unavailable(panic),
            Some(Ok(Ok(()))) | None => StoreError::unavailable("the channel was closed"),
        };
        pause = if state.is_disconnected() { (pause * 2).min(last) } else { first };
        state.disconnect();
        restarts.fetch_add(1, Ordering::Relaxed);
        state.note_unheard(&ended);
        tokio::time::sleep(pause).await;
    }
}
