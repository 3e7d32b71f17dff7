//! Parsers of settings that are neither numbers, durations nor sizes. Each error completes the sentence "it
//! must be …".

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use tintype_core::model::ModelCard;
use tintype_http::{CorsPolicy, InvalidOrigins};
use tintype_ledger::money::Price;
use tintype_ledger_sqlite::Synchronous;
use tintype_sagemaker::wire::Dialect;
use tintype_service::Alias;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The store for images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    /// The data folder, which the server also serves as S3.
    Embedded,
    /// A bucket of an S3 service.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix of object keys, without slashes at either end.
        prefix: String,
    },
}

/// The storage of keys, jobs and usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedgerChoice {
    /// A file in the data folder.
    Sqlite,
    /// Objects in the store.
    Bucket,
}

/// How a Lambda function returns responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LambdaResponse {
    /// The complete response at once, at most 6 MB.
    Buffered,
    /// As a stream.
    Stream,
}

/// The device that runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The accelerator that this binary was built for, or else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this number.
    Cuda(usize),
    /// The Apple GPU with this number.
    Metal(usize),
}

/// The format of log messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// `jumpstart` or `sdxl`.
pub(crate) fn dialect(text: &str) -> Result<Dialect, String> {
    match text {
        "jumpstart" => Ok(Dialect::JumpStart),
        "sdxl" => Ok(Dialect::Sdxl),
        _ => Err("jumpstart or sdxl".to_owned()),
    }
}

/// An image width or height in pixels, within the limits of requests.
pub(crate) fn side(text: &str) -> Result<u32, String> {
    let side = text.parse().ok().filter(|side| (64..=4096).contains(side) && side % 8 == 0);
    side.ok_or_else(|| "a multiple of 8 between 64 and 4096".to_owned())
}

/// A number of denoising steps, within the limits of requests.
pub(crate) fn steps(text: &str) -> Result<u32, String> {
    in_range(text, 1, 150)
}

/// A guidance scale, within the limits of requests.
pub(crate) fn guidance(text: &str) -> Result<f64, String> {
    let max = ModelCard::default().max_guidance;
    let scale = text.parse().ok().filter(|scale| (0.0..=max).contains(scale));
    scale.ok_or_else(|| format!("a number between 0 and {max}"))
}

/// The maximum number of concurrent calls to an endpoint.
pub(crate) fn slots(text: &str) -> Result<usize, String> {
    in_range(text, 1, 1_000).map(|slots| slots as usize)
}

fn in_range(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("a whole number between {min} and {max}"))
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

/// A model name, or a prefix of names followed by `*`; an element of a list.
pub(crate) fn alias(text: &str) -> Result<Alias, String> {
    text.parse().map_err(|_| "model names such as dall-e-3 or dall-e-*, separated by commas".to_owned())
}

/// Origins of web pages, separated by commas, or `*`.
pub(crate) fn cors_origins(text: &str) -> Result<CorsPolicy, String> {
    text.parse().map_err(|error: InvalidOrigins| {
        format!(
            "origins such as https://app.example.com or http://localhost:3000, separated by commas, each with a \
             scheme, a host and an optional port but no path, or * for all; {error}"
        )
    })
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

/// A price of one second of engine time, `0.0005usd`, or of one image, `0.02usd/image`.
pub(crate) fn price(text: &str) -> Result<Price, String> {
    text.parse().map_err(|_| {
        "an amount of money such as 0.0005usd per second of engine time, or 0.02usd/image, with at most six \
         decimals"
            .to_owned()
    })
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
        _ => Err("auto, cpu, cuda or metal, or a numbered device such as cuda:1".to_owned()),
    }
}

/// The path of a folder.
pub(crate) fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path of a folder".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// A level, or levels per module: `info,tintype_http=debug`.
///
/// Logging of the crate `s3s` is always off, also for a level of one of its modules: it logs presigned URLs, and
/// the valid signature of a request with a forged one.
pub(crate) fn log_filter(text: &str) -> Result<Targets, String> {
    // `Targets` would read an unknown level as the name of a module, and disable all other modules.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_valid = |part: &str| part.contains('=') || is_level(part);
    if text.parse::<Targets>().is_err() || !text.split(',').all(is_valid) {
        return Err(
            "error, warn, info, debug, trace or off, or levels per module such as info,tintype_http=debug"
                .to_owned(),
        );
    }
    // The longest name that is the beginning of a module's name decides.
    let allowed: Vec<_> = text.split(',').filter(|part| !part.trim_start().starts_with("s3s")).collect();
    let targets = allowed.join(",").parse::<Targets>().unwrap_or_default();
    Ok(targets.with_target("s3s", LevelFilter::OFF))
}

/// `text` or `json`.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".to_owned()),
    }
}

/// An IP address and a port; `localhost` means the IPv4 loopback address.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = || "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned();
    match text.strip_prefix("localhost:") {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| expected())?).into()),
        None => text.parse().map_err(|_| expected()),
    }
}

/// An origin, `https://host:port`; a trailing slash is removed.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let parts = text.parse::<Uri>().ok().filter(|uri| {
        let plain_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        plain_host
            && matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
    });
    match parts {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("an origin such as https://images.example.com or http://127.0.0.1:9000, without a path"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_scales() {
        assert_eq!(guidance("7.5"), Ok(7.5));
        for text in ["", "-1", "30.1", "NaN", "inf", "x"] {
            assert!(guidance(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_of_pages_are_a_list() {
        assert_eq!(cors_origins("*"), Ok(CorsPolicy::Any));
        assert!(matches!(
            cors_origins("https://a.example, http://localhost:3000"),
            Ok(CorsPolicy::Origins(_))
        ));
        for (text, named) in
            [("https://a.example/x", "`https://a.example/x`"), ("null", "`null`"), ("*,x", "`*`")]
        {
            let error = cors_origins(text).expect_err(text);
            assert!(error.contains(named), "{error}");
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
    fn no_level_shows_valid_signatures() {
        for text in [
            "trace",
            "s3s=trace",
            "trace,s3s::ops=trace",
            "s3s::ops::signature=debug",
            "off, s3s::ops::signature=debug",
            "s3=trace",
            "s3s::=trace",
            "s3s[{signature}]=trace",
            "info,s3s::ops::signature[{expected}]=trace",
            "[{signature}]=trace",
        ] {
            let filter = log_filter(text).expect(text);
            for target in ["s3s", "s3s::ops", "s3s::ops::signature", "s3s::service"] {
                assert!(!filter.would_enable(target, &tracing::Level::ERROR), "{text}: {target}");
            }
        }
        let filter = log_filter("warn,s3s::ops=trace,tintype_http=debug").expect("a filter");
        assert!(filter.would_enable("tintype_http::lib", &tracing::Level::DEBUG));
        assert!(filter.would_enable("hyper", &tracing::Level::WARN));
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
