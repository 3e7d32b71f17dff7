//! Small pictures of what a denoising loop is coming to, for next to nothing.
//!
//! A decoder takes as long as some steps do. What one latent has to say about its own pixels is mostly their mean colour, and that is
//! close to linear in its channels: so a preview is a linear map of the latents, one pixel for each, enlarged. It is applied
//! to the clean sample that a step predicts, which looks like the picture long before the noisy one does.
//!
//! No autoencoder's map is written down here. The first is found by decoding small random latents, and every picture that is
//! decoded afterwards improves it.

mod enlarge;
mod fit;

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Tensor};
use tintype_core::picture::Pixels;

use crate::ModelError;
use crate::noise::Noise;
use crate::vae::Vae;
use enlarge::Frame;
use fit::Regression;

/// Latents along the sides of what is decoded to find the first map. Of 2, 3, 4, 6, 8 and 16, the map from 2 came
/// closest to the built-in model's pictures; it is the cheapest too, since it takes no more latents.
const PATCH: usize = 2;

/// How many such patches for each channel.
const PATCHES: usize = 4;

/// How much alike the latents of a patch are: 0 would be noise, 1 a plain colour. Pictures are mostly smooth.
const CORRELATION: f64 = 0.8;

/// How many pictures the patches count for, once there are pictures to learn from.
const PATCHES_WEIGHT: f64 = 4.0;

/// An autoencoder's map from latents to colours.
#[derive(Debug)]
pub(crate) struct Previewer {
    scale: usize,
    learned: Mutex<Regression>,
}

impl Previewer {
    /// Finds the first map. Takes about as long as decoding a picture of 64 by 64 pixels.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub(crate) fn new(vae: &Vae, device: &Device) -> Result<Self, ModelError> {
        let channels = vae.latent_channels();
        let latents = patches(channels)?.to_device(device)?;
        let mut learned = Regression::new(channels);
        learned.learn(&latents, &vae.decode(&latents)?, PATCHES_WEIGHT)?;
        Ok(Self { scale: vae.scale(), learned: Mutex::new(learned) })
    }

    /// Learns from a picture's latents, `[1, channels, height, width]`, and what the decoder made of them, `[1, 3, height ×
    /// scale, width × scale]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit.
    pub(crate) fn learn(&self, latents: &Tensor, colours: &Tensor) -> Result<(), ModelError> {
        Ok(self.learned().learn(latents, colours, 1.0)?)
    }

    /// What a picture of this size in pixels, decoded from these latents, will look like, on 128 to 256 pixels along its longer
    /// side; more if there are more latents.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the latents are of another shape.
    pub(crate) fn preview(
        &self,
        latents: &Tensor,
        width: usize,
        height: usize,
    ) -> Result<Pixels, ModelError> {
        let (_, _, rows, columns) = latents.dims4()?;
        let colours = self.learned().solve().colours(latents)?;
        let frame = Frame { picture: [width, height], latents: [columns, rows], scale: self.scale };
        frame.enlarge(&colours).ok_or_else(|| {
            let message = format!("{} colours for {columns}×{rows} latents", colours.len());
            candle_core::Error::Msg(message).into()
        })
    }

    /// Half of what a panic could leave behind is still a sum of what was learned.
    fn learned(&self) -> MutexGuard<'_, Regression> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Random latents, always the same, of variance 1 like those of training: `[channels · PATCHES, channels, PATCH, PATCH]`.
fn patches(channels: usize) -> candle_core::Result<Tensor> {
    let mut noise = Noise::new(0);
    let count = channels * PATCHES;
    let common = noise.normal((count, channels, 1, 1), &Device::Cpu)?;
    let own = noise.normal((count, channels, PATCH, PATCH), &Device::Cpu)?;
    (common * CORRELATION.sqrt())?.broadcast_add(&(own * (1.0 - CORRELATION).sqrt())?)
}
