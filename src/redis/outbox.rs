//! Batching of script calls that are made at the same time.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::oneshot;

use super::node::Node;

/// The calls that wait to be sent. The caller that adds the first one starts the sending of all.
#[derive(Default)]
pub(super) struct Outbox(Mutex<Vec<QueuedCall>>);

struct QueuedCall {
    command: Cmd,
    answer: oneshot::Sender<RedisResult<Value>>,
}

/// The maximum number of calls in one batch. A batch is answered as a whole, so its first call waits for the last.
const MOST: usize = 64;

impl Outbox {
    /// Adds a call. Returns true if it is the first.
    fn put(&self, call: QueuedCall) -> bool {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
        calls.len() == 1
    }

    fn take(&self) -> Vec<QueuedCall> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The task that sends the waiting calls. If its runtime ends first, the calls are dropped, since no other task would
/// send them.
struct SendTask(Option<Arc<Node>>);

impl SendTask {
    /// Waits until every task that is ready has added its call, then sends all calls: one write for all costs hardly
    /// more than one for each.
    async fn run(mut self) {
        tokio::task::yield_now().await;
        let Some(node) = self.0.take() else { return };
        let mut calls = node.outbox.take();
        while calls.len() > MOST {
            let rest = calls.split_off(MOST);
            tokio::spawn(Arc::clone(&node).send(calls));
            calls = rest;
        }
        node.send(calls).await;
    }
}

impl Drop for SendTask {
    fn drop(&mut self) {
        if let Some(node) = &self.0 {
            drop(node.outbox.take());
        }
    }
}

impl Node {
    /// Returns the server's answer to a command, including an error reply. Commands that are sent at the same time are
    /// sent together.
    pub(super) async fn sent(self: &Arc<Self>, command: Cmd) -> RedisResult<Value> {
        let (answer, answered) = oneshot::channel();
        if self.outbox.put(QueuedCall { command, answer }) {
            tokio::spawn(SendTask(Some(Arc::clone(self))).run());
        }
        answered.await.unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "the call was cancelled"))))
    }

    async fn send(self: Arc<Self>, calls: Vec<QueuedCall>) {
        let (mut pipeline, mut answers) = (Pipeline::new(), Vec::with_capacity(calls.len()));
        // Calls whose caller stopped waiting are dropped, since they have not been sent.
        for call in calls.into_iter().filter(|call| !call.answer.is_closed()) {
            pipeline.add_command(call.command);
            answers.push(call.answer);
        }
        if answers.is_empty() {
            return;
        }
        let count = answers.len();
        let values = match self.send_all(&pipeline, count).await {
            Ok(values) => values.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); count],
        };
        for (answer, value) in answers.into_iter().zip(values) {
            // The caller may have stopped waiting.
            let _ = answer.send(value);
        }
    }
}
