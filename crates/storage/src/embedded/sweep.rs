//! Retention: deletes old pictures, so that they do not fill the disk.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::bucket::{Bucket, DiskError, Precondition};
use super::index::Entry;

/// The prefixes of pictures and of results of asynchronous invocations. Records of jobs and API keys have
/// other prefixes.
const SWEPT_PREFIXES: [&str; 2] = ["images/", "async/"];
/// The prefix of asynchronous invocations without a result, which are kept.
const PENDING: &str = "async/pending/";

/// The result of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Number of deleted pictures.
    pub deleted: usize,
    /// Bytes of the deleted pictures.
    pub freed_bytes: u64,
    /// Bytes of the remaining pictures.
    pub remaining_bytes: u64,
}

/// Deletes pictures older than `max_age`, and then the oldest until the rest has at most `max_bytes`.
pub(crate) fn sweep(
    bucket: &Arc<Bucket>,
    max_age: Duration,
    max_bytes: u64,
) -> Result<SweepReport, DiskError> {
    let all = SWEPT_PREFIXES.into_iter().flat_map(|prefix| bucket.objects_with_prefix(prefix));
    let mut pictures: Vec<_> = all.filter(|(key, _)| !key.starts_with(PENDING)).collect();
    pictures.sort_by_key(|(_, entry)| entry.modified);
    let mut report = SweepReport {
        remaining_bytes: pictures.iter().map(|(_, entry)| entry.size).sum(),
        ..SweepReport::default()
    };
    let max_age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    let oldest_kept = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(max_age);
    for (key, Entry { size, etag, modified }) in pictures {
        if modified >= oldest_kept && report.remaining_bytes <= max_bytes {
            break;
        }
        match bucket.delete(&key, &Precondition::Matches(etag)) {
            Ok(()) => {
                report.deleted += 1;
                report.freed_bytes += size;
                report.remaining_bytes -= size;
            }
            // The object was replaced or deleted meanwhile.
            Err(DiskError::PreconditionFailed | DiskError::NoSuchKey) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}
