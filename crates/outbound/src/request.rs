//! A request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Headers that the client sets itself or never sends: credentials, and what would show other sites or change how the
/// message is read.
const REMOVED: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::REFERER,
    header::ORIGIN,
    header::FORWARDED,
    header::HOST,
    header::USER_AGENT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::TE,
    header::TRAILER,
];

/// A request to a URL that a caller chose.
#[derive(Clone, Debug)]
pub struct OutboundRequest {
    pub(crate) url: String,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl OutboundRequest {
    /// A GET request.
    pub fn get(url: &str) -> Self {
        Self { url: url.to_owned(), method: Method::GET, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A POST request. The body is sent again only after a redirect of status 307 or 308.
    pub fn post(url: &str, content_type: HeaderValue, body: Bytes) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        Self { url: url.to_owned(), method: Method::POST, headers, body }
    }

    /// Adds a header, for example a signature of the body. It is not sent to another origin after a redirect.
    /// Headers with credentials of this server and headers that the client sets itself are left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if !REMOVED.contains(&name) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Changes the request as a redirect of this status demands.
    pub(crate) fn redirect(&mut self, status: StatusCode, is_same_origin: bool) {
        let repeats = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !repeats {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(header::CONTENT_TYPE);
        }
        if !is_same_origin {
            let kept = [header::ACCEPT, header::CONTENT_TYPE];
            let kept: Vec<_> = kept
                .into_iter()
                .filter_map(|name| self.headers.remove(&name).map(|value| (name, value)))
                .collect();
            self.headers = HeaderMap::from_iter(kept);
        }
    }
}
