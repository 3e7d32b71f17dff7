//! The secret with which the tokens of a job's event URL are signed.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The secret of one job: 122 random bits. It is a part of the job's record, so that all processes of a
/// ledger accept the job's tokens, also after a restart, and no process does after the deletion of the job.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventsKey(Uuid);

impl EventsKey {
    /// A new secret, from the random numbers of the operating system.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The secret itself, to sign with it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for EventsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
