//! Parses a request's signature, and checks what can be checked without the body.

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName};
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};
use tintype_core::secret::Secret;

use super::error::SignatureError;

/// Maximum difference between the request's time and the server's.
const MAX_CLOCK_SKEW: Duration = Duration::minutes(15);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "sagemaker";
/// Header with the time of the signature.
const DATE_HEADER: &str = "x-amz-date";
/// Headers that may be unsigned although their names begin with `x-amz`. Proxies change the last three, so no
/// SDK signs them; the checksum is not needed because the signature covers the body's hash.
const UNSIGNED_ALLOWED: [&str; 4] =
    ["x-amz-content-sha256", "x-amz-cf-id", "x-amz-user-agent", "x-amzn-trace-id"];

/// A pair of access keys; requests signed with it are accepted.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
}

/// The signature in a request's headers: by a known key, of the right scope and time, over all headers that
/// it must cover. [`RequestSignature::verify`](Self::verify) checks whether it is genuine.
#[derive(Clone, Debug)]
pub struct RequestSignature {
    pub(super) keys: AccessKeys,
    pub(super) region: String,
    pub(super) signed_at: OffsetDateTime,
    /// Sorted, without duplicates.
    pub(super) signed_headers: Vec<HeaderName>,
    pub(super) signature: String,
}

impl RequestSignature {
    /// Reads the signature and checks what can be checked without the body. For HTTP/2 the caller first
    /// copies the authority into the header `host`.
    ///
    /// # Errors
    /// Every [`SignatureError`] except that of a wrong signature.
    pub fn read(headers: &HeaderMap, keys: &AccessKeys, now: OffsetDateTime) -> Result<Self, SignatureError> {
        let fields = authorization(headers)?;
        let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name));
        let credential = field("Credential=")
            .ok_or(SignatureError::Incomplete("Authorization header requires 'Credential'."))?;
        let names = field("SignedHeaders=")
            .ok_or(SignatureError::Incomplete("Authorization header requires 'SignedHeaders'."))?;
        let signature = field("Signature=")
            .ok_or(SignatureError::Incomplete("Authorization header requires 'Signature'."))?;
        let (region, day) = parse_scope(credential, keys)?;
        let (signed_at, date) = signing_date(headers)?;
        if day != date.get(..8).unwrap_or_default() {
            return Err(SignatureError::Scope(
                "Date in Credential scope does not match YYYYMMDD from the request.",
            ));
        }
        if (signed_at - now).abs() > MAX_CLOCK_SKEW {
            return Err(SignatureError::Expired { signed: date.to_owned(), now: format_date(now) });
        }
        let signed_headers = signed_headers(names, headers)?;
        Ok(Self {
            keys: keys.clone(),
            region: region.to_owned(),
            signed_at,
            signed_headers,
            signature: signature.to_owned(),
        })
    }
}

/// The fields of the `Authorization` header, which must not be repeated.
fn authorization(headers: &HeaderMap) -> Result<&str, SignatureError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(SignatureError::Missing) };
    let value = value.to_str().map_err(|_| SignatureError::Missing)?;
    value.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or(SignatureError::Missing)
}

/// The region and the day in `ID/DAY/REGION/SERVICE/aws4_request`.
fn parse_scope<'a>(credential: &'a str, keys: &AccessKeys) -> Result<(&'a str, &'a str), SignatureError> {
    let parts: Vec<_> = credential.split('/').collect();
    let &[id, day, region, service, terminator] = parts.as_slice() else {
        return Err(SignatureError::Incomplete("Credential must have exactly 5 slash-delimited elements."));
    };
    if id != keys.id {
        return Err(SignatureError::UnknownKey);
    }
    if service != SERVICE {
        return Err(SignatureError::Scope("Credential should be scoped to correct service: 'sagemaker'."));
    }
    if terminator != "aws4_request" {
        return Err(SignatureError::Scope(
            "Credential should be scoped with a valid terminator: 'aws4_request'.",
        ));
    }
    if region.is_empty() {
        return Err(SignatureError::Scope("Credential should be scoped to a valid region."));
    }
    Ok((region, day))
}

/// The time of the signature, and its text in the header.
fn signing_date(headers: &HeaderMap) -> Result<(OffsetDateTime, &str), SignatureError> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let text = headers.get(DATE_HEADER).and_then(|value| value.to_str().ok()).ok_or(
        SignatureError::Incomplete("Authorization header requires existence of an 'X-Amz-Date' header."),
    )?;
    let date = PrimitiveDateTime::parse(text, format)
        .map_err(|_| SignatureError::Incomplete("X-Amz-Date must be in the form 20260101T000000Z."))?;
    Ok((date.assume_utc(), text))
}

fn format_date(at: OffsetDateTime) -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    at.format(format).unwrap_or_default()
}

/// The names of the signed headers. The request must have each exactly once, so that no unsigned value can be
/// added.
fn signed_headers(names: &str, headers: &HeaderMap) -> Result<Vec<HeaderName>, SignatureError> {
    let mut signed = Vec::new();
    for name in names.split(';') {
        let header = HeaderName::from_lowercase(name.as_bytes()).map_err(|_| {
            SignatureError::Incomplete(
                "SignedHeaders must be names of headers in lower case, separated by semicolons.",
            )
        })?;
        if headers.get_all(&header).iter().count() != 1 {
            return Err(SignatureError::Mismatch);
        }
        signed.push(header);
    }
    if !signed.is_sorted_by(|one, next| one.as_str() < next.as_str()) {
        return Err(SignatureError::Mismatch);
    }
    let must_be_signed = |name: &str| {
        let is_amazon = name.starts_with("x-amz") && !UNSIGNED_ALLOWED.contains(&name);
        is_amazon || name == "content-type"
    };
    let unsigned = headers.keys().find(|name| must_be_signed(name.as_str()) && !signed.contains(name));
    if let Some(name) = unsigned {
        return Err(SignatureError::UnsignedHeader(name.to_string()));
    }
    // The check above misses a request without a `host` header.
    if !signed.contains(&HOST) {
        return Err(SignatureError::UnsignedHeader("host".to_owned()));
    }
    if headers.contains_key("x-amz-security-token") {
        return Err(SignatureError::UnknownKey);
    }
    Ok(signed)
}
