//! The check of the `Host` header.
//!
//! A web page can make its own domain resolve to 127.0.0.1 and then read the responses of a local server (DNS
//! rebinding). Such a request still carries the page's domain as its host, so on loopback only the local
//! names are served.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;

use crate::link_warning::with_host;
use crate::problem::Problem;

/// The accepted `Host` headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// The server listens on loopback: `localhost`, `*.localhost`, `127.0.0.1` and `[::1]` with its port, and
    /// the host of its public URL.
    Loopback {
        /// The port that the server listens on.
        port: u16,
        /// The host and optional port of the public URL.
        public: Option<Authority>,
    },
    /// Every host: for a server on a network that requires API keys.
    Any,
}

impl HostPolicy {
    fn allows(&self, host: &Authority) -> bool {
        let Self::Loopback { port, public } = self else { return true };
        let name = host.host().to_ascii_lowercase();
        let is_loopback =
            matches!(name.as_str(), "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost");
        // Without a port the host is on port 80.
        if is_loopback && host.port_u16().unwrap_or(80) == *port {
            return true;
        }
        public.as_ref().is_some_and(|public| {
            public.host().eq_ignore_ascii_case(&name)
                && (public.port_u16().is_none() || public.port_u16() == host.port_u16())
        })
    }
}

/// Rejects requests whose host the policy does not allow.
pub(crate) async fn check_host(
    State(policy): State<Arc<HostPolicy>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let host = host(&request);
    let allowed = match &*policy {
        HostPolicy::Any => true,
        policy => host.as_ref().is_some_and(|host| policy.allows(host)),
    };
    if allowed { Ok(with_host(host, next.run(request)).await) } else { Err(Problem::WrongHost) }
}

/// The host of a request: that of the request line if it has one (always with HTTP/2), the single `Host`
/// header otherwise.
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(public: Option<&'static str>, port: u16, host: &str) -> bool {
        let policy = HostPolicy::Loopback { port, public: public.map(Authority::from_static) };
        policy.allows(&host.parse().expect("an authority"))
    }

    #[test]
    fn loopback_has_these_names() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LocalHost:8080", "b.localhost:8080"] {
            assert!(allows(None, 8080, host), "{host}");
        }
        for host in [
            "evil.example:8080",
            "localhost.evil.example:8080",
            "evillocalhost:8080",
            "127.0.0.1.evil.example:8080",
            "127.0.0.2:8080",
            "localhost:8081",
            "localhost",
        ] {
            assert!(!allows(None, 8080, host), "{host}");
        }
        assert!(allows(None, 80, "localhost"));
    }

    #[test]
    fn the_public_url_counts_too() {
        assert!(allows(Some("pictures.example"), 8080, "Pictures.example"));
        assert!(allows(Some("pictures.example"), 8080, "pictures.example:443"));
        assert!(allows(Some("pictures.example:8443"), 8080, "pictures.example:8443"));
        assert!(!allows(Some("pictures.example:8443"), 8080, "pictures.example"));
        assert!(!allows(Some("pictures.example"), 8080, "evil.example"));
    }
}
