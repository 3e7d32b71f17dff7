//! A server that records requests and answers with given bytes, a resolver with given answers, and clients for both.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tintype_outbound::{Client, Policy, Resolver};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// A certificate of `good.test` that is valid for a century, made with `openssl req -x509`, and its key.
const CERTIFICATE: &[u8] = include_bytes!("certificate.der");
const KEY: &[u8] = include_bytes!("key.der");

/// What the server sends in answer to a request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes; then it closes the connection.
    Bytes(Vec<u8>),
    /// These bytes; then nothing, with an open connection.
    Stall(Vec<u8>),
    /// The first bytes once, the second without an end, with a pause before each.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

pub(crate) fn ok(body: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

pub(crate) fn redirect(status: u16, location: &str) -> Answer {
    let head = format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    Answer::Bytes(head.into_bytes())
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    received: Arc<Notify>,
}

impl Server {
    /// A server on a port of its own that answers by the path of the request.
    pub(crate) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, answer).await
    }

    /// The same with TLS, as `good.test`.
    pub(crate) async fn start_tls(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the default versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY)),
            )
            .expect("a certificate and its key");
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (requests, received) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (recorded, notify, answer) = (requests.clone(), received.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (recorded, notify, answer) = (recorded.clone(), notify.clone(), answer.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    let mut stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            // The client refused the certificate.
                            Err(_) => return,
                        },
                    };
                    let Some(request) = read_request(&mut stream).await else { return };
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    recorded.lock().expect("no panic").push(request);
                    notify.notify_one();
                    // The client may close the connection at any time.
                    let _ = send(&mut stream, answer(&path)).await;
                });
            }
        });
        Self { address, requests, received }
    }

    /// The requests so far, as they were sent.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Waits for a request.
    pub(crate) async fn received(&self) {
        self.received.notified().await;
    }

    /// A URL of this server with this host.
    pub(crate) fn url(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}:{}{path}", self.address.port())
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The head and the body of a request; `None` if the client closes the connection before.
async fn read_request(stream: &mut Box<dyn Stream>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn send(stream: &mut Box<dyn Stream>, answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Answer::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            std::future::pending().await
        }
        Answer::Endless(first, rest, pause) => {
            stream.write_all(&first).await?;
            loop {
                tokio::time::sleep(pause).await;
                stream.write_all(&rest).await?;
                stream.flush().await?;
            }
        }
    }
}

/// A resolver with one list of answers per host; each lookup takes the next one.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: Mutex<Vec<String>>,
}

impl Names {
    /// Adds the answer to a lookup of this host.
    pub(crate) fn with(self, host: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.answers.lock().expect("no panic").entry(host.to_owned()).or_default().push(addresses);
        self
    }

    /// The hosts that were looked up.
    pub(crate) fn lookups(&self) -> Vec<String> {
        self.lookups.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.lookups.lock().expect("no panic").push(host.to_owned());
        let mut answers = self.answers.lock().expect("no panic");
        match answers.get_mut(host) {
            Some(answers) if !answers.is_empty() => Ok(answers.remove(0)),
            _ => Err(io::Error::other("secret name server 10.9.8.7 has no answer")),
        }
    }
}

/// A policy that allows `http` and connections to these servers.
pub(crate) fn policy(servers: &[&Server]) -> Policy {
    Policy {
        allow_http: true,
        allowed_addresses: servers.iter().map(|server| server.address).collect(),
        ..Policy::default()
    }
}

/// A client that trusts the certificate of [`Server::start_tls`].
pub(crate) fn client(policy: Policy, names: Arc<Names>) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).expect("a certificate");
    Client::with_resolver(policy, names, roots)
}

/// A client for one server without names.
pub(crate) fn client_for(server: &Server) -> Client {
    client(policy(&[server]), Arc::default())
}
