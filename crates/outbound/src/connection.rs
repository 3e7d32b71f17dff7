//! Connects to the checked addresses of a host.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::error::OutboundError;
use crate::policy::Policy;
use crate::resolver::Resolver;
use crate::target::{Target, TargetHost};

/// Size of a response's headers in bytes from which they are refused; one read of the same size may come on top.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Maximum number of a response's headers.
const MAX_HEADERS: usize = 100;
/// Maximum number of addresses of a host that are tried.
const MAX_ATTEMPTS: usize = 4;

/// A connection for one request. It is closed when the value is dropped.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) driver: Driver,
}

/// The task that moves a connection's bytes.
pub(crate) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TCP, or TLS on top of it.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) struct Connector {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
}

impl Connector {
    /// # Panics
    /// Never: the provider supports the protocol versions that are the default.
    pub(crate) fn new(resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { resolver, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Connects to one of the target's addresses, all of which must be allowed.
    ///
    /// # Errors
    /// [`OutboundError::ForbiddenAddress`], [`OutboundError::Unresolvable`], [`OutboundError::Connection`],
    /// [`OutboundError::TimedOut`].
    pub(crate) async fn connect(
        &self,
        target: &Target,
        policy: &Policy,
    ) -> Result<Connection, OutboundError> {
        let deadline = Instant::now() + policy.connect_timeout;
        let connecting = async {
            let addresses = self.addresses(target, policy).await?;
            let tcp = connect_to_any(&addresses, deadline).await.map_err(connection_failed)?;
            let stream = self.secure(target, tcp).await.map_err(connection_failed)?;
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(MAX_HEADER_BYTES)
                .max_headers(MAX_HEADERS)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(connection_failed)?;
            // The error also reaches the sender or the body.
            let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
            Ok(Connection { sender, driver })
        };
        timeout_at(deadline, connecting).await.unwrap_or(Err(OutboundError::TimedOut))
    }

    /// The addresses of the target. If one of them is not allowed, none is used: the name is not that of a public
    /// server.
    async fn addresses(&self, target: &Target, policy: &Policy) -> Result<Vec<SocketAddr>, OutboundError> {
        let addresses = match &target.host {
            TargetHost::Address(address) => vec![*address],
            TargetHost::Name(name) => {
                let resolved = self.resolver.resolve(name).await;
                resolved.map_err(|error| OutboundError::Unresolvable(Some(error.into())))?
            }
        };
        if addresses.is_empty() {
            return Err(OutboundError::Unresolvable(None));
        }
        let addresses: Vec<_> =
            addresses.into_iter().map(|address| SocketAddr::new(address, target.port)).collect();
        match addresses.iter().all(|address| policy.allows_address(*address)) {
            true => Ok(addresses),
            false => Err(OutboundError::ForbiddenAddress),
        }
    }

    async fn secure(&self, target: &Target, tcp: TcpStream) -> io::Result<Box<dyn Stream>> {
        if !target.is_https() {
            return Ok(Box::new(tcp));
        }
        let name = match &target.host {
            TargetHost::Address(address) => ServerName::IpAddress((*address).into()),
            TargetHost::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
        };
        Ok(Box::new(self.tls.connect(name, tcp).await?))
    }
}

fn connection_failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OutboundError {
    OutboundError::Connection(error.into())
}

/// Tries the addresses in their order. Each has its share of the time that is left.
async fn connect_to_any(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let addresses = &addresses[..addresses.len().min(MAX_ATTEMPTS)];
    let mut failure = io::Error::from(io::ErrorKind::TimedOut);
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - index) as u32;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}
