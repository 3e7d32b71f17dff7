//! Copies the write-ahead log into the database in the background. By default SQLite does this within a
//! commit, which then waits for several syncs of the disk.
//!
//! The log keeps the earlier versions of pages, also after they are copied. After a deletion, the log is therefore
//! emptied, so that the prompts of deleted jobs do not stay in it.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::connection::ConnectionQueue;
use crate::error::Result;
use tintype_ledger::Error;

/// The length of the log, in pages, at which a checkpoint starts: 32 MiB. A longer log contains more versions
/// of the same pages, of which a checkpoint copies only the last.
const CHECKPOINT_PAGES: i32 = 8_000;
/// The length of the log, in pages, at which a checkpoint blocks the writer. SQLite starts the log anew only
/// when all of it is copied, which continuous writes prevent. Few requests are delayed by this.
const MAX_LOG_PAGES: i32 = 32_000;

/// The number of new pages after which the operating system is asked to write them to the disk. This shortens
/// the sync before a checkpoint. A write to a page that is being written to the disk has to wait.
const WRITEBACK_PAGES: i32 = 250;
/// The bytes of the log before its first page, and the bytes of a page with its frame header (SQLite file
/// format, section 4.1).
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_BYTES: u64 = 24 + 4_096;

/// The longest time from a deletion until the log is emptied, if no other process reads the database. Deletions in
/// this time share the work.
pub(crate) const ERASE_DELAY: Duration = Duration::from_secs(10);
/// The delay before the next attempt, if another process reads the database.
const ERASE_RETRY: Duration = Duration::from_secs(1);
/// The longest time that emptying the log blocks the writer while another process reads the database.
const ERASE_BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Requests that the log is emptied.
#[derive(Clone, Debug)]
pub(crate) struct EraseRequests {
    requested: Arc<AtomicBool>,
    wakeup: SyncSender<i32>,
}

impl EraseRequests {
    /// Empties the log within [`ERASE_DELAY`].
    pub(crate) fn request(&self) {
        if !self.requested.swap(true, Ordering::AcqRel) {
            // If the channel is full, the thread is about to read it. A length that is not positive only wakes it.
            let _ = self.wakeup.try_send(0);
        }
    }
}

/// The signals to the checkpoint thread: the length of the log, in pages, each time that it has grown by
/// [`WRITEBACK_PAGES`] or was started anew, and requests to empty it.
pub(crate) struct Signals {
    log_lengths: Receiver<i32>,
    requests: EraseRequests,
    erase_delay: Duration,
}

/// The signals of a writer. The log is emptied `erase_delay` after a request.
pub(crate) fn signals(writer: &mut Connection, erase_delay: Duration) -> Result<Signals> {
    let (sender, receiver) = sync_channel(1);
    let requests = EraseRequests { requested: Arc::default(), wakeup: sender.clone() };
    let mut reported = 0;
    let hook = move |_: &mut Wal, pages: i32| {
        // The length falls when SQLite starts the log anew.
        if pages < reported || pages >= reported + WRITEBACK_PAGES {
            reported = pages;
            // If the channel is full, the checkpoint thread is about to read it.
            let _ = sender.try_send(pages);
        }
        Ok(())
    };
    writer.wal_hook(Some(hook))?;
    Ok(Signals { log_lengths: receiver, requests, erase_delay })
}

/// The checkpoint thread. It ends when the writer's connection is closed and no request to empty the log can come;
/// dropping this waits for that.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    requests: Option<EraseRequests>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread. `connection` is a connection of its own to the database at `path`.
    pub(crate) fn start(
        path: &Path,
        connection: Connection,
        signals: Signals,
        writer: Weak<ConnectionQueue>,
    ) -> Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let Signals { log_lengths, requests, erase_delay } = signals;
        let mut worker = Worker {
            log: log.into(),
            connection,
            writer,
            written_back: 0,
            copied: 0,
            erase_requested: requests.requested.clone(),
            erase_delay,
        };
        let thread = std::thread::Builder::new().name("ledger-checkpoints".to_owned());
        let thread = thread.spawn(move || worker.run(&log_lengths)).map_err(Error::unavailable)?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Empties the log within [`ERASE_DELAY`], because a deleted text may be in it.
    pub(crate) fn erase_log(&self) {
        if let Some(requests) = &self.requests {
            requests.request();
        }
    }
}

/// The state of the checkpoint thread.
struct Worker {
    log: PathBuf,
    connection: Connection,
    writer: Weak<ConnectionQueue>,
    /// The length of the log, in pages, up to which its writeback was started.
    written_back: i32,
    /// The length of the log, in pages, at the last checkpoint.
    copied: i32,
    erase_requested: Arc<AtomicBool>,
    erase_delay: Duration,
}

impl Worker {
    fn run(&mut self, log_lengths: &Receiver<i32>) {
        let mut erase_at: Option<Instant> = None;
        loop {
            if self.erase_requested.swap(false, Ordering::AcqRel) {
                erase_at.get_or_insert_with(|| Instant::now() + self.erase_delay);
            }
            if erase_at.is_some_and(|at| at <= Instant::now()) {
                erase_at = (!self.erase_log()).then(|| Instant::now() + ERASE_RETRY);
            }
            let next = match erase_at {
                Some(at) => log_lengths.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => log_lengths.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(pages) if pages > 0 => self.log_has_grown(pages),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                // The last connection to be closed copies the log and deletes it.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn log_has_grown(&mut self, pages: i32) {
        if pages < self.written_back {
            (self.written_back, self.copied) = (0, 0);
        }
        start_writeback(&self.log, self.written_back, pages);
        self.written_back = pages;
        // A checkpoint at each report would sync the disk for a few pages.
        if pages < self.copied + CHECKPOINT_PAGES {
            return;
        }
        self.copied = pages;
        checkpoint(&self.connection);
        if pages >= MAX_LOG_PAGES
            && let Some(writer) = self.writer.upgrade()
        {
            // Most pages are copied by now, so the writer is blocked only briefly.
            writer.with_connection(checkpoint);
        }
    }

    /// Copies the log and truncates it to nothing. False if another process uses it.
    fn erase_log(&mut self) -> bool {
        let Some(writer) = self.writer.upgrade() else { return true };
        // Copies most pages without blocking the writer.
        checkpoint(&self.connection);
        let is_empty = writer.with_connection(|connection| {
            // Each transaction sets its own timeout.
            connection.busy_timeout(ERASE_BUSY_TIMEOUT)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        is_empty.is_ok_and(|busy| busy == 0)
    }
}

/// Asks the operating system to write the log's pages from `from` to `to` to the disk, without waiting. The
/// last, incomplete page of the file is left out.
#[cfg(target_os = "linux")]
fn start_writeback(log: &Path, from: i32, to: i32) {
    use rustix::fs::{Advice, fadvise};

    let at = |pages: i32| (LOG_HEADER_BYTES + FRAME_BYTES * u64::try_from(pages).unwrap_or(0)) & !4_095;
    let Ok(file) = std::fs::File::open(log) else { return };
    if let Some(length) = NonZero::new(at(to).saturating_sub(at(from))) {
        // On Linux, this advice starts the writeback of dirty pages and keeps them in the page cache until
        // they are clean.
        let _ = fadvise(&file, at(from), Some(length), Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn start_writeback(_: &Path, _: i32, _: i32) {}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread loses nothing: the log only stays longer.
            let _ = thread.join();
        }
    }
}

fn checkpoint(connection: &Connection) {
    // May fail because another process runs a checkpoint. Pages that were not copied stay in the log until
    // the next time.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Access, ShortTasks};
    use crate::{Synchronous, connect, create_private};

    #[test]
    fn the_log_starts_anew_when_it_is_too_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        create_private(&path).expect("a file");
        let open = || connect(&path, Synchronous::Normal).expect("a connection");
        let mut writer = open();
        writer.execute_batch("CREATE TABLE x (y)").expect("a table");
        let signals = signals(&mut writer, ERASE_DELAY).expect("a hook");
        let writer = ConnectionQueue::open("writer", writer, Access::Write, ShortTasks::OnCaller);
        let writer = std::sync::Arc::new(writer.expect("a queue"));
        let checkpointer = Checkpointer::start(&path, open(), signals, std::sync::Arc::downgrade(&writer));
        let checkpointer = checkpointer.expect("a thread");
        // Writes far more pages than the limit, one or two per commit.
        for n in 0..3 * MAX_LOG_PAGES {
            let written = writer.run_short(move |connection| {
                connection.execute("INSERT INTO x VALUES (zeroblob(900))", [])?;
                Ok(n)
            });
            futures::executor::block_on(written).expect("written");
        }
        let log = std::fs::metadata(folder.path().join("x.db-wal")).expect("a log").len();
        assert!(log < 2 * MAX_LOG_PAGES as u64 * 4_120, "{log} bytes");
        drop(writer);
        drop(checkpointer);
        let count: i64 = open().query_row("SELECT count(*) FROM x", [], |row| row.get(0)).expect("rows");
        assert_eq!(count, i64::from(3 * MAX_LOG_PAGES));
    }
}
