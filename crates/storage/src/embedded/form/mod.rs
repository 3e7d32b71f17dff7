//! Uploads from HTML forms (presigned POST): a form with a signed policy becomes a request to put an object.
//!
//! `s3s` has such uploads too, but it holds the whole file in memory, and refuses a policy that is older than
//! 15 minutes.

mod fields;
mod policy;
mod reader;
mod signature;

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, ETAG, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::StreamBody;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3Result, StdError, s3_error};
use time::OffsetDateTime;

use self::fields::Fields;
use self::policy::check_length;
use self::reader::FormReader;
use super::body_error::BodyError;
use super::credentials::AccessKeys;
use super::hosts::{Hosts, request_host};
use super::{error_response, s3};

/// The characters that the path of a URL does not encode.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// The characters that a value in a query does not encode.
const QUERY: &AsciiSet = &PATH.add(b'/');

/// What an upload from a form needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormUpload<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) keys: &'a AccessKeys,
    /// The service without verification of signatures.
    pub(super) service: &'a S3Service,
    /// The public URL, without a slash at its end.
    pub(super) endpoint: &'a str,
}

/// Whether the request is a form, by its media type.
pub(super) fn is_form(parts: &Parts) -> bool {
    let media_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    parts.method == Method::POST && media_type.to_ascii_lowercase().starts_with(b"multipart/form-data")
}

impl FormUpload<'_> {
    /// Stores the file of a form.
    ///
    /// # Errors
    /// The S3 error, if the form is not accepted.
    pub(super) async fn respond(self, parts: &Parts, body: Body) -> S3Result<Response<Body>> {
        let bucket = self.bucket(parts)?;
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = content_type.and_then(reader::boundary).ok_or_else(|| {
            s3_error!(MalformedPOSTRequest, "Content-Type must be multipart/form-data with a boundary.")
        })?;
        let mut reader = FormReader::new(body, &boundary);
        reader.skip_preamble().await?;
        let mut fields = Fields::new(&bucket);
        let file_name = loop {
            let part = reader.part().await?.ok_or_else(|| {
                s3_error!(
                    InvalidArgument,
                    "POST requires exactly one file upload per request, in the form field `file`."
                )
            })?;
            if part.name.eq_ignore_ascii_case("file") {
                break part.file_name.unwrap_or_default();
            }
            let value = reader.text().await?;
            fields.insert(&part.name, value)?;
        };
        fields.required("key")?;
        let now = OffsetDateTime::now_utc();
        let policy = signature::verify(&fields, self.keys, now)?;
        fields.expand(&file_name);
        policy.check(&fields, now)?;
        let request = self.put_request(&fields, reader.content(), policy.file_length())?;
        let response = self.service.call(request).await.map_err(|error| {
            tracing::error!(?error, "failed to write S3 response");
            s3_error!(InternalError, "The server failed to process the request. Its log has the cause.")
        })?;
        if response.status().is_success() { self.success(&fields, response) } else { Ok(response) }
    }

    /// The bucket in the host or in the path.
    fn bucket(&self, parts: &Parts) -> S3Result<String> {
        let in_host = request_host(parts).and_then(|host| self.hosts.bucket_in_host(host));
        let path = parts.uri.path().trim_matches('/');
        match in_host {
            Some(bucket) if path.is_empty() => Ok(bucket.to_ascii_lowercase()),
            None if !path.is_empty() && !path.contains('/') => {
                Ok(percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned())
            }
            _ => Err(s3_error!(
                MethodNotAllowed,
                "A form must be sent to the URL of a bucket. The form field `key` has the object's key."
            )),
        }
    }

    /// The request to put the object.
    fn put_request(
        &self,
        fields: &Fields,
        content: impl Stream<Item = Result<Bytes, StdError>> + Send + 'static,
        lengths: RangeInclusive<u64>,
    ) -> S3Result<Request<Body>> {
        let (bucket, key) = (fields.required("bucket")?, fields.required("key")?);
        if key.is_empty() {
            return Err(s3_error!(InvalidArgument, "The form field `key` must not be empty."));
        }
        let frames = limited(content, lengths).map(|chunk| chunk.map(Frame::data));
        let mut request = Request::new(Body::http_body_unsync(StreamBody::new(frames)));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = path_of(bucket, key)
            .parse::<Uri>()
            .map_err(|_| s3_error!(InvalidURI, "The form field `key` cannot be a part of a URL."))?;
        *request.headers_mut() = fields.headers()?;
        if let Ok(host) = HeaderValue::try_from(self.hosts.public()) {
            request.headers_mut().insert(HOST, host);
        }
        s3::mark_as_verified(request.extensions_mut());
        Ok(request)
    }

    /// The response to a form whose file is stored.
    fn success(&self, fields: &Fields, stored: Response<Body>) -> S3Result<Response<Body>> {
        let (bucket, key) = (fields.required("bucket")?, fields.required("key")?);
        let etag = stored.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        let location = format!("{}{}", self.endpoint, path_of(bucket, key));
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = stored.headers().clone();
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
        let redirect = fields.get("success_action_redirect").or_else(|| fields.get("redirect"));
        let (status, location) = match redirect.and_then(|url| redirection(url, bucket, key, etag)) {
            Some(url) => (StatusCode::SEE_OTHER, url),
            None => (status(fields), location),
        };
        if status == StatusCode::CREATED {
            let xml = created(&location, bucket, key, etag);
            *response.body_mut() = Body::from(xml);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        *response.status_mut() = status;
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }
}

/// The path of an object in a URL.
fn path_of(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{}", utf8_percent_encode(key, PATH))
}

/// The file, as long as its length is within the limits.
fn limited(
    content: impl Stream<Item = Result<Bytes, StdError>> + Send,
    lengths: RangeInclusive<u64>,
) -> impl Stream<Item = Result<Bytes, StdError>> + Send {
    let as_error = |error: S3Error| -> StdError { Box::new(BodyError::from(error)) };
    futures::stream::try_unfold((Box::pin(content), 0), move |(mut content, mut received)| {
        let lengths = lengths.clone();
        async move {
            let chunk = content.next().await.transpose()?;
            received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            check_length(&lengths, received, chunk.is_none()).map_err(as_error)?;
            Ok(chunk.map(|chunk| (chunk, (content, received))))
        }
    })
}

/// The status that the form requests. As in S3, other values mean 204.
fn status(fields: &Fields) -> StatusCode {
    match fields.get("success_action_status") {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    }
}

/// The URL of `success_action_redirect` with the object's name. `None` if it is not a web address: as in S3, the
/// field is then ignored.
fn redirection(url: &str, bucket: &str, key: &str, etag: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return None;
    }
    let separator = if uri.query().is_some() { '&' } else { '?' };
    let encode = |text| utf8_percent_encode(text, QUERY);
    Some(format!("{url}{separator}bucket={}&key={}&etag={}", encode(bucket), encode(key), encode(etag)))
}

/// The body of a response with status 201.
fn created(location: &str, bucket: &str, key: &str, etag: &str) -> String {
    let key = s3::xml_text(key);
    let elements = [("Location", location), ("Bucket", bucket), ("Key", &key), ("ETag", etag)];
    let elements: String = elements
        .iter()
        .map(|(name, text)| format!("<{name}>{}</{name}>", error_response::escape(text)))
        .collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>{elements}</PostResponse>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_have_the_name_of_the_object() {
        let redirection = |url: &str| redirection(url, "pics", "a b/虎&.png", "\"e\"");
        let query = "bucket=pics&key=a%20b%2F%E8%99%8E%26.png&etag=%22e%22";
        for (url, expected) in [
            ("https://example.com/done", format!("https://example.com/done?{query}")),
            ("http://example.com", format!("http://example.com?{query}")),
            ("https://example.com/?a=1", format!("https://example.com/?a=1&{query}")),
        ] {
            assert_eq!(redirection(url), Some(expected), "{url}");
        }
        for url in
            ["", "/done", "example.com", "javascript:alert(1)", "data:text/html,x", "ftp://example.com/"]
        {
            assert_eq!(redirection(url), None, "{url}");
        }
    }

    #[test]
    fn the_body_of_status_201() {
        let xml = created("http://h/pics/a", "pics", "a<&>\u{1}", "\"e\"");
        assert!(xml.ends_with(
            "<Location>http://h/pics/a</Location><Bucket>pics</Bucket><Key>a&lt;&amp;&gt;\u{fffd}</Key><ETag>\"e\"</ETag></PostResponse>"
        ));
    }

    #[test]
    fn forms_by_method_and_media_type() {
        for (method, media_type, expected) in [
            (Method::POST, "Multipart/Form-Data; boundary=x", true),
            (Method::PUT, "multipart/form-data; boundary=x", false),
            (Method::POST, "application/xml", false),
        ] {
            let request = Request::builder().method(method).header(CONTENT_TYPE, media_type);
            assert_eq!(is_form(&request.body(()).expect("a request").into_parts().0), expected);
        }
    }
}
