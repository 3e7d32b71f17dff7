//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header).

use axum::http::{HeaderMap, HeaderName};

use crate::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The response header that marks the response to a repeated request.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The maximum length of a key, in characters.
pub(crate) const MAX_CHARS: usize = 255;

/// The idempotency key, if there is one.
///
/// # Errors
/// [`Problem::InvalidIdempotencyKey`] for more than one key, or a key that is not 1 to 255 visible ASCII
/// characters.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(text) if visible && (1..=MAX_CHARS).contains(&text.len()) && keys.next().is_none() => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(Problem::InvalidIdempotencyKey),
    }
}
