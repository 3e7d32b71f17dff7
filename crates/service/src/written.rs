//! What the ledger keeps of a request, and when two requests are the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_core::request::{GenerateRequest, Seed};
use tintype_ledger::id::{Fingerprint, Worker};
use tintype_ledger::job::JobRecord;

/// A job's request as it is written into the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The model that it was checked for.
    pub(crate) model: String,
    pub(crate) request: GenerateRequest,
    /// The process in which its client waits; without it, it is made whether anybody waits or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attended_in: Option<Worker>,
    /// It is paid from a budget, so it stops at twice what was reserved for it.
    #[serde(default)]
    pub(crate) capped: bool,
}

impl Written {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("plain data")
    }

    /// `None` if the record is erased, or of a form that this program does not know.
    pub(crate) fn read(job: &JobRecord) -> Option<Self> {
        Self::deserialize(&job.request).ok()
    }
}

/// What makes two requests one: everything that a client asked for, without what we drew ourselves and without what concerns
/// the link only. A retry has the fingerprint of the first try.
pub(crate) fn fingerprint(model: &str, request: &GenerateRequest) -> Fingerprint {
    let mut same = request.clone();
    if let Seed::Drawn(_) = same.seed {
        same.seed = Seed::Drawn(0);
    }
    same.expires_in = Duration::ZERO;
    Fingerprint::of(&serde_json::to_vec(&(model, same)).expect("plain data"))
}

#[cfg(test)]
mod tests {
    use tintype_core::engine::Model;
    use tintype_core::request::{Draft, Limits};

    use super::*;

    fn request(draft: Draft, fresh_seed: u32) -> GenerateRequest {
        let model = Model { name: "test".into(), width: 64, height: 64, steps: 4, guidance: 1.0 };
        let draft = Draft { prompt: Some("x".into()), ..draft };
        draft.check(&model, &Limits::for_model(&model), fresh_seed).expect("valid")
    }

    fn same_as(draft: Draft, fresh_seed: u32) -> Fingerprint {
        fingerprint("test", &request(draft, fresh_seed))
    }

    #[test]
    fn a_seed_counts_only_if_the_client_chose_it() {
        let drawn = same_as(Draft::default(), 1);
        assert_eq!(drawn, same_as(Draft::default(), 2));
        let chosen = |seed| same_as(Draft { seed: Some(seed), ..Draft::default() }, 1);
        assert_eq!(chosen(0), chosen(0));
        assert_ne!(chosen(0), chosen(1));
        assert_ne!(chosen(0), drawn);
    }

    #[test]
    fn the_links_life_does_not_count_and_the_rest_does() {
        let first = same_as(Draft::default(), 1);
        assert_eq!(first, same_as(Draft { expires_in: Some(60), ..Draft::default() }, 1));
        assert_eq!(first, same_as(Draft { width: Some(64), ..Draft::default() }, 1), "a default written out");
        assert_ne!(first, same_as(Draft { steps: Some(5), ..Draft::default() }, 1));
        assert_ne!(first, same_as(Draft { negative_prompt: Some("y".into()), ..Draft::default() }, 1));
        assert_ne!(first, fingerprint("another model", &request(Draft::default(), 1)));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let request = request(Draft { seed: Some(7), guidance: Some(7.3), ..Draft::default() }, 1);
        let attended_in = "here".parse().ok();
        let written = Written { model: "test".into(), request, attended_in, capped: true };
        assert_eq!(Written::deserialize(&written.to_value()).expect("readable"), written);
    }
}
