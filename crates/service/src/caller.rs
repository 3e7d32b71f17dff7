//! The authenticated caller of a request.

use tintype_ledger::id::{KeyId, OwnerId};
use tintype_ledger::key::KeyRecord;
use tintype_ledger::policy::Policy;

/// Owner and key id of requests without an API key.
const ANONYMOUS: &str = "anonymous";

/// The authenticated caller and its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The owner of the caller's jobs and images.
    pub owner: OwnerId,
    /// The key whose quotas apply and whose budget is charged.
    pub key: KeyId,
    /// The key's display name.
    pub name: String,
    /// The key's quotas.
    pub policy: Policy,
    /// Whether the caller can manage keys and read metrics.
    pub admin: bool,
    /// The caller is one of many unauthenticated users of a public service, who share one owner. Such
    /// callers cannot list, cancel or delete jobs, and never receive another caller's job.
    pub is_anonymous_public: bool,
}

impl Caller {
    /// A caller without a key on a trusted machine. All such callers are one owner without quotas.
    pub fn anonymous() -> Self {
        Self {
            owner: ANONYMOUS.parse().expect("a valid name"),
            key: ANONYMOUS.parse().expect("a valid name"),
            name: ANONYMOUS.to_owned(),
            policy: Policy::default(),
            admin: false,
            is_anonymous_public: false,
        }
    }

    /// Whether the caller can use the model with this name.
    pub fn may_use(&self, model: &str) -> bool {
        self.policy.allows_model(model)
    }

    /// Whether the caller has no API key.
    pub fn is_anonymous(&self) -> bool {
        self.key.as_str() == ANONYMOUS
    }

    /// A caller without a key on a public service.
    pub(crate) fn anonymous_public() -> Self {
        Self { is_anonymous_public: true, ..Self::anonymous() }
    }
}

impl From<KeyRecord> for Caller {
    fn from(record: KeyRecord) -> Self {
        let KeyRecord { id, owner, name, policy, admin, .. } = record;
        Self { owner, key: id, name, policy, admin, is_anonymous_public: false }
    }
}
