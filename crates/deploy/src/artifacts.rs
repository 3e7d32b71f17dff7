//! The bucket outside the stack that holds the function's code, which must be there before the stack is.

use sha2::{Digest, Sha256};

use crate::account::{Aws, Identity};
use crate::bucket::Bucket;
use crate::plan::StackName;

impl Aws {
    /// The artefact bucket of a stack, whether it is there or not.
    pub(crate) fn artefacts(&self, stack: &StackName, identity: &Identity) -> Bucket<'_> {
        let name = name(&identity.account, &self.region, stack);
        Bucket { client: &self.s3, name, owner: identity.account.clone() }
    }
}

/// The bucket's name. All buckets in the world share one space of names, of lower case and at most 63 characters: so the stack's name is
/// in it as a few digits of its hash.
pub(crate) fn name(account: &str, region: &str, stack: &StackName) -> String {
    let hash = hex::encode(&Sha256::digest(stack.as_str())[..4]);
    format!("tintype-code-{account}-{region}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_buckets_name_and_differ() {
        let stack = |name: &str| name.parse::<StackName>().expect("a name");
        let one = name("123456789012", "ap-southeast-7", &stack(&"A".repeat(64)));
        assert!(one.len() <= 63, "{one}");
        assert!(one.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        assert_ne!(one, name("123456789012", "ap-southeast-7", &stack("a")));
        assert_eq!(one, name("123456789012", "ap-southeast-7", &stack(&"A".repeat(64))));
    }
}
