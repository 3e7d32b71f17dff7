//! A checked request with its options: idempotency, reuse of existing jobs, deadline.

use std::time::Duration;

use tintype_core::request::GenerateRequest;
use tintype_ledger::accept::Idempotency;
use tintype_ledger::id::Fingerprint;

/// A checked request and how to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The name or an alias of the model for which the request was checked; `None` for the default model.
    pub model: Option<String>,
    /// The images to generate.
    pub request: GenerateRequest,
    /// The idempotency key: requests with the same key are one job.
    pub idempotency: Option<Idempotency>,
    /// Join an identical unfinished job even if the request has no seed.
    pub coalesce: bool,
    /// The client retries a request without having received the response; the images of the first attempt
    /// can be returned.
    pub retry: bool,
    /// The job continues after all clients disconnect; the client fetches the result later.
    pub detached: bool,
    /// The job fails if it has not ended after this time.
    pub deadline: Option<Duration>,
}

impl Submission {
    /// A submission whose client waits, with no reuse and no deadline.
    pub fn new(request: GenerateRequest) -> Self {
        Self {
            model: None,
            request,
            idempotency: None,
            coalesce: false,
            retry: false,
            detached: false,
            deadline: None,
        }
    }

    /// Adds an idempotency key. `body` is the request as the client sent it, in a canonical form, so that a
    /// repeated request has the same bytes.
    #[must_use]
    pub fn with_idempotency_key(self, key: String, body: &[u8]) -> Self {
        Self { idempotency: Some(Idempotency { key, body: Fingerprint::of(body) }), ..self }
    }

    /// Whether the job continues when no client waits for it.
    pub(crate) fn survives_disconnect(&self) -> bool {
        self.detached || self.idempotency.is_some()
    }
}
