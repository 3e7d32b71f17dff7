//! Why a signature is rejected, with AWS's codes and messages.

/// Why a signature is rejected. `Display` is the message that AWS's SDKs show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The `Authorization` header is missing, or has another scheme.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header is incomplete, or a part of it cannot be read.
    #[error("{0}")]
    Incomplete(&'static str),
    /// The access key is unknown, or the request has a session token, which this service does not issue.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The credential scope names another service, or another day than the request's.
    #[error("{0}")]
    Scope(&'static str),
    /// The request was signed more than 15 minutes ago, or for a time more than 15 minutes ahead.
    #[error(
        "Signature expired: the request was signed at {signed}, and the server's time is {now}. The difference \
         must be at most 15 minutes; check the client's clock."
    )]
    Expired {
        /// The request's time.
        signed: String,
        /// The server's time.
        now: String,
    },
    /// The signature does not cover a header that it must cover.
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
    /// AWS's code for the error.
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
