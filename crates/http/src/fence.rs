//! A `GET` that spends is fenced: only somebody who means it gets through.

use axum::http::HeaderMap;

use crate::problem::Problem;

/// Headers by which browsers and other clients say that they only fetch ahead.
const AHEAD: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// Refuses what a browser sent without its user asking for it.
///
/// # Errors
/// [`Problem::Prefetch`] and [`Problem::CrossSite`].
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    if AHEAD.iter().any(|name| headers.get_all(*name).iter().any(|value| is_ahead(value.as_bytes()))) {
        return Err(Problem::Prefetch);
    }
    if headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"))
    {
        return Err(Problem::CrossSite);
    }
    Ok(())
}

/// `prefetch`, `prefetch;prerender`, `prefetch;anonymous-client-ip`, `preview`, …
fn is_ahead(purpose: &[u8]) -> bool {
    let purpose = purpose.to_ascii_lowercase();
    purpose
        .split(|byte| matches!(byte, b';' | b',' | b' '))
        .any(|token| matches!(token, b"prefetch" | b"prerender" | b"preview"))
}
