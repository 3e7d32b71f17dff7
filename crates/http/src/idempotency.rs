//! The client's word that this is one request, however often it is sent (draft-ietf-httpapi-idempotency-key-header).

use axum::http::{HeaderMap, HeaderName};

use crate::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that says that this was answered before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in characters.
const MAX_CHARS: usize = 255;

/// The idempotency key, if there is one.
///
/// # Errors
/// [`Problem::InvalidIdempotencyKey`] unless there is at most one, of 1 to 255 visible ASCII characters.
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
