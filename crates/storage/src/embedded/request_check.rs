//! Checks a request before the crate `s3s` verifies its signature: in cases where `s3s` is more lenient than
//! S3 or answers differently, and where it would read the body into memory before the verification.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::REGION;
use super::form;
use super::hosts::{Hosts, request_host};
use super::query_string::QueryString;
use crate::signer::MAX_LINK_SECONDS;

#[cfg(test)]
mod tests;

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    /// A signature in the query. The link expires at this time, in seconds since 1970.
    Link { expires_at: i64 },
    /// A signature in the headers, or none.
    HeadersOrNone,
    /// A signature in an HTML form.
    Form,
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
pub(crate) const MAX_CLOCK_DIFFERENCE: i64 = 900;

/// Headers that may be unsigned although their names begin with `x-amz-`: the first is a checksum of the
/// body, which is verified, and proxies add the others.
const UNSIGNED_ALLOWED: [&str; 3] = ["x-amz-content-sha256", "x-amz-cf-id", "x-amz-user-agent"];

/// Prepares the request for the verification of its signature.
///
/// # Errors
/// The S3 error if the request cannot be verified.
pub(crate) fn check(parts: &mut Parts, hosts: &Hosts, signed_host: SignedHost) -> S3Result<Authentication> {
    set_host(parts, hosts, signed_host)?;
    let query = QueryString::of(&parts.uri);
    if form::is_form(parts) {
        check_form(parts, query)?;
        return Ok(Authentication::Form);
    }
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

/// Rejects forms of other operations: `s3s` would read them into memory before it verifies the signature.
fn check_form(parts: &Parts, query: QueryString<'_>) -> S3Result<()> {
    if parts.headers.contains_key(AUTHORIZATION) || query.pairs().next().is_some() {
        return Err(s3_error!(
            NotImplemented,
            "An upload from an HTML form must have no query and no header Authorization. The signature must be in the form."
        ));
    }
    Ok(())
}

/// Requires the length of a body that is XML. `s3s` would report a longer body than it accepts as an internal
/// error.
///
/// # Errors
/// `MissingContentLength`, as in S3.
pub(crate) fn check_length_of_xml(parts: &Parts, hosts: &Hosts, is_empty: bool) -> S3Result<()> {
    let is_in_host = request_host(parts).is_some_and(|host| hosts.bucket_in_host(host).is_some());
    let path = parts.uri.path().trim_matches('/');
    let has_xml = match parts.method {
        // DeleteObjects and CompleteMultipartUpload.
        Method::POST => QueryString::of(&parts.uri)
            .pairs()
            .any(|(name, _)| matches!(name.as_str(), "delete" | "uploadId")),
        // CreateBucket.
        Method::PUT => path.is_empty() || (!is_in_host && !path.contains('/')),
        _ => false,
    };
    if has_xml && !is_empty && !parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(s3_error!(MissingContentLength, "The request must have the header Content-Length."));
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

pub(crate) fn check_service(credential: &str) -> S3Result<()> {
    if credential.ends_with("/s3/aws4_request") {
        return Ok(());
    }
    Err(s3_error!(AccessDenied, "The credential scope must end with /s3/aws4_request."))
}

/// The server accepts every name that AWS could give to a region. Others, such as `US`, are an error that
/// names the region, so that the client can sign the request again.
pub(crate) fn check_region(credential: &str, code: S3ErrorCode) -> S3Result<()> {
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
