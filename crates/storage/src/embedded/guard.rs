//! What is checked of a request before its signature is: where the crate `s3s` is more lenient than S3 or answers otherwise,
//! and what it would read into memory before it asks who sends it.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use s3s::{S3Error, S3Result, s3_error};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::hosts::{Hosts, host};
use super::query::Query;
use crate::signer::LONGEST_LIFE;

/// How a request that may go on to the verification of its signature is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// By its query: a link that works until this time, in seconds since 1970.
    ByQuery { until: i64 },
    /// By its headers, or not at all.
    Otherwise,
}

/// Headers that need not be signed although their names begin with `x-amz-`: the first is a checksum of the body and is
/// verified as such, the others are added on the way.
const MAY_BE_UNSIGNED: [&str; 3] = ["x-amz-content-sha256", "x-amz-cf-id", "x-amz-user-agent"];

/// Makes the request fit for verification, or says why it cannot be.
pub(crate) fn check(parts: &mut Parts, hosts: &Hosts, proxied: bool) -> S3Result<Signed> {
    normalize_host(parts, hosts, proxied);
    refuse_forms(parts)?;
    let query = Query::of(&parts.uri);
    if query.is_signed_v4() {
        // Programs that got a link send their own credentials along; the link's are the ones that count.
        parts.headers.remove(AUTHORIZATION);
        let until = check_query_v4(query, &parts.headers)?;
        return Ok(Signed::ByQuery { until });
    }
    if query.is_signed_v2() {
        parts.headers.remove(AUTHORIZATION);
        let until = check_query_v2(query)?;
        return Ok(Signed::ByQuery { until });
    }
    check_header(&parts.headers)?;
    Ok(Signed::Otherwise)
}

/// HTTP/2 has the host in the URI, and a proxy may have replaced the one that was signed.
fn normalize_host(parts: &mut Parts, hosts: &Hosts, proxied: bool) {
    let sent = host(parts).map(str::to_owned);
    let names_bucket = sent.as_deref().is_some_and(|host| hosts.bucket_of(host).is_some());
    let verified = if proxied && !names_bucket { Some(hosts.public().to_owned()) } else { sent };
    if let Some(value) = verified.and_then(|host| HeaderValue::try_from(host).ok()) {
        parts.headers.insert(HOST, value);
    }
}

/// An upload from an HTML form would be read into memory before its signature is looked at.
fn refuse_forms(parts: &Parts) -> S3Result<()> {
    let media_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_form = media_type.to_ascii_lowercase().starts_with(b"multipart/form-data");
    if parts.method == Method::POST && is_form {
        return Err(s3_error!(NotImplemented, "uploads from HTML forms are not supported"));
    }
    Ok(())
}

fn malformed(message: &'static str) -> S3Error {
    s3_error!(AuthorizationQueryParametersError, "{message}")
}

/// Until when the link works.
fn check_query_v4(query: Query<'_>, headers: &HeaderMap) -> S3Result<i64> {
    let life = query.first("X-Amz-Expires").and_then(|life| life.parse::<u64>().ok());
    let life = life.ok_or_else(|| malformed("X-Amz-Expires must be a number of seconds"))?;
    if !(1..=LONGEST_LIFE).contains(&life) {
        return Err(malformed("X-Amz-Expires must be from 1 second to 7 days"));
    }
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = query.first("X-Amz-Date").and_then(|date| PrimitiveDateTime::parse(&date, format).ok());
    let date = date.ok_or_else(|| malformed("X-Amz-Date must be in the form 20260101T000000Z"))?;
    check_service(&query.first("X-Amz-Credential").unwrap_or_default())?;
    let signed = query.first("X-Amz-SignedHeaders").unwrap_or_default();
    check_signed_headers(&signed, headers)?;
    let signature = query.first("X-Amz-Signature").unwrap_or_default();
    if signature.len() != 64 || !signature.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(s3_error!(SignatureDoesNotMatch));
    }
    Ok(date.assume_utc().unix_timestamp() + life.cast_signed())
}

/// Until when the link works. Version 2 says that alone, not since when, so its life has no limit that could be checked.
fn check_query_v2(query: Query<'_>) -> S3Result<i64> {
    let incomplete = || {
        let message = "a signed query needs AWSAccessKeyId, Signature and Expires";
        s3_error!(AccessDenied, "{message}")
    };
    for name in ["AWSAccessKeyId", "Signature"] {
        query.first(name).filter(|value| !value.is_empty()).ok_or_else(incomplete)?;
    }
    let until = query.first("Expires").and_then(|until| until.parse::<i64>().ok()).ok_or_else(incomplete)?;
    if OffsetDateTime::from_unix_timestamp(until).is_err() {
        return Err(incomplete());
    }
    Ok(until)
}

fn check_header(headers: &HeaderMap) -> S3Result<()> {
    let Some(authorization) = headers.get(AUTHORIZATION) else { return Ok(()) };
    let authorization = authorization.to_str().unwrap_or_default();
    let Some(fields) = authorization.strip_prefix("AWS4-HMAC-SHA256") else {
        // Version 2 in headers has no limit on how old a request may be; nothing sends it any more.
        return Err(s3_error!(AccessDenied, "sign with AWS4-HMAC-SHA256"));
    };
    let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name));
    check_service(field("Credential=").unwrap_or_default())?;
    check_signed_headers(field("SignedHeaders=").unwrap_or_default(), headers)
}

fn check_service(credential: &str) -> S3Result<()> {
    if credential.ends_with("/s3/aws4_request") {
        return Ok(());
    }
    Err(s3_error!(AccessDenied, "the signature's scope is not s3"))
}

/// A header that means something to S3 must be covered by the signature: otherwise whoever holds a link for `PUT` could add
/// `x-amz-copy-source` and read another object with it.
fn check_signed_headers(signed: &str, headers: &HeaderMap) -> S3Result<()> {
    let is_signed = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    if !is_signed("host") {
        return Err(s3_error!(AccessDenied, "the signature does not cover the host"));
    }
    let unsigned = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !MAY_BE_UNSIGNED.contains(name) && !is_signed(name));
    match unsigned {
        Some(name) => Err(s3_error!(AccessDenied, "the header {name} is not signed")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use s3s::S3ErrorCode;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(&"pics.example.com".parse().expect("an authority"), Vec::new())
    }

    fn run(request: http::request::Builder, proxied: bool) -> (S3Result<Signed>, Parts) {
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        let checked = check(&mut parts, &hosts(), proxied);
        (checked, parts)
    }

    fn code(uri: &str) -> Option<S3ErrorCode> {
        run(Request::get(uri), false).0.err().map(|error| error.code().clone())
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
    fn signed_queries_of_version_4() {
        let until = 1_767_225_600 + 300;
        assert_eq!(run(Request::get(v4("", "")), false).0.ok(), Some(Signed::ByQuery { until }));
        for life in ["0", "-1", "604801", "soon", ""] {
            assert_eq!(
                code(&v4("X-Amz-Expires", life)),
                Some(S3ErrorCode::AuthorizationQueryParametersError),
                "{life}"
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
    fn signed_queries_of_version_2() {
        let (signed, _) = run(Request::get("/b/k?AWSAccessKeyId=AK&Signature=s&Expires=99"), false);
        assert_eq!(signed.ok(), Some(Signed::ByQuery { until: 99 }));
        for query in
            ["Signature=s", "AWSAccessKeyId=AK&Signature=s", "AWSAccessKeyId=AK&Signature=s&Expires=soon"]
        {
            assert_eq!(code(&format!("/b/k?{query}")), Some(S3ErrorCode::AccessDenied), "{query}");
        }
    }

    #[test]
    fn a_link_cannot_be_given_another_meaning_by_a_header() {
        let request = Request::put(v4("", "")).header("x-amz-copy-source", "/b/other");
        let error = run(request, false).0.expect_err("not signed");
        assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
        let request =
            Request::put(v4("X-Amz-SignedHeaders", "host%3Bx-amz-acl")).header("x-amz-acl", "private");
        assert!(run(request, false).0.is_ok());
    }

    #[test]
    fn credentials_beside_a_link_are_dropped() {
        let (signed, parts) = run(Request::get(v4("", "")).header("authorization", "Bearer key"), false);
        assert!(signed.is_ok() && !parts.headers.contains_key(AUTHORIZATION));
        let error =
            run(Request::get("/b/k").header("authorization", "AWS AK:sig"), false).0.expect_err("version 2");
        assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
    }

    #[test]
    fn the_host_that_is_verified() {
        let verified = |sent: &str, proxied| {
            let (_, parts) = run(Request::get("/b/k").header("host", sent), proxied);
            parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
        };
        assert_eq!(verified("127.0.0.1:8080", false).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(verified("127.0.0.1:8080", true).as_deref(), Some("pics.example.com"));
        assert_eq!(verified("b.pics.example.com", true).as_deref(), Some("b.pics.example.com"));
        let (_, parts) = run(Request::get("http://pics.example.com/b/k"), false);
        assert_eq!(parts.headers.get(HOST).expect("made of the URI"), "pics.example.com");
    }

    #[test]
    fn forms_are_refused_unread() {
        let request = Request::post("/b").header("content-type", "Multipart/Form-Data; boundary=x");
        assert_eq!(run(request, false).0.expect_err("refused").code(), &S3ErrorCode::NotImplemented);
    }
}
