//! The bucket with the function's code. It is outside the stack, because it must exist before the stack does.

use sha2::{Digest, Sha256};

use crate::account::{Aws, Identity};
use crate::bucket::Bucket;
use crate::plan::StackName;

impl Aws {
    /// The artifact bucket of a stack. The bucket may not exist.
    pub(crate) fn artifacts(&self, stack: &StackName, identity: &Identity) -> Bucket<'_> {
        let name = name(&identity.account, &self.region, stack);
        Bucket { client: &self.s3, name, owner: identity.account.clone() }
    }
}

/// The bucket's name. Bucket names are unique worldwide, in lower case, and have at most 63 characters;
/// therefore the name contains a part of the hash of the stack's name.
pub(crate) fn name(account: &str, region: &str, stack: &StackName) -> String {
    let hash = hex::encode(&Sha256::digest(stack.as_str())[..4]);
    format!("tintype-code-{account}-{region}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_valid_and_distinct() {
        let stack = |name: &str| name.parse::<StackName>().expect("a name");
        let one = name("123456789012", "ap-southeast-7", &stack(&"A".repeat(64)));
        assert!(one.len() <= 63, "{one}");
        assert!(one.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        assert_ne!(one, name("123456789012", "ap-southeast-7", &stack("a")));
        assert_eq!(one, name("123456789012", "ap-southeast-7", &stack(&"A".repeat(64))));
    }
}
