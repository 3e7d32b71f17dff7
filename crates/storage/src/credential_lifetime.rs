//! The lifetime of credentials, which limits the lifetime of the links that they sign.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};

/// How long credentials are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CredentialLifetime {
    /// They do not expire, or have not been loaded yet.
    #[default]
    Unlimited,
    /// They expire at this time.
    Until(SystemTime),
    /// They belong to a session whose end is unknown, as on Lambda.
    Unknown,
}

/// The lifetime of the credentials that were used last.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastCredentialLifetime(Arc<Mutex<CredentialLifetime>>);

impl LastCredentialLifetime {
    pub(crate) fn get(&self) -> CredentialLifetime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, credentials: &Credentials) {
        let lifetime = match (credentials.expiry(), credentials.session_token()) {
            (Some(end), _) => CredentialLifetime::Until(end),
            (None, Some(_)) => CredentialLifetime::Unknown,
            (None, None) => CredentialLifetime::Unlimited,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lifetime;
    }
}

impl CredentialLifetime {
    /// The lifetime of a link that is signed now: `requested`, but no longer than the credentials are valid,
    /// or than `max_when_unknown` if their end is unknown. It is in whole seconds, as in links, and at least
    /// 1 s.
    pub(crate) fn limit_link(self, requested: Duration, max_when_unknown: Duration) -> Duration {
        let limit = match self {
            Self::Unlimited => return requested,
            Self::Unknown => max_when_unknown,
            Self::Until(end) => end.duration_since(SystemTime::now()).unwrap_or_default(),
        };
        Duration::from_secs(requested.min(limit).as_secs().max(1))
    }
}

/// Passes credentials on, and records their lifetime.
#[derive(Debug)]
pub(crate) struct TrackedCredentials {
    inner: SharedCredentialsProvider,
    last: LastCredentialLifetime,
}

impl TrackedCredentials {
    pub(crate) fn new(inner: SharedCredentialsProvider, last: LastCredentialLifetime) -> Self {
        Self { inner, last }
    }

    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let credentials = self.inner.provide_credentials().await?;
        self.last.record(&credentials);
        Ok(credentials)
    }
}

impl ProvideCredentials for TrackedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn credentials_limit_a_links_lifetime() {
        let day = HOUR * 24;
        assert_eq!(CredentialLifetime::Unlimited.limit_link(day, HOUR), day);
        assert_eq!(CredentialLifetime::Unknown.limit_link(day, HOUR), HOUR);
        assert_eq!(CredentialLifetime::Unknown.limit_link(HOUR / 2, HOUR), HOUR / 2);
        let left = CredentialLifetime::Until(SystemTime::now() + HOUR * 2).limit_link(day, HOUR);
        assert!(left <= HOUR * 2 && left > HOUR, "{left:?}");
        let expired = CredentialLifetime::Until(SystemTime::now() - HOUR).limit_link(day, HOUR);
        assert_eq!(expired, Duration::from_secs(1), "the SDK rejects a lifetime of 0 s");
    }
}
