//! Protection against cross-site requests and prefetches, which would cost engine time unintentionally.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

use crate::caller;
use crate::cors::CorsPolicy;
use crate::problem::Problem;

/// Headers that mark a request as a prefetch.
const PREFETCH_HEADERS: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// Rejects a `GET` that a browser sent without a user's action: a prefetch or a cross-site request.
///
/// # Errors
/// [`Problem::Prefetch`] and [`Problem::CrossSite`].
pub(crate) fn reject_unintended_get(headers: &HeaderMap, cors: &CorsPolicy) -> Result<(), Problem> {
    if PREFETCH_HEADERS
        .iter()
        .any(|name| headers.get_all(*name).iter().any(|value| is_prefetch(value.as_bytes())))
    {
        return Err(Problem::Prefetch);
    }
    reject_cross_site(headers, cors)
}

/// Rejects a request that a page of another origin made a browser send, unless it carries an API key or the
/// operator has listed the origin. Another port of this machine is another origin too.
///
/// # Errors [`Problem::CrossSite`].
pub(crate) fn reject_cross_site(headers: &HeaderMap, cors: &CorsPolicy) -> Result<(), Problem> {
    if cors.trusts(headers) {
        return Ok(());
    }
    let is_other_site = |site: &HeaderValue| {
        [&b"cross-site"[..], b"same-site"].iter().any(|value| site.as_bytes().eq_ignore_ascii_case(value))
    };
    let is_cross_site = headers.get_all("sec-fetch-site").iter().any(is_other_site)
        || headers.get_all(ORIGIN).iter().any(|origin| !is_same_origin(origin, headers));
    if is_cross_site && !caller::has_key(headers) { Err(Problem::CrossSite) } else { Ok(()) }
}

/// Whether the `Origin` header names the host of the request. The origin `null` is never the same.
fn is_same_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| Some(authority.as_bytes()) == host)
}

/// Whether a header value marks a prefetch: `prefetch`, `prefetch;prerender`, `prefetch;anonymous-client-ip`,
/// `preview`, …
fn is_prefetch(purpose: &[u8]) -> bool {
    let purpose = purpose.to_ascii_lowercase();
    purpose
        .split(|byte| matches!(byte, b';' | b',' | b' '))
        .any(|token| matches!(token, b"prefetch" | b"prerender" | b"preview"))
}
