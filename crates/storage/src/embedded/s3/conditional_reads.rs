//! Conditions and ranges of reads, by the rules of RFC 9110.
//!
//! `s3s` verifies a signature before it parses the headers, but then rejects values that RFC 9110 requires
//! a server to ignore. So this route takes the headers of a request whose signature is valid, and gives the
//! request without them to a second service.

use async_trait::async_trait;
use http::header::{
    AUTHORIZATION, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    RANGE,
};
use http::{Extensions, HeaderMap, Method, Request, Uri};
use percent_encoding::percent_decode_str;
use s3s::route::S3Route;
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3Request, S3Response, S3Result};

use super::access::{mark_as_verified, require_signature};
use super::conditions::{ETagList, ReadConditions};
use super::ranges::ByteRange;

/// The headers that this module reads.
const HEADERS: [HeaderName; 6] =
    [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];

/// The route for reads with conditions or ranges.
pub(super) struct ConditionalReads {
    /// The service without this route.
    pub(super) service: S3Service,
}

#[async_trait]
impl S3Route for ConditionalReads {
    fn is_match(&self, method: &Method, _: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        matches!(*method, Method::GET | Method::HEAD) && HEADERS.iter().any(|name| headers.contains_key(name))
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        require_signature(request.credentials.as_ref(), &request.extensions)
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let S3Request { input, method, uri, mut headers, extensions, .. } = request;
        let conditions = take_conditions(&mut headers);
        headers.remove(AUTHORIZATION);
        let mut forwarded = Request::new(input);
        *forwarded.method_mut() = method;
        *forwarded.uri_mut() = without_signature(uri);
        *forwarded.headers_mut() = headers;
        *forwarded.extensions_mut() = extensions;
        forwarded.extensions_mut().insert(conditions);
        mark_as_verified(forwarded.extensions_mut());
        let response = self.service.call(forwarded).await;
        let (parts, body) =
            response.map_err(|error| S3Error::internal_error(HttpFailure(error)))?.into_parts();
        let mut response = S3Response::new(body);
        response.status = Some(parts.status);
        response.headers = parts.headers;
        response.extensions = parts.extensions;
        Ok(response)
    }
}

/// The service failed to write a response.
#[derive(Debug, thiserror::Error)]
#[error("failed to write S3 response: {0:?}")]
struct HttpFailure(s3s::HttpError);

/// Takes the headers. Values that cannot be read are ignored.
fn take_conditions(headers: &mut HeaderMap) -> ReadConditions {
    // Repeated headers are one list.
    let mut take = |name: HeaderName| {
        let values: Vec<_> = headers.get_all(&name).iter().map(|value| value.as_bytes()).collect();
        let text = String::from_utf8_lossy(&values.join(&b", "[..])).into_owned();
        headers.remove(name);
        Some(text).filter(|text| !text.is_empty())
    };
    let mut time = |name| take(name).as_deref().and_then(http_date);
    let (if_modified_since, if_unmodified_since) = (time(IF_MODIFIED_SINCE), time(IF_UNMODIFIED_SINCE));
    ReadConditions {
        if_modified_since,
        if_unmodified_since,
        if_match: take(IF_MATCH).as_deref().map(ETagList::parse),
        if_none_match: take(IF_NONE_MATCH).as_deref().map(ETagList::parse),
        if_range: take(IF_RANGE),
        range: take(RANGE).as_deref().and_then(ByteRange::parse),
    }
}

/// An HTTP date in seconds since 1970.
pub(super) fn http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    let since_1970 = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_secs()).ok()
}

/// The URI without the signature of a presigned URL, because the signature covers the headers.
pub(in crate::embedded) fn without_signature(uri: Uri) -> Uri {
    let Some(query) = uri.query() else { return uri };
    let is_signature = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy();
        matches!(&*name, "X-Amz-Signature" | "Signature")
    };
    let kept: Vec<_> = query.split('&').filter(|pair| !is_signature(pair)).collect();
    let path_and_query = format!("{}?{}", uri.path(), kept.join("&"));
    let mut parts = uri.into_parts();
    // Without some of its pairs, a query remains valid.
    parts.path_and_query = path_and_query.parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_headers_are_ignored() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (IF_MODIFIED_SINCE, "yesterday"),
            (IF_UNMODIFIED_SINCE, "0"),
            (RANGE, "bytes=0-1"),
            (RANGE, "bytes=4-5"),
            (IF_NONE_MATCH, "\"a\""),
            (IF_NONE_MATCH, "\"b\""),
        ] {
            headers.append(name, value.parse().expect("a value"));
        }
        let conditions = take_conditions(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
        assert_eq!(
            conditions,
            ReadConditions { if_none_match: Some(ETagList::parse("\"a\", \"b\"")), ..Default::default() }
        );
    }

    #[test]
    fn dates_have_three_forms() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(http_date(text), Some(784_111_777), "{text}");
        }
        for text in ["", "784111777", "Sun, 06 Nov 1994", "1994-11-06T08:49:37Z"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn signatures_are_removed() {
        let without = |uri: &'static str| without_signature(Uri::from_static(uri)).to_string();
        assert_eq!(without("/b/k?a=1&X-Amz-Signature=00&b=%2F"), "/b/k?a=1&b=%2F");
        assert_eq!(without("/b/k?X-Amz%2DSignature=00&Signature=x&Expires=1"), "/b/k?Expires=1");
        assert_eq!(without("/b/k"), "/b/k");
        assert_eq!(without("http://h/b/k?Signature=x"), "http://h/b/k?");
    }
}
