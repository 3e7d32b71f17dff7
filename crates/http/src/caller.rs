//! Authentication: the API key of a request.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tintype_service::Caller;

use crate::problem::{CredentialsError, Problem};
use crate::{App, csrf};

/// The alternative to the `Authorization` header.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The authenticated caller of a request; anonymous if the server allows requests without a key.
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequestParts<App> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if !parts.method.is_safe() {
            csrf::reject_cross_site(&parts.headers)?;
        }
        let key = presented_key(&parts.headers)?;
        if key.is_none() && app.is_loopback && is_forwarded(&parts.headers) {
            return Err(Problem::Credentials(CredentialsError::Forwarded));
        }
        Ok(Self(app.service.authenticate(key).await?))
    }
}

/// Whether a proxy forwarded the request.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

/// Whether the request carries an API key, valid or not.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(API_KEY)
}

/// The API key of the request, if it carries one.
///
/// # Errors
/// [`Problem::Credentials`] for another scheme, differing keys, or characters outside visible ASCII.
fn presented_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let bearer = headers.get_all(AUTHORIZATION).iter().map(parse_bearer);
    let api_key = headers.get_all(API_KEY).iter().map(|value| as_text(value).map(str::trim));
    let mut found = None;
    for key in bearer.chain(api_key) {
        let key = key?;
        if found.is_some_and(|earlier| earlier != key) {
            return Err(Problem::Credentials(CredentialsError::Conflicting));
        }
        found = Some(key);
    }
    Ok(found)
}

fn parse_bearer(value: &HeaderValue) -> Result<&str, Problem> {
    let text = as_text(value)?;
    match text.split_once(' ').unwrap_or((text, "")) {
        (scheme, key) if scheme.eq_ignore_ascii_case("bearer") => Ok(key.trim()),
        _ => Err(Problem::Credentials(CredentialsError::UnsupportedScheme)),
    }
}

fn as_text(value: &HeaderValue) -> Result<&str, Problem> {
    value.to_str().map_err(|_| Problem::Credentials(CredentialsError::InvalidCharacters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Option<String>, ()> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        presented_key(&headers).map(|key| key.map(str::to_owned)).map_err(|_| ())
    }

    #[test]
    fn a_key_may_be_in_either_header() {
        let key = |key: &str| Ok(Some(key.to_owned()));
        for (headers, expected) in [
            (&[][..], Ok(None)),
            (&[("authorization", "Bearer k")], key("k")),
            (&[("authorization", "bEARER  k ")], key("k")),
            (&[("x-api-key", "k")], key("k")),
            (&[("authorization", "Bearer k"), ("x-api-key", "k")], key("k")),
            (&[("authorization", "Bearer k"), ("x-api-key", "l")], Err(())),
            (&[("x-api-key", "k"), ("x-api-key", "l")], Err(())),
            (&[("authorization", "Bearer")], key("")),
            (&[("authorization", "Basic azpr")], Err(())),
            (&[("authorization", "k")], Err(())),
            (&[("authorization", "")], Err(())),
        ] {
            assert_eq!(read(headers), expected, "{headers:?}");
        }
    }
}
