//! Batching of script calls that are made at the same time.

use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Script, ServerErrorKind, Value};
use tokio::sync::oneshot;

use super::RedisServer;
use super::fault::{blames_connection, value_blames_connection};
use crate::error::StoreError;

/// The calls that wait to be sent. The caller that adds the first one starts the sending of all.
#[derive(Default)]
pub(super) struct Outbox(Mutex<Vec<QueuedCall>>);

struct QueuedCall {
    command: Cmd,
    answer: oneshot::Sender<Result<Value, StoreError>>,
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
struct SendTask(Option<RedisServer>);

impl SendTask {
    /// Waits until every task that is ready has added its call, then sends all calls: one write for all costs hardly
    /// more than one for each.
    async fn run(mut self) {
        tokio::task::yield_now().await;
        let Some(server) = self.0.take() else { return };
        let mut calls = server.0.outbox.take();
        while calls.len() > MOST {
            let rest = calls.split_off(MOST);
            tokio::spawn(server.clone().send(calls));
            calls = rest;
        }
        server.send(calls).await;
    }
}

impl Drop for SendTask {
    fn drop(&mut self) {
        if let Some(server) = &self.0 {
            drop(server.0.outbox.take());
        }
    }
}

impl RedisServer {
    /// Calls a script by its hash. If the server does not know the script, it is loaded and called once more.
    pub(super) async fn call(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<RedisResult<Value>, StoreError> {
        let command = || {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        let answer = self.sent(command()).await?.extract_error();
        let Err(error) = &answer else { return Ok(answer) };
        if error.kind() != ServerErrorKind::NoScript.into() {
            return Ok(answer);
        }
        let load = |mut connection| async move { script.load_async(&mut connection).await };
        self.within(load, |answer| answer.as_ref().is_err_and(blames_connection)).await?;
        Ok(self.sent(command()).await?.extract_error())
    }

    /// Returns the server's answer to a command, including an error reply.
    async fn sent(&self, command: Cmd) -> Result<Value, StoreError> {
        let (answer, answered) = oneshot::channel();
        if self.0.outbox.put(QueuedCall { command, answer }) {
            tokio::spawn(SendTask(Some(self.clone())).run());
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::unavailable("the call was cancelled")))
    }

    async fn send(self, calls: Vec<QueuedCall>) {
        let (mut pipeline, mut answers) = (Pipeline::new(), Vec::with_capacity(calls.len()));
        // Calls whose caller stopped waiting are dropped, since they have not been sent.
        for call in calls.into_iter().filter(|call| !call.answer.is_closed()) {
            pipeline.add_command(call.command);
            answers.push(call.answer);
        }
        if answers.is_empty() {
            return;
        }
        let (pipeline, count) = (&pipeline, answers.len());
        let ask = |mut connection: MultiplexedConnection| async move {
            connection.send_packed_commands(pipeline, 0, count).await
        };
        let sent = self.within(ask, |answer| match answer {
            Ok(values) => values.iter().any(value_blames_connection),
            Err(error) => blames_connection(error),
        });
        let values = match sent.await {
            Ok(values) => values.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); count],
        };
        for (answer, value) in answers.into_iter().zip(values) {
            // The caller may have stopped waiting.
            let _ = answer.send(value);
        }
    }
}
