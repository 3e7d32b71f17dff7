//! The encodings of a request body: its content encoding, and the character encoding of its text.

use std::io::Read;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use flate2::read::MultiGzDecoder;

use crate::params::NAME_CHARS;
use crate::problem::Problem;

/// The byte order mark of UTF-8, with which some editors and libraries begin a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Why a body has no text in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncodingError {
    /// The body is UTF-16 or UTF-32.
    Utf16,
    /// The byte at this position, from 0, is not UTF-8.
    NotUtf8 {
        /// The position.
        position: usize,
        /// The encoding that the content type names.
        charset: Option<String>,
    },
    /// The body is not gzip, although its content encoding is.
    InvalidGzip,
}

/// The supported content encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentEncoding {
    Identity,
    Gzip,
}

/// The encodings of a body, as the headers of its request name them.
#[derive(Debug)]
pub(crate) struct BodyEncoding {
    content: ContentEncoding,
    /// The character encoding, if it is not UTF-8.
    charset: Option<String>,
}

impl BodyEncoding {
    /// The encoding of text that has no headers: UTF-8, not compressed.
    pub(crate) const PLAIN: Self = Self { content: ContentEncoding::Identity, charset: None };

    /// # Errors
    /// [`Problem::UnsupportedContentEncoding`].
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { content: content_encoding(headers)?, charset: charset(headers) })
    }

    /// The text of a body as UTF-8, without a byte order mark.
    ///
    /// # Errors
    /// [`Problem::BodyEncoding`], and [`Problem::BodyTooLarge`] for a compressed body with more than `limit`
    /// bytes.
    pub(crate) fn decode(self, body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
        let mut text = match self.content {
            ContentEncoding::Identity => body.to_vec(),
            ContentEncoding::Gzip => decompress(body, limit)?,
        };
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        // JSON begins with an ASCII character. UTF-16 and UTF-32 write it with a zero byte.
        if matches!(text.as_slice(), [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] | [0, _, ..] | [_, 0, ..]) {
            return Err(Problem::BodyEncoding(BodyEncodingError::Utf16));
        }
        let position = std::str::from_utf8(&text).err().map(|error| error.valid_up_to());
        match position {
            None => Ok(text),
            Some(position) => {
                let charset = self.charset;
                Err(Problem::BodyEncoding(BodyEncodingError::NotUtf8 { position, charset }))
            }
        }
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<ContentEncoding, Problem> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(ContentEncoding::Identity) };
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "identity" if values.next().is_none() => Ok(ContentEncoding::Identity),
        "gzip" | "x-gzip" if values.next().is_none() => Ok(ContentEncoding::Gzip),
        _ => Err(Problem::UnsupportedContentEncoding(text.chars().take(NAME_CHARS).collect())),
    }
}

fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut plain);
    read.map_err(|_| Problem::BodyEncoding(BodyEncodingError::InvalidGzip))?;
    if plain.len() > limit { Err(Problem::BodyTooLarge(limit)) } else { Ok(plain) }
}

/// The character encoding that the content type names, if it is not UTF-8.
fn charset(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    let charset: String = charset.trim().trim_matches('"').chars().take(NAME_CHARS).collect();
    (!charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("utf8")).then_some(charset)
}
