//! What a client asks for beyond the picture itself: whether it waits, and what may answer instead of new work.

use std::time::Duration;

use tintype_core::request::GenerateRequest;
use tintype_ledger::accept::Idempotency;
use tintype_ledger::id::Fingerprint;

/// A checked request and how it is to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// What is to be made.
    pub request: GenerateRequest,
    /// The client's word that this is one request however often it is sent.
    pub idempotency: Option<Idempotency>,
    /// An identical request in flight will do, though no seed was given.
    pub coalesce: bool,
    /// The client's own second try at a request whose answer did not reach it: what the first one has made will do.
    pub retry: bool,
    /// The work goes on if everybody hangs up: the result is fetched later.
    pub detached: bool,
    /// Given up if it has not ended after so long.
    pub deadline: Option<Duration>,
}

impl Submission {
    /// Made while the client waits, and by itself.
    pub fn new(request: GenerateRequest) -> Self {
        Self { request, idempotency: None, coalesce: false, retry: false, detached: false, deadline: None }
    }

    /// The same under an idempotency key; `body` is the request as the client sent it, in any form that is the same
    /// when the same is sent again.
    #[must_use]
    pub fn with_idempotency_key(self, key: String, body: &[u8]) -> Self {
        Self { idempotency: Some(Idempotency { key, body: Fingerprint::of(body) }), ..self }
    }

    /// Nobody has to wait for it to be worth making.
    pub(crate) fn survives_disconnect(&self) -> bool {
        self.detached || self.idempotency.is_some()
    }
}
