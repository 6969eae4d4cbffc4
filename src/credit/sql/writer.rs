//! The writer: one task at a time writes, and the calls that arrive while it works go together into its next
//! transaction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{read, write};
use crate::amount::ChargeId;
use crate::credit::Unsent;
use crate::credit::decide::{Answer, Ask};
use crate::error::StoreError;
use crate::sql::{Database, is_rolled_back};

/// The maximum number of calls in one transaction.
const TOGETHER: usize = 1_024;

/// The maximum number of waiting calls.
const WAITING: usize = 16_384;

/// The maximum number of attempts to decide a batch while other nodes are faster.
const TRIES: usize = 8;

pub(super) struct Writer {
    database: Database,
    patience: Duration,
    queue: Mutex<Queue>,
    /// The charges that found no room in the queue.
    unsent: Unsent,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// True if a task processes the queue.
    served: bool,
}

struct Job {
    ask: Ask,
    answer: oneshot::Sender<Result<Answer, StoreError>>,
}

impl Writer {
    pub(super) fn new(database: &Database) -> Self {
        Self {
            database: database.clone(),
            patience: database.patience(),
            queue: Mutex::default(),
            unsent: Unsent::keeping(WAITING),
        }
    }

    /// Returns true if the charge found no room in the queue and was not refunded since.
    pub(super) fn take_unsent(&self, id: ChargeId) -> bool {
        self.unsent.take(id)
    }

    /// Submits a call, and waits until it is decided and committed.
    ///
    /// A caller that stops waiting does not cancel the call.
    pub(super) async fn submit(writer: &Arc<Self>, ask: Ask) -> Result<Answer, StoreError> {
        if ask.account().as_str().contains('\0') {
            return Err(StoreError::rejected("an account id must not contain a zero byte in a database"));
        }
        let charge = if let Ask::Charge(charge) = &ask { Some(charge.id) } else { None };
        if let Some(id) = charge {
            writer.unsent.take(id);
        }
        let runtime = Handle::try_current().map_err(|error| StoreError::unavailable(error.to_string()))?;
        let (answer, decided) = oneshot::channel();
        {
            let mut queue = writer.queue();
            if queue.jobs.len() >= WAITING {
                if let Some(id) = charge {
                    writer.unsent.add(id);
                }
                return Err(StoreError::overloaded());
            }
            queue.jobs.push_back(Job { ask, answer });
            if !queue.served {
                queue.served = true;
                let shift = WriterTask { writer: Arc::clone(writer), over: false };
                runtime.spawn(async move { shift.serve().await });
            }
        }
        match timeout(writer.patience, decided).await {
            Err(_) => Err(StoreError::timed_out()),
            Ok(Err(_)) => Err(StoreError::unavailable("the writer was stopped")),
            Ok(Ok(answer)) => answer,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides the calls of a batch and writes the result: all of it, or nothing.
    async fn work(&self, jobs: &[Job]) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let asks: Vec<&Ask> = jobs.iter().map(|job| &job.ask).collect();
        for _ in 0..TRIES {
            match self.work_once(&asks).await {
                Ok(Some(answers)) => return Ok(answers),
                Ok(None) => {}
                Err(error) if is_rolled_back(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::overloaded())
    }

    /// Does the same in one transaction.
    ///
    /// Returns `None` if another node was faster.
    async fn work_once(&self, asks: &[&Ask]) -> Result<Option<Vec<Result<Answer, StoreError>>>, StoreError> {
        let mut session = self.database.transaction().await?;
        let mut batch = read::batch(&mut session, asks).await?;
        let answers = asks.iter().map(|ask| batch.decide(ask)).collect();
        if write::batch(&mut session, &batch).await? {
            session.commit().await?;
            return Ok(Some(answers));
        }
        session.roll_back().await?;
        Ok(None)
    }
}

/// The task that processes the queue.
///
/// However it ends, also together with its runtime, the next call starts a new task.
struct WriterTask {
    writer: Arc<Writer>,
    over: bool,
}

impl WriterTask {
    /// Takes the waiting calls off the queue, as many as fit into one transaction.
    ///
    /// If there are none, the task ends.
    fn next(&mut self) -> Vec<Job> {
        let mut queue = self.writer.queue();
        let together = queue.jobs.len().min(TOGETHER);
        queue.served = together > 0;
        self.over = !queue.served;
        queue.jobs.drain(..together).collect()
    }

    async fn serve(mut self) {
        loop {
            let jobs = self.next();
            if jobs.is_empty() {
                return;
            }
            match self.writer.work(&jobs).await {
                Ok(answers) => jobs.into_iter().zip(answers).for_each(|(job, answer)| reply(job, answer)),
                Err(error) => jobs.into_iter().for_each(|job| reply(job, Err(error.clone()))),
            }
        }
    }
}

impl Drop for WriterTask {
    fn drop(&mut self) {
        if !self.over {
            let mut queue = self.writer.queue();
            queue.served = false;
            queue.jobs.clear();
        }
    }
}

fn reply(job: Job, answer: Result<Answer, StoreError>) {
    // The caller may have stopped waiting: it needs no answer.
    let _ = job.answer.send(answer);
}
