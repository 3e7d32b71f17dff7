//! Layers with their weights, as both the denoiser and the autoencoders have them.

use candle_core::Tensor;

use crate::kernels::{Activation, Conv2d, ConvShape, FeatureMap, GroupNorm, LayerNorm, Linear};
use crate::{ModelError, Weights};

/// A convolution with bias that keeps the picture's size.
pub(crate) fn conv(w: &Weights, inputs: usize, outputs: usize, kernel: usize) -> Result<Conv2d, ModelError> {
    shaped_conv(w, inputs, outputs, ConvShape::same(kernel))
}

/// A convolution with bias.
pub(crate) fn shaped_conv(
    w: &Weights,
    inputs: usize,
    outputs: usize,
    shape: ConvShape,
) -> Result<Conv2d, ModelError> {
    let weight = w.get((outputs, inputs, shape.kernel, shape.kernel), "weight")?;
    Ok(Conv2d::new(&weight, Some(&w.get(outputs, "bias")?), shape)?)
}

/// A linear layer with bias.
pub(crate) fn linear(w: &Weights, inputs: usize, outputs: usize) -> Result<Linear, ModelError> {
    Ok(Linear::new(&w.get((outputs, inputs), "weight")?, Some(&w.get(outputs, "bias")?))?)
}

/// A linear layer without bias.
pub(crate) fn linear_no_bias(w: &Weights, inputs: usize, outputs: usize) -> Result<Linear, ModelError> {
    Ok(Linear::new(&w.get((outputs, inputs), "weight")?, None)?)
}

/// A layer norm.
pub(crate) fn layer_norm(w: &Weights, channels: usize) -> Result<LayerNorm, ModelError> {
    // The epsilon is PyTorch's default, which diffusers leaves as it is.
    Ok(LayerNorm::new(&w.get(channels, "weight")?, &w.get(channels, "bias")?, 1e-5)?)
}

/// How a network normalizes groups of channels and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) groups: usize,
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
}

impl Norm {
    /// The norm's weights for so many channels.
    pub(crate) fn load(self, w: &Weights, channels: usize) -> Result<GroupNorm, ModelError> {
        Ok(GroupNorm::new(&w.get(channels, "weight")?, &w.get(channels, "bias")?, self.groups, self.epsilon)?)
    }
}

/// diffusers' `ResnetBlock2D`: two convolutions around a skip connection, the first shifted by the timestep.
pub(crate) struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    activation: Activation,
}

impl Resnet {
    /// `time` is the width of the timestep's embedding, if the block has one.
    pub(crate) fn load(
        w: &Weights,
        inputs: usize,
        outputs: usize,
        time: Option<usize>,
        norm: Norm,
    ) -> Result<Self, ModelError> {
        let shortcut = match inputs == outputs {
            true => None,
            false => Some(conv(&w.pp("conv_shortcut"), inputs, outputs, 1)?),
        };
        Ok(Self {
            norm1: norm.load(&w.pp("norm1"), inputs)?,
            conv1: conv(&w.pp("conv1"), inputs, outputs, 3)?,
            time: time.map(|width| linear(&w.pp("time_emb_proj"), width, outputs)).transpose()?,
            norm2: norm.load(&w.pp("norm2"), outputs)?,
            conv2: conv(&w.pp("conv2"), outputs, outputs, 3)?,
            shortcut,
            activation: norm.activation,
        })
    }

    /// `time` is the activated embedding, `[batch, width]`.
    pub(crate) fn forward(&self, x: &FeatureMap, time: Option<&Tensor>) -> candle_core::Result<FeatureMap> {
        let shift = match (&self.time, time) {
            (Some(layer), Some(time)) => Some(layer.forward(time)?),
            _ => None,
        };
        // Assigned again and again, not shadowed: each map is freed as soon as the next is there.
        let mut hidden = self.norm1.forward(x, Some(self.activation))?;
        hidden = self.conv1.forward_add(&hidden, shift.as_ref(), None)?;
        hidden = self.norm2.forward(&hidden, Some(self.activation))?;
        match &self.shortcut {
            Some(shortcut) => self.conv2.forward_add(&hidden, None, Some(&shortcut.forward(x)?)),
            None => self.conv2.forward_add(&hidden, None, Some(x)),
        }
    }
}
