//! Pictures inside the networks.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::activation::Activation;
use super::cpu::{is_cpu, rows_per_task, tensor, view};

/// A batch of pictures with any number of channels, in the order of elements that the device's kernels work on:
/// `[batch, height, width, channels]` on the CPU, `[batch, channels, height, width]` on accelerators.
#[derive(Clone, Debug)]
pub struct FeatureMap {
    tensor: Tensor,
}

impl FeatureMap {
    /// Takes a tensor of shape `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// If it has another number of dimensions.
    pub fn from_nchw(nchw: &Tensor) -> Result<Self> {
        nchw.dims4()?;
        let tensor = if is_cpu(nchw) { nchw.permute((0, 2, 3, 1))? } else { nchw.clone() };
        Ok(Self { tensor: tensor.contiguous()? })
    }

    /// The pictures as a tensor of shape `[batch, channels, height, width]`, contiguous.
    ///
    /// # Errors
    /// Only if there is no memory for it.
    pub fn to_nchw(&self) -> Result<Tensor> {
        if is_cpu(&self.tensor) {
            self.tensor.permute((0, 3, 1, 2))?.contiguous()
        } else {
            Ok(self.tensor.clone())
        }
    }

    /// A tensor in the device's own order, as [`FeatureMap::native`] gives it.
    pub(super) fn from_native(tensor: Tensor) -> Self {
        Self { tensor }
    }

    /// The tensor in the device's own order.
    pub(super) fn native(&self) -> &Tensor {
        &self.tensor
    }

    /// Batch, channels, height, width.
    #[must_use]
    pub fn dims(&self) -> [usize; 4] {
        match *self.tensor.dims() {
            [n, h, w, c] if is_cpu(&self.tensor) => [n, c, h, w],
            [n, c, h, w] => [n, c, h, w],
            // Every way to make one checks the number of dimensions.
            _ => [0; 4],
        }
    }

    /// The pixels as a sequence, `[batch, height × width, channels]`.
    ///
    /// # Errors
    /// Only if there is no memory for it.
    pub fn to_tokens(&self) -> Result<Tensor> {
        let [n, c, h, w] = self.dims();
        if is_cpu(&self.tensor) {
            self.tensor.reshape((n, h * w, c))
        } else {
            self.tensor.reshape((n, c, h * w))?.transpose(1, 2)?.contiguous()
        }
    }

    /// The inverse of [`FeatureMap::to_tokens`].
    ///
    /// # Errors
    /// If there are not `height × width` tokens.
    pub fn from_tokens(tokens: &Tensor, height: usize, width: usize) -> Result<Self> {
        let (n, _, c) = tokens.dims3()?;
        let tensor = if is_cpu(tokens) {
            tokens.reshape((n, height, width, c))?
        } else {
            tokens.transpose(1, 2)?.reshape((n, c, height, width))?.contiguous()?
        };
        Ok(Self { tensor })
    }

    /// The activation of every element.
    ///
    /// # Errors
    /// Only if there is no memory for it.
    pub fn activate(&self, activation: Activation) -> Result<Self> {
        Ok(Self { tensor: activation.apply(&self.tensor)? })
    }

    /// The channels of both, `other`'s after ours.
    ///
    /// # Errors
    /// If anything but the number of channels differs.
    pub fn concat(&self, other: &Self) -> Result<Self> {
        if !is_cpu(&self.tensor) {
            return Ok(Self { tensor: Tensor::cat(&[&self.tensor, &other.tensor], 1)? });
        }
        let ([n, c, h, w], [n2, c2, h2, w2]) = (self.dims(), other.dims());
        if (n, h, w) != (n2, h2, w2) {
            bail!("cannot join feature maps of shapes {:?} and {:?}", self.dims(), other.dims())
        }
        let (ours, theirs) = (view(&self.tensor)?, view(&other.tensor)?);
        let (ours, theirs) = (&*ours, &*theirs);
        let mut joined = vec![0.0; n * h * w * (c + c2)];
        let rows = rows_per_task(n * h * w, 1024);
        joined.par_chunks_mut(rows * (c + c2)).enumerate().for_each(|(task, pixels)| {
            for (i, pixel) in pixels.chunks_exact_mut(c + c2).enumerate() {
                let at = task * rows + i;
                pixel[..c].copy_from_slice(&ours[at * c..][..c]);
                pixel[c..].copy_from_slice(&theirs[at * c2..][..c2]);
            }
        });
        Ok(Self { tensor: tensor(joined, (n, h, w, c + c2))? })
    }

    /// The pictures enlarged to `height × width`, each pixel taken from the nearest one (downwards, as PyTorch does it).
    ///
    /// # Errors
    /// Only if there is no memory for it.
    pub fn upsample_nearest(&self, height: usize, width: usize) -> Result<Self> {
        if !is_cpu(&self.tensor) {
            return Ok(Self { tensor: self.tensor.upsample_nearest2d(height, width)? });
        }
        let [n, c, h, w] = self.dims();
        let from = view(&self.tensor)?;
        let from = &*from;
        let mut to = vec![0.0; n * height * width * c];
        to.par_chunks_mut(width * c).enumerate().for_each(|(row, pixels)| {
            let (sample, y) = (row / height, row % height);
            let source = &from[(sample * h + y * h / height) * w * c..][..w * c];
            for (x, pixel) in pixels.chunks_exact_mut(c).enumerate() {
                pixel.copy_from_slice(&source[x * w / width * c..][..c]);
            }
        });
        Ok(Self { tensor: tensor(to, (n, height, width, c))? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn nchw_and_tokens_survive_the_round_trip() {
        let nchw = random(&[2, 3, 4, 5], 1);
        let map = FeatureMap::from_nchw(&nchw).expect("a map");
        assert_eq!(map.dims(), [2, 3, 4, 5]);
        assert_close(&map.to_nchw().expect("a tensor"), &nchw, 0.0);
        let tokens = map.to_tokens().expect("tokens");
        assert_close(&tokens, &nchw.flatten_from(2).and_then(|t| t.transpose(1, 2)).expect("tokens"), 0.0);
        let again = FeatureMap::from_tokens(&tokens, 4, 5).and_then(|map| map.to_nchw());
        assert_close(&again.expect("a map"), &nchw, 0.0);
    }

    #[test]
    fn concat_and_upsampling_are_candles() {
        let (a, b) = (random(&[2, 3, 4, 5], 1), random(&[2, 7, 4, 5], 2));
        let maps = [&a, &b].map(|t| FeatureMap::from_nchw(t).expect("a map"));
        let joined = maps[0].concat(&maps[1]).and_then(|map| map.to_nchw()).expect("joined");
        assert_close(&joined, &Tensor::cat(&[&a, &b], 1).expect("joined"), 0.0);
        for (height, width) in [(8, 10), (7, 9)] {
            let large =
                maps[0].upsample_nearest(height, width).and_then(|map| map.to_nchw()).expect("larger");
            assert_close(&large, &a.upsample_nearest2d(height, width).expect("larger"), 0.0);
        }
        assert!(maps[0].concat(&maps[1].upsample_nearest(8, 10).expect("larger")).is_err());
    }
}
