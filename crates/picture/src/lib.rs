//! Encodes and decodes JPEG, PNG and WebP, with the generation parameters in the file's metadata.
//!
//! The parameters have the format of AUTOMATIC1111's web UI, which galleries and other tools read: PNG text
//! with the key `parameters`, EXIF `UserComment` in JPEG and WebP.

mod exif;
mod jpeg;
mod parameters;
mod png;
mod webp;

use std::error::Error;

use tintype_core::picture::{Encoded, Format, Picture, Pixels};

pub use parameters::Parameters;

/// Why encoding or decoding failed.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The image is larger than the format allows.
    #[error("{format} allows at most {limit} pixels per side; the image is {width}×{height}")]
    TooLarge {
        /// The requested format.
        format: Format,
        /// The format's maximum width and height in pixels.
        limit: u32,
        /// The image's width in pixels.
        width: u32,
        /// The image's height in pixels.
        height: u32,
    },
    /// The encoder failed.
    #[error("failed to encode {format}")]
    Encode {
        /// The requested format.
        format: Format,
        /// The encoder's error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file is damaged, or not of the declared format.
    #[error("failed to decode {format}")]
    Decode {
        /// The declared format.
        format: Format,
        /// The decoder's error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl PictureError {
    fn encode(format: Format, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Encode { format, source: source.into() }
    }

    fn decode(format: Format, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Decode { format, source: source.into() }
    }
}

/// The file of an image that needs no encoding: it has the requested format, and the request has no
/// `compression`. The metadata of the remote engine that wrote the file is kept.
pub fn passthrough<'p>(picture: &'p Picture, format: Format, parameters: &Parameters) -> Option<&'p Encoded> {
    match picture {
        Picture::Encoded(file) if file.format == format && parameters.compression.is_none() => Some(file),
        Picture::Encoded(_) | Picture::Pixels(_) => None,
    }
}

/// Encodes an image, with `parameters` in its metadata. A file that needs no encoding (see [`passthrough`])
/// is returned unchanged.
///
/// This takes from milliseconds to about a second of computing time: call it on a thread that may block.
///
/// # Errors
/// [`PictureError::TooLarge`] if the format does not allow the size, [`PictureError::Decode`] if a file that
/// needs conversion is damaged, [`PictureError::Encode`] for every other failure.
pub fn encode(picture: &Picture, format: Format, parameters: &Parameters) -> Result<Encoded, PictureError> {
    if let Some(file) = passthrough(picture, format, parameters) {
        return Ok(file.clone());
    }
    let decoded;
    let pixels = match picture {
        Picture::Encoded(file) => {
            decoded = decode(file)?;
            &decoded
        }
        Picture::Pixels(pixels) => pixels,
    };
    let text = parameters.to_string();
    let bytes = match format {
        Format::Jpeg => jpeg::encode(pixels, &text, parameters.compression),
        Format::Png => png::encode(pixels, &text),
        Format::Webp => webp::encode(pixels, &text, parameters.compression),
    }?;
    Ok(Encoded { format, bytes: bytes.into() })
}

/// Encodes a preview: without metadata, and at a low quality if the format is lossy.
///
/// # Errors
/// [`PictureError::TooLarge`], [`PictureError::Encode`].
pub fn encode_preview(pixels: &Pixels, format: Format) -> Result<Encoded, PictureError> {
    let bytes = match format {
        Format::Jpeg => jpeg::encode_preview(pixels),
        Format::Png => png::encode_preview(pixels),
        Format::Webp => webp::encode_preview(pixels),
    }?;
    Ok(Encoded { format, bytes: bytes.into() })
}

/// Decodes a file. Transparency is dropped; greyscale and palette images become RGB.
///
/// # Errors
/// [`PictureError::Decode`] if the bytes are not an image of the declared format.
pub fn decode(file: &Encoded) -> Result<Pixels, PictureError> {
    match file.format {
        Format::Jpeg => jpeg::decode(&file.bytes),
        Format::Png => png::decode(&file.bytes),
        Format::Webp => webp::decode(&file.bytes),
    }
}

/// Width and height, or [`PictureError::TooLarge`] if one of them is above `limit`.
fn checked_size(pixels: &Pixels, format: Format, limit: u16) -> Result<(u16, u16), PictureError> {
    let side = |length: u32| u16::try_from(length).ok().filter(|&side| side <= limit);
    side(pixels.width()).zip(side(pixels.height())).ok_or(PictureError::TooLarge {
        format,
        limit: limit.into(),
        width: pixels.width(),
        height: pixels.height(),
    })
}

#[cfg(test)]
mod tests;
