//! Verifies presigned URLs of Signature Version 2, which boto3 still creates by default, in constant time.
//!
//! `s3s` stops the comparison of such a signature at the first wrong byte, so that the time of its response would
//! depend on a guessed signature. It also does not accept the signature of boto3 for a bucket, which is for the
//! path `/BUCKET/` although the URL has the path `/BUCKET`.

use http::request::Parts;
use percent_encoding::percent_decode_str;
use s3s::crypto::{Checksum, Sha1};
use s3s::{S3ErrorCode, S3Result, s3_error};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::credentials::AccessKeys;
use super::hosts::{Hosts, request_host};
use super::s3;

/// The block length of SHA-1 in bytes.
const BLOCK_BYTES: usize = 64;

/// The parameters that the signature covers, sorted; the list of `s3s`.
const SIGNED_PARAMETERS: [&str; 35] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Verifies the signature of a URL that expires at this time, in seconds since 1970.
///
/// # Errors
/// `InvalidAccessKeyId` or `SignatureDoesNotMatch` if the signature is wrong, `AccessDenied` if the URL has
/// expired.
pub(crate) fn verify(parts: &Parts, hosts: &Hosts, keys: &AccessKeys, expires_at: i64) -> S3Result<()> {
    let query = form_pairs(parts.uri.query().unwrap_or_default());
    let id = unique(&query, "AWSAccessKeyId").unwrap_or_default();
    if id != keys.id {
        return Err(s3::unknown_access_key(id));
    }
    let received = percent_decode_str(unique(&query, "Signature").unwrap_or_default()).decode_utf8_lossy();
    let is_equal = |path: &str| {
        let text = string_to_sign(parts, hosts, (path, &query));
        let mac = hmac_sha1(keys.secret.expose().as_bytes(), text.as_bytes());
        let expected = base64_simd::STANDARD.encode_to_string(mac);
        bool::from(expected.as_bytes().ct_eq(received.as_bytes()))
    };
    let path = parts.uri.path();
    let is_bucket = !path.trim_start_matches('/').contains('/');
    let is_signed = is_equal(path) || (is_bucket && is_equal(&format!("{path}/")));
    if !is_signed {
        return Err(S3ErrorCode::SignatureDoesNotMatch.into());
    }
    if OffsetDateTime::now_utc().unix_timestamp() > expires_at {
        return Err(s3_error!(AccessDenied, "Request has expired. The URL expired at {expires_at}."));
    }
    Ok(())
}

/// The decoded pairs of a query, in which a plus sign is a space.
fn form_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The value of the parameter, unless it is repeated.
fn unique<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = query.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

/// The signed text of a request with this path and query.
fn string_to_sign(parts: &Parts, hosts: &Hosts, (path, query): (&str, &[(String, String)])) -> String {
    let header = |name: &str| {
        let mut values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.next().filter(|_| values.next().is_none()).unwrap_or_default()
    };
    let expires = unique(query, "Expires").unwrap_or_default();
    let mut text =
        format!("{}\n{}\n{}\n{expires}\n", parts.method, header("content-md5"), header("content-type"));
    let mut names: Vec<_> = parts
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .collect();
    names.sort_unstable();
    for name in names {
        let values = parts.headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let values: Vec<_> = values.iter().map(|value| value.trim()).collect();
        text += &format!("{name}:{}\n", values.join(","));
    }
    if let Some(bucket) = request_host(parts).and_then(|host| hosts.bucket_in_host(host)) {
        text += &format!("/{}", bucket.to_ascii_lowercase());
    }
    text += path;
    let signed: Vec<_> = SIGNED_PARAMETERS
        .iter()
        .filter_map(|name| match unique(query, name)? {
            "" => Some((*name).to_owned()),
            value => Some(format!("{name}={value}")),
        })
        .collect();
    if !signed.is_empty() {
        text += &format!("?{}", signed.join("&"));
    }
    text
}

/// RFC 2104.
fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..20].copy_from_slice(&Sha1::checksum(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let digest = |pad: u8, text: &[u8]| {
        let mut hasher = Sha1::new();
        hasher.update(&block.map(|byte| byte ^ pad));
        hasher.update(text);
        hasher.finalize()
    };
    digest(0x5c, &digest(0x36, text))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tintype_core::secret::Secret;

    use super::*;

    #[test]
    fn hmac() {
        // RFC 2202, cases 2 and 6.
        let mac = hmac_sha1(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(mac), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let mac = hmac_sha1(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(mac), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    // The signatures are from Python's module `hmac`.
    #[test]
    fn signatures() {
        let keys = AccessKeys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let hosts = Hosts::new(&"pics.example.com".parse().expect("an authority"), Vec::new());
        let verify = |signature: &str, query: &str, headers: &[&str]| {
            let uri = format!(
                "/photos/puppy.jpg?AWSAccessKeyId={}&Signature={signature}&Expires=1175139620{query}",
                keys.id
            );
            let mut request = Request::get(uri).header("host", "awsexamplebucket1.pics.example.com");
            for value in headers {
                request = request.header("x-amz-meta-a", *value);
            }
            verify(&request.body(()).expect("a request").into_parts().0, &hosts, &keys, i64::MAX).is_ok()
        };
        let plain = "1No4mq5ETf02z8aet9voy6gui6E%3D";
        assert!(verify(plain, "", &[]));
        assert!(verify(plain, "&not-signed=1", &[]));
        let more = "/6XYToI9br5Q5EgAgdstURta3Cg%3D";
        assert!(verify(more, "&versionId&response-content-type=image%2Fpng", &["1", " 2"]));
        for wrong in ["", "1No4mq5ETf02z8aet9voy6gui6E", "2No4mq5ETf02z8aet9voy6gui6E%3D", more] {
            assert!(!verify(wrong, "", &[]), "{wrong}");
        }
        assert!(!verify(plain, "&versionId=1", &[]) && !verify(plain, "", &["1"]));
        assert!(!verify(plain, "&Signature=x", &[]));
    }
}
