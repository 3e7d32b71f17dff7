//! A database connection with a queue of tasks.
//!
//! Queued tasks run as a group in one transaction (group commit), so that a hundred callers share one write.
//! A short task runs on the caller's thread if the connection is free, because handing it to another thread
//! and back would take longer than the task. A thread of the queue runs all other tasks. Callers wait without
//! an async runtime.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::Either;
use rusqlite::{Connection, ErrorCode};

use crate::BUSY_TIMEOUT;
use crate::error::{self, SqliteError};
use crate::transaction::{Transaction, TransactionError};
use tintype_ledger::{Error, Result};

/// The maximum number of tasks in one transaction. It bounds the time that a task waits for the others of its
/// group.
const MAX_GROUP: usize = 128;

/// The size of the row that [`ConnectionQueue::probe`] writes.
const PROBE_BYTES: u32 = 64 * 1024;

/// Sends a task's result to its caller, given the result of the transaction.
type Reply = Box<dyn FnOnce(Result<()>) + Send>;

/// A task's result.
struct TaskResult {
    /// Whether to commit the task's changes.
    commit: bool,
    reply: Reply,
}

/// A task. It runs in a transaction, or receives the error of a transaction that failed to begin.
type Task = Box<dyn FnOnce(Result<&Connection>) -> TaskResult + Send>;

/// The statement that begins the transaction of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Access {
    pub(crate) fn begin_statement(self) -> &'static str {
        match self {
            Self::Read => "BEGIN",
            // Takes the write lock at once, so that no transaction fails later because of a concurrent
            // writer.
            Self::Write => "BEGIN IMMEDIATE",
        }
    }
}

/// Which thread runs short tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShortTasks {
    /// The caller's thread, if the connection is free.
    OnCaller,
    /// The queue's thread, because each commit waits for the disk.
    OnThread,
}

/// A connection with a queue of tasks. Dropping it completes the queued tasks and closes the connection.
#[derive(Debug)]
pub(crate) struct ConnectionQueue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The state that callers and the queue's thread share.
struct Shared {
    connection: Mutex<Connection>,
    access: Access,
    short_tasks: ShortTasks,
    queue: Mutex<TaskQueue>,
    /// Wakes the thread.
    wakeup: Condvar,
    /// Whether the last task that failed did so because the database could not be written. Only a
    /// [probe](ConnectionQueue::probe) clears it, because a task may succeed without writing anything.
    write_failed: AtomicBool,
}

#[derive(Default)]
struct TaskQueue {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl ConnectionQueue {
    /// Starts the queue and its thread, which is called `name`.
    pub(crate) fn open(
        name: &str,
        connection: Connection,
        access: Access,
        short_tasks: ShortTasks,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            connection: Mutex::new(connection),
            access,
            short_tasks,
            queue: Mutex::default(),
            wakeup: Condvar::new(),
            write_failed: AtomicBool::new(false),
        });
        let on_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            // A task that panics rolls back the transaction of its group, whose callers get an error. Later
            // groups run.
            .spawn(move || while catch_unwind(AssertUnwindSafe(|| on_thread.run_until_closed())).is_err() {})
            .map_err(Error::unavailable)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Runs `work` in a transaction on the queue's thread. If it fails, its changes are undone. It runs even
    /// if the returned future is dropped.
    pub(crate) fn run<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> error::Result<T> + Send + 'static,
    {
        let result = self.enqueue(work);
        self.shared.wakeup.notify_one();
        result
    }

    /// Like [`run`](Self::run), for work of some microseconds: if the connection is free, the work is done
    /// before this returns.
    pub(crate) fn run_short<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> error::Result<T> + Send + 'static,
    {
        if self.shared.short_tasks == ShortTasks::OnThread {
            return Either::Left(self.run(work));
        }
        let result = self.enqueue(work);
        self.shared.run_on_caller();
        Either::Right(result)
    }

    /// Checks that the database can be written, if a write has failed since the last successful check.
    pub(crate) async fn probe(&self) -> Result<()> {
        if !self.shared.write_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.run(|connection| {
            // The row needs new pages, as a job does. The transaction also removes it.
            let sql = "INSERT OR REPLACE INTO idempotency (owner, key, body, job, created)
                       VALUES ('', x'', zeroblob(?1), x'', 0)";
            connection.execute(sql, [PROBE_BYTES])?;
            connection.execute("DELETE FROM idempotency WHERE owner = ''", [])?;
            Ok(())
        })
        .await?;
        self.shared.write_failed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Calls `work` with the connection while no task runs.
    pub(crate) fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let result = work(&self.shared.connection());
        // Callers that found the connection in use have left their tasks in the queue.
        self.shared.wake_if_queued();
        result
    }

    fn enqueue<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> error::Result<T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::downgrade(&self.shared);
        let task: Task = Box::new(move |connection| {
            let result = connection.and_then(|connection| Ok(work(connection)?));
            let commit = result.is_ok();
            let reply = move |committed: Result<()>| {
                // A failed task may have ended the transaction, so the task's error is the cause.
                let result = result.and_then(|value| committed.map(|()| value));
                if matches!(result, Err(Error::Unavailable(_) | Error::StorageFull(_)))
                    && let Some(shared) = shared.upgrade()
                {
                    shared.write_failed.store(true, Ordering::Relaxed);
                }
                // The caller may have dropped its future.
                let _ = sender.send(result);
            };
            TaskResult { commit, reply: Box::new(reply) }
        });
        // The queue needs no limit of its own: each task has a waiting caller, and the number of requests is
        // limited.
        self.shared.queue().tasks.push_back(task);
        async move { receiver.await.map_err(|_| Error::unavailable("the database task was aborted"))? }
    }
}

impl Drop for ConnectionQueue {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wakeup.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of its tasks.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Runs queued tasks until the queue is closed and empty. The main function of the queue's thread.
    fn run_until_closed(&self) {
        loop {
            let mut queue = self.queue();
            while queue.tasks.is_empty() {
                if queue.closed {
                    return;
                }
                queue = self.wakeup.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            drop(queue);
            let mut connection = self.connection();
            let group = self.next_group();
            let result = match Transaction::begin(&mut connection, self.access, BUSY_TIMEOUT) {
                Ok(transaction) => run_group(transaction, group),
                Err(error) => fail_group(group, error.into()),
            };
            drop(connection);
            result.send_replies();
        }
    }

    /// Runs the queued tasks on the caller's thread if the connection is free. If not, the user of the
    /// connection calls [`wake_if_queued`](Self::wake_if_queued) afterwards.
    fn run_on_caller(&self) {
        let mut connection = match self.connection.try_lock() {
            Ok(connection) => connection,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let group = self.next_group();
        let result = match Transaction::begin(&mut connection, self.access, Duration::ZERO) {
            Ok(transaction) => run_group(transaction, group),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                // Another process writes. The queue's thread waits for it, so that this caller does not
                // block.
                let mut queue = self.queue();
                for task in group.into_iter().rev() {
                    queue.tasks.push_front(task);
                }
                GroupResult::default()
            }
            Err(error) => fail_group(group, error.into()),
        };
        drop(connection);
        result.send_replies();
        self.wake_if_queued();
    }

    /// Wakes the thread if tasks are queued. Call this after using the connection outside the thread.
    fn wake_if_queued(&self) {
        if !self.queue().tasks.is_empty() {
            self.wakeup.notify_one();
        }
    }

    /// Takes the next group from the queue. The group must be complete before its transaction begins: a
    /// reader sees the database as of that moment, and a task that is queued later must see later writes.
    fn next_group(&self) -> Vec<Task> {
        let mut queue = self.queue();
        let count = queue.tasks.len().min(MAX_GROUP);
        queue.tasks.drain(..count).collect()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic has rolled back its transaction, so the connection is usable.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, TaskQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("access", &self.access)
            .field("short_tasks", &self.short_tasks)
            .finish_non_exhaustive()
    }
}

/// The results of a group's tasks and of its transaction.
#[derive(Default)]
struct GroupResult {
    replies: Vec<Reply>,
    /// The error of the transaction, if it failed to begin or to end.
    error: Option<TransactionError>,
}

impl GroupResult {
    /// Sends the results to the callers. Release the connection first, because callers may queue their next
    /// task at once.
    fn send_replies(self) {
        for reply in self.replies {
            reply(self.error.clone().map_or(Ok(()), |error| Err(error.into())));
        }
    }
}

/// Runs tasks in one transaction.
fn run_group(transaction: Transaction<'_>, group: Vec<Task>) -> GroupResult {
    let mut replies = Vec::with_capacity(group.len());
    let error = run_tasks(transaction, group, &mut replies).err().map(TransactionError::from);
    GroupResult { replies, error }
}

/// Fails all tasks of a group whose transaction could not begin.
fn fail_group(group: Vec<Task>, error: TransactionError) -> GroupResult {
    let replies = group.into_iter().map(|task| task(Err(error.clone().into())).reply);
    GroupResult { replies: replies.collect(), error: Some(error) }
}

fn run_tasks(
    transaction: Transaction<'_>,
    group: Vec<Task>,
    replies: &mut Vec<Reply>,
) -> rusqlite::Result<()> {
    let single = group.len() == 1;
    for task in group {
        if single {
            // Needs no savepoint: the transaction itself undoes the task.
            let TaskResult { commit, reply } = task(Ok(transaction.0));
            replies.push(reply);
            return if commit { transaction.commit() } else { transaction.roll_back() };
        }
        match transaction.0.savepoint() {
            Ok(savepoint) => {
                let TaskResult { commit, reply } = task(Ok(&savepoint));
                replies.push(reply);
                if commit {
                    savepoint.commit()?;
                }
            }
            Err(error) => replies.push(task(Err(SqliteError::from(error).into())).reply),
        }
    }
    transaction.commit()
}
