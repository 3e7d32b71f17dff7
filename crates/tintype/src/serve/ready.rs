//! Where clients find this server.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Config, StoreChoice};

/// The origin that links begin with: the public URL, or our own address.
pub(crate) fn own_url(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.serving.public_url {
        return url.clone();
    }
    match address.ip() {
        // "Any address" is no address that a client can go to.
        IpAddr::V4(ip) if ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

/// Others come by another name as a rule, and links that lead nowhere are found out late.
pub(crate) fn warn_about_link_origin(config: &Config, address: SocketAddr, url: &str) {
    let gives_links = !config.serving.sagemaker;
    if gives_links && config.serving.public_url.is_none() && !address.ip().is_loopback() {
        tracing::warn!(url, "links will point here; if clients reach this server elsewhere, set public_url");
    }
}

/// The line on standard output that says that requests are served.
pub(crate) fn line(url: &str, config: &Config) -> String {
    let (store, get_enabled) = (&config.store, !config.serving.no_get);
    if config.serving.sagemaker {
        return format!("tintype ready: {url}/invocations   (the container of a SageMaker endpoint)");
    }
    let link = if get_enabled { format!("{url}/generate?prompt=a+tiger") } else { url.to_owned() };
    match &store.choice {
        StoreChoice::Embedded => {
            let credentials = store.data_dir.join("credentials");
            format!("tintype ready: {link}   (S3 at {url}, credentials in {})", credentials.display())
        }
        StoreChoice::S3 { bucket, prefix } => {
            let slash = if prefix.is_empty() { "" } else { "/" };
            format!("tintype ready: {link}   (pictures in s3://{bucket}{slash}{prefix})")
        }
    }
}
