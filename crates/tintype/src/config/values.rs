//! Settings that choose between a few things.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Uri;
use tintype_http::{Alias, InvalidAlias};
use tintype_ledger::Synchronous;
use tintype_ledger::money::Amount;
use tintype_sagemaker::wire::Dialect;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelChoice {
    /// The one in the binary.
    Builtin,
    /// A folder.
    Folder(PathBuf),
    /// A model of the Hugging Face hub, found in its cache.
    Hub(String),
    /// Whatever this SageMaker endpoint has.
    Endpoint(String),
}

/// Where the pictures go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    /// A folder, served by ourselves.
    Embedded,
    /// A bucket of an S3 service.
    S3 {
        /// The bucket.
        bucket: String,
        /// What keys begin with, without slashes at either end.
        prefix: String,
    },
}

/// Where keys, jobs and usage are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedgerChoice {
    /// In a file of the data folder.
    Sqlite,
    /// In the store.
    Bucket,
}

/// How a Lambda function hands its answers over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LambdaResponse {
    /// Whole, within 6 MB.
    Buffered,
    /// As they are made.
    Stream,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The accelerator that this binary was built for, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA accelerator of this number.
    Cuda(usize),
    /// The Apple accelerator of this number.
    Metal(usize),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `builtin`, a folder (anything that is one, or that looks like a path), `ORG/NAME`, or `sagemaker:ENDPOINT`.
pub(crate) fn model(text: &str) -> Result<ModelChoice, String> {
    let path = Path::new(text);
    if text == "builtin" {
        Ok(ModelChoice::Builtin)
    } else if let Some(endpoint) = text.strip_prefix("sagemaker:") {
        Ok(ModelChoice::Endpoint(endpoint.to_owned()))
    } else if path.is_dir() || path.is_absolute() || text.starts_with('.') {
        Ok(ModelChoice::Folder(path.to_owned()))
    } else if tintype_diffusion::hub::is_name(text) {
        Ok(ModelChoice::Hub(text.to_owned()))
    } else {
        Err("`builtin`, a folder that exists, ORG/NAME, or sagemaker:ENDPOINT".to_owned())
    }
}

/// `jumpstart` or `sdxl`.
pub(crate) fn dialect(text: &str) -> Result<Dialect, String> {
    match text {
        "jumpstart" => Ok(Dialect::JumpStart),
        "sdxl" => Ok(Dialect::Sdxl),
        _ => Err("jumpstart or sdxl".to_owned()),
    }
}

/// A side length that a request may have.
pub(crate) fn side(text: &str) -> Result<u32, String> {
    let side = text.parse().ok().filter(|side| (64..=4096).contains(side) && side % 8 == 0);
    side.ok_or_else(|| "a multiple of 8 between 64 and 4096".to_owned())
}

/// A number of steps that a request may have.
pub(crate) fn steps(text: &str) -> Result<u32, String> {
    between(text, 1, 150)
}

/// How much a remote engine is given at a time.
pub(crate) fn slots(text: &str) -> Result<usize, String> {
    between(text, 1, 1_000).map(|slots| slots as usize)
}

fn between(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("a whole number between {least} and {most}"))
}

/// `embedded` or `s3://BUCKET/PREFIX`.
pub(crate) fn store(text: &str) -> Result<StoreChoice, String> {
    if text == "embedded" {
        return Ok(StoreChoice::Embedded);
    }
    let rest = text.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("`embedded` or s3://BUCKET/PREFIX".to_owned());
    }
    Ok(StoreChoice::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
}

/// Names of models, or their beginnings with `*` behind them.
pub(crate) fn aliases(text: &str) -> Result<Vec<Alias>, String> {
    let names = text.split(',').map(|name| name.trim().parse());
    names
        .collect::<Result<_, InvalidAlias>>()
        .map_err(|_| "names such as dall-e-3 or dall-e-*, with commas between them".to_owned())
}

/// `sqlite` or `bucket`.
pub(crate) fn ledger(text: &str) -> Result<LedgerChoice, String> {
    match text {
        "sqlite" => Ok(LedgerChoice::Sqlite),
        "bucket" => Ok(LedgerChoice::Bucket),
        _ => Err("sqlite or bucket".to_owned()),
    }
}

/// `buffered` or `stream`.
pub(crate) fn response(text: &str) -> Result<LambdaResponse, String> {
    match text {
        "buffered" => Ok(LambdaResponse::Buffered),
        "stream" => Ok(LambdaResponse::Stream),
        _ => Err("buffered or stream".to_owned()),
    }
}

/// `normal` or `full`.
pub(crate) fn synchronous(text: &str) -> Result<Synchronous, String> {
    match text {
        "normal" => Ok(Synchronous::Normal),
        "full" => Ok(Synchronous::Full),
        _ => Err("normal or full".to_owned()),
    }
}

/// An amount of money: `0.0005usd`.
pub(crate) fn price(text: &str) -> Result<Amount, String> {
    text.parse().map_err(|_| "an amount of money such as 0.0005usd, with at most six decimals".to_owned())
}

/// `auto`, `cpu`, `cuda` or `metal`; the last two also with a number, as in `cuda:1`.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    let (kind, number) = match text.split_once(':') {
        Some((kind, number)) => (kind, number.parse().ok()),
        None => (text, Some(0)),
    };
    match (kind, number) {
        ("auto", _) if kind == text => Ok(Device::Auto),
        ("cpu", _) if kind == text => Ok(Device::Cpu),
        ("cuda", Some(number)) => Ok(Device::Cuda(number)),
        ("metal", Some(number)) => Ok(Device::Metal(number)),
        _ => Err("auto, cpu, cuda or metal, or a certain one as in cuda:1".to_owned()),
    }
}

/// A folder's name.
pub(crate) fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the name of a folder".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// A level, or levels by part: `info,tintype_http=debug`.
///
/// The S3 library is silent whatever is asked for: it logs signed links, and of a forged one the right signature.
pub(crate) fn log_filter(text: &str) -> Result<Targets, String> {
    // A lone word that is no level would be the name of a part, and everything else would be silent.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let understood = |part: &str| part.contains('=') || is_level(part);
    let targets = text.parse::<Targets>().ok().filter(|_| text.split(',').all(understood));
    targets
        .map(|targets| targets.with_target("s3s", LevelFilter::OFF))
        .ok_or_else(|| "error, warn, info, debug or trace, or parts as in info,tintype_http=debug".to_owned())
}

/// `text` or `json`.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".to_owned()),
    }
}

/// An address and a port; `localhost` is the IPv4 loopback.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = || "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned();
    match text.strip_prefix("localhost:") {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| expected())?).into()),
        None => text.parse().map_err(|_| expected()),
    }
}

/// An origin: `https://host:port`, with nothing behind it.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let parts = text.parse::<Uri>().ok().filter(|uri| {
        let plain_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        plain_host
            && matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
    });
    match parts {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("http:// or https://, a host, and a port if it is not the usual one; no path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8");
        assert_eq!(model("builtin"), Ok(ModelChoice::Builtin));
        assert_eq!(model(path), Ok(ModelChoice::Folder(path.into())));
        assert_eq!(model("./absent"), Ok(ModelChoice::Folder("./absent".into())));
        assert_eq!(model("sagemaker:sd-21"), Ok(ModelChoice::Endpoint("sd-21".into())));
        assert_eq!(model("stabilityai/sd-turbo"), Ok(ModelChoice::Hub("stabilityai/sd-turbo".into())));
        for text in ["", "sd-turbo", "a/b/c"] {
            assert!(model(text).is_err(), "{text}");
        }
    }

    #[test]
    fn aliases_are_a_list() {
        let read = |text| aliases(text).map(|all| all.iter().map(Alias::to_string).collect::<Vec<_>>());
        assert_eq!(read("gpt-image-*, dall-e-3"), Ok(vec!["gpt-image-*".into(), "dall-e-3".into()]));
        for text in [",", "a,,b", "a b", "a*b"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices() {
        assert_eq!(device("auto"), Ok(Device::Auto));
        assert_eq!(device("cuda"), Ok(Device::Cuda(0)));
        assert_eq!(device("cuda:1"), Ok(Device::Cuda(1)));
        for text in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "metal:-1"] {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn log_filters() {
        for text in ["info", "off", "WARN", "info,tintype_http=debug"] {
            assert!(log_filter(text).is_ok(), "{text}");
        }
        for text in ["", "loud", "info,loud", "tintype_http=loud"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stores() {
        let s3 =
            |bucket: &str, prefix: &str| StoreChoice::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(store("embedded"), Ok(StoreChoice::Embedded));
        assert_eq!(store("s3://pictures"), Ok(s3("pictures", "")));
        assert_eq!(store("s3://pictures/a/b/"), Ok(s3("pictures", "a/b")));
        for text in ["", "s3://", "s3:///x", "pictures", "https://x/y"] {
            assert!(store(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address("localhost:0"), Ok(([127, 0, 0, 1], 0).into()));
        assert!(address("[::1]:80").is_ok());
        for text in ["", "8080", "localhost", "example.com:80", "127.0.0.1:99999"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins() {
        assert_eq!(origin("https://a.example/"), Ok("https://a.example".into()));
        assert_eq!(origin("http://127.0.0.1:9000"), Ok("http://127.0.0.1:9000".into()));
        for text in ["", "a.example", "ftp://a", "https://a/b", "https://a?b", "https://u:p@a", "https://"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
