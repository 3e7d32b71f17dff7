//! The stored form of a request, and its fingerprint.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_core::engine::EngineInfo;
use tintype_core::request::{GenerateRequest, Seed};
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::JobRecord;

/// A job's request in the ledger's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredRequest {
    /// The model that the request was checked for.
    pub(crate) model: String,
    pub(crate) request: GenerateRequest,
    /// Maximum engine time in milliseconds, if a budget pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cap_ms: Option<u64>,
}

impl StoredRequest {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("plain data serializes")
    }

    /// `None` if the record was erased or has an unknown format.
    pub(crate) fn read(job: &JobRecord) -> Option<Self> {
        Self::deserialize(&job.request).ok()
    }
}

/// The fingerprint of identical requests. It covers the model and all parameters except a seed that the
/// server chose and the validity of the URLs. A retry has the fingerprint of the first attempt.
pub(crate) fn fingerprint(engine: &EngineInfo, request: &GenerateRequest) -> Fingerprint {
    let mut same = request.clone();
    if let Seed::Random(_) = same.seed {
        same.seed = Seed::Random(0);
    }
    same.expires_in = Duration::ZERO;
    Fingerprint::of(
        &serde_json::to_vec(&(&engine.model.name, &engine.revision, &engine.numerics, same))
            .expect("plain data serializes"),
    )
}

#[cfg(test)]
mod tests {
    use tintype_core::engine::Engine;
    use tintype_core::request::{Draft, RequestLimits};
    use tintype_testing::NullEngine;

    use super::*;

    fn engine() -> NullEngine {
        NullEngine::new(Duration::ZERO)
    }

    fn request(draft: Draft, fresh_seed: u32) -> GenerateRequest {
        let draft = Draft { prompt: Some("x".into()), ..draft };
        let engine = engine();
        draft.check(engine.model(), &RequestLimits::for_model(engine.model()), fresh_seed).expect("valid")
    }

    fn same_as(draft: Draft, fresh_seed: u32) -> Fingerprint {
        fingerprint(engine().info(), &request(draft, fresh_seed))
    }

    #[test]
    fn the_fingerprint_has_the_seed_only_if_the_client_chose_it() {
        let drawn = same_as(Draft::default(), 1);
        assert_eq!(drawn, same_as(Draft::default(), 2));
        let chosen = |seed| same_as(Draft { seed: Some(seed), ..Draft::default() }, 1);
        assert_eq!(chosen(0), chosen(0));
        assert_ne!(chosen(0), chosen(1));
        assert_ne!(chosen(0), drawn);
    }

    #[test]
    fn the_fingerprint_ignores_the_links_expiry_only() {
        let first = same_as(Draft::default(), 1);
        assert_eq!(first, same_as(Draft { expires_in: Some(60), ..Draft::default() }, 1));
        assert_eq!(first, same_as(Draft { width: Some(64), ..Draft::default() }, 1), "a default written out");
        assert_ne!(first, same_as(Draft { steps: Some(5), ..Draft::default() }, 1));
        assert_ne!(first, same_as(Draft { negative_prompt: Some("y".into()), ..Draft::default() }, 1));
        let other_weights = engine().with_revision("other");
        assert_ne!(first, fingerprint(other_weights.info(), &request(Draft::default(), 1)));
    }

    #[test]
    fn a_stored_request_is_read_back() {
        let request = request(Draft { seed: Some(7), guidance: Some(7.3), ..Draft::default() }, 1);
        let stored = StoredRequest { model: "test".into(), request, cap_ms: Some(5) };
        assert_eq!(StoredRequest::deserialize(&stored.to_value()).expect("readable"), stored);
    }
}
