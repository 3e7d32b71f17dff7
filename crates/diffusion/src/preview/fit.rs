//! The linear map that comes closest to a decoder, by least squares.

use candle_core::{Device, Result, Tensor};

/// Red, green and blue, each from −1 to 1 as decoders have it.
pub(super) type Colour = [f32; 3];

/// What is added to the diagonal so that there is always one solution: this share of the channels' mean square. It only
/// counts for what the latents learned from leave open.
const RIDGE: f64 = 1e-3;

/// A colour for each latent: a weighted sum of its channels, and a constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColourMap {
    /// `[channels + 1, 3]`, the constant last.
    weights: Vec<[f64; 3]>,
}

impl ColourMap {
    /// The colours of latents `[1, channels, height, width]`, row by row.
    pub(super) fn colours(&self, latents: &Tensor) -> Result<Vec<Colour>> {
        let mut colours = Vec::new();
        for row in pixel_rows(latents)? {
            let mut sums = [0.0; 3];
            for (x, weights) in row.iter().map(|x| f64::from(*x)).chain([1.0]).zip(&self.weights) {
                add(&mut sums, x, weights);
            }
            colours.push(sums.map(|sum| sum.clamp(-1.0, 1.0) as f32));
        }
        Ok(colours)
    }
}

/// What has been learned of latents and their colours: the sums that least squares needs.
#[derive(Debug)]
pub(super) struct Regression {
    /// `Σ x·xᵀ` over the rows `x`, a latent's channels and a 1: `[channels + 1, channels + 1]`.
    gram: Vec<Vec<f64>>,
    /// `Σ x·colourᵀ`: `[channels + 1, 3]`.
    moments: Vec<[f64; 3]>,
}

impl Regression {
    /// Nothing learned yet, of latents with so many channels.
    pub(super) fn new(channels: usize) -> Self {
        let size = channels + 1;
        Self { gram: vec![vec![0.0; size]; size], moments: vec![[0.0; 3]; size] }
    }

    /// Learns from latents `[batch, channels, height, width]` and what a decoder made of them, `[batch, 3, height × scale,
    /// width × scale]`: of the pixels of each latent, the mean counts. All together have this weight.
    pub(super) fn learn(&mut self, latents: &Tensor, colours: &Tensor, weight: f64) -> Result<()> {
        let scale = colours.dim(2)? / latents.dim(2)?.max(1);
        let means = colours.clamp(-1f32, 1f32)?.avg_pool2d(scale)?;
        let (rows, means) = (pixel_rows(latents)?, pixel_rows(&means)?);
        if rows.len() != means.len() {
            candle_core::bail!("{} latents and {} colours", rows.len(), means.len());
        }
        let weight = weight / rows.len().max(1) as f64;
        for (row, mean) in rows.iter().zip(&means) {
            // One number that is none would make all that is learned worthless.
            if !row.iter().chain(mean).all(|x| x.is_finite()) {
                continue;
            }
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).chain([1.0]).collect();
            let mean: Vec<f64> = mean.iter().map(|x| f64::from(*x)).collect();
            for ((x, gram), moments) in row.iter().zip(&mut self.gram).zip(&mut self.moments) {
                add(gram, weight * x, &row);
                add(moments, weight * x, &mean);
            }
        }
        Ok(())
    }

    /// The map with the least squared error on all that was learned; grey if that is nothing.
    pub(super) fn solve(&self) -> ColourMap {
        let mut matrix = self.gram.clone();
        let channels = matrix.len() - 1;
        let squares: f64 = (0..channels).map(|i| matrix[i][i]).sum();
        for (i, row) in matrix.iter_mut().enumerate().take(channels) {
            row[i] += RIDGE * squares / channels as f64;
        }
        ColourMap { weights: eliminate(matrix, self.moments.clone()) }
    }
}

/// Adds `factor · from` to `to`.
fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// `[batch, channels, height, width]` as `[batch · height · width][channels]`.
fn pixel_rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    tensor.permute((0, 2, 3, 1))?.flatten_to(2)?.to_device(&Device::Cpu)?.to_vec2()
}

/// Solves `matrix · x = right`, where the matrix is symmetric and has no negative eigenvalue, by Gauss' elimination. An
/// unknown that nothing is known about becomes 0.
fn eliminate(mut matrix: Vec<Vec<f64>>, mut right: Vec<[f64; 3]>) -> Vec<[f64; 3]> {
    let size = matrix.len();
    for pivot in 0..size {
        let (done, rest) = matrix.split_at_mut(pivot + 1);
        let (right_done, right_rest) = right.split_at_mut(pivot + 1);
        let divisor = done[pivot][pivot];
        if divisor > 0.0 {
            for (row, right) in rest.iter_mut().zip(right_rest) {
                let factor = -row[pivot] / divisor;
                add(row, factor, &done[pivot]);
                add(right, factor, &right_done[pivot]);
            }
        }
    }
    for pivot in (0..size).rev() {
        let mut solved = right[pivot];
        for later in pivot + 1..size {
            let known = right[later];
            add(&mut solved, -matrix[pivot][later], &known);
        }
        let divisor = matrix[pivot][pivot];
        right[pivot] = if divisor > 0.0 { solved.map(|x| x / divisor) } else { [0.0; 3] };
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const SCALE: usize = 4;
    const WEIGHTS: [[f64; 3]; 3] = [[0.2, -0.1, 0.0], [0.1, 0.1, -0.15], [0.05, -0.02, 0.3]];

    /// A decoder that is linear but for a pattern inside each latent's pixels, which has a mean of 0.
    fn decode(latents: &Tensor) -> Tensor {
        let map = ColourMap { weights: WEIGHTS.to_vec() };
        let (_, _, height, width) = latents.dims4().expect("latents");
        let colours = map.colours(latents).expect("colours");
        let (high, wide) = (height * SCALE, width * SCALE);
        let pattern = (0..high * wide).map(|i| if (i / wide + i) % 2 == 0 { 0.05f32 } else { -0.05 });
        let pattern = Tensor::from_vec(pattern.collect(), (1, 1, high, wide), &Device::Cpu);
        Tensor::from_vec(colours.concat(), (1, height, width, 3), &Device::Cpu)
            .and_then(|colours| colours.permute((0, 3, 1, 2))?.contiguous()?.upsample_nearest2d(high, wide))
            .and_then(|plain| plain.broadcast_add(&pattern?))
            .expect("a picture")
    }

    fn latents(seed: u64) -> Tensor {
        Noise::new(seed).normal((1, 2, 6, 8), &Device::Cpu).expect("latents")
    }

    #[track_caller]
    fn assert_found(regression: &Regression, tolerance: f64) {
        let found = regression.solve().weights;
        let off = found.iter().flatten().zip(WEIGHTS.iter().flatten()).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f64::max) < tolerance, "{found:?}");
    }

    #[test]
    fn a_linear_decoder_is_found() {
        let mut regression = Regression::new(2);
        for seed in 0..3 {
            regression.learn(&latents(seed), &decode(&latents(seed)), 1.0).expect("learned");
        }
        assert_found(&regression, 2e-3);
    }

    #[test]
    fn numbers_that_are_none_are_not_learned() {
        let mut regression = Regression::new(2);
        let broken = (decode(&latents(1)) * f64::NAN).expect("a picture");
        regression.learn(&latents(1), &broken, 1.0).expect("passed over");
        assert_eq!(regression.solve().weights, [[0.0; 3]; 3], "nothing is known");
        regression.learn(&latents(0), &decode(&latents(0)), 1.0).expect("learned");
        assert_found(&regression, 2e-3);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut regression = Regression::new(2);
        let wider = Tensor::zeros((1, 3, 24, 40), candle_core::DType::F32, &Device::Cpu).expect("a picture");
        assert!(regression.learn(&latents(0), &wider, 1.0).is_err());
    }
}
