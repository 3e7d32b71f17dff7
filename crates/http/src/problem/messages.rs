//! What a client is told in words.

use tintype_service::ledger::job::{Reason, UpstreamError};
use tintype_service::ledger::limits::{Limit, LimitExceeded, RetryTime};
use tintype_service::{KeyError, ServiceError as E};

use super::{Problem, whole_seconds};
use crate::params::NAME_CHARS;

impl Problem {
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Service(error) | Self::Job(_, error) => service_detail(error),
            Self::Credentials(fault) => (*fault).into(),
            Self::NotFound => "No such path. A picture is made by GET /generate?prompt=… or POST /v1/images.".into(),
            Self::MethodNotAllowed(allowed) => format!("This path takes {allowed}."),
            Self::GetDisabled => "The operator of this server decided so. POST /v1/images makes pictures.".into(),
            Self::Prefetch => {
                "A GET here costs computing time, so browsers' prefetching is refused. Open the link to make it."
                    .into()
            }
            Self::CrossSite => "This costs computing time, so it is refused without a key when another site's \
                                page causes it. Open the link in a tab of its own, or call it from your server."
                .into(),
            Self::WrongHost => "The Host header names neither this machine's loopback address with this \
                                server's port nor its configured public URL."
                .into(),
            Self::NotJson => "Send it with `Content-Type: application/json`.".into(),
            Self::BodyTimeout => "Send it again, and faster.".into(),
            Self::BodyTooLarge(limit) => format!("It may have {limit} bytes at the most."),
            Self::ResponseTooLarge => {
                "The pictures are made, but their files are larger than a function may answer with. Ask for links to them."
                    .into()
            }
            Self::MalformedJson(why) => format!("It cannot be read: {why}."),
            Self::Invocation(error) => format!("In this request {error}."),
            Self::InvalidIdempotencyKey => "`Idempotency-Key` takes one key of 1 to 255 visible ASCII characters.".into(),
            Self::ImagesPending(_) => "The job has not ended yet.".into(),
            Self::StillGenerating(id) => {
                format!(
                    "They are still being made, and will be: read /v1/images/{id}. The same request finds them too if it has \
                     the same seed or Idempotency-Key, or is an SDK's retry; otherwise it is for other pictures."
                )
            }
            Self::UnknownModel(name) => {
                let name: String = name.chars().take(NAME_CHARS).collect();
                format!("The model `{name}` does not exist here. GET /v1/models lists what does.")
            }
            Self::Internal => INTERNAL.into(),
        }
    }
}

const INTERNAL: &str = "The cause is in this server's log, under the request id.";

fn service_detail(error: &E) -> String {
    match error {
        E::Invalid(violations) => match violations.as_slice() {
            [only] => format!("{only}."),
            several => format!("{} parameters are not as they must be; see errors.", several.len()),
        },
        E::Unauthenticated(fault) => match fault {
            KeyError::Missing => {
                "The request carries no key. Send one as `Authorization: Bearer KEY` or `x-api-key: KEY`."
            }
            KeyError::Malformed => {
                "The key is malformed: one begins with `tt_` and has 52 characters; was it mistyped?"
            }
            KeyError::Unknown => "The key is unknown.",
            KeyError::Expired => "The key has expired.",
            KeyError::Revoked => "The key was revoked.",
        }
        .into(),
        E::NotAdmin => "The key is good, but not for this.".into(),
        E::LimitExceeded(refusal) => limit_detail(&refusal.refused),
        E::Unpriced(currency) => format!(
            "The key has a budget in {currency}, and nothing here has a price in it. The operator has to set one, or \
             to make another key."
        ),
        E::QueueFull { retry_after } => format!(
            "As many requests wait as may. A place is likely to be free in {} s.",
            whole_seconds(*retry_after)
        ),
        E::IdempotencyConflict => {
            "The idempotency key was used for another request within the last 24 hours.".into()
        }
        E::NotFound(what) => format!("There is no such {what}, or it is not yours."),
        E::NoPictures => "The job has ended without a picture.".into(),
        E::Canceled => "The job was canceled before its pictures were made.".into(),
        E::NotReady => "Try again in a few seconds.".into(),
        E::NoEngine => "It could not be loaded. The operator finds the cause in the log.".into(),
        E::Draining | E::Abandoned => {
            "The picture was not made. Try again: another server may be there by then.".into()
        }
        E::Failed(failure) => failure_detail(failure.reason, failure.upstream_error.as_ref()),
        E::Ledger(_) | E::Store(_) | E::Panicked(_) => INTERNAL.into(),
    }
}

fn limit_detail(refused: &LimitExceeded) -> String {
    let limit = refused.limit;
    match (limit, refused.retry) {
        (_, RetryTime::Never) => format!("This alone takes more than the key's {limit}."),
        (Limit::Budget(_), RetryTime::At(_)) => {
            format!("What is left of the key's {limit} does not cover what this is likely to take.")
        }
        (Limit::Concurrency(limit), _) => {
            format!(
                "{limit} jobs of this key are queued or running, and more may not be. Come back when one has ended."
            )
        }
        _ => format!("The key's {limit} is used up for now."),
    }
}

/// What a client is told of a job that failed, and of what a remote engine said.
pub(crate) fn failure_detail(reason: Reason, upstream_error: Option<&UpstreamError>) -> String {
    match upstream_error {
        Some(UpstreamError { status: Some(status), message, .. }) if message.is_empty() => {
            format!("The model failed with status {status}. What it said is in this server's log.")
        }
        Some(UpstreamError { status: Some(status), message, .. }) => {
            format!("The model refused it with status {status}: {message}")
        }
        Some(UpstreamError { message, .. }) if !message.is_empty() => {
            format!("The model made nothing: {message}.")
        }
        _ => reason_detail(reason).to_owned(),
    }
}

fn reason_detail(reason: Reason) -> &'static str {
    match reason {
        Reason::Engine => "The engine failed. The cause is in this server's log.",
        Reason::Store => "The pictures could not be stored. The cause is in this server's log.",
        Reason::Crashed => "The server broke down under it several times.",
        Reason::Deadline => "It was not finished by its deadline.",
        Reason::Overrun => {
            "It was stopped: it took twice what was reserved for it from the key's budget, or as long as a job may take \
             on this server."
        }
        Reason::Busy => "Nothing was made, and nothing charged. Try again later.",
        Reason::Model => "The model answered with an error.",
        Reason::OutcomeUnknown => {
            "The engine was given the work and its answer did not come: the connection broke, or the time was over. It may \
             have been made, so it is not made again, and nobody pays twice."
        }
    }
}
