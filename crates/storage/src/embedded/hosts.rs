//! Bucket names in host names, and the distinction of S3 requests from requests for the HTTP API.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::Authority;
use percent_encoding::percent_decode_str;
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

use super::query_string::QueryString;

/// The service's host and reserved paths.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// The public URL's host, with its port if the URL has one.
    public: String,
    /// First path segments of the HTTP API.
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

    /// Whether the HTTP API uses this name, so that no bucket can have it.
    pub(crate) fn is_reserved(&self, bucket: &str) -> bool {
        self.reserved.iter().any(|name| name == bucket)
    }

    /// The bucket in `BUCKET.localhost` or `BUCKET.<public host>`, whatever the port.
    pub(crate) fn bucket_in_host<'a>(&self, host: &'a str) -> Option<&'a str> {
        let (host, public) = (without_port(host), without_port(&self.public));
        if host.eq_ignore_ascii_case(public) {
            return None;
        }
        let bucket = strip_suffix(host, ".localhost").or_else(|| {
            // An IP address has no subdomains.
            let is_name = public.bytes().any(|byte| byte.is_ascii_alphabetic()) && !public.starts_with('[');
            is_name.then(|| strip_suffix(strip_suffix(host, public)?, "."))?
        });
        bucket.filter(|bucket| !bucket.is_empty())
    }

    /// Whether a request is for the S3 API: by its signature, then the bucket in its host, then its path. The
    /// table "API or S3" in `ARCHITECTURE.md` has the rules, of which the first that applies decides.
    pub(crate) fn is_s3_request(&self, parts: &Parts, bucket_exists: impl Fn(&str) -> bool) -> bool {
        if let Some(service) = signed_service(parts) {
            return service == "s3";
        }
        let is_s3_client = has_s3_header(&parts.headers);
        let bucket_in_host = request_host(parts).and_then(|host| self.bucket_in_host(host));
        if bucket_in_host.is_some_and(|bucket| is_s3_client || bucket_exists(&bucket.to_ascii_lowercase())) {
            return true;
        }
        let first = parts.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let first = percent_decode_str(first).decode_utf8_lossy();
        if first.is_empty() || self.is_reserved(&first) {
            return false;
        }
        is_s3_client || (bucket_in_host.is_none() && bucket_exists(&first))
    }
}

/// Whether the request has a header that only S3's clients send. CloudFront adds `x-amz-cf-id` to every
/// request.
fn has_s3_header(headers: &HeaderMap) -> bool {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    names.any(|name| name != "x-amz-cf-id" && (name.starts_with("x-amz-") || name.starts_with("amz-sdk-")))
}

/// The AWS service that a request is signed for, if it is signed.
fn signed_service(parts: &Parts) -> Option<String> {
    let query = QueryString::of(&parts.uri);
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

/// The host in the request: HTTP/1 has it in a header, HTTP/2 in the URI.
pub(crate) fn request_host(parts: &Parts) -> Option<&str> {
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
        Ok(match self.bucket_in_host(host) {
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

    fn is_s3_request(uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        hosts("pics.example.com").is_s3_request(&parts, |bucket| bucket == "tintype")
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
            assert_eq!(named.bucket_in_host(host), bucket, "{host}");
        }
        assert_eq!(hosts("127.0.0.1:80").bucket_in_host("a.127.0.0.1:80"), None);
        assert_eq!(hosts("tintype.localhost:80").bucket_in_host("tintype.localhost:80"), None);
        assert_eq!(hosts("localhost:80").bucket_in_host("b.localhost:80"), Some("b"));
    }

    #[test]
    fn unsigned_requests_by_path() {
        for (path, is_s3) in [
            ("/", false),
            ("/?prompt=a", false),
            ("/generate?prompt=a", false),
            ("/%67enerate", false),
            ("/v1/images", false),
            ("/tintype/a.png", true),
            ("/tintype", true),
            ("/tin%74ype/a.png", true),
            ("//tintype/a.png", true),
            ("/generated", false),
            ("/images/generations", false),
            ("/no-bucket/a.png", false),
            ("//generate", false),
        ] {
            assert_eq!(is_s3_request(path, &[("host", "127.0.0.1")]), is_s3, "{path}");
        }
    }

    #[test]
    fn unsigned_requests_by_header() {
        for (path, header, is_s3) in [
            ("/no-bucket/a.png", "x-amz-date", true),
            ("/no-bucket/a.png", "x-amz-user-agent", true),
            ("/no-bucket/a.png", "amz-sdk-request", true),
            ("/no-bucket/a.png", "x-amz-cf-id", false),
            ("/no-bucket/a.png", "x-amzn-trace-id", false),
            ("/v1/images", "x-amz-date", false),
            ("/", "x-amz-date", false),
        ] {
            assert_eq!(is_s3_request(path, &[(header, "x")]), is_s3, "{path} {header}");
        }
    }

    #[test]
    fn a_signature_or_a_host_takes_precedence_over_the_path() {
        let scope = |service| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
            )
        };
        assert!(is_s3_request("/", &[("authorization", &scope("s3"))]));
        assert!(is_s3_request("/generate", &[("authorization", &scope("s3"))]));
        assert!(!is_s3_request("/tintype/x", &[("authorization", &scope("sagemaker"))]));
        assert!(is_s3_request("/generate", &[("authorization", "AWS AK:sig")]));
        assert!(!is_s3_request("/generate", &[("authorization", "Bearer k")]));
        assert!(is_s3_request(
            "/v1/x?X-Amz-Credential=AK%2F20260101%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=0",
            &[]
        ));
        assert!(!is_s3_request(
            "/endpoints/x?X-Amz-Credential=AK%2F1%2Fr%2Fsagemaker%2Faws4_request&X-Amz-Signature=0",
            &[]
        ));
        assert!(is_s3_request("/generate?AWSAccessKeyId=AK&Signature=s&Expires=1", &[]));
        assert!(is_s3_request("/", &[("host", "tintype.localhost:1")]));
        assert!(is_s3_request("http://tintype.pics.example.com/", &[]));
        assert!(is_s3_request("/v1/images", &[("host", "Tintype.localhost:1")]));
        // A host that names no bucket is another name of the API.
        assert!(!is_s3_request("/v1/images", &[("host", "app.localhost:1")]));
        assert!(!is_s3_request("/tintype/a.png", &[("host", "app.localhost:1")]));
        assert!(is_s3_request("/", &[("host", "app.localhost:1"), ("x-amz-date", "x")]));
    }
}
