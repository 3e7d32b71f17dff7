//! From one colour per latent to a picture that can be looked at.

use tintype_core::picture::Pixels;

use super::fit::Colour;
use crate::pipeline::sample_of;

/// The longer side of a preview is at least this, in pixels; and less than twice this, unless there are more latents.
const MIN_LONGER_SIDE: usize = 128;

/// A picture and the latents that it is decoded from. They may reach beyond it, by the same on either side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Width and height of the picture, in pixels.
    pub(super) picture: [usize; 2],
    /// Latents per row, and rows.
    pub(super) latents: [usize; 2],
    /// Pixels per latent.
    pub(super) scale: usize,
}

impl Frame {
    /// Width and height of the preview: a whole number of its pixels for each latent.
    fn preview(&self) -> [usize; 2] {
        let [width, height] = self.picture;
        let factor = (MIN_LONGER_SIDE * self.scale).div_ceil(width.max(height).max(1));
        self.picture.map(|side| ((2 * side * factor + self.scale) / (2 * self.scale)).max(1))
    }

    /// The preview, interpolated bilinearly from the colours of the latents; `None` if those are not as many.
    pub(super) fn enlarge(&self, colours: &[Colour]) -> Option<Pixels> {
        let [columns, rows] = self.latents;
        if colours.len() != columns * rows || colours.is_empty() {
            return None;
        }
        let [width, height] = self.preview();
        let (across, down) = (self.taps(0, width), self.taps(1, height));
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in &down {
            let row: Vec<Colour> = (0..columns)
                .map(|x| mix(colours[y.first * columns + x], colours[y.second * columns + x], y.weight))
                .collect();
            for x in &across {
                rgb.extend(mix(row[x.first], row[x.second], x.weight).map(sample_of));
            }
        }
        Pixels::new(width as u32, height as u32, rgb)
    }

    /// Which latents the preview's pixels lie between, along an axis.
    fn taps(&self, axis: usize, count: usize) -> Vec<Tap> {
        let (latents, picture) = (self.latents[axis], self.picture[axis] as f64 / self.scale as f64);
        let start = (latents as f64 - picture) / 2.0;
        (0..count)
            .map(|i| {
                let centre = start + (i as f64 + 0.5) / count as f64 * picture;
                let at = (centre - 0.5).clamp(0.0, (latents - 1) as f64);
                let first = at as usize;
                Tap { first, second: (first + 1).min(latents - 1), weight: at.fract() as f32 }
            })
            .collect()
    }
}

/// A place between two latents.
struct Tap {
    first: usize,
    second: usize,
    /// The share of the second.
    weight: f32,
}

fn mix(first: Colour, second: Colour, weight: f32) -> Colour {
    std::array::from_fn(|i| first[i] + weight * (second[i] - first[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_128_to_256_pixels_and_the_proportions_are_the_pictures() {
        for (picture, scale, preview) in [
            ([64, 64], 8, [128, 128]),
            ([512, 512], 8, [128, 128]),
            ([768, 512], 8, [192, 128]),
            ([1016, 8], 8, [254, 2]),
            ([2048, 1024], 8, [256, 128]),
            ([64, 512], 8, [16, 128]),
            // Five latents of 16 pixels, and half of the outer ones is cut off.
            ([72, 88], 16, [108, 132]),
        ] {
            let latents = picture.map(|side: usize| side.div_ceil(scale));
            let frame = Frame { picture, latents, scale };
            let pixels = frame.enlarge(&vec![[0.0; 3]; latents[0] * latents[1]]).expect("a preview");
            assert_eq!([pixels.width() as usize, pixels.height() as usize], preview, "{picture:?}");
        }
    }

    #[test]
    fn latents_lie_where_their_pixels_do() {
        // Black to white from left to right, red throughout.
        let colours: Vec<Colour> =
            [-1.0, -0.5, 0.5, 1.0].repeat(2).into_iter().map(|x| [1.0, x, x]).collect();
        let frame = Frame { picture: [32, 16], latents: [4, 2], scale: 8 };
        let pixels = frame.enlarge(&colours).expect("a preview");
        let green: Vec<u8> = pixels.rgb()[..128 * 3].iter().skip(1).step_by(3).copied().collect();
        assert!(green.is_sorted() && pixels.rgb().iter().step_by(3).all(|red| *red == 255));
        // The middles of the first two latents are at 16 and 48, between two pixels.
        assert_eq!([green[15], green[16], green[47], green[48]], [0, 1, 63, 66]);

        let truncation = Frame { picture: [16, 16], ..frame };
        let pixels = truncation.enlarge(&colours).expect("a preview");
        let samples = pixels.rgb();
        let (left, right) = (samples[1], samples[127 * 3 + 1]);
        assert!(left.abs_diff(32) <= 1 && right.abs_diff(223) <= 1, "the middle: {left} to {right}");
    }

    #[test]
    fn colours_that_are_not_as_many_are_no_preview() {
        let frame = Frame { picture: [16, 16], latents: [2, 2], scale: 8 };
        assert!(frame.enlarge(&[[0.0; 3]; 3]).is_none());
        assert!(Frame { latents: [0, 0], ..frame }.enlarge(&[]).is_none());
    }
}
