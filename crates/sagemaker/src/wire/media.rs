//! Content types: how a request's body is written, and which response the client accepts.

use super::InvocationError;

/// A request or a response in JSON. As `Accept`: pictures as nested arrays of numbers.
pub const JSON: &str = "application/json";
/// As `Accept`: JSON with every picture as a JPEG file in base64.
pub const JSON_JPEG: &str = "application/json;jpeg";
/// A request whose whole body is the prompt.
pub const TEXT: &str = "application/x-text";

/// How the response encodes its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureEncoding {
    /// As files, in base64.
    Files,
    /// As `[[[r, g, b], …], …]`, rows from the top, 0 to 255.
    Pixels,
}

impl PictureEncoding {
    /// Reads an `Accept` header; an absent or empty one means `application/json`. The first supported media
    /// range wins; quality values (`q=`) are ignored.
    ///
    /// # Errors
    /// [`InvocationError::NotAcceptable`] if no media range includes JSON.
    pub fn from_accept(accept: Option<&str>) -> Result<Self, InvocationError> {
        let accept = accept.map_or("", str::trim);
        if accept.is_empty() {
            return Ok(Self::Pixels);
        }
        let mut supported = accept.split(',').filter_map(|range| {
            let (media_type, parameters) = split_parameters(range);
            let jpeg = parameters.split(';').any(|parameter| parameter.trim().eq_ignore_ascii_case("jpeg"));
            let is_json = ["application/json", "application/*", "*/*"]
                .iter()
                .any(|known| media_type.eq_ignore_ascii_case(known));
            is_json.then_some(if jpeg { Self::Files } else { Self::Pixels })
        });
        supported.next().ok_or(InvocationError::NotAcceptable)
    }
}

/// How a request's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFormat {
    Json,
    Text,
}

impl BodyFormat {
    /// Reads a `Content-Type` header; an absent or empty one means JSON.
    pub(super) fn from_content_type(content_type: Option<&str>) -> Result<Self, InvocationError> {
        let (media_type, _) = split_parameters(content_type.unwrap_or_default());
        match media_type.to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/x-text" | "text/plain" => Ok(Self::Text),
            _ => Err(InvocationError::UnsupportedContentType),
        }
    }
}

fn split_parameters(media_type: &str) -> (&str, &str) {
    let (name, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    (name.trim(), parameters)
}
