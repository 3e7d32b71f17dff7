//! The server's URL and the line that reports it.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Config, StoreChoice};

/// The origin of links in responses: the setting `public_url`, or the address of the listener.
pub(crate) fn own_url(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.serving.public_url {
        return url.clone();
    }
    match address.ip() {
        // Clients cannot connect to an unspecified address.
        IpAddr::V4(ip) if ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

/// Warns if links in responses probably do not work on other machines.
pub(crate) fn warn_about_link_origin(config: &Config, address: SocketAddr, url: &str) {
    let returns_links = !config.serving.sagemaker;
    if returns_links && config.serving.public_url.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            url,
            "public_url is not set, clients on other machines may not reach the links in responses; start with \
             --public-url and the origin that clients use"
        );
    }
}

/// The line on standard output that reports that the server is ready. Scripts read the URL after `tintype
/// ready: `.
pub(crate) fn line(url: &str, config: &Config) -> String {
    let (store, get_enabled) = (&config.store, !config.serving.no_get);
    if config.serving.sagemaker {
        return format!("tintype ready: {url}/invocations   (SageMaker container)");
    }
    let link = if get_enabled { format!("{url}/generate?prompt=a+tiger") } else { url.to_owned() };
    match &store.choice {
        StoreChoice::Embedded => {
            let credentials = store.data_dir.join("credentials");
            format!("tintype ready: {link}   (S3 at {url}, credentials in {})", credentials.display())
        }
        StoreChoice::S3 { bucket, prefix } => {
            let slash = if prefix.is_empty() { "" } else { "/" };
            format!("tintype ready: {link}   (images in s3://{bucket}{slash}{prefix})")
        }
    }
}
