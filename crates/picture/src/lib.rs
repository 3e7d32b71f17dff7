//! Pictures as files: JPEG, PNG and WebP, with the parameters that made them in their metadata.
//!
//! The parameters are written the way AUTOMATIC1111's web UI writes them, which is what galleries and other tools read:
//! PNG text under the key `parameters`, EXIF `UserComment` in the other two.

mod exif;
mod jpeg;
mod parameters;
mod png;
mod webp;

use std::error::Error;

use tintype_core::picture::{Encoded, Format, Picture, Pixels};

pub use parameters::Parameters;

/// Why a picture could not become a file, or a file a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The format has no room for so many pixels per side.
    #[error("{format} holds at most {limit} pixels per side; this picture is {width}×{height}")]
    TooLarge {
        /// The format asked for.
        format: Format,
        /// Its longest side in pixels.
        limit: u32,
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The encoder gave up.
    #[error("the {format} could not be written")]
    Encode {
        /// The format asked for.
        format: Format,
        /// The encoder's own error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file is broken, or not what it says it is.
    #[error("the {format} could not be read")]
    Decode {
        /// The format that the file claims.
        format: Format,
        /// The decoder's own error.
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

/// The file that a picture is already, if it may be passed on byte for byte: it has this format, and no compression is asked for.
/// What a remote engine wrote into it stays.
pub fn passed_on<'p>(picture: &'p Picture, format: Format, parameters: &Parameters) -> Option<&'p Encoded> {
    match picture {
        Picture::Encoded(file) if file.format == format && parameters.compression.is_none() => Some(file),
        Picture::Encoded(_) | Picture::Pixels(_) => None,
    }
}

/// Makes a file of a picture, with `parameters` in its metadata, unless it is [passed on](passed_on).
///
/// This computes for milliseconds up to about a second: call it from a thread that may block.
///
/// # Errors
/// [`PictureError::TooLarge`] if the format has no room for the size, [`PictureError::Decode`] if a file to be converted
/// is broken, [`PictureError::Encode`] for anything else.
pub fn encode(picture: &Picture, format: Format, parameters: &Parameters) -> Result<Encoded, PictureError> {
    if let Some(file) = passed_on(picture, format, parameters) {
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

/// A file of a picture that is only looked at while a better one is being made: nothing in its metadata, and few bytes where the
/// format is a lossy one.
///
/// # Errors
/// [`PictureError::TooLarge`], [`PictureError::Encode`].
pub fn preview(pixels: &Pixels, format: Format) -> Result<Encoded, PictureError> {
    let bytes = match format {
        Format::Jpeg => jpeg::encode_small(pixels),
        Format::Png => png::encode_bare(pixels),
        Format::Webp => webp::encode_small(pixels),
    }?;
    Ok(Encoded { format, bytes: bytes.into() })
}

/// Reads a file's pixels. Transparency is dropped; grey and palettes become RGB.
///
/// # Errors
/// [`PictureError::Decode`] if the bytes are not a picture of the format they claim.
pub fn decode(file: &Encoded) -> Result<Pixels, PictureError> {
    match file.format {
        Format::Jpeg => jpeg::decode(&file.bytes),
        Format::Png => png::decode(&file.bytes),
        Format::Webp => webp::decode(&file.bytes),
    }
}

/// The side lengths as the format's own integers, or that it has no room for them.
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
