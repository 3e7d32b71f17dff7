//! Credentials that end, and with them the links that they signed, whatever those say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};

/// How long credentials work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Term {
    /// Until somebody takes them back, or nobody has asked for them yet.
    #[default]
    Lasting,
    /// Until then.
    Until(SystemTime),
    /// They are a session's, and nothing says when it ends: so it is on Lambda.
    Unknown,
}

/// The term of the credentials that were used last.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastTerm(Arc<Mutex<Term>>);

impl LastTerm {
    pub(crate) fn get(&self) -> Term {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, credentials: &Credentials) {
        let term = match (credentials.expiry(), credentials.session_token()) {
            (Some(end), _) => Term::Until(end),
            (None, Some(_)) => Term::Unknown,
            (None, None) => Term::Lasting,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = term;
    }
}

impl Term {
    /// How long a link may live that is signed now and is to live for `asked`; `cap` is the most where nothing says when the
    /// credentials end. In whole seconds, as links have it.
    pub(crate) fn life(self, asked: Duration, cap: Duration) -> Duration {
        let most = match self {
            Self::Lasting => return asked,
            Self::Unknown => cap,
            Self::Until(end) => end.duration_since(SystemTime::now()).unwrap_or_default(),
        };
        Duration::from_secs(asked.min(most).as_secs().max(1))
    }
}

/// Hands credentials on and remembers how long they work.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: SharedCredentialsProvider,
    last: LastTerm,
}

impl Watched {
    pub(crate) fn new(inner: SharedCredentialsProvider, last: LastTerm) -> Self {
        Self { inner, last }
    }

    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let credentials = self.inner.provide_credentials().await?;
        self.last.note(&credentials);
        Ok(credentials)
    }
}

impl ProvideCredentials for Watched {
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
    fn a_link_lives_no_longer_than_its_credentials() {
        let day = HOUR * 24;
        assert_eq!(Term::Lasting.life(day, HOUR), day);
        assert_eq!(Term::Unknown.life(day, HOUR), HOUR);
        assert_eq!(Term::Unknown.life(HOUR / 2, HOUR), HOUR / 2);
        let left = Term::Until(SystemTime::now() + HOUR * 2).life(day, HOUR);
        assert!(left <= HOUR * 2 && left > HOUR, "{left:?}");
        let over = Term::Until(SystemTime::now() - HOUR).life(day, HOUR);
        assert_eq!(over, Duration::from_secs(1), "a link of no time cannot be signed");
    }
}
