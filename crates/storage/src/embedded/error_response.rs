//! Completes the XML of error responses: messages for codes that `s3s` sends without one, the request id, and
//! the region in errors about the region.

use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Response};
use s3s::Body;
use uuid::Uuid;

use super::REGION;

/// The header of the request id, as in S3.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Codes of errors that `s3s` sends without a message, and their messages.
const MESSAGES: [(&str, &str); 12] = [
    ("EntityTooLarge", "The body of the request is too large."),
    ("IncompleteBody", "The body is shorter than Content-Length, or its signature does not match."),
    ("InternalError", "The server failed to process the request. Its log has the cause."),
    (
        "InvalidBucketName",
        "The bucket name is not valid. Use 3 to 63 lower-case letters, digits, hyphens and dots.",
    ),
    ("InvalidURI", "The server cannot decode the URI."),
    ("KeyTooLongError", "The key is longer than 1,024 bytes."),
    ("MalformedXML", "The XML of the request is not valid, or does not have the elements that S3 expects."),
    ("MaxMessageLengthExceeded", "The XML of the request is too large."),
    ("MethodNotAllowed", "The method is not allowed for this resource."),
    ("MissingContentLength", "The request must have the header Content-Length."),
    ("MissingRequestBodyError", "The request must have a body."),
    (
        "SignatureDoesNotMatch",
        "The signature of the request does not match the signature that the server calculated. Check the secret access key and the signing method.",
    ),
];

/// A new request id: 16 hexadecimal digits, as in S3.
pub(crate) fn new_request_id() -> String {
    let id = Uuid::new_v4().simple().to_string().to_ascii_uppercase();
    id[..16].to_owned()
}

/// Adds the request id, and completes the XML of an error. `resource` is the path of the request.
pub(crate) fn complete(response: &mut Response<Body>, resource: &str, request_id: &str) {
    if let Ok(id) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return;
    }
    let Some(xml) = response.body().bytes() else { return };
    let Ok(xml) = std::str::from_utf8(&xml) else { return };
    let Some(head) = xml.strip_suffix("</Error>") else { return };
    let code = element(xml, "Code").unwrap_or_default();
    tracing::debug!(%request_id, %status, code, resource, "S3 request failed");
    let mut completed = head.to_owned();
    if !xml.contains("<Message>") {
        let known = MESSAGES.iter().find(|(known, _)| *known == code);
        let message = known.map_or("The server rejected the request.", |(_, message)| *message);
        completed += &format!("<Message>{message}</Message>");
    }
    let is_about_region = xml.contains(" region ")
        && matches!(code, "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError");
    if is_about_region {
        completed += &format!("<Region>{REGION}</Region>");
    }
    let resource = escape(resource);
    completed += &format!("<Resource>{resource}</Resource><RequestId>{request_id}</RequestId></Error>");
    if response.headers().contains_key(CONTENT_LENGTH) {
        response.headers_mut().insert(CONTENT_LENGTH, completed.len().into());
    }
    *response.body_mut() = Body::from(completed);
}

/// The text of the first element with this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

/// A text without control characters as XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use s3s::{S3Error, S3ErrorCode, s3_error};

    use super::*;

    fn completed(error: S3Error) -> String {
        let mut response = error.to_http_response().expect("a response");
        complete(&mut response, "/b/a&b", "ID");
        assert_eq!(response.headers().get(REQUEST_ID).expect("an id"), "ID");
        let xml = response.body().bytes().expect("a body");
        String::from_utf8(xml.to_vec()).expect("UTF-8")
    }

    #[test]
    fn errors_have_a_message_a_resource_and_an_id() {
        let xml = completed(S3ErrorCode::SignatureDoesNotMatch.into());
        assert!(xml.contains("<Code>SignatureDoesNotMatch</Code><Message>The signature of"), "{xml}");
        assert!(xml.ends_with("<Resource>/b/a&amp;b</Resource><RequestId>ID</RequestId></Error>"), "{xml}");
        let xml = completed(s3_error!(NoSuchKey, "No key."));
        assert!(xml.contains("<Message>No key.</Message><Resource>"), "{xml}");
        let xml = completed(S3ErrorCode::AmbiguousGrantByEmailAddress.into());
        assert!(xml.contains("<Message>The server rejected the request.</Message>"), "{xml}");
        let xml = completed(s3_error!(AuthorizationHeaderMalformed, "The region x is wrong."));
        assert!(xml.contains("<Region>us-east-1</Region>"), "{xml}");
    }

    #[test]
    fn other_responses_have_only_the_id() {
        let mut response = Response::new(Body::from("<a></Error>".to_owned()));
        complete(&mut response, "/", &new_request_id());
        assert_eq!(response.headers().get(REQUEST_ID).expect("an id").len(), 16);
        assert_eq!(&response.body().bytes().expect("a body")[..], b"<a></Error>");
    }
}
