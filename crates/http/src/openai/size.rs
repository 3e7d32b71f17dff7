//! Sizes as OpenAI's clients write them, and what becomes of those that this model does not make.

use tintype_core::engine::ModelCard;
use tintype_core::request::{MAX_SIDE, MIN_SIDE, RequestLimits, SIDE_UNIT};

/// Reads `WIDTHxHEIGHT`.
pub(super) fn read(text: &str) -> Option<(u32, u32)> {
    let side = |digits: &str| {
        let plain = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain && !digits.starts_with('0'))
    };
    let (width, height) = text.split_once('x')?;
    side(width).zip(side(height))
}

/// The size itself if this model makes it, or the one of the same shape that it makes best: of its own area.
pub(super) fn fit((width, height): (u32, u32), model: &ModelCard, limits: &RequestLimits) -> (u32, u32) {
    let pixels = u64::from(width) * u64::from(height);
    let own = u64::from(model.width) * u64::from(model.height);
    // More may be allowed, but is not what the model was made for.
    let most = limits.max_pixels.min(own * 9 / 4);
    let scale = if pixels > most { (own as f64 / pixels as f64).sqrt() } else { 1.0 };
    // Rounded, so that a size that scales exactly is not lost to the last bit of a double.
    let side = |side: u32| {
        let units = (f64::from(side) * scale / f64::from(SIDE_UNIT) + 1e-6).floor();
        (units as u32 * SIDE_UNIT).max(MIN_SIDE)
    };
    let (width, height) = (side(width), side(height));
    // A shape that is narrower than any picture can be comes out too long.
    let shorter = u64::from(width.min(height));
    let longest = (most / shorter).min(MAX_SIDE.into()) as u32 / SIDE_UNIT * SIDE_UNIT;
    (width.min(longest.max(MIN_SIDE)), height.min(longest.max(MIN_SIDE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers() {
        assert_eq!(read("1024x768"), Some((1024, 768)));
        for bad in
            ["", "x", "auto", "1024", "1024x", "0x8", "-1x8", "1024X768", "8x8x8", "08x8", "+8x8", "123456x8"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_too_large_keeps_its_shape() {
        let model = ModelCard { name: "m".into(), width: 256, height: 256, steps: 20, guidance: 5.0 };
        let limits = RequestLimits::for_model(&model);
        for (asked, made) in [
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
            assert_eq!(fit(asked, &model, &limits), made, "{asked:?}");
        }
    }
}
