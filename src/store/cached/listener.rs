//! The task that listens to the other nodes. It is restarted whenever it ends, and ends with the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::StoreError;
use crate::store::Announcements;
use crate::store::cached::Ear;
use crate::store::cached::front::Front;

/// The first and the longest pause before listening again. The pause doubles each time.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

#[derive(Debug)]
pub(super) struct Listener {
    task: AbortHandle,
    restarts: Arc<AtomicU64>,
}

impl Listener {
    pub(super) fn start(runtime: &Handle, announcements: Arc<dyn Announcements>, front: Arc<Front>) -> Self {
        let restarts = Arc::<AtomicU64>::default();
        front.lose();
        let task = runtime.spawn(listen(announcements, front, Arc::clone(&restarts)));
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

async fn listen(announcements: Arc<dyn Announcements>, front: Arc<Front>, restarts: Arc<AtomicU64>) {
    let [first, last] = PAUSES;
    let mut pause = first;
    loop {
        let (channel, ear) = (Arc::clone(&announcements), Ear(Arc::clone(&front)));
        // A separate task, so that a panic ends only the task. The task ends with the set.
        let mut listening = JoinSet::new();
        listening.spawn(async move { channel.listen(ear).await });
        let ended = match listening.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => StoreError::unavailable(panic),
            Some(Ok(Ok(()))) | None => StoreError::unavailable("the channel was closed"),
        };
        pause = if front.is_deaf() { (pause * 2).min(last) } else { first };
        front.lose();
        restarts.fetch_add(1, Ordering::Relaxed);
        front.note_unheard(&ended);
        tokio::time::sleep(pause).await;
    }
}
