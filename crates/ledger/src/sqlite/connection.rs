//! A connection, and those who wait for it. Whoever waits together is committed together, so that a hundred callers share one
//! write. What is quick is done by the caller itself where nobody is before it: to hand it to another thread and back would take
//! longer. A thread of its own does the rest. Callers wait without a runtime.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::Either;
use rusqlite::{Connection, ErrorCode};

use super::BUSY;
use crate::error::{Error, Result};

/// Most units of work in one transaction, so that nobody waits long for the others.
const GROUP: usize = 128;

/// Tells a caller what became of its work once the transaction has ended.
type Reply = Box<dyn FnOnce(Result<()>) + Send>;

/// Work to be done in a transaction (or its excuse): whether to keep what it did, and whom to tell.
type Unit = Box<dyn FnOnce(Result<&Connection>) -> (bool, Reply) + Send>;

/// The connection. Dropping it finishes what was asked of it and closes the connection.
#[derive(Debug)]
pub(crate) struct Desk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the callers and the thread share.
struct Shared {
    connection: Mutex<Connection>,
    /// What begins a transaction.
    begin: &'static str,
    /// What is said to be quick is.
    quick: bool,
    line: Mutex<Line>,
    /// The thread is wanted.
    bell: Condvar,
}

#[derive(Default)]
struct Line {
    units: VecDeque<Unit>,
    closed: bool,
}

impl Desk {
    /// Starts the thread; each group of units runs in one transaction that this statement begins. Unless that can be `quick`, the
    /// thread does it all.
    pub(crate) fn open(
        name: &str,
        connection: Connection,
        (begin, quick): (&'static str, bool),
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            connection: Mutex::new(connection),
            begin,
            quick,
            line: Mutex::default(),
            bell: Condvar::new(),
        });
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            // A unit that panics takes its transaction with it, and its company, whose callers hear of that; not those who come later.
            .spawn(move || while catch_unwind(AssertUnwindSafe(|| served.serve())).is_err() {})
            .map_err(Error::unavailable)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Runs `work` in a transaction, alone or in company. What it changed is undone if it fails. It runs also if the
    /// future is dropped.
    pub(crate) fn call<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let answer = self.enter(work);
        self.shared.bell.notify_one();
        answer
    }

    /// The same for work that takes some microseconds: done before this returns, if nobody else is at it.
    pub(crate) fn quick<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        if !self.shared.quick {
            return Either::Left(self.call(work));
        }
        let answer = self.enter(work);
        self.shared.serve_here();
        Either::Right(answer)
    }

    /// Does something with the connection while nobody else does.
    pub(crate) fn pause<T>(&self, meanwhile: impl FnOnce(&Connection) -> T) -> T {
        let done = meanwhile(&self.shared.connection());
        // Whoever came in the meantime found it taken.
        self.shared.look_again();
        done
    }

    fn enter<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let unit: Unit = Box::new(move |connection| {
            let result = connection.and_then(work);
            let keep = result.is_ok();
            let reply = move |committed: Result<()>| {
                // A caller who went away needs no answer.
                let _ = sender.send(committed.and(result));
            };
            (keep, Box::new(reply))
        });
        // Unbounded, but every entry has a caller who waits for it: what bounds requests bounds this.
        self.shared.line().units.push_back(unit);
        async move { receiver.await.map_err(|_| Error::unavailable("the ledger's work broke off"))? }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.line().closed = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // It outlives what panics in it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The thread.
    fn serve(&self) {
        loop {
            let mut line = self.line();
            while line.units.is_empty() {
                if line.closed {
                    return;
                }
                line = self.bell.wait(line).unwrap_or_else(PoisonError::into_inner);
            }
            drop(line);
            let mut connection = self.connection();
            let group = self.next();
            let done = match Open::begin(&mut connection, self.begin, BUSY) {
                Ok(transaction) => run(transaction, group),
                Err(error) => excuse(group, error.into()),
            };
            drop(connection);
            done.tell();
        }
    }

    /// Does what waits, unless somebody is at it, who [looks again](Self::look_again).
    fn serve_here(&self) {
        let mut connection = match self.connection.try_lock() {
            Ok(connection) => connection,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let group = self.next();
        let done = match Open::begin(&mut connection, self.begin, Duration::ZERO) {
            Ok(transaction) => run(transaction, group),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                // Another process writes: the thread has the time to wait for it.
                let mut line = self.line();
                for unit in group.into_iter().rev() {
                    line.units.push_front(unit);
                }
                Done::default()
            }
            Err(error) => excuse(group, error.into()),
        };
        drop(connection);
        done.tell();
        self.look_again();
    }

    /// To be called by whoever has had the connection, once it is free: those who found it taken left their work in the line.
    fn look_again(&self) {
        if !self.line().units.is_empty() {
            self.bell.notify_one();
        }
    }

    /// Who waits now. Complete before their transaction begins: what a reader finds is of that moment, and whoever asks later
    /// may know of something newer.
    fn next(&self) -> Vec<Unit> {
        let mut line = self.line();
        let count = line.units.len().min(GROUP);
        line.units.drain(..count).collect()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // Whoever panicked has rolled its transaction back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("quick", &self.quick).finish_non_exhaustive()
    }
}

/// What came of a group.
#[derive(Default)]
struct Done {
    replies: Vec<Reply>,
    /// Of the transaction, if it did not begin or end.
    failed: Option<Failed>,
}

impl Done {
    /// Tells everybody; not before the connection is free, since they will come again.
    fn tell(self) {
        for reply in self.replies {
            reply(self.failed.clone().map_or(Ok(()), |failed| Err(failed.into())));
        }
    }
}

/// A transaction, by statements that are kept: to read them anew each time would be a good part of the work. Rolled back unless
/// it is ended.
struct Open<'c>(&'c mut Connection);

impl<'c> Open<'c> {
    /// Waits so long for another process that writes.
    fn begin(connection: &'c mut Connection, begin: &str, patience: Duration) -> rusqlite::Result<Self> {
        connection.busy_timeout(patience)?;
        execute(connection, begin)?;
        let open = Self(connection);
        open.0.busy_timeout(BUSY)?;
        Ok(open)
    }

    fn end(self, keep: bool) -> rusqlite::Result<()> {
        execute(self.0, if keep { "COMMIT" } else { "ROLLBACK" })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // SQLite rolls back itself where this fails.
            let _ = execute(self.0, "ROLLBACK");
        }
    }
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// Runs units in their transaction.
fn run(transaction: Open<'_>, group: Vec<Unit>) -> Done {
    let mut replies = Vec::with_capacity(group.len());
    let failed = in_turn(transaction, group, &mut replies).err().map(Failed::from);
    Done { replies, failed }
}

/// The transaction of these could not begin.
fn excuse(group: Vec<Unit>, failed: Failed) -> Done {
    let replies = group.into_iter().map(|unit| unit(Err(failed.clone().into())).1);
    Done { replies: replies.collect(), failed: Some(failed) }
}

fn in_turn(transaction: Open<'_>, group: Vec<Unit>, replies: &mut Vec<Reply>) -> rusqlite::Result<()> {
    let alone = group.len() == 1;
    for unit in group {
        if alone {
            // It is undone with the transaction.
            let (keep, reply) = unit(Ok(transaction.0));
            replies.push(reply);
            return transaction.end(keep);
        }
        match transaction.0.savepoint() {
            Ok(savepoint) => {
                let (keep, reply) = unit(Ok(&savepoint));
                replies.push(reply);
                if keep {
                    savepoint.commit()?;
                }
            }
            Err(error) => replies.push(unit(Err(error.into())).1),
        }
    }
    transaction.end(true)
}

/// A transaction that could not begin or end, for all who were in it.
#[derive(Clone, Debug)]
struct Failed(Arc<rusqlite::Error>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Failed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        super::classify(failed.0.sqlite_error_code(), failed)
    }
}
