//! The decoder of diffusers' `AutoencoderTiny`, known as TAESD.

use candle_core::{Result, Tensor};

use super::config::TinyConfig;
use crate::kernels::{Activation, Conv2d, ConvShape, FeatureMap};
use crate::layers::conv;
use crate::{ModelError, Weights};

pub(super) struct TinyDecoder {
    layers: Vec<Layer>,
    activation: Activation,
}

enum Layer {
    Conv(Conv2d),
    Activation,
    Block([Conv2d; 3]),
    Upsample(usize),
}

impl TinyDecoder {
    /// The layers are numbered through, those without weights too.
    pub(super) fn load(config: &TinyConfig, w: &Weights) -> std::result::Result<Self, ModelError> {
        let at = |layers: &Vec<Layer>| w.pp("layers").pp(layers.len());
        let mut layers = Vec::new();
        layers.push(Layer::Conv(conv(
            &at(&layers),
            config.latent_channels,
            config.block_out_channels[0],
            3,
        )?));
        layers.push(Layer::Activation);
        let levels = config.num_blocks.len();
        for (level, (blocks, channels)) in
            config.num_blocks.iter().zip(&config.block_out_channels).enumerate()
        {
            for _ in 0..*blocks {
                let w = at(&layers).pp("conv");
                let part = |name: &str| conv(&w.pp(name), *channels, *channels, 3);
                layers.push(Layer::Block([part("0")?, part("2")?, part("4")?]));
            }
            if level + 1 < levels {
                layers.push(Layer::Upsample(config.upsampling));
                let weight = at(&layers).get((*channels, *channels, 3, 3), "weight")?;
                layers.push(Layer::Conv(Conv2d::new(&weight, None, ConvShape::same(3))?));
            } else {
                layers.push(Layer::Conv(conv(&at(&layers), *channels, 3, 3)?));
            }
        }
        Ok(Self { layers, activation: config.activation })
    }

    /// Takes and returns `[batch, channels, height, width]`.
    pub(super) fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let clamped = ((latents / 3.0)?.tanh()? * 3.0)?;
        let mut x = FeatureMap::from_nchw(&clamped)?;
        for layer in &self.layers {
            x = match layer {
                Layer::Conv(conv) => conv.forward(&x)?,
                Layer::Activation => x.activate(self.activation)?,
                Layer::Block([first, second, third]) => {
                    let hidden = first.forward(&x)?.activate(self.activation)?;
                    let hidden = second.forward(&hidden)?.activate(self.activation)?;
                    third.forward_add(&hidden, None, Some(&x))?.activate(Activation::Relu)?
                }
                Layer::Upsample(factor) => {
                    let [_, _, height, width] = x.dims();
                    x.upsample_nearest(height * factor, width * factor)?
                }
            };
        }
        x.to_nchw()?.affine(2.0, -1.0)
    }
}
