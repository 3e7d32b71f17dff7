//! WebP encoding and decoding with libwebp. Lossy files, the reason to request WebP, have an eighth of the
//! lossless size; the encoders written in Rust are lossless only, or have an incompatible licence. This
//! module writes the container with the EXIF chunk itself, because libwebp has that code in a second library.

use tintype_core::picture::{Format, Pixels};
use webp::{BitstreamFeatures, Decoder, Encoder, WebPConfig, WebPMemory};

use crate::{PictureError, checked_size, exif};

/// Default quality. It looks like JPEG's 90 at less than half the size.
const DEFAULT_QUALITY: f32 = 90.0;
/// Quality of previews, which are shown for a moment only.
const PREVIEW_QUALITY: f32 = 70.0;
/// The format stores width and height in 14 bits each.
const MAX_SIDE: u16 = 16_383;
/// Flag in the `VP8X` chunk: the file has an EXIF chunk.
const HAS_EXIF: u8 = 0x08;
const RIFF_HEADER_BYTES: usize = 12;

pub(crate) fn encode(
    pixels: &Pixels,
    parameters: &str,
    compression: Option<u8>,
) -> Result<Vec<u8>, PictureError> {
    let (width, height) = checked_size(pixels, Format::Webp, MAX_SIDE)?;
    let simple = compress(pixels, compression.map_or(DEFAULT_QUALITY, f32::from))?;
    Ok(with_exif(&simple[RIFF_HEADER_BYTES..], width, height, &exif::with_user_comment(parameters)))
}

/// Encodes a preview: lower quality, no metadata.
pub(crate) fn encode_preview(pixels: &Pixels) -> Result<Vec<u8>, PictureError> {
    checked_size(pixels, Format::Webp, MAX_SIDE)?;
    Ok(compress(pixels, PREVIEW_QUALITY)?.to_vec())
}

/// Encodes into the simple container (one image chunk). The caller has checked the size.
fn compress(pixels: &Pixels, quality: f32) -> Result<WebPMemory, PictureError> {
    let fail = |reason: String| PictureError::encode(Format::Webp, reason);
    let mut config = WebPConfig::new().map_err(|()| fail("unsupported version of libwebp".into()))?;
    config.quality = quality;
    // The format halves the chroma resolution; sharp YUV conversion avoids bleeding at saturated edges.
    config.use_sharp_yuv = 1;
    Encoder::from_rgb(pixels.rgb(), pixels.width(), pixels.height())
        .encode_advanced(&config)
        .map_err(|error| fail(format!("{error:?}")))
}

/// The extended container (RFC 9649, section 2.7) with an image chunk and an EXIF chunk.
fn with_exif(image_chunk: &[u8], width: u16, height: u16, exif: &[u8]) -> Vec<u8> {
    let mut header = vec![HAS_EXIF, 0, 0, 0];
    for side in [width, height] {
        header.extend_from_slice(&u32::from(side - 1).to_le_bytes()[..3]);
    }
    let mut body = b"WEBP".to_vec();
    push_chunk(&mut body, b"VP8X", &header);
    body.extend_from_slice(image_chunk);
    push_chunk(&mut body, b"EXIF", exif);

    let mut file = Vec::with_capacity(body.len() + 8);
    push_chunk(&mut file, b"RIFF", &body);
    file
}

/// Appends a chunk: name, length, content, and a padding byte if the length is odd.
fn push_chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    file.extend_from_slice(name);
    file.extend_from_slice(&(content.len() as u32).to_le_bytes());
    file.extend_from_slice(content);
    if content.len() % 2 == 1 {
        file.push(0);
    }
}

pub(crate) fn decode(file: &[u8]) -> Result<Pixels, PictureError> {
    let fail = |reason: &str| PictureError::decode(Format::Webp, reason);
    let features = BitstreamFeatures::new(file).ok_or_else(|| fail("no WebP header"))?;
    if features.has_animation() {
        return Err(fail("animations are not supported"));
    }
    let image = Decoder::new(file).decode().ok_or_else(|| fail("invalid image data"))?;
    let rgb = if image.is_alpha() {
        image.chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect()
    } else {
        image.to_vec()
    };
    Pixels::new(image.width(), image.height(), rgb)
        .ok_or_else(|| fail("the number of samples does not match the header"))
}
