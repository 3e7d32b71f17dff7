//! Retention: pictures are not kept for ever on a laptop.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::bucket::{Bucket, DiskError, Precondition};
use super::index::Entry;

/// What is swept: pictures, and what asynchronous invocations left, which is pictures too. Records of jobs and keys are not.
const PICTURES: [&str; 2] = ["images/", "async/"];
/// Asynchronous invocations that are not answered yet.
const UNANSWERED: &str = "async/pending/";

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Pictures deleted.
    pub deleted: usize,
    /// Bytes they had.
    pub freed: u64,
    /// Bytes of the pictures that remain.
    pub remaining: u64,
}

/// Deletes what is older than `keep`, then the oldest until the rest has at most `max_bytes`.
pub(crate) fn sweep(bucket: &Arc<Bucket>, keep: Duration, max_bytes: u64) -> Result<Swept, DiskError> {
    let all = PICTURES.into_iter().flat_map(|prefix| bucket.all(prefix));
    let mut pictures: Vec<_> = all.filter(|(key, _)| !key.starts_with(UNANSWERED)).collect();
    pictures.sort_by_key(|(_, entry)| entry.modified);
    let mut swept =
        Swept { remaining: pictures.iter().map(|(_, entry)| entry.size).sum(), ..Swept::default() };
    let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
    let oldest_kept = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(keep);
    for (key, Entry { size, etag, modified }) in pictures {
        if modified >= oldest_kept && swept.remaining <= max_bytes {
            break;
        }
        match bucket.delete(&key, &Precondition::Is(etag)) {
            Ok(()) => {
                swept.deleted += 1;
                swept.freed += size;
                swept.remaining -= size;
            }
            // Written anew or deleted since we looked.
            Err(DiskError::Precondition | DiskError::NoSuchKey) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}
