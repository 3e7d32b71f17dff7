//! What spends is fenced: only somebody who means it gets through.

use axum::http::HeaderMap;

use crate::caller;
use crate::problem::Problem;

/// Headers by which browsers and other clients say that they only fetch ahead.
const AHEAD: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// Refuses a `GET` that a browser sent without its user asking for it.
///
/// # Errors
/// [`Problem::Prefetch`] and [`Problem::CrossSite`].
pub(crate) fn deliberate(headers: &HeaderMap) -> Result<(), Problem> {
    if AHEAD.iter().any(|name| headers.get_all(*name).iter().any(|value| is_ahead(value.as_bytes()))) {
        return Err(Problem::Prefetch);
    }
    same_site(headers)
}

/// Refuses what another site's page made a browser send. A page that presents a key has been given it.
///
/// # Errors
/// [`Problem::CrossSite`].
pub(crate) fn same_site(headers: &HeaderMap) -> Result<(), Problem> {
    let sites = headers.get_all("sec-fetch-site");
    let cross = sites.iter().any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
    if cross && !caller::is_presented(headers) { Err(Problem::CrossSite) } else { Ok(()) }
}

/// `prefetch`, `prefetch;prerender`, `prefetch;anonymous-client-ip`, `preview`, …
fn is_ahead(purpose: &[u8]) -> bool {
    let purpose = purpose.to_ascii_lowercase();
    purpose
        .split(|byte| matches!(byte, b';' | b',' | b' '))
        .any(|token| matches!(token, b"prefetch" | b"prerender" | b"preview"))
}
