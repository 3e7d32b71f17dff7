//! Two-dimensional convolution.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::cpu::{is_cpu, prepared, tensor, view};
use super::feature_map::FeatureMap;
use super::linear::ContiguousRows;
use super::project::{Initial, Rows, packed, project};

/// How a convolution moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Pixels from one position to the next.
    pub stride: usize,
    /// Zeros around the input, on every side.
    pub padding: usize,
}

impl ConvShape {
    /// A kernel of odd size that keeps the picture's size.
    #[must_use]
    pub fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2 }
    }

    fn output(&self, side: usize) -> Option<usize> {
        Some((side + 2 * self.padding).checked_sub(self.kernel)? / self.stride + 1)
    }
}

/// A convolution with its weights.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// On the CPU `[kernel × kernel × inputs, outputs]`, elsewhere `[outputs, inputs, kernel, kernel]`.
    weight: Tensor,
    bias: Option<Tensor>,
    shape: ConvShape,
    inputs: usize,
    outputs: usize,
}

impl Conv2d {
    /// Takes the weight as PyTorch stores it, `[outputs, inputs, kernel, kernel]`, and the bias, `[outputs]`.
    ///
    /// # Errors
    /// If the weight has another shape.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, shape: ConvShape) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        if (height, width) != (shape.kernel, shape.kernel) {
            candle_core::bail!("a convolution of {shape:?} got a weight of shape {:?}", weight.dims())
        }
        let weight = if is_cpu(weight) {
            let packed = packed(&view(&prepared(weight)?)?, outputs, height * width);
            tensor(packed, (height * width * inputs, outputs))?
        } else {
            weight.contiguous()?
        };
        Ok(Self { weight, bias: bias.map(prepared).transpose()?, shape, inputs, outputs })
    }

    /// Takes a map of as many channels as the layer has inputs.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        self.forward_add(x, None, None)
    }

    /// The same, added to `per_sample`, `[batch, outputs]`, at every pixel, and to `residual`, which has the result's shape.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_add(
        &self,
        x: &FeatureMap,
        per_sample: Option<&Tensor>,
        residual: Option<&FeatureMap>,
    ) -> Result<FeatureMap> {
        let [batch, channels, height, width] = x.dims();
        let outside =
            || candle_core::Error::Msg(format!("{:?} got the shape {:?}", self.shape, x.dims())).bt();
        let out_height = self.shape.output(height).ok_or_else(outside)?;
        let out_width = self.shape.output(width).ok_or_else(outside)?;
        let result = [batch, self.outputs, out_height, out_width];
        if channels != self.inputs
            || residual.is_some_and(|residual| residual.dims() != result)
            || per_sample.is_some_and(|values| values.dims() != [batch, self.outputs])
        {
            candle_core::bail!(
                "a convolution from {} to {result:?} got shapes that do not fit it",
                self.inputs
            )
        }
        if !is_cpu(x.native()) {
            let residual = residual.map(FeatureMap::native);
            return self
                .forward_on_accelerator(x.native(), per_sample, residual)
                .map(FeatureMap::from_native);
        }

        let bias = self.bias.as_ref().map(view).transpose()?;
        let per_sample = per_sample.map(view).transpose()?;
        let residual = residual.map(|residual| view(residual.native())).transpose()?;
        let start = Initial {
            bias: bias.as_deref(),
            per_sample: per_sample.as_deref().map(|values| (values, out_height * out_width)),
            residual: residual.as_deref(),
        };
        let (pixels, weight) = (view(x.native())?, view(&self.weight)?);
        let mut out = vec![0.0; batch * out_height * out_width * self.outputs];
        if self.shape == ConvShape::same(1) {
            project(&mut out, &ContiguousRows { elements: &pixels, width: channels }, &weight, start);
        } else {
            let (size, out_size) = ([height, width], [out_height, out_width]);
            let patches = Patches { pixels: &pixels, channels, size, out_size, shape: self.shape };
            project(&mut out, &patches, &weight, start);
        }
        tensor(out, (batch, out_height, out_width, self.outputs)).map(FeatureMap::from_native)
    }

    fn forward_on_accelerator(
        &self,
        x: &Tensor,
        per_sample: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let weight = if is_cpu(x) {
            let k = self.shape.kernel;
            self.weight.reshape((k, k, self.inputs, self.outputs))?.permute((3, 2, 0, 1))?.contiguous()?
        } else {
            self.weight.clone()
        };
        let mut y = x.conv2d(&weight, self.shape.padding, self.shape.stride, 1, 1)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(&bias.reshape((1, self.outputs, 1, 1))?)?;
        }
        if let Some(values) = per_sample {
            y = y.broadcast_add(&values.reshape((x.dim(0)?, self.outputs, 1, 1))?)?;
        }
        match residual {
            Some(residual) => y + residual,
            None => Ok(y),
        }
    }
}

/// The input's pixels around each of the output's, as rows: kernel row by kernel row, pixel by pixel, channel by channel.
struct Patches<'a> {
    /// `[batch, height, width, channels]`
    pixels: &'a [f32],
    channels: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    shape: ConvShape,
}

impl Patches<'_> {
    /// Writes the patch whose first row and column are these, counted from the padding's.
    fn patch(&self, sample: usize, top: usize, left: usize, into: &mut [f32]) {
        let ([height, width], ConvShape { kernel, padding, .. }) = (self.size, self.shape);
        let (from, to) =
            (padding.saturating_sub(left).min(kernel), (width + padding).saturating_sub(left).min(kernel));
        for (row, into) in into.chunks_exact_mut(kernel * self.channels).enumerate() {
            match (top + row).checked_sub(padding) {
                Some(y) if y < height && from < to => {
                    let first = (sample * height + y) * width + left + from - padding;
                    into[..from * self.channels].fill(0.0);
                    into[from * self.channels..to * self.channels].copy_from_slice(
                        &self.pixels[first * self.channels..][..(to - from) * self.channels],
                    );
                    into[to * self.channels..].fill(0.0);
                }
                _ => into.fill(0.0),
            }
        }
    }
}

impl Rows for Patches<'_> {
    fn width(&self) -> usize {
        self.shape.kernel * self.shape.kernel * self.channels
    }

    fn contiguous(&self) -> Option<&[f32]> {
        None
    }

    fn gather(&self, rows: Range<usize>, into: &mut [f32]) {
        let [out_height, out_width] = self.out_size;
        for (row, into) in rows.zip(into.chunks_exact_mut(self.width())) {
            let (line, column) = (row / out_width, row % out_width);
            let (sample, line) = (line / out_height, line % out_height);
            self.patch(sample, line * self.shape.stride, column * self.shape.stride, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    fn agrees(input: [usize; 4], outputs: usize, shape: ConvShape) {
        let [_, channels, ..] = input;
        let weight = random(&[outputs, channels, shape.kernel, shape.kernel], 1);
        let bias = random(&[outputs], 2);
        let conv = Conv2d::new(&weight, Some(&bias), shape).expect("a layer");
        let nchw = random(&input, 3);
        let x = FeatureMap::from_nchw(&nchw).expect("a map");
        let expected = nchw
            .conv2d(&weight, shape.padding, shape.stride, 1, 1)
            .and_then(|y| y.broadcast_add(&bias.reshape((1, outputs, 1, 1))?))
            .expect("candle's");
        assert_close(&conv.forward(&x).and_then(|y| y.to_nchw()).expect("ours"), &expected, 1e-5);

        let (values, residual) = (random(&[input[0], outputs], 4), random(expected.dims(), 5));
        let onto = FeatureMap::from_nchw(&residual).expect("a map");
        let y = conv.forward_add(&x, Some(&values), Some(&onto)).and_then(|y| y.to_nchw()).expect("ours");
        let values_everywhere = values.reshape((input[0], outputs, 1, 1)).expect("a shape");
        let expected = expected.broadcast_add(&values_everywhere).and_then(|y| y + &residual).expect("a sum");
        assert_close(&y, &expected, 1e-5);
        let other =
            conv.forward_on_accelerator(&nchw, Some(&values), Some(&residual)).expect("the accelerators'");
        assert_close(&other, &expected, 1e-5);
    }

    #[test]
    fn agrees_with_candle() {
        agrees([2, 5, 9, 7], 6, ConvShape::same(3));
        agrees([1, 4, 1, 1], 3, ConvShape::same(3));
        agrees([2, 16, 30, 34], 24, ConvShape::same(3));
        agrees([2, 5, 9, 7], 6, ConvShape::same(1));
        agrees([1, 3, 12, 10], 4, ConvShape::same(5));
        for size in [8, 9] {
            agrees([2, 6, size, 10], 7, ConvShape { kernel: 3, stride: 2, padding: 1 });
        }
        agrees([1, 3, 8, 8], 2, ConvShape { kernel: 1, stride: 2, padding: 0 });
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let conv = Conv2d::new(&random(&[4, 3, 3, 3], 1), None, ConvShape::same(3)).expect("a layer");
        let map = |shape: &[usize]| FeatureMap::from_nchw(&random(shape, 1)).expect("a map");
        assert!(conv.forward(&map(&[1, 4, 5, 5])).is_err());
        assert!(conv.forward_add(&map(&[1, 3, 5, 5]), None, Some(&map(&[1, 4, 5, 6]))).is_err());
        assert!(conv.forward_add(&map(&[1, 3, 5, 5]), Some(&random(&[2, 4], 1)), None).is_err());
        let unpadded = ConvShape { kernel: 3, stride: 1, padding: 0 };
        let conv = Conv2d::new(&random(&[4, 3, 3, 3], 1), None, unpadded).expect("a layer");
        assert!(conv.forward(&map(&[1, 3, 2, 5])).is_err());
    }
}
