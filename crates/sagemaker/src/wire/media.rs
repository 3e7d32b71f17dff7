//! Content types: how a request is written, and how its answer is to be.

use super::InvocationError;

/// A request or an answer in JSON; as `Accept`, pictures as nested arrays of numbers.
pub const JSON: &str = "application/json";
/// As `Accept`: JSON with every picture as a JPEG file in base64.
pub const JSON_JPEG: &str = "application/json;jpeg";
/// A request that is nothing but the prompt.
pub const TEXT: &str = "application/x-text";

/// How the client wants its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As files, in base64.
    Files,
    /// As `[[[r, g, b], …], …]`, rows from the top, 0 to 255.
    Pixels,
}

impl Wanted {
    /// Reads an `Accept` header; absent or empty is the same as `application/json`. Preferences (`q=`) are not looked
    /// at: the first kind that can be had is taken.
    ///
    /// # Errors
    /// [`InvocationError::NotAcceptable`] if there is no JSON among what the client accepts.
    pub fn of(accept: Option<&str>) -> Result<Self, InvocationError> {
        let accept = accept.map_or("", str::trim);
        if accept.is_empty() {
            return Ok(Self::Pixels);
        }
        let kinds = accept.split(',').filter_map(|range| {
            let (media_type, parameters) = split(range);
            let jpeg = parameters.split(';').any(|parameter| parameter.trim().eq_ignore_ascii_case("jpeg"));
            let is_json = ["application/json", "application/*", "*/*"]
                .iter()
                .any(|known| media_type.eq_ignore_ascii_case(known));
            is_json.then_some(if jpeg { Self::Files } else { Self::Pixels })
        });
        let mut kinds = kinds;
        kinds.next().ok_or(InvocationError::NotAcceptable)
    }
}

/// How a request's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Json,
    Text,
}

impl Written {
    /// Reads a `Content-Type` header; absent or empty means JSON.
    pub(super) fn of(content_type: Option<&str>) -> Result<Self, InvocationError> {
        let (media_type, _) = split(content_type.unwrap_or_default());
        match media_type.to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/x-text" | "text/plain" => Ok(Self::Text),
            _ => Err(InvocationError::UnsupportedContentType),
        }
    }
}

fn split(media_type: &str) -> (&str, &str) {
    let (name, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    (name.trim(), parameters)
}
