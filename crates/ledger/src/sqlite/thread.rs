//! A thread that owns a connection. Whoever waits does so without a runtime; whoever waits together is committed
//! together, so that a hundred callers share one sync of the disk.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Error, Result};

/// Most units of work in one transaction, so that nobody waits long for the others.
const GROUP: usize = 128;

/// Tells a caller what became of its work once the transaction has ended.
type Reply = Box<dyn FnOnce(Result<()>) + Send>;

/// Work to be done in a transaction (or its excuse): whether to keep what it did, and whom to tell.
type Unit = Box<dyn FnOnce(Result<&Connection>) -> (bool, Reply) + Send>;

/// The thread. Dropping it finishes what was asked of it and closes the connection.
#[derive(Debug)]
pub(crate) struct Thread {
    units: Option<Sender<Unit>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts a thread that runs each group of units in one transaction.
    pub(crate) fn start(name: &str, connection: Connection, behavior: TransactionBehavior) -> Result<Self> {
        // Unbounded, but every entry has a caller who waits for it: what bounds requests bounds this.
        let (units, received) = channel();
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(connection, behavior, &received))
            .map_err(Error::unavailable)?;
        Ok(Self { units: Some(units), handle: Some(handle) })
    }

    /// Runs `work` in a transaction, alone or in company. What it changed is undone if it fails. It runs also if the
    /// future is dropped.
    pub(crate) fn call<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
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
        if let Some(units) = &self.units {
            // A thread that is gone drops the unit, and with it the sender that the receiver below waits for.
            let _ = units.send(unit);
        }
        async move { receiver.await.map_err(|_| Error::unavailable("the ledger's thread has ended"))? }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.units = None;
        if let Some(handle) = self.handle.take() {
            // It panicked only if a unit did, and then the callers have heard of it.
            let _ = handle.join();
        }
    }
}

fn serve(mut connection: Connection, behavior: TransactionBehavior, units: &Receiver<Unit>) {
    while let Ok(first) = units.recv() {
        // Complete before the transaction begins: what a reader finds is of that moment, and whoever asks later may know
        // of something newer.
        let group: Vec<_> = std::iter::once(first).chain(units.try_iter().take(GROUP - 1)).collect();
        let mut replies = Vec::with_capacity(group.len());
        let committed = run(&mut connection, behavior, group, &mut replies);
        for reply in replies {
            reply(committed.clone().map_err(Error::from));
        }
    }
}

fn run(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    group: Vec<Unit>,
    replies: &mut Vec<Reply>,
) -> Result<(), Failed> {
    let mut transaction = match connection.transaction_with_behavior(behavior) {
        Ok(transaction) => transaction,
        Err(error) => {
            let failed = Failed(Arc::new(error));
            replies.extend(group.into_iter().map(|unit| unit(Err(failed.clone().into())).1));
            return Err(failed);
        }
    };
    for unit in group {
        match transaction.savepoint() {
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
    Ok(transaction.commit()?)
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
