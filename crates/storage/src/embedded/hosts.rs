//! Which host names carry a bucket's name, and which requests are S3's at all.

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::Authority;
use percent_encoding::percent_decode_str;
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

use super::query::Query;

/// The names that the service goes by.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// As in the public URL: with the port, if it names one.
    public: String,
    /// First path segments that belong to the API.
    reserved: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(public: &Authority, reserved: Vec<String>) -> Self {
        Self { public: public.as_str().to_ascii_lowercase(), reserved }
    }

    /// The public host, with its port.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// Whether no bucket may have this name.
    pub(crate) fn is_reserved(&self, bucket: &str) -> bool {
        self.reserved.iter().any(|name| name == bucket)
    }

    /// The bucket in `BUCKET.localhost` or `BUCKET.<public host>`, whatever the port.
    pub(crate) fn bucket_of<'a>(&self, host: &'a str) -> Option<&'a str> {
        let (host, public) = (without_port(host), without_port(&self.public));
        if host.eq_ignore_ascii_case(public) {
            return None;
        }
        let bucket = strip_suffix(host, ".localhost").or_else(|| {
            // An address has no names below it.
            let is_name = public.bytes().any(|byte| byte.is_ascii_alphabetic()) && !public.starts_with('[');
            is_name.then(|| strip_suffix(strip_suffix(host, public)?, "."))?
        });
        bucket.filter(|bucket| !bucket.is_empty())
    }

    /// The dispatch rule. A signature says whose a request is, then its host; only then its path.
    pub(crate) fn claims(&self, parts: &Parts) -> bool {
        if let Some(service) = signed_service(parts) {
            return service == "s3";
        }
        if host(parts).is_some_and(|host| self.bucket_of(host).is_some()) {
            return true;
        }
        let first = parts.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let first = percent_decode_str(first).decode_utf8_lossy();
        !first.is_empty() && !self.is_reserved(&first)
    }
}

/// Which AWS service a request is signed for, if it is signed.
fn signed_service(parts: &Parts) -> Option<String> {
    let query = Query::of(&parts.uri);
    if query.is_signed_v2() {
        return Some("s3".to_owned());
    }
    if query.is_signed_v4() {
        return Some(service_of(&query.first("X-Amz-Credential").unwrap_or_default()));
    }
    let authorization = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    if authorization.starts_with("AWS ") {
        return Some("s3".to_owned());
    }
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256")?;
    let credential = fields.split(',').find_map(|field| field.trim().strip_prefix("Credential="))?;
    Some(service_of(credential))
}

/// The service in `ID/DATE/REGION/SERVICE/aws4_request`.
fn service_of(credential: &str) -> String {
    credential.rsplit('/').nth(1).unwrap_or_default().to_owned()
}

/// The host a request was sent to: HTTP/1 has it in a header, HTTP/2 in the URI.
pub(crate) fn host(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| parts.uri.authority().map(Authority::as_str))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    text.get(at..)?.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let virtual_host = VirtualHost::new(host);
        Ok(match self.bucket_of(host) {
            Some(bucket) => virtual_host.with_bucket(bucket.to_ascii_lowercase()),
            None => virtual_host,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn hosts(public: &str) -> Hosts {
        let reserved = ["generate", "v1", "healthz"].map(str::to_owned).to_vec();
        Hosts::new(&public.parse().expect("an authority"), reserved)
    }

    fn claims(uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hosts("pics.example.com").claims(&request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn buckets_in_host_names() {
        let named = hosts("pics.example.com:8080");
        for (host, bucket) in [
            ("tintype.localhost:8080", Some("tintype")),
            ("my.bucket.LOCALHOST", Some("my.bucket")),
            ("tintype.pics.example.com", Some("tintype")),
            ("tintype.pics.example.com:8080", Some("tintype")),
            ("pics.example.com", None),
            ("xpics.example.com", None),
            (".localhost", None),
            ("localhost:8080", None),
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("example.com", None),
        ] {
            assert_eq!(named.bucket_of(host), bucket, "{host}");
        }
        assert_eq!(hosts("127.0.0.1:80").bucket_of("a.127.0.0.1:80"), None);
        assert_eq!(hosts("tintype.localhost:80").bucket_of("tintype.localhost:80"), None);
        assert_eq!(hosts("localhost:80").bucket_of("b.localhost:80"), Some("b"));
    }

    #[test]
    fn paths_decide_when_nothing_is_signed() {
        for (path, is_s3) in [
            ("/", false),
            ("/?prompt=a", false),
            ("/generate?prompt=a", false),
            ("/%67enerate", false),
            ("/v1/images", false),
            ("/tintype/a.png", true),
            ("/tintype", true),
            ("/generated", true),
            ("//generate", false),
        ] {
            assert_eq!(claims(path, &[("host", "127.0.0.1")]), is_s3, "{path}");
        }
    }

    #[test]
    fn a_signature_or_a_host_decides_whatever_the_path() {
        let scope = |service| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
            )
        };
        assert!(claims("/", &[("authorization", &scope("s3"))]));
        assert!(claims("/generate", &[("authorization", &scope("s3"))]));
        assert!(!claims("/tintype/x", &[("authorization", &scope("sagemaker"))]));
        assert!(claims("/generate", &[("authorization", "AWS AK:sig")]));
        assert!(!claims("/generate", &[("authorization", "Bearer k")]));
        assert!(claims(
            "/v1/x?X-Amz-Credential=AK%2F20260101%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=0",
            &[]
        ));
        assert!(!claims(
            "/endpoints/x?X-Amz-Credential=AK%2F1%2Fr%2Fsagemaker%2Faws4_request&X-Amz-Signature=0",
            &[]
        ));
        assert!(claims("/generate?AWSAccessKeyId=AK&Signature=s&Expires=1", &[]));
        assert!(claims("/", &[("host", "tintype.localhost:1")]));
        assert!(claims("http://tintype.pics.example.com/", &[]));
    }
}
