//! Authentication: the API key of a request.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tintype_service::Caller;

use crate::cors::CorsPolicy;
use crate::images::parse_job_id;
use crate::path_param::PathParam;
use crate::problem::{CredentialsError, Problem};
use crate::query;
use crate::{App, csrf};

/// The alternative to the `Authorization` header.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The query parameter with the token of an event URL.
pub(crate) const EVENTS_TOKEN: &str = "token";

/// The authenticated caller of a request; anonymous if the server allows requests without a key.
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequestParts<App> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        // If every page may read responses, reading is as sensitive as writing: pages of other origins must
        // not use the rights of clients without a key.
        if !parts.method.is_safe() || app.cors == CorsPolicy::Any {
            csrf::reject_cross_site(&parts.headers, &app.cors)?;
        }
        let key = presented_key(&parts.headers)?;
        if key.is_none() && app.is_loopback && is_forwarded(&parts.headers) {
            return Err(Problem::Credentials(CredentialsError::Forwarded));
        }
        Ok(Self(app.service.authenticate(key).await?))
    }
}

/// The caller of a job's event stream: by its API key, or else by the token of the event URL.
pub(crate) struct EventsCaller(pub(crate) Caller);

impl FromRequestParts<App> for EventsCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = parts.uri.query().and_then(|query| query::value(query, EVENTS_TOKEN));
        let Some(token) = token.filter(|_| !has_key(&parts.headers)) else {
            return Authenticated::from_request_parts(parts, app)
                .await
                .map(|Authenticated(caller)| Self(caller));
        };
        let PathParam(id) = PathParam::from_request_parts(parts, app).await?;
        Ok(Self(app.service.authenticate_events_token(parse_job_id(&id)?, &token).await?))
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
