//! JPEG encoding and decoding.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use tintype_core::picture::{Format, Pixels};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{PictureError, checked_size, exif};

/// Default quality. Artefacts are invisible at normal size; a higher quality costs many bytes for little
/// gain.
const DEFAULT_QUALITY: u8 = 90;

/// Quality of previews, which are shown for a moment only.
const PREVIEW_QUALITY: u8 = 70;

pub(crate) fn encode(
    pixels: &Pixels,
    parameters: &str,
    compression: Option<u8>,
) -> Result<Vec<u8>, PictureError> {
    let fail = |error| PictureError::encode(Format::Jpeg, error);
    let (width, height) = checked_size(pixels, Format::Jpeg, u16::MAX)?;
    let mut file = Vec::new();
    // JPEG's quality scale begins at 1.
    let mut encoder = Encoder::new(&mut file, compression.map_or(DEFAULT_QUALITY, |percent| percent.max(1)));
    // Chroma at full resolution: models tend to saturated colours with hard edges, which bleed with chroma
    // subsampling. Files are 40 % larger.
    encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
    encoder.set_optimized_huffman_tables(true);
    encoder.add_exif_metadata(&exif::with_user_comment(parameters)).map_err(fail)?;
    encoder.encode(pixels.rgb(), width, height, ColorType::Rgb).map_err(fail)?;
    Ok(file)
}

/// Encodes a preview: lower quality, chroma subsampling, no metadata.
pub(crate) fn encode_preview(pixels: &Pixels) -> Result<Vec<u8>, PictureError> {
    let (width, height) = checked_size(pixels, Format::Jpeg, u16::MAX)?;
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, PREVIEW_QUALITY);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    let encoded = encoder.encode(pixels.rgb(), width, height, ColorType::Rgb);
    encoded.map_err(|error| PictureError::encode(Format::Jpeg, error))?;
    Ok(file)
}

pub(crate) fn decode(file: &[u8]) -> Result<Pixels, PictureError> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let rgb = decoder.decode().map_err(|error| PictureError::decode(Format::Jpeg, error))?;
    let info = decoder.info().ok_or_else(|| PictureError::decode(Format::Jpeg, "no frame header"))?;
    Pixels::new(info.width.into(), info.height.into(), rgb)
        .ok_or_else(|| PictureError::decode(Format::Jpeg, "the number of samples does not match the header"))
}
