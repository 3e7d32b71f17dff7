//! Keeps the write-ahead log short. SQLite would do that in the middle of a commit, which then takes some syncs of the disk;
//! here it is done beside those who write, who go on meanwhile.

use std::sync::Weak;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::desk::Desk;
use crate::error::{Error, Result};

/// Pages in the log from which it is copied into the database: 32 MiB of them. The longer it is, the more of them are the same
/// page at several times, of which only the last is copied.
const LONG: i32 = 8_000;
/// Pages from which writing stops until all is copied: as long as it goes on, the log never begins anew.
const TOO_LONG: i32 = 32_000;

/// How long the log is after each commit of a connection that leaves it long. One word of it is kept.
pub(super) fn lengths(writer: &mut Connection) -> Result<Receiver<i32>> {
    let (tell, told) = sync_channel(1);
    let hook = move |_: &mut Wal, pages| {
        if pages >= LONG {
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
    /// Starts it, with a connection of its own.
    pub(super) fn start(lengths: Receiver<i32>, connection: Connection, writer: Weak<Desk>) -> Result<Self> {
        let copy = move || {
            for pages in lengths {
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

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Nothing is lost if it has panicked: the log is longer, that is all.
            let _ = thread.join();
        }
    }
}

fn checkpoint(connection: &Connection) {
    // Another process may be at it. What could not be copied stays in the log, and the next commit says so again.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}
