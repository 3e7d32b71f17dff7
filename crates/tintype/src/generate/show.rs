//! The picture in the terminal: by kitty's or iTerm's protocol where there is one, else in half blocks.

use image::{DynamicImage, RgbImage};
use tintype_core::picture::Encoded;

/// Draws a picture. What cannot be drawn is left out: the file is what was asked for.
pub(super) fn show(file: &Encoded) {
    let Ok(pixels) = tintype_picture::decode(file) else { return };
    let Some(image) = RgbImage::from_raw(pixels.width(), pixels.height(), pixels.rgb().to_vec()) else {
        return;
    };
    let here = viuer::Config { absolute_offset: false, ..viuer::Config::default() };
    if let Err(error) = viuer::print(&DynamicImage::ImageRgb8(image), &here) {
        tracing::debug!(%error, "the picture could not be shown");
    }
}
