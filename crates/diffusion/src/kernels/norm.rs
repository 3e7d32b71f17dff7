//! Group and layer normalization.

use candle_core::{D, DType, Result, Tensor};
use rayon::prelude::*;

use super::activation::Activation;
use super::cpu::{is_cpu, prepared, rows_per_task, tensor, vectorized, view};
use super::feature_map::FeatureMap;

/// Pixels whose statistics are taken at once: they fit the second-level cache at any usual number of channels.
const PIXELS_PER_CHUNK: usize = 64;

/// Normalizes groups of channels over the whole picture.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// Takes the scale and shift of every channel.
    ///
    /// # Errors
    /// If the channels cannot be divided into so many groups.
    pub fn new(weight: &Tensor, bias: &Tensor, groups: usize, epsilon: f64) -> Result<Self> {
        let channels = weight.dims1()?;
        if groups == 0 || channels % groups != 0 || bias.dims1()? != channels {
            candle_core::bail!("cannot divide {channels} channels into {groups} groups")
        }
        Ok(Self { weight: prepared(weight)?, bias: prepared(bias)?, groups, epsilon })
    }

    /// Normalizes, and applies the activation if there is one.
    ///
    /// # Errors
    /// If the map has another number of channels.
    pub fn forward(&self, x: &FeatureMap, activation: Option<Activation>) -> Result<FeatureMap> {
        let [batch, channels, height, width] = x.dims();
        if channels != self.weight.elem_count() {
            candle_core::bail!("a group norm of {} channels got {channels}", self.weight.elem_count())
        }
        if !is_cpu(x.native()) {
            return self.forward_on_accelerator(x.native(), activation).map(FeatureMap::from_native);
        }
        let (from, weight, bias) = (view(x.native())?, view(&self.weight)?, view(&self.bias)?);
        let mut out = vec![0.0; from.len()];
        let sample = height * width * channels;
        for (from, to) in from.chunks_exact(sample.max(1)).zip(out.chunks_exact_mut(sample.max(1))) {
            let (scale, shift) = self.coefficients(from, &weight, &bias);
            let rows = rows_per_task(height * width, 256);
            to.par_chunks_mut(rows * channels).zip(from.par_chunks(rows * channels)).for_each(
                |(to, from)| {
                    normalize(from, to, &scale, &shift);
                    if let Some(activation) = activation {
                        activation.in_place(to);
                    }
                },
            );
        }
        tensor(out, (batch, height, width, channels)).map(FeatureMap::from_native)
    }

    /// What every channel of a sample is multiplied by and what is added to it.
    fn coefficients(&self, pixels: &[f32], weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let channels = weight.len();
        let size = channels / self.groups;
        let parts: Vec<(f64, Vec<[f64; 2]>)> = pixels
            .par_chunks(PIXELS_PER_CHUNK * channels)
            .map(|part| ((part.len() / channels * size) as f64, moments(part, channels, size)))
            .collect();
        let (mut scale, mut shift) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for group in 0..self.groups {
            // Chan, Golub and LeVeque's way to join means and sums of squared deviations.
            let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
            for (n, moments) in &parts {
                let [part_mean, part_squares] = moments[group];
                let delta = part_mean - mean;
                let total = count + n;
                mean += delta * n / total;
                squares += part_squares + delta * delta * count * n / total;
                count = total;
            }
            let factor = 1.0 / (squares / count + self.epsilon).sqrt();
            for channel in group * size..(group + 1) * size {
                let weight = f64::from(weight[channel]) * factor;
                scale.push(weight as f32);
                shift.push((f64::from(bias[channel]) - mean * weight) as f32);
            }
        }
        (scale, shift)
    }

    fn forward_on_accelerator(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        let (n, c, h, w) = x.dims4()?;
        let grouped = x.reshape((n, self.groups, c / self.groups * h * w))?.to_dtype(DType::F32)?;
        let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(2)? + self.epsilon)?.sqrt()?;
        let normal = centred.broadcast_div(&deviation)?.to_dtype(x.dtype())?.reshape((n, c, h, w))?;
        let y = normal
            .broadcast_mul(&self.weight.reshape((1, c, 1, 1))?)?
            .broadcast_add(&self.bias.reshape((1, c, 1, 1))?)?;
        activation.map_or(Ok(y.clone()), |activation| activation.apply(&y))
    }
}

/// Mean and sum of squared deviations of every group over some pixels, from per-channel sums over pixels that are still in
/// the cache the second time.
fn moments(pixels: &[f32], channels: usize, size: usize) -> Vec<[f64; 2]> {
    let mut sums = vec![0f32; channels];
    vectorized(
        #[inline(always)]
        || {
            for pixel in pixels.chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
            }
        },
    );
    let count = (pixels.len() / channels * size) as f64;
    let total = |values: &[f32]| values.iter().map(|x| f64::from(*x)).sum::<f64>();
    let means: Vec<f64> = sums.chunks_exact(size).map(|group| total(group) / count).collect();
    let centres: Vec<f32> = (0..channels).map(|channel| means[channel / size] as f32).collect();
    let mut squares = vec![0f32; channels];
    vectorized(
        #[inline(always)]
        || {
            for pixel in pixels.chunks_exact(channels) {
                for ((square, x), centre) in squares.iter_mut().zip(pixel).zip(&centres) {
                    *square += (x - centre) * (x - centre);
                }
            }
        },
    );
    means.into_iter().zip(squares.chunks_exact(size)).map(|(mean, group)| [mean, total(group)]).collect()
}

fn normalize(from: &[f32], to: &mut [f32], scale: &[f32], shift: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            let pixels = to.chunks_exact_mut(scale.len()).zip(from.chunks_exact(scale.len()));
            for (to, from) in pixels {
                for (((to, x), scale), shift) in to.iter_mut().zip(from).zip(scale).zip(shift) {
                    *to = x * scale + shift;
                }
            }
        },
    );
}

/// Normalizes the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// Takes the scale and shift of every channel.
    ///
    /// # Errors
    /// If they are not vectors of one length.
    pub fn new(weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Self> {
        if weight.dims1()? != bias.dims1()? {
            candle_core::bail!("a layer norm's weight and bias differ in length")
        }
        Ok(Self { weight: prepared(weight)?, bias: prepared(bias)?, epsilon })
    }

    /// Takes and returns `[…, channels]`.
    ///
    /// # Errors
    /// If the last dimension has another length.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        if x.dim(D::Minus1)? != channels {
            candle_core::bail!("a layer norm of {channels} channels got the shape {:?}", x.dims())
        }
        if !is_cpu(x) {
            return self.forward_on_accelerator(x);
        }
        let x = x.contiguous()?;
        let (from, weight, bias) = (view(&x)?, view(&self.weight)?, view(&self.bias)?);
        let (from, weight, bias) = (&*from, &*weight, &*bias);
        let mut out = vec![0.0; from.len()];
        let rows = rows_per_task(from.len() / channels, 256);
        out.par_chunks_mut(rows * channels).zip(from.par_chunks(rows * channels)).for_each(|(to, from)| {
            vectorized(
                #[inline(always)]
                || {
                    for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(channels)) {
                        let mean = sum(from, |x| x) / channels as f32;
                        let variance = sum(from, |x| (x - mean) * (x - mean)) / channels as f32;
                        let factor = 1.0 / (variance + self.epsilon as f32).sqrt();
                        for (((to, x), weight), bias) in to.iter_mut().zip(from).zip(weight).zip(bias) {
                            *to = (x - mean) * factor * weight + bias;
                        }
                    }
                },
            );
        });
        tensor(out, x.shape())
    }

    fn forward_on_accelerator(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        let normal = centred.broadcast_div(&deviation)?.to_dtype(x.dtype())?;
        normal.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// The sum of `f` over a row, in sixteen partial sums so that it becomes vector code.
#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; 16];
    let mut chunks = row.chunks_exact(16);
    for chunk in &mut chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += f(*x));
    }
    sums.iter().sum::<f32>() + chunks.remainder().iter().map(|x| f(*x)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use candle_core::Module;

    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn group_norm_agrees_with_candle() {
        for (shape, groups) in
            [([2, 24, 9, 17], 8), ([1, 6, 1, 1], 2), ([1, 8, 40, 30], 1), ([1, 4, 3, 5], 4)]
        {
            let channels = shape[1];
            let (weight, bias) = (random(&[channels], 1), random(&[channels], 2));
            // Far from zero, where sums of squares would lose everything.
            let x = (random(&shape, 3) + 300.0).expect("numbers");
            let reference = candle_nn::GroupNorm::new(weight.clone(), bias.clone(), channels, groups, 1e-5)
                .and_then(|norm| norm.forward(&x))
                .expect("candle's");
            let norm = GroupNorm::new(&weight, &bias, groups, 1e-5).expect("a layer");
            let map = FeatureMap::from_nchw(&x).expect("a map");
            for activation in [None, Some(Activation::Silu)] {
                let expected =
                    activation.map_or(Ok(reference.clone()), |a| a.apply(&reference)).expect("candle's");
                let ours = norm.forward(&map, activation).and_then(|y| y.to_nchw()).expect("ours");
                assert_close(&ours, &expected, 2e-4);
                assert_close(
                    &norm.forward_on_accelerator(&x, activation).expect("the accelerators'"),
                    &expected,
                    2e-4,
                );
            }
        }
        assert!(GroupNorm::new(&random(&[6], 1), &random(&[6], 1), 4, 1e-5).is_err());
    }

    #[test]
    fn layer_norm_agrees_with_candle() {
        for channels in [5, 40, 64] {
            let (weight, bias) = (random(&[channels], 1), random(&[channels], 2));
            let x = random(&[2, 300, channels], 3);
            let expected = candle_nn::LayerNorm::new(weight.clone(), bias.clone(), 1e-5).forward(&x);
            let expected = expected.expect("candle's");
            let norm = LayerNorm::new(&weight, &bias, 1e-5).expect("a layer");
            assert_close(&norm.forward(&x).expect("ours"), &expected, 1e-5);
            assert_close(&norm.forward_on_accelerator(&x).expect("the accelerators'"), &expected, 1e-5);
            assert!(norm.forward(&random(&[2, channels + 1], 1)).is_err());
        }
    }
}
