//! Keeps the write-ahead log short. SQLite would do that in the middle of a commit, which then takes some syncs of the disk;
//! here it is done beside those who write, who go on meanwhile.

use std::num::NonZero;
use std::path::Path;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::connection::Desk;
use crate::error::{Error, Result};

/// Pages in the log from which it is copied into the database: 32 MiB of them. The longer it is, the more of them are the same
/// page at several times, of which only the last is copied.
const LONG: i32 = 8_000;
/// Pages from which writing stops until all is copied: as long as it goes on, the log never begins anew. Few requests should meet
/// that.
const TOO_LONG: i32 = 32_000;

/// Pages after which the disk is told to begin with them, so that the sync before the copy is short: whoever appends to a page
/// that is on its way waits for it.
const AHEAD: i32 = 250;
/// Bytes of the log before its first page, and of each page with what is said of it (SQLite's file format, section 4.1).
const HEADER: u64 = 32;
const FRAME: u64 = 24 + 4_096;

/// Says how long a connection leaves its log, each time that it has grown a little.
pub(super) fn lengths(writer: &mut Connection) -> Result<Receiver<i32>> {
    let (tell, told) = sync_channel(1);
    let mut last = 0;
    let hook = move |_: &mut Wal, pages: i32| {
        // It begins anew when all of it was copied.
        if pages < last || pages >= last + AHEAD {
            last = pages;
            // If there is no room, it is about to be seen to.
            let _ = tell.try_send(pages);
        }
        Ok(())
    };
    writer.wal_hook(Some(hook))?;
    Ok(told)
}

/// The thread that copies. It ends with the connection that tells it; dropping this waits for that.
#[derive(Debug)]
pub(super) struct Checkpoints(Option<JoinHandle<()>>);

impl Checkpoints {
    /// Starts it, with a connection of its own to the database in this file.
    pub(super) fn start(
        lengths: Receiver<i32>,
        (path, connection): (&Path, Connection),
        writer: Weak<Desk>,
    ) -> Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let copy = move || {
            let (mut before, mut copied) = (0, 0);
            for pages in lengths {
                if pages < before {
                    (before, copied) = (0, 0);
                }
                write_ahead(log.as_ref(), before, pages);
                before = pages;
                // Copying again at each commit would sync the disk for a handful of pages.
                if pages < copied + LONG {
                    continue;
                }
                copied = pages;
                checkpoint(&connection);
                if pages >= TOO_LONG
                    && let Some(writer) = writer.upgrade()
                {
                    // Little is left of it by now.
                    writer.pause(checkpoint);
                }
            }
        };
        let thread = std::thread::Builder::new().name("ledger-checkpoints".to_owned()).spawn(copy);
        Ok(Self(Some(thread.map_err(Error::unavailable)?)))
    }
}

/// Has the system begin to write these pages of the log to the disk, without waiting for it and without the page that is not full.
#[cfg(target_os = "linux")]
fn write_ahead(log: &Path, from: i32, to: i32) {
    use rustix::fs::{Advice, fadvise};

    let at = |pages: i32| (HEADER + FRAME * u64::try_from(pages).unwrap_or(0)) & !4_095;
    let Ok(file) = std::fs::File::open(log) else { return };
    if let Some(length) = NonZero::new(at(to).saturating_sub(at(from))) {
        // "Not needed" is what makes Linux write what is dirty; that, it keeps.
        let _ = fadvise(&file, at(from), Some(length), Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn write_ahead(_: &Path, _: i32, _: i32) {}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Nothing is lost if it has panicked: the log is longer, that is all.
            let _ = thread.join();
        }
    }
}

fn checkpoint(connection: &Connection) {
    // Another process may be at it. What could not be copied stays in the log until the next time.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

#[cfg(test)]
mod tests {
    use super::super::{Synchronous, connect, create_private};
    use super::*;

    #[test]
    fn a_log_that_is_too_long_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        create_private(&path).expect("a file");
        let open = || connect(&path, Synchronous::Normal).expect("a connection");
        let mut writer = open();
        writer.execute_batch("CREATE TABLE x (y)").expect("a table");
        let lengths = lengths(&mut writer).expect("a hook");
        let writer =
            std::sync::Arc::new(Desk::open("writer", writer, ("BEGIN IMMEDIATE", true)).expect("a desk"));
        let checkpoints = Checkpoints::start(lengths, (&path, open()), std::sync::Arc::downgrade(&writer));
        let checkpoints = checkpoints.expect("a thread");
        // Far more pages than make it long, one or two a commit.
        for n in 0..3 * TOO_LONG {
            let written = writer.quick(move |connection| {
                connection.execute("INSERT INTO x VALUES (zeroblob(900))", [])?;
                Ok(n)
            });
            futures::executor::block_on(written).expect("written");
        }
        let log = std::fs::metadata(folder.path().join("x.db-wal")).expect("a log").len();
        assert!(log < 2 * TOO_LONG as u64 * 4_120, "{log} bytes");
        drop(writer);
        drop(checkpoints);
        let there: i64 = open().query_row("SELECT count(*) FROM x", [], |row| row.get(0)).expect("rows");
        assert_eq!(there, i64::from(3 * TOO_LONG));
    }
}
