//! What a request says of its own signature.

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName};
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};
use tintype_core::secret::Secret;

use super::error::SignatureError;

/// How far a request's time may be from ours.
const SKEW: Duration = Duration::minutes(15);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "sagemaker";
/// When the request was signed.
const DATE: &str = "x-amz-date";
/// Headers that change on their way, so that no SDK signs them, although their names begin with `x-amz`. The checksum
/// is not needed either, as the body itself is hashed.
const MAY_BE_UNSIGNED: [&str; 4] =
    ["x-amz-content-sha256", "x-amz-cf-id", "x-amz-user-agent", "x-amzn-trace-id"];

/// One pair of access keys, whose requests are let in.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
}

/// A signature as the headers describe it: by a key that exists, of the right scope and time, over all headers that it
/// must cover. Whether it is genuine, [`Claim::verify`](Self::verify) says.
#[derive(Clone, Debug)]
pub struct Claim {
    pub(super) keys: AccessKeys,
    pub(super) region: String,
    pub(super) signed_at: OffsetDateTime,
    /// Sorted, and none twice.
    pub(super) signed_headers: Vec<HeaderName>,
    pub(super) signature: String,
}

impl Claim {
    /// Reads and checks what can be checked without the body. Behind HTTP/2 the caller puts the authority into the header
    /// `host` first.
    ///
    /// # Errors
    /// Every [`SignatureError`] but a wrong signature's.
    pub fn read(headers: &HeaderMap, keys: &AccessKeys, now: OffsetDateTime) -> Result<Self, SignatureError> {
        let fields = authorization(headers)?;
        let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name));
        let credential = field("Credential=")
            .ok_or(SignatureError::Incomplete("Authorization header requires 'Credential'."))?;
        let names = field("SignedHeaders=")
            .ok_or(SignatureError::Incomplete("Authorization header requires 'SignedHeaders'."))?;
        let signature = field("Signature=")
            .ok_or(SignatureError::Incomplete("Authorization header requires 'Signature'."))?;
        let (region, day) = scope(credential, keys)?;
        let signed_at = date(headers)?;
        if day != signed_at.1.get(..8).unwrap_or_default() {
            return Err(SignatureError::Scope(
                "Date in Credential scope does not match YYYYMMDD from the request.",
            ));
        }
        if (signed_at.0 - now).abs() > SKEW {
            return Err(SignatureError::Expired { signed: signed_at.1.to_owned(), now: basic(now) });
        }
        let signed_headers = signed_headers(names, headers)?;
        Ok(Self {
            keys: keys.clone(),
            region: region.to_owned(),
            signed_at: signed_at.0,
            signed_headers,
            signature: signature.to_owned(),
        })
    }
}

/// The fields of the one `Authorization` header.
fn authorization(headers: &HeaderMap) -> Result<&str, SignatureError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(SignatureError::Missing) };
    let value = value.to_str().map_err(|_| SignatureError::Missing)?;
    value.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or(SignatureError::Missing)
}

/// The region and the day of `ID/DAY/REGION/SERVICE/aws4_request`.
fn scope<'a>(credential: &'a str, keys: &AccessKeys) -> Result<(&'a str, &'a str), SignatureError> {
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

/// When the request was signed, and how it writes that.
fn date(headers: &HeaderMap) -> Result<(OffsetDateTime, &str), SignatureError> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let text = headers.get(DATE).and_then(|value| value.to_str().ok()).ok_or(SignatureError::Incomplete(
        "Authorization header requires existence of an 'X-Amz-Date' header.",
    ))?;
    let date = PrimitiveDateTime::parse(text, format)
        .map_err(|_| SignatureError::Incomplete("X-Amz-Date must be in the form 20260101T000000Z."))?;
    Ok((date.assume_utc(), text))
}

fn basic(at: OffsetDateTime) -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    at.format(format).unwrap_or_default()
}

/// The names of the headers that are covered: each there, and there once, so that nothing can be added to it.
fn signed_headers(names: &str, headers: &HeaderMap) -> Result<Vec<HeaderName>, SignatureError> {
    let mut signed = Vec::new();
    for name in names.split(';') {
        let known = HeaderName::from_lowercase(name.as_bytes()).map_err(|_| {
            SignatureError::Incomplete("SignedHeaders must be names of headers in lower case.")
        })?;
        if headers.get_all(&known).iter().count() != 1 {
            return Err(SignatureError::Mismatch);
        }
        signed.push(known);
    }
    if !signed.is_sorted_by(|one, next| one.as_str() < next.as_str()) {
        return Err(SignatureError::Mismatch);
    }
    let must = |name: &str| {
        let service = name.starts_with("x-amz") && !MAY_BE_UNSIGNED.contains(&name);
        service || name == "content-type"
    };
    let unsigned = headers.keys().find(|name| must(name.as_str()) && !signed.contains(name));
    if let Some(name) = unsigned {
        return Err(SignatureError::UnsignedHeader(name.to_string()));
    }
    // Asked for by name, as a request need not have it.
    if !signed.contains(&HOST) {
        return Err(SignatureError::UnsignedHeader("host".to_owned()));
    }
    if headers.contains_key("x-amz-security-token") {
        return Err(SignatureError::UnknownKey);
    }
    Ok(signed)
}
