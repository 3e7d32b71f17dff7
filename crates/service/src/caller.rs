//! Who asks.

use tintype_ledger::id::{KeyId, OwnerId};
use tintype_ledger::key::KeyRecord;
use tintype_ledger::policy::Policy;

/// The name under which requests without a key are booked.
const ANONYMOUS: &str = "anonymous";

/// Who asks, and what they may. Whoever holds one has been let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose jobs and pictures these are.
    pub owner: OwnerId,
    /// Whose limits hold, and who pays.
    pub key: KeyId,
    /// What people call the key.
    pub name: String,
    /// The key's limits.
    pub policy: Policy,
    /// May manage keys.
    pub admin: bool,
    /// One of many strangers who are booked as one: what the others have asked for is none of this one's business.
    pub is_anonymous_public: bool,
}

impl Caller {
    /// Somebody without a key, where that is allowed: all of them are one owner, without limits.
    pub fn anonymous() -> Self {
        Self::without_key(false)
    }

    pub(crate) fn without_key(is_anonymous_public: bool) -> Self {
        Self {
            owner: ANONYMOUS.parse().expect("letters are a name"),
            key: ANONYMOUS.parse().expect("letters are a name"),
            name: ANONYMOUS.to_owned(),
            policy: Policy::default(),
            admin: false,
            is_anonymous_public,
        }
    }
}

impl From<KeyRecord> for Caller {
    fn from(record: KeyRecord) -> Self {
        let KeyRecord { id, owner, name, policy, admin, .. } = record;
        Self { owner, key: id, name, policy, admin, is_anonymous_public: false }
    }
}
