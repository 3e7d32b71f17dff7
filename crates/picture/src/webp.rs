//! WebP, by libwebp: lossy, an eighth of the lossless size, which is what people ask for WebP for. (The encoders in Rust
//! are lossless only, or under licences that do not fit.) The container with the EXIF chunk is ours, since libwebp's own
//! lives in a second library.

use tintype_core::picture::{Format, Pixels};
use webp::{BitstreamFeatures, Decoder, Encoder, WebPConfig, WebPMemory};

use crate::{PictureError, checked_size, exif};

/// Looks like JPEG's 90 at less than half of its size.
const QUALITY: f32 = 90.0;
/// Good enough for what is looked at for a moment.
const SMALL_QUALITY: f32 = 70.0;
/// The format keeps a side in 14 bits.
const MAX_SIDE: u16 = 16_383;
/// The bit in `VP8X` that announces an EXIF chunk.
const HAS_EXIF: u8 = 0x08;
const RIFF_HEADER_BYTES: usize = 12;

pub(crate) fn encode(
    pixels: &Pixels,
    parameters: &str,
    compression: Option<u8>,
) -> Result<Vec<u8>, PictureError> {
    let size = checked_size(pixels, Format::Webp, MAX_SIDE)?;
    let simple = compress(pixels, compression.map_or(QUALITY, f32::from))?;
    Ok(with_exif(&simple[RIFF_HEADER_BYTES..], size, &exif::with_user_comment(parameters)))
}

/// As few bytes as will do.
pub(crate) fn encode_small(pixels: &Pixels) -> Result<Vec<u8>, PictureError> {
    checked_size(pixels, Format::Webp, MAX_SIDE)?;
    Ok(compress(pixels, SMALL_QUALITY)?.to_vec())
}

/// The simple container, for a size that the format has room for.
fn compress(pixels: &Pixels, quality: f32) -> Result<WebPMemory, PictureError> {
    let fail = |reason: String| PictureError::encode(Format::Webp, reason);
    let mut config = WebPConfig::new().map_err(|()| fail("libwebp has another version".into()))?;
    config.quality = quality;
    // The format halves the colour's resolution; this does it without the bleeding at saturated edges.
    config.use_sharp_yuv = 1;
    Encoder::from_rgb(pixels.rgb(), pixels.width(), pixels.height())
        .encode_advanced(&config)
        .map_err(|error| fail(format!("{error:?}")))
}

/// The extended container (RFC 9649, section 2.7) around a simple file's only chunk.
fn with_exif(image_chunk: &[u8], (width, height): (u16, u16), exif: &[u8]) -> Vec<u8> {
    let mut header = vec![HAS_EXIF, 0, 0, 0];
    for side in [width, height] {
        header.extend_from_slice(&u32::from(side - 1).to_le_bytes()[..3]);
    }
    let mut body = b"WEBP".to_vec();
    chunk(&mut body, b"VP8X", &header);
    body.extend_from_slice(image_chunk);
    chunk(&mut body, b"EXIF", exif);

    let mut file = Vec::with_capacity(body.len() + 8);
    chunk(&mut file, b"RIFF", &body);
    file
}

/// Appends a chunk: its name, its length, its content, and a byte of padding if the length is odd.
fn chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
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
        return Err(fail("it is an animation"));
    }
    let image = Decoder::new(file).decode().ok_or_else(|| fail("its image data is broken"))?;
    let rgb = if image.is_alpha() {
        image.chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect()
    } else {
        image.to_vec()
    };
    Pixels::new(image.width(), image.height(), rgb)
        .ok_or_else(|| fail("not as many samples as its header says"))
}
