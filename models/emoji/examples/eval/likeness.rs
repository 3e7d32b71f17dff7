//! Which training picture a drawn one is most like. `trainer/evaluate.py` computes the same.

use anyhow::Result;
use tintype_core::picture::Pixels;

use crate::references::SIDE;
use crate::resize::resize;

/// Added to a feature's deviation, so that one that never changes does not decide.
const FLOOR: f64 = 1e-3;

/// What a picture looks like: its RGB samples at 32×32 in 0…1, then the gradient magnitude of its luminance.
fn features(picture: &Pixels) -> Result<Vec<f64>> {
    let small = resize(picture, SIDE, SIDE)?;
    let mut features: Vec<f64> = small.rgb().iter().map(|&sample| f64::from(sample) / 255.0).collect();
    let luminance: Vec<f64> =
        features.chunks_exact(3).map(|rgb| rgb[0] * 0.299 + rgb[1] * 0.587 + rgb[2] * 0.114).collect();
    let side = SIDE as usize;
    for y in 0..side {
        for x in 0..side {
            let down = slope(y, |y| luminance[y * side + x]);
            let along = slope(x, |x| luminance[y * side + x]);
            features.push(down.hypot(along));
        }
    }
    Ok(features)
}

/// The central difference at one of [`SIDE`] places, one-sided at both ends (as numpy's `gradient`).
fn slope(at: usize, value: impl Fn(usize) -> f64) -> f64 {
    let (before, after) = (at.saturating_sub(1), (at + 1).min(SIDE as usize - 1));
    (value(after) - value(before)) / (after - before) as f64
}

/// The known pictures, standardised: each feature less its mean, by its deviation.
pub(crate) struct Known {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    rows: Vec<Vec<f64>>,
}

impl Known {
    pub(crate) fn new(pictures: &[Pixels]) -> Result<Self> {
        let mut rows = pictures.iter().map(features).collect::<Result<Vec<_>>>()?;
        let count = rows.len() as f64;
        let mean_of = |value: &dyn Fn(&[f64], usize) -> f64| -> Vec<f64> {
            let width = rows.first().map_or(0, Vec::len);
            (0..width).map(|i| rows.iter().map(|row| value(row, i)).sum::<f64>() / count).collect()
        };
        let mean = mean_of(&|row, i| row[i]);
        let variance = mean_of(&|row, i| (row[i] - mean[i]).powi(2));
        let deviation: Vec<f64> = variance.iter().map(|variance| variance.sqrt() + FLOOR).collect();
        for row in &mut rows {
            standardise(row, &mean, &deviation);
        }
        Ok(Self { mean, deviation, rows })
    }

    /// The number of the picture that this one is most like, by Euclidean distance.
    pub(crate) fn nearest(&self, picture: &Pixels) -> Result<usize> {
        let mut sought = features(picture)?;
        standardise(&mut sought, &self.mean, &self.deviation);
        let distance = |row: &[f64]| -> f64 {
            row.iter().zip(&sought).map(|(known, sought)| (known - sought).powi(2)).sum()
        };
        let distances: Vec<f64> = self.rows.iter().map(|row| distance(row)).collect();
        let nearest = (0..distances.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b]));
        Ok(nearest.unwrap_or_default())
    }
}

fn standardise(row: &mut [f64], mean: &[f64], deviation: &[f64]) {
    for ((feature, mean), deviation) in row.iter_mut().zip(mean).zip(deviation) {
        *feature = (*feature - mean) / deviation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose grey at a place is this.
    fn painted(side: u32, grey: impl Fn(u32, u32) -> u8) -> Pixels {
        let rgb = (0..side * side).flat_map(|i| [grey(i % side, i / side); 3]).collect();
        Pixels::new(side, side, rgb).expect("as many samples")
    }

    #[test]
    fn colours_come_first_then_slopes() {
        let found = features(&painted(64, |x, _| (x / 2 * 3) as u8)).expect("features");
        assert_eq!(found.len(), 32 * 32 * 4);
        assert_eq!(found[..6], [0.0, 0.0, 0.0, 3.0, 3.0, 3.0].map(|grey| grey / 255.0));
        let slopes = &found[32 * 32 * 3..];
        assert!(slopes.iter().all(|slope| (slope - 3.0 / 255.0).abs() < 1e-12), "{:?}", &slopes[..3]);
    }

    #[test]
    fn every_picture_is_its_own_neighbour_at_any_size() {
        let paintings: [fn(u32, u32) -> u8; 3] =
            [|x, y| (x * 4 + y * 2) as u8, |x, y| if x > y { 200 } else { 40 }, |x, y| (x * y / 8) as u8];
        let known = Known::new(&paintings.map(|grey| painted(32, grey))).expect("features");
        for (number, grey) in paintings.iter().enumerate() {
            for times in [1, 2, 8] {
                let larger = painted(32 * times, |x, y| grey(x / times, y / times));
                assert_eq!(known.nearest(&larger).expect("features"), number, "{times} times");
            }
        }
    }

    #[test]
    fn the_references_are_their_own_neighbours() {
        let references = crate::references::References::load().expect("the committed references");
        let known = Known::new(&references.tiles).expect("features");
        for &label in references.labels.iter().take(20) {
            assert_eq!(known.nearest(&references.tiles[label]).expect("features"), label);
        }
    }
}
