//! Identifiers of owners, keys, jobs and workers, and fingerprints of requests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::serde_as_text::serde_as_text;

/// The text is not a valid name: 1 to 64 characters of `A-Z a-z 0-9 - _ .`, the first of which is not a dot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid {kind} `{text}`: use 1 to 64 of the characters A-Z a-z 0-9 - _ . (the first must not be a dot), \
     for example `acme-1`"
)]
pub struct InvalidName {
    text: String,
    kind: &'static str,
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { text: text.to_owned(), kind: $kind })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serde_as_text!($name);
    };
}

name! {
    /// The id of a customer. Jobs, images, idempotency keys and the image cache belong to an owner. An owner
    /// can have several API keys, for example an old one and its replacement. Limits and usage belong to the
    /// key.
    OwnerId, "owner"
}

name! {
    /// The public id of an API key. It can be logged: it does not grant access.
    KeyId, "key id"
}

name! {
    /// The id of a worker, for example `host-4711-0`: one slot of one process, unique among the live workers.
    /// A waiting client's process has one too (see [`JobRecord::waiter`](crate::job::JobRecord::waiter)).
    WorkerId, "worker id"
}

/// A job's id: a UUID of version 7, which sorts by the time of acceptance with a resolution of 0.25 µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id for a job accepted at `now`.
    ///
    /// By RFC 9562, section 6.2, method 3, the 12 bits after the milliseconds hold the fraction of the
    /// millisecond, so that the jobs of a burst stay in order. The remaining 62 bits are random.
    pub fn new(now: OffsetDateTime) -> Self {
        // Version 4 sets a few of these bits; the builder sets the same bits for version 7.
        Self::with_tail(now, Uuid::new_v4().as_bytes()[6..].try_into().expect("16 bytes less 6 are 10"))
    }

    fn with_tail(at: OffsetDateTime, mut tail: [u8; 10]) -> Self {
        let nanos = at.unix_timestamp_nanos().max(0) as u64;
        let (millis, rest) = (nanos / 1_000_000, nanos % 1_000_000);
        let fraction = (rest * 4_096 / 1_000_000) as u16;
        tail[..2].copy_from_slice(&fraction.to_be_bytes());
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid())
    }

    /// The lower bound of the ids of jobs accepted at `at` or later; ids of earlier jobs sort before it.
    pub fn first_at(at: OffsetDateTime) -> Self {
        Self::with_tail(at, [0; 10])
    }

    /// The time at which the job was accepted, in milliseconds.
    pub fn created(self) -> OffsetDateTime {
        let bytes = self.0.as_bytes();
        let millis = bytes[..6].iter().fold(0i128, |sum, byte| sum << 8 | i128::from(*byte));
        OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// The id as a UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for JobId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// A SHA-256 hash. Two requests with equal fingerprints are identical.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The text does not consist of 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid fingerprint: it must have 64 hexadecimal digits")]
pub struct InvalidFingerprint;

impl Fingerprint {
    /// The fingerprint of these bytes. The caller must bring the request into a canonical form first.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(InvalidFingerprint);
        }
        let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        Ok(Self(std::array::from_fn(|i| value(digits[2 * i]) << 4 | value(digits[2 * i + 1]))))
    }
}

serde_as_text!(Fingerprint);

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    #[test]
    fn names_are_checked() {
        for good in ["acme", "a", "Acme.Inc-2_x", &"a".repeat(64)] {
            assert_eq!(good.parse::<OwnerId>().expect("a name").as_str(), good);
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "虎", &"a".repeat(65)] {
            let error = bad.parse::<OwnerId>().expect_err(bad).to_string();
            assert!(error.contains("owner"), "{error}");
        }
    }

    #[test]
    fn job_ids_sort_by_time_and_contain_it() {
        let start = datetime!(2026-11-23 07:46:06.123 UTC);
        let ids: Vec<_> = (0..1_000).map(|i| JobId::new(start + Duration::microseconds(i))).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].created(), start);
        assert_eq!(ids[0].uuid().get_version_num(), 7);
        assert_ne!(JobId::new(start), JobId::new(start));
        let middle = JobId::first_at(start + Duration::microseconds(500));
        assert!(ids[499] < middle && middle < ids[500]);
        assert_eq!(ids[0].to_string().parse::<JobId>().expect("its own text"), ids[0]);
    }

    #[test]
    fn fingerprints_are_read_as_they_are_written() {
        let fingerprint = Fingerprint::of(b"a cyborg tiger");
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>(), Ok(fingerprint));
        assert_eq!("zz".parse::<Fingerprint>(), Err(InvalidFingerprint));
        assert_ne!(fingerprint, Fingerprint::of(b"a cyborg tige"));
    }
}
