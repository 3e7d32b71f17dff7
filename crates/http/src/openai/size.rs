//! OpenAI's parameter `size`, and the replacement of sizes that the model does not support.

use std::fmt;

use tintype_core::model::ModelCard;
use tintype_core::request::{MAX_SIDE, MIN_SIDE, RequestLimits};

/// The size of an image in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    /// Parses `WIDTHxHEIGHT`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let side = |digits: &str| {
            let is_number = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number && !digits.starts_with('0'))
        };
        let (width, height) = text.split_once('x')?;
        Some(Self { width: side(width)?, height: side(height)? })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The same size if the model supports it, otherwise the size with the same aspect ratio and the model's
/// default area.
pub(super) fn fit(size: Size, model: &ModelCard, limits: &RequestLimits) -> Size {
    let pixels = u64::from(size.width) * u64::from(size.height);
    let model_pixels = u64::from(model.width) * u64::from(model.height);
    // The limits may allow more, but the image quality suffers far above the model's default area.
    let max_pixels = limits.max_pixels.min(model_pixels * 9 / 4);
    let scale = if pixels > max_pixels { (model_pixels as f64 / pixels as f64).sqrt() } else { 1.0 };
    let unit = model.size_multiple;
    // The addend compensates the rounding error of an exact scale.
    let scaled = |side: u32| {
        let units = (f64::from(side) * scale / f64::from(unit) + 1e-6).floor();
        (units as u32 * unit).max(MIN_SIDE.next_multiple_of(unit))
    };
    let (width, height) = (scaled(size.width), scaled(size.height));
    // If the shorter side was raised to its minimum, the longer side may exceed the area.
    let shorter = u64::from(width.min(height));
    let max_side = (max_pixels / shorter).min(MAX_SIDE.into()) as u32 / unit * unit;
    let max_side = max_side.max(MIN_SIDE.next_multiple_of(unit));
    Size { width: width.min(max_side), height: height.min(max_side) }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_size_is_two_numbers() {
        assert_eq!(Size::parse("1024x768"), Some(Size { width: 1024, height: 768 }));
        for invalid in
            ["", "x", "auto", "1024", "1024x", "0x8", "-1x8", "1024X768", "8x8x8", "08x8", "+8x8", "123456x8"]
        {
            assert_eq!(Size::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_size_that_is_too_large_keeps_its_aspect_ratio() {
        let model = ModelCard {
            name: "m".into(),
            width: 256,
            height: 256,
            steps: 20,
            guidance: 5.0,
            ..ModelCard::default()
        };
        let limits = RequestLimits::for_model(&model);
        for (requested, fitted) in [
            ((256, 256), (256, 256)),
            ((384, 384), (384, 384)),
            ((512, 512), (256, 256)),
            ((1024, 1024), (256, 256)),
            ((1536, 1024), (312, 208)),
            ((1024, 1792), (192, 336)),
            ((100, 300), (96, 296)),
            ((16, 16), (64, 64)),
            ((99_999, 1), (2304, 64)),
            ((1, 500), (64, 496)),
        ] {
            let size = |(width, height)| Size { width, height };
            assert_eq!(fit(size(requested), &model, &limits), size(fitted), "{requested:?}");
        }
    }
}
