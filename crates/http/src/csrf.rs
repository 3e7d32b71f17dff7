//! What spends is fenced: only somebody who means it gets through.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

use crate::caller;
use crate::problem::Problem;

/// Headers by which browsers and other clients say that they only fetch ahead.
const PREFETCH_HEADERS: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// Refuses a `GET` that a browser sent without its user asking for it.
///
/// # Errors
/// [`Problem::Prefetch`] and [`Problem::CrossSite`].
pub(crate) fn reject_unintended_get(headers: &HeaderMap) -> Result<(), Problem> {
    if PREFETCH_HEADERS
        .iter()
        .any(|name| headers.get_all(*name).iter().any(|value| is_prefetch(value.as_bytes())))
    {
        return Err(Problem::Prefetch);
    }
    reject_cross_site(headers)
}

/// Refuses what another origin's page made a browser send: another site's, or that of another server on this machine. A page
/// that presents a key has been given it.
///
/// # Errors
/// [`Problem::CrossSite`].
pub(crate) fn reject_cross_site(headers: &HeaderMap) -> Result<(), Problem> {
    let other = |site: &HeaderValue| {
        [&b"cross-site"[..], b"same-site"].iter().any(|other| site.as_bytes().eq_ignore_ascii_case(other))
    };
    let told = headers.get_all("sec-fetch-site").iter().any(other);
    let foreign = told || headers.get_all(ORIGIN).iter().any(|origin| !is_same_origin(origin, headers));
    if foreign && !caller::has_key(headers) { Err(Problem::CrossSite) } else { Ok(()) }
}

/// Whether an origin is the host that the request is for; `null` is a page that does not say.
fn is_same_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let own = headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| Some(authority.as_bytes()) == own)
}

/// `prefetch`, `prefetch;prerender`, `prefetch;anonymous-client-ip`, `preview`, …
fn is_prefetch(purpose: &[u8]) -> bool {
    let purpose = purpose.to_ascii_lowercase();
    purpose
        .split(|byte| matches!(byte, b';' | b',' | b' '))
        .any(|token| matches!(token, b"prefetch" | b"prerender" | b"preview"))
}
