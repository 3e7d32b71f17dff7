//! The normalization of paths, before a route is selected: repeated slashes count as one, and slashes at the
//! end do not count.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The request with a normalized path.
pub(crate) async fn normalize(mut request: Request) -> Request {
    if let Some(uri) = normalized_uri(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// The URI with a normalized path, if that is another one.
fn normalized_uri(uri: &Uri) -> Option<Uri> {
    let path = normalized(uri.path())?;
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

/// The normalized path, if it is another one.
fn normalized(path: &str) -> Option<String> {
    let is_normal = !path.starts_with('/') || (!path.contains("//") && (path == "/" || !path.ends_with('/')));
    if is_normal {
        return None;
    }
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    Some(format!("/{}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_merged_and_removed_at_the_end() {
        for (path, expected) in [
            ("/v1//images/generations", "/v1/images/generations"),
            ("//v1/images/generations", "/v1/images/generations"),
            ("/v1/images/generations/", "/v1/images/generations"),
            ("/docs/", "/docs"),
            ("//", "/"),
            ("///v1///models//org//x///?a=//", "/v1/models/org/x?a=//"),
            ("/generate/?prompt=a/", "/generate?prompt=a/"),
            ("http://localhost//docs/?x", "http://localhost/docs?x"),
        ] {
            let uri = path.parse().expect("a URI");
            assert_eq!(normalized_uri(&uri).map(|uri| uri.to_string()).as_deref(), Some(expected), "{path}");
        }
        for path in ["/", "/?prompt=a", "/docs", "/v1/images?a=b//", "/%2F/x", "*"] {
            assert_eq!(normalized_uri(&path.parse().expect("a URI")), None, "{path}");
        }
    }
}
