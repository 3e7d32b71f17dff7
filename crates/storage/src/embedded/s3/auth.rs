//! The access key, for the verification of signatures.

use async_trait::async_trait;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Result, s3_error};

use crate::embedded::credentials::AccessKeys;

/// The service's only access key.
pub(super) struct Auth {
    id: String,
    secret: SecretKey,
}

impl Auth {
    pub(super) fn new(keys: &AccessKeys) -> Self {
        // `s3s` verifies signatures with the secret.
        Self { id: keys.id.clone(), secret: keys.secret.expose().into() }
    }
}

#[async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.id {
            return Ok(self.secret.clone());
        }
        Err(unknown_access_key(access_key))
    }
}

/// The error for another access key id than that of the service.
pub(in crate::embedded) fn unknown_access_key(id: &str) -> S3Error {
    s3_error!(
        InvalidAccessKeyId,
        "The access key id {id:?} does not exist. The file `credentials` in the data folder has the access key of this server."
    )
}
