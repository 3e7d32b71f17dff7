//! Resizing by Pillow's box filter, to the last bit: the references were made by it.

use anyhow::{Context, Result};
use tintype_core::picture::Pixels;

/// Fraction bits of a weight, as in Pillow's `Resample.c`.
const PRECISION: u32 = 22;

/// The picture at this size: each sample the rounded mean of those that it covers, first along the rows, then
/// down the columns. What is made larger repeats its samples.
pub(crate) fn resize(picture: &Pixels, width: u32, height: u32) -> Result<Pixels> {
    let (from_width, from_height) = (picture.width() as usize, picture.height() as usize);
    let (to_width, to_height) = (width as usize, height as usize);
    let along = spans(from_width, to_width);
    let down = spans(from_height, to_height);

    let mut narrow = vec![0; to_width * from_height * 3];
    for (row, source) in narrow.chunks_exact_mut(to_width * 3).zip(picture.rgb().chunks_exact(from_width * 3))
    {
        for (pixel, span) in row.chunks_exact_mut(3).zip(&along) {
            for (channel, sample) in pixel.iter_mut().enumerate() {
                *sample = span.mean(|x| source[x * 3 + channel]);
            }
        }
    }
    let mut rgb = vec![0; to_width * to_height * 3];
    for (row, span) in rgb.chunks_exact_mut(to_width * 3).zip(&down) {
        for (column, sample) in row.iter_mut().enumerate() {
            *sample = span.mean(|y| narrow[y * to_width * 3 + column]);
        }
    }
    Pixels::new(width, height, rgb).context("as many samples as the size says")
}

/// The samples that one sample is the mean of.
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn mean(&self, sample: impl Fn(usize) -> u8) -> u8 {
        let weight = (0.5 + f64::from(1 << PRECISION) / (self.end - self.start) as f64) as u64;
        let sum: u64 = (self.start..self.end).map(|index| u64::from(sample(index)) * weight).sum();
        ((sum + (1 << (PRECISION - 1))) >> PRECISION).min(255) as u8
    }
}

/// For each target sample: the source samples whose centres are in it, or else the source sample that
/// contains its centre.
fn spans(from: usize, to: usize) -> Vec<Span> {
    let scale = from as f64 / to as f64;
    let half = scale.max(1.0) / 2.0;
    let span = |target: usize| {
        let centre = (target as f64 + 0.5) * scale;
        let covers = |source: usize| {
            let distance = source as f64 + 0.5 - centre;
            -half < distance && distance <= half
        };
        let first = (centre - half).floor().max(0.0) as usize;
        let start = (first..from).find(|&source| covers(source)).unwrap_or(from - 1);
        let length = (start..from).take_while(|&source| covers(source)).count();
        Span { start, end: start + length.max(1) }
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, samples: &[u8]) -> Pixels {
        let rgb: Vec<u8> = samples.iter().flat_map(|&sample| [sample; 3]).collect();
        Pixels::new(width, samples.len() as u32 / width, rgb).expect("as many samples")
    }

    /// What Pillow 12.0.0 made of the same samples with `Image.Resampling.BOX`.
    #[test]
    fn it_is_pillows() {
        let source: Vec<u8> = (0..48_u32).map(|i| (i * i * 7 % 256) as u8).collect();
        let source = grey(8, &source);
        for (width, height, expected) in PILLOW {
            let resized = resize(&source, *width, *height).expect("a picture");
            assert_eq!(resized, grey(*width, expected), "{width}×{height}");
        }
    }

    const PILLOW: &[(u32, u32, &[u8])] = &[
        (4, 3, &[64, 90, 172, 118, 112, 202, 156, 102, 160, 122, 140, 150]),
        (3, 4, &[79, 124, 134, 150, 232, 65, 116, 148, 145, 166, 192, 139]),
        (2, 1, &[125, 140]),
        (
            5,
            6,
            &[
                4, 28, 88, 175, 170, 124, 188, 160, 159, 66, 116, 220, 232, 15, 90, 108, 124, 176, 255, 114,
                100, 156, 120, 111, 138, 220, 60, 192, 95, 162,
            ],
        ),
    ];
}
