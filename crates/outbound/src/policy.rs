//! What requests may do.

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::is_public;

/// What requests may do. The default is for files of a few megabytes from public servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether `http` URLs are allowed. Redirects from `https` to `http` are never allowed.
    pub allow_http: bool,
    /// The ports of public addresses that are allowed.
    pub ports: Vec<u16>,
    /// Addresses that are allowed although they are not public or have another port, for example a webhook receiver
    /// in the operator's network.
    pub allowed_addresses: Vec<SocketAddr>,
    /// Maximum number of redirects.
    pub max_redirects: u32,
    /// Maximum size of the response's body in bytes.
    pub max_response_bytes: u64,
    /// Maximum time for resolving the name, connecting and the TLS handshake, each time that a connection is made.
    pub connect_timeout: Duration,
    /// Maximum time from the start of the request to the end of the response's body, with all redirects.
    pub total_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_http: false,
            ports: vec![443, 80],
            allowed_addresses: Vec::new(),
            max_redirects: 5,
            max_response_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// Whether a URL may have this port. The address decides in the end.
    pub(crate) fn allows_port(&self, port: u16) -> bool {
        self.ports.contains(&port) || self.allowed_addresses.iter().any(|address| address.port() == port)
    }

    /// Whether a connection to this address may be made.
    pub(crate) fn allows_address(&self, address: SocketAddr) -> bool {
        self.allowed_addresses.contains(&address)
            || (self.ports.contains(&address.port()) && is_public(address.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_address_opens_no_other() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let policy = Policy { allowed_addresses: vec![address("10.0.0.1:8080")], ..Policy::default() };
        for (text, allowed) in [
            ("10.0.0.1:8080", true),
            ("10.0.0.1:443", false),
            ("10.0.0.2:8080", false),
            ("1.1.1.1:8080", false),
            ("1.1.1.1:443", true),
            ("[::ffff:10.0.0.1]:8080", false),
        ] {
            assert_eq!(policy.allows_address(address(text)), allowed, "{text}");
        }
        assert!(policy.allows_port(8080) && policy.allows_port(443) && !policy.allows_port(22));
    }
}
