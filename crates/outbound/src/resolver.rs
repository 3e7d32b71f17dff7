//! Finds the addresses of host names.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Maximum number of names that the system resolves at a time. Each takes a thread until the name server answers, also
/// after the request has timed out.
const MAX_LOOKUPS: usize = 16;

/// Finds the addresses of host names.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of a host name.
    ///
    /// # Errors
    /// If the name has no address, or the name server does not answer.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let (lookups, host) = (self.lookups.clone(), host.to_owned());
        let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
        // A task, because dropping this future does not end the system's call, which the permit counts.
        let lookup = tokio::spawn(async move {
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            drop(permit);
            Ok(addresses.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_resolves_localhost() {
        let addresses = SystemResolver::default().resolve("localhost").await.expect("addresses");
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
