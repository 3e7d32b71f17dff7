//! Cross-origin resource sharing (the CORS protocol of the Fetch standard): which web pages of other origins
//! may send requests and read the responses.
//!
//! The policy also applies to responses that no handler creates, so it works on headers and is not only a
//! layer of the router. Cookies are not used, so responses never allow credentials.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// How long a browser may reuse the answer to a preflight request, in seconds: the longest time that Chrome
/// accepts.
const MAX_AGE_S: u64 = 7_200;
/// The methods of the API.
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "DELETE"];
/// The response headers that a page may read besides those that every page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "accept-encoding, content-disposition, content-length, content-range, etag, idempotency-replayed, location, \
     preference-applied, ratelimit, ratelimit-policy, retry-after, retry-after-ms, www-authenticate, x-request-id, \
     x-should-retry",
);
/// The request headers that are allowed if a preflight request names none.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, prefer, x-api-key",
);

/// The origins whose pages may read responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsPolicy {
    /// None but the server's own.
    #[default]
    SameOrigin,
    /// These. The operator trusts their pages like those of the server itself.
    Origins(Arc<[HeaderValue]>),
    /// All. Pages of other origins need an API key or a signed URL for every request, also where other
    /// clients need none.
    Any,
}

/// The text is not a list of origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigins {
    /// This part is not an origin.
    #[error("`{0}` is not an origin")]
    Malformed(String),
    /// `null`, the origin of sandboxed frames and local files of everyone.
    #[error("`null` stands for pages of every author and cannot be allowed")]
    Null,
    /// `*` stands beside other origins.
    #[error("`*` must be the only entry")]
    NotAlone,
}

impl FromStr for CorsPolicy {
    type Err = InvalidOrigins;

    /// Origins separated by commas, or `*`.
    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        if parts.contains(&"*") {
            return if parts.len() == 1 { Ok(Self::Any) } else { Err(InvalidOrigins::NotAlone) };
        }
        Ok(Self::Origins(parts.into_iter().map(parse_origin).collect::<Result<_, _>>()?))
    }
}

/// An origin in the form in which browsers send it: in lower case, without a default port.
fn parse_origin(text: &str) -> Result<HeaderValue, InvalidOrigins> {
    if text == "null" {
        return Err(InvalidOrigins::Null);
    }
    let malformed = || InvalidOrigins::Malformed(text.to_owned());
    let text = text.strip_suffix('/').unwrap_or(text);
    let (scheme, authority) = text.split_once("://").ok_or_else(malformed)?;
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(malformed());
    }
    let scheme: Scheme = scheme.to_ascii_lowercase().parse().map_err(|_| malformed())?;
    let authority: Authority = authority.to_ascii_lowercase().parse().map_err(|_| malformed())?;
    let host = authority.host();
    let has_only_host_and_port = !authority.as_str().contains(['@', '*', '?', '#', '/']) && !host.is_empty();
    let port = authority.as_str().strip_prefix(host).ok_or_else(malformed)?;
    if !has_only_host_and_port || (!port.is_empty() && authority.port_u16().is_none()) {
        return Err(malformed());
    }
    let default = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port = authority.port_u16().filter(|port| Some(*port) != default);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    HeaderValue::try_from(format!("{scheme}://{host}{port}")).map_err(|_| malformed())
}

impl CorsPolicy {
    /// Whether all origins that the request names are listed, so that its page is trusted like one of the
    /// server's own. False without an `Origin` header.
    pub(crate) fn trusts(&self, headers: &HeaderMap) -> bool {
        let Self::Origins(listed) = self else { return false };
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        origins.peek().is_some() && origins.all(|origin| listed.contains(origin))
    }

    /// The origin that may read the response.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Self::SameOrigin => None,
            // Also without an `Origin` header: a browser may reuse the response of an `<img>` element for a
            // script.
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Origins(_) => self.trusts(headers).then(|| headers.get(ORIGIN).cloned()).flatten(),
        }
    }

    /// The answer to a preflight request from an allowed origin. [`allow`](Self::allow) completes it.
    fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let requested = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| method == Method::OPTIONS)?;
        let is_allowed = METHODS.iter().any(|name| name.as_bytes() == requested.as_bytes());
        if !is_allowed || !headers.contains_key(ORIGIN) {
            return None;
        }
        self.allowed(headers)?;
        // SDKs send headers of their own. An origin that is allowed may send every header.
        let request_headers = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(REQUEST_HEADERS);
        let answer = [
            (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::try_from(METHODS.join(", ")).ok()?),
            (ACCESS_CONTROL_ALLOW_HEADERS, request_headers),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE_S.into()),
        ];
        Some((StatusCode::NO_CONTENT, answer).into_response())
    }

    /// Allows the page that sent a request with these headers to read the response.
    pub fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if let Self::Origins(_) = self {
            // Caches must not give the response to a page of another origin.
            response.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.allowed(request) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Answers preflight requests, which carry no API key.
pub(crate) async fn answer_preflight(
    State(policy): State<CorsPolicy>,
    request: Request,
    next: Next,
) -> Response {
    match policy.preflight(request.method(), request.headers()) {
        Some(answer) => answer,
        None => next.run(request).await,
    }
}

/// Allows pages to read the responses, also those of errors.
pub(crate) async fn allow_reading(
    State(policy): State<CorsPolicy>,
    request: Request,
    next: Next,
) -> Response {
    let origins: HeaderMap =
        request.headers().get_all(ORIGIN).iter().map(|origin| (ORIGIN, origin.clone())).collect();
    let mut response = next.run(request).await;
    policy.allow(&origins, response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_the_form_of_browsers() {
        for (text, expected) in [
            ("https://app.example", "https://app.example"),
            ("https://app.example/", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://192.0.2.1", "http://192.0.2.1"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let policy = CorsPolicy::Origins([HeaderValue::from_static(expected)].into());
            assert_eq!(text.parse(), Ok(policy), "{text}");
        }
        let several = "https://a.example, https://b.example:8443".parse();
        let [a, b] = ["https://a.example", "https://b.example:8443"].map(HeaderValue::from_static);
        assert_eq!(several, Ok(CorsPolicy::Origins([a, b].into())));
        assert_eq!("*".parse(), Ok(CorsPolicy::Any));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/path",
            "https://app.example?x",
            "https://app.example#x",
            "https://user@app.example",
            "https://user:password@app.example",
            "https://*.example",
            "https://app.example:",
            "https://app.example:x",
            "https://app.example:99999",
            "https://a b",
            "https://bücher.example",
            "://app.example",
            "https://a.example,",
            "https://a.example;https://b.example",
        ] {
            assert!(matches!(text.parse::<CorsPolicy>(), Err(InvalidOrigins::Malformed(_))), "{text}");
        }
        assert_eq!("null".parse::<CorsPolicy>(), Err(InvalidOrigins::Null));
        assert_eq!("https://a.example, null".parse::<CorsPolicy>(), Err(InvalidOrigins::Null));
        assert_eq!("*, https://a.example".parse::<CorsPolicy>(), Err(InvalidOrigins::NotAlone));
    }
}
