//! A URL that a request may be sent to.

use std::net::IpAddr;

use http::HeaderValue;
use url::{Host, Url};

use crate::error::{OutboundError, UrlProblem};
use crate::policy::Policy;

/// Maximum length of a URL in bytes.
const MAX_LENGTH: usize = 8192;

/// A URL whose scheme, host name and port the policy accepts. The addresses of the host are checked later.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: Url,
    pub(crate) host: TargetHost,
    pub(crate) port: u16,
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetHost {
    /// An address, in whatever notation.
    Address(IpAddr),
    /// A host name in ASCII, without a dot at the end.
    Name(String),
}

impl Target {
    /// Parses a URL as browsers do (WHATWG), so that notations such as `http://2130706433/` are recognized as addresses.
    ///
    /// # Errors
    /// [`UrlProblem`].
    pub(crate) fn parse(text: &str, policy: &Policy) -> Result<Self, UrlProblem> {
        if text.len() > MAX_LENGTH {
            return Err(UrlProblem::Malformed);
        }
        Self::check(Url::parse(text).map_err(|_| UrlProblem::Malformed)?, policy)
    }

    /// The target of a redirect with this `Location`.
    ///
    /// # Errors
    /// [`OutboundError::InvalidUrl`], [`OutboundError::InsecureRedirect`].
    pub(crate) fn redirect(&self, location: &HeaderValue, policy: &Policy) -> Result<Self, OutboundError> {
        let location = std::str::from_utf8(location.as_bytes()).map_err(|_| UrlProblem::Malformed)?;
        if location.len() > MAX_LENGTH {
            return Err(UrlProblem::Malformed.into());
        }
        let url = self.url.join(location).map_err(|_| UrlProblem::Malformed)?;
        if self.is_https() && url.scheme() == "http" {
            return Err(OutboundError::InsecureRedirect);
        }
        Ok(Self::check(url, policy)?)
    }

    fn check(mut url: Url, policy: &Policy) -> Result<Self, UrlProblem> {
        match url.scheme() {
            "https" => {}
            "http" if policy.allow_http => {}
            _ => return Err(UrlProblem::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlProblem::UserInfo);
        }
        let host = match url.host() {
            Some(Host::Ipv4(address)) => TargetHost::Address(address.into()),
            Some(Host::Ipv6(address)) => TargetHost::Address(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                if name.is_empty() || name.split('.').any(str::is_empty) {
                    return Err(UrlProblem::Malformed);
                }
                TargetHost::Name(name.to_owned())
            }
            None => return Err(UrlProblem::Malformed),
        };
        let port = url.port_or_known_default().ok_or(UrlProblem::Malformed)?;
        if !policy.allows_port(port) {
            return Err(UrlProblem::Port(port));
        }
        url.set_fragment(None);
        Ok(Self { url, host, port })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether another URL has the same scheme, host and port.
    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        self.is_https() == other.is_https() && self.host == other.host && self.port == other.port
    }

    /// The path and the query, for the request line.
    pub(crate) fn path(&self) -> String {
        let mut path = self.url.path().to_owned();
        if let Some(query) = self.url.query() {
            path.push('?');
            path.push_str(query);
        }
        path
    }

    /// The value of the header `Host`.
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            TargetHost::Address(IpAddr::V4(address)) => address.to_string(),
            TargetHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
            TargetHost::Name(name) => name.clone(),
        };
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, UrlProblem> {
        Target::parse(text, &Policy { allow_http: true, ..Policy::default() })
    }

    #[test]
    fn all_notations_of_an_address_are_recognized() {
        for (text, address) in [
            ("http://127.0.0.1/", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f000001/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://0177.0.0.01/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://%31%32%37.0.0.1/", "127.0.0.1"),
            ("http://①②⑦.⓪.⓪.①/", "127.0.0.1"),
            ("http://127。0。0。1/", "127.0.0.1"),
            ("http:\\\\127.0.0.1\\", "127.0.0.1"),
            ("http:127.0.0.1", "127.0.0.1"),
            (" http://127.0.0.1/\n", "127.0.0.1"),
            ("http://0/", "0.0.0.0"),
            ("http://[::1]/", "::1"),
            ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
            ("http://[::ffff:7f00:1]/", "::ffff:127.0.0.1"),
        ] {
            let target = parse(text).expect(text);
            assert_eq!(target.host, TargetHost::Address(address.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn names_become_ascii_and_lose_their_last_dot() {
        for (text, name, authority) in [
            ("https://example.com/a?b=c#d", "example.com", "example.com"),
            ("https://EXAMPLE.com.:80/", "example.com", "example.com:80"),
            ("https://bücher.example/", "xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("https://例え.テスト/", "xn--r8jz45g.xn--zckzah", "xn--r8jz45g.xn--zckzah"),
        ] {
            let target = parse(text).expect(text);
            assert_eq!(
                (&target.host, target.authority().as_str()),
                (&TargetHost::Name(name.into()), authority)
            );
        }
        let target = parse("https://example.com/a/../b c?d=é#f").expect("a URL");
        assert_eq!(target.path(), "/b%20c?d=%C3%A9");
        assert_eq!(parse("https://[2606:4700::1]:80/").expect("a URL").authority(), "[2606:4700::1]:80");
    }

    #[test]
    fn other_urls_are_refused() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_LENGTH));
        for (text, problem) in [
            ("", UrlProblem::Malformed),
            ("example.com", UrlProblem::Malformed),
            ("/path", UrlProblem::Malformed),
            ("https://", UrlProblem::Malformed),
            ("https://./", UrlProblem::Malformed),
            ("https://example.com../", UrlProblem::Malformed),
            ("https://a..b/", UrlProblem::Malformed),
            ("https://256.1.1.1/", UrlProblem::Malformed),
            ("https://[fe80::1%25eth0]/", UrlProblem::Malformed),
            ("https://exa mple.com/", UrlProblem::Malformed),
            ("https://example.com:99999/", UrlProblem::Malformed),
            (&long, UrlProblem::Malformed),
            ("file:///etc/passwd", UrlProblem::Scheme),
            ("ftp://example.com/", UrlProblem::Scheme),
            ("gopher://example.com:80/", UrlProblem::Scheme),
            ("data:image/png;base64,AA", UrlProblem::Scheme),
            ("javascript:alert(1)", UrlProblem::Scheme),
            ("https://user@example.com/", UrlProblem::UserInfo),
            ("https://:password@example.com/", UrlProblem::UserInfo),
            ("https://example.com@127.0.0.1/", UrlProblem::UserInfo),
            ("https://example.com:22/", UrlProblem::Port(22)),
            ("https://example.com:0/", UrlProblem::Port(0)),
        ] {
            assert_eq!(parse(text).err(), Some(problem), "{text}");
        }
        let strict = Target::parse("http://example.com/", &Policy::default());
        assert_eq!(strict.err(), Some(UrlProblem::Scheme));
    }

    #[test]
    fn redirects_are_checked_as_urls_are() {
        let from = parse("https://example.com/a/b").expect("a URL");
        let redirect = |location: &'static str| {
            from.redirect(
                &HeaderValue::from_static(location),
                &Policy { allow_http: true, ..Policy::default() },
            )
        };
        let same = redirect("../c").expect("a URL");
        assert!(same.path() == "/c" && same.is_same_origin(&from));
        let other = redirect("//other.example/").expect("a URL");
        assert!(!other.is_same_origin(&from) && other.is_https());
        assert!(matches!(redirect("http://example.com/"), Err(OutboundError::InsecureRedirect)));
        let problem = |location| match redirect(location) {
            Err(OutboundError::InvalidUrl(problem)) => Some(problem),
            _ => None,
        };
        assert_eq!(problem("file:///etc/passwd"), Some(UrlProblem::Scheme));
        assert_eq!(problem("//a:b@example.com/"), Some(UrlProblem::UserInfo));
        assert_eq!(problem("//example.com:6379/"), Some(UrlProblem::Port(6379)));
    }
}
