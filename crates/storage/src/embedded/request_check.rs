//! Checks a request before the crate `s3s` verifies its signature: in cases where `s3s` is more lenient than
//! S3 or answers differently, and where it would read the body into memory before the verification.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::REGION;
use super::hosts::{Hosts, request_host};
use super::query_string::QueryString;
use crate::signer::MAX_LINK_SECONDS;

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    /// A signature in the query. The link expires at this time, in seconds since 1970.
    Link { expires_at: i64 },
    /// A signature in the headers, or none.
    HeadersOrNone,
}

/// The host that a request's signature is verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignedHost {
    /// The host in the request.
    AsReceived,
    /// The host in the public URL, because a proxy may have replaced the request's. A host with a bucket's
    /// name is kept.
    Public,
}

/// Accepted difference between the clocks of the client and the server in seconds, as `s3s` has for Signature
/// Version 4.
const MAX_CLOCK_DIFFERENCE: i64 = 900;

/// Headers that may be unsigned although their names begin with `x-amz-`: the first is a checksum of the
/// body, which is verified, and proxies add the others.
const UNSIGNED_ALLOWED: [&str; 3] = ["x-amz-content-sha256", "x-amz-cf-id", "x-amz-user-agent"];

/// Prepares the request for the verification of its signature.
///
/// # Errors
/// The S3 error if the request cannot be verified.
pub(crate) fn check(parts: &mut Parts, hosts: &Hosts, signed_host: SignedHost) -> S3Result<Authentication> {
    set_host(parts, hosts, signed_host)?;
    reject_forms(parts)?;
    let query = QueryString::of(&parts.uri);
    reject_second_signature(query)?;
    if query.is_signed_v4() {
        // A program that follows a link may add its own credentials; only those of the link apply.
        parts.headers.remove(AUTHORIZATION);
        let expires_at = check_link_v4(query, &parts.headers)?;
        return Ok(Authentication::Link { expires_at });
    }
    if query.is_signed_v2() {
        parts.headers.remove(AUTHORIZATION);
        let expires_at = check_link_v2(query)?;
        return Ok(Authentication::Link { expires_at });
    }
    check_authorization(&parts.headers)?;
    Ok(Authentication::HeadersOrNone)
}

/// Sets the header `Host` to the signed host. HTTP/2 has the host in the URI.
///
/// # Errors
/// `InvalidRequest` if the request has several hosts, because the signature could be for any of them.
fn set_host(parts: &mut Parts, hosts: &Hosts, signed_host: SignedHost) -> S3Result<()> {
    if parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(s3_error!(InvalidRequest, "The request has several headers Host. Send only one."));
    }
    let received = request_host(parts).map(str::to_owned);
    let names_bucket = received.as_deref().is_some_and(|host| hosts.bucket_in_host(host).is_some());
    let use_public = signed_host == SignedHost::Public && !names_bucket;
    let signed = if use_public { Some(hosts.public().to_owned()) } else { received };
    if let Some(value) = signed.and_then(|host| HeaderValue::try_from(host).ok()) {
        parts.headers.insert(HOST, value);
    }
    Ok(())
}

/// Rejects a link with signatures of both versions: `s3s` would verify one, and the checks of this module would
/// be those of the other.
fn reject_second_signature(query: QueryString<'_>) -> S3Result<()> {
    if query.is_signed_v4() && query.is_signed_v2() {
        return Err(s3_error!(
            InvalidArgument,
            "The URL has signatures of two versions. Send either X-Amz-Signature or Signature."
        ));
    }
    Ok(())
}

/// Rejects uploads from HTML forms: `s3s` would read them into memory before it verifies the signature.
fn reject_forms(parts: &Parts) -> S3Result<()> {
    let media_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_form = media_type.to_ascii_lowercase().starts_with(b"multipart/form-data");
    if parts.method == Method::POST && is_form {
        return Err(s3_error!(NotImplemented, "Uploads from HTML forms are not supported. Use PUT."));
    }
    Ok(())
}

fn malformed(message: &'static str) -> S3Error {
    s3_error!(AuthorizationQueryParametersError, "{message}")
}

/// Checks a link of Signature Version 4, and returns the time when it expires.
fn check_link_v4(query: QueryString<'_>, headers: &HeaderMap) -> S3Result<i64> {
    let lifetime = query.first("X-Amz-Expires").and_then(|lifetime| lifetime.parse::<u64>().ok());
    let lifetime = lifetime.ok_or_else(|| malformed("X-Amz-Expires must be a number of seconds."))?;
    if !(1..=MAX_LINK_SECONDS).contains(&lifetime) {
        return Err(malformed("X-Amz-Expires must be between 1 s and 604,800 s (7 days)."));
    }
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = query.first("X-Amz-Date").and_then(|date| PrimitiveDateTime::parse(&date, format).ok());
    let date = date.ok_or_else(|| malformed("X-Amz-Date must be in the form 20260101T000000Z."))?;
    let credential = query.first("X-Amz-Credential").unwrap_or_default();
    check_service(&credential)?;
    check_region(&credential, S3ErrorCode::AuthorizationQueryParametersError)?;
    let signed = query.first("X-Amz-SignedHeaders").unwrap_or_default();
    check_signed_headers(&signed, headers)?;
    let signature = query.first("X-Amz-Signature").unwrap_or_default();
    if signature.len() != 64 || !signature.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(s3_error!(
            SignatureDoesNotMatch,
            "X-Amz-Signature must have 64 lower-case hexadecimal digits."
        ));
    }
    Ok(date.assume_utc().unix_timestamp() + lifetime.cast_signed())
}

/// Checks a link of Signature Version 2, and returns the time when it expires. Version 2 has no start time, so
/// the limit applies to the remaining lifetime.
fn check_link_v2(query: QueryString<'_>) -> S3Result<i64> {
    let incomplete = || {
        let message = "A signed query must have AWSAccessKeyId, Signature and Expires.";
        s3_error!(AccessDenied, "{message}")
    };
    for name in ["AWSAccessKeyId", "Signature"] {
        query.first(name).filter(|value| !value.is_empty()).ok_or_else(incomplete)?;
    }
    let expires_at = query
        .first("Expires")
        .and_then(|expires_at| expires_at.parse::<i64>().ok())
        .ok_or_else(incomplete)?;
    let remaining = expires_at.saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
    if remaining > MAX_LINK_SECONDS.cast_signed() + MAX_CLOCK_DIFFERENCE {
        return Err(s3_error!(
            AccessDenied,
            "Expires is {remaining} s ahead; the maximum is 604,800 s (7 days)."
        ));
    }
    Ok(expires_at)
}

fn check_authorization(headers: &HeaderMap) -> S3Result<()> {
    let Some(authorization) = headers.get(AUTHORIZATION) else { return Ok(()) };
    let authorization = authorization.to_str().unwrap_or_default();
    let Some(fields) = authorization.strip_prefix("AWS4-HMAC-SHA256") else {
        // Signature Version 2 in headers does not limit the age of a request, and no current client uses it.
        return Err(s3_error!(
            AccessDenied,
            "The authorization scheme is not supported. Sign the request with AWS4-HMAC-SHA256."
        ));
    };
    let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name));
    let credential = field("Credential=").unwrap_or_default();
    check_service(credential)?;
    check_region(credential, S3ErrorCode::AuthorizationHeaderMalformed)?;
    check_signed_headers(field("SignedHeaders=").unwrap_or_default(), headers)
}

fn check_service(credential: &str) -> S3Result<()> {
    if credential.ends_with("/s3/aws4_request") {
        return Ok(());
    }
    Err(s3_error!(AccessDenied, "The credential scope must end with /s3/aws4_request."))
}

/// The server accepts every name that AWS could give to a region. Others, such as `US`, are an error that
/// names the region, so that the client can sign the request again.
fn check_region(credential: &str, code: S3ErrorCode) -> S3Result<()> {
    let region = credential.rsplit('/').nth(2).unwrap_or_default();
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if !region.is_empty() && region.bytes().all(is_allowed) {
        return Ok(());
    }
    let message = format!("The region {region:?} in the credential scope is wrong; expecting '{REGION}'.");
    Err(S3Error::with_message(code, message))
}

/// The signature must cover every header that affects S3: otherwise the holder of a link for `PUT` could add
/// `x-amz-copy-source` and read another object.
fn check_signed_headers(signed: &str, headers: &HeaderMap) -> S3Result<()> {
    let is_signed = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    if !is_signed("host") {
        return Err(s3_error!(AccessDenied, "The signature must cover the header Host."));
    }
    let unsigned = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !UNSIGNED_ALLOWED.contains(name) && !is_signed(name));
    match unsigned {
        Some(name) => Err(s3_error!(AccessDenied, "The signature must cover the header {name}.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(&"pics.example.com".parse().expect("an authority"), Vec::new())
    }

    fn run(request: http::request::Builder, signed_host: SignedHost) -> (S3Result<Authentication>, Parts) {
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        let checked = check(&mut parts, &hosts(), signed_host);
        (checked, parts)
    }

    fn code(uri: &str) -> Option<S3ErrorCode> {
        run(Request::get(uri), SignedHost::AsReceived).0.err().map(|error| error.code().clone())
    }

    fn v4(changed: &str, to: &str) -> String {
        let mut fields = vec![
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", "AK%2F20260101%2Fus-east-1%2Fs3%2Faws4_request".to_owned()),
            ("X-Amz-Date", "20260101T000000Z".to_owned()),
            ("X-Amz-Expires", "300".to_owned()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
            ("X-Amz-Signature", "0".repeat(64)),
        ];
        for (name, value) in &mut fields {
            if *name == changed {
                to.clone_into(value);
            }
        }
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("/b/k?{}", pairs.join("&"))
    }

    #[test]
    fn links_of_version_4() {
        let expires_at = 1_767_225_600 + 300;
        assert_eq!(
            run(Request::get(v4("", "")), SignedHost::AsReceived).0.ok(),
            Some(Authentication::Link { expires_at })
        );
        for lifetime in ["0", "-1", "604801", "soon", ""] {
            assert_eq!(
                code(&v4("X-Amz-Expires", lifetime)),
                Some(S3ErrorCode::AuthorizationQueryParametersError),
                "{lifetime}"
            );
        }
        assert_eq!(code(&v4("X-Amz-Expires", "604800")), None);
        assert_eq!(code(&v4("X-Amz-Date", "today")), Some(S3ErrorCode::AuthorizationQueryParametersError));
        assert_eq!(code(&v4("X-Amz-Signature", "forged")), Some(S3ErrorCode::SignatureDoesNotMatch));
        assert_eq!(code(&v4("X-Amz-SignedHeaders", "date")), Some(S3ErrorCode::AccessDenied));
        let sts = "AK%2F20260101%2Fus-east-1%2Fsts%2Faws4_request";
        assert_eq!(code(&v4("X-Amz-Credential", sts)), Some(S3ErrorCode::AccessDenied));
    }

    #[test]
    fn links_of_version_2() {
        let (signed, _) =
            run(Request::get("/b/k?AWSAccessKeyId=AK&Signature=s&Expires=99"), SignedHost::AsReceived);
        assert_eq!(signed.ok(), Some(Authentication::Link { expires_at: 99 }));
        for query in
            ["Signature=s", "AWSAccessKeyId=AK&Signature=s", "AWSAccessKeyId=AK&Signature=s&Expires=soon"]
        {
            assert_eq!(code(&format!("/b/k?{query}")), Some(S3ErrorCode::AccessDenied), "{query}");
        }
    }

    #[test]
    fn links_of_version_2_last_7_days_at_most() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let expires_in =
            |seconds| code(&format!("/b/k?AWSAccessKeyId=AK&Signature=s&Expires={}", now + seconds));
        assert_eq!(expires_in(604_800), None);
        assert_eq!(expires_in(604_800 + 1_000), Some(S3ErrorCode::AccessDenied));
        assert_eq!(
            code(&format!("/b/k?AWSAccessKeyId=AK&Signature=s&Expires={}", i64::MAX)),
            Some(S3ErrorCode::AccessDenied)
        );
    }

    #[test]
    fn a_link_has_one_signature() {
        let v2 = "&AWSAccessKeyId=AK&Signature=s&Expires=99";
        assert_eq!(code(&(v4("", "") + v2)), Some(S3ErrorCode::InvalidArgument));
        assert_eq!(code(&(v4("", "") + "&Signature=s")), Some(S3ErrorCode::InvalidArgument));
    }

    #[test]
    fn a_request_has_one_host() {
        let request = Request::get("/b/k").header("host", "a").header("host", "b");
        let error = run(request, SignedHost::AsReceived).0.expect_err("two hosts");
        assert_eq!(error.code(), &S3ErrorCode::InvalidRequest);
    }

    #[test]
    fn regions() {
        let in_query = |region: &str| {
            code(&v4("X-Amz-Credential", &format!("AK%2F20260101%2F{region}%2Fs3%2Faws4_request")))
        };
        let in_header = |region: &str| {
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential=AK/20260101/{region}/s3/aws4_request, SignedHeaders=host, Signature=0"
            );
            let request = Request::get("/b/k").header("authorization", authorization);
            run(request, SignedHost::AsReceived).0.err().map(|error| error.code().clone())
        };
        for region in ["us-east-1", "eu-central-1", "auto", "garage"] {
            assert_eq!((in_query(region), in_header(region)), (None, None), "{region}");
        }
        for region in ["US", "EU", "", "us_east_1", "us-east-1 "] {
            if !region.contains(' ') {
                assert_eq!(
                    in_query(region),
                    Some(S3ErrorCode::AuthorizationQueryParametersError),
                    "{region}"
                );
            }
            assert_eq!(in_header(region), Some(S3ErrorCode::AuthorizationHeaderMalformed), "{region}");
        }
    }

    #[test]
    fn an_unsigned_header_cannot_change_a_links_effect() {
        let request = Request::put(v4("", "")).header("x-amz-copy-source", "/b/other");
        let error = run(request, SignedHost::AsReceived).0.expect_err("not signed");
        assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
        let request =
            Request::put(v4("X-Amz-SignedHeaders", "host%3Bx-amz-acl")).header("x-amz-acl", "private");
        assert!(run(request, SignedHost::AsReceived).0.is_ok());
    }

    #[test]
    fn credentials_beside_a_link_are_dropped() {
        let (signed, parts) =
            run(Request::get(v4("", "")).header("authorization", "Bearer key"), SignedHost::AsReceived);
        assert!(signed.is_ok() && !parts.headers.contains_key(AUTHORIZATION));
        let error = run(Request::get("/b/k").header("authorization", "AWS AK:sig"), SignedHost::AsReceived)
            .0
            .expect_err("version 2");
        assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
    }

    #[test]
    fn the_signed_host() {
        let verified = |sent: &str, signed_host| {
            let (_, parts) = run(Request::get("/b/k").header("host", sent), signed_host);
            parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
        };
        assert_eq!(verified("127.0.0.1:8080", SignedHost::AsReceived).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(verified("127.0.0.1:8080", SignedHost::Public).as_deref(), Some("pics.example.com"));
        assert_eq!(verified("b.pics.example.com", SignedHost::Public).as_deref(), Some("b.pics.example.com"));
        let (_, parts) = run(Request::get("http://pics.example.com/b/k"), SignedHost::AsReceived);
        assert_eq!(parts.headers.get(HOST).expect("a host from the URI"), "pics.example.com");
    }

    #[test]
    fn forms_are_rejected() {
        let request = Request::post("/b").header("content-type", "Multipart/Form-Data; boundary=x");
        assert_eq!(
            run(request, SignedHost::AsReceived).0.expect_err("an error").code(),
            &S3ErrorCode::NotImplemented
        );
    }
}
