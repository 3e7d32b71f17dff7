//! The detail of each problem: what is wrong, with value and limit, and how to fix it.
//!
//! Each detail is complete without the problem's title, because OpenAI's and SageMaker's clients see only the
//! detail.

use tintype_ledger as ledger;
use tintype_ledger::job::{Reason, UpstreamError};
use tintype_ledger::limits::{Limit, LimitExceeded, RetryTime};
use tintype_service::{KeyError, ServiceError as E, WatcherScope};

use super::{CredentialsError, Problem, SERVER_RETRY_AFTER_S, whole_seconds};
use crate::connection::ConnectionProblem;
use crate::idempotency;
use crate::json::{BODY_TIMEOUT, BodyEncodingError};
use crate::params::NAME_CHARS;

impl Problem {
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Service(error) | Self::Job(_, error) => service_detail(error),
            Self::Credentials(error) => credentials_detail(*error).into(),
            Self::NotFound => "The path does not exist. Generate images with `GET /generate?prompt=…` or \
                               `POST /v1/images`; `GET /docs` describes all paths."
                .into(),
            Self::UnknownPath(path) => path.detail(),
            Self::MethodNotAllowed(allowed) => {
                format!("The path does not support the method of the request; supported: {allowed}.")
            }
            Self::GetDisabled => {
                "The operator of this server disabled generation by GET; use `POST /v1/images`.".into()
            }
            Self::Prefetch => {
                "Generation costs engine time, so tintype rejects prefetch requests. Open the link \
                               to generate the image."
                    .into()
            }
            Self::CrossSite => "The request was sent by a page of another site and carries no API key. Open \
                                the link in a new tab, or send the request with an API key, which \
                                `tintype keys create` makes. A page on the server's own origin (setting \
                                `public_url`) needs no API key."
                .into(),
            Self::WrongHost => {
                "The `Host` header is neither a loopback name with the port of this server nor \
                                the host of its public URL. If clients use this name, start the server with \
                                `--public-url` (setting `public_url`) and the origin that they use."
                    .into()
            }
            Self::NotJson(None) => {
                "The request has no content type; send JSON with `Content-Type: application/json`.".into()
            }
            Self::NotJson(Some(received)) => format!(
                "The content type of the request is `{}`; send JSON with `Content-Type: application/json`.",
                shortened(received)
            ),
            Self::UnsupportedContentEncoding(encoding) => format!(
                "The content encoding `{encoding}` of the request body is not supported; compress the body with \
                 `gzip`, or send it uncompressed."
            ),
            Self::BodyTimeout => {
                format!("The request body did not arrive within {} s.", BODY_TIMEOUT.as_secs())
            }
            Self::BodyTooLarge(limit) => {
                format!(
                    "The request body exceeds the limit of {} bytes; send a shorter body.",
                    grouped(*limit)
                )
            }
            Self::ResponseTooLarge => {
                "The images were generated, but their files exceed the response size limit \
                                       of AWS Lambda. Request links instead of files."
                    .into()
            }
            Self::MalformedJson(reason) => {
                format!("The request body is not a JSON object, such as `{{\"name\": \"value\"}}`: {reason}.")
            }
            Self::BodyEncoding(error) => encoding_detail(error),
            Self::IncompleteBody => "The connection broke before the end of the request body.".into(),
            Self::Invocation(error) => format!("The invocation is invalid: {error}."),
            Self::InvalidIdempotencyKey => format!(
                "The `Idempotency-Key` header must be sent once and have 1 to {} visible ASCII characters.",
                idempotency::MAX_CHARS
            ),
            Self::ImagesPending(_) => "The job has no images yet, because it has not ended.".into(),
            Self::StillGenerating(id) => format!(
                "The time budget of the request ended before the images were complete. The job continues; \
                 read `GET /v1/images/{id}`. A repeated request returns the images of this job only if it \
                 has the same `seed` or `Idempotency-Key`, or is an automatic retry of an SDK."
            ),
            Self::UnknownModel(name) => unknown_model(name),
            Self::Connection(problem) => connection_detail(*problem),
            Self::Internal => INTERNAL.into(),
        }
    }
}

fn unknown_model(name: &str) -> String {
    let name = shortened(name);
    format!("The model `{name}` does not exist; `GET /v1/models` lists the available models.")
}

/// The beginning of a client's text.
fn shortened(text: &str) -> String {
    text.chars().take(NAME_CHARS).collect()
}

fn encoding_detail(error: &BodyEncodingError) -> String {
    match error {
        BodyEncodingError::Utf16 => {
            "The request body is encoded as UTF-16 or UTF-32; send the JSON text in UTF-8.".into()
        }
        BodyEncodingError::NotUtf8 { position, charset: Some(charset) } => format!(
            "The request body is encoded as `{charset}`: the byte at position {position} is not UTF-8. Send the \
             JSON text in UTF-8."
        ),
        BodyEncodingError::NotUtf8 { position, charset: None } => format!(
            "The request body is not encoded as UTF-8, but perhaps as GBK or Latin-1: the byte at position \
             {position} is not UTF-8. Send the JSON text in UTF-8."
        ),
        BodyEncodingError::InvalidGzip => {
            "The request body is not complete gzip data, although its content encoding is `gzip`.".into()
        }
    }
}

const INTERNAL: &str =
    "The request failed on the server. The cause is in the server log under the request id.";

fn connection_detail(problem: ConnectionProblem) -> String {
    match problem {
        ConnectionProblem::InvalidUrlByte(byte) => {
            let shown = if byte.is_ascii_graphic() || byte == b' ' {
                format!("character `{}`", char::from(byte))
            } else {
                format!("byte 0x{byte:02X}")
            };
            format!(
                "The URL has the {shown}, which a URL must not have: send it percent-encoded, as \
                 `%{byte:02X}`, and other text as percent-encoded UTF-8. With curl, use \
                 `-G --data-urlencode 'prompt=…'`."
            )
        }
        ConnectionProblem::MalformedRequest => {
            "The request line or a header is malformed, so the request is not HTTP/1.1.".into()
        }
        ConnectionProblem::UrlTooLong => {
            "The URL exceeds 65,534 bytes; send the parameters as the JSON body \
                                          of `POST /v1/images`."
                .into()
        }
        ConnectionProblem::HeadersTooLarge => {
            "The request has more than 100 headers, or its headers exceed 400 kB.".into()
        }
        ConnectionProblem::HeaderTimeout(timeout) => format!(
            "The headers of the request did not arrive within {} s; the setting `header_timeout` of the server \
             has this limit.",
            timeout.as_secs()
        ),
        ConnectionProblem::TooManyConnections => format!(
            "The server has its maximum number of connections (setting `max_connections`); retry in \
             {SERVER_RETRY_AFTER_S} s."
        ),
    }
}

fn credentials_detail(error: CredentialsError) -> &'static str {
    match error {
        CredentialsError::Forwarded => {
            "The request carries no API key, and a proxy forwarded it. Without an API key, this server accepts \
             only direct requests from its own machine. To serve requests through a proxy, create an API key with \
             `tintype keys create`, or set `public_url` and `allow_anonymous`."
        }
        CredentialsError::Conflicting => "The request carries two different API keys; send one.",
        CredentialsError::UnsupportedScheme => {
            "The `Authorization` header does not have the scheme `Bearer`. Send the API key as \
             `Authorization: Bearer KEY` or `x-api-key: KEY`."
        }
        CredentialsError::InvalidCharacters => "The API key has characters that are not visible ASCII.",
    }
}

fn service_detail(error: &E) -> String {
    match error {
        E::Invalid(violations) => match violations.as_slice() {
            [violation] => format!("{violation}."),
            several => format!("{} invalid parameters; see `errors`.", several.len()),
        },
        E::Unauthenticated(error) => match error {
            KeyError::Missing => {
                "The request carries no API key. Send one as `Authorization: Bearer KEY` or `x-api-key: KEY`. \
                 The operator of the server creates API keys with `tintype keys create`, or allows requests \
                 without one with the setting `allow_anonymous`."
            }
            KeyError::Malformed => "The API key is malformed: a key begins with `tt_` and has 52 characters.",
            KeyError::Unknown => "The API key is unknown.",
            KeyError::Expired => "The API key has expired.",
            KeyError::Revoked => "The API key was revoked.",
            KeyError::InvalidToken => {
                "The `token` of the event URL is not valid for this job, or its API key was revoked, or the job was \
                 deleted. Use the `events_url` of the job as it is."
            }
            KeyError::ExpiredToken => {
                "The `token` of the event URL has expired; `GET /v1/images/{id}` returns a new `events_url`."
            }
        }
        .into(),
        E::NotAdmin => "This call requires an API key with admin rights.".into(),
        E::LimitExceeded(refusal) => limit_detail(&refusal.exceeded),
        E::Unpriced(currency) => format!(
            "The API key has a budget in {currency}, but the model has no price in {currency}. The operator must \
             set a price of the model in {currency} or issue another API key."
        ),
        E::QueueFull { retry_after } => {
            format!("The queue is full; retry in about {} s.", whole_seconds(*retry_after))
        }
        E::TooManyWatchers { scope, limit } => {
            let (whose, setting) = match scope {
                WatcherScope::Job => ("The job has", "watchers_per_job"),
                WatcherScope::Owner => ("The jobs of the owner have", "watchers_per_owner"),
            };
            format!(
                "{whose} {limit} open event streams, the maximum (setting `{setting}`); close one, or poll \
                 `GET /v1/images/{{id}}`."
            )
        }
        E::IdempotencyConflict => {
            "The idempotency key was used for another request in the last 24 hours. Send \
                                   each request with its own key."
                .into()
        }
        E::NotFound(kind) => format!("The {kind} does not exist or belongs to another owner."),
        E::NoPictures => "The job ended without images.".into(),
        E::Canceled => "The job was canceled before its images were complete.".into(),
        E::UnknownModel(name) => unknown_model(name),
        E::ModelNotAllowed(name) => format!(
            "The API key is not allowed to use the model `{name}`; `GET /v1/models` lists the models that it can use."
        ),
        E::NotReady => format!("The model is still loading; retry in {SERVER_RETRY_AFTER_S} s."),
        E::NoEngine => "The model could not be loaded. The cause is in the server log.".into(),
        E::Draining => format!(
            "The server is shutting down and did not complete the request; retry in {SERVER_RETRY_AFTER_S} s."
        ),
        E::Abandoned => "The job was stopped because no client waited for it; send the request again.".into(),
        E::Failed(failure) => failure_detail(failure.reason, failure.upstream_error.as_ref()),
        E::Ledger(error) if matches!(**error, ledger::Error::StorageFull(_)) => format!(
            "The ledger is unavailable because its disk is full. The operator must free disk space; retry in \
             {SERVER_RETRY_AFTER_S} s."
        ),
        E::Ledger(error) if error.is_transient() => format!(
            "The ledger is unavailable; retry in {SERVER_RETRY_AFTER_S} s. The cause is in the server log \
             under the request id."
        ),
        E::Ledger(_) | E::Store(_) | E::Panicked(_) => INTERNAL.into(),
    }
}

fn limit_detail(exceeded: &LimitExceeded) -> String {
    match (exceeded.limit, exceeded.retry) {
        (limit, RetryTime::Never) => {
            format!("This request alone needs more than the API key's {limit}, so it can never be accepted.")
        }
        (Limit::Rate(rate), _) => format!(
            "The API key's rate limit of {rate} is exceeded; retry after the time in the `Retry-After` header."
        ),
        (Limit::Concurrency(limit), _) => format!(
            "The API key has reached its limit of {limit} queued or running jobs at the same time; retry after a \
             job has ended."
        ),
        (Limit::Budget(budget), _) => format!(
            "The remainder of the API key's budget of {budget} does not cover the estimated cost of the request; \
             retry after the time in the `Retry-After` header."
        ),
    }
}

/// The detail of a failed job; `upstream_error` is the error of a remote engine.
pub(crate) fn failure_detail(reason: Reason, upstream_error: Option<&UpstreamError>) -> String {
    match upstream_error {
        Some(UpstreamError { status: Some(status), message, .. }) if message.is_empty() => {
            format!("The model failed with status {status}. Its message is in the server log.")
        }
        Some(UpstreamError { status: Some(status), message, .. }) => {
            format!("The model rejected the request with status {status}: {message}")
        }
        Some(UpstreamError { message, .. }) if !message.is_empty() => {
            format!("The model returned no image: {message}.")
        }
        _ => reason_detail(reason).to_owned(),
    }
}

fn reason_detail(reason: Reason) -> &'static str {
    match reason {
        Reason::Engine => "The engine failed. The cause is in the server log.",
        Reason::NotFinite => {
            "The model computed NaN or infinity instead of an image. Nothing was charged. The same request with \
             the same seed fails again; change `seed`, `prompt` or `guidance`. The server log names the component."
        }
        Reason::Store => "The images could not be stored. The cause is in the server log.",
        Reason::StoreFull => {
            "The image store is full, so the images could not be stored. Nothing was charged. The operator must \
             make room in the store; send the request again later."
        }
        Reason::EngineUnavailable => {
            "The server cannot call the remote engine, so no image was generated and nothing was charged. The \
             cause is in the server log; the operator must correct the credentials, the region or the endpoint \
             of the model."
        }
        Reason::UnreadableRecord => {
            "The stored record of the job was damaged, so an operator ended the job. Nothing was charged; send \
             the request again."
        }
        Reason::Crashed => "The server process stopped several times while it ran the job.",
        Reason::Deadline => "The job did not finish before its deadline.",
        Reason::Overrun => {
            "The job was stopped: it took twice the engine time that was reserved from the API key's budget, or \
             reached the server's time limit for a job."
        }
        Reason::Busy => "The engine is busy. No image was generated and nothing was charged; retry later.",
        Reason::Model => "The model returned an error.",
        Reason::OutcomeUnknown => {
            "The engine accepted the job, but no response arrived: the connection broke or the call timed \
             out. The images may have been generated, so the job is not repeated, to avoid a second charge."
        }
    }
}

/// A number with its digits in groups of three: `65,536`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        let full = ledger::Error::StorageFull(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        let problem = Problem::from(E::from(full));
        assert_eq!(problem.kind().status.as_u16(), 503);
        assert_eq!(problem.kind().title, "Ledger unavailable: disk full");
        assert!(problem.detail().contains("disk is full"), "{}", problem.detail());
        assert_eq!(problem.retry_after(), Some(SERVER_RETRY_AFTER_S));
    }

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (6 << 20, "6,291,456")] {
            assert_eq!(grouped(number), text);
        }
    }
}
