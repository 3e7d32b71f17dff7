//! The stored form of a job's status.

use serde::de::IntoDeserializer;
use serde::de::value::Error as InvalidName;
use serde::{Deserialize, Serialize};

use super::{Reason, Status};

/// A status as `is`, the name of the state, and for a failed job its `reason`.
///
/// Version 0.1.0 cannot read a record with a reason that it does not know. A later reason is therefore stored
/// as `engine`, with its own name in `detail`, which version 0.1.0 ignores.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredStatus {
    is: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

impl From<Status> for StoredStatus {
    fn from(status: Status) -> Self {
        let plain = |is| Self { is, reason: None, detail: None };
        match status {
            Status::Queued => plain(State::Queued),
            Status::Running => plain(State::Running),
            Status::Succeeded => plain(State::Succeeded),
            Status::Canceled => plain(State::Canceled),
            Status::Failed(reason @ (Reason::UnreadableRecord | Reason::NotFinite)) => Self {
                is: State::Failed,
                reason: Some(Reason::Engine),
                detail: Some(reason.name().to_owned()),
            },
            Status::Failed(reason) => Self { is: State::Failed, reason: Some(reason), detail: None },
        }
    }
}

impl TryFrom<StoredStatus> for Status {
    type Error = &'static str;

    fn try_from(stored: StoredStatus) -> Result<Self, &'static str> {
        Ok(match stored.is {
            State::Queued => Self::Queued,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Canceled => Self::Canceled,
            State::Failed => {
                let reason = stored.reason.ok_or("a failed job has no reason")?;
                // A detail that only later versions know leaves the reason.
                let detail = stored.detail.and_then(|name| {
                    let named: Result<Reason, InvalidName> = Reason::deserialize(name.into_deserializer());
                    named.ok()
                });
                Self::Failed(detail.unwrap_or(reason))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The form of version 0.1.0.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "is", content = "reason", rename_all = "snake_case")]
    enum FirstStatus {
        Queued,
        Running,
        Succeeded,
        Failed(FirstReason),
        Canceled,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum FirstReason {
        Engine,
        Busy,
    }

    fn stored(status: Status) -> Value {
        serde_json::to_value(status).expect("plain data")
    }

    fn read(json: Value) -> Option<Status> {
        serde_json::from_value(json).ok()
    }

    #[test]
    fn version_0_1_0_reads_every_status_and_its_own_form_is_unchanged() {
        for (status, first) in [
            (Status::Queued, FirstStatus::Queued),
            (Status::Running, FirstStatus::Running),
            (Status::Succeeded, FirstStatus::Succeeded),
            (Status::Canceled, FirstStatus::Canceled),
            (Status::Failed(Reason::Engine), FirstStatus::Failed(FirstReason::Engine)),
            (Status::Failed(Reason::Busy), FirstStatus::Failed(FirstReason::Busy)),
        ] {
            let json = serde_json::to_value(&first).expect("plain data");
            assert_eq!(stored(status), json);
            assert_eq!(read(json), Some(status));
        }
        for reason in [Reason::NotFinite, Reason::UnreadableRecord] {
            let json = stored(Status::Failed(reason));
            assert_eq!(json, json!({"is": "failed", "reason": "engine", "detail": reason.name()}));
            let first: FirstStatus = serde_json::from_value(json.clone()).expect("version 0.1.0 reads it");
            assert_eq!(first, FirstStatus::Failed(FirstReason::Engine));
            assert_eq!(read(json), Some(Status::Failed(reason)));
        }
    }

    #[test]
    fn a_later_detail_is_ignored_and_other_forms_are_refused() {
        let later = json!({"is": "failed", "reason": "model", "detail": "bored"});
        assert_eq!(read(later), Some(Status::Failed(Reason::Model)));
        let name = json!({"is": "failed", "reason": "not_finite"});
        assert_eq!(read(name), Some(Status::Failed(Reason::NotFinite)));
        for damaged in [
            json!({"is": "failed"}),
            json!({"is": "failed", "reason": "bored"}),
            json!({"is": "asleep"}),
            json!({}),
            json!("failed"),
        ] {
            assert_eq!(read(damaged.clone()), None, "{damaged}");
        }
    }
}
