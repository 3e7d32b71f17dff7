//! Why a request was refused or failed.

use std::error::Error;

use http::StatusCode;

/// Why a request was refused or failed. The texts may be shown to the caller who chose the URL: they never contain an
/// address to which a name resolves. The sources are for the log only.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL, or the URL of a redirect, is not accepted.
    #[error(transparent)]
    InvalidUrl(#[from] UrlProblem),
    /// The URL leads to an address that is not public, directly or by its host name.
    #[error("the URL leads to an address that is not allowed")]
    ForbiddenAddress,
    /// The host name has no address, or the name server did not answer.
    #[error("the host name cannot be resolved")]
    Unresolvable(#[source] Option<Box<dyn Error + Send + Sync>>),
    /// The server cannot be reached, its certificate is invalid, or the connection broke.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// The response's headers are too large or too many.
    #[error("the response's headers are too large")]
    HeadersTooLarge,
    /// The response's body is larger than the limit.
    #[error("the response is too large (limit {limit} bytes)")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The connection or the response took too long.
    #[error("the request timed out")]
    TimedOut,
    /// There were more redirects than allowed.
    #[error("too many redirects (limit {limit})")]
    TooManyRedirects {
        /// The limit.
        limit: u32,
    },
    /// An `https` URL redirects to an `http` URL.
    #[error("the URL redirects from https to http")]
    InsecureRedirect,
    /// The response's status is not a success.
    #[error("the server responded with status {}", .0.as_u16())]
    Status(StatusCode),
}

/// Why a URL is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// The text is no URL with a host, or is too long.
    #[error("the URL is invalid")]
    Malformed,
    /// The scheme is not allowed.
    #[error("the URL's scheme is not allowed; use https")]
    Scheme,
    /// The URL contains a user name or a password.
    #[error("the URL must not contain a user name or a password")]
    UserInfo,
    /// The port is not allowed.
    #[error("the URL's port {0} is not allowed")]
    Port(u16),
}
