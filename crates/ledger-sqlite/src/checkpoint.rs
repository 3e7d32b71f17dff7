//! Copies the write-ahead log into the database in the background. By default SQLite does this within a
//! commit, which then waits for several syncs of the disk.

use std::num::NonZero;
use std::path::Path;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

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

/// Reports the length of the log, in pages, each time that it has grown by [`WRITEBACK_PAGES`] or was started
/// anew.
pub(crate) fn log_lengths(writer: &mut Connection) -> Result<Receiver<i32>> {
    let (sender, receiver) = sync_channel(1);
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
    Ok(receiver)
}

/// The checkpoint thread. It ends when the writer's connection is closed; dropping this waits for that.
#[derive(Debug)]
pub(crate) struct Checkpointer(Option<JoinHandle<()>>);

impl Checkpointer {
    /// Starts the thread. `connection` is a connection of its own to the database at `path`.
    pub(crate) fn start(
        path: &Path,
        connection: Connection,
        log_lengths: Receiver<i32>,
        writer: Weak<ConnectionQueue>,
    ) -> Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let run = move || {
            let (mut written_back, mut copied) = (0, 0);
            for pages in log_lengths {
                if pages < written_back {
                    (written_back, copied) = (0, 0);
                }
                start_writeback(log.as_ref(), written_back, pages);
                written_back = pages;
                // A checkpoint at each report would sync the disk for a few pages.
                if pages < copied + CHECKPOINT_PAGES {
                    continue;
                }
                copied = pages;
                checkpoint(&connection);
                if pages >= MAX_LOG_PAGES
                    && let Some(writer) = writer.upgrade()
                {
                    // Most pages are copied by now, so the writer is blocked only briefly.
                    writer.with_connection(checkpoint);
                }
            }
        };
        let thread = std::thread::Builder::new().name("ledger-checkpoints".to_owned()).spawn(run);
        Ok(Self(Some(thread.map_err(Error::unavailable)?)))
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
        if let Some(thread) = self.0.take() {
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
        let lengths = log_lengths(&mut writer).expect("a hook");
        let writer = ConnectionQueue::open("writer", writer, Access::Write, ShortTasks::OnCaller);
        let writer = std::sync::Arc::new(writer.expect("a queue"));
        let checkpointer = Checkpointer::start(&path, open(), lengths, std::sync::Arc::downgrade(&writer));
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
