//! Security and CORS headers of every response. Stored objects may have any content, and they share an origin
//! with the API.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use s3s::Body;
use time::OffsetDateTime;

use super::disposition;
use super::request_check::Authentication;

/// Content types that a browser may display. SVG is not one of them, because it can contain scripts.
const RASTER: [&str; 6] = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/jpg"];

/// Adds the headers, and removes the body of a response of status 304.
pub(crate) fn finish(
    mut response: Response<Body>,
    method: &Method,
    signed: Option<Authentication>,
) -> Response<Body> {
    if response.status() == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_TYPE);
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    let succeeded = response.status().is_success();
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    encode_file_name(headers);
    // Only responses with an object have an ETag.
    if is_read && succeeded && headers.contains_key(ETAG) {
        force_download(headers);
    }
    if signed == Some(Authentication::Form) {
        allow_any_origin(headers);
    }
    if let Some(Authentication::Link { expires_at }) = signed
        && is_read
    {
        allow_any_origin(headers);
        let remaining = expires_at - OffsetDateTime::now_utc().unix_timestamp();
        if succeeded && remaining > 0 && !headers.contains_key(CACHE_CONTROL) {
            let value = HeaderValue::try_from(format!("private, max-age={remaining}"));
            headers.extend(value.ok().map(|value| (CACHE_CONTROL, value)));
        }
    }
    response
}

/// Replaces a `Content-Disposition` that is not ASCII, because HTTP clients disagree about its encoding.
fn encode_file_name(headers: &mut HeaderMap) {
    let Some(value) = headers.get(CONTENT_DISPOSITION).filter(|value| value.to_str().is_err()) else {
        return;
    };
    let value = disposition::to_ascii(&String::from_utf8_lossy(value.as_bytes()));
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
}

/// Makes browsers save everything except raster images, even if the object or the link says `inline`.
fn force_download(headers: &mut HeaderMap) {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if RASTER.iter().any(|raster| media_type.eq_ignore_ascii_case(raster)) {
        return;
    }
    let disposition =
        headers.get(CONTENT_DISPOSITION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, parameters) = disposition.split_at(disposition.find(';').unwrap_or(disposition.len()));
    if kind.trim().eq_ignore_ascii_case("attachment") {
        return;
    }
    let value = HeaderValue::try_from(format!("attachment{parameters}"));
    headers.insert(CONTENT_DISPOSITION, value.unwrap_or(HeaderValue::from_static("attachment")));
}

/// Allows pages of any origin to follow a link or to send a form with `fetch`, because the link or the form
/// itself is the permission.
fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed =
        "Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Location, x-amz-request-id";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
}

/// Removes the quotation marks of the ETag in the attributes of an object. S3 sends all other ETags in quotes, and
/// `s3s` has one type for both.
pub(crate) fn unquote_etag(response: &mut Response<Body>) {
    let Some(xml) = response.body().bytes().filter(|_| response.status().is_success()) else { return };
    let Ok(xml) = std::str::from_utf8(&xml) else { return };
    let unquoted = xml.replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>");
    if response.headers().contains_key(CONTENT_LENGTH) {
        response.headers_mut().insert(CONTENT_LENGTH, unquoted.len().into());
    }
    *response.body_mut() = Body::from(unquoted);
}

/// The response to a CORS preflight request.
pub(crate) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow_any_origin(headers);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
    // A page that fetches an image by the API's redirect sends its API key here too; a link needs and uses none.
    let allowed = "Authorization, If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Range, \
                   X-Api-Key";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disposition(media_type: &str, stored: Option<&str>) -> Option<String> {
        let mut response = Response::builder().header(ETAG, "\"x\"").header(CONTENT_TYPE, media_type);
        if let Some(stored) = stored {
            response = response.header(CONTENT_DISPOSITION, stored);
        }
        let response = finish(response.body(Body::empty()).expect("a response"), &Method::GET, None);
        assert_eq!(response.headers().get(X_CONTENT_TYPE_OPTIONS).expect("set"), "nosniff");
        let sent = response.headers().get(CONTENT_DISPOSITION)?;
        Some(sent.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn only_raster_images_are_displayed() {
        assert_eq!(disposition("image/png", None), None);
        assert_eq!(disposition("Image/JPEG; q=1", Some("inline")), Some("inline".into()));
        for media_type in ["image/svg+xml", "text/html", "application/pdf", "", "image/png, text/html"] {
            assert_eq!(disposition(media_type, None), Some("attachment".into()), "{media_type}");
        }
        assert_eq!(
            disposition("text/html", Some("inline; filename=\"a.html\"")),
            Some("attachment; filename=\"a.html\"".into())
        );
        for media_type in ["text/plain", "image/png"] {
            assert_eq!(
                disposition(media_type, Some("attachment; filename=\"虎.txt\"")),
                Some("attachment; filename=\"_.txt\"; filename*=UTF-8''%E8%99%8E.txt".into())
            );
        }
        assert_eq!(
            disposition("text/html", Some("inline; filename*=UTF-8''%E8%99%8E.txt")),
            Some("attachment; filename*=UTF-8''%E8%99%8E.txt".into())
        );
        assert_eq!(
            disposition("text/html", Some("Attachment; filename=a")),
            Some("Attachment; filename=a".into())
        );
    }

    #[test]
    fn links_allow_any_origin_and_caching() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let signed = Some(Authentication::Link { expires_at: now + 100 });
        let response = finish(Response::new(Body::empty()), &Method::GET, signed);
        assert_eq!(response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).expect("set"), "*");
        let cached = response.headers().get(CACHE_CONTROL).expect("set").to_str().expect("ASCII");
        assert!(cached.starts_with("private, max-age="), "{cached}");
        let response =
            finish(Response::new(Body::empty()), &Method::GET, Some(Authentication::HeadersOrNone));
        assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
