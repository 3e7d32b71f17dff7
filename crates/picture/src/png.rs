//! PNG encoding and decoding.

use std::io::Cursor;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, SrgbRenderingIntent, Transformations};
use tintype_core::picture::{Format, Pixels};

use crate::PictureError;

/// AUTOMATIC1111's keyword for the text chunk.
const KEYWORD: &str = "parameters";

pub(crate) fn encode(pixels: &Pixels, parameters: &str) -> Result<Vec<u8>, PictureError> {
    encode_with(pixels, Some(parameters))
}

/// Encodes a preview: without metadata.
pub(crate) fn encode_preview(pixels: &Pixels) -> Result<Vec<u8>, PictureError> {
    encode_with(pixels, None)
}

fn encode_with(pixels: &Pixels, parameters: Option<&str>) -> Result<Vec<u8>, PictureError> {
    let fail = |error: png::EncodingError| PictureError::encode(Format::Png, error);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, pixels.width(), pixels.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    // 33 times faster than `Balanced` for files 3 to 4 percent larger.
    encoder.set_compression(Compression::Fast);
    encoder.set_source_srgb(SrgbRenderingIntent::Perceptual);
    // A tEXt chunk is Latin-1, other text needs an iTXt chunk. Old readers support only tEXt.
    match parameters.map(str::to_owned) {
        Some(text) if text.chars().all(|c| u32::from(c) < 0x100) => {
            encoder.add_text_chunk(KEYWORD.to_owned(), text).map_err(fail)?;
        }
        Some(text) => encoder.add_itxt_chunk(KEYWORD.to_owned(), text).map_err(fail)?,
        None => {}
    }
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(pixels.rgb()).map_err(fail)?;
    writer.finish().map_err(fail)?;
    Ok(file)
}

pub(crate) fn decode(file: &[u8]) -> Result<Pixels, PictureError> {
    let fail = |error: png::DecodingError| PictureError::decode(Format::Png, error);
    let mut decoder = Decoder::new(Cursor::new(file));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(fail)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| PictureError::decode(Format::Png, "the image does not fit into memory"))?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(fail)?;
    samples.truncate(frame.buffer_size());
    let rgb = match frame.color_type {
        ColorType::Rgb => samples,
        ColorType::Rgba => samples.chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect(),
        ColorType::Grayscale => samples.into_iter().flat_map(|grey| [grey; 3]).collect(),
        ColorType::GrayscaleAlpha => samples.chunks_exact(2).flat_map(|grey| [grey[0]; 3]).collect(),
        ColorType::Indexed => return Err(PictureError::decode(Format::Png, "the palette is missing")),
    };
    Pixels::new(frame.width, frame.height, rgb)
        .ok_or_else(|| PictureError::decode(Format::Png, "the number of samples does not match the header"))
}
