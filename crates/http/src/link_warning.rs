//! A warning in responses whose links cannot work for the client.
//!
//! If the operator has not set the public URL, links start with an address of the server's own machine. A
//! client that reached the server under another name cannot open such a link.

use std::net::IpAddr;

use axum::http::Uri;
use axum::http::uri::Authority;
use tintype_service::WarningMessage;

const CODE: &str = "unreachable_link";

tokio::task_local! {
    /// The host to which the current request was sent.
    static HOST: Option<Authority>;
}

/// Runs a request's handler, so that [`host`] returns the host of the request.
pub(crate) async fn with_host<F: Future>(host: Option<Authority>, handler: F) -> F::Output {
    HOST.scope(host, handler).await
}

/// The same for a part of a response that is created after the handler has returned.
pub(crate) fn with_host_sync<T>(host: Option<Authority>, create: impl FnOnce() -> T) -> T {
    HOST.sync_scope(host, create)
}

/// The host to which the current request was sent, if it named one.
pub(crate) fn host() -> Option<Authority> {
    HOST.try_with(Clone::clone).ok().flatten()
}

/// A warning if this link cannot work for the client of the current request; `origin` is the origin of links
/// to this server.
pub(crate) fn check_link(link: &str, origin: &str) -> Option<WarningMessage> {
    let host = host()?;
    let uri: Uri = link.parse().ok()?;
    let is_unreachable = is_loopback(uri.host()?) && !is_loopback(host.host());
    is_unreachable.then(|| {
        let setting = if link.starts_with(origin) { "public_url" } else { "s3_public_endpoint" };
        let flag = setting.replace('_', "-");
        let message = format!(
            "The links start with `{}://{}`, which only the machine of the server can open, but the request was \
             sent to `{host}`. Start the server with `--{flag}` (setting `{setting}`) and the origin that clients \
             use.",
            uri.scheme_str().unwrap_or("http"),
            uri.authority().map_or("", Authority::as_str),
        );
        WarningMessage { code: CODE.to_owned(), message }
    })
}

/// Whether only the machine itself can reach a host of this name.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let ip = host.parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "http://localhost:8080";

    fn check(link: &str, host: &str) -> Option<WarningMessage> {
        with_host_sync(Some(host.parse().expect("an authority")), || check_link(link, ORIGIN))
    }

    #[test]
    fn a_link_to_the_server_s_own_machine_is_reported_to_other_machines() {
        let link = "http://localhost:8080/tintype/x.jpg?X-Amz-Expires=300";
        for host in ["images.example", "host.docker.internal:8080", "192.168.1.5:8080", "[fd00::1]:8080"] {
            let warning = check(link, host).expect("a warning");
            assert_eq!(warning.code, CODE);
            for part in [host, "`http://localhost:8080`", "--public-url"] {
                assert!(warning.message.contains(part), "{}", warning.message);
            }
        }
        let remote = check("http://127.0.0.1:9000/bucket/x.jpg", "images.example").expect("a warning");
        assert!(remote.message.contains("--s3-public-endpoint"), "{}", remote.message);
    }

    #[test]
    fn a_link_that_can_work_is_not_reported() {
        for (link, host) in [
            ("http://localhost:8080/x", "localhost:8080"),
            ("http://localhost:8080/x", "127.0.0.1:8080"),
            ("http://localhost:8080/x", "app.localhost"),
            ("http://127.0.0.1:8080/x", "[::1]:8080"),
            ("https://images.example/x", "other.example"),
            ("http://192.168.1.5:8080/x", "server.lan:8080"),
            ("memory:images/x.jpg", "images.example"),
        ] {
            assert_eq!(check(link, host), None, "{link} {host}");
        }
        assert_eq!(check_link("http://localhost:8080/x", ORIGIN), None, "without a request");
    }
}
