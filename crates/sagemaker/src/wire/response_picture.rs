//! Parses a picture in a JSON response: a file in base64, or nested arrays of numbers. Both are parsed
//! without an intermediate JSON value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use tintype_core::picture::{Encoded, Picture, Pixels};

use super::sniff::sniff_format;

/// A picture in either form.
pub(super) struct ResponsePicture(pub(super) Picture);

impl<'de> serde::Deserialize<'de> for ResponsePicture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PictureVisitor).map(Self)
    }
}

struct PictureVisitor;

impl<'de> Visitor<'de> for PictureVisitor {
    type Value = Picture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image: base64, or rows of pixels")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Picture, E> {
        // Some models write a data URL.
        let base64 = match text.strip_prefix("data:") {
            Some(url) => url.split_once(',').map_or("", |(_, data)| data),
            None => text,
        };
        let bytes = base64_simd::forgiving_decode_to_vec(base64.as_bytes())
            .map_err(|_| E::custom("an image is not valid base64"))?;
        let format =
            sniff_format(&bytes).ok_or_else(|| E::custom("an image is neither JPEG, PNG nor WebP"))?;
        Ok(Picture::Encoded(Encoded { format, bytes: bytes.into() }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Picture, A::Error> {
        let mut rgb = Vec::new();
        let (mut row_length, mut height) = (None, 0u32);
        while let Some(length) = rows.next_element_seed(Row(&mut rgb))? {
            if *row_length.get_or_insert(length) != length {
                return Err(A::Error::custom("the rows of an image differ in length"));
            }
            height = height.saturating_add(1);
        }
        let width = row_length.and_then(|length| u32::try_from(length).ok()).filter(|width| *width > 0);
        let pixels = width.and_then(|width| Pixels::new(width, height, rgb));
        pixels.map(Picture::Pixels).ok_or_else(|| A::Error::custom("an image has no pixels"))
    }
}

/// Appends one row's samples, and returns the row's length in pixels.
struct Row<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row of [red, green, blue], each from 0 to 255")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pixels: A) -> Result<usize, A::Error> {
        let before = self.0.len();
        while let Some(pixel) = pixels.next_element::<[u8; 3]>()? {
            self.0.extend_from_slice(&pixel);
        }
        Ok((self.0.len() - before) / 3)
    }
}
