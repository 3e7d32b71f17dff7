//! Why a signature does not count, in AWS's words.

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no `Authorization` header, or it is of another kind.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header is not complete, or a part of it cannot be read.
    #[error("{0}")]
    Incomplete(&'static str),
    /// No such access key, or a session token, of which we give out none.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The scope names another service, or another day than the request's.
    #[error("{0}")]
    Scope(&'static str),
    /// Signed too long ago, or in the future.
    #[error("Signature expired: the request was signed at {signed}, more than 15 minutes from now, {now}")]
    Expired {
        /// The time that the request gives.
        signed: String,
        /// Our time.
        now: String,
    },
    /// A header that must be covered by the signature is not.
    #[error("The header {0} must be signed.")]
    UnsignedHeader(String),
    /// The signature is not that of this request.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

impl SignatureError {
    /// AWS's name for the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::Scope(_) | Self::Expired { .. } | Self::UnsignedHeader(_) | Self::Mismatch => {
                "InvalidSignatureException"
            }
        }
    }
}
